//! Adapters: a journal as the log store of a Raft library, one module a library and version.
//!
//! Each library has rules of its own: where a log starts, what an append below the purged position means, whether a
//! range may reach beyond the end. Those rules live here; the journal itself stays strict.
//!
//! So one word does not mean the same everywhere. `LogStore` is the journal's trait, [`crate::LogStore`], and the name of
//! three structs here, each of which implements its library's own trait and not that one: where both are at hand, write
//! `use raft_journal::LogStore as _`. And the calls differ:
//!
//! | | journal | `openraft_09::LogStore`, `openraft_010::LogStore` | `raft_rs::LogStore` | `replica::ReplicaLog` |
//! |---|---|---|---|---|
//! | appending at or below the end | `append`: `Overlap`. `replace_tail` replaces | `append` replaces | `append`, `persist` replace | `append` replaces |
//! | … at or below what was purged | `Purged` | left out: a snapshot has it | `Purged` | `Committed`, as for all that is committed |
//! | it is durable | on return; `append_pending`: when its [`Pending`](crate::Pending) says so | when openraft's callback says so | when the `Pending` says so | when the `Pending` says so |
//! | removing the tail | `truncate_tail(i)`: from `i` on | 0.9 `truncate(i)`: from `i` on. 0.10 `truncate_after(i)`: behind `i` | by appending | by appending |
//! | removing the head | `truncate_head(i)`: up to `i`, and `i` | `purge(i)`: up to `i`, and `i` | `compact(i)`: up to `i`, which stays | `truncate_head(i)`: up to `i`, and `i` |
//! | … beyond the end | empties the log | empties the log | `CompactBeyondEnd` | `Held`: not beyond the low-water mark |
//!
//! Removing by a call of its own is durable on return; by appending, when the append is.

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
