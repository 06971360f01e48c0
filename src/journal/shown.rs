//! The view and, of what reads of sealed entries need of it, a copy for each group of threads: so that readers do not write to
//! each other's lines of the processor's cache. The copies are made when the view is changed, by whoever changes it.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::view::{Sealed, SealedFile, View};
use crate::sync::{AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::tally::{self, LINES};

/// Sealed segments in chain order, and how often they have changed so that copies of the list must be made anew.
#[derive(Debug, Default)]
pub(crate) struct SealedFiles {
    files: VecDeque<Sealed>,
    changes: u64,
}

impl From<VecDeque<Sealed>> for SealedFiles {
    fn from(files: VecDeque<Sealed>) -> Self {
        SealedFiles { files, changes: 0 }
    }
}

impl Deref for SealedFiles {
    type Target = VecDeque<Sealed>;

    fn deref(&self) -> &VecDeque<Sealed> {
        &self.files
    }
}

impl SealedFiles {
    /// Takes so many files out.
    pub(crate) fn take_first(&mut self, count: usize) -> Vec<Arc<SealedFile>> {
        if count == 0 {
            return Vec::new();
        }
        self.change().drain(..count).map(Sealed::into_file).collect()
    }

    /// Lets the active segment supersede them from `base` on. The copies stay as they are, and are only asked for less: where a file's
    /// entries end counts for those below `base` as before, and a thousand files need not be counted again while a truncation waits.
    pub(crate) fn supersede(&mut self, base: u64) {
        View::supersede(&mut self.files, base);
    }

    /// The files, to be changed: readers see that once the view's lock is given back.
    pub(crate) fn change(&mut self) -> &mut VecDeque<Sealed> {
        self.changes += 1;
        &mut self.files
    }
}

/// The sealed files as one group of threads sees them, as they were when a file came or went: the count of its users is in a line of
/// its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct SealedCopy {
    files: Arc<[Sealed]>,
}

impl SealedCopy {
    /// The segment that holds a live entry at `index`, which is below where the newest file's entries end now: above, a truncation may
    /// have come since.
    pub(crate) fn at(&self, index: u64) -> Option<&Sealed> {
        let at = self.files.partition_point(|sealed| sealed.live_end <= index);
        self.files.get(at).filter(|sealed| index >= sealed.first)
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    /// Entries below this are sealed, where they are anywhere, and not in the cache of the newest ones. Changed under the lock, and
    /// looked at without it first: reads of the newest entries then take the view's lock alone.
    end: AtomicU64,
    shown: Mutex<Shown>,
}

/// What one group of threads is shown.
#[derive(Debug, Default)]
struct Shown {
    /// The log's first index.
    first: u64,
    copy: Arc<SealedCopy>,
}

/// What of a view the copies are of, and asked for. Where the cache of the newest entries begins is not among it: it only moves on,
/// unless the log is cut below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    changes: u64,
    first: Option<u64>,
    /// Where the newest file's entries end.
    end: u64,
}

impl State {
    fn of(view: &View) -> State {
        let end = view.sealed.back().map_or(0, |newest| newest.live_end);
        State { changes: view.sealed.changes, first: view.first(), end }
    }
}

/// The view behind its lock. The lock is never held during I/O.
#[derive(Debug)]
pub(crate) struct SharedView {
    view: RwLock<View>,
    lines: [Line; LINES],
}

impl SharedView {
    pub(crate) fn new(view: View) -> SharedView {
        let shared = SharedView { view: RwLock::new(view), lines: Default::default() };
        drop(shared.show(&shared.view.read(), true));
        shared
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read()
    }

    pub(crate) fn write(&self) -> Change<'_> {
        let view = self.view.write();
        Change { shared: self, before: State::of(&view), view, files_before: None }
    }

    /// The sealed files as this thread's group sees them, if the entry at `index` is in one of them, or lost. If not, or if it is in
    /// memory, or none of the log, the view says so.
    pub(crate) fn copy_for(&self, index: u64) -> Option<Arc<SealedCopy>> {
        let line = self.lines.get(tally::line())?;
        let is_below_end = || index < line.end.load(Ordering::Relaxed);
        if !is_below_end() {
            return None;
        }
        let shown = line.shown.lock();
        (index >= shown.first && is_below_end()).then(|| Arc::clone(&shown.copy))
    }

    /// Says what the copies are asked for, and makes them what the view is where other files came or went, for all threads at once. The
    /// view's lock is held. The files as they were, to be dropped without it.
    fn show(&self, view: &View, has_other_files: bool) -> Option<Arc<[Sealed]>> {
        let state = State::of(view);
        let files: Option<Arc<[Sealed]>> = has_other_files.then(|| view.sealed.iter().cloned().collect());
        let first = state.first.unwrap_or(u64::MAX);
        let end = state.end.min(view.tail.first().unwrap_or(u64::MAX));
        let mut before = None;
        let held = self.lines.each_ref().map(|line| (line, line.shown.lock()));
        for (line, mut shown) in held {
            line.end.store(end, Ordering::Relaxed);
            shown.first = first;
            let Some(files) = &files else { continue };
            before.get_or_insert_with(|| Arc::clone(&shown.copy.files));
            let files = Arc::clone(files);
            match Arc::get_mut(&mut shown.copy) {
                Some(copy) => copy.files = files,
                // A read goes on with what it has begun with.
                None => shown.copy = Arc::new(SealedCopy { files }),
            }
        }
        before
    }
}

/// The view while it is changed.
pub(crate) struct Change<'a> {
    shared: &'a SharedView,
    before: State,
    view: RwLockWriteGuard<'a, View>,
    /// Behind the lock: many, perhaps.
    files_before: Option<Arc<[Sealed]>>,
}

impl Deref for Change<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.view
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let now = State::of(&self.view);
        if now != self.before {
            self.files_before = self.shared.show(&self.view, now.changes != self.before.changes);
        }
    }
}
