//! An entry is the one that was appended last at its index, also where the disk shows what stood in its place before: the
//! checks that tell them apart are left out of memory only where there is nothing to tell apart.

use raft_journal::{DamageKind, Entry, Error, Journal, LogStore};

use crate::common::{Disk, append_each, entries, entry, on_both};

/// What stands before a payload.
const ENTRY_BYTES: usize = 20;

/// Has the place of `new` show `old`, an entry of the same length out of what the file was once.
fn show_again(disk: &Disk, new: &Entry, file: &[u8], old: &Entry) {
    let (name, at) = disk.find(&new.data);
    let stood = file.windows(old.data.len()).position(|bytes| bytes == old.data).unwrap();
    let mut bytes = disk.bytes(&name);
    let len = ENTRY_BYTES + new.data.len();
    bytes[at - ENTRY_BYTES..][..len].copy_from_slice(&file[stood - ENTRY_BYTES..][..len]);
    disk.put(&name, &bytes);
}

/// Reads all but `lost`, twice: the second time, what can be known of their places is in memory.
fn check_all_but(journal: &Journal, expected: &[Entry], lost: u64) {
    for _ in 0..2 {
        for entry in expected.iter().filter(|entry| entry.index != lost) {
            assert_eq!(journal.entry(entry.index).unwrap(), *entry);
        }
        let error = journal.entry(lost).unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error}") };
        assert!(damage.why == DamageKind::Misplaced && damage.indexes.contains(lost), "{error}");
        let range = journal.entries(lost - 2..lost + 2, u64::MAX).unwrap();
        assert_eq!(range, expected[lost as usize - 3..lost as usize - 1]);
        assert!(matches!(journal.entries(lost..lost + 2, u64::MAX), Err(Error::Damaged(_))));
    }
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
        append_each(&journal, &entries(4..=60, 2));
        journal.close().unwrap();
        show_again(disk, &entry(8, 2, 300), &left, &entry(8, 1, 300));
        let expected = [entries(1..=3, 1), entries(4..=60, 2)].concat();
        check_all_but(&disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap(), &expected, 8);
    });
}

#[test]
fn what_was_replaced_is_not_read_in_the_place_of_what_replaced_it() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=8, 1));
        journal.replace_tail(&entries(5..=5, 2)).unwrap();
        append_each(&journal, &entries(6..=60, 2));
        journal.close().unwrap();
        let file = disk.bytes(&disk.chain()[0]);
        show_again(disk, &entry(7, 2, 300), &file, &entry(7, 1, 300));
        let expected = [entries(1..=4, 1), entries(5..=60, 2)].concat();
        check_all_but(&disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap(), &expected, 7);
    });
}
