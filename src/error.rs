//! Every error of the crate. Each says where it happened and what can be done about it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::Position;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do.
///
/// Errors are `Clone`, because one failed sync is told to every writer that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[error("{op} {}{}: {source}; mend the cause, then try again or open again", path.display(), at(*offset))]
    Io {
        /// What was tried: `read`, `write`, `sync`, `rename`, …
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The byte offset in the file, where one applies.
        offset: Option<u64>,
        /// The operating system's own error.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The disk, a quota or a file-size limit is exhausted. Nothing of the refused operation shows; head truncation
    /// still works, and appends go on once there is room. (On a copy-on-write file system a head truncation needs room as
    /// well, and poisons where there is none: keep some free.)
    #[error("no space for {}: nothing was appended; truncate the head or make room, then append again", path.display())]
    NoSpace {
        /// The file that could not be written or made.
        path: PathBuf,
        /// The operating system's own error.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A sync or a write failed earlier: what the disk holds is unknown. Reads go on; every write is refused.
    #[error(
        "the journal refuses writes since an earlier failure ({cause}); \
        close it, replace or check the disk, and open again: recovery reads what the disk really holds"
    )]
    Poisoned {
        /// The failure that poisoned the journal.
        cause: Arc<Error>,
    },
    /// The journal was closed. Open it again.
    #[error("the journal is closed: open it again")]
    Closed,
    /// A write through a journal opened with `OpenOptions::read_only`.
    #[error("{} was opened read-only: open it without `read_only` to write", dir.display())]
    ReadOnly {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// Another handle, in this process or another one, has the journal open.
    #[error("{} is held by another opener: close that one first (read-only opens need no lock)", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The path exists, and is not a journal; or a read-only open found none there.
    #[error("{} is not a journal: {why}; name a journal's directory or, to make a new one, an empty or a new directory", dir.display())]
    NotAJournal {
        /// The directory that was to be opened.
        dir: PathBuf,
        /// What was found there.
        why: String,
    },
    /// Segment files without the `meta` file that says what they mean. Starting afresh could vote twice, so it is an
    /// error: bring `meta` back, or remove the directory and rejoin the group as a new member.
    #[error("{} holds segments (first: {first_segment}) but no `meta`: the term and vote are lost; \
        restore `meta` or let this node rejoin as a new member", dir.display())]
    SegmentsWithoutMeta {
        /// The journal's directory.
        dir: PathBuf,
        /// The name of the lowest segment file.
        first_segment: String,
    },
    /// A directory that cannot take a checkpoint. It was left alone.
    #[error("{} cannot take the checkpoint: {why}; name an empty or a new directory, or an older checkpoint of this \
        journal", dir.display())]
    CheckpointTarget {
        /// The directory.
        dir: PathBuf,
        /// What stands against it.
        why: TargetFault,
    },
    /// A checkpoint that was interrupted, or is being made.
    #[error("{} holds a checkpoint that is not finished: take it again into the same directory, or remove it", dir.display())]
    UnfinishedCheckpoint {
        /// The directory.
        dir: PathBuf,
    },
    /// The journal's writer has used a file again that a read-only handle still showed.
    #[error("{} has been used again by the journal's writer: open the journal anew, and try again", path.display())]
    Overtaken {
        /// The segment file.
        path: PathBuf,
    },
    /// No slot of `meta` can be read: the term and vote are unknown.
    #[error("{}: neither slot can be read ({why}): the term and vote are unknown; \
        restore the file or let this node rejoin as a new member", path.display())]
    MetaUnreadable {
        /// The `meta` file.
        path: PathBuf,
        /// What the slots looked like.
        why: String,
    },
    /// `meta` is older than what a batch in the log knows of it: a vote may have been lost. Never opened in silence.
    #[error("{}: generation {found_generation} of life {found_life} is older than generation {generation} of life {life} \
        that {} names at offset {offset}: a vote may be lost; restore the file or rejoin as a new member",
        path.display(), witness.display())]
    MetaOutdated {
        /// The `meta` file.
        path: PathBuf,
        /// The newest generation that could be read.
        found_generation: u64,
        /// The life it belongs to.
        found_life: u32,
        /// The generation that the log knows of.
        generation: u64,
        /// The life that the log knows of.
        life: u32,
        /// The segment file with the batch that knows.
        witness: PathBuf,
        /// That batch's offset.
        offset: u64,
    },
    /// A file of the chain belongs to another journal. It was left alone.
    #[error("{} belongs to journal {found}, this is journal {expected}: put the right file back", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// This journal's id.
        expected: JournalId,
        /// The file's journal id.
        found: JournalId,
    },
    /// A file was written by a newer version of this crate. It was left alone.
    #[error("{} has format version {found}, this build reads up to {supported}: use a newer build", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// A file and the keys that were given do not go together. It was left alone.
    #[error("{}: {fault} (key {key_id})", path.display())]
    Key {
        /// The file, or the directory that a file was to be made in.
        path: PathBuf,
        /// The id of the key that is meant; 0 where the file says that it is not encrypted.
        key_id: u32,
        /// What does not go together.
        fault: KeyFault,
    },
    /// Acknowledged bytes no longer check out.
    #[error("{0}")]
    Damaged(Arc<Damage>),
    /// An entry to repair that can be read as it is.
    #[error("entry {index} is not damaged: repair only what `damaged` names")]
    NotDamaged {
        /// The entry's index.
        index: u64,
    },
    /// An entry to repair that cannot be the one that was lost. Nothing was written.
    #[error("entry {index} of term {term} is not put back: {why}; fetch the entry from the leader")]
    RepairRefused {
        /// The entry's index.
        index: u64,
        /// The term that it was given with.
        term: u64,
        /// What contradicts it.
        why: RepairFault,
    },
    /// More ranges of repaired entries than are kept track of. Truncate the head past some of them.
    #[error("{ranges_max} ranges of entries have been repaired, the most there can be: truncate the head past some")]
    RepairsFull {
        /// The most ranges.
        ranges_max: usize,
    },
    /// An append that leaves a hole.
    #[error("append at index {found} leaves a hole: the next index is {expected}")]
    Gap {
        /// The index that would have been next.
        expected: u64,
        /// The index that was given.
        found: u64,
    },
    /// An append at or below the last index. Use `replace_tail` to overwrite.
    #[error("append at index {found} overlaps the log, which ends at {last}: use replace_tail to overwrite")]
    Overlap {
        /// The log's last index.
        last: u64,
        /// The index that was given.
        found: u64,
    },
    /// An entry whose term is smaller than its predecessor's.
    #[error("entry {index} has term {found}, its predecessor has {previous}: terms never fall along a log")]
    TermFell {
        /// The entry's index.
        index: u64,
        /// The term before it.
        previous: u64,
        /// The entry's term.
        found: u64,
    },
    /// `u64::MAX` as an index: nothing could follow it.
    #[error("index {index} is not usable: nothing could follow it")]
    IndexOverflow {
        /// The index that was given.
        index: u64,
    },
    /// A read before the first index: the entry was purged, or never was.
    #[error("index {index} is before the first index {first}: it was purged; send a snapshot instead")]
    BeforeFirst {
        /// The index that was asked for.
        index: u64,
        /// The lowest index that can be read.
        first: u64,
    },
    /// A read beyond the last index.
    #[error("index {index} is beyond the log's end (next index {next})")]
    AfterLast {
        /// The index that was asked for.
        index: u64,
        /// The index that the next append will take; 0 for a log that never held anything.
        next: u64,
    },
    /// A range whose start lies beyond its end.
    #[error("range {}..{} runs backwards", range.start, range.end)]
    BackwardRange {
        /// The range that was given.
        range: Range<u64>,
    },
    /// A tail operation that starts at or below the purged position.
    #[error("cannot change the log from index {index} on: it is purged up to {purged}")]
    Purged {
        /// The index that was given.
        index: u64,
        /// The purged position.
        purged: Position,
    },
    /// `truncate_tail` beyond the end of the log.
    #[error("cannot truncate from index {index} on: the log ends before {next}")]
    TruncateBeyondEnd {
        /// The index that was given.
        index: u64,
        /// The next index.
        next: u64,
    },
    /// `truncate_head` at the purged position, with another term.
    #[error("the log is purged at {purged}, which contradicts {requested}: one of them is another group's")]
    PurgedTermDiffers {
        /// What was purged.
        purged: Position,
        /// What was asked for.
        requested: Position,
    },
    /// An entry above the configured maximum.
    #[error("entry {index} has {bytes} bytes, the maximum is {bytes_max}: split it, or raise `entry_bytes_max`")]
    EntryTooLarge {
        /// The entry's index.
        index: u64,
        /// Its payload, bytes.
        bytes: u64,
        /// The configured maximum, bytes.
        bytes_max: u64,
    },
    /// An append whose entries together do not fit one segment file (under 4 GiB).
    #[error("a batch of {bytes} bytes is above the limit of {bytes_max}: append it in parts")]
    BatchTooLarge {
        /// What the batch would take, bytes.
        bytes: u64,
        /// The most a batch can take, bytes.
        bytes_max: u64,
    },
    /// A value above 4 KiB, or a key above 255 bytes.
    #[error("{what} for key {key:?} has {bytes} bytes, the maximum is {bytes_max}: keep large state elsewhere")]
    ValueTooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// The key, as text.
        key: String,
        /// Its size, bytes.
        bytes: u64,
        /// The maximum, bytes.
        bytes_max: u64,
    },
    /// The stable store as a whole is above its configured bound.
    #[error(
        "the stable store would take {bytes} bytes, its bound is {bytes_max}: remove keys, or raise `meta_bytes_max`"
    )]
    StoreFull {
        /// What the store would take, bytes.
        bytes: u64,
        /// The bound, bytes.
        bytes_max: u64,
    },
    /// `get_u64` of a value that is not eight bytes.
    #[error("the value of key {key:?} has {bytes} bytes and is no u64")]
    NotU64 {
        /// The key, as text.
        key: String,
        /// The value's size, bytes.
        bytes: u64,
    },
    /// A call that would wait for the disk, made inside a durability callback of the same journal.
    #[error("`{call}` would wait for the thread that runs this callback: hand the work to another thread")]
    BlockingCallInCallback {
        /// The call.
        call: &'static str,
    },
    /// An option outside its bounds.
    #[error("option `{name}`: {why}")]
    InvalidOption {
        /// The option.
        name: &'static str,
        /// The bound it breaks.
        why: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}

