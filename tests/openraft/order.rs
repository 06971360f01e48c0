//! Writes in the order of the calls, and answers in that order: whoever waits for them, and whoever no longer does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::FutureExt;
use openraft_010::storage::{IOFlushed, RaftLogStorage};
use openraft_010::type_config::TypeConfigExt;
use raft_journal::adapters::openraft_010::AdapterError;
use raft_journal::io::sim::{OperationKind, Schedule, SimFs, Survival};
use raft_journal::io::{Fs, Tasks};
use raft_journal::{Error, Journal, LogStore, Position};

use super::disks::Held;
use super::history::{HISTORY, Model, entries, take};
use super::subject::{Item, Log09, Log010, Outcome, Subject, block_on, item, items, log, open};
use super::version_010::{Types, entry};

type Flushed = Pin<Box<dyn Future<Output = Result<std::io::Result<()>, String>> + Send>>;

/// Appends one entry with openraft 0.10; the future is what openraft would be told.
async fn append_one(store: &mut Log010, index: u64) -> Outcome<Flushed> {
    let (sender, receiver) = Types::oneshot();
    let appended = RaftLogStorage::append(store, [entry(item(1, index))], IOFlushed::signal(sender)).await;
    appended.map_err(|error| error.to_string())?;
    Ok(Box::pin(receiver.map(|told| told.map_err(|error| format!("{error:?}")))))
}

// Calls that nobody waits for any more.

fn dropped_calls_keep_their_order<L: Subject<Store = Held>>() {
    let held = Held::default();
    let mut store = L::new(held.clone()).unwrap();
    assert!(store.save_vote(1).now_or_never().is_none());
    assert!(store.save_vote(2).now_or_never().is_none());
    assert!(store.append(items(1, 0..5)).now_or_never().is_none());
    assert!(store.truncate(2).now_or_never().is_none());
    assert!(store.append(items(2, 2..6)).now_or_never().is_none());
    assert!(store.purge((2, 2), 1).now_or_never().is_none());
    assert_eq!(store.read_vote().now_or_never().unwrap().unwrap(), None);
    assert!(held.run_newest_first() > 0);
    assert_eq!(store.read_vote().now_or_never().unwrap().unwrap(), Some(2));
    assert_eq!(log(&store).now_or_never().unwrap().unwrap(), items(2, 3..6));
}

#[test]
fn call_whose_future_was_dropped_is_not_overtaken() {
    dropped_calls_keep_their_order::<Log09<_>>();
    dropped_calls_keep_their_order::<Log010<_>>();
}

fn panic_is_told<L: Subject<Store = Held>>() {
    let held = Held::default();
    let mut store = L::new(held.clone()).unwrap();
    held.panics.store(true, Ordering::SeqCst);
    let (mut engines, mut others) = (store.clone(), store.clone());
    let mut vote = pin!(engines.save_vote(1));
    let mut appended = pin!(others.append(items(1, 0..3)));
    assert!(vote.as_mut().now_or_never().is_none() && appended.as_mut().now_or_never().is_none());
    assert!(held.run_newest_first() > 0);
    let error = vote.now_or_never().unwrap().unwrap_err();
    assert!(error.contains("the store went away while it worked"), "{error}");
    appended.now_or_never().unwrap().unwrap();
    assert_eq!(store.read_vote().now_or_never().unwrap().unwrap(), None);
    assert_eq!(log(&store).now_or_never().unwrap().unwrap(), items(1, 0..3));
}

#[test]
fn panic_in_a_store_is_told_to_its_caller_and_strands_nobody_behind() {
    panic_is_told::<Log09<_>>();
    panic_is_told::<Log010<_>>();
}

fn append_goes_on_without_its_runtime<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<L>(&disk).unwrap();
    let held = disk.hold_syncs();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut engines = store.clone();
    drop(runtime.spawn(async move { engines.append(items(1, 0..3)).await }));
    disk.wait_for_held_syncs(1);
    // The engine's task goes, and the callback has nobody left to tell.
    runtime.shutdown_background();
    drop(held);
    block_on(async {
        store.append(items(1, 3..5)).await.unwrap();
        store.save_vote(1).await.unwrap();
        assert_eq!(log(&store).await.unwrap(), items(1, 0..5));
    });
}

#[test]
fn runtime_that_ends_in_the_middle_of_an_append_leaves_a_log_that_goes_on() {
    append_goes_on_without_its_runtime::<Log09>();
    append_goes_on_without_its_runtime::<Log010>();
}

