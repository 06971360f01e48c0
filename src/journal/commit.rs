//! The group sync: one sync for all who wait, and the callbacks behind it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::monitor::Monitor;
use super::watch::Watch;
use crate::contained::contained;
use crate::entry::Position;
use crate::error::{Error, Result};
use crate::io::{Lane, Tasks};
use crate::meta::Mark;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::pending::Durability;
use crate::segment::Segment;
use crate::sync::{MutexGuard, thread_local};

type Callback = Box<dyn FnOnce(Result<()>) + Send>;

thread_local! {
    /// The groups whose callbacks this thread is running, innermost last.
    static DELIVERING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Never the model checker's: it is the process's, and no order of threads depends on it.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(0);

/// What has been written, and how much of it is known to be durable.
pub(crate) struct Group {
    /// For the jobs that outlive a call.
    this: Weak<Group>,
    /// Tells this journal's callbacks from another's.
    id: u64,
    tasks: Arc<dyn Tasks>,
    watch: Arc<Watch>,
    state: Monitor<State>,
}

/// What one write left behind it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) segment: Arc<Segment>,
    pub(crate) mark: Mark,
    pub(crate) last: Option<Position>,
}

struct State {
    ticket: u64,
    written: Written,
    durable_ticket: u64,
    durable: Mark,
    durable_last: Option<Position>,
    /// The newest entry before the durable mark, be it replaced since or not.
    cut_last: Option<Position>,
    /// Replacing writes that are not durable yet: what is durable in the log as it is now ends before them.
    replaced: VecDeque<(u64, Option<Position>)>,
    /// Somebody syncs, or is about to. One sync per file at a time: of two concurrent ones the system may tell only one
    /// that a writeback failed.
    syncing: bool,
    /// When the sync that is in flight began.
    sync_since: Option<Duration>,
    /// How many have ended.
    syncs: u64,
    /// Those who wait for a sync to end, or for their turn to lead the next one.
    waiters: Vec<Waiter>,
    /// A file is to be synced and left behind: that comes before the next turn.
    leaving: bool,
    /// Whether the last sync served more than one write.
    is_crowded: bool,
    poison: Option<Arc<Error>>,
    callbacks: VecDeque<(u64, Callback)>,
    /// A job is at the callbacks, or about to be: it stays until there are none.
    delivering: bool,
}

impl Group {
    /// A group in which everything up to `written` is durable.
    pub(crate) fn new(tasks: Arc<dyn Tasks>, watch: Arc<Watch>, written: Written) -> Arc<Group> {
        let (durable, durable_last) = (written.mark, written.last);
        let state = State {
            ticket: 0,
            written,
            durable_ticket: 0,
            durable,
            durable_last,
            cut_last: durable_last,
            replaced: VecDeque::new(),
            syncing: false,
            sync_since: None,
            syncs: 0,
            waiters: Vec::new(),
            leaving: false,
            is_crowded: false,
            poison: None,
            callbacks: VecDeque::new(),
            delivering: false,
        };
        let id = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
        Arc::new_cyclic(|this| Group {
            this: Weak::clone(this),
            id,
            state: Monitor::new(Arc::clone(&tasks), state),
            tasks,
            watch,
        })
    }

    /// Notes a write that readers can see now; the ticket is what to wait for. `replaced` is given by a write that
    /// took entries back: the position before its first index.
    pub(crate) fn wrote(&self, written: Written, replaced: Option<Option<Position>>) -> u64 {
        let mut state = self.state.lock();
        state.ticket += 1;
        state.written = written;
        let ticket = state.ticket;
        if let Some(cap) = replaced {
            state.durable_last = state.durable_last.min(cap);
            state.replaced.push_back((ticket, cap));
        }
        ticket
    }

    /// Notes that everything written is durable and the log now stands at `written`: a file was sealed and synced, or
    /// a commit emptied the log.
    pub(crate) fn settle(&self, written: Written) {
        let mut state = self.state.lock();
        state.durable_ticket = state.ticket;
        state.durable = written.mark;
        (state.durable_last, state.cut_last) = (written.last, written.last);
        state.replaced.clear();
        state.written = written;
        let answers = state.answers();
        drop(state);
        answers.into_iter().for_each(Answer::give);
    }

