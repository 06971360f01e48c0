//! The replica's log: what it refuses, what it keeps through closing, killing and power cuts, and what it tells.

#[path = "../common/mod.rs"]
mod common;

mod backfill;
mod calls;
mod crashes;
mod model;
mod watch;

use common::Disk;
use raft_journal::adapters::replica::ReplicaLog;
use raft_journal::{Changes, Entry};

fn open(disk: &Disk) -> ReplicaLog {
    ReplicaLog::open(disk.open()).unwrap()
}

/// A Raft log with entries 1 to `last` of term 1.
fn begin(disk: &Disk, last: u64) -> ReplicaLog {
    let log = open(disk);
    log.bootstrap(Changes::new()).unwrap();
    append(&log, &common::entries(1..=last, 1));
    log
}

fn append(log: &ReplicaLog, entries: &[Entry]) {
    log.append(entries).unwrap().wait().unwrap();
}
