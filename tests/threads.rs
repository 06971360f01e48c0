//! Many threads on one journal: writers that share syncs, readers that never wait, truncations and votes in between.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use raft_journal::{Entry, Error, Journal, LogStore, OpenOptions, Position, StableStore};

const ENTRIES: u64 = 12_000;
const WRITERS: u64 = 8;

fn entry(index: u64) -> Entry {
    Entry::new(index, 1 + index / 1000, vec![index as u8; 50 + (index % 400) as usize])
}

/// What the threads share.
struct Shared {
    journal: Journal,
    next: Mutex<u64>,
    /// The highest index whose durability was acknowledged.
    acknowledged: AtomicU64,
    purged: AtomicU64,
    called_back: AtomicU64,
    done: AtomicBool,
}

fn write(shared: &Arc<Shared>) {
    loop {
        let (index, pending) = {
            let mut next = shared.next.lock().unwrap();
            let index = *next;
            if index > ENTRIES {
                return;
            }
            *next += 1;
            (index, shared.journal.append_pending(&[entry(index)]).expect("an append"))
        };
        if index % 3 == 0 {
            let shared = Arc::clone(shared);
            pending.on_durable(Box::new(move |position| {
                assert_eq!(position.expect("a sync").index, index);
                shared.called_back.fetch_add(1, Ordering::SeqCst);
            }));
        } else {
            pending.wait().expect("a sync");
            shared.acknowledged.fetch_max(index, Ordering::SeqCst);
            let durable = shared.journal.state().durable.expect("something is durable");
            assert!(durable.index >= index, "{durable} is behind {index}, which was acknowledged");
        }
    }
}

fn read(shared: &Shared, seed: u64) {
    let mut random = seed;
    while !shared.done.load(Ordering::SeqCst) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let state = shared.journal.state();
        let (Some(first), Some(last)) = (state.first_index(), state.last_index()) else { continue };
        let index = first + (random >> 20) % (last - first + 1);
        // The head may pass the index meanwhile: that, and nothing else, is an answer too.
        match shared.journal.entry(index) {
            Ok(found) => assert_eq!(found, entry(index)),
            Err(Error::BeforeFirst { .. }) => {}
            Err(error) => panic!("entry {index}: {error}"),
        }
        match shared.journal.entries(index..last + 1, 10_000) {
            Ok(found) => {
                assert!(!found.is_empty());
                (index..).zip(found).for_each(|(index, found)| assert_eq!(found, entry(index)));
            }
            Err(Error::BeforeFirst { .. }) => {}
            Err(error) => panic!("entries from {index}: {error}"),
        }
    }
}

fn truncate_and_vote(shared: &Shared) {
    for round in 0.. {
        if shared.done.load(Ordering::SeqCst) {
            return;
        }
        let acknowledged = shared.acknowledged.load(Ordering::SeqCst);
        if acknowledged > shared.purged.load(Ordering::SeqCst) + 700 {
            let index = acknowledged - 500;
            shared.journal.truncate_head(Position::new(index, entry(index).term)).expect("a head truncation");
            shared.purged.store(index, Ordering::SeqCst);
        }
        shared.journal.set_u64(b"round", round).expect("a vote");
        assert_eq!(shared.journal.get_u64(b"round").expect("open"), Some(round));
    }
}

#[test]
fn threads_that_write_read_truncate_and_vote_agree_on_one_log() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("journal");
    let options = OpenOptions::new().segment_bytes(64 << 10).tail_cache_bytes(20_000).index_cache_bytes(4096);
    let shared = Arc::new(Shared {
        journal: options.open(&dir).unwrap(),
        next: Mutex::new(1),
        acknowledged: AtomicU64::new(0),
        purged: AtomicU64::new(0),
        called_back: AtomicU64::new(0),
        done: AtomicBool::new(false),
    });
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|seed| (seed, &shared)).collect();
        readers.into_iter().for_each(|(seed, shared)| _ = scope.spawn(move || read(shared, seed)));
        scope.spawn(|| truncate_and_vote(&shared));
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| write(&shared))).collect();
        let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        shared.done.store(true, Ordering::SeqCst);
        assert!(results.into_iter().all(|result| result.is_ok()), "a writer failed");
    });
    let purged = shared.purged.load(Ordering::SeqCst);
    assert!(purged > 0, "the head was never truncated");
    shared.journal.close().unwrap();
    assert_eq!(shared.called_back.load(Ordering::SeqCst), ENTRIES / 3, "each callback ran once");
    assert!(matches!(shared.journal.entry(ENTRIES), Err(Error::Closed)));

    let journal = options.open(&dir).unwrap();
    let state = journal.state();
    assert_eq!((state.purged.map(|purged| purged.index), state.last_index()), (Some(purged), Some(ENTRIES)));
    let found = journal.entries(purged + 1..ENTRIES + 1, u64::MAX).unwrap();
    assert_eq!(found, (purged + 1..=ENTRIES).map(entry).collect::<Vec<_>>());
    let files = std::fs::read_dir(&dir).unwrap().count();
    assert!(files < 20, "{files} files: removed segments pile up");
}
