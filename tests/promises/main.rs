//! The eight promises of the design, and what a `Pending` promises.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pass_on.rs"]
mod pass_on;

mod caches;
mod closing;
mod commits;
mod damage;
mod durable;
mod failed_syncs;
mod files;
mod handles;
mod history;
mod pending;
mod readers;
mod snapshots;
mod stale;
mod torn;
mod votes;
