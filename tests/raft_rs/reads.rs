//! What raft-rs is told of entries that cannot be read.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft::eraftpb::{ConfState, Message, MessageType};
use raft::{Config, Error as RaftError, GetEntriesContext, RawNode, Storage, StorageError};
use raft_journal::adapters::raft_rs::{Error, LogStore};
use raft_journal::io::sim::{OperationKind, SimFs};
use raft_journal::{
    Changes, Damage, DamageKind, DamagedRange, Entry, Error as StoreError, LogState, LogStore as Log, MemoryStore,
    OnDamage, Pending, Position, Result, StableStore,
};

use super::common::{Disk, on_both};
use super::{entries, log, open, options, snapshot};

/// A store some of whose entries are lost, their terms with them where that is asked for; or cannot be read now.
#[derive(Clone, Default)]
struct Holed {
    store: MemoryStore,
    lost: Arc<Mutex<BTreeSet<u64>>>,
    lost_terms: Arc<Mutex<BTreeSet<u64>>>,
    failing: Arc<Mutex<bool>>,
}

fn damaged<T>(index: u64) -> Result<T> {
    let indexes = DamagedRange { first: index, end: Some(index + 1) };
    let (path, why) = (PathBuf::from("a segment"), DamageKind::Checksum);
    Err(Damage { path, offset: 0, indexes, term: None, why }.into())
}

impl Log for Holed {
    fn state(&self) -> LogState {
        self.store.state()
    }

    fn term(&self, index: u64) -> Result<u64> {
        if self.lost_terms.lock().unwrap().contains(&index) { damaged(index) } else { self.store.term(index) }
    }

    fn entry(&self, index: u64) -> Result<Entry> {
        self.store.entry(index)
    }

    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        if *self.failing.lock().unwrap() {
            return Err(StoreError::io("read", "a segment".as_ref(), Some(0), io::Error::other("made up")));
        }
        let hole = self.lost.lock().unwrap().range(range.clone()).next().copied();
        match hole {
            Some(index) if index == range.start => damaged(index),
            hole => self.store.entries(range.start..hole.unwrap_or(range.end), bytes_max),
        }
    }

    fn append_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.store.append_pending(entries)
    }

    fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.store.replace_tail_pending(entries)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.store.truncate_tail(first_removed)
    }

    fn truncate_head(&self, position: Position) -> Result<()> {
        self.store.truncate_head(position)
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl StableStore for Holed {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.store.get(key)
    }

    fn commit(&self, changes: &Changes) -> Result<()> {
        self.store.commit(changes)
    }

    fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.set_lazy(key, value)
    }
}

/// Entries 1 to 9 of terms 1, 1, 1, 2, 2, 2, 4, 4, 4.
fn holed() -> (Holed, LogStore<Holed>) {
    let below = Holed::default();
    let store = LogStore::open(below.clone(), 1).unwrap();
    for (term, first) in [(1, 1), (2, 4), (4, 7)] {
        store.append(&entries(term, first..first + 3)).unwrap().wait().unwrap();
    }
    (below, store)
}

/// Reads as raft-rs does for a follower, or for itself.
fn sends(store: &LogStore<Holed>, range: Range<u64>) -> raft::Result<Vec<raft::eraftpb::Entry>> {
    store.entries(range.start, range.end, None, GetEntriesContext::empty(true))
}

fn needs(store: &LogStore<Holed>, range: Range<u64>) -> raft::Result<Vec<raft::eraftpb::Entry>> {
    store.entries(range.start, range.end, None, GetEntriesContext::empty(false))
}

fn inside(error: RaftError) -> Error {
    let RaftError::Store(StorageError::Other(inside)) = error else { panic!("{error}") };
    *inside.downcast::<Error>().unwrap()
}

#[test]
fn lost_entry_is_compacted_to_followers_until_a_snapshot_covers_it() {
    let (below, store) = holed();
    let offered = Arc::new(Mutex::new(snapshot(4, 2)));
    let source = Arc::clone(&offered);
    let store = store.with_snapshots(move |_, _| Some(source.lock().unwrap().clone()));
    below.lost.lock().unwrap().extend([5, 6]);
    // What comes before it goes out.
    assert_eq!(sends(&store, 3..8).unwrap().len(), 2);
    assert!(store.take_read_error().is_none());
    assert_eq!(store.snapshot(0, 2), Ok(snapshot(4, 2)));
    assert_eq!(sends(&store, 5..8), Err(RaftError::Store(StorageError::Compacted)));
    let kept = store.take_read_error().unwrap();
    assert!(matches!(&kept, Error::Store(StoreError::Damaged(damage)) if damage.indexes.contains(5)), "{kept}");
    assert!(store.take_read_error().is_none());
    // From an older snapshot a follower would come to the hole again.
    assert_eq!(store.snapshot(0, 2), Err(RaftError::Store(StorageError::SnapshotTemporarilyUnavailable)));
    *offered.lock().unwrap() = snapshot(6, 2);
    assert_eq!(store.snapshot(0, 2), Ok(snapshot(6, 2)));
    // raft-rs itself must be told where; and before that, whoever starts the node.
    assert!(matches!(inside(needs(&store, 5..8).unwrap_err()), Error::Store(StoreError::Damaged(_))));
    assert!(matches!(store.verify(1..10), Err(Error::Store(StoreError::Damaged(_)))));
    store.verify(7..10).unwrap();
    store.verify(10..10).unwrap();
    assert_eq!(store.term(5), Ok(2));
}

