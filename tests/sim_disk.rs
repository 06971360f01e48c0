//! The simulated disk loses what it may lose, and nothing else; and keeps the contract that the real one keeps.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_journal::io::sim::{Fault, OperationKind, SECTOR_BYTES, SimFs, Survival};
use raft_journal::io::{File, Fs, Lane, Mode, OsFs, PathKind, read_up_to, write_all_at};

const FILE: &str = "/journal/log";

/// A disk with one durable file.
fn disk_with(bytes: &[u8]) -> (SimFs, Arc<dyn File>) {
    let disk = SimFs::new();
    disk.write_file(FILE, bytes).unwrap();
    let file = disk.open(Path::new(FILE), Mode::Write).unwrap();
    (disk, file)
}

fn create(disk: &dyn Fs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.open(Path::new(path), Mode::Create).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn names(disk: &SimFs) -> Vec<String> {
    disk.paths().iter().map(|path| path.display().to_string()).collect()
}

/// How many of `seeds` states satisfy `test`.
fn count_states(disk: &SimFs, seeds: u64, test: impl Fn(&SimFs) -> bool) -> usize {
    (0..seeds).filter(|seed| test(&disk.after_power_cut(Survival::Random(*seed)))).count()
}

// Bytes

#[test]
fn unsynced_bytes_are_lost_and_synced_ones_stay() {
    let (disk, file) = disk_with(b"");
    write_all_at(&*file, b"synced", 0).unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, b"unsynced", 6).unwrap();
    write_all_at(&*file, b"X", 0).unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), b"Xyncedunsynced");
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"synced");
    assert_eq!(disk.after_power_cut(Survival::Everything).read_file(FILE).unwrap(), b"Xyncedunsynced");
    assert_eq!(disk.read_file(FILE).unwrap(), b"Xyncedunsynced", "the crashed disk itself must not change");
}

#[test]
fn synced_bytes_survive_every_cut() {
    let (disk, file) = disk_with(b"");
    let bytes: Vec<u8> = (0..20_000u32).map(|byte| byte as u8).collect();
    write_all_at(&*file, &bytes, 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(count_states(&disk, 200, |left| left.read_file(FILE).unwrap() == bytes), 200);
}

#[test]
fn damage_stays_inside_the_bytes_written() {
    let old = vec![0xaa; 8192];
    for (offset, len) in [(0, 1), (100, 300), (500, 20), (511, 2), (512, 512), (700, 3000), (4090, 4102)] {
        let (disk, file) = disk_with(&old);
        write_all_at(&*file, &vec![0x55; len], offset as u64).unwrap();
        for seed in 0..300 {
            let left = disk.after_power_cut(Survival::Random(seed)).read_file(FILE).unwrap();
            assert_eq!(left.len(), old.len());
            assert_eq!(left[..offset], old[..offset], "seed {seed}");
            assert_eq!(left[offset + len..], old[offset + len..], "seed {seed}");
        }
    }
}

#[test]
fn every_fate_of_a_sector_occurs_alone() {
    let (disk, file) = disk_with(&[1; 1024]);
    write_all_at(&*file, &[2; 512], 0).unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, &[3; 512], 0).unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, &[4; 512], 0).unwrap();
    let sector_is = |byte: u8| count_states(&disk, 500, |left| left.read_file(FILE).unwrap()[..512] == [byte; 512]);
    assert!(sector_is(4) > 0, "new");
    assert!(sector_is(3) > 0, "old");
    assert!(sector_is(0) > 0, "zero");
    assert!(sector_is(2) > 0, "stale");
    let whole = [0, 2, 3, 4].map(sector_is).iter().sum::<usize>();
    assert!(whole < 500, "garbage");
    assert_eq!(sector_is(5), 0);
}

#[test]
fn old_or_new_leaves_each_sector_of_an_unaligned_write_whole() {
    let (disk, file) = disk_with(&[1; 4096]);
    write_all_at(&*file, &[2; 3000], 300).unwrap();
    let mut mixed = 0;
    for seed in 0..200 {
        let left = disk.after_power_cut(Survival::OldOrNew(seed)).read_file(FILE).unwrap();
        let mut sectors = (0..3300).step_by(SECTOR_BYTES).map(|start| start.max(300)..(start + SECTOR_BYTES).min(3300));
        assert!(sectors.all(|sector| left[sector.clone()].iter().all(|byte| *byte == left[sector.start])), "{seed}");
        assert!(left.iter().all(|byte| [1, 2].contains(byte)), "{seed}");
        mixed += usize::from(left[300..3300].contains(&1) && left.contains(&2));
    }
    assert!(mixed > 50, "{mixed}");
}

#[test]
fn stale_bytes_never_come_from_the_future() {
    let (disk, file) = disk_with(&[1; 512]);
    write_all_at(&*file, &[2; 512], 0).unwrap();
    file.sync_data().unwrap();
    let crashed = disk.snapshot();
    write_all_at(&*file, &[9; 512], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(count_states(&crashed, 200, |left| left.read_file(FILE).unwrap() == [2; 512]), 200);
    assert_eq!(disk.read_file(FILE).unwrap(), [9; 512]);
}

#[test]
fn a_size_survives_or_not_independently_of_bytes() {
    let (disk, file) = disk_with(&[1; 512]);
    write_all_at(&*file, &[2; 512], 512).unwrap();
    let grown = |left: &SimFs| left.read_file(FILE).unwrap().len() == 1024;
    let empty = |left: &SimFs| left.read_file(FILE).unwrap()[512..].iter().all(|byte| *byte == 0);
    assert!(count_states(&disk, 200, grown) > 0);
    assert!(count_states(&disk, 200, |left| !grown(left)) > 0);
    assert!(count_states(&disk, 200, |left| grown(left) && empty(left)) > 0);
    assert!(count_states(&disk, 200, |left| grown(left) && !empty(left)) > 0);
}

#[test]
fn an_unsynced_cut_may_come_back_whole() {
    let (disk, file) = disk_with(&[7; 5000]);
    file.set_len(100).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(disk.read_file(FILE).unwrap()[100..], [0; 4900]);
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), [7; 5000]);
    file.sync_data().unwrap();
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap()[100..], [0; 4900]);
}

