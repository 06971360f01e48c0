//! The cases of the tests that raft-rs has for its `MemStorage`, and of etcd's for the same.
//!
//! In two places `MemStorage` itself is not what the trait asks for, and the journal is: after a compaction it no longer
//! knows the term before the first index, and it renames a snapshot that is older than what was asked for.

use raft::eraftpb::Entry;
use raft::{Error as RaftError, GetEntriesContext, Storage, StorageError};
use raft_journal::adapters::raft_rs::{Backend, Error, LogStore};
use raft_journal::{Error as StoreError, Position};

use super::{OnEach, entries, entry, hard_state, log, memory, on_each, snapshot, voters};

fn compacted<T>() -> raft::Result<T> {
    Err(RaftError::Store(StorageError::Compacted))
}

fn unavailable<T>() -> raft::Result<T> {
    Err(RaftError::Store(StorageError::Unavailable))
}

/// Entries 3 to 5, each in a term of its own number, behind a snapshot at entry 2 of term 2.
fn filled<S: Backend>(store: S) -> LogStore<S> {
    let store = LogStore::open(store, 1).unwrap();
    store.apply_snapshot(&snapshot(2, 2)).unwrap();
    store.append(&[entry(3, 3), entry(4, 4), entry(5, 5)]).unwrap().wait().unwrap();
    store
}

struct Bounds;

impl OnEach for Bounds {
    fn on<S: Backend>(&self, store: S) {
        let store = LogStore::open(store, 1).unwrap();
        // A new log: as if compacted at 0, whose term is 0.
        assert_eq!((store.first_index(), store.last_index(), store.term(0)), (Ok(1), Ok(0), Ok(0)));
        assert_eq!(store.term(1), unavailable());
        assert_eq!(store.entries(1, 1, None, GetEntriesContext::empty(false)), Ok(Vec::new()));
        store.append(&entries(1, 1..3)).unwrap().wait().unwrap();
        assert_eq!((store.first_index(), store.last_index(), store.term(0)), (Ok(1), Ok(2), Ok(0)));
        store.apply_snapshot(&snapshot(7, 2)).unwrap();
        assert_eq!((store.first_index(), store.last_index(), store.term(7)), (Ok(8), Ok(7), Ok(2)));
        store.append(&[entry(8, 2)]).unwrap().wait().unwrap();
        assert_eq!((store.first_index(), store.last_index()), (Ok(8), Ok(8)));
        store.compact(9).unwrap();
        assert_eq!((store.first_index(), store.last_index(), store.term(8)), (Ok(9), Ok(8), Ok(2)));
    }
}

#[test]
fn bounds_of_a_log_that_is_new_or_filled_or_compacted() {
    on_each(&Bounds);
}

struct Terms;

impl OnEach for Terms {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        let expected = [(1, compacted()), (2, Ok(2)), (3, Ok(3)), (4, Ok(4)), (5, Ok(5)), (6, unavailable())];
        for (index, term) in expected {
            assert_eq!(store.term(index), term, "term of {index}");
        }
        store.compact(5).unwrap();
        let expected = [(3, compacted()), (4, Ok(4)), (5, Ok(5)), (6, unavailable())];
        for (index, term) in expected {
            assert_eq!(store.term(index), term, "term of {index}, compacted");
        }
    }
}

#[test]
fn terms_are_known_from_the_purged_position_to_the_last_entry() {
    on_each(&Terms);
}

struct Ranges;

impl OnEach for Ranges {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        store.append(&[entry(6, 6)]).unwrap().wait().unwrap();
        let sizes: Vec<u64> =
            (3..7).map(|index| u64::from(protobuf::Message::compute_size(&entry(index, index)))).collect();
        let all: Vec<Entry> = (3..7).map(|index| entry(index, index)).collect();
        let read =
            |low, high, max_size: Option<u64>| store.entries(low, high, max_size, GetEntriesContext::empty(false));
        assert_eq!(read(2, 6, None), compacted());
        assert_eq!(read(1, 2, None), compacted());
        assert_eq!(read(3, 8, None), unavailable());
        assert_eq!(read(5, 4, None), unavailable());
        for low in 3..=7 {
            for high in low..=7 {
                let expected = all[low as usize - 3..high as usize - 3].to_vec();
                assert_eq!(read(low, high, None), Ok(expected.clone()), "{low}..{high}");
                assert_eq!(read(low, high, Some(raft::NO_LIMIT)), Ok(expected.clone()), "{low}..{high}");
                // A budget of nothing still gives one.
                assert_eq!(read(low, high, Some(0)), Ok(expected.iter().take(1).cloned().collect()), "{low}..{high}");
                // One byte less than what some take, just that, and one more.
                for count in 1..=expected.len() {
                    let bytes: u64 = sizes[low as usize - 3..][..count].iter().sum();
                    for (budget, fitting) in [(bytes - 1, count - 1), (bytes, count), (bytes + 1, count)] {
                        let fitting = expected[..fitting.max(1)].to_vec();
                        assert_eq!(read(low, high, Some(budget)), Ok(fitting), "{low}..{high}, {budget} bytes");
                    }
                }
            }
        }
    }
}

