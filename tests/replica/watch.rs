//! Those who wait for the committed position to move.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_journal::adapters::replica::{ReplicaLog, Watched};
use raft_journal::io::sim::Schedule;
use raft_journal::{Changes, Journal};

use crate::begin;
use crate::common::{Disk, entries, on_both};

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_watch_tells_each_move_once_to_each_watcher() {
    on_both(|disk| {
        let log = begin(disk, 9);
        let (mut one, mut other) = (log.watch(None), log.watch(Some(4)));
        assert_eq!(one.wait(Duration::ZERO), Watched::TimedOut);
        log.set_committed(3).unwrap();
        assert_eq!(one.wait(LONG), Watched::Moved(3));
        assert_eq!(one.wait(Duration::ZERO), Watched::TimedOut);
        assert_eq!(other.wait(Duration::ZERO), Watched::TimedOut, "it has seen that");
        log.set_committed(4).unwrap();
        log.set_committed(6).unwrap();
        assert_eq!((one.wait(LONG), other.wait(LONG)), (Watched::Moved(6), Watched::Moved(6)));
        assert_eq!(one.seen(), Some(6));
    });
}

#[test]
fn a_watcher_that_waits_is_woken_by_a_move_and_by_the_end() {
    on_both(|disk| {
        let log = begin(disk, 9);
        let mut watch = log.watch(None);
        let watcher = std::thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                match watch.wait(LONG) {
                    Watched::Moved(committed) => seen.push(committed),
                    end => return (seen, end),
                }
            }
        });
        for committed in 1..=9 {
            log.set_committed(committed).unwrap();
        }
        log.close().unwrap();
        let (seen, end) = watcher.join().unwrap();
        assert_eq!((seen.last(), end), (Some(&9), Watched::Closed), "what was committed is told before the end");
        assert!(seen.is_sorted());
    });
}

#[test]
fn a_watch_ends_with_the_last_handle() {
    on_both(|disk| {
        let log = begin(disk, 9);
        let mut watch = log.watch(None);
        drop(log.clone());
        assert_eq!(watch.wait(Duration::ZERO), Watched::TimedOut);
        drop(log);
        assert_eq!(watch.wait(LONG), Watched::Closed);
    });
}

#[test]
fn an_endless_wait_is_one() {
    let disk = Disk::simulated();
    let log = begin(&disk, 9);
    let mut watch = log.watch(None);
    let watcher = std::thread::spawn(move || watch.wait(Duration::MAX));
    log.set_committed(2).unwrap();
    assert_eq!(watcher.join().unwrap(), Watched::Moved(2));
}

/// A writer that commits what it appends, and a consumer that follows, in the order that a seed draws.
fn follow(seed: u64) -> Vec<Watched> {
    let disk = Disk::simulated();
    let journal: Journal = disk.open();
    let log = ReplicaLog::open(journal).unwrap();
    log.bootstrap(Changes::new()).unwrap();
    let (watch, seen) = (log.watch(None), Arc::new(Mutex::new(Vec::new())));
    let write = move || {
        for index in 1..=5 {
            log.append(&entries(index..=index, 1)).unwrap().wait().unwrap();
            log.set_committed(index).unwrap();
        }
        log.close().unwrap();
    };
    let (told, mut watch) = (Arc::clone(&seen), watch);
    let read = move || {
        loop {
            let watched = watch.wait(Duration::from_millis(5));
            told.lock().unwrap().push(watched);
            if watched == Watched::Closed {
                return;
            }
        }
    };
    Schedule::new(seed).thread("writer", write).thread("consumer", read).run().unwrap();
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[test]
fn in_any_order_of_threads_a_consumer_hears_of_the_last_entry_and_of_no_step_back() {
    let mut timed_out = 0;
    for seed in 0..200 {
        let seen = follow(seed);
        let moves: Vec<u64> = seen
            .iter()
            .filter_map(|watched| match watched {
                Watched::Moved(committed) => Some(*committed),
                _ => None,
            })
            .collect();
        assert!(moves.windows(2).all(|pair| pair[0] < pair[1]) && moves.last() == Some(&5), "seed {seed}: {seen:?}");
        timed_out += seen.iter().filter(|watched| **watched == Watched::TimedOut).count();
    }
    assert!(timed_out > 0, "simulated time never passed");
}
