//! What power loss leaves of bytes and sizes.

use raft_journal::io::sim::{SECTOR_BYTES, SimFs, Survival};
use raft_journal::io::write_all_at;

use crate::{FILE, count_states, disk_with};

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
