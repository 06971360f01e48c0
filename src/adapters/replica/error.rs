//! What a replica's log refuses, and why.

use std::sync::Arc;

use super::{InitStatus, PositionName};
use crate::entry::Position;
use crate::error::Error;

/// The module's result.
pub type Result<T, E = ReplicaError> = std::result::Result<T, E>;

/// Why a call on a [`ReplicaLog`](super::ReplicaLog) was refused. Except where it is the journal's own error, nothing was
/// written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The journal's own error.
    #[error(transparent)]
    Journal(#[from] Error),
    /// An append at or below the committed position: what is committed never changes. Whoever sent it is not this group's
    /// leader.
    #[error("cannot change the log from index {index} on: it is committed up to {committed}")]
    Committed {
        /// The first index of the append.
        index: u64,
        /// The committed position.
        committed: u64,
    },
    /// A call that needs a Raft log, on what is none yet: bootstrap or backfill first.
    #[error("this log is {status}: bootstrap it, or backfill it, before it is used")]
    NotBootstrapped {
        /// What it is instead.
        status: InitStatus,
    },
    /// A bootstrap, a backfill or an adoption of what is not in the state for it.
    #[error("cannot {call}: this log is {status}")]
    WrongStatus {
        /// `bootstrap`, `backfill` or `adopt`.
        call: &'static str,
        /// What the log is.
        status: InitStatus,
    },
    /// A committed position below the one that is known.
    #[error("the committed position cannot go back from {committed} to {requested}")]
    CommittedFell {
        /// The committed position.
        committed: u64,
        /// What was asked for.
        requested: u64,
    },
    /// A committed position behind the end of the log.
    #[error("{requested} cannot be committed: the log ends before {next}")]
    CommittedBeyondLog {
        /// What was asked for, or, when the log was opened, what is stored.
        requested: u64,
        /// The index that the next append takes.
        next: u64,
    },
    /// A named position that would go back.
    #[error("position {name} cannot go back from {position} to {requested}")]
    PositionFell {
        /// Whose position.
        name: PositionName,
        /// Where it is.
        position: u64,
        /// What was asked for.
        requested: u64,
    },
    /// A named position that would pass the committed one.
    #[error("position {name} cannot be {requested}: the log is committed up to {}", shown(*committed))]
    PositionBeyondCommitted {
        /// Whose position.
        name: PositionName,
        /// The committed position, if there is one.
        committed: Option<u64>,
        /// What was asked for.
        requested: u64,
    },
    /// A head truncation that somebody still needs the entries of.
    #[error("cannot truncate the head up to {index}: {name} is at {}", shown(*position))]
    Held {
        /// What was asked for.
        index: u64,
        /// Who holds the head back.
        name: PositionName,
        /// Where they are; `None` when they have acknowledged nothing yet.
        position: Option<u64>,
    },
    /// A snapshot that says nothing new.
    #[error("a snapshot at {requested} is out of date: the log is committed up to {committed}")]
    SnapshotOutOfDate {
        /// The snapshot's position.
        requested: Position,
        /// The committed position.
        committed: u64,
    },
    /// No consumer of this name is registered.
    #[error("no consumer {name:?} is registered: register it first")]
    UnknownConsumer {
        /// The name.
        name: String,
    },
    /// A consumer's name that is empty, or longer than 64 bytes.
    #[error("{name:?} is no name for a consumer: one has 1 to 64 bytes")]
    ConsumerName {
        /// The name.
        name: String,
    },
    /// The plain log begins behind what the backfill still needs.
    #[error("the plain log begins at {first}, the backfill goes on at {next}: what lies between is lost")]
    PlainLogGap {
        /// The index that is needed next.
        next: u64,
        /// The plain log's first index.
        first: u64,
    },
    /// The plain log ends elsewhere than when the backfill began: it must not be written to, nor removed, meanwhile.
    #[error("the plain log ends before {found}, and ended before {begun} when the backfill began: bring that one")]
    PlainLogEnd {
        /// Where it ended.
        begun: u64,
        /// Where it ends.
        found: u64,
    },
    /// A backfill that was interrupted goes on with the term that it began with.
    #[error("the backfill began with term {begun}, not {requested}: go on with that one")]
    BackfillTerm {
        /// The term that it began with.
        begun: u64,
        /// What was asked for.
        requested: u64,
    },
    /// An entry of the plain log could not be read. Call again: the backfill goes on where it was.
    #[error("entry {index} of the plain log cannot be read: {source}")]
    PlainLog {
        /// The entry.
        index: u64,
        /// The plain log's own error.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Changes that are to come along touch what belongs to this module, or truncate the head.
    #[error("changes that come along may neither truncate the head nor touch keys that begin with `replica.`")]
    ReservedChanges,
    /// A value of this module's that does not decode: another program has written it.
    #[error("the value of `{key}` does not decode: {why}")]
    Undecodable {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

fn shown(position: Option<u64>) -> String {
    position.map_or_else(|| "nothing yet".to_owned(), |position| position.to_string())
}
