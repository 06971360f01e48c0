//! What a pass over all files found.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{DamageKind, DamagedRange, Error};

/// How [`Journal::verify`](crate::Journal::verify) goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "options do nothing until `verify`"]
pub struct VerifyOptions {
    bytes_per_second: Option<u64>,
}

impl VerifyOptions {
    /// As fast as the disk reads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads no more than so many bytes a second, on average since the pass began; 0 counts as 1. A batch, and an index,
    /// is read in one go.
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes.max(1));
        self
    }

    /// How long to wait after so many bytes in so much time.
    pub(crate) fn pause(&self, bytes: u64, time: Duration) -> Duration {
        let due = self.bytes_per_second.map_or(Duration::ZERO, |rate| time_for(bytes, rate));
        due.saturating_sub(time)
    }
}

/// How long so many bytes take at a rate.
pub(crate) fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How far a pass has come.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// How much has been read.
    pub bytes: u64,
    /// How much there was to read when the pass began, about; at least `bytes`.
    pub bytes_total: u64,
    /// How many files are done.
    pub files: u64,
    /// How many faults were found so far.
    pub faults: usize,
    /// The segment that is being read.
    pub path: Option<PathBuf>,
}

/// What a pass found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether the pass came to its end: `false` when it was told to stop.
    pub complete: bool,
    /// How many files were read.
    pub files: u64,
    /// How many bytes were read and checked, unused parts of files left out.
    pub bytes: u64,
    /// How many batches checked out.
    pub batches: u64,
    /// How many entries checked out, those included that a later one replaced or that were purged.
    pub entries: u64,
    /// What did not.
    pub faults: Vec<Fault>,
    /// Files that were left out: a segment that the writer gave up beside a read-only journal, or a `meta` that was written
    /// to at every look.
    pub skipped: Vec<PathBuf>,
    /// How long it took.
    pub time: Duration,
}

impl VerifyReport {
    /// The faults that cost entries; the others cost what is there twice, or what nobody reads any more.
    pub fn losses(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.indexes.is_some())
    }
}

/// Something in a file that does not check out, or cannot be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// What stands there.
    pub part: FaultPart,
    /// The entries that cannot be read because of it. `None` when every entry of the log can: the fault is in something
    /// that is there twice, that only a recovery would need, or in an entry that was replaced or purged.
    pub indexes: Option<DamagedRange>,
    /// The term of these entries, where it is known and the same for all.
    pub term: Option<u64>,
    /// What is wrong with it.
    pub cause: FaultCause,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} at offset {}: {}; ", self.path.display(), self.part, self.offset, self.cause)?;
        match &self.indexes {
            Some(indexes) => write!(f, "{indexes}")?,
            None => write!(f, "no entry is lost")?,
        }
        self.term.map_or(Ok(()), |term| write!(f, " (term {term})"))
    }
}

/// What a fault is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPart {
    /// The file as a whole.
    #[error("the file")]
    File,
    /// One of the four copies in `meta`. Its twin serves; the next commits write all four anew.
    #[error("a copy of `meta`")]
    MetaCopy,
    /// One of the two copies of a segment's header.
    #[error("a segment's header")]
    Header,
    /// A batch, other than the payloads of its entries.
    #[error("a batch")]
    Batch,
    /// One or more entries.
    #[error("an entry")]
    Entry,
    /// The index in a segment's seal, or the one that a clean close left. Reads go by the batches instead.
    #[error("an index")]
    Index,
    /// A sealed segment's trailer. Opening scans the batches instead.
    #[error("a trailer")]
    Trailer,
}

/// What a fault is.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultCause {
    /// The bytes are not what was written.
    #[error("{0}")]
    Damaged(DamageKind),
    /// The disk did not give the bytes. Not damage: another try may succeed.
    #[error("{0}")]
    Unreadable(Error),
    /// The bytes were written by a newer version of this crate.
    #[error("version {0} is newer than this build")]
    NewerVersion(u32),
}
