//! What a `Pending` promises.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, mpsc};

use raft_journal::io::sim::{OperationKind, Survival};
use raft_journal::{Error, Journal, LogStore, Pending, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};

#[test]
fn one_sync_answers_all_who_wait() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let pending: Vec<Pending> =
        (1..=5).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    assert_eq!((journal.state().last, journal.state().durable), (Some(Position::new(5, 1)), None));
    assert_eq!(log(&journal), entries(1..=5, 1), "readable before it is durable");
    let before = disk.sim().counts().syncs;
    for (index, pending) in (1..6).zip(pending).collect::<Vec<_>>().into_iter().rev() {
        assert_eq!(pending.position(), Position::new(index, 1));
        assert_eq!(pending.wait().unwrap(), Position::new(index, 1));
    }
    assert_eq!(disk.sim().counts().syncs - before, 1);
    assert_eq!(journal.state().durable, Some(Position::new(5, 1)));
}

#[test]
fn callbacks_come_once_each_and_in_order_whatever_order_they_were_given_in() {
    let disk = Disk::simulated();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    let mut pending: Vec<Pending> =
        (1..=6).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    let told = Arc::new(Mutex::new(Vec::new()));
    while !pending.is_empty() {
        let told = Arc::clone(&told);
        let at = pending.len() / 2;
        pending.remove(at).on_durable(Box::new(move |result| told.lock().unwrap().push(result.unwrap().index)));
    }
    assert_eq!(*told.lock().unwrap(), [0; 0], "not before the sync");
    disk.sim().run_tasks();
    assert_eq!(*told.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
    journal.sync().unwrap();
    journal.close().unwrap();
    disk.sim().run_tasks();
    assert_eq!(told.lock().unwrap().len(), 6);
}

#[test]
fn pending_sync_answers_for_all_writes_before_it_and_behind_their_callbacks() {
    let disk = Disk::simulated();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    assert_eq!(journal.sync_pending().unwrap().position(), Position::default());
    let first = journal.append_pending(&entries(1..=3, 1)).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = |what: &'static str| {
        let told = Arc::clone(&told);
        Box::new(move |result: Result<Position, Error>| told.lock().unwrap().push((what, result.unwrap().index)))
    };
    let before = disk.sim().counts().syncs;
    let all = journal.sync_pending().unwrap();
    first.on_durable(tell("the append"));
    all.on_durable(tell("all"));
    // It names no write of its own: what comes later is not waited for.
    let later = journal.append_pending(&entries(4..=4, 1)).unwrap();
    assert_eq!(*told.lock().unwrap(), []);
    disk.sim().run_tasks();
    assert_eq!(*told.lock().unwrap(), [("the append", 3), ("all", 3)]);
    assert_eq!(later.wait().unwrap(), Position::new(4, 1));
    assert_eq!(disk.sim().counts().syncs - before, 1);
    journal.sync_pending().unwrap().wait().unwrap();
    assert_eq!(disk.sim().counts().syncs - before, 1, "all was durable");
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    journal.append_pending(&entries(5..=5, 1)).map(drop).unwrap();
    assert!(matches!(journal.sync_pending().unwrap().wait(), Err(Error::Poisoned { .. })));
    assert!(matches!(journal.sync_pending(), Err(Error::Poisoned { .. })));
    let store = raft_journal::MemoryStore::new();
    store.append(&entries(1..=2, 1)).unwrap();
    assert_eq!(store.sync_pending().unwrap().wait().unwrap(), Position::new(2, 1));
}

/// Runs `inside` in a durability callback of the journal and hands out what it returns.
fn in_callback<T: Send + 'static>(journal: &Journal, inside: impl FnOnce() -> T + Send + 'static) -> T {
    let next = journal.state().next_index().unwrap_or(1);
    let (sender, receiver) = mpsc::channel();
    let pending = journal.append_pending(&entries(next..=next, 1)).unwrap();
    pending.on_durable(Box::new(move |result| {
        result.unwrap();
        sender.send(inside()).unwrap();
    }));
    receiver.recv().unwrap()
}

