//! Digests: the same wherever the entries are the same, and another one wherever they are not.

mod common;

use common::{Disk, append_each, entry, log, on_both};
use raft_journal::{Compression, Entry, Error, LogStore, MemoryStore, Position, RangeDigest};

/// Entries of all sizes, some of which compress.
fn history() -> Vec<Entry> {
    (1..=120).map(|index| entry(index, 1 + index / 50, (index as usize * 37) % 900)).collect()
}

#[test]
fn a_digest_does_not_depend_on_how_entries_are_stored() {
    let entries = history();
    let memory = MemoryStore::new();
    memory.append(&entries).unwrap();
    let expected = RangeDigest::of(&memory, 1..121).unwrap();
    assert_eq!(expected.entries(), 120);
    on_both(|disk| {
        for (number, compression) in
            [Compression::None, Compression::Lz4 { threshold_bytes: 16 }].into_iter().enumerate()
        {
            for (segment_bytes, batch) in [(8 << 10, 1), (8 << 10, 7), (256 << 10, 120)] {
                let disk = disk.beside(&format!("{number}-{segment_bytes}-{batch}"));
                let options = disk.options().segment_bytes(segment_bytes).compression(compression);
                let journal = options.tail_cache_bytes(if batch == 7 { 0 } else { 4096 }).open(&disk.dir).unwrap();
                // Something else stood there first.
                append_each(&journal, &(1..=20).map(|index| entry(index, 1, 40)).collect::<Vec<_>>());
                journal.truncate_tail(1).unwrap();
                entries.chunks(batch).for_each(|batch| _ = journal.append(batch).unwrap());
                assert_eq!(journal.range_digest(1..121).unwrap(), expected);
                assert_eq!(disk.open_read_only().range_digest(1..121).unwrap(), expected);
                journal.truncate_head(Position::new(30, 1)).unwrap();
                let head = RangeDigest::of(&memory, 1..31).unwrap();
                assert_eq!(journal.range_digest(31..121).unwrap(), expected.split(head));
            }
        }
    });
}

#[test]
fn any_change_of_any_entry_changes_the_digest() {
    let entries = history();
    let of = |entries: &[Entry]| {
        let mut digest = RangeDigest::new();
        entries.iter().for_each(|entry| digest.add(entry));
        digest
    };
    let mut seen = std::collections::HashSet::from([of(&entries)]);
    let mut differs = |what: &str, changed: Vec<Entry>| assert!(seen.insert(of(&changed)), "{what}");
    for at in 0..entries.len() {
        let changed = |change: &dyn Fn(&mut Entry)| {
            let mut changed = entries.clone();
            change(&mut changed[at]);
            changed
        };
        differs("a term", changed(&|entry| entry.term += 1));
        differs("an index", changed(&|entry| entry.index += 1000));
        differs("a longer payload", changed(&|entry| entry.data = [&entry.data[..], b"\0"].concat().into()));
        differs("a shorter payload", changed(&|entry| entry.data = entry.data.slice(1..)));
        for byte in (0..entries[at].data.len()).step_by(13) {
            differs(
                "a byte",
                changed(&|entry| {
                    let mut data = entry.data.to_vec();
                    data[byte] ^= 1;
                    entry.data = data.into();
                }),
            );
        }
        differs("one less", [&entries[..at], &entries[at + 1..]].concat());
    }
    for at in 1..entries.len() {
        let mut swapped = entries.clone();
        let (one, other) = (entries[at - 1].data.clone(), entries[at].data.clone());
        (swapped[at - 1].data, swapped[at].data) = (other, one);
        differs("two payloads that changed places", swapped);
    }
}

#[test]
fn a_running_digest_follows_appends_replacements_and_truncations() {
    let journal = Disk::simulated().open();
    let mut running = RangeDigest::new();
    let entries = history();
    for entry in &entries {
        journal.append(std::slice::from_ref(entry)).unwrap();
        running.add(entry);
    }
    let replaced = [entry(110, 9, 10), entry(111, 9, 10)];
    entries[109..].iter().for_each(|entry| running.remove(entry));
    replaced.iter().for_each(|entry| running.add(entry));
    journal.replace_tail(&replaced).unwrap();
    running = running.split(journal.range_digest(1..41).unwrap());
    journal.truncate_head(Position::new(40, 1)).unwrap();
    assert_eq!(running, journal.range_digest(41..112).unwrap());
    assert_eq!(running.entries(), log(&journal).len() as u64);
    assert_eq!(journal.range_digest(50..50).unwrap(), RangeDigest::new());
}

#[test]
fn a_range_that_cannot_be_read_has_no_digest() {
    let disk = Disk::simulated();
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &history());
    assert!(matches!(journal.range_digest(100..122), Err(Error::AfterLast { .. })));
    assert!(matches!(journal.range_digest(std::ops::Range { start: 9, end: 3 }), Err(Error::BackwardRange { .. })));
    let (name, at) = disk.find(&history()[69].data);
    disk.flip(&name, at);
    assert!(matches!(journal.range_digest(1..121), Err(Error::Damaged(damage)) if damage.indexes.contains(70)));
    assert_eq!(journal.range_digest(1..70).unwrap().entries(), 69);
    journal.truncate_head(Position::new(80, 2)).unwrap();
    assert!(matches!(journal.range_digest(1..121), Err(Error::BeforeFirst { .. })));
    journal.close().unwrap();
    assert!(matches!(journal.range_digest(81..121), Err(Error::Closed)));
}

/// Digests are sent from node to node: a change of their value is a change of a protocol. This one was also computed with
/// the reference implementation of XXH3.
#[test]
fn a_digest_is_the_same_in_every_build() {
    let mut digest = RangeDigest::new();
    digest.add(&Entry::new(7, 3, "set x = 1"));
    digest.add(&Entry::new(8, 3, vec![0xa5; 1000]));
    assert_eq!(digest.to_string(), "51a05067103f5e9c3d6ea8b16b69d832 of 2 entries");
    assert_eq!(RangeDigest::from_bytes(digest.to_bytes()), digest);
}
