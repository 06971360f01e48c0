//! A disk without room.

use std::io::ErrorKind;

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Error, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, names_file};

#[test]
fn a_full_disk_in_the_middle_of_an_append_leaves_nothing_of_it() {
    for written in [0, 1, 71, 72, 100, 350] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).at_most(written).in_path(".seg"));
        let state = journal.state();
        let error = journal.append(&entries(4..=5, 1)).unwrap_err();
        let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*path, disk.path(&disk.segments()[0]));
        assert!(error.is_no_space() && names_file(&error, path) && error.to_string().contains("truncate the head"));
        assert_eq!(journal.state(), state);
        assert!(matches!(journal.entry(4), Err(Error::AfterLast { .. })));
        for crashed in [disk.killed(), disk.after_power_cut(Survival::Everything)] {
            assert_eq!(log(&crashed.open()), entries(1..=3, 1), "{written}");
        }
        journal.append(&entries(4..=4, 2)).unwrap();
        let cut = disk.after_power_cut(Survival::Nothing);
        assert_eq!(log(&cut.open()), [entries(1..=3, 1), entries(4..=4, 2)].concat(), "{written}");
    }
}

#[test]
fn a_full_disk_at_a_rotation_refuses_the_append_until_there_is_room() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    disk.sim().set_capacity(Some(disk.sim().bytes_used()));
    let mut next = 61;
    let error = loop {
        match journal.append(&entries(next..=next, 1)) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(next < 120, "the disk never filled");
    let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
    assert!(path.starts_with(&disk.dir) && names_file(&error, path), "{error}");
    assert_eq!(journal.state().last, Some(Position::new(next - 1, 1)));
    assert!(matches!(journal.append(&entries(next..=next, 1)), Err(Error::NoSpace { .. })), "and again");
    // Small state and reads need no room either.
    journal.set_u64(b"term", 3).unwrap();
    assert_eq!(log(&journal), entries(1..=next - 1, 1));
    assert_eq!(log(&disk.killed().open()), entries(1..=next - 1, 1));

    journal.truncate_head(Position::new(50, 1)).unwrap();
    append_each(&journal, &entries(next..=next + 10, 1));
    assert_eq!(log(&journal), entries(51..=next + 10, 1));
    let cut = disk.after_power_cut(Survival::Nothing);
    let journal = cut.open();
    assert_eq!((log(&journal), journal.get_u64(b"term").unwrap()), (entries(51..=next + 10, 1), Some(3)));
}

#[test]
fn an_existing_journal_opens_on_a_full_disk() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.close().unwrap();
    for disk in [disk.killed(), disk.after_power_cut(Survival::Nothing)] {
        disk.sim().set_capacity(Some(0));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=60, 1));
        journal.truncate_head(Position::new(50, 1)).unwrap();
        journal.close().unwrap();
        assert_eq!(log(&disk.open()), entries(51..=60, 1));
    }
}

#[test]
fn a_fresh_journal_on_a_full_disk_is_refused_and_can_be_made_later() {
    for capacity in [0, 4096, 8 << 10, 16 << 10, 20 << 10] {
        let disk = Disk::simulated();
        disk.sim().set_capacity(Some(capacity));
        let error = disk.try_open().unwrap_err();
        assert!(matches!(&error, Error::NoSpace { path, .. } if path.starts_with(&disk.dir)), "{capacity}: {error:?}");
        disk.sim().set_capacity(None);
        append_each(&disk.open(), &entries(1..=3, 1));
        assert_eq!(log(&disk.open()), entries(1..=3, 1));
    }
}
