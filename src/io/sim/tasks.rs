//! The simulated disk's background work.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::io::os::OsTasks;
use crate::io::{Job, Lane, Tasks};
use crate::sync::Mutex;

/// Where background work runs.
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

#[derive(Default)]
pub(super) struct SimTasks {
    mode: Mutex<Mode>,
    jobs: Mutex<VecDeque<Job>>,
    /// Jobs that wait for time to pass.
    later: Mutex<Vec<(Lane, Job)>>,
}

impl SimTasks {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode: Mutex::new(mode), jobs: Mutex::default(), later: Mutex::default() }
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
                Some(job) => job(),
                None => return count,
            }
            count += 1;
        }
    }

    /// Lets so much time pass that every job that waits for it is due; those they add wait for the next time.
    pub(super) fn pass_time(&self) -> usize {
        let due = std::mem::take(&mut *self.later.lock());
        let count = due.len();
        due.into_iter().for_each(|(lane, job)| self.submit(lane, job));
        count
    }

    pub(super) fn waiting(&self) -> usize {
        self.jobs.lock().len()
    }
}

impl Tasks for SimTasks {
    fn submit(&self, lane: Lane, job: Job) {
        match self.mode() {
            Mode::Inline => job(),
            Mode::Queued => self.jobs.lock().push_back(job),
            Mode::Threads => OsTasks.submit(lane, job),
        }
    }

    fn after(&self, _delay: Duration, lane: Lane, job: Job) {
        self.later.lock().push((lane, job));
    }

    fn help(&self) {
        self.run();
    }
}

impl fmt::Debug for SimTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimTasks").field("mode", &self.mode()).finish_non_exhaustive()
    }
}
