//! A disk in memory for crash tests: [`SimFs`] keeps apart what was written and what was synced, for bytes, sizes and
//! names alike, counts every operation, fails on demand, and can lose power at any of them.
//!
//! ```
//! use raft_journal::io::sim::{SimFs, Survival};
//! use raft_journal::io::{Fs, Mode};
//! use std::path::Path;
//!
//! # fn main() -> std::io::Result<()> {
//! let disk = SimFs::new();
//! let file = disk.open(Path::new("/log"), Mode::Create)?;
//! disk.sync_dir(Path::new("/"))?;
//! file.write_at(b"synced", 0)?;
//! file.sync_data()?;
//! file.write_at(b"UN", 0)?;
//!
//! // The same moment can be crashed as often as wanted, into a different legal state each time.
//! assert_eq!(disk.after_power_cut(Survival::Nothing).read_file("/log")?, b"synced");
//! assert_eq!(disk.after_power_cut(Survival::Everything).read_file("/log")?, b"UNnced");
//! assert_eq!(disk.after_power_cut(Survival::Random(1)).read_file("/log")?[2..], b"nced"[..]);
//! # Ok(())
//! # }
//! ```
//!
//! # The model
//!
//! - Reads see the page cache: all writes, synced or not. [`File::sync_data`](crate::io::File::sync_data) makes a
//!   file's bytes and size durable, [`Fs::sync_dir`](crate::io::Fs::sync_dir) the names in a directory, the names of
//!   new directories included.
//! - Power loss leaves any mixture of old and new, zeros, garbage and stale bytes **inside the bytes of the unsynced
//!   writes**, sector by sector ([`SECTOR_BYTES`]), and nothing outside; or, of a disk that is
//!   [told to](SimFs::set_damages_whole_sectors), in all of their sectors. A file's sizes survive in their order, up to
//!   any of them. Unsynced names survive independently of bytes and of each other, but in order where they share a
//!   name; a rename is atomic.
//! - A failed sync marks pages clean: reads go on to show them and later syncs succeed, though the disk does not hold
//!   them; [`File::drop_cache`](crate::io::File::drop_cache) makes reads show the disk.
//! - Every operation is [logged](SimFs::operations) with when it was issued, when it returned and which sync covered
//!   it.
//! - Directories can neither be renamed nor removed, and files not be renamed into another directory. Relative paths
//!   begin at the root, `/`, which is always there.
//!
//! # Threads
//!
//! A [`Schedule`] runs threads on simulated disks one at a time, in an order that a seed draws, together with the
//! background work and the delays of the journals on them: the same seed gives the same history, operation by
//! operation. A node whose threads wait through [`Tasks`](crate::io::Tasks) runs like that as a whole, here one with a
//! thread that serves and one that asks:
//!
//! ```
//! use raft_journal::io::Tasks;
//! use raft_journal::io::sim::{Schedule, SimFs, Survival};
//! use raft_journal::{Entry, LogStore, OpenOptions};
//! use std::sync::{Arc, Mutex};
//!
//! /// Takes from a queue; on the operating system's threads it would wait on a condition variable.
//! fn take<T: Send + 'static>(tasks: &dyn Tasks, queue: &Arc<Mutex<Vec<T>>>) -> T {
//!     loop {
//!         if let Some(item) = queue.lock().expect("no panic").pop() {
//!             return item;
//!         }
//!         let queue = Arc::clone(queue);
//!         tasks.wait_until("a message", Arc::new(move || !queue.lock().expect("no panic").is_empty()));
//!     }
//! }
//!
//! for seed in 0..20 {
//!     let disk = SimFs::new();
//!     let options = OpenOptions::new().segment_bytes(8 << 10).file_system(Arc::new(disk.clone()));
//!     let (asked, answered) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
//!     let (inbox, outbox, node) = (Arc::clone(&asked), Arc::clone(&answered), options.clone());
//!     let serve = move || {
//!         let journal = node.open("/node-1").expect("a journal");
//!         for index in 1..=2 {
//!             let command: String = take(&*journal.tasks(), &inbox);
//!             let pending = journal.append_pending(&[Entry::new(index, 1, command)]).expect("an append");
//!             let outbox = Arc::clone(&outbox);
//!             pending.on_durable(Box::new(move |_| outbox.lock().expect("no panic").push(index)));
//!         }
//!     };
//!     let tasks = raft_journal::io::Fs::tasks(&disk);
//!     let ask = move || {
//!         asked.lock().expect("no panic").push("set x".to_owned());
//!         let durable: u64 = take(&*tasks, &answered);
//!         assert_eq!(durable, 1);
//!         asked.lock().expect("no panic").push("set y".to_owned());
//!     };
//!     Schedule::new(seed).thread("node", serve).thread("client", ask).run().expect("an end");
//!
//!     let after = options.file_system(Arc::new(disk.after_power_cut(Survival::Nothing)));
//!     assert_eq!(after.open("/node-1").expect("a journal").entry(1).expect("durable").data, "set x");
//! }
//! ```
//!
//! Not modelled: a disk that answers a sync and does not write.