impl Error {
    /// Whether a file could not be opened because it is not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Error::Io { op: "open", source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Wraps an operating system error; exhausted space (disk, quota, file-size limit) becomes [`Error::NoSpace`].
    pub fn io(op: &'static str, path: &Path, offset: Option<u64>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_path_buf();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Error::NoSpace { path, source: Arc::new(source) },
            _ => Error::Io { op, path, offset, source: Arc::new(source) },
        }
    }

    /// Whether this is [`Error::NoSpace`].
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Error::Damaged(Arc::new(damage))
    }
}

/// Acknowledged bytes that no longer check out: where, and which entries are lost with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The offset of the first bad byte range.
    pub offset: u64,
    /// The indexes that cannot be read, half-open; `None` as an end where a lost header leaves no bound.
    pub indexes: DamagedRange,
    /// The entry's term, where it is known.
    pub term: Option<u64>,
    /// What does not check out.
    pub why: DamageKind,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged at offset {}: {}; {}", self.path.display(), self.offset, self.why, self.indexes)?;
        if let Some(term) = self.term {
            write!(f, " (term {term})")?;
        }
        match self.indexes.end {
            Some(_) => write!(f, "; fetch them from the leader, or open with OnDamage::Accept to go on without them"),
            None => write!(f, "; how much more was acknowledged nobody knows: let the node rejoin under a new id"),
        }
    }
}

