//! A journal that is left alone: what is durable is marked in `meta`, and the memory that only work needs is given up.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::append::Writer;
use super::tail::TailCache;
use super::view::View;
use crate::io::Lane;
use crate::segment::index::Slot;
use crate::stable_store::Changes;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How long a journal must have been left alone for its mark to be committed; and how often it is looked at.
const IDLE_DELAY: Duration = Duration::from_millis(500);
/// After so many looks at a journal that nobody used, five seconds, its memory is given up: a pause costs no cache.
const QUIET_LOOKS: u64 = 10;
/// Room for so many slots is kept in any case.
const SLOTS_KEPT: usize = 512;

/// Whether somebody watches for the journal to fall idle, and what he saw when he last looked.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    is_watched: AtomicBool,
    /// Somebody has read since.
    is_read: AtomicBool,
    /// The newest write.
    ticket: AtomicU64,
    /// How many looks in a row have found nobody at work.
    quiet: AtomicU64,
}

impl Core {
    /// Sees to it that the journal is looked at until it is idle. Called, without locks, after each write: until the
    /// durable mark reaches `meta`, nothing on the disk could tell if the last acknowledged group were damaged.
    pub(super) fn watch_for_idleness(self: &Arc<Self>) {
        // Looked at first: a write would take it out of the other processors' caches, append by append.
        if !self.idle.is_watched.load(Ordering::SeqCst) && !self.idle.is_watched.swap(true, Ordering::SeqCst) {
            self.look_later();
        }
    }

    /// The same after each read, which may have filled a cache or made use of one.
    #[inline]
    pub(super) fn note_read(self: &Arc<Self>) {
        // One look at what hardly ever changes, for almost all reads.
        if !self.idle.is_read.load(Ordering::Relaxed) {
            self.idle.is_read.store(true, Ordering::SeqCst);
            self.watch_for_idleness();
        }
    }

    fn look_later(self: &Arc<Self>) {
        // Weak: a journal that is closed meanwhile has written its mark.
        let core = Arc::downgrade(self);
        let look = move || core.upgrade().iter().for_each(Core::look);
        self.tasks.after(IDLE_DELAY, Lane::Housekeeping, Box::new(look));
    }

    fn look(self: &Arc<Self>) {
        let is_read = self.idle.is_read.swap(false, Ordering::SeqCst);
        let ticket = self.group.newest_ticket();
        let is_written = self.idle.ticket.swap(ticket, Ordering::AcqRel) != ticket;
        // One that hangs would hang this lane, which all journals share.
        let is_written = is_written || self.group.sync_age().is_some();
        if self.is_closed() {
            return;
        }
        #[cfg(feature = "metrics")]
        self.export_metrics();
        if !is_written {
            self.commit_mark();
        }
        let quiet = if is_written || is_read { 0 } else { self.idle.quiet.load(Ordering::Acquire) + 1 };
        self.idle.quiet.store(quiet, Ordering::Release);
        if quiet < QUIET_LOOKS || !self.give_up_memory() {
            return self.look_later();
        }
        self.idle.quiet.store(0, Ordering::Release);
        self.idle.is_watched.store(false, Ordering::SeqCst);
        // Whoever came in between has seen that it was watched.
        if self.idle.is_read.load(Ordering::SeqCst) || self.group.newest_ticket() != ticket {
            self.watch_for_idleness();
        }
    }

    /// Commits what is durable of the log, unless `meta` says so already.
    fn commit_mark(&self) {
        // Whoever has it commits the mark along, or hangs: never wait for him on a lane that all journals share.
        let Some(mut meta) = self.meta.try_lock().filter(|_| self.check_writable().is_ok()) else { return };
        if let Some(meta) = meta.as_mut().filter(|meta| meta.state.mark.place() < self.view.read().mark().place()) {
            // A failure poisons the journal, and the next write hears of it.
            let _ = self.commit_state(meta, &Changes::new(), |_| {});
        }
    }

    /// Gives up the writer's buffers, both caches, and room that nothing is in. Nothing of it, and `false`, when somebody
    /// writes: this must not wait for him, nor take what he is about to need.
    fn give_up_memory(&self) -> bool {
        let Some(mut writer) = self.writer.try_lock() else { return false };
        *writer = Writer::default();
        drop(writer);
        let cached = self.view.write().give_up_memory();
        // Freed without the lock.
        drop(cached);
        self.index_cache.clear();
        self.group.give_up_memory();
        true
    }
}

impl View {
    /// Gives up room that nothing is in, and the tail cache's entries.
    fn give_up_memory(&mut self) -> TailCache {
        let slots: &mut Vec<Slot> = &mut self.fold.run.slots;
        if slots.capacity() > 2 * slots.len().max(SLOTS_KEPT / 2) {
            slots.shrink_to_fit();
        }
        let sealed = self.sealed.len();
        self.sealed.change().shrink_to(2 * sealed);
        self.tail.take()
    }
}
