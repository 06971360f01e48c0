//! How far damage goes: sectors of either size, the bytes written or all of their sector.

use std::io::ErrorKind;
use std::path::Path;

use raft_journal::io::sim::{OperationKind, SimFs, Survival};
use raft_journal::io::{Fs, Mode};

use crate::{FILE, count_states, disk_with};

fn left(disk: &SimFs, survival: Survival) -> Vec<u8> {
    disk.after_power_cut(survival).read_file(FILE).unwrap()
}

#[test]
fn a_sector_of_4096_bytes_is_written_whole() {
    let (disk, file) = disk_with(&[1; 16384]);
    disk.set_sector_bytes(4096);
    file.write_at(&[2; 10_000], 1000).unwrap();
    let mut mixed = 0;
    for seed in 0..200 {
        let left = left(&disk, Survival::OldOrNew(seed));
        let mut pieces = [1000..4096, 4096..8192, 8192..11_000].into_iter();
        assert!(pieces.all(|piece| left[piece.clone()].iter().all(|byte| *byte == left[piece.start])), "seed {seed}");
        mixed += usize::from(left[1000..11_000].contains(&1) && left.contains(&2));
    }
    assert!(mixed > 50, "{mixed}");
}

#[test]
fn damage_reaches_what_lies_beside_the_bytes_written_and_no_further() {
    for sector_bytes in [512, 4096] {
        let (disk, file) = disk_with(&vec![3; 3 * sector_bytes]);
        file.write_at(&vec![1; 3 * sector_bytes], 0).unwrap();
        file.sync_data().unwrap();
        disk.set_sector_bytes(sector_bytes);
        disk.set_damages_whole_sectors(true);
        let middle = sector_bytes..2 * sector_bytes;
        let written = sector_bytes + 100..sector_bytes + 110;
        file.write_at(&[2; 10], written.start as u64).unwrap();
        let beside = |left: &SimFs| {
            let bytes = left.read_file(FILE).unwrap();
            assert!(bytes[..middle.start].iter().chain(&bytes[middle.end..]).all(|byte| *byte == 1));
            [&bytes[middle.start..written.start], &bytes[written.end..middle.end]].concat()
        };
        let is = |byte: u8| count_states(&disk, 300, |left| beside(left).iter().all(|other| *other == byte));
        let spared = is(1);
        assert!(spared > 0 && is(0) > 0 && spared + is(0) < 300, "old or new, zero, garbage");
        for spared in [Survival::Everything, Survival::Nothing, Survival::OldOrNew(1)] {
            assert!(left(&disk, spared)[middle.clone()].iter().all(|byte| [1, 2].contains(byte)));
        }
    }
}

#[test]
fn stale_bytes_reach_as_far_as_an_earlier_write_did() {
    let (disk, file) = disk_with(&[]);
    file.write_at(&[7; 300], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    disk.set_damages_whole_sectors(true);
    file.write_at(&[2; 10], 100).unwrap();
    let mut stale = vec![7; 300];
    stale.resize(512, 1);
    assert!(count_states(&disk, 300, |left| left.read_file(FILE).unwrap() == stale) > 0);
}

#[test]
fn damage_ends_with_the_file() {
    let (disk, file) = disk_with(&[1; 100]);
    disk.set_damages_whole_sectors(true);
    file.write_at(&[2; 10], 50).unwrap();
    assert_eq!(count_states(&disk, 200, |left| left.read_file(FILE).unwrap().len() == 100), 200);
}

#[test]
fn a_failed_sync_and_the_next_disk_know_the_sectors() {
    let (disk, file) = disk_with(&[1; 4096]);
    disk.set_sector_bytes(4096);
    disk.set_damages_whole_sectors(true);
    let mut spoiled = 0;
    for seed in 0..100 {
        disk.set_failed_syncs_leave(Survival::Random(seed));
        file.write_at(&[2; 10], 0).unwrap();
        disk.fail_next(OperationKind::Sync, ErrorKind::Other);
        file.sync_data().unwrap_err();
        spoiled += usize::from(disk.read_synced(FILE).unwrap()[4000..] != [1; 96]);
        disk.write_file(FILE, &[1; 4096]).unwrap();
    }
    assert!(spoiled > 10, "{spoiled}");
    let next = disk.after_process_kill();
    let file = next.open(Path::new(FILE), Mode::Write).unwrap();
    file.write_at(&[2; 10], 0).unwrap();
    assert!(count_states(&next, 100, |left| left.read_file(FILE).unwrap()[4000..] != [1; 96]) > 10);
}