/// A range of indexes that damage made unreadable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DamagedRange {
    /// The lowest index that may be lost.
    pub first: u64,
    /// One beyond the highest index that may be lost; `None` when nothing bounds it.
    pub end: Option<u64>,
}

impl DamagedRange {
    /// Whether the range has this index.
    pub fn contains(&self, index: u64) -> bool {
        self.first <= index && self.end.is_none_or(|end| index < end)
    }
}

impl std::fmt::Display for DamagedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            Some(end) if end.checked_sub(self.first) == Some(1) => write!(f, "entry {} is lost", self.first),
            Some(end) => write!(f, "entries {}..{} are lost", self.first, end),
            None => write!(f, "entries from {} on are lost", self.first),
        }
    }
}

/// What does not check out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// A checksum differs.
    #[error("a checksum differs")]
    Checksum,
    /// A file of the chain is missing.
    #[error("the file is missing")]
    MissingFile,
    /// A file is shorter than its header says.
    #[error("the file is shorter than its header says")]
    ShortFile,
    /// Both copies of a segment's header are unreadable.
    #[error("both copies of the file's header are unreadable")]
    Header,
    /// Bytes that check out stand where others should: a misplaced or stale write.
    #[error("the bytes here belong elsewhere")]
    Misplaced,
    /// A compressed payload does not decompress to what its length says.
    #[error("the compressed payload does not decompress")]
    Compression,
    /// The entry has flags that this build does not know.
    #[error("the entry has flags that this build does not know: use a newer build")]
    UnknownFlags,
    /// The entry's checksum is right, but it is not what was encrypted for this place under this key: it was changed on
    /// purpose, or belongs to another file or a time before.
    #[error("the entry is not what was encrypted for this place")]
    NotAuthentic,
    /// The entry's checksum is right, but it was encrypted for another index of this file: it was moved here on purpose.
    /// Looked for among the thousand indexes on either side; from further away, it is [`NotAuthentic`](Self::NotAuthentic).
    #[error("the entry was encrypted for index {from}, and moved here")]
    Moved {
        /// The index that it was encrypted for.
        from: u64,
    },
    /// The entry was lost earlier, and its loss accepted.
    #[error("the entry was lost earlier and its loss was accepted")]
    Accepted,
}

