//! Promise 6: reads wait for no write, and see one log.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use raft_journal::io::sim::SimFs;
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Entry, Error, Journal, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, entry, on_both};
use crate::pass_on::pass_on;

/// Every kind of read.
fn read_everything(journal: &Journal, last: u64) {
    assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 300));
    assert_eq!(journal.entry(last).unwrap(), entry(last, 1, 300));
    assert_eq!(journal.entries(1..last + 1, u64::MAX).unwrap(), entries(1..=last, 1));
    assert_eq!(journal.term(last).unwrap(), 1);
    assert_eq!(journal.state().last, Some(Position::new(last, 1)));
    assert_eq!(journal.get_u64(b"vote").unwrap(), Some(1));
    assert!(journal.entry(last + 1).is_err());
}

#[test]
fn reads_do_not_wait_for_a_sync_that_hangs() {
    for cache_bytes in [0, 1 << 20] {
        let disk = Disk::simulated();
        disk.sim().threaded_tasks();
        // One file that is not half full: no other sync is under way.
        let options = disk.options().segment_bytes(64 << 10).tail_cache_bytes(cache_bytes);
        let journal = options.open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=40, 1));
        journal.set_u64(b"vote", 1).unwrap();
        let while_held = |call: &(dyn Fn() + Sync), last| {
            std::thread::scope(|scope| {
                let hold = disk.sim().hold_syncs();
                let caller = scope.spawn(call);
                disk.sim().wait_for_held_syncs(1);
                read_everything(&journal, last);
                assert!(!caller.is_finished(), "the call does not wait for the disk");
                drop(hold);
            });
        };
        while_held(&|| _ = journal.append(&entries(41..=41, 1)).unwrap(), 41);
        while_held(&|| journal.truncate_tail(41).unwrap(), 40);
        while_held(&|| journal.set_u64(b"other", 1).unwrap(), 40);
        let _pending = journal.append_pending(&entries(41..=41, 1)).unwrap();
        while_held(&|| journal.sync().unwrap(), 41);
    }
}