mod choice;
mod choices;
mod contents;
mod damage;
mod disk;
mod fault;
mod files;
mod inode;
mod operation;
mod random;
mod schedule;
mod state;
mod states;
mod survival;
mod tasks;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use damage::AtRest;
pub use fault::Fault;
pub use operation::{Counts, Operation, OperationKind};
pub use schedule::{Finished, Schedule, Stuck};
pub use states::CrashStates;
pub use survival::{Kinds, SECTOR_BYTES, Survival};

use crate::io::Tasks as _;
use crate::sync::{Condvar, Mutex, MutexGuard};
use contents::PAGE_BYTES;
use disk::{Disk, fail, key};
use fault::Effect;
pub(crate) use random::Random;
use state::{Admitted, State};
use survival::Fates;
use tasks::{Mode, SimTasks};

/// A simulated disk; a clone is another handle on the same one. See the [module](self) for what it models.
#[derive(Clone)]
pub struct SimFs {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// A sync began or ended to wait, a hold was dropped, or power was lost.
    holds_changed: Condvar,
    tasks: Arc<SimTasks>,
}

impl Shared {
    /// Admits an operation; see [`State::enter`].
    fn enter(&self, kind: OperationKind, path: &Arc<str>, offset: u64, len: u64) -> io::Result<(Admitted<'_>, Effect)> {
        self.tasks.step(kind, path);
        let mut state = self.state.lock();
        let effect = state.enter(kind, path, offset, len);
        let state = Admitted::new(state);
        if state.power_off {
            // Syncs that are held back must not outlive the power.
            self.holds_changed.notify_all();
        }
        Ok((state, effect?))
    }

    /// Admits an operation that a fault makes fail without an effect.
    fn enter_plain(&self, kind: OperationKind, path: &Arc<str>, len: u64) -> io::Result<Admitted<'_>> {
        let (state, effect) = self.enter(kind, path, 0, len)?;
        effect.raise(kind, path)?;
        Ok(state)
    }

    /// Waits for a change of `state` after which it may be `ready`.
    fn wait(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, State>,
        what: &'static str,
        ready: impl Fn(&State) -> bool + Send + Sync + 'static,
    ) {
        if self.tasks.is_scheduled() {
            let shared = self.clone();
            let ready = move || shared.state.try_lock().is_some_and(|state| ready(&state));
            MutexGuard::unlocked(state, || self.tasks.wait_until(what, Arc::new(ready)));
        } else {
            self.holds_changed.wait(state);
        }
    }
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimFs").finish_non_exhaustive()
    }
}

impl SimFs {
    /// An empty disk. Every one has the same [`entropy`](crate::io::Fs::entropy).
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// An empty disk with an entropy of its own.
    pub fn with_seed(seed: u64) -> Self {
        Self::from_state(State::new(Disk::default(), Random::new(seed)), Mode::Inline)
    }

    fn from_state(state: State, mode: Mode) -> Self {
        let tasks = Arc::new(SimTasks::new(mode));
        Self { shared: Arc::new(Shared { state: Mutex::new(state), holds_changed: Condvar::new(), tasks }) }
    }
}

/// Power.
impl SimFs {
    /// How many operations that change the disk there have been: the places where power can be lost.
    pub fn mutations(&self) -> u64 {
        self.shared.state.lock().mutations
    }

    /// Loses power in place of mutation number `mutation`, counted from 0 since the disk was made: it does not happen,
    /// and everything from then on fails. At [`mutations`](Self::mutations) it is the next one.
    pub fn cut_power_at(&self, mutation: u64) {
        self.shared.state.lock().cut_at = Some(mutation);
    }

    /// Loses power now: from now on everything fails, reads included.
    pub fn cut_power(&self) {
        self.shared.state.lock().power_off = true;
        self.shared.holds_changed.notify_all();
    }

    /// Whether power was lost.
    pub fn is_power_off(&self) -> bool {
        self.shared.state.lock().power_off
    }

    /// The disk that the next start finds when power is lost now, or was: one of the legal states, at rest. This one
    /// stays as it is. Locks, faults, counts and queued work are gone; entropy goes on where this disk's is.
    #[must_use]
    pub fn after_power_cut(&self, survival: Survival) -> Self {
        let state = self.shared.state.lock();
        let disk = state.disk.after_power_cut(&mut Fates::new(survival, state.mutations, state.sectors));
        Self::from_state(state.successor(disk), self.shared.tasks.mode())
    }

