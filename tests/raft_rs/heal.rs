//! Entries that the disk lost, put back as the leader's journal has them.

use raft::{Config, GetEntriesContext, RawNode, Storage};
use raft_journal::adapters::raft_rs::{Error, LogStore};
use raft_journal::{Error as StoreError, Journal, LogStore as _};

use super::common::{Disk, FIRST_PAYLOAD_AT, on_both};
use super::{entries, hard_state, log, snapshot, voters};

/// How much a message takes: some of these entries, and not all that are lost.
const MESSAGE_BYTES_MAX: u64 = 100;

/// A node's log of 48 entries, appended so many at a time, all of them committed.
fn filled(disk: &Disk, node: u64, at_once: u64) -> LogStore {
    let store = LogStore::open(disk.open(), node).unwrap();
    store.initialize(voters()).unwrap();
    for first in (1..49).step_by(at_once as usize) {
        store.append(&entries(1, first..first + at_once)).unwrap().wait().unwrap();
    }
    store.set_hard_state(&hard_state(1, 1, 48)).unwrap();
    store
}

/// Puts back what is damaged, as the leader's journal has it. How many messages this took.
fn heal(journal: &Journal, leader: &Journal) -> usize {
    let mut messages = 0;
    for damage in journal.damaged() {
        let mut lost = damage.indexes.first..damage.indexes.end.unwrap();
        while !lost.is_empty() {
            let found = leader.entries(lost.clone(), MESSAGE_BYTES_MAX).unwrap();
            journal.repair(&found).unwrap();
            lost.start = found.last().unwrap().index + 1;
            messages += 1;
        }
    }
    messages
}

#[test]
fn lost_entries_are_put_back_as_the_leaders_journal_has_them() {
    on_both(|disk| {
        let leader = filled(&disk.beside("leader"), 1, 4);
        let _follower = filled(disk, 2, 12);
        let disk = disk.killed();
        let held = leader.store().entries(1..49, u64::MAX).unwrap();
        // A batch's header, which costs all that is in the batch and their terms; and a payload.
        let (name, at) = disk.find(&held[24].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        let (name, at) = disk.find(&held[39].data);
        disk.flip(&name, at + 5);
        let refused = disk.try_open().unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged(damage) if damage.indexes.contains(25)), "{refused}");

        let journal = disk.open_accepting();
        let ranges: Vec<_> = journal.damaged().iter().map(|damage| damage.indexes).collect();
        let ranges: Vec<_> = ranges.iter().map(|indexes| (indexes.first, indexes.end)).collect();
        assert_eq!(ranges, [(25, Some(37)), (40, Some(41))]);
        let store = LogStore::open(journal.clone(), 2).unwrap();
        let resumed = store.resume(snapshot(20, 1).get_metadata());
        assert!(matches!(resumed, Err(Error::Store(StoreError::Damaged(_)))), "{resumed:?}");
        assert!(journal.range_digest(1..49).is_err());

        let messages = heal(&journal, leader.store());
        assert!(messages > 4, "{messages} messages");
        assert_eq!(journal.damaged(), []);
        store.resume(snapshot(20, 1).get_metadata()).unwrap();
        let read = store.entries(25, 41, None, GetEntriesContext::empty(false)).unwrap();
        assert_eq!(read, entries(1, 25..41));
        assert_eq!(journal.range_digest(1..49).unwrap(), leader.store().range_digest(1..49).unwrap());

        // With the default options, killed or closed in order: nothing is left to refuse or to report.
        let killed = disk.killed();
        drop(store);
        journal.close().unwrap();
        for disk in [killed, disk] {
            let journal = disk.open();
            assert_eq!(journal.recovery_report().damaged, []);
            assert_eq!(journal.range_digest(1..49).unwrap(), leader.store().range_digest(1..49).unwrap());
            let store = LogStore::open(journal, 2).unwrap();
            assert_eq!(log(&store), entries(1, 1..49));
            store.resume(snapshot(20, 1).get_metadata()).unwrap();
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            let config = Config { applied: 20, ..Config::new(2) };
            let mut node = RawNode::new(&config, store, &logger).unwrap();
            assert_eq!(node.ready().take_committed_entries(), entries(1, 21..49));
        }
    });
}
