//! Those that take part, a file each.

mod floor;
mod journal;
mod okaywal;
mod raft_engine;
mod raft_engine_entry;
mod raft_log;
mod redb;
pub mod watch;

use crate::contestant::Contestant;

/// All of them, the floor first.
pub const ALL: &[&dyn Contestant] = &[
    &floor::Floor,
    &journal::RaftJournal,
    #[cfg(feature = "encryption")]
    &journal::Encrypted,
    &raft_engine::RaftEngine,
    &raft_log::DatabendRaftLog,
    &okaywal::OkayWal,
    &redb::Redb,
];

/// The one with this name.
pub fn named(name: &str) -> Option<&'static dyn Contestant> {
    ALL.iter().find(|contestant| contestant.name() == name).copied()
}
