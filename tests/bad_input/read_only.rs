//! Writes where nothing may be written.

use std::io::ErrorKind;

use raft_journal::{Error, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};
use crate::{open_refused, refused};

#[test]
fn a_read_only_directory_refuses_to_open_for_writing_and_serves_readers() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=40, 1));
    disk.sim().set_read_only(true);
    let error = open_refused(&disk);
    let Error::Io { path, source, .. } = &error else { panic!("{error:?}") };
    assert!(path.starts_with(&disk.dir) && source.kind() == ErrorKind::ReadOnlyFilesystem, "{error:?}");
    let reader = disk.open_read_only();
    assert_eq!(log(&reader), entries(1..=40, 1));
    reader.close().unwrap();
    disk.sim().set_read_only(false);
    assert_eq!(log(&disk.open()), entries(1..=40, 1));
}

#[test]
fn writes_through_a_read_only_open_are_refused() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=20, 1));
        journal.set(b"vote", b"me").unwrap();
        journal.close().unwrap();
        let reader = disk.open_read_only();
        let is = |error: Error| match error {
            Error::ReadOnly { dir } => assert_eq!(dir, disk.dir),
            other => panic!("{other:?}"),
        };
        is(refused(disk, &reader, |j| j.append(&entries(21..=21, 1))));
        is(refused(disk, &reader, |j| j.append_pending(&entries(21..=21, 1))));
        is(refused(disk, &reader, |j| j.replace_tail(&entries(20..=20, 1))));
        is(refused(disk, &reader, |j| j.truncate_tail(20)));
        is(refused(disk, &reader, |j| j.truncate_head(Position::new(3, 1))));
        is(refused(disk, &reader, |j| j.set(b"vote", b"you")));
        is(refused(disk, &reader, |j| j.set_lazy(b"vote", b"you")));
        is(refused(disk, &reader, |j| j.remove(b"vote")));
        is(refused(disk, &reader, |j| j.sync()));
        assert_eq!(reader.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        let files = disk.contents();
        reader.close().unwrap();
        assert!(disk.contents() == files, "closing a reader writes nothing");
    });
}

#[test]
fn a_read_only_open_of_nothing_makes_nothing() {
    on_both(|disk| {
        let error = disk.options().read_only(true).open(&disk.dir).unwrap_err();
        assert!(matches!(&error, Error::NotAJournal { dir, .. } if *dir == disk.dir), "{error:?}");
        assert!(disk.fs.list(&disk.dir).is_err());
    });
}
