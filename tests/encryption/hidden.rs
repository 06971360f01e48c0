//! What the disk shows.

use std::collections::BTreeSet;

use raft_journal::{Changes, Compression, Entry, Error, LogStore, OpenOptions, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};
use crate::forge::Segment;
use crate::{open, options, ring};

/// Whether any file holds these bytes.
fn is_shown(disk: &Disk, bytes: &[u8]) -> bool {
    disk.contents().values().any(|file| file.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn what_was_written_is_read_again_and_shown_by_no_file() {
    on_both(|disk| {
        let journal = open(disk, ring(1)).unwrap();
        let all = entries(1..=60, 3);
        append_each(&journal, &all);
        journal.commit(&Changes::new().set("voted-for", "the node next door").set_u64("term", 3)).unwrap();
        assert_eq!(log(&journal), all);
        journal.close().unwrap();
        assert!(disk.chain().len() > 2);
        for secret in [&b"<entry 7 of"[..], b"....", b"voted-for", b"next door", &[1; 32], &[1; 16]] {
            assert!(!is_shown(disk, secret), "{}", secret.escape_ascii());
        }
        for _ in 0..2 {
            let journal = open(disk, ring(1)).unwrap();
            assert_eq!(log(&journal), all);
            assert_eq!(journal.entry(33).unwrap(), all[32]);
            assert_eq!(journal.get(b"voted-for").unwrap().unwrap(), "the node next door");
            assert_eq!(journal.get_u64(b"term").unwrap(), Some(3));
            journal.close().unwrap();
        }
        let looker = options(disk, ring(1)).read_only(true).open(&disk.dir).unwrap();
        assert_eq!(log(&looker), all);
    });
}

/// Terms that no number of another kind happens to be.
const TERMS: [u64; 4] = [0x1f2e_3d4c_5b6a_7988, 0x2f2e_3d4c_5b6a_7988, 0x3f2e_3d4c_5b6a_7988, 0x4f2e_3d4c_5b6a_7988];

fn entry_of(index: u64) -> Entry {
    Entry::new(index, TERMS[(index / 21) as usize % 4], format!("entry {index} {}", "-".repeat(200)))
}

/// Makes a journal write every kind of file and record that knows a term: entries, seals, an index, `meta`'s mark and its purged
/// position, a repair file, a checkpoint. Says what of the terms any file shows.
fn terms_shown(disk: &Disk, options: impl Fn() -> OpenOptions) -> Vec<u64> {
    let copy = disk.beside("copy");
    let shown = || -> Vec<u64> {
        let is_there = |term: &u64| [disk, &copy].iter().any(|disk| is_shown(disk, &term.to_le_bytes()));
        TERMS.into_iter().filter(is_there).collect()
    };
    let journal = options().open(&disk.dir).unwrap();
    (1..=80).try_for_each(|index| journal.append(&[entry_of(index)]).map(drop)).unwrap();
    journal.truncate_head(entry_of(5).position()).unwrap();
    journal.commit(&Changes::new().set("voted-for", "nobody")).unwrap();
    journal.close().unwrap();
    assert!(disk.chain().len() > 2);
    let at = crate::common::walk::entries(&disk.bytes(&disk.chain()[0])).into_iter().find(|it| it.index == 9).unwrap();
    disk.flip(&disk.chain()[0], at.bytes.end - 1);
    let journal = options().open(&disk.dir).unwrap();
    assert!(matches!(journal.entry(9), Err(Error::Damaged(_))));
    journal.repair(&[entry_of(9)]).unwrap();
    journal.checkpoint(&copy.dir).unwrap();
    let before = shown();
    journal.rewrite().unwrap();
    let all: Vec<Entry> = (6..=80).map(entry_of).collect();
    assert_eq!(log(&journal), all);
    journal.close().unwrap();
    assert_eq!(shown(), before);
    for dir in [&disk.dir, &copy.dir] {
        let journal = options().open(dir).unwrap();
        assert_eq!((log(&journal), journal.state().purged), (all.clone(), Some(entry_of(5).position())));
        assert!(all.iter().all(|entry| journal.term(entry.index).unwrap() == entry.term));
    }
    before
}

#[test]
fn no_file_shows_a_term() {
    on_both(|disk| {
        assert_eq!(terms_shown(disk, || options(disk, ring(1))), [0; 0]);
    });
    let plain = Disk::simulated();
    let shown = terms_shown(&plain, || plain.options().tail_cache_bytes(0));
    assert_eq!(shown, TERMS, "without keys: what this test would see");
}

#[test]
fn the_same_payload_looks_different_each_time() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    for index in 1..=10 {
        journal.append(&[Entry::new(index, 1, vec![0x77; 64])]).unwrap();
        journal.truncate_tail(index).unwrap();
        journal.append(&[Entry::new(index, 1, vec![0x77; 64])]).unwrap();
    }
    let segment = Segment::of(&disk);
    let stored = segment.entries().into_iter().map(|(_, range)| &segment.bytes[range.end - 16 - 64..range.end - 16]);
    // No block of any of them twice: neither one key stream nor one text.
    let blocks: Vec<&[u8]> = stored.flat_map(|text| text.chunks(16)).collect();
    assert_eq!(blocks.len(), 20 * 4);
    assert_eq!(blocks.iter().collect::<BTreeSet<_>>().len(), blocks.len());
}

#[test]
fn compressed_payloads_come_back_and_their_sizes_tell() {
    let disk = Disk::simulated();
    let compressed = |disk| options(disk, ring(1)).compression(Compression::Lz4 { threshold_bytes: 64 });
    let journal = compressed(&disk).open(&disk.dir).unwrap();
    let all = [Entry::new(1, 1, "words ".repeat(100)), Entry::new(2, 1, ""), Entry::new(3, 1, "short")];
    journal.append(&all).unwrap();
    assert_eq!(log(&journal), all);
    journal.close().unwrap();
    assert_eq!(log(&compressed(&disk).open(&disk.dir).unwrap()), all);
    let file = disk.bytes(&disk.chain()[0]);
    let stored = u32::from_le_bytes(file[512 + 72 + 4..512 + 72 + 8].try_into().unwrap());
    assert!(stored < 100, "{stored} bytes");
}

#[test]
fn a_batch_that_fills_its_file_leaves_room_for_what_encryption_adds() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    let mut next = 1;
    // Entries of all sizes around those that just fit, and batches of many that are tiny.
    for bytes in (0..120).chain(7000..7100).chain(20_000..20_003) {
        journal.append(&[Entry::new(next, 1, vec![7; bytes])]).unwrap();
        next += 1;
    }
    let many: Vec<Entry> = (next..next + 3000).map(|index| Entry::new(index, 2, "")).collect();
    journal.append(&many).unwrap();
    let all = log(&journal);
    assert_eq!(all.len() as u64, next + 2999);
    journal.close().unwrap();
    assert_eq!(log(&open(&disk, ring(1)).unwrap()), all);
}
