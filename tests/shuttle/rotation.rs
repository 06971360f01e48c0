//! Segments that fill up while their successors are prepared and their predecessors removed; votes in between.

use std::sync::Arc;

use raft_journal::{Entry, Journal, LogStore, Position, StableStore};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::common::{DIR, Promise, Promises, check, disk, entry, entry_of, join, log, options, reopen};

const APPENDS: u64 = 4;
const ENTRY_BYTES: usize = 2000;

fn append(journal: &Journal, next: &Mutex<u64>) -> Position {
    let pending = {
        let mut next = next.lock().unwrap();
        *next += 1;
        journal.append_pending(&[entry_of(*next - 1, 1, ENTRY_BYTES)]).unwrap()
    };
    pending.wait().unwrap()
}

fn fill_and_shorten() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let (next, promises) = (Arc::new(Mutex::new(1)), Promises::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (journal, next, disk, promises) = (journal.clone(), Arc::clone(&next), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || {
            for _ in 0..APPENDS {
                promises.made(&disk, Promise::Entry(append(&journal, &next)));
            }
        }));
    }
    let shortener = {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        thread::spawn(move || {
            let Some(last) = journal.state().last else { return };
            journal.truncate_head(last).unwrap();
            promises.made(&disk, Promise::Head(last));
        })
    };
    threads.push(shortener);
    join(threads);
    let state = journal.state();
    assert_eq!((state.last, state.durable), (Some(Position::new(2 * APPENDS, 1)), state.last));
    let found = log(&journal);
    journal.close().unwrap();
    promises.check();
    let reopened = reopen(&disk);
    assert_eq!((log(&reopened), reopened.state()), (found.clone(), state));
    let expected: Vec<Entry> =
        (state.first.unwrap_or(9)..=2 * APPENDS).map(|index| entry_of(index, 1, ENTRY_BYTES)).collect();
    assert_eq!(found, expected);
    let files = disk.paths().len();
    assert!(files <= 7, "{files} files: removed segments pile up");
}

#[test]
fn segments_that_fill_up_while_others_are_prepared_and_removed_lose_nothing() {
    check(500, fill_and_shorten);
}

fn vote_beside_appends() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let promises = Promises::default();
    let mut threads = Vec::new();
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || {
            for index in 1..=3 {
                promises.made(&disk, Promise::Entry(journal.append(&[entry(index)]).unwrap()));
            }
        }));
    }
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || {
            for vote in 1..=3 {
                journal.set_u64(b"vote", vote).unwrap();
                promises.made(&disk, Promise::Vote(vote));
                assert_eq!(journal.get_u64(b"vote").unwrap(), Some(vote));
            }
        }));
    }
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || {
            journal.set_lazy(b"committed", b"1").unwrap();
            // The mark of an idle journal, written whenever its time comes.
            disk.pass_time();
            if let Some(vote) = journal.get_u64(b"vote").unwrap() {
                promises.made(&disk, Promise::Vote(vote));
            }
        }));
    }
    join(threads);
    journal.close().unwrap();
    assert!(promises.check() >= 6);
    let reopened = reopen(&disk);
    assert_eq!(reopened.get_u64(b"vote").unwrap(), Some(3));
    assert_eq!(reopened.get(b"committed").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(log(&reopened), (1..=3).map(entry).collect::<Vec<_>>());
}

#[test]
fn votes_beside_appends_are_both_kept() {
    check(500, vote_beside_appends);
}

/// A checkpoint takes the durable mark, and may find it in a segment that no reader sees yet.
fn copy_beside_a_rotation() {
    const COPY_DIR: &str = "/copy";
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    for index in 1..=3 {
        journal.append(&[entry_of(index, 1, ENTRY_BYTES)]).unwrap();
    }
    let writer = {
        let journal = journal.clone();
        thread::spawn(move || _ = journal.append(&[entry_of(4, 1, ENTRY_BYTES)]).unwrap())
    };
    journal.checkpoint(COPY_DIR).unwrap();
    join(vec![writer]);
    journal.close().unwrap();
    disk.queue_tasks(false);
    let copy = options(&disk).open(COPY_DIR).expect("a whole copy");
    let found = log(&copy);
    assert!(found.len() >= 3, "{} entries", found.len());
    assert_eq!(found, (1..).take(found.len()).map(|index| entry_of(index, 1, ENTRY_BYTES)).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_beside_a_rotation_has_the_segment_that_its_mark_is_in() {
    check(2_000, copy_beside_a_rotation);
}
