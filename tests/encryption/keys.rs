//! Which keys open what.

use std::sync::Arc;

use raft_journal::{KeyFault, KeyRing, LogStore, StableStore};

use crate::common::{Disk, append_each, entries, on_both};
use crate::{fault, key, open, ring};

/// An encrypted journal at rest under key 1, several files long.
fn written(disk: &Disk) {
    let journal = open(disk, ring(1)).unwrap();
    append_each(&journal, &entries(1..=60, 1));
    journal.set(b"vote", b"me").unwrap();
    journal.close().unwrap();
}

#[test]
fn a_key_that_does_not_fit_is_an_error_of_its_own_and_changes_nothing() {
    on_both(|disk| {
        written(disk);
        let before = disk.contents();
        let meta = || "meta".to_owned();
        assert_eq!(fault(disk.try_open()), (1, KeyFault::NoKeys, meta()));
        assert_eq!(fault(disk.options().read_only(true).open(&disk.dir)), (1, KeyFault::NoKeys, meta()));
        assert_eq!(fault(open(disk, KeyRing::new(1, key(9)))), (1, KeyFault::Wrong, meta()));
        assert_eq!(fault(open(disk, KeyRing::new(2, key(1)))), (1, KeyFault::Unknown, meta()));
        assert_eq!(disk.contents(), before);
        assert_eq!(open(disk, ring(1)).unwrap().entry(60).unwrap(), entries(60..=60, 1)[0]);
    });
}

#[test]
fn a_journal_is_encrypted_from_the_beginning_or_never() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=3, 1));
        journal.close().unwrap();
        let before = disk.contents();
        assert_eq!(fault(open(disk, ring(1))), (0, KeyFault::NotEncrypted, "meta".to_owned()));
        assert_eq!(disk.contents(), before);
        assert_eq!(disk.open().entry(3).unwrap(), entries(3..=3, 1)[0]);
    });
}

#[test]
fn key_zero_makes_no_journal() {
    let disk = Disk::simulated();
    let (id, found, _) = fault(open(&disk, KeyRing::new(0, key(1))));
    assert_eq!((id, found), (0, KeyFault::Unknown));
    assert!(open(&disk, ring(1)).is_ok());
}

#[test]
fn no_error_and_no_debug_shows_a_key() {
    let disk = Disk::simulated();
    written(&disk);
    let options = crate::options(&disk, KeyRing::new(1, key(0xab)));
    let error = options.open(&disk.dir).unwrap_err();
    let journal = open(&disk, ring(1)).unwrap();
    let shown = format!("{options:?} {error:?} {error} {journal:?} {:?}", Arc::new(ring(0xab)));
    assert!(!shown.contains("171, 171") && !shown.to_lowercase().contains("abab"), "{shown}");
}
