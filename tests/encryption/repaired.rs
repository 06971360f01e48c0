//! Entries that are put back, copies, and what looks into a journal.

use std::ops::ControlFlow;

use raft_journal::io::sim::AtRest;
use raft_journal::layout::segment as s;
use raft_journal::{
    Compression, Entry, Error, Journal, KeyRing, LogStore, OnDamage, RepairFault, StableStore, VerifyOptions,
};

use crate::common::{Disk, append_each, entries, entry, log, on_both};
use crate::forge::Segment;
use crate::{fault, key, open, options, ring};

const SECRETS: [&[u8]; 2] = [b"<entry", b"voted-for"];

fn assert_hidden(disk: &Disk) {
    for (name, file) in disk.contents() {
        for secret in SECRETS {
            let is_shown = file.windows(secret.len()).any(|window| window == secret);
            assert!(!is_shown, "{name} shows {}", secret.escape_ascii());
        }
    }
}

fn repair_files(disk: &Disk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".rep")).collect()
}

/// Spoils the end of an entry of the first segment.
fn spoil(disk: &Disk, index: u64) {
    let segment = Segment::first(disk);
    let at = segment.entry(index).end - 3;
    disk.flip(&segment.name, at);
}

fn refused(result: raft_journal::Result<()>) -> RepairFault {
    match result {
        Err(Error::RepairRefused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn both(current: u32) -> KeyRing {
    ring(current).with(3 - current, key(3 - current as u8))
}

#[test]
fn what_is_put_back_is_hidden_and_stays() {
    for compression in [Compression::None, Compression::Lz4 { threshold_bytes: 16 }] {
        on_both(|disk| {
            let all = entries(1..=60, 1);
            let open = || options(disk, ring(1)).compression(compression).open(&disk.dir).unwrap();
            let journal = open();
            append_each(&journal, &all);
            journal.set(b"voted-for", b"me").unwrap();
            journal.close().unwrap();
            spoil(disk, 5);
            let journal = open();
            assert!(matches!(journal.entry(5), Err(Error::Damaged(_))));
            assert_eq!(
                refused(journal.repair(&[Entry::new(5, 2, all[4].data.clone())])),
                RepairFault::Term { known: 1 }
            );
            journal.repair(&[all[4].clone()]).unwrap();
            assert!(matches!(journal.repair(&[all[4].clone()]), Err(Error::NotDamaged { index: 5 })));
            for _ in 0..2 {
                assert_eq!((log(&journal), journal.damaged()), (all.clone(), vec![]));
            }
            journal.close().unwrap();
            assert_eq!(repair_files(disk).len(), 1);
            assert_hidden(disk);
            let journal = open();
            assert_eq!((log(&journal), journal.damaged()), (all.clone(), vec![]));
            let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
            assert!(report.complete && report.faults.iter().all(|fault| fault.indexes.is_none()), "{report:?}");
        });
    }
}

/// In the segment that is appended to, where recovery goes from batch to batch.
#[test]
fn a_batch_that_is_whole_with_what_was_put_back_is_no_damage_at_the_next_open() {
    on_both(|disk| {
        let all = entries(1..=3, 1);
        let journal = open(disk, ring(1)).unwrap();
        journal.append(&all).unwrap();
        // `meta` knows of them now: what is missing was not torn.
        journal.set(b"voted-for", b"me").unwrap();
        let killed = disk.killed();
        spoil(&killed, 2);
        assert!(matches!(open(&killed, ring(1)), Err(Error::Damaged(_))));
        let journal = options(&killed, ring(1)).on_damage(OnDamage::Accept).open(&killed.dir).unwrap();
        assert!(matches!(journal.entry(2), Err(Error::Damaged(_))));
        journal.repair(&all[1..2]).unwrap();
        assert_eq!(log(&journal), all);
        let killed = killed.killed();
        assert_hidden(&killed);
        let journal = open(&killed, ring(1)).unwrap();
        assert_eq!((log(&journal), journal.recovery_report().damaged.len()), (all.clone(), 0));
    });
}

/// The entries of one batch share their random bits: the checksum can be compared, and refutes.
#[test]
fn another_entry_of_the_same_term_is_refused_where_a_neighbour_has_the_random_bits() {
    let disk = Disk::simulated();
    let all = entries(1..=3, 1);
    let journal = open(&disk, ring(1)).unwrap();
    journal.append(&all).unwrap();
    spoil(&disk, 2);
    let other = Entry::new(2, 1, vec![7; all[1].data.len()]);
    assert_eq!(refused(journal.repair(&[other])), RepairFault::Checksum);
    assert_eq!(repair_files(&disk), [""; 0]);
    // Where its own are damaged, the neighbour's prove it all the same.
    let segment = Segment::first(&disk);
    disk.flip(&segment.name, segment.entry(2).start + s::ENTRY_TERM_AT + s::ENCRYPTED_RANDOM_AT + 2);
    journal.repair(&all[1..2]).unwrap();
    assert_eq!(log(&journal), all);
}

#[test]
fn a_rewritten_log_has_what_was_put_back_and_needs_no_repair_file() {
    on_both(|disk| {
        let all = entries(1..=60, 1);
        let journal = open(disk, ring(1)).unwrap();
        append_each(&journal, &all);
        journal.close().unwrap();
        spoil(disk, 5);
        let journal = open(disk, ring(1)).unwrap();
        journal.repair(&all[4..5]).unwrap();
        journal.close().unwrap();
        // The repair file's key is needed, like a segment's.
        let journal = open(disk, both(2)).unwrap();
        journal.rewrite().unwrap();
        assert_eq!((log(&journal), journal.damaged()), (all.clone(), vec![]));
        assert_eq!(journal.segments_by_key().keys().copied().collect::<Vec<_>>(), [2]);
        journal.close().unwrap();
        let journal = open(disk, ring(2)).unwrap();
        assert_eq!((log(&journal), journal.damaged()), (all, vec![]));
        assert_eq!(repair_files(disk), [""; 0]);
        assert_hidden(disk);
    });
}

#[test]
fn a_repair_file_needs_its_key() {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    let journal = open(&disk, ring(1)).unwrap();
    append_each(&journal, &all);
    journal.close().unwrap();
    spoil(&disk, 5);
    let journal = open(&disk, both(2)).unwrap();
    journal.repair(&all[4..5]).unwrap();
    journal.set(b"vote", b"me").unwrap();
    journal.close().unwrap();
    let journal = open(&disk, both(1)).unwrap();
    assert_eq!(journal.segments_by_key().get(&2), Some(&1), "the repair file");
    journal.set(b"vote", b"you").unwrap();
    journal.close().unwrap();
    let file = repair_files(&disk).remove(0);
    assert_eq!(fault(open(&disk, ring(1))), (2, raft_journal::KeyFault::Unknown, file));
    assert_eq!(log(&open(&disk, both(1)).unwrap()), all);
}

#[test]
fn a_checkpoint_opens_with_the_keys_and_shows_nothing() {
    on_both(|disk| {
        let all = entries(1..=60, 1);
        let journal = open(disk, ring(1)).unwrap();
        append_each(&journal, &all);
        journal.set(b"voted-for", b"me").unwrap();
        let copy = disk.beside("copy");
        journal.checkpoint(&copy.dir).unwrap();
        journal.append(&[entry(61, 1, 10)]).unwrap();
        journal.checkpoint(&copy.dir).unwrap();
        assert_hidden(&copy);
        assert_eq!(fault(copy.try_open()).1, raft_journal::KeyFault::NoKeys);
        let opened = open(&copy, ring(1)).unwrap();
        assert_eq!(log(&opened), log(&journal));
        assert_eq!(opened.get(b"voted-for").unwrap().unwrap(), "me");
    });
}

fn verified(journal: &Journal) -> (bool, usize) {
    let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
    (report.complete, report.faults.len())
}

#[test]
fn an_encrypted_journal_is_verified_and_its_segments_tell_their_keys() {
    on_both(|disk| {
        let journal = open(disk, ring(1)).unwrap();
        append_each(&journal, &entries(1..=60, 1));
        journal.close().unwrap();
        let journal = open(disk, both(2)).unwrap();
        append_each(&journal, &entries(61..=120, 1));
        assert_eq!(verified(&journal), (true, 0));
        let keys: Vec<u32> = journal.segments().unwrap().iter().map(|segment| segment.key_id).collect();
        assert!(keys.contains(&1) && keys.contains(&2) && keys.is_sorted(), "{keys:?}");
        // The record of the key, in one of its copies.
        let name = disk.chain()[0].clone();
        disk.flip(&name, raft_journal::layout::segment::HEADER_BYTES + 5);
        assert_eq!(verified(&journal), (true, 1));
        spoil(disk, 3);
        assert_eq!(verified(&journal), (true, 2));
    });
}

// Guards: two sectors of two files swapped, the random bits in front of an entry are another's; what they would make of the
// right entry's checksum said nothing, and it was refused (the hunt: damage at rest, seed 96000029).
#[test]
fn bits_that_swapped_sectors_brought_refute_nothing() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    let held = entries(1..=120, 1);
    held.chunks(4).for_each(|batch| _ = journal.append(batch).unwrap());
    journal.close().unwrap();
    // The first two entries of each file, what stands before their ciphertexts included.
    let [one, _, other, ..] = &disk.segments()[..] else { panic!("{:?}", disk.segments()) };
    let swap = AtRest::SwapSectors { path: disk.path(one), sector: 1, other_path: disk.path(other), other_sector: 1 };
    disk.sim().damage(&swap).unwrap();
    let journal = open(&disk, ring(1)).unwrap();
    let lost: Vec<u64> = (1..=120).filter(|&index| journal.entry(index).is_err()).collect();
    assert!(lost.len() >= 4, "{lost:?}");
    for &index in &lost {
        journal.repair(&held[index as usize - 1..index as usize]).unwrap();
    }
    assert_eq!(log(&journal), held);
}

// Guards: a sector that was written to the wrong place brought the random bits of the batch before or behind, whose entry was a
// neighbour that could be read: the right entry was refused (the hunt: damage at rest, seed 140001717).
#[test]
fn bits_of_another_batch_beside_an_entry_refute_nothing() {
    for neighbour in [4, 6] {
        let disk = Disk::simulated();
        let journal = open(&disk, ring(1)).unwrap();
        let held = entries(1..=9, 1);
        append_each(&journal, &held);
        journal.close().unwrap();
        let segment = Segment::first(&disk);
        let mut bytes = disk.bytes(&segment.name);
        // The life and the random bits, where the term would stand.
        let [from, to] = [neighbour, 5].map(|index| segment.entry(index).start + s::ENTRY_TERM_AT);
        assert_eq!(bytes[from..from + 4], bytes[to..to + 4], "one life");
        bytes.copy_within(from..from + s::ENCRYPTED_TEXT_AT, to);
        disk.put(&segment.name, &bytes);
        let journal = open(&disk, ring(1)).unwrap();
        assert!(matches!(journal.entry(5), Err(Error::Damaged(_))));
        journal.repair(&held[4..5]).unwrap();
        assert_eq!(log(&journal), held, "beside entry {neighbour}");
    }
}
