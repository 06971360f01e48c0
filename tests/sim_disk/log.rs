//! What was asked of the disk, and what of it is durable.

use std::io::ErrorKind;
use std::path::Path;

use raft_journal::io::sim::{Operation, OperationKind, SimFs, Survival};
use raft_journal::io::{File, Fs, Mode, write_all_at};

use crate::{FILE, create, disk_with};

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
    assert_eq!((&*write.path, write.offset, write.len, write.mutations_before), (FILE, 7, 100, 0));
    assert_eq!(log.last().unwrap().kind, OperationKind::SyncDirectory);
    assert_eq!(disk.unsynced(), (0, 0));
}

/// The newest operation of a kind.
fn last(disk: &SimFs, kind: OperationKind) -> Operation {
    disk.operations().into_iter().rfind(|operation| operation.kind == kind).unwrap()
}

/// Writes there; when that was issued.
fn write(disk: &SimFs, file: &dyn File, offset: u64) -> u64 {
    file.write_at(b"bytes", offset).unwrap();
    last(disk, OperationKind::Write).issued
}

/// What covers the operation that was issued then.
fn covered_by(disk: &SimFs, issued: u64) -> Option<u64> {
    disk.operations().iter().find(|operation| operation.issued == issued).unwrap().covered_by
}

fn uncovered(disk: &SimFs) -> Vec<u64> {
    disk.uncovered().iter().map(|operation| operation.issued).collect()
}

#[test]
fn the_clock_ticks_when_an_operation_is_issued_and_when_it_returns() {
    let (disk, file) = disk_with(b"bytes");
    file.len().unwrap();
    disk.fail_next(OperationKind::Read, ErrorKind::Other);
    file.read_at(&mut [0; 5], 0).unwrap_err();
    disk.list(Path::new("/journal")).unwrap();
    let times: Vec<_> = disk.operations().iter().map(|operation| (operation.issued, operation.returned)).collect();
    assert_eq!(times, [(1, Some(2)), (3, Some(4)), (5, Some(6)), (7, Some(8))]);
}

#[test]
fn a_sync_covers_what_was_issued_before_it_to_the_same_file() {
    let (disk, file) = disk_with(b"");
    let other = create(&disk, "/journal/other", b"other");
    let first = write(&disk, &*file, 0);
    file.set_len(3).unwrap();
    file.allocate(9).unwrap();
    file.sync_data().unwrap();
    let sync = last(&disk, OperationKind::Sync).issued;
    let second = write(&disk, &*file, 0);
    let changes = [first, last(&disk, OperationKind::SetLen).issued, last(&disk, OperationKind::Allocate).issued];
    assert_eq!(changes.map(|change| covered_by(&disk, change)), [Some(sync); 3]);
    assert_eq!(covered_by(&disk, second), None);
    let others: Vec<_> = disk.operations().into_iter().filter(|other| &*other.path == "/journal/other").collect();
    assert!(others.len() == 2 && others.iter().all(|other| other.covered_by.is_none()), "{others:?}");
    assert_eq!(uncovered(&disk), [others[0].issued, others[1].issued, second]);
    other.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(covered_by(&disk, first), Some(sync), "once is enough");
    assert_eq!(uncovered(&disk), [others[0].issued], "the name");
}

#[test]
fn what_is_written_while_a_sync_runs_waits_for_the_next_one() {
    let (disk, file) = disk_with(b"");
    let before = write(&disk, &*file, 0);
    let held = disk.hold_syncs();
    let during = std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        let during = write(&disk, &*file, 9);
        let running = last(&disk, OperationKind::Sync);
        assert_eq!((running.returned, covered_by(&disk, before)), (None, None));
        drop(held);
        sync.join().unwrap().unwrap();
        during
    });
    let first = last(&disk, OperationKind::Sync);
    assert!(first.issued < during && first.returned.unwrap() > during, "{first:?}");
    assert_eq!((covered_by(&disk, before), covered_by(&disk, during)), (Some(first.issued), None));
    assert_eq!(uncovered(&disk), [during]);
    file.sync_data().unwrap();
    assert_eq!(covered_by(&disk, during), Some(last(&disk, OperationKind::Sync).issued));
}

#[test]
fn an_operation_in_which_power_is_lost_does_not_return() {
    let (disk, file) = disk_with(b"");
    let covered = write(&disk, &*file, 0);
    file.sync_data().unwrap();
    let lost = write(&disk, &*file, 0);
    let _held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        disk.wait_for_held_syncs(1);
        disk.cut_power_at(disk.mutations());
        file.write_at(b"x", 0).unwrap_err();
        sync.join().unwrap().unwrap_err();
    });
    let unreturned = disk.operations().into_iter().filter(|operation| operation.returned.is_none());
    let kinds: Vec<_> = unreturned.map(|operation| operation.kind).collect();
    assert_eq!(kinds, [OperationKind::Sync, OperationKind::Write]);
    assert!(covered_by(&disk, covered).is_some() && covered_by(&disk, lost).is_none());
    assert_eq!(uncovered(&disk), [lost]);
}

