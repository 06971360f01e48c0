//! What must be refused, by a typed error, with nothing written.

use raft::Storage;
use raft_journal::adapters::OwnerError;
use raft_journal::adapters::raft_rs::{Error, LogStore, Result};
use raft_journal::io::sim::SimFs;
use raft_journal::{Entry, LogStore as _, MemoryStore, StableStore as _};

use super::node::{Follower, Step, message};
use super::{entries, entry, hard_state, log, memory, open, options, snapshot, voters};

/// A node's directory with a life in it, closed.
fn lived_in() -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk).unwrap();
    store.initialize(voters()).unwrap();
    store.append(&entries(1, 1..6)).unwrap().wait().unwrap();
    store.set_hard_state(&hard_state(1, 2, 3)).unwrap();
    store.store().close().unwrap();
    disk
}

/// Makes a call that must fail, and holds it to having changed nothing on the disk.
fn refused<T>(disk: &SimFs, call: impl FnOnce() -> Result<T>) -> Error {
    let before = disk.mutations();
    let error = call().err().unwrap();
    assert_eq!(disk.mutations(), before, "{error}");
    error
}

#[test]
fn another_nodes_directory_is_refused_with_both_names() {
    let disk = lived_in();
    let journal = options(&disk).open("/node").unwrap();
    let error = refused(&disk, || LogStore::open(journal.clone(), 2));
    assert!(
        matches!(&error, Error::Owner(OwnerError::OtherNode { found, opened_for }) if found == "1" && opened_for == "2"),
        "{error}"
    );
    assert_eq!(LogStore::open(journal, 1).unwrap().hard_state(), hard_state(1, 2, 3));
}

#[test]
fn log_that_no_adapter_wrote_is_refused() {
    let disk = SimFs::new();
    let journal = options(&disk).open("/node").unwrap();
    journal.append(&[Entry::new(1, 1, "raw")]).unwrap();
    let error = refused(&disk, || LogStore::open(journal.clone(), 1));
    assert!(matches!(error, Error::Owner(OwnerError::NoAdapter { .. })), "{error}");
}

#[cfg(feature = "openraft-09")]
mod other_adapter {
    use std::io::Cursor;

    use openraft_09::Vote;
    use openraft_09::storage::RaftLogStorage;
    use raft_journal::adapters::openraft_09::LogStore as OpenraftStore;

    use super::*;

    openraft_09::declare_raft_types!(pub Types: D = String, R = String);

    #[test]
    fn directory_of_openraft_is_refused_with_both_names() {
        let disk = SimFs::new();
        let journal = options(&disk).open("/node").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut openraft = OpenraftStore::<Types>::new(journal.clone()).unwrap();
        runtime.block_on(openraft.save_vote(&Vote::new(3, 1))).unwrap();
        let error = refused(&disk, || LogStore::open(journal.clone(), 1));
        let Error::Owner(OwnerError::OtherAdapter { found, opened_by }) = &error else { panic!("{error}") };
        assert_eq!((found.as_str(), opened_by.as_str()), ("openraft-09", "raft-rs"));
        assert_eq!(runtime.block_on(openraft.read_vote()).unwrap(), Some(Vote::new(3, 1)));
    }
}

#[test]
fn hard_state_with_a_commit_index_outside_the_log_is_refused() {
    let disk = lived_in();
    let store = open(&disk).unwrap();
    store.compact(3).unwrap();
    for commit in [6, u64::MAX, 1, 0] {
        for call in [&|| store.set_hard_state(&hard_state(2, 1, commit)), &|| store.set_commit(commit)]
            as [&dyn Fn() -> Result<()>; 2]
        {
            let error = refused(&disk, call);
            assert!(matches!(error, Error::CommitOutside { first_index: 3, last_index: 5, .. }), "{error}");
        }
    }
    assert_eq!(store.hard_state(), hard_state(1, 2, 3));
    // As it would be found: 16 bits of commit index more than there are entries.
    store.store().set(b"raft.hard_state", &[8, 1, 24, 255, 255, 3]).unwrap();
    let error = refused(&disk, || LogStore::open(store.store().clone(), 1));
    assert!(matches!(error, Error::CommitOutside { commit: 65535, first_index: 3, last_index: 5 }), "{error}");
}

