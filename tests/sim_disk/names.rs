//! What power loss leaves of names.

use std::io::ErrorKind;
use std::path::Path;

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::io::{Fs, PathKind, read_up_to};

use crate::{FILE, count_states, create, disk_with, names};

#[test]
fn unsynced_names_are_lost_and_synced_ones_stay() {
    let disk = SimFs::new();
    disk.create_dir(Path::new("/d")).unwrap();
    create(&disk, "/d/a", b"a").sync_data().unwrap();
    assert_eq!(names(&disk.after_power_cut(Survival::Nothing)), [""; 0]);
    disk.sync_dir(Path::new("/d")).unwrap();
    // The directory's own name is in its parent, which no one has synced.
    assert_eq!(names(&disk.after_power_cut(Survival::Nothing)), [""; 0]);
    disk.sync_dir(Path::new("/")).unwrap();
    create(&disk, "/d/b", b"b").sync_data().unwrap();
    let left = disk.after_power_cut(Survival::Nothing);
    assert_eq!(names(&left), ["/d/a"]);
    assert_eq!(left.read_file("/d/a").unwrap(), b"a");
    assert_eq!(names(&disk.after_power_cut(Survival::Everything)), ["/d/a", "/d/b"]);
}

#[test]
fn a_removed_name_may_come_back_until_its_directory_is_synced() {
    let (disk, file) = disk_with(b"bytes");
    drop(file);
    disk.remove(Path::new(FILE)).unwrap();
    assert_eq!(disk.kind(Path::new(FILE)).unwrap(), PathKind::Missing);
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"bytes");
    disk.sync_dir(Path::new("/journal")).unwrap();
    assert_eq!(names(&disk.after_power_cut(Survival::Nothing)), [""; 0]);
}

#[test]
fn a_rename_is_atomic() {
    let (disk, _file) = disk_with(b"old");
    create(&disk, "/journal/new", b"new").sync_data().unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    disk.rename(Path::new("/journal/new"), Path::new(FILE)).unwrap();
    create(&disk, "/journal/new", b"next").sync_data().unwrap();
    let state = |left: &SimFs| (left.read_file(FILE).unwrap(), left.read_file("/journal/new").ok());
    let before = |left: &SimFs| state(left) == (b"old".to_vec(), Some(b"new".to_vec()));
    let after = |left: &SimFs| state(left) == (b"new".to_vec(), None);
    let next = |left: &SimFs| state(left) == (b"new".to_vec(), Some(b"next".to_vec()));
    let counts = [count_states(&disk, 200, before), count_states(&disk, 200, after), count_states(&disk, 200, next)];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 200, "{counts:?}");
}

#[test]
fn names_survive_independently_of_each_other_and_of_bytes() {
    let disk = SimFs::new();
    create(&disk, "/a", b"a");
    create(&disk, "/b", b"b").sync_data().unwrap();
    let has = |left: &SimFs, path: &str| left.read_file(path).is_ok();
    assert!(count_states(&disk, 200, |left| has(left, "/a") && !has(left, "/b")) > 0);
    assert!(count_states(&disk, 200, |left| !has(left, "/a") && has(left, "/b")) > 0);
    assert!(count_states(&disk, 200, |left| left.read_file("/a").is_ok_and(|bytes| bytes.is_empty())) > 0);
    assert_eq!(count_states(&disk, 200, |left| left.read_file("/b").is_ok_and(|bytes| bytes != b"b")), 0);
}

#[test]
fn an_open_file_outlives_its_name_but_not_the_crash() {
    let (disk, file) = disk_with(b"bytes");
    disk.remove(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(read_up_to(&*file, &mut bytes, 10, 0).unwrap(), 5);
    create(&disk, FILE, b"other");
    assert_eq!(file.len().unwrap(), 5);
    assert_eq!(disk.after_process_kill().read_file(FILE).unwrap(), b"other");
}

#[test]
fn a_file_with_two_names_is_one_file() {
    let disk = SimFs::new();
    let (one, other) = (Path::new("/a/one"), Path::new("/b/other"));
    disk.create_dir(Path::new("/a")).unwrap();
    disk.create_dir(Path::new("/b")).unwrap();
    let file = create(&disk, "/a/one", b"bytes");
    file.sync_data().unwrap();
    disk.link(one, other).unwrap();
    assert_eq!(disk.links(one).unwrap(), 2);
    assert_eq!(disk.link(one, other).unwrap_err().kind(), ErrorKind::AlreadyExists);
    ["/", "/a", "/b"].iter().for_each(|dir| disk.sync_dir(Path::new(dir)).unwrap());
    file.write_at(b"BY", 0).unwrap();
    assert_eq!(disk.read_file(other).unwrap(), b"BYtes");
    // What power loss leaves of an unsynced write, it leaves under both names.
    for seed in 0..50 {
        let left = disk.after_power_cut(Survival::Random(seed));
        assert_eq!(left.read_file(one).unwrap(), left.read_file(other).unwrap());
        assert_eq!(left.links(one).unwrap(), 2);
    }
    disk.remove(one).unwrap();
    assert_eq!((disk.links(other).unwrap(), disk.read_file(other).unwrap().len()), (1, 5));
    disk.remove(other).unwrap();
    assert_eq!(disk.links(other).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_second_name_may_be_lost_until_its_directory_is_synced() {
    let (disk, file) = disk_with(b"bytes");
    drop(file);
    disk.link(Path::new(FILE), Path::new("/other")).unwrap();
    let left = disk.after_power_cut(Survival::Nothing);
    assert_eq!((names(&left), left.links(Path::new(FILE)).unwrap()), (vec![FILE.to_owned()], 1));
    disk.sync_dir(Path::new("/")).unwrap();
    disk.remove(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    let left = disk.after_power_cut(Survival::Nothing);
    assert_eq!((names(&left), left.read_file("/other").unwrap()), (vec!["/other".to_owned()], b"bytes".to_vec()));
}