    /// Whether a write is known to be durable.
    pub(super) fn is_durable(&self, ticket: u64) -> bool {
        self.state.lock().durable_ticket >= ticket
    }

    /// The ticket of the newest write.
    pub(crate) fn newest_ticket(&self) -> u64 {
        self.state.lock().ticket
    }

    /// Gives up the room that many waiters and callbacks took, if there are none.
    pub(crate) fn give_up_memory(&self) {
        let mut state = self.state.lock();
        state.replaced.shrink_to_fit();
        state.waiters.shrink_to_fit();
        state.callbacks.shrink_to_fit();
    }

    /// How many writes were noted, and how many syncs have ended.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.ticket, state.syncs)
    }

    /// The last position and the mark that are known to be durable.
    pub(crate) fn durable(&self) -> (Option<Position>, Mark) {
        let state = self.state.lock();
        (state.durable_last, state.durable)
    }

    /// What a copy up to the durable mark ends with, be it replaced since or not; and that mark.
    pub(crate) fn cut(&self) -> (Option<Position>, Mark) {
        let state = self.state.lock();
        (state.cut_last, state.durable)
    }

    /// The failure that made the disk's state unknown, if there was one.
    pub(crate) fn check(&self) -> Result<()> {
        self.state.lock().poison.as_ref().map_or(Ok(()), |cause| Err(poisoned(cause)))
    }

    /// The failure itself.
    pub(crate) fn poisoned_by(&self) -> Option<Arc<Error>> {
        self.state.lock().poison.clone()
    }

    /// How long the sync that is in flight has been so.
    pub(crate) fn sync_age(&self) -> Option<Duration> {
        let since = self.state.lock().sync_since?;
        Some(self.tasks.now().saturating_sub(since))
    }

    /// Refuses all writes from now on, and answers everybody who waits.
    pub(crate) fn poison(&self, error: Error) -> Error {
        self.watch.note(&error);
        let mut state = self.state.lock();
        let cause = Arc::clone(state.poison.get_or_insert_with(|| Arc::new(error)));
        let answers = state.answers();
        self.state.notify_all();
        drop(state);
        answers.into_iter().for_each(Answer::give);
        poisoned(&cause)
    }

    /// Whether this thread runs a callback of this journal.
    pub(crate) fn in_callback(&self) -> bool {
        // Where the thread ends, and its own values are dropped, it runs no callback any more.
        DELIVERING.try_with(|groups| groups.borrow().contains(&self.id)).unwrap_or(false)
    }

    /// Refuses a call that would wait inside a callback of this journal.
    pub(crate) fn refuse_in_callback(&self, call: &'static str) -> Result<()> {
        if self.in_callback() { Err(Error::BlockingCallInCallback { call }) } else { Ok(()) }
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let ticket = self.state.lock().ticket;
        self.reach(ticket)
    }

    /// Waits until `ticket` is durable; leads the sync for all who wait when nobody does.
    pub(super) fn reach(&self, ticket: u64) -> Result<()> {
        loop {
            let mut state = self.state.lock();
            if let Some(answer) = state.answer(ticket) {
                return answer;
            }
            if std::mem::replace(&mut state.syncing, true) {
                // Each waits on its own: a sync wakes those whom it served and one more, and nobody for nothing.
                let turn = Arc::new(Monitor::new(Arc::clone(&self.tasks), Turn::Waiting));
                state.waiters.push(Waiter { ticket, turn: Arc::clone(&turn) });
                drop(state);
                if let Some(answer) = Turn::come(&turn) {
                    return answer;
                }
                state = self.state.lock();
            }
            self.lead(state);
        }
    }

    /// Syncs for all who wait. The turn is the caller's.
    fn lead(&self, mut state: MutexGuard<'_, State>) {
        if state.is_crowded {
            // Those whom the last sync served are about to write again.
            MutexGuard::unlocked(&mut state, || self.tasks.pause());
        }
        if state.poison.is_none() {
            let (newest, target) = (state.ticket, state.written.clone());
            state.is_crowded = newest > state.durable_ticket + 1;
            let begun = state.begin(self.tasks.now());
            let result = MutexGuard::unlocked(&mut state, || sync(&target.segment));
            let served = newest.saturating_sub(state.durable_ticket);
            state.finish(newest, target, result.clone());
            self.pass_on(state);
            // Without the lock: whoever records it may ask the journal how it is.
            return self.watch.synced(begun, served, result.as_ref().err().map(|error| &**error));
        }
        self.pass_on(state);
    }

    /// Answers those whom a sync has served, and gives the next turn away.
    fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        let mut answers = state.answers();
        state.syncing = false;
        if !state.leaving && !state.waiters.is_empty() {
            state.syncing = true;
            answers.push(Answer { turn: state.waiters.remove(0).turn, now: Turn::Lead });
        }
        self.state.notify_all();
        drop(state);
        answers.into_iter().for_each(Answer::give);
    }

    /// Waits until nobody syncs, before anybody else's turn comes.
    fn wait_for_sync(&self, state: &mut MutexGuard<'_, State>) {
        state.leaving = true;
        while state.syncing {
            self.state.wait(state, "a sync", |state| !state.syncing);
        }
        state.leaving = false;
    }

    /// Syncs `segment` while nobody else does, then settles: for the writer, who has just sealed it.
    pub(crate) fn sync_and_settle(&self, segment: &Segment, settled: Written) -> Result<()> {
        #[cfg(mutate)]
        if mutate::is(Mutation::RotationUnsynced) || mutate::is(Mutation::SuccessorBeforeSeal) {
            self.settle(settled);
            return Ok(());
        }
        let mut state = self.state.lock();
        self.wait_for_sync(&mut state);
        if let Some(cause) = &state.poison {
            return Err(poisoned(cause));
        }
        state.syncing = true;
        let begun = state.begin(self.tasks.now());
        drop(state);
        let result = sync(segment);
        let mut state = self.state.lock();
        let ticket = state.ticket;
        let served = ticket.saturating_sub(state.durable_ticket);
        state.finish(ticket, settled.clone(), result.clone());
        if result.is_ok() {
            state.written = settled;
        }
        self.pass_on(state);
        self.watch.synced(begun, served, result.as_ref().err().map(|error| &**error));
        // A sync that found no space is as final as any other: the bytes may be gone from the cache.
        result.map_err(|cause| poisoned(&cause))
    }

    /// Leads syncs and runs callbacks until none is left.
    fn deliver(self: Arc<Self>) {
        loop {
            let first = {
                let mut state = self.state.lock();
                let Some(&(ticket, _)) = state.callbacks.front() else {
                    state.delivering = false;
                    self.state.notify_all();
                    return;
                };
                ticket
            };
            let result = self.reach(first);
            for (callback, result) in self.covered(result) {
                let _ = DELIVERING.try_with(|groups| groups.borrow_mut().push(self.id));
                // A callback is the caller's code: its panic must strand none of the others.
                contained(|| callback(result));
                let _ = DELIVERING.try_with(|groups| groups.borrow_mut().pop());
            }
        }
    }

    /// Takes the callbacks that can be answered: those the durable mark has reached, or all when none ever will be.
    fn covered(&self, result: Result<()>) -> Vec<(Callback, Result<()>)> {
        let mut state = self.state.lock();
        let durable = state.durable_ticket;
        let count = match result {
            Ok(()) => state.callbacks.partition_point(|&(ticket, _)| ticket <= durable),
            Err(_) => state.callbacks.len(),
        };
        let taken = state.callbacks.drain(..count);
        taken.map(|(ticket, callback)| (callback, if ticket <= durable { Ok(()) } else { result.clone() })).collect()
    }

    /// Waits until every callback has run: except when called by one.
    pub(crate) fn drain_callbacks(&self) {
        if self.in_callback() {
            return;
        }
        let mut state = self.state.lock();
        while state.delivering {
            self.state.wait_for_job(&mut state, "durability callbacks", |state| !state.delivering);
        }
    }
}

