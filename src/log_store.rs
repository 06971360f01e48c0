//! The log of a Raft node, as a trait.

use std::ops::Range;

use crate::entry::{Entry, Position};
use crate::error::Result;
use crate::pending::Pending;

/// Where a log begins and ends, and how much of it would survive power loss now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogState {
    /// The last entry that head truncation removed; its term stays known.
    pub purged: Option<Position>,
    /// The index of the oldest entry; `None` when the log holds none.
    pub first: Option<u64>,
    /// The newest entry; when the log holds none, the purged position, if there is one. Where damage cost the newest entry,
    /// nobody may know its term: it is 0 here, and [`term`](LogStore::term) is an error. A node must neither vote nor stand
    /// for election by it: it has that entry put back, or replaced, first.
    pub last: Option<Position>,
    /// The newest position known to be durable; it drops when `replace_tail` takes durable entries back. When all
    /// entries are durable it equals `last`.
    pub durable: Option<Position>,
}

impl LogState {
    /// The index of the oldest entry; `None` when the log holds none.
    pub fn first_index(&self) -> Option<u64> {
        self.first
    }

    /// The index of the newest entry; `None` when the log holds none.
    pub fn last_index(&self) -> Option<u64> {
        self.first.and(self.last).map(|last| last.index)
    }

    /// The index that the next append must start at; `None` for a log that takes any (it is empty and was never
    /// purged).
    pub fn next_index(&self) -> Option<u64> {
        self.last.map(|last| last.index + 1)
    }
}

/// A Raft log: append at the tail, replace the tail, forget the head.
///
/// The trait is object-safe: a node can hold an `Arc<dyn LogStore>`. Every call that acknowledges is durable when it
/// returns `Ok`; the calls that end in `_pending` say so later, through their [`Pending`].
pub trait LogStore: Send + Sync {
    /// Where the log begins and ends. Never touches the disk. After `close` it keeps answering the last state.
    fn state(&self) -> LogState;

    /// The term of the entry at `index`; answers for the purged position too.
    ///
    /// # Errors
    ///
    /// [`BeforeFirst`](crate::Error::BeforeFirst) and [`AfterLast`](crate::Error::AfterLast) outside the log,
    /// [`Damaged`](crate::Error::Damaged) for an entry that was lost.
    fn term(&self, index: u64) -> Result<u64>;

    /// The entry at `index`, verified against its checksum.
    ///
    /// # Errors
    ///
    /// As for [`term`](Self::term), but the purged position is [`BeforeFirst`](crate::Error::BeforeFirst).
    fn entry(&self, index: u64) -> Result<Entry>;

    /// The entries of a half-open range, in order, as many as fit `bytes_max` bytes of payload, and at least one
    /// however small the budget. An empty range inside the log gives no entries. The answer may end before both do, where
    /// an entry is lost or the log was changed meanwhile: who needs them all asks again from where it ends.
    ///
    /// # Errors
    ///
    /// A range beyond either end of the log is an error: [`BeforeFirst`](crate::Error::BeforeFirst),
    /// [`AfterLast`](crate::Error::AfterLast) (adapters clamp);
    /// [`BackwardRange`](crate::Error::BackwardRange); [`Damaged`](crate::Error::Damaged) when the first entry of the
    /// answer is lost (a later one ends the answer early).
    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>>;

    /// Appends entries; all of them are durable when it returns. One write, one sync. Threads that append at the same time
    /// have to agree on the indexes: take a lock around choosing one and [`append_pending`](Self::append_pending), and wait
    /// outside of it. An empty slice does no I/O, and so
    /// proves nothing: the position returned may not be durable yet. [`sync`](Self::sync) makes it so.
    ///
    /// # Errors
    ///
    /// After any but [`Poisoned`](crate::Error::Poisoned) nothing of these entries is in the log:
    /// [`Gap`](crate::Error::Gap), [`Overlap`](crate::Error::Overlap), [`TermFell`](crate::Error::TermFell),
    /// [`IndexOverflow`](crate::Error::IndexOverflow), [`EntryTooLarge`](crate::Error::EntryTooLarge),
    /// [`BatchTooLarge`](crate::Error::BatchTooLarge), [`NoSpace`](crate::Error::NoSpace);
    /// [`Io`](crate::Error::Io) and [`Key`](crate::Error::Key) where the next file could not be made, which may be tried
    /// again; [`Closed`](crate::Error::Closed), [`ReadOnly`](crate::Error::ReadOnly);
    /// [`BlockingCallInCallback`](crate::Error::BlockingCallInCallback) inside a durability callback (a store that uses this
    /// default has written the entries then, and not waited). After [`Poisoned`](crate::Error::Poisoned) they may or may not be
    /// there when the log is opened next.
    fn append(&self, entries: &[Entry]) -> Result<Position> {
        self.append_pending(entries)?.wait()
    }