// Promise 6, where the sync is a rotation's, under the writer's lock.
#[test]
fn reads_do_not_wait_for_a_rotation_that_hangs() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    let journal = disk.options().tail_cache_bytes(0).index_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=20, 1));
    journal.set_u64(b"vote", 1).unwrap();
    // Larger than what is left in the file.
    let large = entry(21, 1, 7000);
    std::thread::scope(|scope| {
        let hold = disk.sim().hold_syncs();
        let writer = scope.spawn(|| journal.append(std::slice::from_ref(&large)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        read_everything(&journal, 20);
        assert!(!writer.is_finished());
        drop(hold);
    });
    assert_eq!(journal.entry(21).unwrap(), large);
}

// Promise 6: never bytes that a truncation could take back under a reader.
#[test]
fn readers_beside_a_writer_see_one_log_or_the_other() {
    on_both(|disk| {
        disk.threaded_tasks();
        let journal = disk.options().tail_cache_bytes(2000).index_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=30, 1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let read = || {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) || reads == 0 {
                    let state = journal.state();
                    let (Some(first), Some(next)) = (state.first_index(), state.next_index()) else { continue };
                    match journal.entries(first..next, u64::MAX) {
                        Ok(found) => {
                            let terms = found.windows(2).all(|pair| pair[0].term <= pair[1].term);
                            let whole = found.iter().all(|e| *e == entry(e.index, e.term, 300));
                            let row = found.iter().zip(first..).all(|(e, index)| e.index == index);
                            assert!(terms && whole && row, "{state:?}");
                        }
                        // The log moved on since `state`.
                        Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    match journal.entry(first) {
                        Ok(found) => assert_eq!(found, entry(found.index, found.term, 300)),
                        Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    reads += 1;
                }
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            for round in 0..60 {
                let (term, next) = (round + 2, journal.state().next_index().unwrap());
                journal.replace_tail(&entries(next - 3..=next + 4, term)).unwrap();
                if round % 4 == 3 {
                    let position = Position::new(next - 10, journal.term(next - 10).unwrap());
                    journal.truncate_head(position).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
    });
}

/// Those of these indexes at which the log is not as `expected` has it: where that has no entry, there is an error.
fn differing(journal: &Journal, expected: &[Entry], indexes: Range<u64>) -> Vec<u64> {
    let is_as_expected = |&index: &u64| {
        let found = journal.entry(index);
        match expected.iter().find(|entry| entry.index == index) {
            Some(entry) => found.as_ref().ok() == Some(entry),
            None => matches!(found, Err(Error::BeforeFirst { .. } | Error::AfterLast { .. })),
        }
    };
    indexes.filter(|index| !is_as_expected(index)).collect()
}

// Promise 6: when a call that changes the log has returned, all threads read the changed log, also of entries that they read before.
#[test]
fn what_a_call_has_changed_every_thread_sees() {
    const THREADS: usize = 16;
    const STEPS: usize = 10;
    on_both(|disk| {
        let journal = disk.options().tail_cache_bytes(1000).open(&disk.dir).unwrap();
        let log = Mutex::new(entries(1..=100, 1));
        append_each(&journal, &log.lock().unwrap());
        let cut = |from: u64, with: Vec<Entry>| {
            let mut log = log.lock().unwrap();
            log.retain(|entry| entry.index < from);
            log.extend(with);
        };
        let append = |entries: Vec<Entry>| {
            append_each(&journal, &entries);
            cut(entries[0].index, entries);
        };
        let drop_head = |last: u64, term| {
            journal.truncate_head(Position::new(last, term)).unwrap();
            log.lock().unwrap().retain(|entry| entry.index > last);
        };
        let steps: [&dyn Fn(); STEPS] = [
            &|| {},
            &|| append(entries(101..=130, 1)),
            // Within a file.
            &|| drop_head(3, 1),
            &|| {
                journal.replace_tail(&entries(60..=90, 2)).unwrap();
                cut(60, entries(60..=90, 2));
            },
            &|| {
                journal.truncate_tail(40).unwrap();
                cut(40, Vec::new());
            },
            &|| append(entries(40..=100, 3)),
            &|| drop_head(30, 1),
            &|| {
                #[cfg(feature = "encryption")]
                journal.rewrite().unwrap();
            },
            &|| drop_head(100, 3),
            &|| append(entries(101..=160, 4)),
        ];
        let (turn, wrong) = (Barrier::new(THREADS + 1), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for step in 0..STEPS {
                        turn.wait();
                        let expected = log.lock().unwrap().clone();
                        let differing = differing(&journal, &expected, 0..170);
                        if !differing.is_empty() {
                            wrong.lock().unwrap().push((step, differing));
                        }
                        turn.wait();
                    }
                });
            }
            let outcomes = steps.map(|step| {
                let outcome = catch_unwind(AssertUnwindSafe(step));
                turn.wait();
                turn.wait();
                outcome
            });
            // Once the others are through.
            outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        });
        assert_eq!(*wrong.lock().unwrap(), []);
        assert!(journal.stats().rotations > 8);
    });
}

/// A disk on which something else happens behind the next read.
#[derive(Debug)]
struct Meanwhile {
    below: SimFs,
    next: Next,
}

type Next = Arc<Mutex<Option<Call>>>;

struct Call(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Call")
    }
}

#[derive(Debug)]
struct MeanwhileFile {
    below: Arc<dyn File>,
    next: Next,
}

impl Fs for Meanwhile {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let below = self.below.open(path, mode)?;
        Ok(Arc::new(MeanwhileFile { below, next: Arc::clone(&self.next) }))
    }

    pass_on!(below: create_dir kind list rename remove sync_dir lock entropy tasks);
}

impl File for MeanwhileFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.below.read_at(bytes, offset);
        let call = self.next.lock().unwrap().take();
        call.into_iter().for_each(|Call(call)| call());
        read
    }

    pass_on!(below: write_at sync_data len set_len allocate drop_cache);
}

// Guards: where an entry did not check out, and the tail was replaced meanwhile, the new entry came in the middle of the old ones.
#[test]
fn a_range_with_damage_is_of_one_log_whatever_replaces_the_tail_meanwhile() {
    let held = entries(1..=10, 2);
    // What is replaced, and what of the old log can still be told.
    for (from, old) in [(5, 4), (3, 4), (7, 4), (1, 0)] {
        let disk = Disk::simulated();
        append_each(&disk.open(), &held);
        let next = Next::default();
        let fs = Arc::new(Meanwhile { below: disk.sim().clone(), next: Arc::clone(&next) });
        let journal = Arc::new(disk.options().tail_cache_bytes(0).file_system(fs).open(&disk.dir).unwrap());
        let (name, at) = disk.find(&held[if from == 1 { 0 } else { 4 }].data);
        disk.flip(&name, at + 50);
        let other = Arc::clone(&journal);
        let call = move || _ = other.replace_tail(&entries(from..=10, 3)).unwrap();
        *next.lock().unwrap() = Some(Call(Box::new(call)));
        let found = journal.entries(1..11, u64::MAX).unwrap();
        assert!(next.lock().unwrap().is_none());
        let expected = if from == 1 { entries(1..=10, 3) } else { held[..old].to_vec() };
        assert_eq!(found, expected, "from {from}");
    }
}
