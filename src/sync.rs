//! The crate's locks, atomics and thread-locals, in one place so that a model checker can take theirs.
//!
//! A build with `--cfg shuttle` is for `tests/shuttle` alone: outside of it nothing of this crate works.

#[cfg(shuttle)]
pub(crate) use modelled::{Condvar, LazyLock, Mutex, MutexGuard, RwLock};
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::{thread, thread_local};
#[cfg(not(shuttle))]
pub(crate) use std::sync::LazyLock;
#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(not(shuttle))]
pub(crate) use std::thread_local;

/// The number of the modelled thread that runs.
#[cfg(shuttle)]
pub(crate) fn thread_number() -> usize {
    shuttle::current::me().into()
}

/// Shuttle's locks behind the names and signatures of parking_lot's.
#[cfg(shuttle)]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::sync::{PoisonError, TryLockError};
    use std::time::{Duration, Instant};

    use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default, Debug)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { lock: self, held: Some(self.held()) }
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(held) => Some(MutexGuard { lock: self, held: Some(held) }),
                Err(TryLockError::Poisoned(held)) => Some(MutexGuard { lock: self, held: Some(held.into_inner()) }),
                Err(TryLockError::WouldBlock) => None,
            }
        }

        fn held(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    pub(crate) struct MutexGuard<'a, T> {
        lock: &'a Mutex<T>,
        /// Nothing only inside the calls that give the lock back for a while, which borrow the guard.
        held: Option<shuttle::sync::MutexGuard<'a, T>>,
    }

    impl<T> MutexGuard<'_, T> {
        pub(crate) fn unlocked<R>(guard: &mut Self, run: impl FnOnce() -> R) -> R {
            guard.held = None;
            let result = run();
            guard.held = Some(guard.lock.held());
            result
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect("the lock is held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("the lock is held")
        }
    }

    #[derive(Default, Debug)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    /// Whether a wait ended because its time had come.
    pub(crate) struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Condvar(shuttle::sync::Condvar::new())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take();
            guard.held = held.map(|held| self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        /// The time never comes: a wait that only its timeout would end is a deadlock, and found.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult(false)
        }

        /// The time comes at once, or after whatever else runs now: a thread without work must end, or no test would.
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _until: Instant) -> WaitTimeoutResult {
            MutexGuard::unlocked(guard, shuttle::thread::yield_now);
            WaitTimeoutResult(true)
        }
    }

    #[derive(Default, Debug)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            RwLock(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// One value for each run of a test, where `std`'s would keep one for the process.
    pub(crate) struct LazyLock<T: Sync + 'static>(shuttle::lazy_static::Lazy<T>);

    impl<T: Sync> LazyLock<T> {
        pub(crate) const fn new(init: fn() -> T) -> Self {
            LazyLock(shuttle::lazy_static::Lazy::new(init))
        }

        pub(crate) fn force(this: &'static Self) -> &'static T {
            this.0.get()
        }
    }
}