#[test]
fn ranges_are_half_open_and_bounded_by_bytes_but_for_the_first_entry() {
    on_each(&Ranges);
}

struct Appends;

impl OnEach for Appends {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        let before = [entry(3, 3), entry(4, 4), entry(5, 5)];
        // What is appended, and what the log is then.
        let cases: [(&[Entry], &[Entry]); 7] = [
            (&before, &before),
            (&[entry(3, 3), entry(4, 6), entry(5, 6)], &[entry(3, 3), entry(4, 6), entry(5, 6)]),
            (
                &[entry(3, 3), entry(4, 4), entry(5, 5), entry(6, 5)],
                &[entry(3, 3), entry(4, 4), entry(5, 5), entry(6, 5)],
            ),
            // An identical beginning cuts the rest off, as any other.
            (&[entry(3, 3)], &[entry(3, 3)]),
            (&[entry(4, 5)], &[entry(3, 3), entry(4, 5)]),
            (&[entry(6, 6)], &[entry(3, 3), entry(4, 4), entry(5, 5), entry(6, 6)]),
            (&[], &before),
        ];
        for (appended, after) in cases {
            store.append(&before).unwrap().wait().unwrap();
            assert_eq!(log(&store), before);
            store.append(appended).unwrap().wait().unwrap();
            assert_eq!(log(&store), after);
            let terms: Vec<u64> = (3..=store.last_index().unwrap()).map(|index| store.term(index).unwrap()).collect();
            assert_eq!(terms, after.iter().map(|entry| entry.term).collect::<Vec<_>>());
        }
        // Where MemStorage panics: below the log, and behind a hole.
        store.append(&before).unwrap().wait().unwrap();
        let refused = |entries: &[Entry]| store.append(entries).unwrap_err();
        let purged = Position::new(2, 2);
        let below = refused(&[entry(2, 3), entry(3, 3), entry(4, 5)]);
        assert!(matches!(below, Error::Store(StoreError::Purged { index: 2, purged: at }) if at == purged));
        assert!(matches!(refused(&[entry(7, 7)]), Error::Store(StoreError::Gap { expected: 6, found: 7 })));
        assert!(matches!(refused(&[entry(6, 4)]), Error::Store(StoreError::TermFell { index: 6, .. })));
        assert!(matches!(refused(&[entry(4, 2)]), Error::Store(StoreError::TermFell { index: 4, .. })));
        assert_eq!(log(&store), before);
    }
}

#[test]
fn append_overlaps_identically_or_in_conflict_or_extends() {
    on_each(&Appends);
}

#[test]
fn new_log_starts_at_index_1() {
    let store = memory();
    let refused = |entries: &[Entry]| store.append(entries).unwrap_err();
    assert!(matches!(refused(&[entry(0, 1)]), Error::Store(StoreError::Purged { index: 0, .. })));
    assert!(matches!(refused(&[entry(2, 1)]), Error::Store(StoreError::Gap { expected: 1, found: 2 })));
    assert_eq!(store.last_index(), Ok(0));
    store.append(&[entry(1, 1)]).unwrap().wait().unwrap();
}

struct Compactions;

impl OnEach for Compactions {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        // Each index in turn: what is there before the first one is no error.
        for index in 0..=6 {
            store.compact(index).unwrap();
            let first = index.max(3);
            assert_eq!((store.first_index(), store.last_index()), (Ok(first), Ok(5)), "compacted at {index}");
            assert_eq!(store.term(first - 1), Ok(first - 1), "compacted at {index}");
            assert_eq!(log(&store).len() as u64, 6 - first);
            // A crash finds nothing committed that was compacted, and no log that begins behind the commit index.
            assert!(store.hard_state().commit + 1 >= first);
        }
        assert!(matches!(store.compact(7), Err(Error::CompactBeyondEnd { compact_index: 7, last_index: 5 })));
        assert_eq!(RaftError::from(store.compact(7).unwrap_err()), RaftError::Store(StorageError::Unavailable));
        assert_eq!(store.first_index(), Ok(6));
        store.append(&[entry(6, 6)]).unwrap().wait().unwrap();
        assert_eq!(log(&store), [entry(6, 6)]);
    }
}