fn runtime_takes_the_last_handle_along<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<L>(&disk).unwrap();
    let held = disk.hold_syncs();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    drop(runtime.spawn(async move { store.append(items(1, 0..3)).await }));
    disk.wait_for_held_syncs(1);
    let dropped = std::thread::spawn(move || drop(runtime));
    drop(held);
    dropped.join().unwrap();
    // The journal closes once its own threads are done with the append.
    let store = loop {
        match open::<L>(&disk) {
            Ok(store) => break store,
            Err(error) => assert!(error.to_string().contains("held by another opener"), "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(block_on(log(&store)).unwrap(), items(1, 0..3));
}

#[test]
fn runtime_that_ends_with_the_last_handle_closes_the_journal() {
    runtime_takes_the_last_handle_along::<Log09>();
    runtime_takes_the_last_handle_along::<Log010>();
}

async fn closed_journal_is_told<L: Subject<Store = Journal>>() {
    let mut store = open::<L>(&SimFs::new()).unwrap();
    store.append(items(1, 0..3)).await.unwrap();
    store.store().close().unwrap();
    assert!(matches!(store.store().close(), Err(Error::Closed)));
    let closed = "the journal is closed: open it again";
    for error in [
        store.append(items(1, 3..4)).await.unwrap_err(),
        store.save_vote(1).await.unwrap_err(),
        store.truncate(1).await.unwrap_err(),
        store.purge((1, 1), 1).await.unwrap_err(),
        store.save_committed((1, 1)).await.unwrap_err(),
        store.read(0..3).await.unwrap_err(),
    ] {
        assert!(error.contains(closed), "{error}");
    }
}

#[test]
fn every_call_on_a_closed_journal_says_so() {
    block_on(closed_journal_is_told::<Log09>());
    block_on(closed_journal_is_told::<Log010>());
}

// Callbacks.

/// Notes in a list that somebody was woken.
struct Note {
    number: u64,
    list: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.list.lock().unwrap().push(self.number);
    }
}

#[test]
fn appends_go_on_while_a_sync_runs_and_are_told_in_order_before_a_vote() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<Log010>(&disk).unwrap();
    let held = disk.hold_syncs();
    let order = Arc::default();
    let told: Vec<_> = block_on(async {
        let mut told = Vec::new();
        for number in 0..6 {
            let mut flushed = append_one(&mut store, number).await.unwrap();
            // The first one's sync is held before the others come: they are written beside it.
            disk.wait_for_held_syncs(1);
            let waker = Waker::from(Arc::new(Note { number, list: Arc::clone(&order) }));
            assert!(flushed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{number} was told early");
            told.push(flushed);
        }
        assert_eq!(log(&store).await.unwrap(), items(1, 0..6));
        let mut vote = pin!(Subject::save_vote(&mut store, 3));
        assert!(vote.as_mut().now_or_never().is_none());
        drop(held);
        vote.await.unwrap();
        told
    });
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    told.into_iter().for_each(|flushed| flushed.now_or_never().unwrap().unwrap().unwrap());
    assert_eq!(LogStore::state(store.store()).durable, Some(Position::new(5, 1)));
}

#[test]
fn truncation_behind_appends_that_still_wait_for_a_sync_comes_after_them() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<Log010>(&disk).unwrap();
    block_on(async {
        let held = disk.hold_syncs();
        let mut told = Vec::new();
        for index in 0..4 {
            told.push(append_one(&mut store, index).await.unwrap());
        }
        let mut engines = store.clone();
        let mut truncated = pin!(Subject::truncate(&mut engines, 2));
        assert!(truncated.as_mut().now_or_never().is_none());
        drop(held);
        truncated.await.unwrap();
        told.into_iter().for_each(|flushed| flushed.now_or_never().unwrap().unwrap().unwrap());
        assert_eq!(log(&store).await.unwrap(), items(1, 0..2));
        let after = open::<Log010>(&disk.after_power_cut(Survival::Nothing)).unwrap();
        assert_eq!(log(&after).await.unwrap(), items(1, 0..2));
    });
}

