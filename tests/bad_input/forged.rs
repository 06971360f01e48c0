//! Right checksums over what no journal writes: nobody is protected from a forger, but no bytes may bring the process
//! down.

use std::ops::Range;

use raft_journal::{DamageKind, DamagedRange, Entry, Error, LogStore, OnDamage, StableStore};

use crate::common::{Disk, append_each, entries, salted_check, unsalted_check};
use crate::open_refused;

const DATA_AT: usize = 512;
const SALT: Range<usize> = 56..64;
const BATCH_BYTES: usize = 72;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn put_check(file: &mut [u8], at: usize, covered: Range<usize>) -> [u8; 4] {
    let check = salted_check(&file[SALT], &[&file[covered]]).to_le_bytes();
    file[at..at + 4].copy_from_slice(&check);
    check
}

/// Changes every copy in `meta` and gives it a right check.
fn forge_meta(disk: &Disk, at: usize, value: &[u8]) {
    let mut file = disk.bytes("meta");
    let copy_bytes = file.len() / 4;
    for copy in file.chunks_mut(copy_bytes) {
        copy[at..at + value.len()].copy_from_slice(value);
        let check = unsalted_check(&[&copy[..12], &copy[16..u32_at(copy, 16)]]);
        copy[12..16].copy_from_slice(&check.to_le_bytes());
    }
    disk.put("meta", &file);
}

/// Changes the batch at `at` and gives its header a right check, which is returned.
fn forge_batch(file: &mut [u8], at: usize, field: usize, value: &[u8]) -> [u8; 4] {
    file[at + field..at + field + value.len()].copy_from_slice(value);
    put_check(file, at, at + 4..at + BATCH_BYTES)
}

/// Gives the index at `at`, of one page and one run of terms, right checks.
fn mend_index(file: &mut [u8], at: usize) -> [u8; 4] {
    let (body, page) = (at + BATCH_BYTES, at + BATCH_BYTES + 56 + 16);
    let end = body + u32_at(file, at + 16);
    let summary_check = put_check(file, body, body + 4..page);
    let id = [&file[at + 20..at + 24], &file[at + 36..at + 40]].concat();
    let page_check = salted_check(&file[SALT], &[&id, &file[page + 4..end]]).to_le_bytes();
    file[page..page + 4].copy_from_slice(&page_check);
    let body_check = salted_check(&file[SALT], &[&summary_check, &page_check]).to_le_bytes();
    forge_batch(file, at, 4, &body_check)
}

/// Where the batches of this kind stand in a file.
fn batches(file: &[u8], kind: usize) -> Vec<usize> {
    let (mut at, mut found) = (DATA_AT, Vec::new());
    while u32_at(file, at + 8) != 0 {
        found.push(at);
        at = (at + BATCH_BYTES + u32_at(file, at + 16)).next_multiple_of(8);
    }
    found.retain(|&at| u32_at(file, at + 8) == kind);
    found
}

/// A journal with these entries, closed in order or killed behind a commit that vouches for them, and its first file.
fn journal(held: &[Entry], is_closed: bool) -> (Disk, String, Vec<u8>) {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, held);
    journal.set_u64(b"vote", 1).unwrap();
    let killed = disk.killed();
    journal.close().unwrap();
    let disk = if is_closed { disk } else { killed };
    let name = disk.segments()[0].clone();
    let file = disk.bytes(&name);
    (disk, name, file)
}

#[test]
fn meta_that_nothing_can_follow_is_unreadable() {
    for at in [24, 112] {
        let (disk, ..) = journal(&entries(1..=3, 1), true);
        forge_meta(&disk, 20, &2u32.to_le_bytes());
        forge_meta(&disk, at, &u64::MAX.to_le_bytes());
        let error = open_refused(&disk);
        assert!(matches!(error, Error::MetaUnreadable { .. }), "{at}: {error:?}");
    }
}

#[test]
fn a_place_outside_its_file_is_damage() {
    for offset in [0, 511, 513, u32::MAX] {
        let (disk, name, _) = journal(&entries(1..=3, 1), true);
        forge_meta(&disk, 144, &offset.to_le_bytes());
        let error = open_refused(&disk);
        let Error::Damaged(damage) = &error else { panic!("{offset}: {error:?}") };
        assert_eq!((&damage.path, damage.why), (&disk.path(&name), DamageKind::Header));
        let journal = disk.open_accepting();
        journal.append(&entries(4..=4, 1)).unwrap();
        journal.close().unwrap();
        assert_eq!(disk.open().entry(4).unwrap(), entries(4..=4, 1)[0]);
    }
}

