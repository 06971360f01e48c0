//! Entries and positions: the words that every floor shares.

use bytes::Bytes;

/// One Raft log entry: where it stands, the term of the leader that proposed it, and its opaque payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The entry's index in the log. `u64::MAX` is refused, index 0 is legal.
    pub index: u64,
    /// The term of the leader that proposed the entry. Terms never fall along the log.
    pub term: u64,
    /// The payload. The journal never looks into it.
    pub data: Bytes,
}

impl Entry {
    /// An entry from its parts.
    pub fn new(index: u64, term: u64, data: impl Into<Bytes>) -> Self {
        Entry { index, term, data: data.into() }
    }

    /// The entry's index and term.
    pub fn position(&self) -> Position {
        Position { index: self.index, term: self.term }
    }
}

/// An entry's index and term: what identifies it in a Raft group.
///
/// The order is by index, then by term, which within one log is the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The entry's index.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
}

impl Position {
    /// A position from its parts.
    pub fn new(index: u64, term: u64) -> Self {
        Position { index, term }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index {} term {}", self.index, self.term)
    }
}
