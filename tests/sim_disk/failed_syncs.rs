//! What a failed sync and a killed process leave.

use std::io::ErrorKind;
use std::path::Path;

use raft_journal::io::sim::{OperationKind, Survival};
use raft_journal::io::{Fs, write_all_at};

use crate::{FILE, disk_with};

#[test]
fn bytes_of_a_failed_sync_are_lost_though_the_next_sync_succeeds() {
    let (disk, file) = disk_with(&[1; 10_000]);
    write_all_at(&*file, &[2; 10_000], 0).unwrap();
    disk.fail_next(OperationKind::Sync, ErrorKind::Other);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), [2; 10_000], "the page cache hides the loss");
    assert_eq!(disk.after_power_cut(Survival::Everything).read_file(FILE).unwrap(), [1; 10_000]);
    assert!(file.drop_cache(5000..u64::MAX).unwrap());
    let shown = disk.read_file(FILE).unwrap();
    assert_eq!(shown[..4096], [2; 4096], "a page before the offset stays");
    assert_eq!(shown[4096..], [1; 10_000 - 4096]);
}

#[test]
fn dropping_the_cache_keeps_dirty_pages() {
    let (disk, file) = disk_with(&[1; 8192]);
    write_all_at(&*file, &[2; 8192], 0).unwrap();
    disk.fail_next(OperationKind::Sync, ErrorKind::Other);
    file.sync_data().unwrap_err();
    write_all_at(&*file, &[3; 10], 0).unwrap();
    file.drop_cache(0..u64::MAX).unwrap();
    let shown = disk.read_file(FILE).unwrap();
    assert_eq!((shown[0], shown[10], shown[4096]), (3, 2, 1));
}

#[test]
fn a_failed_sync_may_have_written_some_of_it() {
    let (disk, file) = disk_with(&[1; 4096]);
    disk.set_failed_syncs_leave(Survival::OldOrNew(4));
    let mut partly = 0;
    for byte in 2..40 {
        write_all_at(&*file, &[byte; 4096], 0).unwrap();
        disk.fail_next(OperationKind::Sync, ErrorKind::Other);
        file.sync_data().unwrap_err();
        let synced = disk.read_synced(FILE).unwrap();
        partly += usize::from(synced.contains(&byte) && synced.iter().any(|other| *other != byte));
        let left = disk.after_power_cut(Survival::Random(1)).read_file(FILE).unwrap();
        assert_eq!(left, synced, "what the failure left is decided once");
    }
    assert!(partly > 5, "{partly}");
}

#[test]
fn a_process_kill_loses_nothing_and_syncs_nothing() {
    let (disk, file) = disk_with(b"old");
    write_all_at(&*file, b"new", 0).unwrap();
    let lock = disk.lock(Path::new("/journal/LOCK")).unwrap();
    assert!(lock.is_some());
    let left = disk.after_process_kill();
    assert_eq!(left.read_file(FILE).unwrap(), b"new");
    assert!(left.lock(Path::new("/journal/LOCK")).unwrap().is_some());
    assert_eq!(left.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"old");
}
