//! Threads on simulated disks, one at a time, in an order that a seed draws.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::choice::Chooser;
use super::operation::OperationKind;
use super::tasks::Later;
use crate::io::os::OsThread;
use crate::io::{Condition, Job, Lane};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};

thread_local! {
    /// The simulated thread that this one is.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The simulated thread that calls, if it is one.
pub(super) fn current() -> Option<Current> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Simulated threads, of which one runs at a time; a seed draws which. See the [module](super#threads).
///
/// All that is drawn at random comes from the seed, so that one seed replays one history, as long as the threads do
/// nothing else that differs from run to run: no threads of their own, no clock, no randomness, no hash map's order.
///
/// The next thread is drawn before each operation on a simulated disk, again while a sync is under way, at each
/// [`Tasks::submit`](crate::io::Tasks::submit), [`after`](crate::io::Tasks::after),
/// [`pause`](crate::io::Tasks::pause) and [`wait_until`](crate::io::Tasks::wait_until), and when a thread ends. Between
/// these a thread is alone. Some seeds switch often and some seldom, some have slow and fast threads, and some let one
/// thread wait until no other can go on.
///
/// Each [`Lane`] of background work has simulated threads of its own, as many as the operating system gives it. Time
/// passes when no thread can go on, up to the next job that waits for it, and, with some seeds, now and then.
#[must_use = "the threads begin with `run`"]
pub struct Schedule {
    seed: u64,
    steps_max: u64,
    blocked_after: Duration,
    threads: Vec<(String, Job)>,
}

impl Schedule {
    /// A schedule without threads.
    pub fn new(seed: u64) -> Self {
        Self { seed, steps_max: 1_000_000, blocked_after: Duration::from_secs(30), threads: Vec::new() }
    }

    /// Adds a thread. Its name is for reports and for the message of a panic.
    pub fn thread(mut self, name: impl Into<String>, job: impl FnOnce() + Send + 'static) -> Self {
        self.threads.push((name.into(), Box::new(job)));
        self
    }

    /// After how many steps the run is given up as [`Stuck::Endless`]; a million at first.
    pub fn steps_max(mut self, steps: u64) -> Self {
        self.steps_max = steps;
        self
    }

    /// After how long without a step, in real time, the run is given up as [`Stuck::Blocked`]; half a minute at first.
    pub fn blocked_after(mut self, time: Duration) -> Self {
        self.blocked_after = time;
        self
    }

    /// Runs the threads until all of them have ended, and the background work that they submitted. What still waits
    /// for time to pass goes on waiting for it at its disk.
    ///
    /// # Errors
    ///
    /// [`Stuck`]. The threads that have not ended then stay where they are for good, with the locks that they hold: a
    /// journal of theirs that is used or dropped outside may never answer. So let the threads own what they use.
    ///
    /// # Panics
    ///
    /// When a thread or a job panicked, with the first one's payload, once the others have ended or are stuck.
    pub fn run(self) -> Result<Finished, Stuck> {
        let scheduler = Arc::new(Scheduler {
            state: Mutex::new(State::new(Chooser::new(self.seed), self.steps_max)),
            ended: Condvar::new(),
        });
        let mut state = scheduler.state.lock();
        for (name, job) in self.threads {
            scheduler.add(&mut state, name, Work::Thread(job));
        }
        scheduler.pass(&mut state);
        while state.outcome.is_none() {
            let before = state.steps;
            let timed_out = scheduler.ended.wait_for(&mut state, self.blocked_after).timed_out();
            if timed_out && state.outcome.is_none() && state.steps == before {
                let stuck = state.blocked();
                scheduler.end(&mut state, Err(stuck));
            }
        }
        let outcome = state.outcome.take().unwrap_or(Ok(()));
        // Only now: whoever looks for an outcome must find one.
        state.outcome = Some(Ok(()));
        let (panic, os_threads) = (state.panic.take(), std::mem::take(&mut state.os_threads));
        let timers = std::mem::take(&mut state.timers);
        let (finished, now) = (Finished { steps: state.steps, switches: state.switches, time: state.now }, state.now);
        drop(state);
        for ((due, _), timer) in timers {
            timer.home.lock().push((due.saturating_sub(now), timer.lane, timer.job));
        }
        if outcome.is_ok() {
            os_threads.into_iter().for_each(OsThread::join);
        }
        match panic {
            Some(payload) => resume_unwind(payload),
            None => outcome.map(|()| finished),
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.threads.iter().map(|(name, _)| name).collect();
        formatter.debug_struct("Schedule").field("seed", &self.seed).field("threads", &names).finish_non_exhaustive()
    }
}

/// A run of a [`Schedule`] that came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// How often a thread was drawn.
    pub steps: u64,
    /// How often it was another one than before.
    pub switches: u64,
    /// How much simulated time has passed.
    pub time: Duration,
}

/// A run of a [`Schedule`] that came to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// No thread can go on, and none waits for time to pass.
    #[error("deadlock after {steps} steps: {}", list(threads))]
    Deadlock {
        /// How often a thread was drawn.
        steps: u64,
        /// The threads that have not ended, and what each is at.
        threads: Vec<(String, String)>,
    },
    /// The threads were still at work after as many steps as they were given.
    #[error("no end after {steps} steps: {}", list(threads))]
    Endless {
        /// How often a thread was drawn.
        steps: u64,
        /// The threads that have not ended, and what each is at.
        threads: Vec<(String, String)>,
    },
    /// A thread has taken no step for a long time: it blocks, though not through [`Tasks`](crate::io::Tasks), such as
    /// on a lock that a thread holds which is not drawn.
    #[error("{name} blocks outside the schedule after {steps} steps; {}", list(threads))]
    Blocked {
        /// The thread's name.
        name: String,
        /// How often a thread was drawn.
        steps: u64,
        /// The threads that have not ended, and what each is at.
        threads: Vec<(String, String)>,
    },
    /// The operating system started no thread.
    #[error("no thread could be started for {name}: {error}")]
    NoThread {
        /// The simulated thread's name.
        name: String,
        /// Why.
        #[source]
        error: io::Error,
    },
}

fn list(threads: &[(String, String)]) -> String {
    threads.iter().map(|(name, at)| format!("{name} is {at}")).collect::<Vec<_>>().join(", ")
}

/// A simulated thread, as it sees itself.
#[derive(Clone)]
pub(super) struct Current {
    scheduler: Arc<Scheduler>,
    number: usize,
    turn: Arc<Condvar>,
}

struct Scheduler {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    chooser: Chooser,
    threads: Vec<Thread>,
    os_threads: Vec<OsThread>,
    running: Option<usize>,
    urgent: VecDeque<Job>,
    housekeeping: VecDeque<Job>,
    /// By when they are due, and, where that is the same, by which came first.
    timers: BTreeMap<(Duration, u64), Timer>,
    timers_added: u64,
    now: Duration,
    steps: u64,
    steps_max: u64,
    switches: u64,
    /// How it ended: nobody runs any more.
    outcome: Option<Result<(), Stuck>>,
    panic: Option<Box<dyn Any + Send>>,
}

struct Thread {
    name: String,
    status: Status,
    turn: Arc<Condvar>,
}

enum Status {
    Doing(&'static str),
    /// Before an operation.
    Asking(OperationKind, String),
    Waiting(&'static str, Condition),
    /// A lane's, without a job.
    Idle(Lane),
    Ended,
}

struct Timer {
    lane: Lane,
    job: Job,
    /// Where it waits when the run has ended.
    home: Later,
}

/// What a simulated thread lives for.
enum Work {
    Thread(Job),
    Lane(Lane),
}

impl Current {
    /// Lets the schedule choose who goes on before an operation.
    pub(super) fn step(&self, kind: OperationKind, path: &str) {
        self.give_way(Status::Asking(kind, path.into()));
    }

    /// Lets the schedule choose who goes on.
    pub(super) fn pause(&self, doing: &'static str) {
        self.give_way(Status::Doing(doing));
    }

    pub(super) fn wait_until(&self, what: &'static str, ready: &Condition) -> bool {
        self.give_way(Status::Waiting(what, Arc::clone(ready)));
        ready()
    }

    pub(super) fn enqueue(&self, lane: Lane, job: Job) {
        self.scheduler.enqueue(&mut self.scheduler.state.lock(), lane, job);
    }

    pub(super) fn after(&self, delay: Duration, lane: Lane, job: Job, home: &Later) {
        let mut state = self.scheduler.state.lock();
        state.timers_added += 1;
        let key = (state.now.saturating_add(delay), state.timers_added);
        state.timers.insert(key, Timer { lane, job, home: Arc::clone(home) });
    }

    /// How much simulated time has passed.
    pub(super) fn now(&self) -> Duration {
        self.scheduler.state.lock().now
    }

    pub(super) fn sleep(&self, time: Duration, home: &Later) {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        self.after(time, Lane::Urgent, Box::new(move || ends.store(true, Ordering::Release)), home);
        self.wait_until("time to pass", &(Arc::new(move || is_over.load(Ordering::Acquire)) as Condition));
    }

    /// Goes on when it is this thread's turn again: never, when the run was given up.
    fn give_way(&self, status: Status) {
        let mut state = self.scheduler.state.lock();
        state.set(self.number, status);
        self.scheduler.pass(&mut state);
        while state.running != Some(self.number) {
            self.turn.wait(&mut state);
        }
        state.set(self.number, Status::Doing("at work"));
    }

    /// Waits, between two jobs, for this thread's turn; says whether it comes.
    fn await_turn(&self, state: &mut MutexGuard<'_, State>) -> bool {
        while state.running != Some(self.number) {
            if state.outcome.is_some() {
                return false;
            }
            self.turn.wait(state);
        }
        state.set(self.number, Status::Doing("at work"));
        true
    }

    fn live(&self, work: Work) {
        CURRENT.set(Some(self.clone()));
        let mut state = self.scheduler.state.lock();
        let last = match work {
            Work::Thread(job) => {
                if self.await_turn(&mut state) {
                    self.run(&mut state, job);
                }
                Status::Ended
            }
            Work::Lane(lane) => {
                while self.await_turn(&mut state) {
                    if let Some(job) = state.lane(lane).pop_front() {
                        self.run(&mut state, job);
                    }
                    state.set(self.number, Status::Idle(lane));
                    self.scheduler.pass(&mut state);
                }
                Status::Idle(lane)
            }
        };
        state.set(self.number, last);
        if state.running == Some(self.number) {
            self.scheduler.pass(&mut state);
        }
        CURRENT.set(None);
    }

    fn run(&self, state: &mut MutexGuard<'_, State>, job: Job) {
        let result = MutexGuard::unlocked(state, || catch_unwind(AssertUnwindSafe(job)));
        match (result, &state.panic) {
            (Ok(()), _) => {}
            (Err(payload), None) => state.panic = Some(payload),
            // The panic's message is out; dropping what it carries could panic again.
            (Err(payload), Some(_)) => std::mem::forget(payload),
        }
    }
}

impl Scheduler {
    /// Adds a thread that waits for its first turn.
    fn add(self: &Arc<Self>, state: &mut State, name: String, work: Work) {
        let status = match work {
            Work::Thread(_) => Status::Doing("about to begin"),
            Work::Lane(lane) => Status::Idle(lane),
        };
        let turn = Arc::new(Condvar::new());
        let current = Current { scheduler: Arc::clone(self), number: state.threads.len(), turn: Arc::clone(&turn) };
        state.chooser.add();
        state.threads.push(Thread { name: name.clone(), status, turn });
        match OsThread::start(name.clone(), Box::new(move || current.live(work))) {
            Ok(thread) => state.os_threads.push(thread),
            Err(error) => self.end(state, Err(Stuck::NoThread { name, error })),
        }
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, lane: Lane, job: Job) {
        state.lane(lane).push_back(job);
        let of_lane = |thread: &&Thread| thread.name.starts_with(name_of(lane));
        let there = state.threads.iter().filter(of_lane).count();
        let idle = state.threads.iter().filter(|thread| thread.is_idle(lane)).count();
        if state.lane(lane).len() > idle && there < lane.threads_max() {
            self.add(state, format!("{} {}", name_of(lane), there + 1), Work::Lane(lane));
        }
    }

    /// Gives the turn to the thread that is drawn; ends the run when there is none.
    fn pass(self: &Arc<Self>, state: &mut State) {
        if state.outcome.is_some() {
            return;
        }
        state.steps += 1;
        let drawn = match self.draw(state) {
            Ok(drawn) if state.steps <= state.steps_max || drawn.is_none() => drawn,
            Ok(_) => {
                let (steps, threads) = (state.steps - 1, state.at_work());
                return self.end(state, Err(Stuck::Endless { steps, threads }));
            }
            Err(stuck) => return self.end(state, Err(stuck)),
        };
        // A lane's thread that could not be started has ended the run meanwhile.
        if state.outcome.is_some() || (drawn == state.running && drawn.is_some()) {
            return;
        }
        state.switches += 1;
        state.running = drawn;
        match drawn.and_then(|drawn| state.threads.get(drawn)) {
            Some(thread) => _ = thread.turn.notify_one(),
            None => self.end(state, Ok(())),
        }
    }

    /// Who goes on; nobody, when everything is done.
    fn draw(self: &Arc<Self>, state: &mut State) -> Result<Option<usize>, Stuck> {
        loop {
            if state.is_done() {
                return Ok(None);
            }
            let able = state.able();
            let passes = !state.timers.is_empty() && (able.is_empty() || state.chooser.lets_time_pass());
            let due = if passes { state.timers.pop_first() } else { None };
            if let Some(((due, _), timer)) = due {
                state.now = state.now.max(due);
                self.enqueue(state, timer.lane, timer.job);
            } else if able.is_empty() {
                let (steps, threads) = (state.steps, state.at_work());
                return Err(Stuck::Deadlock { steps, threads });
            } else {
                return Ok(state.chooser.choose(state.running, &able, state.steps));
            }
        }
    }

    fn end(&self, state: &mut State, outcome: Result<(), Stuck>) {
        state.running = None;
        state.outcome.get_or_insert(outcome);
        state.threads.iter().for_each(|thread| _ = thread.turn.notify_one());
        self.ended.notify_one();
    }
}

fn name_of(lane: Lane) -> &'static str {
    match lane {
        Lane::Urgent => "lane urgent",
        Lane::Housekeeping => "lane housekeeping",
    }
}

impl State {
    fn new(chooser: Chooser, steps_max: u64) -> Self {
        Self {
            chooser,
            threads: Vec::new(),
            os_threads: Vec::new(),
            running: None,
            urgent: VecDeque::new(),
            housekeeping: VecDeque::new(),
            timers: BTreeMap::new(),
            timers_added: 0,
            now: Duration::ZERO,
            steps: 0,
            steps_max,
            switches: 0,
            outcome: None,
            panic: None,
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Housekeeping => &mut self.housekeeping,
        }
    }

    fn set(&mut self, number: usize, status: Status) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.status = status;
        }
    }

    fn is_done(&self) -> bool {
        let is_over = |thread: &Thread| matches!(thread.status, Status::Ended | Status::Idle(_));
        self.urgent.is_empty() && self.housekeeping.is_empty() && self.threads.iter().all(is_over)
    }

    /// The threads that can go on.
    fn able(&self) -> Vec<usize> {
        // A condition that calls a disk all the same is answered, instead of waiting for this very lock.
        let current = CURRENT.take();
        let is_able = |thread: &Thread| match &thread.status {
            Status::Doing(_) | Status::Asking(..) => true,
            // One that panics is for the thread that waits to see.
            Status::Waiting(_, ready) => catch_unwind(AssertUnwindSafe(|| ready())).unwrap_or(true),
            Status::Idle(Lane::Urgent) => !self.urgent.is_empty(),
            Status::Idle(Lane::Housekeeping) => !self.housekeeping.is_empty(),
            Status::Ended => false,
        };
        let able = self.threads.iter().enumerate().filter(|(_, thread)| is_able(thread));
        let able = able.map(|(number, _)| number).collect();
        CURRENT.set(current);
        able
    }

    fn blocked(&self) -> Stuck {
        let running = self.running.and_then(|running| self.threads.get(running));
        let name = running.map(|thread| thread.name.clone()).unwrap_or_default();
        Stuck::Blocked { name, steps: self.steps, threads: self.at_work() }
    }

    /// The threads that have not ended, and what they are at.
    fn at_work(&self) -> Vec<(String, String)> {
        let at = |thread: &Thread| {
            let at = match &thread.status {
                Status::Doing(doing) => (*doing).to_owned(),
                Status::Asking(kind, path) => format!("before {kind:?} {path}"),
                Status::Waiting(what, _) => format!("waiting for {what}"),
                Status::Idle(_) | Status::Ended => return None,
            };
            Some((thread.name.clone(), at))
        };
        self.threads.iter().filter_map(at).collect()
    }
}

impl Thread {
    fn is_idle(&self, lane: Lane) -> bool {
        matches!(self.status, Status::Idle(idle) if idle == lane)
    }
}