#[test]
fn a_file_that_says_it_is_shorter_than_its_own_edges_is_damage() {
    let (disk, name, mut file) = journal(&entries(1..=3, 1), true);
    for at in [0, file.len() - 512] {
        file[at + 48..at + 56].copy_from_slice(&64u64.to_le_bytes());
        let check = unsalted_check(&[&file[at..at + 12], &file[at + 16..at + 64]]);
        file[at + 12..at + 16].copy_from_slice(&check.to_le_bytes());
    }
    disk.put(&name, &file);
    let error = open_refused(&disk);
    assert!(matches!(&error, Error::Damaged(damage) if damage.why == DamageKind::Header), "{error:?}");
}

#[test]
fn a_batch_with_more_entries_than_indexes_is_none() {
    let (disk, name, mut file) = journal(&entries(1..=1, 1), false);
    let (entry, end) = (DATA_AT + BATCH_BYTES, DATA_AT + BATCH_BYTES + u32_at(&file, DATA_AT + 16));
    let index = u64::MAX.to_le_bytes();
    let check = salted_check(&file[SALT], &[&index, &file[entry + 4..end]]).to_le_bytes();
    file[entry..entry + 4].copy_from_slice(&check);
    let body_check = salted_check(&file[SALT], &[&check]).to_le_bytes();
    forge_batch(&mut file, DATA_AT, 4, &body_check);
    forge_batch(&mut file, DATA_AT, 24, &index);
    disk.put(&name, &file);
    let error = open_refused(&disk);
    assert!(matches!(&error, Error::Damaged(damage) if damage.offset == DATA_AT as u64), "{error:?}");
}

#[test]
fn a_seal_that_leads_back_to_its_own_file_is_not_followed_round_and_round() {
    let (disk, name, mut file) = journal(&entries(1..=60, 1), true);
    let seal = batches(&file, 2)[0];
    let own = [file[40..48].to_vec(), file[SALT].to_vec()].concat();
    file[seal + BATCH_BYTES + 40..seal + BATCH_BYTES + 56].copy_from_slice(&own);
    let seal_check = mend_index(&mut file, seal);
    let trailer = file.len() - 1024;
    file[trailer + 8..trailer + 12].copy_from_slice(&seal_check);
    put_check(&mut file, trailer, trailer + 4..trailer + 20);
    disk.put(&name, &file);
    // The mark vouches for the seal as if its file were the next one.
    let place = [&file[40..48], &(DATA_AT as u32).to_le_bytes(), &seal_check].concat();
    forge_meta(&disk, 64, &place);
    let journal = disk.try_open();
    assert!(matches!(journal, Ok(_) | Err(Error::Damaged(_))), "{journal:?}");
}

#[test]
fn slots_that_do_not_rise_read_as_damage() {
    let (disk, name, mut file) = journal(&entries(1..=3, 1), true);
    let index = batches(&file, 3)[0];
    let slots = index + BATCH_BYTES + 56 + 16 + 8;
    file.copy_within(slots..slots + 8, slots + 16);
    let check = mend_index(&mut file, index);
    disk.put(&name, &file);
    // The mark's chain value.
    forge_meta(&disk, 76, &check);
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    assert_eq!(journal.entries(2..4, u64::MAX).unwrap(), entries(2..=2, 1));
    assert!(matches!(journal.entries(3..4, u64::MAX), Err(Error::Damaged(_))));
}

#[test]
fn an_accepted_loss_greater_than_its_file_is_refused_before_memory_is_taken() {
    let (disk, name, _) = journal(&entries(1..=3, 1), false);
    let batches = batches(&disk.bytes(&name), 1);
    disk.flip(&name, batches[1] + 30);
    let journal = disk.open_accepting();
    assert_eq!(journal.state().next_index(), Some(4));
    let disk = disk.killed();
    drop(journal);
    let (mut file, end) = (disk.bytes(&name), u64::MAX >> 1);
    forge_batch(&mut file, batches[2], 24, &end.to_le_bytes());
    disk.put(&name, &file);
    // The record: sequence, offset, first, end.
    forge_meta(&disk, 160 + 20, &u64::MAX.to_le_bytes());
    let error = open_refused(&disk);
    assert!(matches!(&error, Error::Damaged(damage) if damage.indexes.end >= Some(end)), "{error:?}");
}

