//! The simulated disk's background work.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::operation::OperationKind;
use super::schedule::{self, Current};
use crate::io::os::OsTasks;
use crate::io::{Condition, Job, Lane, Tasks};
use crate::sync::Mutex;

/// Where background work runs that no simulated thread submits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mode {
    /// Inside `submit`.
    #[default]
    Inline,
    /// Inside `run_tasks` and `help`.
    Queued,
    /// On the operating system's threads.
    Threads,
}

/// Jobs that wait for time to pass.
pub(super) type Later = Arc<Mutex<Vec<(Duration, Lane, Job)>>>;

#[derive(Default)]
pub(super) struct SimTasks {
    mode: Mutex<Mode>,
    jobs: Mutex<VecDeque<(Lane, Job)>>,
    later: Later,
    clock: Mutex<Clock>,
}

#[derive(Default)]
struct Clock {
    now: Duration,
    /// The last schedule's own time when somebody last looked.
    scheduled: Duration,
}

impl SimTasks {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode: Mutex::new(mode), ..Self::default() }
    }

    pub(super) fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    /// Runs what is queued, and what that queues; how many jobs.
    pub(super) fn run(&self) -> usize {
        let mut count = 0;
        loop {
            // Not in the loop's head: the lock would be held while the job runs.
            let job = self.jobs.lock().pop_front();
            match job {
                Some((_, job)) => job(),
                None => return count,
            }
            count += 1;
        }
    }

    /// Lets so much time pass that every job that waits for it is due; those they add wait for the next time.
    pub(super) fn pass_time(&self) -> usize {
        let due = std::mem::take(&mut *self.later.lock());
        let count = due.len();
        self.advance(due.iter().map(|&(delay, ..)| delay).max().unwrap_or_default());
        due.into_iter().for_each(|(_, lane, job)| self.submit(lane, job));
        count
    }

    /// Lets the clock go on; nothing becomes due.
    pub(super) fn advance(&self, time: Duration) {
        let mut clock = self.clock.lock();
        clock.now = clock.now.saturating_add(time);
    }

    pub(super) fn waiting(&self) -> usize {
        self.jobs.lock().len()
    }

    /// Lets the schedule choose who goes on, before an operation of the calling thread's takes effect.
    pub(super) fn step(&self, kind: OperationKind, path: &str) {
        if let Some(current) = self.current() {
            current.step(kind, path);
        }
    }

    /// The schedule that the calling thread is part of. It takes over what was left from before it.
    fn current(&self) -> Option<Current> {
        let current = schedule::current()?;
        let jobs = std::mem::take(&mut *self.jobs.lock());
        jobs.into_iter().for_each(|(lane, job)| current.enqueue(lane, job));
        let later = std::mem::take(&mut *self.later.lock());
        later.into_iter().for_each(|(delay, lane, job)| current.after(delay, lane, job, &self.later));
        Some(current)
    }
}

impl Tasks for SimTasks {
    fn submit(&self, lane: Lane, job: Job) {
        if let Some(current) = self.current() {
            current.enqueue(lane, job);
            return current.pause("going on after a job was submitted");
        }
        match self.mode() {
            Mode::Inline => job(),
            Mode::Queued => self.jobs.lock().push_back((lane, job)),
            Mode::Threads => OsTasks.submit(lane, job),
        }
    }

    fn after(&self, delay: Duration, lane: Lane, job: Job) {
        match self.current() {
            Some(current) => {
                current.after(delay, lane, job, &self.later);
                current.pause("going on after a delay was asked for");
            }
            None => self.later.lock().push((delay, lane, job)),
        }
    }

    fn now(&self) -> Duration {
        let scheduled = schedule::current().map(|current| current.now());
        let mut clock = self.clock.lock();
        if let Some(scheduled) = scheduled {
            // Every schedule begins at zero.
            let passed = scheduled.checked_sub(clock.scheduled).unwrap_or(scheduled);
            (clock.now, clock.scheduled) = (clock.now.saturating_add(passed), scheduled);
        }
        clock.now
    }

    fn sleep(&self, time: Duration) {
        match self.current() {
            Some(current) => current.sleep(time, &self.later),
            // Nobody else lets time pass meanwhile.
            None => self.advance(time),
        }
    }

    fn help(&self) {
        if self.current().is_none() {
            self.run();
            if self.mode() == Mode::Threads {
                OsTasks.help();
            }
        }
    }

    fn pause(&self) {
        match self.current() {
            Some(current) => current.pause("going on after others could go first"),
            None if self.mode() == Mode::Threads => OsTasks.pause(),
            None => {}
        }
    }

    fn is_scheduled(&self) -> bool {
        schedule::current().is_some()
    }

    fn wait_until(&self, what: &'static str, ready: Condition) -> bool {
        match self.current() {
            Some(current) => current.wait_until(what, &ready),
            None => ready(),
        }
    }
}

impl fmt::Debug for SimTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimTasks").field("mode", &self.mode()).finish_non_exhaustive()
    }
}
