//! Checkpoints: whole, apart from the journal that they are of, and refused until they are finished.

mod clones;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod gate;
mod names;
#[path = "../common/pass_on.rs"]
mod pass_on;
mod power;
mod readers;
mod targets;
mod threads;

use common::{Disk, append_each, entries, log};
use raft_journal::{Journal, LogStore, Position, StableStore};

/// Several segments of entries, the first ones purged, and a vote.
fn filled(disk: &Disk) -> Journal {
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.truncate_head(Position::new(5, 1)).unwrap();
    journal.set(b"vote", b"node-2").unwrap();
    journal
}

/// Whether two journals hold the same.
fn assert_same(one: &Journal, other: &Journal) {
    assert_eq!(one.state().purged, other.state().purged);
    assert_eq!(log(one), log(other));
    assert_eq!(one.pairs().unwrap(), other.pairs().unwrap());
    assert_eq!(one.id(), other.id());
}

/// Fills and forgets files, so that those that may be are used anew: on the simulated disk surely, on the real one if its
/// threads happen to be late.
fn churn(disk: &Disk, journal: &Journal) {
    let queued = |queued| disk.sim.iter().for_each(|sim| sim.queue_tasks(queued));
    queued(true);
    for _ in 0..8 {
        let next = journal.state().next_index().unwrap();
        journal.append(&entries(next..=next + 13, 9)).unwrap();
        journal.truncate_head(Position::new(next + 10, 9)).unwrap();
        disk.sim.iter().for_each(|sim| _ = sim.run_tasks());
    }
    queued(false);
}
