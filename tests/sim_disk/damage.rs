//! Damage at rest.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use raft_journal::io::sim::{AtRest, OperationKind, SimFs, Survival};
use raft_journal::io::{File, Fs, Mode};

use crate::{FILE, create, disk_with, names};

const OTHER: &str = "/journal/other";

fn bytes(disk: &SimFs) -> Vec<u8> {
    let bytes = disk.read_file(FILE).unwrap();
    assert_eq!(disk.read_synced(FILE).unwrap(), bytes, "the cache shows what the disk has");
    bytes
}

fn write_synced(file: &dyn File, byte: u8, range: std::ops::Range<usize>) {
    file.write_at(&vec![byte; range.len()], range.start as u64).unwrap();
    file.sync_data().unwrap();
}

fn invalid(result: std::io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::InvalidInput)
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

#[test]
fn one_bit_flips() {
    let (disk, _file) = disk_with(&[0xf0; 3]);
    disk.flip_bit(FILE, 8 + 4).unwrap();
    assert_eq!(bytes(&disk), [0xf0, 0xe0, 0xf0]);
    disk.flip_bit(FILE, 0).unwrap();
    disk.flip_bit(FILE, 12).unwrap();
    assert_eq!(bytes(&disk), [0xf1, 0xf0, 0xf0]);
    assert!(invalid(disk.flip_bit(FILE, 24)));
    assert!(disk.flip_bit("/none", 0).is_err_and(|error| error.kind() == ErrorKind::NotFound));
}

#[test]
fn one_sector_is_filled_and_the_last_one_ends_with_the_file() {
    let (disk, _file) = disk_with(&[1; 1300]);
    disk.zero_sector(FILE, 1).unwrap();
    disk.fill_sector(FILE, 2, 0xff).unwrap();
    assert_eq!(bytes(&disk), [&[1; 512][..], &[0; 512], &[0xff; 276]].concat());
    assert!(invalid(disk.zero_sector(FILE, 3)) && invalid(disk.zero_sector(FILE, u64::MAX)));
    disk.set_sector_bytes(4096);
    disk.zero_sector(FILE, 0).unwrap();
    assert_eq!(bytes(&disk), [0; 1300]);
    assert!(invalid(disk.zero_sector(FILE, 1)));
}

#[test]
fn two_sectors_swap_within_a_file_and_between_two() {
    let (disk, _file) = disk_with(&[[1; 512], [2; 512], [3; 512]].concat());
    disk.swap_sectors(FILE, 0, FILE, 2).unwrap();
    assert_eq!(bytes(&disk), [[3; 512], [2; 512], [1; 512]].concat());
    disk.write_file(OTHER, &[9; 100]).unwrap();
    disk.swap_sectors(FILE, 1, OTHER, 0).unwrap();
    assert_eq!(bytes(&disk), [&[3; 512][..], &[9; 100], &[2; 412], &[1; 512]].concat());
    assert_eq!(disk.read_synced(OTHER).unwrap(), [2; 100]);
    assert!(invalid(disk.swap_sectors(FILE, 1, OTHER, 1)) && invalid(disk.swap_sectors(OTHER, 1, FILE, 1)));
}

#[test]
fn a_misdirected_write_is_missing_in_one_place_and_wrong_in_another() {
    let (disk, file) = disk_with(&[1; 2048]);
    write_synced(&*file, 2, 512..1024);
    write_synced(&*file, 3, 600..700);
    disk.misdirect(FILE, 1, FILE, 3).unwrap();
    let wrong = [&[2; 88][..], &[3; 100], &[2; 324]].concat();
    assert_eq!(bytes(&disk), [&[1; 512][..], &[2; 512], &[1; 512], &wrong].concat());
    disk.write_file(OTHER, &[7; 512]).unwrap();
    disk.misdirect(FILE, 3, OTHER, 0).unwrap();
    assert_eq!(disk.read_synced(OTHER).unwrap(), wrong);
    assert!(invalid(disk.misdirect(FILE, 4, OTHER, 0)) && invalid(disk.misdirect(FILE, 0, OTHER, 1)));
    // Nobody knows what was there before the writes that a disk was made with.
    let (disk, _file) = disk_with(&[1; 1024]);
    let disk = disk.after_power_cut(Survival::Nothing);
    disk.write_file(OTHER, &[7; 512]).unwrap();
    disk.misdirect(OTHER, 0, FILE, 1).unwrap();
    assert_eq!(disk.read_synced(OTHER).unwrap(), [0; 512]);
    assert_eq!(bytes(&disk), [[1; 512], [7; 512]].concat());
}

#[test]
fn a_lost_write_leaves_what_was_there_before_it() {
    let (disk, file) = disk_with(&[1; 30]);
    assert_eq!(disk.synced_writes(FILE).unwrap(), 1, "the one that made it");
    write_synced(&*file, 2, 0..20);
    write_synced(&*file, 3, 10..15);
    write_synced(&*file, 4, 40..50);
    assert_eq!(disk.synced_writes(FILE).unwrap(), 4);
    disk.lose_write(FILE, 0).unwrap();
    assert_eq!(bytes(&disk)[30..], [0; 20], "the size stays");
    // What was written over since is not its own any more.
    disk.lose_write(FILE, 1).unwrap();
    assert_eq!(bytes(&disk)[..30], [&[1; 10][..], &[3; 5], &[1; 15]].concat());
    disk.lose_write(FILE, 0).unwrap();
    assert_eq!(bytes(&disk)[..30], [&[1; 10][..], &[2; 5], &[1; 15]].concat());
    disk.lose_write(FILE, 0).unwrap();
    assert!(invalid(disk.lose_write(FILE, 0)));
}

