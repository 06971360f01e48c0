//! Appends, reads and truncations beside a repair.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use raft_journal::io::sim::{Schedule, SimFs};
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Entry, Error, Journal, LogStore, OnDamage, Position};

use crate::common::{Disk, append_each, entries, entry, log, on_both};
use crate::pass_on::pass_on;

fn cold(disk: &Disk) -> Journal {
    disk.options().tail_cache_bytes(0).on_damage(OnDamage::Accept).open(&disk.dir).unwrap()
}

#[test]
fn readers_see_an_entry_damaged_or_right_and_appends_go_on_while_it_is_repaired() {
    on_both(|disk| {
        disk.threaded_tasks();
        let held = entries(1..=60, 1);
        let journal = disk.open();
        append_each(&journal, &held);
        journal.close().unwrap();
        let lost: Vec<&Entry> = held.iter().skip(4).step_by(7).take(7).collect();
        for entry in &lost {
            let (name, at) = disk.find(&entry.data);
            disk.flip(&name, at + 50);
        }
        let journal = cold(disk);
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        for entry in &held {
                            match journal.entry(entry.index) {
                                Ok(found) => assert_eq!(found, *entry),
                                Err(Error::Damaged(damage)) => assert!(damage.indexes.contains(entry.index)),
                                Err(error) => panic!("{error}"),
                            }
                        }
                        let range = journal.entries(1..61, u64::MAX).unwrap();
                        assert_eq!(range, held[..range.len()]);
                        let told = journal.damaged();
                        assert!(told.iter().all(|damage| lost.iter().any(|e| damage.indexes.contains(e.index))));
                    }
                });
            }
            threads.spawn(|| {
                for index in 61.. {
                    journal.append(&[entry(index, 1, 300)]).unwrap();
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                }
            });
            // Two who heal at once: each entry is put back by one of them.
            let repaired: usize = (0..2)
                .map(|_| threads.spawn(|| lost.iter().filter(|e| journal.repair(&[(**e).clone()]).is_ok()).count()))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|healer| healer.join().unwrap())
                .sum();
            assert_eq!(repaired, lost.len());
            lost.iter().for_each(|entry| assert_eq!(journal.entry(entry.index).unwrap(), **entry));
            done.store(true, Ordering::Release);
        });
        assert_eq!(journal.damaged(), []);
        let last = journal.state().last.unwrap().index;
        let expected = entries(1..=last, 1);
        assert!(log(&journal) == expected && log(&disk.killed().open()) == expected);
    });
}

// A close that does not wait gives up the lock while a file is being made, whose number the next owner of the directory gives
// to one of its own.
#[test]
fn nothing_of_a_repair_happens_behind_a_close() {
    let (mut repaired, mut refused) = (0, 0);
    for seed in 0..200 {
        let (disk, held) = (Disk::simulated(), entries(1..=12, 1));
        let journal = cold(&disk);
        append_each(&journal, &held);
        let (name, at) = disk.find(&held[6].data);
        disk.flip(&name, at + 50);
        let (healer, lost) = (journal.clone(), held[6..7].to_vec());
        let was_repaired = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&was_repaired);
        let repair = move || match healer.repair(&lost) {
            Ok(()) => told.store(true, Ordering::SeqCst),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        };
        let (sim, until_close) = (disk.sim().clone(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&until_close);
        let close = move || {
            journal.close().unwrap();
            count.store(sim.operations().len(), Ordering::SeqCst);
        };
        Schedule::new(seed).thread("repair", repair).thread("close", close).run().unwrap();
        let behind = disk.sim().operations().split_off(until_close.load(Ordering::SeqCst));
        assert!(behind.is_empty(), "seed {seed}: {behind:?}");
        let was_repaired = was_repaired.load(Ordering::SeqCst);
        assert_eq!(cold(&disk).entry(7).is_ok(), was_repaired, "seed {seed}");
        *(if was_repaired { &mut repaired } else { &mut refused }) += 1;
    }
    assert!(repaired > 20 && refused > 20, "{repaired} repaired, {refused} refused");
}

