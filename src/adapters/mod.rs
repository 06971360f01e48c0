//! Adapters: a journal as the log store of a Raft library, one module a library and version.
//!
//! Each library has rules of its own: where a log starts, what an append below the purged position means, whether a
//! range may reach beyond the end. Those rules live here; the journal itself stays strict.

#[cfg(any(feature = "openraft-09", feature = "openraft-010"))]
mod openraft;
#[cfg(feature = "openraft-010")]
pub mod openraft_010;
#[cfg(feature = "openraft-09")]
pub mod openraft_09;
mod owner;
#[cfg(feature = "raft-rs")]
pub mod raft_rs;
#[cfg(feature = "replica")]
pub mod replica;

pub use self::owner::OwnerError;