#[test]
fn callback_that_the_engine_dropped_holds_up_nobody() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<Log010>(&disk).unwrap();
    block_on(async {
        let held = disk.hold_syncs();
        drop(append_one(&mut store, 0).await.unwrap());
        RaftLogStorage::append(&mut store, [entry(item(1, 1))], IOFlushed::noop()).await.unwrap();
        let last = append_one(&mut store, 2).await.unwrap();
        drop(held);
        last.await.unwrap().unwrap();
        assert_eq!(log(&store).await.unwrap(), items(1, 0..3));
    });
}

#[test]
fn failed_sync_is_told_to_every_callback() {
    let disk = SimFs::new();
    disk.threaded_tasks();
    let mut store = open::<Log010>(&disk).unwrap();
    block_on(async {
        let held = disk.hold_syncs();
        disk.fail_next(OperationKind::Sync, std::io::ErrorKind::Other);
        let first = append_one(&mut store, 0).await.unwrap();
        disk.wait_for_held_syncs(1);
        let second = append_one(&mut store, 1).await.unwrap();
        drop(held);
        for flushed in [first, second] {
            let error = flushed.await.unwrap().unwrap_err();
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap();
            assert!(matches!(inner, AdapterError::Store(Error::Poisoned { .. })), "{error}");
        }
    });
}

// Threads on simulated disks, in every order.

/// How many schedules there are of each kind.
const SEEDS: u64 = 300;
/// How often the log and the vote are read in one.
const READS: u64 = 60;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits for a future on a simulated thread.
fn drive<T>(tasks: &dyn Tasks, future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        woken.0.store(false, Ordering::SeqCst);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let woken = Arc::clone(&woken);
        tasks.wait_until("an answer", Arc::new(move || woken.0.load(Ordering::SeqCst)));
    }
}

/// The logs that there are one after the other.
fn logs() -> Vec<Vec<Item>> {
    let mut model = Model::default();
    let after = HISTORY.map(|step| {
        model = model.after(step).pop().unwrap();
        model.log.clone()
    });
    [vec![vec![]], after.to_vec()].concat()
}

/// What the threads of a schedule leave behind.
struct Left {
    acknowledged: Model,
    possible: Vec<Model>,
}

/// One thread is the engine, one reads; power is lost somewhere, with most seeds.
fn schedule<L: Subject<Store = Journal>>(seed: u64) -> bool {
    let disk = SimFs::with_seed(seed);
    let store = open::<L>(&disk).unwrap();
    disk.cut_power_at(disk.mutations() + seed * 7 % 170);
    let left = Arc::new(Mutex::new(Left { acknowledged: Model::default(), possible: vec![Model::default()] }));
    let (engines, engines_left, tasks) = (store.clone(), Arc::clone(&left), disk.tasks());
    let engine = move || {
        let mut store = engines;
        for step in HISTORY {
            let (before, after) = {
                let mut left = engines_left.lock().unwrap();
                let after = left.acknowledged.after(step);
                left.possible.extend(after.iter().cloned());
                (left.acknowledged.clone(), after)
            };
            let taken = drive(&*tasks, take(&mut store, step));
            let mut left = engines_left.lock().unwrap();
            if taken.is_err() {
                left.possible = [vec![before], after].concat();
                break;
            }
            left.acknowledged = after.last().cloned().unwrap();
            left.possible = vec![left.acknowledged.clone()];
        }
    };
    let (reader, tasks, power) = (store, disk.tasks(), disk.clone());
    let read = move || {
        let (mut vote, legal) = (None, logs());
        for _ in 0..READS {
            let found = match drive(&*tasks, log(&reader)) {
                Err(error) => return assert!(power.is_power_off(), "{error}"),
                Ok(found) => found,
            };
            assert!(legal.contains(&found), "a log that never was: {found:#?}");
            let seen = drive(&*tasks, reader.clone().read_vote()).unwrap();
            assert!(vote <= seen, "vote {vote:?} became {seen:?}");
            vote = seen;
            tasks.wait_until("its turn", Arc::new(|| true));
        }
    };
    Schedule::new(seed).thread("engine", engine).thread("reader", read).run().unwrap();
    let left = left.lock().unwrap();
    let mut after = open::<L>(&disk.after_power_cut(Survival::Random(seed))).unwrap();
    let found = block_on(Model::found(&mut after)).unwrap();
    assert!(left.possible.contains(&found), "seed {seed}: {:#?} became {found:#?}", left.acknowledged);
    disk.is_power_off()
}

fn schedules<L: Subject<Store = Journal>>() {
    let cuts = (0..SEEDS).filter(|&seed| schedule::<L>(seed)).count() as u64;
    assert!(cuts > SEEDS / 2 && cuts < SEEDS, "{cuts} power cuts");
}

