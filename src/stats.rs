//! What a journal has done since it was opened, in numbers, and how it is.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{DamagedRange, Error};
use crate::histogram::Histogram;

/// What a journal has done since it was opened, and what it holds: for a node's metrics.
///
/// Counters only grow. Each is right by itself; between two of them, writes may have gone on.
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
/// assert_eq!((stats.entries, stats.bytes), (2, 10));
/// # journal.close()
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Appends and replacements of the tail that held entries.
    pub appends: u64,
    /// Entries that they wrote.
    pub entries: u64,
    /// Bytes of these entries' payloads, before compression.
    pub bytes: u64,
    /// Bytes written to segments for them: headers, padding and what compression left of the payloads.
    pub bytes_written: u64,
    /// Batches written to the log: appends, replacements and truncations of the tail, and the index that a clean close
    /// writes.
    pub batches: u64,
    /// Syncs of the log that have ended, failed ones included: those that appends waited for and one more for each
    /// rotation. Not those that make a new file, nor those of `meta`. Fewer than `batches` where one sync served several.
    pub syncs: u64,
    /// Those of them, and of the commits of `meta`, that took [`slow_sync_after`](crate::OpenOptions::slow_sync_after) or
    /// longer.
    pub slow_syncs: u64,
    /// Commits of `meta`: term, vote, head truncations, and the durable mark now and then.
    pub commits: u64,
    /// Times that the log went on in its next file.
    pub rotations: u64,
    /// Appends that needed the next file and found none ready that was large enough: they waited for it, or made it
    /// themselves. It grows where files fill up faster than the disk can prepare them, and with single batches of half a
    /// file or more: larger segments help.
    pub spare_not_ready: u64,
    /// Appends that found 20 MiB of the log not durable, their own bytes among them, and waited for a sync of what came before:
    /// those of [`append_pending`](crate::LogStore::append_pending), too. It grows where appends come faster than the disk takes
    /// them.
    pub held_back: u64,
    /// Entries that readers got from memory.
    pub cache_hits: u64,
    /// Entries that readers got from files.
    pub cache_misses: u64,
    /// Looks into a sealed segment's index that found it in memory.
    pub index_hits: u64,
    /// Looks into a sealed segment's index that had to read it.
    pub index_misses: u64,
    /// Failures of the disk that the journal met, in the background, too.
    pub errors: u64,
    /// The last of them, as [`Journal::last_error`](crate::Journal::last_error) has it.
    pub last_error: Option<LastError>,
    /// Passes over all files that came to their end: by [`Journal::verify`](crate::Journal::verify) and in the background.
    pub verify_passes: u64,
    /// Bytes that were read for verifying.
    pub verify_bytes: u64,
    /// Faults that the last pass found.
    pub verify_faults: u64,
    /// Segments that the log is in, now.
    pub segments: u64,
    /// Bytes that the log's entries take in them, with headers, about: a file's entries are taken to be of one size.
    pub live_bytes: u64,
    /// Bytes that were written to them and hold nothing of the log any more: purged, replaced, indexes. Head truncation gives
    /// them back by whole files.
    pub dead_bytes: u64,
    /// How many batches a sync made durable.
    pub group_size: Histogram,
    /// How long syncs of the log took, microseconds.
    pub sync_micros: Histogram,
    /// How long appends and replacements took that waited until they were durable, microseconds, from the call to the answer.
    pub append_micros: Histogram,
    /// How long commits of `meta` took, microseconds, without the sync of the log that comes before.
    pub commit_micros: Histogram,
}

/// How a journal is: what a node should know before its peers notice. The first that applies, from the top:
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// A sync or a write failed: every write is refused. Step down, and open again once the disk is mended.
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },
    /// A sync of the log, a commit of `meta`, an append's wait for its next file, or the writing of a repair's has been
    /// under way for [`stalled_after`](crate::OpenOptions::stalled_after) or longer. It may return; a leader that cannot persist had
    /// better hand over. Of another write or read that hangs this says nothing.
    Stalled {
        /// How long it has been under way.
        age: Duration,
    },
    /// Entries of the log are known to be lost: their loss was accepted at open, a pass found it, or a reader met it. Fetch
    /// them from a peer; until then this node must not count as having them.
    Damaged {
        /// The first of them.
        indexes: DamagedRange,
    },
    /// The file system has less room than [`nearly_full_bytes`](crate::OpenOptions::nearly_full_bytes), or the last attempt to
    /// write or to prepare a file found none. Take a snapshot and truncate the head, or make room.
    NearlyFull {
        /// What is free, where the file system says so.
        free_bytes: Option<u64>,
    },
    /// None of these.
    Healthy,
}

impl Health {
    /// Whether it is [`Health::Healthy`].
    pub fn is_healthy(&self) -> bool {
        matches!(self, Health::Healthy)
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Health::Poisoned { cause } => write!(f, "poisoned: {cause}"),
            Health::Stalled { age } => write!(f, "stalled: a sync or a new file has been under way for {age:?}"),
            Health::Damaged { indexes } => write!(f, "damaged: {indexes}"),
            Health::NearlyFull { free_bytes: Some(bytes) } => write!(f, "nearly full: {bytes} bytes are free"),
            Health::NearlyFull { free_bytes: None } => write!(f, "nearly full: the last write found no room"),
            Health::Healthy => write!(f, "healthy"),
        }
    }
}

/// A failure of the disk, and when it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastError {
    /// The failure.
    pub error: Error,
    /// How long ago it came.
    pub age: Duration,
}