// Names

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

// Failing syncs

#[test]
fn bytes_of_a_failed_sync_are_lost_though_the_next_sync_succeeds() {
    let (disk, file) = disk_with(&[1; 10_000]);
    write_all_at(&*file, &[2; 10_000], 0).unwrap();
    disk.fail_next(OperationKind::Sync, ErrorKind::Other);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), [2; 10_000], "the page cache hides the loss");
    assert_eq!(disk.after_power_cut(Survival::Everything).read_file(FILE).unwrap(), [1; 10_000]);
    assert!(file.drop_cache(5000).unwrap());
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
    file.drop_cache(0).unwrap();
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

// Power and faults

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

// Counting, waiting, replaying

#[test]
fn operations_are_counted_and_logged() {
    let (disk, file) = disk_with(b"");
    let before = disk.counts();
    write_all_at(&*file, &[0; 100], 7).unwrap();
    file.sync_data().unwrap();
    file.read_at(&mut [0; 200], 0).unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    let counts = disk.counts() - before;
    assert_eq!((counts.writes, counts.bytes_written, counts.syncs, counts.dir_syncs), (1, 100, 1, 1));
    assert_eq!((counts.reads, counts.bytes_read, counts.creates), (1, 107, 0));
    assert_eq!(disk.mutations(), 3);
    let log = disk.operations();
    let write = log.iter().find(|operation| operation.kind == OperationKind::Write).unwrap();
    assert_eq!((write.path.as_path(), write.offset, write.len, write.mutations_before), (Path::new(FILE), 7, 100, 0));
    assert_eq!(log.last().unwrap().kind, OperationKind::SyncDirectory);
    assert_eq!(disk.unsynced(), (0, 0));
}

#[test]
fn reads_and_writes_go_on_while_a_sync_is_held_back() {
    let (disk, file) = disk_with(b"");
    file.write_at(b"before", 0).unwrap();
    let held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        file.write_at(b"during", 6).unwrap();
        assert_eq!(file.read_at(&mut [0; 20], 0).unwrap(), 12);
        assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"");
        assert_eq!(disk.syncs_waiting(), 1);
        drop(held);
        sync.join().unwrap().unwrap();
    });
    assert_eq!(disk.syncs_waiting(), 0);
    // The sync began before the second write: it does not cover it.
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"before");
}

#[test]
fn a_held_sync_fails_when_power_is_lost() {
    let (disk, file) = disk_with(b"");
    file.write_at(b"bytes", 0).unwrap();
    let _held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        disk.cut_power_at(disk.mutations());
        file.write_at(b"x", 0).unwrap_err();
        sync.join().unwrap().unwrap_err();
    });
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"");
}

#[test]
fn one_seed_replays_one_state_and_one_entropy() {
    let history = |seed| {
        let disk = SimFs::with_seed(seed);
        let salt = disk.entropy();
        create(&disk, "/a", &[salt as u8; 5000]);
        create(&disk, "/b", &[1; 100]);
        disk.sync_dir(Path::new("/")).unwrap();
        let left = disk.after_power_cut(Survival::Random(seed));
        (left.read_file("/a").unwrap(), left.read_file("/b").unwrap(), left.entropy(), salt)
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
    assert_ne!(history(7).2, history(7).3, "the next life must not draw the salts of the one before");
}

#[test]
fn a_snapshot_is_a_disk_of_its_own() {
    let (disk, file) = disk_with(b"one");
    file.write_at(b"two", 0).unwrap();
    let copy = disk.snapshot();
    file.sync_data().unwrap();
    file.write_at(b"six", 0).unwrap();
    assert_eq!(copy.read_file(FILE).unwrap(), b"two");
    assert_eq!(copy.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"one");
    copy.write_file(FILE, b"copy").unwrap();
    assert_eq!(disk.read_file(FILE).unwrap(), b"six");
}

#[test]
fn work_runs_at_once_or_when_told() {
    let disk = SimFs::new();
    let tasks = disk.tasks();
    let done = Arc::new(AtomicUsize::new(0));
    let submit = |lane| {
        let done = done.clone();
        tasks.submit(lane, Box::new(move || _ = done.fetch_add(1, Ordering::SeqCst)));
    };
    submit(Lane::Urgent);
    assert_eq!(done.load(Ordering::SeqCst), 1);
    disk.queue_tasks(true);
    submit(Lane::Housekeeping);
    submit(Lane::Urgent);
    assert_eq!((done.load(Ordering::SeqCst), disk.tasks_waiting()), (1, 2));
    assert_eq!(disk.run_tasks(), 2);
    submit(Lane::Urgent);
    tasks.help();
    assert_eq!(done.load(Ordering::SeqCst), 4);
}

// One contract, two disks

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
        file.drop_cache(0).unwrap();
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