#[test]
fn only_a_synced_write_can_be_lost_at_rest() {
    let (disk, file) = disk_with(&[1; 10]);
    write_synced(&*file, 2, 0..4);
    file.write_at(&[3; 4], 2).unwrap();
    disk.lose_write(FILE, 0).unwrap();
    assert_eq!(disk.read_synced(FILE).unwrap(), [1; 10]);
    file.sync_data().unwrap();
    assert_eq!(bytes(&disk), [1, 1, 3, 3, 3, 3, 1, 1, 1, 1]);
    disk.fail_next(OperationKind::Sync, ErrorKind::Other);
    disk.set_failed_syncs_leave(Survival::Everything);
    file.write_at(&[5; 1], 3).unwrap();
    file.sync_data().unwrap_err();
    disk.lose_write(FILE, 0).unwrap();
    assert_eq!(bytes(&disk), [1, 1, 1, 5, 1, 1, 1, 1, 1, 1], "what a failed sync left came later");
}

#[test]
fn the_cache_shows_damage_where_it_is_clean() {
    let (disk, file) = disk_with(&[1; 2048]);
    file.write_at(&[2; 100], 500).unwrap();
    file.write_at(&[3; 100], 1950).unwrap();
    file.set_len(1000).unwrap();
    file.set_len(2048).unwrap();
    (0..4).for_each(|sector| disk.fill_sector(FILE, sector, 9).unwrap());
    assert_eq!(disk.read_synced(FILE).unwrap(), [9; 2048]);
    let shown = [&[9; 500][..], &[2; 100], &[9; 400], &[0; 1048]].concat();
    assert_eq!(disk.read_file(FILE).unwrap(), shown);
    file.sync_data().unwrap();
    assert_eq!(bytes(&disk), shown);
}

#[test]
fn writes_are_remembered_through_kills_and_power_cuts_and_not_without_end() {
    let (disk, file) = disk_with(&[]);
    write_synced(&*file, 1, 0..10);
    write_synced(&*file, 2, 0..10);
    file.write_at(&[3; 5], 0).unwrap();
    let killed = disk.after_process_kill();
    killed.lose_write(FILE, 0).unwrap();
    assert_eq!(killed.read_synced(FILE).unwrap(), [1; 10]);
    let cut = disk.after_power_cut(Survival::Everything);
    cut.lose_write(FILE, 0).unwrap();
    assert_eq!(bytes(&cut), [3, 3, 3, 3, 3, 1, 1, 1, 1, 1]);
    (0..200).for_each(|byte| write_synced(&*file, byte, 0..10));
    assert_eq!(disk.synced_writes(FILE).unwrap(), 64);
}

#[test]
fn a_write_that_grew_a_file_over_another_one_of_the_same_sync_is_lost_alone() {
    let (disk, file) = disk_with(&[]);
    file.write_at(&[1; 10_000], 0).unwrap();
    file.write_at(&[2; 5000], 2000).unwrap();
    file.sync_data().unwrap();
    disk.lose_write(FILE, 0).unwrap();
    assert_eq!(bytes(&disk), [1; 10_000]);
}

/// All of a disk.
fn state(disk: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.read_synced(path).unwrap())).collect()
}

#[test]
fn every_kind_of_fault_is_drawn_and_one_seed_draws_the_same() {
    let (disk, file) = disk_with(&[1; 5000]);
    create(&disk, OTHER, &[2; 700]).sync_data().unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    write_synced(&*file, 3, 100..4000);
    let mut kinds = BTreeSet::new();
    let mut changed = 0;
    for seed in 0..500 {
        let (disk, again) = (disk.snapshot(), disk.snapshot());
        let before = state(&disk);
        let fault = AtRest::random(seed, &disk);
        disk.damage(&fault).unwrap();
        again.damage(&AtRest::random(seed, &again)).unwrap();
        assert_eq!(state(&disk), state(&again), "{fault:?}");
        kinds.insert(format!("{:?}", discriminant(&fault)));
        changed += usize::from(state(&disk) != before);
        assert!(disk.after_power_cut(Survival::Nothing).paths() == disk.paths(), "durably: {fault:?}");
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert!(changed > 400, "{changed}");
}

#[test]
fn faults_are_drawn_for_odd_disks_too() {
    let empty = SimFs::new();
    empty.damage(&AtRest::random(1, &empty)).unwrap();
    assert_eq!(names(&empty), ["/extra"]);
    let digits = SimFs::new();
    (0..10).for_each(|digit| digits.write_file(format!("/{digit}"), &[1]).unwrap());
    for seed in 0..300 {
        let disk = digits.snapshot();
        disk.damage(&AtRest::random(seed, &disk)).unwrap();
    }
    let file = digits.open(Path::new("/5"), Mode::Write).unwrap();
    file.set_len(0).unwrap();
    digits.damage(&AtRest::Extra { path: "/copy".into(), copy_of: "/5".into() }).unwrap();
    assert_eq!(digits.read_synced("/copy").unwrap(), [1], "what is at rest is copied");
}
