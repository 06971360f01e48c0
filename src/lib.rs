//! raft-journal
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod codec;
mod entry;
mod error;
pub mod io;
mod journal;
mod log_store;
mod memory;
mod meta;
mod pending;
mod segment;
mod stable_store;
mod sync;

pub use entry::{Entry, Position};
pub use error::{Damage, DamageKind, DamagedRange, Error, JournalId, Result};
pub use journal::{Compression, Journal, OnDamage, OpenOptions, RecoveryReport, Suspect, TornTail};
pub use log_store::{LogState, LogStore};
pub use memory::MemoryStore;
pub use pending::{Durability, DurableCallback, Pending};
pub use stable_store::{Changes, KEY_BYTES_MAX, StableStore, VALUE_BYTES_MAX};
