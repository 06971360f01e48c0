//! A sync that fails while others wait for it.

use std::io::ErrorKind;
use std::sync::Arc;

use raft_journal::io::sim::{OperationKind, SimFs};
use raft_journal::{Error, Journal, LogStore, Position, Result, StableStore};
use shuttle::rand::Rng;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::common::{DIR, Promise, Promises, check, disk, entry_of, join, log, options, reopen};

/// The next entry's index; the lock is held while it is appended.
type Next = Arc<Mutex<u64>>;
type Told = Arc<std::sync::Mutex<Vec<(u64, bool)>>>;

/// Whether a write was acknowledged. The only other answers are that the journal is poisoned, and that a successor
/// could not be prepared: then nothing was written.
fn is_acknowledged<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::Poisoned { .. }) => false,
        Err(Error::Io { path, .. }) if path.extension().is_some_and(|extension| extension == "tmp") => false,
        Err(error) => panic!("{error}"),
    }
}

/// Appends entries of so many bytes until `count` are durable, or one never will be.
fn append_and_wait(count: u64, bytes: usize, journal: &Journal, next: &Next, disk: &SimFs, promises: &Promises) {
    for _ in 0..count {
        let pending = {
            let mut next = next.lock().unwrap();
            let pending = journal.append_pending(&[entry_of(*next, 1, bytes)]);
            *next += u64::from(pending.is_ok());
            pending
        };
        match pending.and_then(|pending| pending.wait()) {
            Ok(position) => promises.made(disk, Promise::Entry(position)),
            result => return assert!(!is_acknowledged(result)),
        }
    }
}

fn a_sync_fails_among_several(count: u64, bytes: usize) {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    disk.fail_at(OperationKind::Sync, shuttle::rand::thread_rng().gen_range(0..3 * count), ErrorKind::Other);
    let (next, told, promises) = (Arc::new(Mutex::new(1)), Told::default(), Promises::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (journal, next, disk, promises) = (journal.clone(), Arc::clone(&next), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || append_and_wait(count, bytes, &journal, &next, &disk, &promises)));
    }
    let called_back = {
        let (journal, next, told) = (journal.clone(), Arc::clone(&next), Arc::clone(&told));
        let (disk, promises) = (disk.clone(), promises.clone());
        thread::spawn(move || {
            let mut given = Vec::new();
            for _ in 0..2 {
                let mut next = next.lock().unwrap();
                let Ok(pending) = journal.append_pending(&[entry_of(*next, 1, bytes)]) else { break };
                let (index, told, disk, promises) = (*next, Arc::clone(&told), disk.clone(), promises.clone());
                *next += 1;
                given.push(index);
                pending.on_durable(Box::new(move |result| {
                    if result.is_ok() {
                        promises.made(&disk, Promise::Entry(Position::new(index, 1)));
                    }
                    let is_ok = is_acknowledged(result);
                    told.lock().unwrap().push((index, is_ok));
                }));
            }
            given
        })
    };
    join(threads);
    let given = called_back.join().unwrap();
    // Whatever is left of the planned failures strikes now.
    let mut end = *next.lock().unwrap();
    while disk.faults_left() > 0 {
        end += u64::from(is_acknowledged(journal.append(&[entry_of(end, 1, bytes)])));
    }
    // Where segments fill up, the sync that failed may have been a spare's, which is given up.
    let is_poisoned = !is_acknowledged(journal.sync());
    assert!(is_poisoned || bytes > 0);
    assert_eq!(is_acknowledged(journal.set_u64(b"vote", 1)), !is_poisoned);
    // The append whose sync failed is readable; one that came later was not written.
    end += u64::from(journal.state().last_index() == Some(end));
    let expected = |end| (1..end).map(|index| entry_of(index, 1, bytes)).collect::<Vec<_>>();
    let log_before = log(&journal);
    assert_eq!(log_before, expected(end), "reads go on");
    assert_eq!(is_acknowledged(journal.close()), !is_poisoned);
    let told = told.lock().unwrap().clone();
    assert_eq!(told.iter().map(|&(index, _)| index).collect::<Vec<_>>(), given, "each callback once, in order");
    assert!(told.is_sorted_by_key(|&(_, is_ok)| !is_ok), "durable behind what never will be: {told:?}");
    assert!(is_poisoned || told.iter().all(|&(_, is_ok)| is_ok), "{told:?}");
    promises.check();
    // A poisoned journal closed all the same: it gave up its lock, and what it had acknowledged is there.
    let recovered = log(&reopen(&disk));
    assert!(is_poisoned || recovered == log_before, "a close that answers loses nothing");
    assert_eq!(recovered, expected(recovered.len() as u64 + 1));
}

#[test]
fn a_failed_sync_is_everybodys_answer_and_nobody_hangs() {
    check(1_000, || a_sync_fails_among_several(1, 0));
}

#[test]
fn a_sync_that_fails_while_segments_fill_up_is_everybodys_answer_too() {
    check(1_000, || a_sync_fails_among_several(3, 2500));
}

/// The directory's sync fails while the next segment is prepared, by whichever thread does it.
fn a_successor_cannot_be_named() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    disk.fail_next(OperationKind::SyncDirectory, ErrorKind::Other);
    let (next, promises) = (Arc::new(Mutex::new(1)), Promises::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (journal, next, disk, promises) = (journal.clone(), Arc::clone(&next), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || append_and_wait(4, 2000, &journal, &next, &disk, &promises)));
    }
    join(threads);
    assert_eq!(disk.faults_left(), 0, "no successor was prepared");
    assert!(!is_acknowledged(journal.set_u64(b"vote", 1)));
    assert!(!is_acknowledged(journal.close()));
    promises.check();
    reopen(&disk);
}

#[test]
fn a_directory_that_cannot_be_synced_poisons_and_nobody_hangs() {
    check(300, a_successor_cannot_be_named);
}
