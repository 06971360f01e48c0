//! Every error of the adapter, and what raft-rs is told of it.

use raft::StorageError;

use crate::adapters::OwnerError;
use crate::entry::Position;
use crate::error::Error as StoreError;

/// Why a call of the adapter's failed. Nothing was written, unless the store itself failed in the middle
/// ([`Poisoned`](crate::Error::Poisoned)).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed; its own error says where and what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store belongs to another adapter or another node.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// A message that protobuf cannot encode.
    #[error("{what} cannot be encoded: {why}")]
    Encode {
        /// The entry, or the key.
        what: String,
        /// protobuf's own words.
        why: String,
    },
    /// Bytes that check out and are no message of raft-rs: something else wrote them.
    #[error("{what} cannot be decoded: {why}; read it with the build that wrote it, or fetch it from another node")]
    Decode {
        /// The entry, or the key.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry that names another place than the one it was found at: something else wrote it.
    #[error("entry {found} calls itself {inside}: something else than this adapter wrote the journal")]
    OtherEntry {
        /// Where it was found.
        found: Position,
        /// What it says.
        inside: Position,
    },
    /// A log that does not begin behind its purged position, nor at entry 1: something else wrote it, or its beginning was
    /// lost and the loss accepted.
    #[error(
        "the log begins at entry {first_index}, not at {expected}: this adapter did not leave it so; \
        let this node rejoin as a new member"
    )]
    BeginningLost {
        /// Where it begins.
        first_index: u64,
        /// Where it should.
        expected: u64,
    },
    /// A HardState whose commit index is not within the log: it and the log are not of one node, or of one time.
    #[error(
        "a HardState says that entry {commit} is committed, the log reaches from {first_index} to {last_index}: \
        they do not belong together; let this node rejoin as a new member"
    )]
    CommitOutside {
        /// The commit index.
        commit: u64,
        /// The log's first index.
        first_index: u64,
        /// The log's last index.
        last_index: u64,
    },
    /// A snapshot, or a state machine, that ends before the log begins; or a snapshot in the log's place that ends before
    /// what is known to be committed.
    #[error(
        "the snapshot at {snapshot} is out of date: the log is purged up to {purged} and committed up to {commit}; \
        take the newest one, or let the leader send one"
    )]
    SnapshotOutOfDate {
        /// Where the snapshot ends.
        snapshot: Position,
        /// What the log is purged up to.
        purged: Position,
        /// The commit index.
        commit: u64,
    },
    /// A compaction of entries that the log does not hold.
    #[error("cannot compact up to entry {compact_index}: the log ends at {last_index}; compact what was applied only")]
    CompactBeyondEnd {
        /// The index that was given.
        compact_index: u64,
        /// The log's last index.
        last_index: u64,
    },
    /// Entries whose terms are lost with them, so that nothing could answer for this log in an election.
    #[error(
        "the terms of entries {first}..{end} are lost with them: put the entries back with `Journal::repair`, \
        or let this node rejoin as a new member"
    )]
    TermsLost {
        /// The first such entry.
        first: u64,
        /// One beyond the last one.
        end: u64,
    },
    /// A first configuration for a node that has one, or a log, already.
    #[error("the node has a state already: change its configuration through the log")]
    Initialized,
}

/// The adapter's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the entry itself is lost or foreign, so that reading it again is of no use.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Error::Store(StoreError::Damaged(_)) | Error::Decode { .. } | Error::OtherEntry { .. })
    }
}

impl From<Error> for raft::Error {
    /// As raft-rs's own storage would say it, where it has words for it; else as
    /// [`StorageError::Other`] with the error inside.
    fn from(error: Error) -> Self {
        raft::Error::Store(match error {
            Error::Store(StoreError::BeforeFirst { .. } | StoreError::Purged { .. }) => StorageError::Compacted,
            Error::Store(StoreError::AfterLast { .. }) | Error::CompactBeyondEnd { .. } => StorageError::Unavailable,
            Error::SnapshotOutOfDate { .. } => StorageError::SnapshotOutOfDate,
            other => StorageError::Other(Box::new(other)),
        })
    }
}
