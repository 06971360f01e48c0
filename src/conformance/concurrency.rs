//! Threads that meet in one store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::calls::{Contents, entry};
use super::case::{Case, Cases, Store, Verdict};
use super::report::{Group, Promise};
use crate::entry::{Entry, Position};
use crate::error::Error;
use crate::io::OsThread;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};

const WRITERS: u64 = 6;
const ENTRIES: u64 = 400;
/// How many writes there are at least beside the readers, and how many reads beside the writer.
const ROUNDS: u64 = 60;
const READS: u64 = 200;
/// After how long without its callback a write counts as forgotten.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

pub(super) fn cases<S: Store>() -> Cases<S> {
    Cases {
        group: Group::Concurrency,
        cases: vec![
            ("many writers", Promise::EachIsToldOnce, writers),
            ("readers beside a writer", Promise::ReadsSeeOneLog, readers),
            ("votes beside appends", Promise::VotesAreKept, votes),
            ("a pending sync", Promise::EachIsToldOnce, pending_sync),
        ],
    }
}

/// Of a store that can be opened again.
pub(super) fn reopened_cases<S: Store>() -> Cases<S> {
    let reopened: super::case::Run<S> = reopened;
    let cases = vec![("many writers, then opened again", Promise::AcknowledgedIsDurable, reopened)];
    Cases { group: Group::Concurrency, cases }
}

/// What a thread saw that a promise does not allow.
type Seen = Option<(Promise, String)>;
type Thread = Box<dyn FnOnce() -> Seen + Send>;

/// Runs threads to their ends.
fn run<S: Store>(case: &mut Case<'_, S>, done: &str, jobs: Vec<Thread>) -> Verdict {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let mut threads = Vec::new();
    for job in jobs {
        let answers = Arc::clone(&seen);
        let contained = move || {
            let result = catch_unwind(AssertUnwindSafe(job));
            let panicked = |_| Some((Promise::ReadsSeeOneLog, "a thread panicked".to_owned()));
            let result = result.unwrap_or_else(panicked);
            answers.lock().push(result);
        };
        match OsThread::start("conformance".to_owned(), Box::new(contained)) {
            Ok(thread) => threads.push(thread),
            Err(error) => seen.lock().push(Some((Promise::WritesTakeEffect, format!("no thread: {error}")))),
        }
    }
    threads.into_iter().for_each(OsThread::join);
    let seen = std::mem::take(&mut *seen.lock());
    for seen in seen {
        let (promise, text) = seen.clone().unwrap_or((Promise::ReadsSeeOneLog, String::new()));
        case.holds(promise, done, "what the promise says, in every thread", seen.is_none(), &text)?;
    }
    Ok(())
}

fn open_shared<S: Store>(case: &mut Case<'_, S>) -> Verdict<Arc<S>> {
    // Work in the background gets threads, too, as on the operating system's disk.
    case.site.disk.threaded_tasks();
    case.open().map(Arc::new)
}

/// What the callbacks were told, in the order of the calls.
#[derive(Default)]
pub(super) struct Told {
    calls: Mutex<Vec<(u64, bool)>>,
    changed: Condvar,
}

impl Told {
    pub(super) fn tell(&self, index: u64, good: bool) {
        self.calls.lock().push((index, good));
        self.changed.notify_all();
    }

    /// What was told, once there are so many calls, or none came for long.
    pub(super) fn wait(&self, count: u64) -> Vec<(u64, bool)> {
        let mut calls = self.calls.lock();
        while (calls.len() as u64) < count {
            if self.changed.wait_for(&mut calls, TOLD_WITHIN).timed_out() {
                break;
            }
        }
        calls.clone()
    }
}

fn payload(index: u64, term: u64) -> Entry {
    entry(index, term, 40 + (index % 300) as usize)
}