    /// The disk that the next start finds when the process is killed now: everything is there, and what was not synced
    /// still is not. Locks, faults, counts and queued work are gone.
    #[must_use]
    pub fn after_process_kill(&self) -> Self {
        let state = self.shared.state.lock();
        Self::from_state(state.successor(state.disk.without_handles()), self.shared.tasks.mode())
    }

    /// A deep copy: the disk with what is unsynced, its power, faults, log, counts and entropy; but no locks, no open
    /// files, no holds and no queued work.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let mut state = self.shared.state.lock().clone();
        state.disk = state.disk.without_handles();
        state.locks.clear();
        (state.holds, state.syncs_waiting) = (0, 0);
        Self::from_state(state, self.shared.tasks.mode())
    }

    /// How many changes of bytes and sizes, and how many of names, no sync has covered.
    pub fn unsynced(&self) -> (usize, usize) {
        self.shared.state.lock().disk.unsynced()
    }
}

/// Counts and the log.
impl SimFs {
    /// How often what was asked.
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().counts
    }

    /// The operations so far; of a long history, the last ones (65,536 at least).
    pub fn operations(&self) -> Vec<Operation> {
        self.shared.state.lock().log.operations.clone()
    }

    /// The operations that power loss could still take back, as far as the log has them: those that changed bytes,
    /// sizes or names, and that no sync has covered. Not what a failed sync gave up: that is decided.
    pub fn uncovered(&self) -> Vec<Operation> {
        let state = self.shared.state.lock();
        state.disk.uncovered().into_iter().filter_map(|issued| state.log.get(issued)).cloned().collect()
    }

    /// Whether operations are logged; they are at first. Without the log a disk is faster. What it has is kept, and
    /// goes on to be told which sync covers it.
    pub fn set_log(&self, on: bool) {
        self.shared.state.lock().log.is_off = !on;
    }
}

/// Faults.
impl SimFs {
    /// Plans a fault. Of several that could strike the same operation, the one planned first does.
    pub fn inject(&self, fault: Fault) {
        self.shared.state.lock().faults.push(fault);
    }

    /// The next operation of that kind fails.
    pub fn fail_next(&self, on: OperationKind, error: io::ErrorKind) {
        self.inject(Fault::new(on, error));
    }

    /// After `count` more operations of that kind, the next one fails.
    pub fn fail_at(&self, on: OperationKind, count: u64, error: io::ErrorKind) {
        self.inject(Fault::new(on, error).nth(count));
    }

    /// Forgets the planned faults that have not struck.
    pub fn clear_faults(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// How many planned faults have not struck.
    pub fn faults_left(&self) -> usize {
        self.shared.state.lock().faults.len()
    }

    /// What a failed sync leaves on the disk; nothing at first. Either way its pages become clean.
    pub fn set_failed_syncs_leave(&self, survival: Survival) {
        self.shared.state.lock().failed_syncs_leave = survival;
    }

    /// How much the disk writes whole, bytes; [`SECTOR_BYTES`] at first. Disks have 512 or 4096. A sector starts at a
    /// multiple of its size; 0 counts as 1.
    pub fn set_sector_bytes(&self, bytes: usize) {
        self.shared.state.lock().sectors.bytes = bytes.max(1);
    }

    /// Whether zeros, garbage and stale bytes in place of a write reach what lies beside it in its sectors, synced or
    /// not. They do not at first: a journal outlives them only where nothing else lies there, as with
    /// [`align_4k`](crate::OpenOptions::align_4k).
    pub fn set_damages_whole_sectors(&self, whole: bool) {
        self.shared.state.lock().sectors.damaged_whole = whole;
    }

    /// Whether the platform can drop pages from its cache; it can at first.
    pub fn set_drops_cache(&self, can: bool) {
        self.shared.state.lock().drops_cache = can;
    }

    /// Bounds the room for file contents, bytes, in whole pages of 4096. Writes need room for pages that were never
    /// written nor allocated: they write what fits, then fail with `StorageFull`. Names and holes need none; removing
    /// a file gives its room back once it is closed.
    pub fn set_capacity(&self, bytes_max: Option<u64>) {
        self.shared.state.lock().disk.capacity = bytes_max;
    }

    /// The room that file contents take, bytes.
    pub fn bytes_used(&self) -> u64 {
        self.shared.state.lock().disk.pages_used() * PAGE_BYTES as u64
    }

    /// Makes every mutation fail with `ReadOnlyFilesystem`, or lets it pass again.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.state.lock().read_only = read_only;
    }
}

