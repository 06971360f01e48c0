//! Damage at rest.

use std::io::ErrorKind;

use raft_journal::io::sim::Survival;

use crate::{FILE, disk_with, names};

#[test]
fn damage_at_rest_is_on_the_disk_and_in_the_cache() {
    let (disk, _file) = disk_with(b"abcdef");
    disk.corrupt(FILE, 2, b"XY").unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), b"abXYef");
    assert_eq!(disk.read_synced(FILE).unwrap(), b"abXYef");
    assert_eq!(disk.corrupt(FILE, 5, b"XY").unwrap_err().kind(), ErrorKind::InvalidInput);
    disk.truncate_file(FILE, 3).unwrap();
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"abX");
    disk.remove_file_now(FILE).unwrap();
    assert_eq!(names(&disk.after_power_cut(Survival::Nothing)), [""; 0]);
}