#[test]
fn a_panic_in_a_callback_strands_nobody() {
    on_both(|disk| {
        let journal = disk.open();
        let (sender, receiver) = mpsc::channel();
        for index in 1..=4 {
            let sender = sender.clone();
            journal.append_pending(&entries(index..=index, 1)).unwrap().on_durable(Box::new(move |result| {
                sender.send(result.unwrap().index).unwrap();
                assert!(index != 2, "planned");
            }));
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        append_each(&journal, &entries(5..=5, 1));
        journal.close().unwrap();
    });
}

#[test]
fn a_callback_may_append_and_read() {
    on_both(|disk| {
        let journal = disk.open();
        let (clone, (sender, receiver)) = (journal.clone(), mpsc::channel());
        let found = in_callback(&journal, move || {
            clone.append_pending(&entries(2..=2, 1)).unwrap().on_durable(Box::new(move |result| {
                sender.send(result.unwrap()).unwrap();
            }));
            clone.set_lazy(b"committed", b"1").unwrap();
            log(&clone)
        });
        assert_eq!(found, entries(1..=2, 1));
        assert_eq!(receiver.recv().unwrap(), Position::new(2, 1));
        assert_eq!(journal.get(b"committed").unwrap().as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn a_call_that_would_wait_inside_a_callback_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        let clone = journal.clone();
        let results = in_callback(&journal, move || {
            let pending = clone.append_pending(&entries(2..=2, 1)).unwrap();
            [
                ("wait", pending.wait().map(drop)),
                ("append", clone.append(&entries(3..=3, 1)).map(drop)),
                ("replace_tail", clone.replace_tail(&entries(1..=1, 1)).map(drop)),
                ("truncate_tail", clone.truncate_tail(1)),
                ("commit", clone.truncate_head(Position::new(1, 1))),
                ("commit", clone.set(b"vote", b"me")),
                ("sync", clone.sync()),
                ("close", clone.close()),
            ]
        });
        for (expected, result) in results {
            let Err(Error::BlockingCallInCallback { call }) = result else { panic!("{expected}: {result:?}") };
            assert!(call.ends_with(expected), "{call} is not {expected}");
        }
        assert_eq!(log(&journal), entries(1..=2, 1));
        journal.append(&entries(3..=3, 1)).unwrap();
        // Another journal's calls are none of this one's.
        let other = disk.beside("other").open();
        in_callback(&journal, move || append_each(&other, &entries(1..=3, 1)));
    });
}

#[test]
fn a_pending_write_can_be_awaited() {
    on_both(|disk| {
        disk.threaded_tasks();
        let journal = disk.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
            assert_eq!(pending.await.unwrap(), Position::new(3, 1));
            assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
            let (first, second) = (entries(4..=4, 1), entries(5..=5, 1));
            let pair = (journal.append_pending(&first).unwrap(), journal.append_pending(&second).unwrap());
            let (first, second) = tokio::join!(pair.0, pair.1);
            assert_eq!((first.unwrap().index, second.unwrap().index), (4, 5));
            assert_eq!(journal.append_pending(&[]).unwrap().await.unwrap(), Position::new(5, 1));
        });
    });
}

#[test]
fn an_awaited_write_is_told_of_a_failed_sync() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    let journal = disk.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    assert!(matches!(runtime.block_on(pending), Err(Error::Poisoned { .. })));
}

#[test]
fn callbacks_run_before_the_journal_answers_closed() {
    on_both(|disk| {
        if let Some(sim) = &disk.sim {
            sim.queue_tasks(true);
        }
        let journal = disk.open();
        let told = Arc::new(Mutex::new(Vec::new()));
        for index in 1..=3 {
            let (told, clone) = (Arc::clone(&told), journal.clone());
            journal.append_pending(&entries(index..=index, 1)).unwrap().on_durable(Box::new(move |result| {
                told.lock().unwrap().push((result.unwrap().index, clone.entry(1).is_ok()));
            }));
        }
        journal.close().unwrap();
        assert_eq!(*told.lock().unwrap(), [(1, true), (2, true), (3, true)]);
        assert!(matches!(journal.entry(1), Err(Error::Closed)));
        let report = disk.open().recovery_report().clone();
        assert!(report.clean);
    });
}

#[test]
fn dropping_the_last_handle_inside_a_callback_closes_without_hanging() {
    on_both(|disk| {
        disk.threaded_tasks();
        let journal = disk.open();
        let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
        let ((go, gone), (sender, receiver)) = (mpsc::channel(), mpsc::channel());
        let clone = journal.clone();
        pending.on_durable(Box::new(move |result| {
            gone.recv().unwrap();
            drop(clone);
            sender.send(result.unwrap()).unwrap();
        }));
        drop(journal);
        go.send(()).unwrap();
        assert_eq!(receiver.recv().unwrap(), Position::new(3, 1));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=3, 1));
        assert!(journal.recovery_report().clean);
    });
}

#[test]
fn a_dropped_pending_write_is_still_made_durable_by_the_next_sync() {
    let disk = Disk::simulated();
    let journal = disk.open();
    drop(journal.append_pending(&entries(1..=3, 1)).unwrap());
    assert_eq!(log(&disk.after_power_cut(Survival::Nothing).open()), []);
    journal.sync().unwrap();
    assert_eq!(log(&disk.after_power_cut(Survival::Nothing).open()), entries(1..=3, 1));
}

#[test]
fn the_durable_position_drops_when_a_replacement_is_published_and_comes_back() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=9, 1)).unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(9, 1)));
        let pending = journal.replace_tail_pending(&entries(4..=20, 2)).unwrap();
        assert_eq!(journal.state().last, Some(Position::new(20, 2)));
        assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
        let later = journal.append_pending(&entries(21..=21, 2)).unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
        pending.wait().unwrap();
        assert!(journal.state().durable >= Some(Position::new(20, 2)));
        later.wait().unwrap();
        assert_eq!(journal.state().durable, journal.state().last);
        let pending = journal.replace_tail_pending(&entries(1..=1, 3)).unwrap();
        assert_eq!(journal.state().durable, None);
        pending.wait().unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(1, 3)));
    });
}
