//! What a journal has done since it was opened, in numbers.

/// What a journal has done since it was opened: counters that only grow, for a node's metrics.
///
/// Each is right by itself; between two of them, writes may have gone on.
///
/// ```
/// use raft_journal::{Entry, Journal, LogStore};
///
/// # fn main() -> Result<(), raft_journal::Error> {
/// # let temporary = tempfile::tempdir().expect("a temporary directory");
/// # let dir = temporary.path().join("node-1");
/// let journal = Journal::open(&dir)?;
/// let first = journal.append_pending(&[Entry::new(1, 1, "set x")])?;
/// let second = journal.append_pending(&[Entry::new(2, 1, "set y")])?;
/// second.wait()?;
/// first.wait()?;
/// let stats = journal.stats();
/// assert_eq!((stats.batches, stats.syncs), (2, 1)); // one sync for both
/// # journal.close()
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Batches written to the log: appends, replacements and truncations of the tail, and the index that a clean close
    /// writes.
    pub batches: u64,
    /// Syncs of the log that have ended, failed ones included: those that appends waited for and one more for each
    /// rotation. Not those that make a new file, nor those of `meta`. Fewer than `batches` where one sync served several.
    pub syncs: u64,
    /// Times that the log went on in its next file.
    pub rotations: u64,
    /// Appends that needed the next file and found none ready that was large enough: they waited for it, or made it
    /// themselves. It grows where files fill up faster than the disk can prepare them, and with single batches of half a
    /// file or more: larger segments help.
    pub spare_not_ready: u64,
}
