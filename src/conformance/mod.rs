//! Proves a store: one call runs dozens of cases, with tens of thousands of checks, on any [`LogStore`] that is a
//! [`StableStore`] too, and says of each failure which [`Promise`] broke.
//!
//! | the store | the call | what runs |
//! |---|---|---|
//! | lives in memory | [`in_memory`] | contract, bad input, concurrency |
//! | lives in a directory | [`in_directory`] | these, and reopen |
//! | reaches its files through [`Fs`] | [`on_any_disk`] | all of it on a simulated disk: also killed at every call, and without power at every operation |
//!
//! ```
//! use raft_journal::{MemoryStore, conformance};
//!
//! let report = conformance::in_memory(|| Ok(MemoryStore::new()));
//! assert!(report.passed(), "{report}");
//! ```
//!
//! A test of a store that takes an [`Fs`]:
//!
//! ```no_run
//! # use raft_journal::{OpenOptions, conformance};
//! // Small files, so that a short history has many of them.
//! let report = conformance::on_any_disk(|disk, dir| OpenOptions::new().segment_bytes(8 << 10).file_system(disk).open(dir));
//! println!("{report}");
//! assert!(report.passed());
//! ```
//!
//! # What is asked of a store
//!
//! - What the two traits say, errors and their fields included.
//! - Dropping it closes it: what was written lazily is on the disk then, and it can be opened again at once.
//! - It opens what is there, or makes a new store where there is nothing: the directory is missing, its parent exists.
//! - Opening, or a call, that never answers is not noticed: the suite waits with it. A panic is a failure of its case.
//!
//! The suite draws its histories from seeds of its own, so a run finds what the run before found.

mod bad_input;
mod calls;
mod case;
mod concurrency;
mod contract;
mod histories;
mod mem_storage;
mod power_cut;
mod reopen;
mod report;

use std::path::Path;
use std::sync::Arc;

pub use report::{Failure, Group, Promise, Report, Tally};

use self::case::{Cases, Site, Store, run};
use crate::error::Result;
use crate::io::Fs;
use crate::io::sim::SimFs;
use crate::log_store::LogStore;
use crate::stable_store::StableStore;

/// The cases that need nothing but an open store.
fn open_cases<S: Store>() -> Vec<Cases<S>> {
    vec![contract::cases(), mem_storage::cases(), bad_input::cases()]
}

/// Where a case's store lives.
fn place(dir: &Path, number: u64, is_real: bool) -> Site {
    Site { dir: dir.join(number.to_string()), disk: SimFs::new(), is_real }
}

/// Runs the suite on a store that is gone when it is dropped: `new` makes an empty one.
pub fn in_memory<S: LogStore + StableStore + 'static>(new: impl Fn() -> Result<S>) -> Report {
    let mut groups = open_cases();
    groups.push(concurrency::cases());
    run(groups, &|_| new(), |number| place(Path::new("/"), number, false))
}

/// Runs the suite on a store that lives in a directory of the operating system's: `open` is given one below `dir`, which
/// exists, that holds what the store left there, or is not there yet.
pub fn in_directory<S: LogStore + StableStore + 'static>(dir: &Path, open: impl Fn(&Path) -> Result<S>) -> Report {
    let mut groups = open_cases();
    groups.extend([reopen::cases(), concurrency::cases(), concurrency::reopened_cases()]);
    run(groups, &|site| open(&site.dir), |number| place(dir, number, true))
}

/// Runs the whole suite on a store that reaches its files through [`Fs`] alone, on simulated disks: `open` is given a disk
/// and a directory on it that holds what the store left there, or is not there yet.
pub fn on_any_disk<S: LogStore + StableStore + 'static>(open: impl Fn(Arc<dyn Fs>, &Path) -> Result<S>) -> Report {
    let mut groups = open_cases();
    groups.extend([reopen::cases(), reopen::killed_cases(), power_cut::cases()]);
    groups.extend([concurrency::cases(), concurrency::reopened_cases()]);
    let open = |site: &Site| open(Arc::new(site.disk.clone()), &site.dir);
    run(groups, &open, |number| place(Path::new("/"), number, false))
}
