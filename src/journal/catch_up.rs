//! How far the durable mark may fall behind what is written: syncs that nobody asked for, and appends that wait for one.

use std::sync::Arc;

use super::{Core, watch};
use crate::pending::Durability;
use crate::sync::Ordering;

/// A sync begins in the background once so many bytes of the log are not durable.
const CATCH_UP_BYTES: u32 = 4 << 20;

/// An append waits for a sync once so many bytes are not durable, its own among them: what nobody waits for must not grow without
/// bound. A crash loses no more of it, or the last batch where that is larger; the next open reads no more from the disk again, and
/// a rotation syncs no more.
const BEHIND_BYTES_MAX: u32 = 20 << 20;

impl Core {
    /// Begins a sync of everything up to `ticket`, the caller's, where the durable mark has fallen far behind; waits for the one that
    /// is under way where it has fallen too far behind. Called without locks.
    pub(super) fn catch_up(&self, ticket: u64) {
        let behind = self.bytes_behind();
        if behind < CATCH_UP_BYTES {
            return;
        }
        // What was written before: not the caller's own, which he may not wait for.
        let before = ticket - 1;
        let under_way = match self.catching_up.compare_exchange(0, ticket, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                let catching_up = Arc::clone(&self.catching_up);
                self.group.on_durable(ticket, Box::new(move |_| catching_up.store(0, Ordering::Release)));
                before
            }
            Err(under_way) => under_way.min(before),
        };
        if behind < BEHIND_BYTES_MAX || self.group.is_durable(before) {
            return;
        }
        watch::add(&self.watch.held_back, 1);
        // The sync that is under way may have ended before, and its thread not said so yet.
        for awaited in [under_way, before] {
            if self.bytes_behind() >= BEHIND_BYTES_MAX {
                // A failure poisons the journal: whoever waits for this write, and the next write, hear of it.
                _ = self.group.reach(awaited);
            }
        }
    }

    /// How much was written to the active file and is not known to be durable. Where another file is the active one by now, what is
    /// in the one before is.
    fn bytes_behind(&self) -> u32 {
        let durable = self.group.durable().1.place();
        let written = self.view.read().mark().place();
        if written.0 == durable.0 { written.1.saturating_sub(durable.1) } else { 0 }
    }
}
