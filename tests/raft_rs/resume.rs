//! The log and the state machine that a node starts with.

use raft::eraftpb::{ConfState, SnapshotMetadata};
use raft::{Config, RawNode, Storage};
use raft_journal::adapters::raft_rs::{Backend, Error, LogStore};
use raft_journal::{Entry, LogStore as _, MemoryStore};

use super::{OnEach, entries, hard_state, log, on_each, snapshot, voters};

/// A state machine that holds all up to an entry.
fn machine(index: u64, term: u64) -> SnapshotMetadata {
    snapshot(index, term).get_metadata().clone()
}

/// Entries 1 to 9 of term 1, the third of which is known to be committed.
fn filled<S: Backend>(store: S) -> LogStore<S> {
    let store = LogStore::open(store, 1).unwrap();
    store.initialize(voters()).unwrap();
    store.append(&entries(1, 1..10)).unwrap().wait().unwrap();
    store.set_hard_state(&hard_state(1, 2, 3)).unwrap();
    store
}

/// raft-rs starts: it panics where a commit index is not what it may be.
fn starts<S: Backend>(store: &LogStore<S>, applied: u64) {
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let config = Config { applied, ..Config::new(1) };
    let mut node = RawNode::new(&config, store.clone(), &logger).unwrap();
    let committed = if node.has_ready() { node.ready().take_committed_entries() } else { Vec::new() };
    let unapplied = applied + 1..store.hard_state().commit + 1;
    assert!(committed.iter().map(|entry| entry.index).eq(unapplied));
}

struct Resumes;

impl OnEach for Resumes {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        // Nothing was applied; less than what is committed; as much; more, which a crash may leave.
        for (applied, commit) in [(0, 3), (2, 3), (3, 3), (7, 7), (4, 7)] {
            let held = if applied == 0 { SnapshotMetadata::default() } else { machine(applied, 1) };
            store.resume(&held).unwrap();
            assert_eq!((store.hard_state(), log(&store).len()), (hard_state(1, 2, commit), 9), "applied {applied}");
            starts(&store, applied);
        }
        // Nothing was applied, so all changes come once more, upon the founders: not upon what they have made of them.
        store.set_conf_state(ConfState::from((vec![1], vec![7]))).unwrap();
        store.resume(&SnapshotMetadata::default()).unwrap();
        assert_eq!(store.conf_state(), voters());
        // The changes behind what was applied come once more, so its configuration is the one to start with.
        let mut held = machine(5, 1);
        held.set_conf_state(ConfState::from((vec![1, 2], vec![3])));
        store.resume(&held).unwrap();
        assert_eq!(&store.conf_state(), held.get_conf_state());
        // A snapshot that came in right before the crash: behind the log's end, or of another history than its tail.
        store.resume(&machine(9, 2)).unwrap();
        assert_eq!((store.first_index(), store.last_index(), store.conf_state()), (Ok(10), Ok(9), voters()));
        starts(&store, 9);
        store.resume(&machine(40, 3)).unwrap();
        assert_eq!((store.first_index(), store.last_index()), (Ok(41), Ok(40)));
        assert_eq!(store.hard_state(), hard_state(3, 0, 40));
        starts(&store, 40);
        // And once more, when the crash came right behind it.
        store.resume(&machine(40, 3)).unwrap();
        assert_eq!(store.hard_state(), hard_state(3, 0, 40));
    }
}

#[test]
fn log_and_state_machine_are_made_to_fit() {
    on_each(&Resumes);
}

#[test]
fn state_machine_older_than_the_log_is_refused() {
    let store = filled(MemoryStore::new());
    store.compact(4).unwrap();
    for held in [SnapshotMetadata::default(), machine(2, 1)] {
        let error = store.resume(&held).unwrap_err();
        assert!(matches!(error, Error::SnapshotOutOfDate { commit: 3, .. }), "{error}");
    }
    assert_eq!((store.hard_state(), log(&store)), (hard_state(1, 2, 3), entries(1, 4..10)));
    store.resume(&machine(3, 1)).unwrap();
}

#[test]
fn committed_entry_that_cannot_be_applied_is_told_before_raft_rs_panics() {
    let below = MemoryStore::new();
    let store = LogStore::open(below.clone(), 1).unwrap();
    store.append(&entries(1, 1..3)).unwrap().wait().unwrap();
    below.append(&[Entry::new(3, 1, "not of raft-rs")]).unwrap();
    let store = LogStore::open(below, 1).unwrap();
    store.set_hard_state(&hard_state(1, 2, 3)).unwrap();
    let error = store.resume(&machine(1, 1)).unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    // Once a snapshot covers it nobody needs it.
    store.resume(&machine(3, 1)).unwrap();
}
