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

// Promise 7: where the index does not fit, a read takes the slots of its entry and the next one from the seal. A page comes into memory,
// and another one leaves, when it is looked into a second time before others have taken its turn.
#[test]
fn beyond_the_index_cache_a_read_takes_its_slot_and_a_second_one_the_page() {
    let disk = Disk::simulated();
    let options = disk.options().segment_bytes(256 << 10).tail_cache_bytes(0).index_cache_bytes(1000);
    let journal = options.open(&disk.dir).unwrap();
    append_each(&journal, &(1..=6000).map(|index| entry(index, 1, 40)).collect::<Vec<_>>());
    let cost = |index: u64| {
        let before = disk.sim().counts();
        assert_eq!(journal.entry(index).unwrap(), entry(index, 1, 40));
        let cost = disk.sim().counts() - before;
        (cost.reads, cost.bytes_read)
    };
    // An entry, what stands before it, and before the next one, which begins at a multiple of 8.
    let (entry_bytes, slots_bytes) = (40 + 20 + 4 + 72, 2 * 8);
    let pages: Vec<u64> = (0..7).map(|page| 100 + page * 511).collect();
    let first: Vec<_> = pages.iter().map(|&index| cost(index)).collect();
    // The last page of a file is shorter.
    let is_page = |&(reads, bytes): &(u64, u64)| reads == 2 && bytes > 1000;
    let kept = first.iter().take_while(|cost| is_page(cost)).count();
    assert!((4..7).contains(&kept), "{first:?}");
    assert!(first[kept..].iter().all(|&cost| cost == (2, slots_bytes + entry_bytes)), "{first:?}");
    assert!(is_page(&cost(pages[6] + 1)));
    assert_eq!(cost(pages[6] + 2), (1, entry_bytes));
    assert_eq!(cost(pages[0] + 1), (2, slots_bytes + entry_bytes), "the first one had to leave");
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
