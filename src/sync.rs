//! The crate's locks, in one place so that a model checker can take theirs.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

/// Parks one thread until another one unparks it; an unpark that comes first is kept.
#[derive(Default)]
pub(crate) struct Parker {
    unparked: Mutex<bool>,
    signal: Condvar,
}

impl Parker {
    pub(crate) fn park(&self) {
        let mut unparked = self.unparked.lock();
        while !*unparked {
            self.signal.wait(&mut unparked);
        }
        *unparked = false;
    }

    pub(crate) fn unpark(&self) {
        *self.unparked.lock() = true;
        self.signal.notify_one();
    }
}