#[test]
fn any_order_of_threads_keeps_what_openraft_09_was_told() {
    schedules::<Log09>();
}

#[test]
fn any_order_of_threads_keeps_what_openraft_010_was_told() {
    schedules::<Log010>();
}

/// Appends that are not waited for, and what was told of each; votes in between.
#[derive(Default)]
struct Pipeline {
    flushed: Vec<(u64, Flushed)>,
    /// How many of them were told that they are durable: always the first ones.
    told: u64,
    /// The first one that was told it never will be.
    failed: Option<u64>,
    /// The votes that were asked for, each with the count of entries that were appended before it.
    votes: Vec<(u64, u64)>,
    saved: Option<u64>,
}

impl Pipeline {
    fn look(&mut self) {
        // The newest first: none may be told before one that is older.
        let mut later = false;
        let mut waiting = Vec::new();
        for (index, mut flushed) in self.flushed.drain(..).rev() {
            match flushed.as_mut().now_or_never() {
                Some(Ok(Ok(()))) => {
                    assert!(
                        self.failed.is_none_or(|failed| index < failed),
                        "{index} is durable, one before it is not"
                    );
                    self.told = self.told.max(index + 1);
                    later = true;
                }
                Some(_) => {
                    assert!(index >= self.told, "{index} failed, one behind it is durable");
                    self.failed = Some(self.failed.map_or(index, |failed| failed.min(index)));
                }
                None => {
                    assert!(!later, "entry {index} was told later than one behind it");
                    waiting.push((index, flushed));
                }
            }
        }
        waiting.reverse();
        self.flushed = waiting;
    }

    fn run(&mut self, store: &mut Log010, tasks: &dyn Tasks) -> Outcome {
        for index in 0..40 {
            let flushed = drive(tasks, append_one(store, index))?;
            self.flushed.push((index, flushed));
            self.look();
            if index % 8 == 7 {
                self.votes.push((index, index + 1));
                drive(tasks, Subject::save_vote(store, index))?;
                self.saved = Some(index);
                self.look();
                assert!(self.flushed.is_empty(), "a vote was told before the appends in front of it");
            }
        }
        Ok(())
    }
}

fn pipeline(seed: u64) -> u64 {
    let disk = SimFs::with_seed(seed);
    let mut store = open::<Log010>(&disk).unwrap();
    let before = store.store().stats().syncs;
    disk.cut_power_at(disk.mutations() + seed * 5 % 120);
    let left = Arc::new(Mutex::new((Pipeline::default(), 0)));
    let (mine, tasks, power) = (Arc::clone(&left), disk.tasks(), disk.clone());
    let engine = move || {
        let mut pipeline = Pipeline::default();
        let ended = pipeline.run(&mut store, &*tasks);
        assert!(ended.is_ok() || power.is_power_off(), "{ended:?}");
        let syncs = store.store().stats().syncs - before;
        drop(store);
        pipeline.look();
        *mine.lock().unwrap() = (pipeline, syncs);
    };
    Schedule::new(seed).thread("engine", engine).run().unwrap();
    let (pipeline, syncs) = std::mem::take(&mut *left.lock().unwrap());
    let mut after = open::<Log010>(&disk.after_power_cut(Survival::Random(seed))).unwrap();
    let found = block_on(Model::found(&mut after)).unwrap();
    let count = found.log.len() as u64;
    assert!(count >= pipeline.told, "seed {seed}: {} entries of {} that were told durable", count, pipeline.told);
    assert_eq!(found.log, items(1, 0..count), "seed {seed}");
    assert!(found.vote >= pipeline.saved, "seed {seed}: a vote was lost");
    if let Some(vote) = found.vote {
        let (_, appended) = pipeline.votes.iter().find(|(term, _)| *term == vote).copied().unwrap();
        assert!(count >= appended, "seed {seed}: vote {vote} without the appends in front of it");
    }
    assert_eq!(entries(after.store()).len() as u64, count);
    u64::from(syncs > 0 && syncs < pipeline.told)
}

#[test]
fn pipelined_appends_are_told_in_order_and_a_vote_is_a_barrier_in_any_order_of_threads() {
    let shared = (0..SEEDS).map(pipeline).sum::<u64>();
    assert!(shared > SEEDS / 10, "appends shared their syncs in {shared} schedules only");
}
