//! The `meta` file: term, vote and other small state, and where the log's chain starts. Knows nothing of segments'
//! bytes.

mod cipher;
pub mod format;
mod recover;
mod store;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::entry::Position;
use crate::error::JournalId;
use cipher::Encrypted;

pub(crate) use format::CopyFault;
pub(crate) use recover::Health;
pub(crate) use store::{FILE_NAME, Inspected, Loaded, MetaStore, REPAIRED_MAX, UNFINISHED_NAME};

/// Everything that one generation of `meta` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) journal_id: JournalId,
    pub(crate) life: u32,
    /// Where this life began: the segment and the offset. From there on, every batch is of this life. Far before the mark's
    /// segment that is forgotten, and then it is the beginning of that one; unknown in a copy that an older build wrote.
    pub(crate) begin: Option<(u64, u32)>,
    /// The journal was closed in order, and nothing was written since.
    pub(crate) clean: bool,
    /// The newest state of `meta` was lost, as the open found that committed this one; nothing was committed since.
    pub(crate) suspect: bool,
    pub(crate) mark: Mark,
    pub(crate) purged: Option<Position>,
    /// `None` in a journal whose first segment does not exist yet.
    pub(crate) start: Option<ChainStart>,
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) repaired: Vec<Repaired>,
    pub(crate) pairs: BTreeMap<Bytes, Bytes>,
    /// The pairs as they were read, until they are decrypted.
    pub(crate) encrypted: Option<Encrypted>,
}

impl State {
    pub(crate) fn new(journal_id: JournalId) -> State {
        State {
            generation: 1,
            journal_id,
            life: 0,
            begin: None,
            clean: false,
            suspect: false,
            mark: Mark::default(),
            purged: None,
            start: None,
            accepted: Vec::new(),
            repaired: Vec::new(),
            pairs: BTreeMap::new(),
            encrypted: None,
        }
    }
}

/// The durable mark: everything below it has been synced, and what the log was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) offset: u32,
    /// The chain value at that place.
    pub(crate) chain: u32,
    /// The log's next index there.
    pub(crate) next: u64,
    /// The last entry's term there, or the purged position's.
    pub(crate) last_term: u64,
    /// The segment's base there.
    pub(crate) base: u64,
    /// The offset of the segment's latest replacing batch there.
    pub(crate) replacing: u32,
    /// The offset of the index batch that a clean close wrote into this segment; 0 for none.
    pub(crate) index: u32,
}

impl Mark {
    /// The place alone: marks are ordered by it.
    pub(crate) fn place(&self) -> (u64, u32) {
        (self.sequence, self.offset)
    }
}

/// Where the chain of segments starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChainStart {
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    pub(crate) offset: u32,
    /// The chain value before the first batch.
    pub(crate) chain: u32,
    /// The log's next index before the first batch.
    pub(crate) base: u64,
}

/// Damage that the caller accepted: at this place, these entries are lost, and the chain goes on there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) sequence: u64,
    pub(crate) offset: u32,
    /// The lost entries, half-open.
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// The segment and the offset where the chain goes on: with another end, it is another loss that begins at the same
    /// place. [`UNKNOWN`](Self::UNKNOWN) in a record of an older format.
    pub(crate) resume: (u64, u32),
    /// Whether a batch that stands at the place is none of the log's, whatever it says.
    pub(crate) void: bool,
    /// Whether the log may have gone on behind what is known to be lost.
    pub(crate) open_ended: bool,
}

impl Accepted {
    pub(crate) const UNKNOWN: (u64, u32) = (0, 0);

    /// Whether a place lies where the loss does, before the log goes on in the same segment.
    pub(crate) fn spans(&self, (sequence, offset): (u64, u32)) -> bool {
        (self.sequence, self.resume.0) == (sequence, sequence) && (self.offset..self.resume.1).contains(&offset)
    }

    /// Those that begin in one segment: where, and where a batch that stands there would have to end, which is where the chain
    /// goes on. No batch ends at `u32::MAX`, for that is in a later one, nor at 0, for none that stands there counts.
    pub(crate) fn within(all: &[Accepted], sequence: u64) -> Vec<(u32, u32)> {
        let is_in = |lost: &&Accepted| lost.sequence == sequence && lost.resume != Accepted::UNKNOWN;
        let end = |lost: &Accepted| match lost.resume {
            _ if lost.void => 0,
            (resumed, offset) if resumed == sequence => offset,
            _ => u32::MAX,
        };
        all.iter().filter(is_in).map(|lost| (lost.offset, end(lost))).collect()
    }
}

/// Entries that were put back: what is damaged in one place stands, whole, in a repair file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Repaired {
    /// The segment whose entries they are; a lost one, too.
    pub(crate) sequence: u64,
    /// What of it they stand for: [`BY_CHECK`](Self::BY_CHECK), [`SEALED`](Self::SEALED), or the offset of the accepted
    /// damage that they end.
    pub(crate) place: u32,
    /// The entries, half-open.
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// The repair file's sequence.
    pub(crate) file: u64,
    /// Its salt.
    pub(crate) salt: u64,
}

impl Repaired {
    /// An entry stands for the one whose check the segment knows, and for none that was written there later.
    pub(crate) const BY_CHECK: u32 = 0;
    /// The segment was sealed, so that what it holds at an index never changes.
    pub(crate) const SEALED: u32 = 1;

    pub(crate) fn contains(&self, index: u64) -> bool {
        (self.first..self.end).contains(&index)
    }
}
