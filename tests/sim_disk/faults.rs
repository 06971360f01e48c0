//! Power and faults, where a test wants them.

use std::io::ErrorKind;
use std::path::Path;

use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use raft_journal::io::{Fs, Mode, read_up_to, write_all_at};

use crate::{FILE, create, disk_with};

#[test]
fn power_is_lost_in_place_of_the_chosen_mutation() {
    let (disk, file) = disk_with(b"");
    disk.cut_power_at(disk.mutations() + 2);
    file.write_at(b"one", 0).unwrap();
    file.len().unwrap();
    file.write_at(b"two", 3).unwrap();
    file.read_at(&mut [0; 3], 0).unwrap();
    assert!(!disk.is_power_off());
    assert!(file.sync_data().unwrap_err().to_string().contains("power is off: /journal/log"));
    assert!(disk.is_power_off());
    file.read_at(&mut [0; 3], 0).unwrap_err();
    disk.kind(Path::new("/")).unwrap_err();
    assert_eq!(disk.mutations(), 2);
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"");
    assert_eq!(disk.after_power_cut(Survival::Everything).read_file(FILE).unwrap(), b"onetwo");
}

#[test]
fn a_fault_strikes_the_operation_it_was_planned_for() {
    let (disk, file) = disk_with(b"");
    disk.fail_at(OperationKind::Write, 1, ErrorKind::Other);
    disk.fail_next(OperationKind::Rename, ErrorKind::PermissionDenied);
    file.write_at(b"a", 0).unwrap();
    assert_eq!(file.write_at(b"b", 0).unwrap_err().kind(), ErrorKind::Other);
    file.write_at(b"c", 1).unwrap();
    let error = disk.rename(Path::new(FILE), Path::new("/journal/b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(disk.read_file(FILE).unwrap(), b"ac");
    assert_eq!(disk.faults_left(), 0);
}

#[test]
fn a_failed_write_leaves_the_prefix_it_was_told_to() {
    let (disk, file) = disk_with(b"......");
    disk.inject(Fault::new(OperationKind::Write, ErrorKind::Other).at_most(2).in_path("log"));
    disk.inject(Fault::short(OperationKind::Write, 1));
    create(&disk, "/journal/short", b"xy");
    assert_eq!(disk.read_file("/journal/short").unwrap(), b"xy", "a short write is gone on with");
    let (written, _) = write_all_at(&*file, b"abcdef", 0).unwrap_err();
    assert_eq!(written, 0, "the caller cannot know of the prefix");
    assert_eq!(disk.read_file(FILE).unwrap(), b"ab....");
}

#[test]
fn short_and_interrupted_transfers_are_gone_on_with() {
    let (disk, file) = disk_with(b"");
    for on in [OperationKind::Write, OperationKind::Read] {
        disk.inject(Fault::short(on, 3));
        disk.fail_at(on, 1, ErrorKind::Interrupted);
    }
    write_all_at(&*file, b"abcdefgh", 0).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(read_up_to(&*file, &mut bytes, 8, 0).unwrap(), 8);
    assert_eq!(bytes, b"abcdefgh");
    assert_eq!((disk.counts().writes, disk.counts().reads), (3, 3));
}

#[test]
fn a_read_only_disk_can_be_read() {
    let (disk, file) = disk_with(b"bytes");
    disk.set_read_only(true);
    assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.remove(Path::new(FILE)).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(disk.open(Path::new(FILE), Mode::Write).is_err());
    let file = disk.open(Path::new(FILE), Mode::Read).unwrap();
    assert_eq!(file.read_at(&mut [0; 9], 0).unwrap(), 5);
    assert_eq!(disk.read_file(FILE).unwrap(), b"bytes");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = SimFs::new();
    disk.set_capacity(Some(3 * 4096));
    let file = create(&disk, "/a", &[1; 5000]);
    file.set_len(1 << 20).unwrap();
    assert_eq!(disk.bytes_used(), 2 * 4096, "a hole costs nothing");
    assert_eq!(file.write_at(&[2; 7000], 6000).unwrap(), 3 * 4096 - 6000);
    assert_eq!(file.write_at(&[2; 100], 3 * 4096).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[3; 3 * 4096], 0).unwrap(), 3 * 4096, "overwriting needs no space");
    let other = disk.open(Path::new("/b"), Mode::Create).unwrap();
    assert_eq!(other.allocate(1).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0);
    disk.remove(Path::new("/a")).unwrap();
    assert_eq!(other.allocate(1).unwrap_err().kind(), ErrorKind::StorageFull, "an open file keeps its blocks");
    drop(file);
    other.allocate(3 * 4096).unwrap();
    assert_eq!(other.len().unwrap(), 3 * 4096);
    assert_eq!(other.write_at(&[4; 3 * 4096], 0).unwrap(), 3 * 4096);
}