/// One writer: takes the next index, appends, and waits or asks to be called.
fn write<S: Store>(store: &Arc<S>, next: &Mutex<u64>, told: &Arc<Told>) -> Seen {
    loop {
        let (index, pending) = {
            let mut next = next.lock();
            let index = *next;
            if index > ENTRIES {
                return None;
            }
            *next += 1;
            let pending = match store.append_pending(&[payload(index, 1)]) {
                Ok(pending) => pending,
                Err(error) => return Some((Promise::WritesTakeEffect, format!("append_pending {index}: {error:?}"))),
            };
            if index.is_multiple_of(3) {
                let (told, store): (_, Weak<S>) = (Arc::clone(told), Arc::downgrade(store));
                pending.on_durable(Box::new(move |result| {
                    let durable = store.upgrade().and_then(|store| store.state().durable);
                    let good = result.is_ok() && durable.is_some_and(|durable| durable.index >= index);
                    told.tell(index, good);
                }));
                continue;
            }
            (index, pending)
        };
        let waited = pending.wait();
        let durable = store.state().durable;
        if waited.as_ref().ok() != Some(&Position::new(index, 1)) || durable.is_none_or(|at| at.index < index) {
            return Some((Promise::EachIsToldOnce, format!("waiting for {index}: {waited:?}, durable {durable:?}")));
        }
    }
}

fn write_all<S: Store>(case: &mut Case<'_, S>) -> Verdict<Arc<S>> {
    let store = open_shared(case)?;
    let (next, told) = (Arc::new(Mutex::new(1)), Arc::new(Told::default()));
    let writer = |_| -> Thread {
        let (store, next, told) = (Arc::clone(&store), Arc::clone(&next), Arc::clone(&told));
        Box::new(move || write(&store, &next, &told))
    };
    run(case, "six threads append", (0..WRITERS).map(writer).collect())?;
    case.done("sync", store.sync())?;
    let calls = told.wait(ENTRIES / 3);
    let expected: Vec<(u64, bool)> =
        (1..=ENTRIES).filter(|index| index.is_multiple_of(3)).map(|index| (index, true)).collect();
    case.equal(Promise::EachIsToldOnce, "callbacks of every third entry, each when it is durable", &expected, &calls)?;
    Ok(store)
}

fn pending_sync<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let (store, told) = (open_shared(case)?, Arc::new(Told::default()));
    let mut answers = Vec::new();
    for index in 1..=5 {
        let pending = case.done("append_pending", store.append_pending(&[payload(index, 1)]))?;
        answers.push((index, true));
        let told = Arc::clone(&told);
        pending.on_durable(Box::new(move |result| told.tell(index, result.is_ok())));
    }
    let pending = case.done("sync_pending", store.sync_pending())?;
    let (end, tell) = (Position::new(5, 1), Arc::clone(&told));
    pending.on_durable(Box::new(move |result| tell.tell(u64::MAX, result.ok() == Some(end))));
    answers.push((u64::MAX, true));
    let seen = told.wait(answers.len() as u64);
    case.equal(Promise::EachIsToldOnce, "callbacks of 1..=5, and of the sync behind them", &answers, &seen)?;
    case.equal(Promise::EachIsToldOnce, "sync_pending", &Some(end), &store.state().durable)
}

fn written() -> Contents {
    Contents { entries: (1..=ENTRIES).map(|index| payload(index, 1)).collect(), ..Contents::default() }
}

fn writers<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = write_all(case)?;
    let found = case.contents(&store, "six threads append")?;
    case.judge(&found, &[written()], "six threads append")
}

fn reopened<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    drop(write_all(case)?);
    let store = case.open()?;
    let found = case.contents(&store, "six threads append; close")?;
    case.judge(&found, &[written()], "six threads append; close")
}

/// What is wrong with entries that were read in one call, if anything.
fn not_one_log(found: &[Entry], first: u64) -> Option<String> {
    let row = found.iter().zip(first..).all(|(entry, index)| entry.index == index);
    let terms = found.iter().zip(found.iter().skip(1)).all(|(one, next)| one.term <= next.term);
    let whole = found.iter().all(|entry| *entry == payload(entry.index, entry.term));
    (!row || !terms || !whole).then(|| super::calls::listed(found))
}

