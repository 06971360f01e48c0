//! An entry is the one that was appended last at its index, also where the disk shows what stood in its place before, or stands
//! elsewhere in the file: the checks that tell them apart are left out of memory only where there is nothing to tell apart.

use std::ops::Range;

use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, Position};

use crate::common::{DATA_AT, Disk, append_each, entries, entry, on_both, salted_check};

/// What stands before a payload.
const ENTRY_BYTES: usize = 20;

/// Entries of this term, and as long as those of `entries`, which say something else.
fn others(indexes: Range<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| Entry::new(index, term, entry(index, 99, 300).data)).collect()
}

/// Where an entry begins in a file that holds its payload.
fn place_of(file: &[u8], entry: &Entry) -> usize {
    file.windows(entry.data.len()).position(|bytes| bytes == entry.data).unwrap() - ENTRY_BYTES
}

/// Has the place of `new` show `old`, an entry of the same length out of what the file was once.
fn show_again(disk: &Disk, new: &Entry, file: &[u8], old: &Entry) {
    let (name, at) = disk.find(&new.data);
    let (mut bytes, stood, len) = (disk.bytes(&name), place_of(file, old), ENTRY_BYTES + new.data.len());
    bytes[at - ENTRY_BYTES..][..len].copy_from_slice(&file[stood..][..len]);
    disk.put(&name, &bytes);
}

/// Opens the journal and reads all but `lost`, twice: the second time, what can be known of their places is in memory.
fn check_all_but(disk: &Disk, expected: &[Entry], lost: u64) {
    check_all_but_with(disk, expected, lost, true);
    check_all_but_with(disk, expected, lost, false);
}

/// The same where the index is kept in memory, or has no room there.
fn check_all_but_with(disk: &Disk, expected: &[Entry], lost: u64, has_room: bool) {
    let options = disk.options().tail_cache_bytes(0);
    let options = if has_room { options } else { options.index_cache_bytes(0) };
    let journal: Journal = options.open(&disk.dir).unwrap();
    let (kept, gone): (Vec<&Entry>, Vec<&Entry>) = expected.iter().partition(|entry| entry.index != lost);
    let behind = kept.iter().skip_while(|entry| entry.index < lost).count();
    assert!(gone.len() == 1 && behind > 2);
    for round in 0..2 {
        let misses = journal.stats().index_misses;
        for entry in &kept {
            assert_eq!(journal.entry(entry.index).unwrap(), **entry);
        }
        let error = journal.entry(lost).unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error}") };
        assert!(damage.why == DamageKind::Misplaced && damage.indexes.contains(lost), "{error}");
        let before: Vec<Entry> =
            kept.iter().filter(|it| (lost - 2..lost).contains(&it.index)).copied().cloned().collect();
        assert_eq!(journal.entries(lost - 2..lost + 2, u64::MAX).unwrap(), before);
        assert!(matches!(journal.entries(lost..lost + 2, u64::MAX), Err(Error::Damaged(_))));
        let after: Vec<Entry> = kept[kept.len() - behind..].iter().copied().cloned().collect();
        assert_eq!(journal.entries(lost + 1..lost + 1 + behind as u64, u64::MAX).unwrap(), after);
        assert!(
            round == 0 || !has_room || journal.stats().index_misses == misses,
            "looked up in the file again and again"
        );
    }
}

#[test]
fn a_slot_that_shows_another_place_is_not_believed() {
    on_both(|disk| {
        let journal = disk.open();
        let all = entries(1..=60, 1);
        append_each(&journal, &all);
        journal.close().unwrap();
        let (name, _) = disk.find(&all[0].data);
        let mut bytes = disk.bytes(&name);
        // What stands of the first entry in the index of its file: its place, and its checksum.
        let place = place_of(&bytes, &all[0]);
        let slot = [(place as u32).to_le_bytes(), bytes[place..][..4].try_into().unwrap()].concat();
        let at = bytes.windows(8).position(|window| window == slot).unwrap();
        // The second and the third entry are said to stand where the first and the second do.
        bytes.copy_within(at..at + 16, at + 8);
        disk.put(&name, &bytes);
        for index_cache_bytes in [0, 16 << 20] {
            let options = disk.options().tail_cache_bytes(0).index_cache_bytes(index_cache_bytes);
            let journal = options.open(&disk.dir).unwrap();
            // The index of another file first: then what has no room there is looked up in the file.
            for expected in all[40..41].iter().chain(&all).chain(&all) {
                assert_eq!(journal.entry(expected.index).unwrap(), *expected);
            }
        }
    });
}

#[test]
fn what_an_earlier_life_left_in_the_place_of_an_entry_is_not_read() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=3, 1));
        let early = disk.contents();
        append_each(&journal, &entries(4..=10, 1));
        let left = disk.bytes(&disk.chain()[0]);
        drop(journal);
        // None of the seven reached the disk.
        disk.names().iter().filter(|name| !early.contains_key(*name)).for_each(|name| disk.remove(name));
        early.iter().for_each(|(name, bytes)| disk.put(name, bytes));
        let journal = disk.open();
        assert_eq!(journal.state().last_index(), Some(3));
        append_each(&journal, &others(4..61, 1));
        journal.close().unwrap();
        show_again(disk, &others(8..9, 1)[0], &left, &entry(8, 1, 300));
        check_all_but(disk, &[entries(1..=3, 1), others(4..61, 1)].concat(), 8);
    });
}

