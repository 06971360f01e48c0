//! The log written anew, so that nothing of it needs an older key.

use std::sync::Arc;

use super::{Core, Journal};
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::segment::writer;
use crate::stable_store::Changes;

/// How much of the log is read at a time.
const READ_BYTES: u64 = 64 << 20;

impl Journal {
    /// Writes all that the log holds into a new segment under the current key, and gives up the older ones; writes the
    /// small state under it, too. When this returns, no other key is needed to open the journal.
    ///
    /// One batch replaces the whole log by itself, so a crash leaves the old segments or the new one. The log is in
    /// memory meanwhile, twice, and appends and repairs wait; reads do not. A log that is too large for one file is
    /// refused before anything is written: truncate its head first, which gets rid of older segments as well.
    ///
    /// # Errors
    ///
    /// As [`replace_tail`](crate::LogStore::replace_tail) and [`commit`](crate::StableStore::commit);
    /// [`Error::Damaged`](crate::Error::Damaged) when an entry cannot be read. Nothing has changed then.
    pub fn rewrite(&self) -> Result<()> {
        let core = self.core();
        core.group.refuse_in_callback("rewrite")?;
        core.rewrite()?;
        core.housekeep_soon();
        Ok(())
    }
}

impl Core {
    fn rewrite(self: &Arc<Self>) -> Result<()> {
        // A repair that was planned before would be stored under the older key behind it.
        let _repairs = self.repairing.lock();
        let mut writer = self.writer.lock();
        self.check_writable()?;
        let entries = self.all_entries()?;
        let body_bytes = writer::body_bytes_max(&entries, self.options.keys.is_some());
        // A file of its own, under the current key, whatever room there is in the active one.
        self.rotate(&mut writer, &entries, body_bytes)?;
        if let Some(first) = entries.first() {
            self.write_batch(&mut writer, first.index, &entries)?;
        }
        drop(entries);
        let start = self.view.read().active_start;
        let mut meta = self.meta_for_writing()?;
        let meta = meta.as_mut().ok_or_else(|| self.read_only_error())?;
        self.commit_state(meta, &Changes::new(), |state| {
            state.start = Some(start);
            state.accepted.retain(|lost| lost.sequence >= start.sequence);
            // What was put back stands with all others in the new file.
            state.repaired.retain(|repaired| repaired.sequence >= start.sequence);
        })?;
        let retired = self.view.write().leave_behind(start);
        self.retire_sealed(retired);
        let repairs = Arc::clone(&self.view.read().repairs);
        self.show_repairs(repairs.only(&meta.state.repaired, &meta.state.accepted));
        // The other slot, too.
        self.commit_state(meta, &Changes::new(), |_| {})
    }

    /// What the log holds.
    fn all_entries(&self) -> Result<Vec<Entry>> {
        let (mut index, next) = {
            let view = self.view.read();
            let Some(first) = view.first() else { return Ok(Vec::new()) };
            (first, view.next())
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while index < next {
            let found = self.read_entries(index..next, READ_BYTES)?;
            bytes += writer::body_bytes_max(&found, self.options.keys.is_some());
            // Before all of it is in memory.
            let bytes_max = u64::from(u32::MAX);
            if bytes > bytes_max {
                return Err(Error::BatchTooLarge { bytes, bytes_max });
            }
            index = found.last().map_or(next, |last| last.index + 1);
            entries.extend(found);
        }
        Ok(entries)
    }
}
