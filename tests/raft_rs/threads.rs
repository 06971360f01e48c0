//! Clones on several threads, and the order in which durability is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use raft::{Error as RaftError, GetEntriesContext, Storage, StorageError};
use raft_journal::adapters::raft_rs::LogStore;
use raft_journal::io::sim::SimFs;
use raft_journal::{Journal, OpenOptions};

use super::node::{Follower, Step};
use super::{entries, entry, hard_state, open, voters};

const END: u64 = 6000;

/// The term of the entry that is last written at an index.
fn term_of(index: u64) -> u64 {
    index / 500 + 1
}

#[test]
fn readers_and_a_compactor_beside_a_writer_see_only_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new().segment_bytes(64 << 10).tail_cache_bytes(4 << 10);
    let store = LogStore::open(options.open(dir.path().join("node")).unwrap(), 1).unwrap();
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (store, written) = (store.clone(), &written);
            scope.spawn(move || read_until_the_end(&store, written, number));
        }
        let (compactor, written_so_far) = (store.clone(), &written);
        scope.spawn(move || {
            loop {
                let end = written_so_far.load(Ordering::SeqCst);
                if end > 600 {
                    compactor.compact(end - 500).unwrap();
                }
                if end >= END {
                    return;
                }
                std::thread::yield_now();
            }
        });
        for first in (1..END).step_by(20) {
            let batch: Vec<_> = (first..first + 20).map(|index| entry(index, term_of(index))).collect();
            store.append(&batch).unwrap().wait().unwrap();
            // The second half once more, as after a change of leaders.
            store.append(&batch[10..]).unwrap().wait().unwrap();
            store.set_hard_state(&hard_state(term_of(first + 19), first % 3, first + 9)).unwrap();
            written.store(first + 19, Ordering::SeqCst);
        }
    });
    assert_eq!(store.last_index(), Ok(END));
    store.store().close().unwrap();
}

/// Reads here and there, and last of all the end.
fn read_until_the_end(store: &LogStore<Journal>, written: &AtomicU64, number: u64) {
    let mut place = number * 7 + 1;
    loop {
        let end = written.load(Ordering::SeqCst);
        place = (place * 31 + 17) % (end + 1) + 1;
        let high = (place + 50).min(store.last_index().unwrap() + 1);
        match store.entries(place, high.max(place), 4 << 10, GetEntriesContext::empty(false)) {
            Ok(found) => {
                let expected = (place..).map(|index| entry(index, term_of(index)));
                assert!(found.iter().cloned().eq(expected.take(found.len())), "from {place}: {found:?}");
            }
            // Compacted, or the end is being replaced and was there a moment ago.
            Err(RaftError::Store(StorageError::Compacted | StorageError::Unavailable)) => {}
            Err(error) => panic!("{error}"),
        }
        match store.term(place) {
            Ok(term) => assert_eq!(term, term_of(place)),
            Err(RaftError::Store(StorageError::Compacted | StorageError::Unavailable)) => {}
            Err(error) => panic!("{error}"),
        }
        if end >= END {
            assert_eq!(store.term(END), Ok(term_of(END)));
            return;
        }
    }
}

#[test]
fn ready_is_never_told_of_before_an_earlier_one() {
    let disk = SimFs::new();
    disk.queue_tasks(true);
    let store = open(&disk).unwrap();
    store.initialize(voters()).unwrap();
    let mut follower = Follower::start(store.clone());
    let told = Arc::new(Mutex::new(Vec::new()));
    let steps = [
        // Entries; a commit index alone; entries; a vote, which waits for the disk.
        Step::Append { term: 1, before: 0, first: 1, end: 4, commit: 0 },
        Step::Append { term: 1, before: 1, first: 4, end: 4, commit: 2 },
        Step::Append { term: 1, before: 1, first: 4, end: 6, commit: 2 },
        Step::Append { term: 1, before: 1, first: 6, end: 6, commit: 3 },
        Step::Vote { term: 2 },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        follower.node.step(super::node::message(step)).unwrap();
        let ready = follower.node.ready();
        let tells = Arc::clone(&told);
        let pending = store.persist(&ready).unwrap();
        pending.on_durable(Box::new(move |result| tells.lock().unwrap().push((number, result.is_ok()))));
        assert!(ready.messages().is_empty());
        follower.node.advance_append_async(ready);
        assert_eq!(*told.lock().unwrap(), [], "told before the thread for that ran");
    }
    disk.run_tasks();
    assert_eq!(*told.lock().unwrap(), [(0, true), (1, true), (2, true), (3, true), (4, true)]);
    assert_eq!(super::log(&store), entries(1, 1..6));
}

#[test]
fn nothing_of_a_ready_is_claimed_before_its_sync_where_it_does_not_wait() {
    let disk = SimFs::new();
    disk.queue_tasks(true);
    let store = open(&disk).unwrap();
    store.initialize(voters()).unwrap();
    let mut follower = Follower::start(store.clone());
    follower.take(Step::Vote { term: 1 }).unwrap();
    follower.wait().unwrap();
    let before = disk.counts().syncs;
    let told = Arc::new(AtomicU64::new(0));
    for first in [1, 4, 9] {
        let step = Step::Append { term: 1, before: u64::from(first > 1), first, end: first + 5, commit: 0 };
        follower.node.step(super::node::message(step)).unwrap();
        let ready = follower.node.ready();
        let told = Arc::clone(&told);
        let counted =
            move |result: raft_journal::Result<_>| _ = told.fetch_add(u64::from(result.is_ok()), Ordering::SeqCst);
        store.persist(&ready).unwrap().on_durable(Box::new(counted));
        follower.node.advance_append_async(ready);
        // Readable at once, as raft-rs wants it.
        assert_eq!(store.last_index(), Ok(first + 4));
    }
    assert_eq!((disk.counts().syncs, told.load(Ordering::SeqCst)), (before, 0));
    disk.run_tasks();
    // One sync for all three.
    assert_eq!((disk.counts().syncs, told.load(Ordering::SeqCst)), (before + 1, 3));
}
