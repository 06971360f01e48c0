//! Entries that damage cost are put back from a peer, through the public door.

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod cuts;
mod heal;
mod refuse;
