//! Damage in one place, and what it costs.

use raft_journal::{Error, Journal, LogStore, Position};

use crate::common::{Disk, append_each, entries, log};
use crate::subject::batches;

const SEAL: u32 = 2;
const INDEX: u32 = 3;

/// Flips every byte of the bodies of all batches of one kind, one at a time; each must cost nothing and be reported.
fn flip_every_index_byte(kind: u32) {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let mut count = 0;
    for name in disk.segments() {
        let bytes = disk.bytes(&name);
        let bodies = batches(&bytes, 512).into_iter().filter(|batch| batch.1 == kind);
        for at in bodies.flat_map(|(at, _, body_bytes)| at + 72..at + 72 + body_bytes) {
            let damaged = disk.killed();
            damaged.flip(&name, at);
            let journal = damaged.try_open().unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
            assert_eq!(log(&journal), all, "{name} at {at}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn a_damaged_index_of_a_clean_close_costs_nothing() {
    flip_every_index_byte(INDEX);
}

#[test]
fn a_damaged_seal_costs_nothing() {
    flip_every_index_byte(SEAL);
}

#[test]
fn entries_before_an_accepted_loss_at_a_segments_end_stay_readable() {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let name = disk.segments()[1].clone();
    let seal = batches(&disk.bytes(&name), 512).into_iter().find(|batch| batch.1 == SEAL).unwrap().0;
    disk.flip(&name, seal);
    let journal = disk.open_accepting();
    let lost: Vec<u64> = (1..=60).filter(|&index| journal.entry(index).is_err()).collect();
    assert_eq!(lost, [0; 0], "a seal holds no entries");
}

#[test]
fn accepted_damage_is_reported_by_every_later_open() {
    let disk = Disk::simulated();
    let all = entries(1..=6, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let (name, at) = disk.find(&all[2].data);
    disk.flip(&name, at);
    // An index that a clean close wrote hides what it does not need to read; without one the batches are scanned.
    let journal = disk.open();
    assert!(matches!(journal.entry(3), Err(Error::Damaged(_))));
    drop(journal);
    let last = disk.bytes(&name);
    let (index, ..) = *batches(&last, 512).iter().find(|batch| batch.1 == INDEX).unwrap();
    disk.flip(&name, index);
    let journal = disk.open_accepting();
    let told = |journal: &Journal| {
        let damaged = journal.recovery_report().damaged.iter();
        damaged.map(|damage| (damage.path.clone(), damage.offset, damage.indexes)).collect::<Vec<_>>()
    };
    let lost = told(&journal);
    assert!(lost.iter().any(|(_, _, indexes)| indexes.first == 3 && indexes.end == Some(4)), "{lost:?}");
    journal.append(&entries(7..=7, 1)).unwrap();
    journal.close().unwrap();
    for _ in 0..2 {
        let journal = disk.open();
        assert_eq!(told(&journal), lost);
        assert!(matches!(journal.entry(3), Err(Error::Damaged(_))));
        journal.close().unwrap();
    }
    // In a sealed segment, too.
    append_each(&disk.open(), &entries(8..=40, 1));
    let journal = disk.open();
    assert_eq!(told(&journal), lost);
    journal.truncate_head(Position::new(35, 1)).unwrap();
    journal.close().unwrap();
    assert_eq!(disk.open().recovery_report().damaged, [], "forgotten with the entries");
}

/// Damage must not be found only by those who look for it in the order of the log.
#[test]
fn a_damaged_entry_of_a_sealed_segment_costs_its_neighbours_nothing() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let all = entries(1..=60, 1);
    append_each(&journal, &all);
    journal.close().unwrap();
    let (name, at) = disk.find(&all[20].data);
    disk.flip(&name, at + 100);
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    let Err(Error::Damaged(damage)) = journal.entry(21) else { panic!("{:?}", journal.entry(21)) };
    assert_eq!((&damage.path, damage.offset), (&disk.path(&name), at as u64 - 20));
    assert!([20, 21, 22].map(|index| damage.indexes.contains(index)) == [false, true, false]);
    assert_eq!(journal.entries(1..61, u64::MAX).unwrap(), all[..20], "a range ends before it");
    assert!(matches!(journal.entries(21..61, u64::MAX), Err(Error::Damaged(_))), "or starts with the error");
    assert_eq!(journal.entries(22..61, u64::MAX).unwrap(), all[21..]);
    assert_eq!(journal.term(21).unwrap(), 1, "the index still knows its term");
}
