//! The simulated disk loses what it may lose, and nothing else; and keeps the contract that the real one keeps.

mod bytes;
mod contract;
mod damage;
mod failed_syncs;
mod faults;
mod log;
mod names;
mod running;
mod sectors;
mod states;

use std::path::Path;
use std::sync::Arc;

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::io::{File, Fs, Mode, write_all_at};

const FILE: &str = "/journal/log";

/// A disk with one durable file.
fn disk_with(bytes: &[u8]) -> (SimFs, Arc<dyn File>) {
    let disk = SimFs::new();
    disk.write_file(FILE, bytes).unwrap();
    let file = disk.open(Path::new(FILE), Mode::Write).unwrap();
    (disk, file)
}

fn create(disk: &dyn Fs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.open(Path::new(path), Mode::Create).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn names(disk: &SimFs) -> Vec<String> {
    disk.paths().iter().map(|path| path.display().to_string()).collect()
}

/// How many of `seeds` states satisfy `test`.
fn count_states(disk: &SimFs, seeds: u64, test: impl Fn(&SimFs) -> bool) -> usize {
    (0..seeds).filter(|seed| test(&disk.after_power_cut(Survival::Random(*seed)))).count()
}
