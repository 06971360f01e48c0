//! Why a call of openraft's failed.

use super::codec::ENCODING;
use crate::entry::Position;
use crate::error::Error;

/// Why a call of openraft's failed: what it was about, and what to do.
///
/// openraft 0.9 keeps the text only. openraft 0.10 gets it inside an [`std::io::Error`], whose `get_ref` gives it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Error),
    /// A value has no encoding. Nothing was written.
    #[error("{what} cannot be encoded: {source}; its type must serialize to MessagePack")]
    Encode {
        /// The value.
        what: String,
        /// The encoder's own error.
        source: rmp_serde::encode::Error,
    },
    /// A stored value is not of the type that it is read as.
    #[error("{what} cannot be decoded: {source}; read it with the types (and openraft features) that wrote it")]
    Decode {
        /// The value.
        what: String,
        /// The decoder's own error.
        source: rmp_serde::decode::Error,
    },
    /// A stored value is in no encoding that this build knows.
    #[error("{what} has encoding {found:?}, this build reads {ENCODING}: something else wrote it, or a newer build")]
    UnknownEncoding {
        /// The value.
        what: String,
        /// Its first byte; `None` for a value without bytes.
        found: Option<u8>,
    },
    /// An entry's LogId contradicts the place where the store has it.
    #[error("entry {found} calls itself {inside}: something else than this adapter wrote the journal")]
    OtherEntry {
        /// Where the store has it.
        found: Position,
        /// What its LogId says.
        inside: Position,
    },
    /// The purged LogId is not the one that goes with the purged position.
    #[error(
        "the log is purged at {}, and its LogId is unknown (that of {} is stored): purge through this adapter only",
        place(purged),
        place(stored)
    )]
    OtherPurge {
        /// The store's purged position.
        purged: Option<Position>,
        /// What the stored LogId says.
        stored: Option<Position>,
    },
    /// A purge up to the purged index, with another leader's LogId. Nothing was written.
    #[error("the log is purged at {purged}, which contradicts {requested}: one of them is another group's")]
    OtherHistory {
        /// The purged LogId.
        purged: String,
        /// The LogId of the call.
        requested: String,
    },
    /// A term that is no number, which the store needs. Nothing was written.
    #[error("the term of {log_id} is no u64: a journal needs `RaftTerm::as_u64` to answer for every term")]
    NoTerm {
        /// The LogId.
        log_id: String,
    },
    /// The call ended without an answer: a job of the store's panicked, or its threads are gone.
    #[error("the store went away while it worked: open it again")]
    Interrupted,
}

fn place(position: &Option<Position>) -> String {
    position.map_or_else(|| "nothing".to_owned(), |position| position.to_string())
}