impl Durability for Group {
    fn wait(&self, ticket: u64) -> Result<()> {
        if self.is_durable(ticket) {
            return Ok(());
        }
        self.refuse_in_callback("Pending::wait")?;
        self.reach(ticket)
    }

    fn on_durable(&self, ticket: u64, callback: Callback) {
        let mut state = self.state.lock();
        let at = state.callbacks.partition_point(|&(other, _)| other <= ticket);
        state.callbacks.insert(at, (ticket, callback));
        if std::mem::replace(&mut state.delivering, true) {
            return;
        }
        drop(state);
        if let Some(group) = self.this.upgrade() {
            self.tasks.submit(Lane::Urgent, Box::new(move || group.deliver()));
        }
    }
}

/// Somebody who waits until a write is durable.
struct Waiter {
    ticket: u64,
    turn: Arc<Monitor<Turn>>,
}

/// What a waiter waits for.
enum Turn {
    Waiting,
    /// The next sync is his to lead.
    Lead,
    Done(Result<()>),
}

impl Turn {
    /// Waits for it: the answer, or nothing when the next sync is the caller's to lead.
    fn come(turn: &Monitor<Turn>) -> Option<Result<()>> {
        let mut now = turn.lock();
        loop {
            match std::mem::replace(&mut *now, Turn::Waiting) {
                Turn::Done(answer) => return Some(answer),
                Turn::Lead => return None,
                Turn::Waiting => turn.wait(&mut now, "a sync", |turn| !matches!(turn, Turn::Waiting)),
            }
        }
    }
}