#[test]
fn snapshot_before_the_log_or_before_what_is_committed_is_refused() {
    let disk = lived_in();
    let store = open(&disk).unwrap();
    store.compact(3).unwrap();
    for index in [0, 1, 2] {
        let error = refused(&disk, || store.apply_snapshot(&snapshot(index, 1)));
        assert!(matches!(error, Error::SnapshotOutOfDate { commit: 3, .. }), "{error}");
    }
    let error = refused(&disk, || store.apply_snapshot(&snapshot(u64::MAX, 1)));
    assert!(matches!(error, Error::Store(raft_journal::Error::IndexOverflow { .. })), "{error}");
    assert_eq!(log(&store), entries(1, 3..6));
}

#[test]
fn entries_out_of_place_are_refused() {
    let disk = lived_in();
    let store = open(&disk).unwrap();
    store.compact(3).unwrap();
    for batch in [entries(1, 7..8), entries(1, 2..4), entries(0, 6..7), vec![entry(6, 1), entry(8, 1)]] {
        let error = refused(&disk, || store.append(&batch));
        assert!(matches!(error, Error::Store(_)), "{error}");
    }
    let error = refused(&disk, || store.compact(7));
    assert!(matches!(error, Error::CompactBeyondEnd { compact_index: 7, last_index: 5 }), "{error}");
    assert_eq!((log(&store), store.term(2)), (entries(1, 3..6), Ok(1)));
}

#[test]
fn second_first_configuration_is_refused() {
    let disk = lived_in();
    let store = open(&disk).unwrap();
    assert!(matches!(refused(&disk, || store.initialize(voters())), Error::Initialized));
    let store = memory();
    store.append(&[entry(1, 1)]).unwrap().wait().unwrap();
    assert!(matches!(store.initialize(voters()), Err(Error::Initialized)));
}

#[test]
fn state_that_does_not_decode_is_named() {
    for key in ["raft.hard_state", "raft.conf_state"] {
        for value in [&[0, 1][..], &[8], &[255, 255]] {
            let store = MemoryStore::new();
            LogStore::open(store.clone(), 1).unwrap();
            store.set(key.as_bytes(), value).unwrap();
            let error = LogStore::open(store, 1).err().unwrap();
            assert!(matches!(&error, Error::Decode { what, .. } if what.contains(key)), "{error}");
        }
    }
}

#[test]
fn log_that_begins_in_the_middle_is_refused() {
    let store = MemoryStore::new();
    LogStore::open(store.clone(), 1).unwrap();
    store.append(&[Entry::new(5, 1, "raw")]).unwrap();
    let error = LogStore::open(store, 1).err().unwrap();
    assert!(matches!(error, Error::BeginningLost { first_index: 5, expected: 1 }), "{error}");
}

#[test]
fn ready_that_a_full_disk_refused_is_taken_once_there_is_room() {
    let disk = SimFs::new();
    let store = open(&disk).unwrap();
    store.initialize(voters()).unwrap();
    let mut follower = Follower::start(store.clone());
    let append = |first, end| Step::Append { term: 1, before: u64::from(first > 1), first, end, commit: first - 1 };
    follower.take(append(1, 400)).unwrap();
    follower.wait().unwrap();
    disk.set_capacity(Some(disk.bytes_used()));
    follower.node.step(message(append(400, 800))).unwrap();
    let ready = follower.node.ready();
    let error = store.persist(&ready).err().unwrap();
    assert!(matches!(&error, Error::Store(error) if error.is_no_space()), "{error}");
    assert_eq!(log(&store), entries(1, 1..400));
    store.compact(390).unwrap();
    disk.set_capacity(None);
    store.persist(&ready).unwrap().wait().unwrap();
    follower.node.advance(ready);
    assert_eq!(log(&store), entries(1, 390..800));
    drop((store, follower));
    assert_eq!(log(&open(&disk).unwrap()), entries(1, 390..800));
}