    /// Appends entries; they are written and readable when it returns, and durable when the [`Pending`] says so. Nobody
    /// has to wait for it: a later sync takes them along.
    ///
    /// It does not wait for its own sync, but it may wait for others: at a change of files for the sync of the old one,
    /// behind another writer, a head truncation or a rewrite, and where 20 MiB of the log are not durable, for a sync of what
    /// came before (one begins in the background once 4 MiB are not): so a crash takes no more than that, or the last batch
    /// where it is larger. In an asynchronous runtime call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    fn append_pending(&self, entries: &[Entry]) -> Result<Pending>;

    /// Drops the log from the first entry's index on and appends, as one step: after a crash the log has all of the
    /// new entries, or the old tail. One write, one sync. In a log that was never purged the first index may lie below the
    /// log's first: then all of it is replaced.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append), and [`Purged`](crate::Error::Purged) at or below the purged position.
    fn replace_tail(&self, entries: &[Entry]) -> Result<Position> {
        self.replace_tail_pending(entries)?.wait()
    }

    /// As [`replace_tail`](Self::replace_tail), durable when the [`Pending`] says so.
    ///
    /// # Errors
    ///
    /// As for [`replace_tail`](Self::replace_tail).
    fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending>;

    /// Removes the entries from `first_removed` on; durable when it returns. Just past the end it writes nothing, and waits
    /// until everything written so far is durable: another call's removal, for one. In an empty log that was never purged any
    /// index is just past the end.
    ///
    /// # Errors
    ///
    /// [`TruncateBeyondEnd`](crate::Error::TruncateBeyondEnd), [`Purged`](crate::Error::Purged),
    /// [`IndexOverflow`](crate::Error::IndexOverflow); and, because it is written like an append, those that
    /// [`append`](Self::append) has of the disk and the handle.
    fn truncate_tail(&self, first_removed: u64) -> Result<()>;

    /// Removes everything up to and including `position`, whose term stays known; durable when it returns.
    ///
    /// A position beyond the last entry, or one whose term differs from the log's, empties the log, and the next
    /// append is `position.index + 1`: that is how a snapshot is installed. At or below the purged position it does
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`PurgedTermDiffers`](crate::Error::PurgedTermDiffers) at the purged index with another term, or below it with
    /// a higher one; [`BeforeFirst`](crate::Error::BeforeFirst) in a log that was never purged, further below its first
    /// entry than right before it; [`IndexOverflow`](crate::Error::IndexOverflow). Of the disk and the handle:
    /// [`Poisoned`](crate::Error::Poisoned), [`Key`](crate::Error::Key), [`Closed`](crate::Error::Closed),
    /// [`ReadOnly`](crate::Error::ReadOnly), [`BlockingCallInCallback`](crate::Error::BlockingCallInCallback).
    fn truncate_head(&self, position: Position) -> Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::Error::Poisoned) when a sync failed, now or earlier; [`Closed`](crate::Error::Closed),
    /// [`ReadOnly`](crate::Error::ReadOnly), [`BlockingCallInCallback`](crate::Error::BlockingCallInCallback).
    fn sync(&self) -> Result<()>;

    /// A [`Pending`] for everything written so far, by whomever: as [`sync`](Self::sync), for those who cannot wait. Its
    /// callbacks come behind those of earlier writes, so it tells nothing before them: a store whose callbacks are not
    /// over when [`sync`](Self::sync) returns overrides this.
    ///
    /// # Errors
    ///
    /// As for [`sync`](Self::sync).
    fn sync_pending(&self) -> Result<Pending> {
        // Before the sync: what others write meanwhile is not covered by it.
        let last = self.state().last.unwrap_or_default();
        self.sync()?;
        Ok(Pending::ready(last))
    }
}