#[test]
fn a_read_under_way_outlives_the_truncation_that_gives_its_repair_file_up() {
    on_both(|disk| {
        let held = entries(1..=60, 1);
        let journal = disk.open();
        append_each(&journal, &held);
        journal.close().unwrap();
        let (name, at) = disk.find(&held[4].data);
        disk.flip(&name, at + 50);
        let journal = cold(disk);
        assert!(journal.entry(5).is_err());
        journal.repair(&held[4..5]).unwrap();
        std::thread::scope(|threads| {
            let reader = threads.spawn(|| {
                loop {
                    match journal.entry(5) {
                        Ok(found) => assert_eq!(found, held[4]),
                        Err(Error::BeforeFirst { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            journal.truncate_head(Position::new(50, 1)).unwrap();
            reader.join().unwrap();
        });
        drop(journal);
        let journal = disk.open();
        assert_eq!(log(&journal), held[50..]);
        assert!(disk.names().iter().all(|name| !name.contains(".rep")), "{:?}", disk.names());
    });
}

// A record must outlive its entries: the batch that they were lost from is met by the next scan.
#[test]
fn a_repaired_entry_that_was_truncated_meanwhile_does_not_make_the_next_open_refuse() {
    on_both(|disk| {
        let held = entries(1..=12, 1);
        let journal = cold(disk);
        append_each(&journal, &held);
        let (name, at) = disk.find(&held[6].data);
        disk.flip(&name, at + 50);
        assert!(journal.entry(7).is_err());
        journal.repair(&held[6..7]).unwrap();
        journal.truncate_tail(6).unwrap();
        journal.append(&[entry(6, 2, 300)]).unwrap();
        journal.truncate_head(Position::new(3, 1)).unwrap();
        let expected = [&held[3..5], &[entry(6, 2, 300)]].concat();
        for left in [disk.killed(), disk.killed()] {
            let journal = left.open();
            assert_eq!((journal.recovery_report().damaged.len(), log(&journal)), (0, expected.clone()));
            journal.truncate_head(Position::new(6, 2)).unwrap();
            append_each(&journal, &entries(7..=9, 2));
            assert_eq!(log(&left.killed().open()), entries(7..=9, 2));
        }
    });
}

/// A disk on which something else happens when a repair file is made.
#[derive(Debug)]
struct Meanwhile {
    below: SimFs,
    call: Mutex<Option<Call>>,
}

struct Call(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Call")
    }
}

impl Fs for Meanwhile {
    fn open(&self, path: &Path, mode: Mode) -> std::io::Result<Arc<dyn File>> {
        if mode == Mode::Create && path.to_string_lossy().contains(".rep") {
            let call = self.call.lock().unwrap().take();
            call.into_iter().for_each(|Call(call)| call());
        }
        self.below.open(path, mode)
    }

    pass_on!(below: create_dir kind list rename remove sync_dir lock entropy tasks);
}

// Guards: the log was truncated while a repair wrote its file, and `meta` named that file for entries that were gone: without it,
// a later open refused the journal.
#[test]
fn what_is_purged_while_it_is_put_back_needs_no_repair() {
    let held = entries(1..=60, 1);
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &held);
    journal.close().unwrap();
    let (name, at) = disk.find(&held[4].data);
    disk.flip(&name, at + 50);
    let fs = Arc::new(Meanwhile { below: disk.sim().clone(), call: Mutex::default() });
    let options = disk.options().tail_cache_bytes(0).file_system(Arc::clone(&fs) as Arc<dyn Fs>);
    let journal = Arc::new(options.open(&disk.dir).unwrap());
    journal.entry(5).unwrap_err();
    let other = Arc::clone(&journal);
    let call = move || other.truncate_head(Position::new(20, 1)).unwrap();
    *fs.call.lock().unwrap() = Some(Call(Box::new(call)));
    let repaired = journal.repair(&held[4..5]);
    assert!(matches!(repaired, Err(Error::BeforeFirst { index: 5, first: 21 })), "{repaired:?}");
    assert!(fs.call.lock().unwrap().is_none());
    assert_eq!(journal.damaged(), []);
    journal.close().unwrap();
    assert!(disk.names().iter().all(|name| !name.ends_with(".rep")), "{:?}", disk.names());
    assert_eq!(log(&disk.open()), held[20..]);
}
