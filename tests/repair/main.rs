//! Entries that damage cost are put back from a peer, through the public door.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pass_on.rs"]
mod pass_on;

mod beside;
mod cuts;
mod heal;
mod refuse;
