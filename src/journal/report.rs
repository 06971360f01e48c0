//! What recovery found and did.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Damage;

/// What opening a journal found and did. Nothing is dropped in silence: what is not here did not happen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The journal was made by this open.
    pub created: bool,
    /// The last process closed the journal in order.
    pub clean: bool,
    /// The life that this open began; lives count the opens that may write.
    pub life: u32,
    /// The segments that the log's chain has.
    pub segments: usize,
    /// What an append in flight left behind. It was never acknowledged, and was cut.
    pub torn: Option<TornTail>,
    /// After an unclean stop: if the disk lost data besides, acknowledged writes behind the last position that was found, those
    /// of the last sync, may be missing, which nothing on this disk could tell. Advice: ask the leader, or, when a whole
    /// cluster lost power, just start.
    pub suspect: Option<Suspect>,
    /// One copy of a `meta` slot was unreadable; its twin served, and all copies were written anew.
    pub meta_healed: bool,
    /// Segments of which the first copy of the header cannot be read; the one at the file's end served. Nothing is lost,
    /// and nothing is written: a sealed file is not edited. The second copy is not looked at while the first one is good;
    /// [`verify`](crate::Journal::verify) looks at both.
    pub twin_headers: Vec<PathBuf>,
    /// Damage that was accepted, by this open or by an earlier one: these entries are lost. Of an earlier one, what was
    /// replaced since is named until its segment is purged; [`Journal::damaged`](crate::Journal::damaged) has what is lost now.
    pub damaged: Vec<Arc<Damage>>,
    /// The end of the log was given up, by this open or by an earlier one: its last file, or the end of that one. How much more
    /// this node had acknowledged than `meta` last saw, nobody knows; the log ends there, as if that were all. The node must
    /// not count as having what it acknowledged: let it [rejoin](crate::docs::operations#rejoining). Ask before anything is
    /// given up, with [`OpenOptions::preview`](crate::OpenOptions::preview). It is told until the segment is gone, be it
    /// purged or rewritten: that it is told no more is no proof of anything. Where in doubt, it is told.
    pub open_ended: bool,
    /// Segments whose batches were read one by one although they have an index: it was damaged, or a crash came before
    /// anything proved it.
    pub reindexed: Vec<PathBuf>,
    /// Files with a segment's name that are not this journal's, or of which nothing can be read; or that are, hold batches,
    /// and nothing leads to them. Left alone.
    pub foreign: Vec<PathBuf>,
    /// Files that a finished head truncation, or an interrupted preparation, had left; they are removed in the background.
    pub leftover: Vec<PathBuf>,
}

/// What an append in flight left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment file.
    pub path: PathBuf,
    /// Where the bytes start.
    pub offset: u64,
    /// How many bytes there are, as far as a header tells; `None` where none does (a recycled file's former content
    /// looks the same).
    pub bytes: Option<u64>,
    /// The indexes that the torn batch would have had, half-open, where its header tells.
    pub indexes: Option<(u64, u64)>,
}

/// What nobody can rule out after an unclean stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspect {
    /// One slot of `meta` could not be read, or its two copies differed, by this open or by one before it that was cut short:
    /// it held an interrupted commit, or the newest vote.
    pub vote: bool,
}