/// Damage at rest, and looking from outside: neither counted nor logged, and without power, too.
impl SimFs {
    /// A file's bytes as reads see them.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut state = self.shared.state.lock();
        let id = state.disk.file_at(&key(path.as_ref()))?;
        Ok(state.disk.file(id)?.cache.to_vec())
    }

    /// A file's bytes as the disk holds them.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn read_synced(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut state = self.shared.state.lock();
        let id = state.disk.file_at(&key(path.as_ref()))?;
        Ok(state.disk.file(id)?.disk.to_vec())
    }

    /// Makes a file with these bytes, or replaces all of one's, durably, with its directories and its name.
    ///
    /// # Errors
    ///
    /// The path names a directory, or leads through a file.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.shared.state.lock().disk.put_file(&key(path.as_ref()), bytes)
    }

    /// Overwrites bytes of a file, both on the disk and in the cache. The size does not change, and what is unsynced
    /// stays so.
    ///
    /// # Errors
    ///
    /// There is no such file, or it ends before the last of these bytes.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let key = key(path.as_ref());
        let mut state = self.shared.state.lock();
        let id = state.disk.file_at(&key)?;
        let inode = state.disk.file(id)?;
        if offset.saturating_add(bytes.len() as u64) > inode.cache.len() {
            return fail(io::ErrorKind::InvalidInput, &key, "damage beyond the file's end");
        }
        inode.cache.put(bytes, offset);
        // What lies beyond the durable size is not there to be damaged.
        let durable = inode.disk.len().saturating_sub(offset).min(bytes.len() as u64) as usize;
        inode.disk.put(bytes.get(..durable).unwrap_or(bytes), offset);
        Ok(())
    }

    /// Sets a file's size, durably, as if all its changes had been synced before.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn truncate_file(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let id = state.disk.file_at(&key(path.as_ref()))?;
        let inode = state.disk.file(id)?;
        inode.set_len(len);
        inode.sync(u64::MAX);
        Ok(())
    }

    /// Removes a file, durably, as if all names in its directory had been synced before.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn remove_file_now(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.shared.state.lock().disk.lose_file(&key(path.as_ref()))
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared.state.lock().disk.file_keys().into_iter().map(PathBuf::from).collect()
    }
}

/// Holding back syncs.
impl SimFs {
    /// Lets no file sync end until the guard is dropped, or power is lost. What is written meanwhile is not covered by
    /// the syncs that wait.
    pub fn hold_syncs(&self) -> HeldSyncs {
        self.shared.state.lock().holds += 1;
        HeldSyncs { shared: self.shared.clone() }
    }

    /// How many syncs are held back now.
    pub fn syncs_waiting(&self) -> usize {
        self.shared.state.lock().syncs_waiting
    }

    /// Blocks until at least `count` syncs are held back.
    pub fn wait_for_held_syncs(&self, count: usize) {
        let mut state = self.shared.state.lock();
        while state.syncs_waiting < count {
            let waiting = move |state: &State| state.syncs_waiting >= count;
            self.shared.wait(&mut state, "syncs that are held back", waiting);
        }
    }
}

/// Holds back the syncs of a [`SimFs`] while it lives.
#[must_use]
pub struct HeldSyncs {
    shared: Arc<Shared>,
}

impl fmt::Debug for HeldSyncs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HeldSyncs").finish_non_exhaustive()
    }
}

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.shared.state.lock().holds -= 1;
        self.shared.holds_changed.notify_all();
    }
}

/// Background work. At first it runs inside [`Tasks::submit`](crate::io::Tasks::submit), on the calling thread; what
/// threads of a [`Schedule`] submit always runs in that schedule.
impl SimFs {
    /// Whether work is queued until [`run_tasks`](Self::run_tasks) or [`Tasks::help`](crate::io::Tasks::help), or runs
    /// inside `submit`.
    pub fn queue_tasks(&self, queued: bool) {
        self.shared.tasks.set_mode(if queued { Mode::Queued } else { Mode::Inline });
    }

    /// Lets work run on the operating system's threads, as for [`OsFs`](crate::io::OsFs).
    pub fn threaded_tasks(&self) {
        self.shared.tasks.set_mode(Mode::Threads);
    }

    /// Runs what is queued, and what that queues, in order; how many jobs.
    pub fn run_tasks(&self) -> usize {
        self.shared.tasks.run()
    }

    /// Lets time pass: every job that waits for it is due; says how many. Those that they add wait for the next call.
    pub fn pass_time(&self) -> usize {
        self.shared.tasks.pass_time()
    }

    /// Lets the clock go on, as while a disk is slow; jobs that wait for time to pass go on waiting.
    pub fn advance_clock(&self, time: Duration) {
        self.shared.tasks.advance(time);
    }

    /// How many jobs are queued.
    pub fn tasks_waiting(&self) -> usize {
        self.shared.tasks.waiting()
    }
}