#[test]
fn compaction_at_each_index() {
    on_each(&Compactions);
}

struct Snapshots;

impl OnEach for Snapshots {
    fn on<S: Backend>(&self, store: S) {
        let store = filled(store);
        // The one that the log begins with, as a node may ask for it again; but not another one in its place.
        assert!(matches!(
            store.apply_snapshot(&snapshot(2, 1)),
            Err(Error::Store(StoreError::PurgedTermDiffers { .. }))
        ));
        assert_eq!((log(&store).len(), store.hard_state()), (3, hard_state(2, 0, 2)));
        store.apply_snapshot(&snapshot(2, 2)).unwrap();
        assert_eq!((log(&store).len(), store.hard_state()), (0, hard_state(2, 0, 2)));
        // What lies before the log, and what would take back committed entries.
        store.append(&[entry(3, 3), entry(4, 4), entry(5, 5)]).unwrap().wait().unwrap();
        store.set_hard_state(&hard_state(5, 2, 4)).unwrap();
        for (index, term) in [(0, 0), (1, 1), (1, 9), (2, 2), (3, 3)] {
            let error = store.apply_snapshot(&snapshot(index, term)).unwrap_err();
            assert!(matches!(error, Error::SnapshotOutOfDate { .. }), "{error}");
            assert_eq!(RaftError::from(error), RaftError::Store(StorageError::SnapshotOutOfDate));
        }
        assert_eq!((log(&store).len(), store.hard_state()), (3, hard_state(5, 2, 4)));
        // Within the log, with its own term or with another one: nothing stays behind it.
        for (at, (index, term)) in [(4, 4), (9, 9)].into_iter().enumerate() {
            let first = store.first_index().unwrap();
            store.append(&entries(first + at as u64, first..index + 2)).unwrap().wait().unwrap();
            store.apply_snapshot(&snapshot(index, term)).unwrap();
            assert_eq!((store.first_index(), store.last_index()), (Ok(index + 1), Ok(index)));
            assert_eq!((store.term(index), store.term(index - 1)), (Ok(term), compacted()));
        }
        // A newer term has no vote yet.
        assert_eq!(store.hard_state(), hard_state(9, 0, 9));
        assert_eq!(store.conf_state(), voters());
        store.append(&[entry(10, 9)]).unwrap().wait().unwrap();
        assert_eq!(log(&store), [entry(10, 9)]);
    }
}

#[test]
fn snapshots_replace_the_log_unless_they_are_out_of_date() {
    on_each(&Snapshots);
}

#[test]
fn snapshots_for_followers_are_never_older_than_they_may_be() {
    let offered = std::sync::Arc::new(std::sync::Mutex::new(None));
    let source = std::sync::Arc::clone(&offered);
    let store = memory().with_snapshots(move |_, _| source.lock().unwrap().clone());
    store.append(&entries(1, 1..6)).unwrap().wait().unwrap();
    store.compact(4).unwrap();
    let not_yet = Err(RaftError::Store(StorageError::SnapshotTemporarilyUnavailable));
    assert_eq!(store.snapshot(0, 2), not_yet);
    // None at all, an empty one, one that ends before the log begins, one older than what was asked for.
    for (index, request_index) in [(0, 0), (2, 0), (4, 5)] {
        *offered.lock().unwrap() = Some(snapshot(index, 1));
        assert_eq!(store.snapshot(request_index, 2), not_yet, "{index} for {request_index}");
    }
    for (index, request_index) in [(3, 0), (5, 0), (5, 5)] {
        *offered.lock().unwrap() = Some(snapshot(index, 1));
        assert_eq!(store.snapshot(request_index, 2), Ok(snapshot(index, 1)));
    }
    assert_eq!(memory().snapshot(0, 2), not_yet);
}

#[test]
fn metadata_of_a_snapshot_has_the_entrys_term_and_the_configuration() {
    let store = filled(raft_journal::MemoryStore::new());
    for index in 2..=5 {
        let metadata = store.metadata(index).unwrap();
        assert_eq!((metadata.index, metadata.term), (index, index));
        assert_eq!(metadata.get_conf_state(), &voters());
    }
    assert!(matches!(store.metadata(1), Err(Error::Store(StoreError::BeforeFirst { index: 1, first: 3 }))));
    assert!(matches!(store.metadata(6), Err(Error::Store(StoreError::AfterLast { index: 6, next: 6 }))));
}
