//! Waiting for each other, by threads that may be simulated.

use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "replica")]
use std::time::Instant;

#[cfg(feature = "replica")]
use crate::io::Lane;
use crate::io::Tasks;
#[cfg(feature = "replica")]
use crate::sync::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long a wait for background work goes without offering to do it.
const HELP_INTERVAL: Duration = Duration::from_millis(5);

/// A state under a lock, never held during I/O, and those who wait for it to change.
#[derive(Debug)]
pub(crate) struct Monitor<T> {
    state: Arc<Mutex<T>>,
    changed: Condvar,
    tasks: Arc<dyn Tasks>,
}

impl<T: Send + 'static> Monitor<T> {
    pub(crate) fn new(tasks: Arc<dyn Tasks>, state: T) -> Self {
        Monitor { state: Arc::new(Mutex::new(state)), changed: Condvar::new(), tasks }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock()
    }

    /// Wakes those who wait for what has just changed.
    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }

    /// Waits until the state is `ready`, or shorter.
    pub(crate) fn wait(&self, state: &mut MutexGuard<'_, T>, what: &'static str, ready: fn(&T) -> bool) {
        if self.tasks.is_scheduled() {
            self.wait_for_turn(state, what, ready);
        } else {
            self.changed.wait(state);
        }
    }

    /// As [`wait`](Self::wait), for the end of a background job, which nobody else may ever run.
    pub(crate) fn wait_for_job(&self, state: &mut MutexGuard<'_, T>, what: &'static str, ready: fn(&T) -> bool) {
        if self.tasks.is_scheduled() {
            self.wait_for_turn(state, what, ready);
        } else {
            MutexGuard::unlocked(state, || self.tasks.help());
            // The job may have ended meanwhile, and nobody wakes this thread then.
            if !ready(state) {
                self.changed.wait_for(state, HELP_INTERVAL);
            }
        }
    }

    /// Waits until the state is `ready`, but not longer than `timeout`; of simulated threads, in simulated time. Returns
    /// whether it is.
    #[cfg(feature = "replica")]
    pub(crate) fn wait_until(
        &self,
        state: &mut MutexGuard<'_, T>,
        what: &'static str,
        timeout: Duration,
        ready: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> bool {
        if !self.tasks.is_scheduled() {
            // A time that the clock cannot name never comes.
            let until = Instant::now().checked_add(timeout);
            while !ready(state) {
                match until {
                    Some(until) if self.changed.wait_until(state, until).timed_out() => break,
                    Some(_) => {}
                    None => self.changed.wait(state),
                }
            }
            return ready(state);
        }
        if !ready(state) {
            let (other, over) = (Arc::clone(&self.state), Arc::new(AtomicBool::new(false)));
            let (ready, ring) = (Arc::new(ready), Arc::clone(&over));
            let come = Arc::clone(&ready);
            MutexGuard::unlocked(state, || {
                let job = move || ring.store(true, Ordering::Release);
                self.tasks.after(timeout, Lane::Housekeeping, Box::new(job));
                let ready = move || over.load(Ordering::Acquire) || other.try_lock().is_some_and(|state| come(&state));
                self.tasks.wait_until(what, Arc::new(ready));
            });
            return ready(state);
        }
        true
    }

    fn wait_for_turn(&self, state: &mut MutexGuard<'_, T>, what: &'static str, ready: fn(&T) -> bool) {
        let other = Arc::clone(&self.state);
        let ready = Arc::new(move || other.try_lock().is_some_and(|state| ready(&state)));
        MutexGuard::unlocked(state, || self.tasks.wait_until(what, ready));
    }
}

/// A lock that is held during I/O: where threads are simulated, the others go on meanwhile.
#[derive(Debug)]
pub(crate) struct IoLock<T> {
    what: &'static str,
    value: Arc<Mutex<T>>,
    tasks: Arc<dyn Tasks>,
}

impl<T: Send + 'static> IoLock<T> {
    pub(crate) fn new(tasks: Arc<dyn Tasks>, what: &'static str, value: T) -> Self {
        IoLock { what, value: Arc::new(Mutex::new(value)), tasks }
    }

    /// The lock, unless somebody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.value.try_lock()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        loop {
            if let Some(guard) = self.value.try_lock() {
                return guard;
            }
            if !self.tasks.is_scheduled() {
                return self.value.lock();
            }
            let other = Arc::clone(&self.value);
            self.tasks.wait_until(self.what, Arc::new(move || other.try_lock().is_some()));
        }
    }
}
