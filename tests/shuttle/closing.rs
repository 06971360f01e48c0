//! Closing a journal that others still use.

use std::sync::Arc;

use raft_journal::{Error, LogStore, Position, StableStore};
use shuttle::sync::mpsc;
use shuttle::thread;

use crate::common::{DIR, Promise, Promises, check, disk, entry, join, log, options, reopen};

type Told = Arc<std::sync::Mutex<Vec<(u64, bool)>>>;

/// Two close, one appends, and callbacks wait.
fn close_while_callbacks_wait() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let (told, promises) = (Told::default(), Promises::default());
    for index in 1..=2 {
        let (told, clone) = (Arc::clone(&told), journal.clone());
        journal.append_pending(&[entry(index)]).unwrap().on_durable(Box::new(move |result| {
            // Not while `std`'s lock is held: no other thread would ever run.
            let is_durable = result.is_ok() && clone.state().durable >= Some(Position::new(index, 1));
            told.lock().unwrap().push((index, is_durable));
        }));
    }
    let mut threads = Vec::new();
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || match journal.append(&[entry(3)]) {
            Ok(position) => promises.made(&disk, Promise::Entry(position)),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }));
    }
    let other = {
        let journal = journal.clone();
        thread::spawn(move || journal.close())
    };
    let results = [journal.close(), other.join().unwrap()];
    let closed = results.iter().filter(|result| result.is_ok()).count();
    assert!(closed == 1 && results.iter().any(|result| matches!(result, Err(Error::Closed))), "{results:?}");
    assert_eq!(*told.lock().unwrap(), [(1, true), (2, true)], "callbacks before the journal is closed");
    join(threads);
    assert!(matches!(journal.entry(1), Err(Error::Closed)));
    promises.check();
    let reopened = reopen(&disk);
    assert!(reopened.recovery_report().clean, "closed in order");
    assert_eq!(Some(Position::new(log(&reopened).len() as u64, 1)), journal.state().last);
}

#[test]
fn whoever_closes_waits_for_the_callbacks_and_one_of_two_closes() {
    check(500, close_while_callbacks_wait);
}

/// One closes while others append and vote, and the next process waits for the lock.
fn close_while_others_write() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let promises = Promises::default();
    let mut threads = Vec::new();
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || match journal.append(&[entry(1)]) {
            Ok(position) => promises.made(&disk, Promise::Entry(position)),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }));
    }
    {
        let (journal, disk, promises) = (journal.clone(), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || match journal.set_u64(b"vote", 1) {
            Ok(()) => promises.made(&disk, Promise::Vote(1)),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }));
    }
    {
        let disk = disk.clone();
        threads.push(thread::spawn(move || match options(&disk).open(DIR) {
            Ok(next) => assert!(next.recovery_report().clean, "opened before it was closed"),
            Err(error) => assert!(matches!(error, Error::Locked { .. }), "{error}"),
        }));
    }
    journal.close().unwrap();
    join(threads);
    promises.check();
    let reopened = reopen(&disk);
    assert!(reopened.recovery_report().clean, "closed in order");
    assert_eq!(reopened.state().last, journal.state().last);
}

#[test]
fn whatever_is_written_beside_a_close_is_kept_or_refused() {
    check(2_000, close_while_others_write);
}

/// One handle goes inside a callback, one on another thread: whichever is the last one closes.
fn drop_the_last_handle_inside_a_callback() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let (sender, receiver) = mpsc::channel();
    let pending = journal.append_pending(&[entry(1)]).unwrap();
    let (clone, other, later) = (journal.clone(), journal.clone(), sender.clone());
    pending.on_durable(Box::new(move |result| {
        drop(clone);
        sender.send(result.is_ok()).unwrap();
    }));
    // It may come to run when the journal is closed: it was written, and is durable then.
    let pending = journal.append_pending(&[entry(2)]).unwrap();
    pending.on_durable(Box::new(move |result| later.send(result.is_ok()).unwrap()));
    let dropped = thread::spawn(move || drop(other));
    drop(journal);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [true, true]);
    dropped.join().unwrap();
    let reopened = reopen(&disk);
    assert!(reopened.recovery_report().clean, "closed in order");
    assert_eq!(log(&reopened), (1..=2).map(entry).collect::<Vec<_>>());
}

#[test]
fn the_last_handle_may_go_inside_a_callback() {
    check(500, drop_the_last_handle_inside_a_callback);
}

/// A write is awaited on one thread while others sync and close.
fn await_while_closing() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let promises = Promises::default();
    let pending = journal.append_pending(&[entry(1)]).unwrap();
    let waiter = {
        let (disk, promises) = (disk.clone(), promises.clone());
        thread::spawn(move || {
            let position = shuttle::future::block_on(pending).unwrap();
            promises.made(&disk, Promise::Entry(position));
        })
    };
    match journal.append(&[entry(2)]) {
        Ok(position) => promises.made(&disk, Promise::Entry(position)),
        Err(error) => panic!("{error}"),
    }
    journal.close().unwrap();
    waiter.join().unwrap();
    assert_eq!(promises.check(), 2);
}

#[test]
fn an_awaited_write_is_answered_beside_a_close() {
    check(500, await_while_closing);
}