/// What stands against a directory as the target of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetFault {
    /// Something is in it that is no checkpoint's.
    #[error("it holds `{found}`")]
    NotEmpty {
        /// The name of one of the things in it.
        found: String,
    },
    /// It is a journal: never a checkpoint, or opened for writing since it was one.
    #[error("it is a journal in its own right")]
    InUse,
    /// It is another journal's checkpoint.
    #[error("it belongs to journal {found}")]
    OtherJournal {
        /// That journal's id.
        found: JournalId,
    },
    /// Its checkpoint is of a later moment than this journal has come to.
    #[error("its checkpoint is newer than this journal")]
    Newer,
}

/// What contradicts an entry that is to be put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairFault {
    /// The lost entry had another term.
    #[error("the lost entry has term {known}")]
    Term {
        /// The lost entry's term.
        known: u64,
    },
    /// An entry before it has a higher term.
    #[error("an entry before it has term {least}, and terms never fall")]
    TermBelow {
        /// The least term that it can have.
        least: u64,
    },
    /// An entry behind it has a lower term.
    #[error("an entry behind it has term {most}, and terms never fall")]
    TermAbove {
        /// The highest term that it can have.
        most: u64,
    },
    /// The lost entry's checksum is known, and is another one.
    #[error("its checksum is not the lost entry's")]
    Checksum,
    /// It does not follow the entry that was given before it.
    #[error("entry {expected} comes next")]
    Gap {
        /// The index that comes next.
        expected: u64,
    },
}

/// Why a file and the keys that were given do not go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The file is encrypted, and no keys were given.
    #[error("it is encrypted: open it with `OpenOptions::encryption` (feature `encryption`)")]
    NoKeys,
    /// The file is not encrypted, and keys were given.
    #[error("it is not encrypted, but keys were given: open it without them, or find out who replaced it")]
    NotEncrypted,
    /// The key provider has no key with this id.
    #[error("the key provider has no key with this id: give it the key back")]
    Unknown,
    /// The key provider has another key under this id than the file was written with.
    #[error("the key provider has another key under this id: give it the one that the file was written with")]
    Wrong,
    /// The key is right and so is the checksum, but not the seal over the content: the file was changed on purpose.
    #[error("what it says was not written with this key, in spite of a right checksum: restore the file")]
    NotAuthentic,
    /// The cryptographic library refused to work.
    #[error("the cryptographic library refused to work")]
    Refused,
}

/// A journal's identity, chosen at random when it is created and written into each of its files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JournalId(pub [u8; 16]);

impl std::fmt::Display for JournalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
