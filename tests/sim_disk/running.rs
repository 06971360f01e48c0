//! Syncs that wait, seeds that replay, snapshots, and work in the background.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::io::{Fs, Lane};

use crate::{FILE, create, disk_with};

#[test]
fn reads_and_writes_go_on_while_a_sync_is_held_back() {
    let (disk, file) = disk_with(b"");
    file.write_at(b"before", 0).unwrap();
    let held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        file.write_at(b"during", 6).unwrap();
        assert_eq!(file.read_at(&mut [0; 20], 0).unwrap(), 12);
        assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"");
        assert_eq!(disk.syncs_waiting(), 1);
        drop(held);
        sync.join().unwrap().unwrap();
    });
    assert_eq!(disk.syncs_waiting(), 0);
    // The sync began before the second write: it does not cover it.
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"before");
}

#[test]
fn a_held_sync_fails_when_power_is_lost() {
    let (disk, file) = disk_with(b"");
    file.write_at(b"bytes", 0).unwrap();
    let _held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        disk.cut_power_at(disk.mutations());
        file.write_at(b"x", 0).unwrap_err();
        sync.join().unwrap().unwrap_err();
    });
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"");
}

#[test]
fn one_seed_replays_one_state_and_one_entropy() {
    let history = |seed| {
        let disk = SimFs::with_seed(seed);
        let salt = disk.entropy();
        create(&disk, "/a", &[salt as u8; 5000]);
        create(&disk, "/b", &[1; 100]);
        disk.sync_dir(Path::new("/")).unwrap();
        let left = disk.after_power_cut(Survival::Random(seed));
        (left.read_file("/a").unwrap(), left.read_file("/b").unwrap(), left.entropy(), salt)
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
    assert_ne!(history(7).2, history(7).3, "the next life must not draw the salts of the one before");
}

#[test]
fn a_snapshot_is_a_disk_of_its_own() {
    let (disk, file) = disk_with(b"one");
    file.write_at(b"two", 0).unwrap();
    let copy = disk.snapshot();
    file.sync_data().unwrap();
    file.write_at(b"six", 0).unwrap();
    assert_eq!(copy.read_file(FILE).unwrap(), b"two");
    assert_eq!(copy.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"one");
    copy.write_file(FILE, b"copy").unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), b"six");
}

#[test]
fn work_runs_at_once_or_when_told() {
    let disk = SimFs::new();
    let tasks = disk.tasks();
    let done = Arc::new(AtomicUsize::new(0));
    let submit = |lane| {
        let done = done.clone();
        tasks.submit(lane, Box::new(move || _ = done.fetch_add(1, Ordering::SeqCst)));
    };
    submit(Lane::Urgent);
    assert_eq!(done.load(Ordering::SeqCst), 1);
    disk.queue_tasks(true);
    submit(Lane::Housekeeping);
    submit(Lane::Urgent);
    assert_eq!((done.load(Ordering::SeqCst), disk.tasks_waiting()), (1, 2));
    assert_eq!(disk.run_tasks(), 2);
    submit(Lane::Urgent);
    tasks.help();
    assert_eq!(done.load(Ordering::SeqCst), 4);
}
