//! How a journal is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Journal, RecoveryReport};
use crate::error::{Error, JournalId, Result};
use crate::io::{Fs, OsFs};
#[cfg(feature = "encryption")]
use crate::keys::KeyProvider;
use crate::keys::{Keys, Secret};
pub use crate::segment::writer::Compression;

/// Segments in a young journal start at this size and double.
const FIRST_SEGMENT_BYTES: u32 = 512 << 10;
/// The smallest segment: edges, a few batches and a seal.
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// Segments stay under 4 GiB: offsets are 32-bit.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;
/// The smallest aligned segment.
const ALIGNED_SEGMENT_BYTES_MIN: u64 = 32 << 10;

/// What to do when acknowledged bytes no longer check out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse to open; the error says which entries are lost. Nothing is changed.
    #[default]
    Refuse,
    /// Open without the lost entries: reading one gives [`Error::Damaged`], all others are served. No segment is
    /// removed, and the loss is recorded, so that the next open reports it and does not refuse. Lost votes are never accepted. Nor
    /// is more when 44 losses are recorded already: until the head is truncated beyond some of them, this refuses, too.
    ///
    /// Where the end of the log is lost, nobody knows how far it went: once that is accepted it ends where `meta` last saw it,
    /// and nothing tells what was acknowledged behind. Such a node must not go on under its name; it
    /// [rejoins](crate::docs::operations#rejoining). Ask [`OpenOptions::preview`] first:
    /// [`open_ended`](crate::RecoveryReport::open_ended).
    ///
    /// Of a repair file that is lost, the record goes instead: its entries are damaged in their places as they were before
    /// they were put back, which the next open reports where it meets it, and readers and passes find elsewhere.
    Accept,
}

/// Verifying in the background.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scrub {
    pub(crate) bytes_per_second: u64,
    pub(crate) pause: Duration,
}

/// How a journal is opened. The defaults suit one Raft node; every size is in bytes.
///
/// ```
/// # fn main() -> Result<(), raft_journal::Error> {
/// # let temporary = tempfile::tempdir().expect("a temporary directory");
/// # let dir = temporary.path().join("journal");
/// use raft_journal::{Compression, OpenOptions};
///
/// let journal = OpenOptions::new()
///     .segment_bytes(16 << 20)
///     .compression(Compression::Lz4 { threshold_bytes: 4096 })
///     .open(&dir)?;
/// # journal.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `open`"]
pub struct OpenOptions {
    pub(crate) segment_bytes: u64,
    pub(crate) entry_bytes_max: u64,
    pub(crate) compression: Compression,
    pub(crate) tail_cache_bytes: usize,
    pub(crate) index_cache_bytes: usize,
    pub(crate) meta_bytes_max: u64,
    pub(crate) aligned: bool,
    pub(crate) on_damage: OnDamage,
    pub(crate) read_only: bool,
    pub(crate) stalled_after: Duration,
    pub(crate) slow_sync_after: Duration,
    pub(crate) nearly_full_bytes: Option<u64>,
    pub(crate) scrub: Option<Scrub>,
    pub(crate) keys: Option<Keys>,
    pub(crate) file_system: Arc<dyn Fs>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            segment_bytes: 64 << 20,
            entry_bytes_max: 64 << 20,
            compression: Compression::None,
            tail_cache_bytes: 1 << 20,
            index_cache_bytes: 16 << 20,
            meta_bytes_max: 16 << 10,
            aligned: false,
            on_damage: OnDamage::Refuse,
            read_only: false,
            stalled_after: Duration::from_secs(1),
            slow_sync_after: Duration::from_millis(100),
            nearly_full_bytes: None,
            scrub: None,
            keys: None,
            file_system: Arc::new(OsFs),
        }
    }
}

impl OpenOptions {
    /// The defaults: segments of 64 MiB, entries of at most 64 MiB, no compression, 1 MiB of cached tail, 16 MiB of
    /// cached indexes, 16 KiB of small state, the operating system's files, damage refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// The size that segment files grow to (8 KiB to 2 GiB; 32 KiB at least with [`align_4k`](Self::align_4k)), in whole
    /// 4 KiB; a young journal's are smaller. A batch that needs more gets a file of its own size.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The largest payload that is accepted at append, at most 4 GiB - 1 MiB - 1. Entries that are in the log already stay
    /// readable.
    pub fn entry_bytes_max(mut self, bytes: u64) -> Self {
        self.entry_bytes_max = bytes;
        self
    }

    /// Whether payloads are compressed. What is in the log already is read either way.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How many bytes of the newest entries are kept in memory for readers; 0 for none. They stay in the buffers that they were
    /// written from, one a batch: an entry that was read from there keeps the whole one until it is dropped. A batch that
    /// takes more than half of this is read from its file.
    pub fn tail_cache_bytes(mut self, bytes: usize) -> Self {
        self.tail_cache_bytes = bytes;
        self
    }

    /// How many bytes of sealed segments' offset indexes are kept in memory; 0 for none. Entries of one length take next to
    /// nothing, others 4 or 8 bytes each (`docs::operations`).
    pub fn index_cache_bytes(mut self, bytes: usize) -> Self {
        self.index_cache_bytes = bytes;
        self
    }

    /// The bound on all keys and values of the stable store together (three bytes more a pair), 256 B to 64 MiB. Another bound than
    /// last time rewrites `meta`.
    pub fn meta_bytes_max(mut self, bytes: u64) -> Self {
        self.meta_bytes_max = bytes;
        self
    }

