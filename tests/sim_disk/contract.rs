//! One contract, two disks.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use raft_journal::io::sim::SimFs;
use raft_journal::io::{Fs, Mode, OsFs, PathKind, read_up_to, write_all_at};

/// Runs a test in an empty directory of the real disk and of the simulated one.
fn on_both(test: impl Fn(&dyn Fs, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    test(&OsFs, dir.path());
    let disk = SimFs::new();
    disk.create_dir(Path::new("/dir")).unwrap();
    test(&disk, Path::new("/dir"));
}

fn read(disk: &dyn Fs, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Mode::Read).unwrap();
    let mut bytes = Vec::new();
    read_up_to(&*file, &mut bytes, 1 << 20, 0).unwrap();
    bytes
}

#[test]
fn written_bytes_are_read_back_on_both_disks() {
    on_both(|disk, dir| {
        let path = dir.join("file");
        let file = disk.open(&path, Mode::Create).unwrap();
        assert!(file.is_empty().unwrap());
        write_all_at(&*file, b"hello", 10).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(dir).unwrap();
        assert_eq!(read(disk, &path), b"\0\0\0\0\0\0\0\0\0\0hello");
        file.set_len(12).unwrap();
        file.set_len(14).unwrap();
        assert_eq!(read(disk, &path), b"\0\0\0\0\0\0\0\0\0\0he\0\0");
        file.allocate(20).unwrap();
        file.drop_cache(0..u64::MAX).unwrap();
        assert!(file.len().unwrap() >= 14);
        assert!(disk.open(&path, Mode::Read).unwrap().write_at(b"x", 0).is_err());
        assert_eq!(disk.open(&path, Mode::Write).unwrap().write_at(b"", 0).unwrap(), 0);
        disk.open(&path, Mode::Create).unwrap();
        assert_eq!(read(disk, &path), b"");
    });
}

#[test]
fn a_read_stops_at_the_end_on_both_disks() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("file"), Mode::Create).unwrap();
        write_all_at(&*file, &[7; 100], 0).unwrap();
        assert_eq!(file.read_at(&mut [0; 50], 80).unwrap(), 20);
        assert_eq!(file.read_at(&mut [0; 50], 100).unwrap(), 0);
        assert_eq!(file.read_at(&mut [0; 50], 1000).unwrap(), 0);
        for capacity in [0, 10, 60, 1000] {
            let mut bytes = Vec::with_capacity(capacity);
            bytes.extend(b"ab");
            assert_eq!(file.read_to(&mut bytes, 40, 0).unwrap(), 40, "never more than asked for");
            assert_eq!(file.read_to(&mut bytes, 50, 80).unwrap(), 20);
            assert_eq!(file.read_to(&mut bytes, 50, 100).unwrap(), 0);
            assert_eq!(file.read_to(&mut bytes, 0, 0).unwrap(), 0);
            assert_eq!((bytes.len(), &bytes[..2], &bytes[2..]), (62, &b"ab"[..], &[7; 60][..]));
        }
    });
}

#[test]
fn names_follow_renames_and_removals_on_both_disks() {
    on_both(|disk, dir| {
        let [a, b, sub] = ["a", "b", "sub"].map(|name| dir.join(name));
        write_all_at(&*disk.open(&a, Mode::Create).unwrap(), b"a", 0).unwrap();
        write_all_at(&*disk.open(&b, Mode::Create).unwrap(), b"b", 0).unwrap();
        disk.create_dir(&sub).unwrap();
        disk.create_dir(&sub).unwrap();
        let open = disk.open(&b, Mode::Read).unwrap();
        disk.rename(&a, &b).unwrap();
        assert_eq!(read(disk, &b), b"a");
        assert_eq!(open.read_at(&mut [0; 1], 0).unwrap(), 1);
        let mut names = disk.list(dir).unwrap();
        names.sort();
        assert_eq!(names, ["b", "sub"]);
        let kinds: Vec<_> = [&a, &b, &sub].map(|path| disk.kind(path).unwrap()).into();
        assert_eq!(kinds, [PathKind::Missing, PathKind::File, PathKind::Directory]);
        disk.remove(&b).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["sub"]);
    });
}

#[test]
fn what_is_missing_is_not_found_on_both_disks() {
    on_both(|disk, dir| {
        let path: PathBuf = dir.join("none");
        let inside = path.join("file");
        let errors = [
            disk.open(&path, Mode::Read).unwrap_err(),
            disk.open(&path, Mode::Write).unwrap_err(),
            disk.open(&inside, Mode::Create).unwrap_err(),
            disk.create_dir(&inside).unwrap_err(),
            disk.list(&path).unwrap_err(),
            disk.rename(&path, &dir.join("other")).unwrap_err(),
            disk.remove(&path).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::NotFound), "{errors:?}");
    });
}

#[test]
fn a_lock_has_one_holder_on_both_disks() {
    on_both(|disk, dir| {
        let path = dir.join("LOCK");
        write_all_at(&*disk.open(&path, Mode::Create).unwrap(), b"kept", 0).unwrap();
        let held = disk.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(disk.lock(&path).unwrap().is_none());
        drop(held);
        assert!(disk.lock(&path).unwrap().is_some());
        assert_eq!(read(disk, &path), b"kept");
        assert!(disk.lock(&dir.join("LOCK2")).unwrap().is_some());
        assert_eq!(disk.kind(&dir.join("LOCK2")).unwrap(), PathKind::File);
    });
}
