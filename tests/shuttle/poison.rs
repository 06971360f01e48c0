//! A sync that fails while others wait for it.

use std::io::ErrorKind;
use std::sync::Arc;

use raft_journal::io::sim::{OperationKind, SimFs};
use raft_journal::{Error, Journal, LogStore, Position, Result, StableStore};
use shuttle::rand::Rng;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::common::{DIR, Promise, Promises, check, disk, entry, entry_of, join, log, options, reopen};

/// The next entry's index; the lock is held while it is appended.
type Next = Arc<Mutex<u64>>;
type Told = Arc<std::sync::Mutex<Vec<(u64, bool)>>>;

/// Whether a write was acknowledged. The only other answer is that the journal is poisoned.
fn is_acknowledged<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::Poisoned { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn append_and_wait(journal: &Journal, next: &Next, disk: &SimFs, promises: &Promises) {
    let pending = {
        let mut next = next.lock().unwrap();
        let pending = journal.append_pending(&[entry(*next)]);
        *next += u64::from(pending.is_ok());
        pending
    };
    match pending.and_then(|pending| pending.wait()) {
        Ok(position) => promises.made(disk, Promise::Entry(position)),
        result => assert!(!is_acknowledged(result)),
    }
}

fn a_sync_fails_among_several() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    disk.fail_at(OperationKind::Sync, shuttle::rand::thread_rng().gen_range(0..3), ErrorKind::Other);
    let (next, told, promises) = (Arc::new(Mutex::new(1)), Told::default(), Promises::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (journal, next, disk, promises) = (journal.clone(), Arc::clone(&next), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || append_and_wait(&journal, &next, &disk, &promises)));
    }
    let called_back = {
        let (journal, next, told) = (journal.clone(), Arc::clone(&next), Arc::clone(&told));
        let (disk, promises) = (disk.clone(), promises.clone());
        thread::spawn(move || {
            let mut given = Vec::new();
            for _ in 0..2 {
                let mut next = next.lock().unwrap();
                let Ok(pending) = journal.append_pending(&[entry(*next)]) else { break };
                let (index, told, disk, promises) = (*next, Arc::clone(&told), disk.clone(), promises.clone());
                *next += 1;
                given.push(index);
                pending.on_durable(Box::new(move |result| {
                    if result.is_ok() {
                        promises.made(&disk, Promise::Entry(Position::new(index, 1)));
                    }
                    told.lock().unwrap().push((index, is_acknowledged(result)));
                }));
            }
            given
        })
    };
    join(threads);
    let given = called_back.join().unwrap();
    // Whatever is left of the planned failures strikes now.
    let synced = journal.sync();
    let mut end = *next.lock().unwrap();
    while is_acknowledged(journal.append(&[entry(end)])) {
        end += 1;
    }
    assert!(disk.faults_left() == 0, "no sync failed: {synced:?}");
    assert!(!is_acknowledged(journal.sync()) && !is_acknowledged(journal.set_u64(b"vote", 1)));
    // The append whose sync failed is readable; one that came later was not written.
    end += u64::from(journal.state().last_index() == Some(end));
    assert_eq!(log(&journal), (1..end).map(entry).collect::<Vec<_>>(), "reads go on");
    assert!(!is_acknowledged(journal.close()));
    let told = told.lock().unwrap().clone();
    assert_eq!(told.iter().map(|&(index, _)| index).collect::<Vec<_>>(), given, "each callback once, in order");
    assert!(told.is_sorted_by_key(|&(_, is_ok)| !is_ok), "durable behind what never will be: {told:?}");
    promises.check();
    // A poisoned journal closed all the same: it gave up its lock, and what it had acknowledged is there.
    let recovered = log(&reopen(&disk));
    assert_eq!(recovered, (1..=recovered.len() as u64).map(entry).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_is_everybodys_answer_and_nobody_hangs() {
    check(1_000, a_sync_fails_among_several);
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
        threads.push(thread::spawn(move || {
            for _ in 0..4 {
                let pending = {
                    let mut next = next.lock().unwrap();
                    let pending = journal.append_pending(&[entry_of(*next, 1, 2000)]);
                    *next += u64::from(pending.is_ok());
                    pending
                };
                match pending.and_then(|pending| pending.wait()) {
                    Ok(position) => promises.made(&disk, Promise::Entry(position)),
                    result => return assert!(!is_acknowledged(result)),
                }
            }
        }));
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
