//! A crash-safe journal for Raft nodes: the log, the term, the vote, and nothing else.
//!
//! A Raft server must persist three things before it answers: the entries of its log, its current term, and whom it
//! voted for. This crate keeps them in one directory of plain files, as a library: [`Journal`] implements [`LogStore`]
//! for the log and [`StableStore`] for the small state. There is no server and no other database. One journal serves
//! one Raft group.
//!
//! ```
//! use raft_journal::{Entry, Journal, LogStore, Position, StableStore};
//!
//! # fn main() -> Result<(), raft_journal::Error> {
//! # let temporary = tempfile::tempdir().expect("a temporary directory");
//! # let dir = temporary.path().join("node-1");
//! let journal = Journal::open(&dir)?; // makes it, or recovers it from whatever the last process left
//! journal.set_u64(b"term", 1)?; // durable when it returns, as all that follows
//! journal.append(&[Entry::new(1, 1, "set x = 1"), Entry::new(2, 1, "set y = 2")])?;
//! journal.replace_tail(&[Entry::new(2, 2, "set y = 3")])?; // a new leader disagrees: one write, one sync
//! journal.truncate_head(Position::new(1, 1))?; // a snapshot covers entry 1; its term stays known
//! assert_eq!(journal.entries(2..3, 1 << 20)?, [Entry::new(2, 2, "set y = 3")]);
//! assert_eq!((journal.term(1)?, journal.get_u64(b"term")?), (1, Some(1)));
//! journal.close()
//! # }
//! ```
//!
//! # What is where
//!
//! - [`Journal`] and [`OpenOptions`] open one; [`RecoveryReport`] says what opening found.
//! - [`Journal::checkpoint`] copies one that is in use; [`Journal::segments`] lists its files.
//! - [`LogStore`] and [`StableStore`] are the traits, both object-safe; [`MemoryStore`] implements them for tests of
//!   nodes.
//! - [`Pending`] is a write that is readable and not yet durable: wait for it, await it, or give it a callback.
//! - [`Stats`] counts and measures; [`Health`] says when a node had better step down. The feature `metrics` exports
//!   them, `tracing` has spans.
//! - [`Journal::verify`] checks every checksum of every file; [`RangeDigest`] holds one replica against another.
//! - [`Error`] says where something went wrong and what to do about it.
//! - [`io`] is the one door to the disk. With the feature `sim` it has a simulated disk that loses power on demand, for
//!   crash tests of the nodes that are built on this crate.
//! - With the features `openraft-09` and `openraft-010`, `adapters::openraft_09` and `adapters::openraft_010` are log
//!   stores for openraft.
//! - With the feature `raft-rs`, `adapters::raft_rs` is a storage for raft-rs 0.7; `docs::raft_rs` is its guide.
//! - With the feature `conformance`, `conformance` proves any implementation of the two traits in one call, and says of
//!   each failure which promise broke.
//! - With the feature `replica`, `adapters::replica` is the log of a replica: a committed position and a watch on it,
//!   named positions that hold the head back, and the way from a plain log to a Raft log.
//! - With the feature `encryption`, `OpenOptions::encryption` encrypts entries and small state on the disk.
//!
//! # Documents
//!
//! - [`docs::crash_safety`]: the promises, the assumptions about the disk, and how recovery decides.
//! - `docs::crash_testing` (feature `sim`): your own node on a disk that loses power, and how this crate does it.
//! - `docs::encryption` (feature `encryption`): what it hides and what not, keys and how they are changed.
//! - [`docs::format`]: every byte on the disk.
//! - `docs::openraft` (feature `openraft-09` or `openraft-010`): a node with openraft, from its first line to its worst day.
//! - [`docs::operations`]: sizing, options, what each error and each line of the report asks for, platforms.
//! - `docs::raft_rs` (feature `raft-rs`): the same for raft-rs.
//! - [`docs::tool`]: the program `raft-journal` (feature `cli`).
//! - [`docs::your_own_engine`]: a Raft engine on a journal: what must be durable when, what to do with what recovery finds.
//! - [`docs::performance`]: what calls cost beside the bare disk, how that is measured, and what was learnt.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(any(feature = "openraft-09", feature = "openraft-010", feature = "raft-rs", feature = "replica"))]
pub mod adapters;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contained;
mod digest;
mod entry;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod histogram;
pub mod io;
mod journal;
#[cfg(feature = "encryption")]
mod keys;
#[cfg(not(feature = "encryption"))]
#[path = "keys/absent.rs"]
mod keys;
mod log_store;
mod memory;
mod meta;
#[cfg(mutate)]
#[doc(hidden)]
pub mod mutate;
mod pending;
mod segment;
mod stable_store;
mod stats;
mod sync;
mod tally;

pub use digest::RangeDigest;
pub use entry::{Entry, Position};
pub use error::{Damage, DamageKind, DamagedRange, Error, JournalId, KeyFault, RepairFault, Result, TargetFault};
pub use histogram::Histogram;
pub use journal::{
    Checkpoint, Compression, Journal, OnDamage, OpenOptions, RecoveryReport, SegmentInfo, SegmentRole, Suspect,
    TornTail,
};
pub use journal::{Fault, FaultCause, FaultPart, LastVerify, VerifyOptions, VerifyProgress, VerifyReport};
#[cfg(feature = "encryption")]
pub use keys::{KEY_BYTES, Key, KeyProvider, KeyRing};
pub use log_store::{LogState, LogStore};
pub use memory::MemoryStore;
pub use pending::{Durability, DurableCallback, Pending};
pub use stable_store::{Changes, KEY_BYTES_MAX, StableStore, VALUE_BYTES_MAX};
pub use stats::{Health, LastError, Stats};

/// The format, the promises and the daily work, as documents.
pub mod docs {
    #[doc = include_str!("docs/format.md")]
    pub mod format {}
    #[doc = include_str!("docs/crash_safety.md")]
    pub mod crash_safety {}
    #[cfg(feature = "sim")]
    #[doc = include_str!("docs/crash_testing.md")]
    pub mod crash_testing {}
    // For either version. Its examples are of both, and are compiled where both are.
    #[cfg(any(
        all(feature = "openraft-09", feature = "openraft-010"),
        all(not(doctest), any(feature = "openraft-09", feature = "openraft-010"))
    ))]
    #[doc = include_str!("docs/openraft.md")]
    pub mod openraft {}
    #[cfg(feature = "encryption")]
    #[doc = include_str!("docs/encryption.md")]
    pub mod encryption {}
    #[doc = include_str!("docs/operations.md")]
    pub mod operations {}
    #[doc = include_str!("docs/performance.md")]
    pub mod performance {}
    #[cfg(feature = "raft-rs")]
    #[doc = include_str!("docs/raft_rs.md")]
    pub mod raft_rs {}
    #[doc = include_str!("docs/tool.md")]
    pub mod tool {}
    #[doc = include_str!("docs/your_own_engine.md")]
    pub mod your_own_engine {}
}

/// The constants of the format, for the test that holds the format's page against them.
#[doc(hidden)]
pub mod layout {
    pub use crate::meta::format as meta;
    pub use crate::segment::format as segment;
}

/// The README's example is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