/// A log of 9 entries on a disk where these are lost, opened in spite of that; and the entries as the journal knows them.
fn with_lost(disk: &Disk, lost: &[usize]) -> (LogStore, Vec<Entry>) {
    let options = disk.options().tail_cache_bytes(0).on_damage(OnDamage::Accept);
    let store = LogStore::open(options.open(&disk.dir).unwrap(), 1).unwrap();
    for (term, first) in [(1, 1), (2, 4), (4, 7)] {
        store.append(&entries(term, first..first + 3)).unwrap().wait().unwrap();
    }
    let held = store.store().entries(1..10, u64::MAX).unwrap();
    store.store().close().unwrap();
    drop(store);
    for &index in lost {
        let (name, at) = disk.find(&held[index - 1].data);
        disk.flip(&name, at + 5);
    }
    (LogStore::open(options.open(&disk.dir).unwrap(), 1).unwrap(), held)
}

#[test]
fn a_lost_entry_that_was_put_back_asks_for_no_newer_snapshot() {
    on_both(|disk| {
        let (store, held) = with_lost(disk, &[5, 8]);
        let store = store.with_snapshots(|_, _| Some(snapshot(4, 2)));
        let sends = |from| store.entries(from, 10, None, GetEntriesContext::empty(true));
        let unavailable = || Err(RaftError::Store(StorageError::SnapshotTemporarilyUnavailable));
        assert_eq!(store.snapshot(0, 2), Ok(snapshot(4, 2)));
        for lost in [5, 8] {
            assert_eq!(sends(lost), Err(RaftError::Store(StorageError::Compacted)));
            assert_eq!(store.snapshot(0, 2), unavailable());
        }
        // The other one is still lost.
        store.store().repair(&held[7..8]).unwrap();
        assert_eq!(store.snapshot(0, 2), unavailable());
        store.store().repair(&held[4..5]).unwrap();
        assert_eq!(store.snapshot(0, 2), Ok(snapshot(4, 2)));
        assert_eq!(sends(5).unwrap().len(), 5);
    });
}

#[test]
fn a_lost_entry_that_was_replaced_asks_for_no_newer_snapshot() {
    on_both(|disk| {
        let (store, _) = with_lost(disk, &[8]);
        let store = store.with_snapshots(|_, _| Some(snapshot(4, 2)));
        let read = store.entries(8, 10, None, GetEntriesContext::empty(true));
        assert_eq!(read, Err(RaftError::Store(StorageError::Compacted)));
        assert!(store.snapshot(0, 2).is_err());
        store.append(&entries(5, 7..8)).unwrap().wait().unwrap();
        assert_eq!(store.snapshot(0, 2), Ok(snapshot(4, 2)));
        store.append(&entries(5, 8..9)).unwrap().wait().unwrap();
        assert_eq!(store.snapshot(0, 2), Ok(snapshot(4, 2)));
    });
}

/// A leader of one, with a learner that says it has nothing; what the leader sends it.
fn sent_to_a_new_learner(fault: impl FnOnce(&Holed)) -> Vec<MessageType> {
    let below = Holed::default();
    let store = LogStore::open(below.clone(), 1).unwrap().with_snapshots(|_, _| Some(snapshot(2, 1)));
    store.initialize(ConfState::from((vec![1], vec![2]))).unwrap();
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&Config::new(1), store.clone(), &logger).unwrap();
    let work = |node: &mut RawNode<_>| {
        let mut sent = Vec::new();
        while node.has_ready() {
            let mut ready = node.ready();
            sent.extend(ready.take_messages());
            store.persist(&ready).unwrap().wait().unwrap();
            sent.extend(ready.take_persisted_messages());
            sent.extend(node.advance(ready).take_messages());
            node.advance_apply();
        }
        sent
    };
    node.campaign().unwrap();
    work(&mut node);
    node.propose(Vec::new(), b"a proposal".to_vec()).unwrap();
    work(&mut node);
    fault(&below);
    let mut refusal = Message { from: 2, to: 1, term: 1, index: 0, reject: true, ..Message::default() };
    refusal.set_msg_type(MessageType::MsgAppendResponse);
    node.step(refusal).unwrap();
    work(&mut node).iter().map(Message::get_msg_type).collect()
}

#[test]
fn leader_lives_on_when_it_cannot_read_what_a_follower_needs() {
    assert_eq!(sent_to_a_new_learner(|_| {}), [MessageType::MsgAppend]);
    let lost = |below: &Holed| below.lost.lock().unwrap().extend([1]);
    assert_eq!(sent_to_a_new_learner(lost), [MessageType::MsgSnapshot]);
    let failing = |below: &Holed| *below.failing.lock().unwrap() = true;
    assert_eq!(sent_to_a_new_learner(failing), []);
}