/// What a waiter is told.
struct Answer {
    turn: Arc<Monitor<Turn>>,
    now: Turn,
}

impl Answer {
    /// Tells him.
    fn give(self) {
        *self.turn.lock() = self.now;
        self.turn.notify_all();
    }
}

impl State {
    /// Whether a write is durable, as far as that is known.
    fn answer(&self, ticket: u64) -> Option<Result<()>> {
        match &self.poison {
            _ if self.durable_ticket >= ticket => Some(Ok(())),
            Some(cause) => Some(Err(poisoned(cause))),
            None => None,
        }
    }

    /// Takes out those waiters who can be answered.
    fn answers(&mut self) -> Vec<Answer> {
        let (mut answers, mut waiting) = (Vec::with_capacity(self.waiters.len()), Vec::new());
        for waiter in std::mem::take(&mut self.waiters) {
            match self.answer(waiter.ticket) {
                Some(answer) => answers.push(Answer { turn: waiter.turn, now: Turn::Done(answer) }),
                None => waiting.push(waiter),
            }
        }
        self.waiters = waiting;
        answers
    }

    /// A sync begins.
    fn begin(&mut self, now: Duration) -> Duration {
        self.sync_since = Some(now);
        now
    }

    /// Takes in the result of a sync that began when `ticket` was the newest write.
    fn finish(&mut self, ticket: u64, target: Written, result: Result<(), Arc<Error>>) {
        self.syncs += 1;
        self.sync_since = None;
        match result {
            Ok(()) => {
                self.durable_ticket = self.durable_ticket.max(ticket);
                (self.durable, self.cut_last) = (target.mark, target.last);
                while self.replaced.front().is_some_and(|&(replacing, _)| replacing <= ticket) {
                    self.replaced.pop_front();
                }
                let caps = self.replaced.iter().map(|&(_, cap)| cap);
                self.durable_last = caps.fold(target.last, std::cmp::Ord::min);
            }
            Err(cause) => {
                self.poison.get_or_insert(cause);
            }
        }
    }
}

fn sync(segment: &Segment) -> Result<(), Arc<Error>> {
    segment.file.sync_data().map_err(|error| Arc::new(Error::io("sync", &segment.path, None, error)))
}

fn poisoned(cause: &Arc<Error>) -> Error {
    Error::Poisoned { cause: Arc::clone(cause) }
}
