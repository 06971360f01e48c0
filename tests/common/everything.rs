//! One of each kind of call, for those who look on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_journal::{Journal, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log};

/// Takes a fresh journal through rotations, callbacks, commits and a checkpoint, so that it holds entries 20 to 60, and sees
/// after each part that a power cut would find it so.
pub fn go_through_everything(disk: &Disk, journal: &Journal) {
    let next_finds = |first, last| {
        let journal = disk.after_power_cut(raft_journal::io::sim::Survival::Nothing).open();
        assert_eq!(log(&journal), entries(first..=last, 1));
    };
    append_each(journal, &entries(1..=40, 1));
    assert!(journal.stats().rotations > 0);
    next_finds(1, 40);
    journal.set(b"vote", b"me").unwrap();
    append_each(journal, &entries(41..=50, 1));
    next_finds(1, 50);
    journal.truncate_head(Position::new(19, 1)).unwrap();
    let called = Arc::new(AtomicU64::new(0));
    for index in 51..=60 {
        let called = Arc::clone(&called);
        let count = move |result: raft_journal::Result<_>| _ = result.map(|_| called.fetch_add(1, Ordering::SeqCst));
        journal.append_pending(&entries(index..=index, 1)).unwrap().on_durable(Box::new(count));
    }
    journal.checkpoint(disk.beside("copy").dir).unwrap();
    assert_eq!(called.load(Ordering::SeqCst), 10);
    next_finds(20, 60);
}