#[test]
fn entry_that_does_not_decode_is_as_a_lost_one() {
    // Not of this encoding, cut short, of another place, of another term.
    for data in [&[0, 8, 3][..], &[34, 200], &[16, 1, 24, 4], &[16, 2, 24, 3]] {
        let below = MemoryStore::new();
        let store = LogStore::open(below.clone(), 1).unwrap();
        store.append(&entries(1, 1..3)).unwrap().wait().unwrap();
        below.append(&[Entry::new(3, 1, data.to_vec())]).unwrap();
        let store = LogStore::open(below, 1).unwrap();
        let read = |low, sending| store.entries(low, 4, None, GetEntriesContext::empty(sending));
        assert_eq!(read(1, true).unwrap(), entries(1, 1..3));
        assert_eq!(read(1, false).unwrap(), entries(1, 1..3));
        assert_eq!(read(3, true), Err(RaftError::Store(StorageError::Compacted)));
        for error in [inside(read(3, false).unwrap_err()), store.take_read_error().unwrap()] {
            assert!(matches!(error, Error::Decode { .. } | Error::OtherEntry { .. }), "{error}");
            assert!(error.to_string().contains("index 3 term 1"), "{error}");
        }
        assert!(store.verify(1..4).is_err());
    }
}

#[test]
fn read_that_fails_is_tried_again_by_whoever_sends() {
    let (below, store) = holed();
    *below.failing.lock().unwrap() = true;
    assert_eq!(sends(&store, 1..3), Err(RaftError::Store(StorageError::LogTemporarilyUnavailable)));
    assert!(matches!(store.take_read_error(), Some(Error::Store(StoreError::Io { .. }))));
    assert!(matches!(inside(needs(&store, 1..3).unwrap_err()), Error::Store(StoreError::Io { .. })));
    *below.failing.lock().unwrap() = false;
    assert_eq!(sends(&store, 1..3).unwrap().len(), 2);
}

#[test]
fn terms_between_equal_ones_are_known_and_others_are_not() {
    let (below, _) = holed();
    // Between two of the same term; between different ones, one left and right of the change.
    for (lost, expected) in [
        (vec![2, 5, 8], None),
        (vec![1, 2], Some(1..3)),
        (vec![3], Some(3..4)),
        (vec![4], Some(4..5)),
        (vec![3, 4, 5, 6], Some(3..7)),
        (vec![8, 9], None),
        (vec![7], Some(7..8)),
    ] {
        *below.lost_terms.lock().unwrap() = lost.iter().copied().collect();
        match (LogStore::open(below.clone(), 1), expected) {
            (Ok(store), None) => {
                let terms: Vec<_> = (0..=9).map(|index| store.term(index).unwrap()).collect();
                assert_eq!(terms, [0, 1, 1, 1, 2, 2, 2, 4, 4, 4], "without {lost:?}");
            }
            (Err(Error::TermsLost { first, end }), Some(range)) => assert_eq!(first..end, range, "without {lost:?}"),
            (found, expected) => panic!("without {lost:?}: {expected:?}, {:?}", found.err()),
        }
    }
}

#[test]
fn bounds_and_terms_come_from_memory_however_many_terms_there_are() {
    let disk = SimFs::new();
    {
        let store = LogStore::open(options(&disk).segment_bytes(256 << 10).open("/node").unwrap(), 1).unwrap();
        for term in 1..3000 {
            store.append(&entries(term, term..term + 1)).unwrap().wait().unwrap();
        }
        store.store().close().unwrap();
    }
    let store = LogStore::open(options(&disk).segment_bytes(256 << 10).open("/node").unwrap(), 1).unwrap();
    let before = disk.counts();
    for index in 0..3000 {
        assert_eq!(store.term(index), Ok(index));
    }
    assert_eq!((store.first_index(), store.last_index()), (Ok(1), Ok(2999)));
    assert_eq!(disk.counts(), before);
    // Nor does a disk that fails matter.
    disk.fail_next(OperationKind::Read, io::ErrorKind::Other);
    assert_eq!(store.term(1500), Ok(1500));
}

#[test]
fn reopened_store_is_the_same() {
    let disk = SimFs::new();
    for life in 0..20 {
        let store = open(&disk).unwrap();
        let last = store.last_index().unwrap();
        assert_eq!(log(&store), (1..=last).map(|index| super::entry(index, index.div_ceil(7))).collect::<Vec<_>>());
        for index in last + 1..last + 8 {
            store.append(&[super::entry(index, index.div_ceil(7))]).unwrap().wait().unwrap();
        }
        store.set_hard_state(&super::hard_state(life + 1, life % 3 + 1, last)).unwrap();
        store.store().close().unwrap();
        let store = open(&disk).unwrap();
        assert_eq!(store.hard_state(), super::hard_state(life + 1, life % 3 + 1, last));
    }
}