#[test]
fn what_was_replaced_is_not_read_in_the_place_of_what_replaced_it() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=8, 1));
        journal.replace_tail(&others(5..6, 1)).unwrap();
        append_each(&journal, &others(6..61, 1));
        journal.close().unwrap();
        let file = disk.bytes(&disk.chain()[0]);
        show_again(disk, &others(7..8, 1)[0], &file, &entry(7, 1, 300));
        check_all_but(disk, &[entries(1..=4, 1), others(5..61, 1)].concat(), 7);
    });
}

// Guards: a log that a snapshot has emptied goes on in the same file, and its seal says of nothing that it was replaced.
#[test]
fn what_stood_in_a_log_before_it_was_emptied_is_not_read_in_the_place_of_what_came_after() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &[entries(1..=2, 1), entries(3..=8, 2)].concat());
        journal.truncate_head(Position::new(2, 2)).unwrap();
        assert_eq!(journal.state().first_index(), None);
        append_each(&journal, &others(3..61, 2));
        journal.close().unwrap();
        let file = disk.bytes(&disk.chain()[0]);
        show_again(disk, &others(7..8, 2)[0], &file, &entry(7, 2, 300));
        check_all_but(disk, &others(3..61, 2), 7);
    });
}

/// Changes the entry at index 7 with its header, by `change`, and has its own checksum fit.
fn forge(disk: &Disk, change: impl Fn(&mut [u8])) {
    let (name, at) = disk.find(&entry(7, 2, 300).data);
    assert!(at > DATA_AT);
    let mut bytes = disk.bytes(&name);
    let salt = bytes[56..64].to_vec();
    let forged = &mut bytes[at - ENTRY_BYTES..at + 300];
    change(forged);
    let check = salted_check(&salt, &[&7_u64.to_le_bytes(), &forged[4..]]);
    forged[..4].copy_from_slice(&check.to_le_bytes());
    disk.put(&name, &bytes);
}

#[test]
fn an_entry_of_another_term_is_none_that_raft_put_there() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 2));
        journal.close().unwrap();
        forge(disk, |entry| entry[12..20].copy_from_slice(&1_u64.to_le_bytes()));
        check_all_but(disk, &entries(1..=60, 2), 7);
    });
}

// Guards: the second read of an entry went without the check that had refused it before.
#[test]
fn what_a_check_has_refused_is_not_read_without_it() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 2));
        journal.close().unwrap();
        forge(disk, |entry| entry[100] ^= 1);
        let is_refused = |journal: &Journal| {
            let error = journal.entry(7).unwrap_err();
            assert!(matches!(&error, Error::Damaged(damage) if damage.why == DamageKind::Misplaced), "{error}");
            let before = entries(5..=6, 2);
            assert_eq!(journal.entries(5..9, u64::MAX).unwrap(), before);
        };
        for ranges_first in [false, true] {
            let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
            if ranges_first {
                assert!(journal.entries(7..9, u64::MAX).is_err());
            }
            (0..3).for_each(|_| is_refused(&journal));
            journal.entry(8).unwrap();
            is_refused(&journal);
        }
    });
}

// Guards: where an entry had been put back, what stood in its place was read again once it checked out.
#[test]
fn what_was_put_back_is_read_whatever_stands_in_its_place() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 2));
        journal.close().unwrap();
        let whole = disk.contents();
        let (name, at) = disk.find(&entry(7, 2, 300).data);
        disk.flip(&name, at + 100);
        let options = || disk.options().tail_cache_bytes(0);
        let journal = options().open(&disk.dir).unwrap();
        journal.entry(7).unwrap_err();
        journal.repair(&entries(7..=7, 2)).unwrap();
        journal.close().unwrap();
        disk.put(&name, &whole[&name]);
        forge(disk, |entry| entry[100] ^= 1);
        let journal = options().open(&disk.dir).unwrap();
        for _ in 0..2 {
            assert_eq!(journal.entry(8).unwrap(), entry(8, 2, 300));
            assert_eq!(journal.entry(7).unwrap(), entry(7, 2, 300));
            assert_eq!(journal.entries(6..9, u64::MAX).unwrap(), entries(6..=8, 2));
        }
    });
}

// Guards: the same, of a file that was sealed once the entry had been put back.
#[test]
fn what_was_put_back_is_read_also_once_its_file_is_sealed() {
    on_both(|disk| {
        let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=10, 2));
        let (name, at) = disk.find(&entry(7, 2, 300).data);
        disk.flip(&name, at + 100);
        journal.entry(7).unwrap_err();
        journal.repair(&entries(7..=7, 2)).unwrap();
        append_each(&journal, &entries(11..=60, 2));
        disk.flip(&name, at + 100);
        forge(disk, |entry| entry[100] ^= 1);
        for _ in 0..2 {
            assert_eq!(journal.entry(8).unwrap(), entry(8, 2, 300));
            assert_eq!(journal.entry(7).unwrap(), entry(7, 2, 300));
        }
    });
}