    /// Aligns batches in new segments to 4 KiB, for disks where a torn write may damage the whole sector around it.
    pub fn align_4k(mut self, aligned: bool) -> Self {
        self.aligned = aligned;
        self
    }

    /// What to do when acknowledged bytes no longer check out.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Opens without a lock and without writing, beside a live writer or on a medium that cannot be written. The
    /// journal shows what was there when it was opened; its newest entries may not be durable yet. A segment that the
    /// writer uses anew later reads as damaged: open again.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How long a sync, or what else a caller waits for, may be under way before [`health`](Journal::health) says that the journal is stalled; one second
    /// unless set. Best well below the group's election timeout.
    pub fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// From when on a sync of the log, or a commit of `meta`, counts as slow, in [`Stats::slow_syncs`](crate::Stats::slow_syncs) and, with the feature
    /// `tracing`, in a span of its own; 100 ms unless set.
    pub fn slow_sync_after(mut self, time: Duration) -> Self {
        self.slow_sync_after = time;
        self
    }

    /// With less free room than this, [`health`](Journal::health) says that the file system is nearly full; twice
    /// [`segment_bytes`](Self::segment_bytes) unless set. With 0, only once a write has found no room.
    pub fn nearly_full_bytes(mut self, bytes: u64) -> Self {
        self.nearly_full_bytes = Some(bytes);
        self
    }

    /// Verifies all files in the background, over and over, as [`Journal::verify`] does: `bytes_per_second` at most, and
    /// `pause` between one pass and the next. The first pass begins with the journal, the last one ends with it.
    /// [`Journal::last_verify`] has what was found; losses show in [`health`](Journal::health). 0 bytes for none, as it is
    /// unless set.
    pub fn scrub(mut self, bytes_per_second: u64, pause: Duration) -> Self {
        self.scrub = (bytes_per_second > 0).then_some(Scrub { bytes_per_second, pause });
        self
    }

    /// Encrypts entries and small state, with keys from this provider. A journal is encrypted from its first open on, or
    /// never: [`Error::Key`] says where the files and this option do not agree.
    ///
    /// What is hidden and what is not, and how keys are changed: [`docs::encryption`](crate::docs::encryption). Payloads
    /// are compressed before they are encrypted only if [`compression`](Self::compression) says so; their sizes then tell
    /// something of their content.
    #[cfg(feature = "encryption")]
    pub fn encryption(mut self, keys: Arc<dyn KeyProvider>) -> Self {
        self.keys = Some(Keys::new(keys));
        self
    }

    /// The file system: the operating system's unless set.
    pub fn file_system(mut self, file_system: Arc<dyn Fs>) -> Self {
        self.file_system = file_system;
        self
    }

    /// Opens the journal in `dir`, recovering it from whatever the last process left; makes a new one in a directory
    /// that is empty or does not exist yet (its parent must).
    ///
    /// A relative path is meant from the process's working directory whenever a file is made or removed: a process that
    /// changes that one gives the whole path.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::NotAJournal`], [`Error::SegmentsWithoutMeta`], [`Error::MetaUnreadable`],
    /// [`Error::MetaOutdated`], [`Error::ForeignFile`], [`Error::UnsupportedVersion`], [`Error::Damaged`],
    /// [`Error::Key`], [`Error::UnfinishedCheckpoint`], [`Error::InvalidOption`], [`Error::StoreFull`] where the small state
    /// is larger than its bound, [`Error::NoSpace`], [`Error::Io`]. No segment has changed then.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Journal> {
        self.check()?;
        super::open::open(self, dir.as_ref())
    }

    /// What [`open`](Self::open) for writing would find and do now: its report, or its error. Takes no lock and changes
    /// nothing, so the answer holds as long as nobody writes; beside a live writer it is about a crash at this moment.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), but [`Error::Locked`].
    pub fn preview(&self, dir: impl AsRef<Path>) -> Result<RecoveryReport> {
        self.check()?;
        super::open::preview(self, dir.as_ref())
    }

    fn check(&self) -> Result<()> {
        let least = if self.aligned { ALIGNED_SEGMENT_BYTES_MIN } else { SEGMENT_BYTES_MIN };
        let bounds = [
            ("segment_bytes", self.segment_bytes, least, SEGMENT_BYTES_MAX),
            ("entry_bytes_max", self.entry_bytes_max, 0, u64::from(u32::MAX) - (1 << 20)),
            ("meta_bytes_max", self.meta_bytes_max, 256, 64 << 20),
        ];
        bounds.into_iter().try_for_each(|(name, found, least, most)| {
            let why = format!("{found} bytes are not within {least}..={most}");
            if (least..=most).contains(&found) { Ok(()) } else { Err(Error::InvalidOption { name, why }) }
        })
    }

    /// The key for new files: its id, and what this journal makes of it.
    pub(crate) fn current_key(&self, dir: &Path, journal: JournalId) -> Result<Option<(u32, Secret)>> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let key_id = keys.current();
        let fault = |fault| Error::Key { path: dir.to_path_buf(), key_id, fault };
        keys.secret(key_id, journal).map(|secret| Some((key_id, secret))).map_err(fault)
    }

    /// The size of the segment after one of `previous` bytes.
    pub(crate) fn next_segment_bytes(&self, previous: Option<u32>) -> u32 {
        // The trailer and the second header stand at the end: elsewhere they could share a sector in an aligned file.
        let most = u32::try_from(self.segment_bytes).unwrap_or(u32::MAX) / 4096 * 4096;
        previous.map_or(FIRST_SEGMENT_BYTES, |previous| previous.saturating_mul(2)).min(most)
    }
}