#[test]
fn a_failed_sync_covers_nothing_and_what_it_gave_up_no_later_one_does() {
    let (disk, file) = disk_with(b"old");
    let given_up = write(&disk, &*file, 0);
    file.set_len(100).unwrap();
    disk.fail_next(OperationKind::Sync, ErrorKind::Other);
    file.sync_data().unwrap_err();
    let size = last(&disk, OperationKind::SetLen).issued;
    assert_eq!((covered_by(&disk, given_up), covered_by(&disk, size)), (None, None));
    assert_eq!(uncovered(&disk), [size], "what a sync gave up is decided; the size is left for the next one");
    let next = write(&disk, &*file, 50);
    file.sync_data().unwrap();
    let sync = last(&disk, OperationKind::Sync).issued;
    assert_eq!([given_up, size, next].map(|change| covered_by(&disk, change)), [None, Some(sync), Some(sync)]);
    assert_eq!(disk.read_synced(FILE).unwrap()[..5], *b"old\0\0");
}

#[test]
fn a_directory_sync_covers_the_names_in_that_directory_alone() {
    let disk = SimFs::new();
    let mut issued = Vec::new();
    let mut done = |kind| issued.push(last(&disk, kind).issued);
    disk.create_dir(Path::new("/d")).unwrap();
    done(OperationKind::CreateDirectory);
    create(&disk, "/a", b"");
    done(OperationKind::Create);
    create(&disk, "/d/b", b"");
    done(OperationKind::Create);
    disk.rename(Path::new("/d/b"), Path::new("/d/c")).unwrap();
    done(OperationKind::Rename);
    assert_eq!(last(&disk, OperationKind::Rename).renamed_to.as_deref(), Some("/d/c"));
    disk.remove(Path::new("/a")).unwrap();
    done(OperationKind::Remove);
    drop(disk.lock(Path::new("/d/LOCK")).unwrap());
    done(OperationKind::Create);
    assert_eq!(uncovered(&disk), issued);
    let cover = |dir: &str| {
        disk.sync_dir(Path::new(dir)).unwrap();
        Some(last(&disk, OperationKind::SyncDirectory).issued)
    };
    let first = cover("/d");
    let covered: Vec<_> = issued.iter().map(|change| covered_by(&disk, *change)).collect();
    assert_eq!(covered, [None, None, first, first, None, first]);
    let second = cover("/");
    let covered: Vec<_> = issued.iter().map(|change| covered_by(&disk, *change)).collect();
    assert_eq!(covered, [second, second, first, first, second, first]);
    assert_eq!(uncovered(&disk), [0; 0]);
}

#[test]
fn making_a_file_empty_is_a_change_of_its_size() {
    let (disk, file) = disk_with(b"bytes");
    disk.open(Path::new(FILE), Mode::Create).unwrap();
    let cut = last(&disk, OperationKind::Create).issued;
    disk.sync_dir(Path::new("/journal")).unwrap();
    assert_eq!(covered_by(&disk, cut), None);
    file.sync_data().unwrap();
    assert_eq!(covered_by(&disk, cut), Some(last(&disk, OperationKind::Sync).issued));
}

#[test]
fn a_long_history_forgets_its_beginning_and_tells_the_rest_right() {
    let (disk, file) = disk_with(b"");
    let forgotten = write(&disk, &*file, 0);
    (0..150_000).for_each(|_| _ = file.len().unwrap());
    assert!((1 << 16..=1 << 17).contains(&disk.operations().len()));
    assert!(disk.operations().iter().all(|operation| operation.issued != forgotten));
    let kept = write(&disk, &*file, 0);
    assert_eq!(uncovered(&disk), [kept], "as far as the log has them");
    file.sync_data().unwrap();
    let covered: Vec<_> = disk.operations().into_iter().filter(|other| other.covered_by.is_some()).collect();
    assert_eq!(covered.len(), 1);
    assert_eq!(covered[0].covered_by, Some(last(&disk, OperationKind::Sync).issued));
}

#[test]
fn the_log_can_be_switched_off_and_on() {
    let (disk, file) = disk_with(b"");
    let logged = write(&disk, &*file, 0);
    disk.set_log(false);
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.operations().len(), 2);
    assert!(covered_by(&disk, logged).is_some_and(|sync| sync > logged));
    assert_eq!(disk.after_power_cut(Survival::Nothing).read_file(FILE).unwrap(), b"xytes");
    let next = disk.after_process_kill();
    next.list(Path::new("/")).unwrap();
    assert_eq!(next.operations(), []);
    disk.set_log(true);
    let again = write(&disk, &*file, 0);
    assert_eq!((disk.operations().len(), uncovered(&disk)), (3, vec![again]));
}

#[test]
fn the_next_process_has_a_log_of_its_own() {
    let (disk, file) = disk_with(b"");
    write(&disk, &*file, 0);
    let next = disk.after_process_kill();
    let file = next.open(Path::new(FILE), Mode::Write).unwrap();
    let own = write(&next, &*file, 50);
    assert_eq!(uncovered(&next), [own]);
    file.sync_data().unwrap();
    let [_, write, sync] = &next.operations()[..] else { panic!() };
    assert_eq!((write.issued, write.covered_by, sync.covered_by), (own, Some(sync.issued), None));
}