/// A record of an accepted loss that leads nowhere, back, or to itself, or covers more than its file could hold.
#[test]
fn an_accepted_loss_leads_on_and_takes_no_more_than_its_file_whatever_its_record_says() {
    let disk = || {
        let (disk, name, _) = journal(&entries(1..=5, 1), false);
        let found = batches(&disk.bytes(&name), 1);
        disk.flip(&name, found[1] + 30);
        // Killed, so that the next open walks along the batches.
        let journal = disk.open_accepting();
        let killed = disk.killed();
        drop(journal);
        (killed, name, found)
    };
    let (_, _, found) = disk();
    let offsets = [0, DATA_AT, found[1], found[2], found[3], u32::MAX as usize - 7].map(|offset| offset as u32);
    let mut met = 0;
    for (sequence, resume) in [1u64, 2, u64::MAX].into_iter().flat_map(|at| offsets.map(|offset| (at, offset))) {
        for (first, end) in [(2, 3), (0, u64::MAX), (u64::MAX, 0), (2, u64::MAX >> 1)] {
            for lost_too in [false, true] {
                let (disk, name, found) = disk();
                if lost_too {
                    disk.flip(&name, found[2] + 30);
                    disk.flip(&name, found[3] + 30);
                }
                let record = [first.to_le_bytes(), u64::to_le_bytes(end), sequence.to_le_bytes()].concat();
                forge_meta(&disk, 160 + 12, &[&record[..], &resume.to_le_bytes()].concat());
                for journal in [disk.try_open(), disk.options().on_damage(OnDamage::Accept).open(&disk.dir)] {
                    let Ok(journal) = journal else { continue };
                    assert!(journal.state().next_index().is_some_and(|next| next <= 6));
                    // A record that says so takes what is before it, too.
                    let is_lost = |error: &Error| first == 0 && matches!(error, Error::Damaged(_));
                    let served = journal.entry(1);
                    assert!(served.map_or_else(|error| is_lost(&error), |entry| entry == entries(1..=1, 1)[0]));
                    met += 1;
                }
            }
        }
    }
    assert!(met > 0);
}

// Guards: a mark and the batch at it that continue two different ones, that batch's index too high to be taken in, and a record
// by which a loss there ends there: one and the other was followed in turn, for ever.
#[test]
fn a_mark_and_a_batch_that_contradict_each_other_are_not_followed_in_turn() {
    let (disk, name, _) = journal(&entries(1..=5, 1), false);
    let found = batches(&disk.bytes(&name), 1);
    disk.flip(&name, found[1] + 30);
    disk.flip(&name, found[3] + 30);
    let journal = disk.open_accepting();
    journal.append(&entries(6..=6, 1)).unwrap();
    let disk = disk.killed();
    drop(journal);
    let mut file = disk.bytes(&name);
    let last = (found[4] + BATCH_BYTES + u32_at(&file, found[4] + 16)).next_multiple_of(8);
    forge_batch(&mut file, last, 24, &9u64.to_le_bytes());
    disk.put(&name, &file);
    // The mark's chain value; of the second record the offset, the entries, and the offset where the chain goes on.
    forge_meta(&disk, 76, &[4, 3, 2, 1]);
    let offset = (last as u32).to_le_bytes();
    let record = [&offset[..], &6u64.to_le_bytes(), &6u64.to_le_bytes(), &1u64.to_le_bytes(), &offset].concat();
    forge_meta(&disk, 160 + 40 + 8, &record);
    let opened = disk.options().on_damage(OnDamage::Accept).open(&disk.dir);
    assert!(matches!(opened, Err(Error::Damaged(_))), "{opened:?}");
}

#[test]
fn a_loss_at_the_highest_index_can_be_told() {
    let told = DamagedRange { first: u64::MAX, end: Some(u64::MAX) }.to_string();
    assert!(told.contains(&u64::MAX.to_string()), "{told}");
}
