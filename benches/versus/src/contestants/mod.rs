//! Those that take part, a file each.

mod floor;
mod journal;
pub mod watch;

use crate::contestant::Contestant;

/// All of them, the floor first.
pub const ALL: &[&dyn Contestant] = &[&floor::Floor, &journal::RaftJournal];

/// The one with this name.
pub fn named(name: &str) -> Option<&'static dyn Contestant> {
    ALL.iter().find(|contestant| contestant.name() == name).copied()
}
