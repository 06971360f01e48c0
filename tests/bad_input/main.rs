//! Bad input gives a typed error that says where and what to do; nothing is written, and nothing is lost.

/// As `refused`, and what the error says.
macro_rules! assert_refused {
    ($disk:expr, $journal:expr, $call:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = crate::refused($disk, $journal, $call);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        error.to_string()
    }};
}

#[path = "../common/mod.rs"]
mod common;

mod appends;
mod directories;
mod failing_disk;
mod files;
mod forged;
mod full_disk;
mod handles;
mod read_only;
mod reads;
mod stable;
mod truncations;

use common::{Disk, log};
use raft_journal::io::sim::SimFs;
use raft_journal::{Error, Journal, LogStore, Result};

/// The error of a call that must change nothing: neither the log, nor a byte of any file, nor by an operation that
/// could have.
fn refused<T: std::fmt::Debug>(disk: &Disk, journal: &Journal, call: impl FnOnce(&Journal) -> Result<T>) -> Error {
    let (files, state, entries) = (disk.contents(), journal.state(), log(journal));
    let mutations = disk.sim.as_ref().map(SimFs::mutations);
    let error = call(journal).unwrap_err();
    assert_eq!(disk.sim.as_ref().map(SimFs::mutations), mutations, "written in spite of: {error}");
    assert!(disk.contents() == files, "files changed in spite of: {error}");
    assert_eq!((journal.state(), log(journal)), (state, entries), "the log changed in spite of: {error}");
    error
}

/// The error of an open that must change nothing.
fn open_refused(disk: &Disk) -> Error {
    let files = disk.contents();
    let error = disk.try_open().unwrap_err();
    let mut after = disk.contents();
    // The lock file is no part of the journal.
    after.retain(|name, bytes| name != "LOCK" || !bytes.is_empty() || files.contains_key(name));
    assert!(after == files, "files changed in spite of: {error}");
    error
}
