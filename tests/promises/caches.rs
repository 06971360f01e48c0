//! Promise 7: memory is bounded by what was asked for.

use raft_journal::{Entry, Journal, LogStore};

use crate::common::{Disk, append_each, entries, entry, on_both};

#[test]
fn caches_of_no_bytes_still_read_right() {
    on_both(|disk| {
        let options = disk.options().tail_cache_bytes(0).index_cache_bytes(0);
        let journal = options.open(&disk.dir).unwrap();
        let all = [entries(1..=50, 1), entries(51..=100, 2)].concat();
        append_each(&journal, &all);
        let check = |journal: &Journal| {
            for expected in &all {
                assert_eq!(journal.entry(expected.index).unwrap(), *expected);
                assert_eq!(journal.term(expected.index).unwrap(), expected.term);
            }
            assert_eq!(journal.entries(1..101, u64::MAX).unwrap(), all);
            assert_eq!(journal.entries(30..90, 300 * 10).unwrap(), all[29..39]);
        };
        check(&journal);
        journal.close().unwrap();
        check(&options.open(&disk.dir).unwrap());
    });
}

// Promise 7: what does not fit the caches is not in memory, so it is read.
#[test]
fn only_as_much_of_the_tail_as_was_asked_for_is_kept_in_memory() {
    let disk = Disk::simulated();
    let journal = disk.options().tail_cache_bytes(4000).index_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=200, 1));
    let reads_of = |index| {
        let before = disk.sim().counts().reads;
        assert_eq!(journal.entry(index).unwrap(), entry(index, 1, 300));
        disk.sim().counts().reads - before
    };
    let cached: Vec<u64> = (1..=200).filter(|&index| reads_of(index) == 0).collect();
    assert!(!cached.is_empty() && cached.len() <= 13, "{cached:?}");
    assert_eq!(cached.last(), Some(&200));
    (1..=180).for_each(|index| assert!(reads_of(index) > 0, "{index} is read a second time from memory"));
}

// Promise 7: an index cache that has room for one page of slots has room for the places of thousands of equal entries.
#[test]
fn of_equal_entries_a_small_index_cache_holds_all_places() {
    let disk = Disk::simulated();
    let options = disk.options().segment_bytes(256 << 10).tail_cache_bytes(0).index_cache_bytes(4096);
    let journal = options.open(&disk.dir).unwrap();
    let all: Vec<Entry> = (1..=6000).map(|index| entry(index, 1, 40)).collect();
    append_each(&journal, &all);
    let sealed = journal.stats().rotations;
    assert!(sealed > 2, "{sealed}");
    journal.close().unwrap();
    let journal = options.open(&disk.dir).unwrap();
    let active = 4000;
    all[..active].iter().for_each(|entry| assert_eq!(journal.entry(entry.index).unwrap(), *entry));
    for expected in &all[..active] {
        let before = disk.sim().counts().reads;
        assert_eq!(journal.entry(expected.index).unwrap(), *expected);
        assert_eq!(disk.sim().counts().reads - before, 1, "{}", expected.index);
    }
    let before = journal.stats();
    assert_eq!(journal.entries(1..3000, u64::MAX).unwrap(), all[..2999]);
    assert_eq!(journal.stats().index_misses, before.index_misses);
}

// Promise 7: what a truncation takes out of the cache goes as new entries come. Whoever has read an entry from it sees when
// he is the only one left to hold it.
#[test]
fn what_a_truncation_took_out_of_the_cache_is_given_up_as_new_entries_come() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(256 << 10).tail_cache_bytes(1 << 20).open(&disk.dir).unwrap();
    append_each(&journal, &(1..=40).map(|index| entry(index, 1, 1024)).collect::<Vec<_>>());
    let read: Vec<Entry> = (1..=40).map(|index| journal.entry(index).unwrap()).collect();
    let held = || read.iter().filter(|entry| !entry.data.is_unique()).count();
    assert_eq!(held(), 40);
    journal.truncate_tail(3).unwrap();
    assert_eq!(journal.state().last_index(), Some(2));
    append_each(&journal, &entries(3..=7, 2));
    assert_eq!(held(), 20, "not one after the other");
    append_each(&journal, &entries(8..=12, 2));
    assert_eq!(held(), 2, "those that are still in the log");
    // Forgotten where they were, and right where they are.
    assert!((1..=40).all(|index| read[index as usize - 1] == entry(index, 1, 1024)));
}
