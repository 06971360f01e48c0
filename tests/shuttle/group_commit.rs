//! One sync for all who wait, and callbacks in order.

use std::sync::Arc;

use raft_journal::{Journal, LogStore, Position};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::common::{DIR, Promise, Promises, check, disk, entry, entry_of, join, log, options, reopen};

/// Appends the next entry, whichever it is.
struct Appender {
    journal: Journal,
    next: Mutex<u64>,
}

type Told = Arc<std::sync::Mutex<Vec<(u64, bool)>>>;

fn wait_and_be_called_back() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let appender = Arc::new(Appender { journal: journal.clone(), next: Mutex::new(1) });
    let (promises, told) = (Promises::default(), Told::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (appender, disk, promises) = (Arc::clone(&appender), disk.clone(), promises.clone());
        threads.push(thread::spawn(move || {
            let pending = {
                let mut next = appender.next.lock().unwrap();
                *next += 1;
                appender.journal.append_pending(&[entry(*next - 1)]).unwrap()
            };
            promises.made(&disk, Promise::Entry(pending.wait().unwrap()));
        }));
    }
    for _ in 0..2 {
        let (appender, disk, promises, told) =
            (Arc::clone(&appender), disk.clone(), promises.clone(), Arc::clone(&told));
        threads.push(thread::spawn(move || {
            // The lock is held until the callback is given, so that their order is the entries'.
            let mut next = appender.next.lock().unwrap();
            let index = *next;
            *next += 1;
            let pending = appender.journal.append_pending(&[entry(index)]).unwrap();
            pending.on_durable(Box::new(move |result| {
                told.lock().unwrap().push((index, result.is_ok()));
                promises.made(&disk, Promise::Entry(Position::new(index, 1)));
            }));
        }));
    }
    if let Some(durable) = journal.state().durable {
        promises.made(&disk, Promise::Entry(durable));
    }
    join(threads);
    journal.close().unwrap();
    let told = told.lock().unwrap().clone();
    assert!(told.len() == 2 && told.iter().all(|&(_, is_ok)| is_ok), "not each callback once: {told:?}");
    assert!(told.is_sorted(), "callbacks out of order: {told:?}");
    assert!(promises.check() >= 4);
    assert_eq!(log(&reopen(&disk)), (1..=4).map(entry).collect::<Vec<_>>());
}

#[test]
fn whoever_waits_or_is_called_back_is_durable_and_told_once_in_order() {
    check(1_000, wait_and_be_called_back);
}

/// A tail is replaced while what was there before is being synced.
fn replace_beside_a_sync() {
    let disk = disk();
    let journal = options(&disk).open(DIR).unwrap();
    let promises = Promises::default();
    drop(journal.append_pending(&[entry(1), entry(2), entry(3)]).unwrap());
    let syncer = {
        let journal = journal.clone();
        thread::spawn(move || journal.sync().unwrap())
    };
    let pending = journal.replace_tail_pending(&[entry_of(2, 2, 0)]).unwrap();
    for _ in 0..3 {
        let durable = journal.state().durable;
        assert!(durable.is_none_or(|durable| [(1, 1), (2, 2)].contains(&(durable.index, durable.term))), "{durable:?}");
        durable.into_iter().for_each(|durable| promises.made(&disk, Promise::Entry(durable)));
    }
    promises.made(&disk, Promise::Entry(pending.wait().unwrap()));
    assert_eq!(journal.state().durable, Some(Position::new(2, 2)));
    syncer.join().unwrap();
    promises.check();
    assert_eq!(log(&journal), [entry(1), entry_of(2, 2, 0)]);
}

#[test]
fn what_is_durable_is_in_the_log_while_a_replacement_is_on_its_way() {
    check(1_000, replace_beside_a_sync);
}