fn read<S: Store>(store: &S, reads: &AtomicU64, ended: &AtomicBool) -> Seen {
    while !ended.load(Ordering::Relaxed) {
        let state = store.state();
        reads.fetch_add(1, Ordering::Relaxed);
        let Some((first, next)) = state.first_index().zip(state.next_index()) else { continue };
        for result in [store.entries(first..next, u64::MAX), store.entry(first).map(|entry| vec![entry])] {
            let seen = match result {
                Ok(found) => not_one_log(&found, first),
                // The log moved on since `state`.
                Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => None,
                Err(error) => Some(format!("{error:?}")),
            };
            if let Some(seen) = seen {
                return Some((Promise::ReadsSeeOneLog, format!("from {first} on: {seen}")));
            }
        }
    }
    None
}

/// Replaces the tail again and again, each time in a later term, and truncates the head now and then.
fn replace<S: Store>(store: &S, reads: &AtomicU64) -> Result<(), Error> {
    for round in 0.. {
        if round >= ROUNDS && reads.load(Ordering::Relaxed) >= READS {
            break;
        }
        let (term, next) = (round + 2, store.state().next_index().unwrap_or(1));
        let batch: Vec<Entry> = (next - 3..=next + 4).map(|index| payload(index, term)).collect();
        store.replace_tail(&batch)?;
        if round % 4 == 3 {
            let index = next - 10;
            store.truncate_head(Position::new(index, store.term(index)?))?;
        }
    }
    Ok(())
}

fn readers<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = open_shared(case)?;
    let batch: Vec<Entry> = (1..=30).map(|index| payload(index, 1)).collect();
    case.done("append 1..=30", store.append(&batch))?;
    let (reads, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut jobs: Vec<Thread> = Vec::new();
    for _ in 0..2 {
        let (store, reads, ended) = (Arc::clone(&store), Arc::clone(&reads), Arc::clone(&ended));
        jobs.push(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(|| read(&*store, &reads, &ended)));
            // The writer need not wait for one that has seen enough.
            reads.fetch_add(READS, Ordering::Relaxed);
            result.unwrap_or_else(|_| Some((Promise::ReadsSeeOneLog, "a reader panicked".to_owned())))
        }));
    }
    jobs.push(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(|| replace(&*store, &reads)));
        ended.store(true, Ordering::Relaxed);
        let failed = |text| Some((Promise::WritesTakeEffect, text));
        match result {
            Ok(result) => result.err().and_then(|error| failed(format!("{error:?}"))),
            Err(_) => failed("the writer panicked".to_owned()),
        }
    }));
    run(case, "two threads read while one replaces the tail and truncates the head", jobs)
}

fn votes<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = open_shared(case)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (voter, appender, reader) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
    let (end, until) = (Arc::clone(&ended), ended);
    let failed = |error: Error| (Promise::WritesTakeEffect, format!("{error:?}"));
    let vote = move || {
        let result = catch_unwind(AssertUnwindSafe(|| (1..=ROUNDS).try_for_each(|vote| voter.set_u64(b"vote", vote))));
        end.store(true, Ordering::Relaxed);
        match result {
            Ok(result) => result.err().map(failed),
            Err(_) => Some((Promise::WritesTakeEffect, "the voter panicked".to_owned())),
        }
    };
    let append = move || {
        let append = |index| appender.append(&[payload(index, 1)]).map(drop);
        (1..=ROUNDS).try_for_each(append).err().map(failed)
    };
    let look = move || {
        let mut newest = 0;
        while !until.load(Ordering::Relaxed) {
            let vote = match reader.get_u64(b"vote") {
                Ok(vote) => vote.unwrap_or(0),
                Err(error) => return Some(failed(error)),
            };
            if vote < newest {
                return Some((Promise::VotesAreKept, format!("vote {vote} after {newest}")));
            }
            newest = vote;
        }
        None
    };
    run(
        case,
        "one thread votes, one appends, one reads the vote",
        vec![Box::new(vote), Box::new(append), Box::new(look)],
    )?;
    let vote = case.done("get_u64 vote", store.get_u64(b"vote"))?;
    case.equal(Promise::VotesAreKept, "the last vote", &Some(ROUNDS), &vote)?;
    case.equal(Promise::WritesTakeEffect, "the appends", &Some(ROUNDS), &store.state().last_index())
}
