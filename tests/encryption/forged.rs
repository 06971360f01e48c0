//! Somebody changes the files, who knows every byte of the format, and has no key.

use raft_journal::layout::{meta, segment as s};
use raft_journal::{DamageKind, Error, Journal, KeyFault, LogStore, StableStore};

use crate::common::{Disk, append_each, entries, log};
use crate::forge::{Segment, change_header, change_meta};
use crate::{fault, open, ring};

/// A journal whose process was killed, with six entries in three batches, all in one file.
fn killed() -> Disk {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    journal.set(b"vote", b"me").unwrap();
    entries(1..=6, 1).chunks(2).for_each(|pair| _ = journal.append(pair).unwrap());
    disk.killed()
}

fn why(journal: &Journal, index: u64) -> Option<DamageKind> {
    match journal.entry(index) {
        Ok(entry) => {
            assert_eq!(entry, entries(index..=index, 1)[0], "a wrong entry");
            None
        }
        Err(Error::Damaged(damage)) => {
            assert!(damage.indexes.contains(index), "{damage}");
            Some(damage.why)
        }
        Err(error) => panic!("{error}"),
    }
}

/// The entries that are refused because they are not authentic; all others must be right.
fn refused(disk: &Disk) -> Vec<u64> {
    let journal = open(disk, ring(1)).unwrap();
    let refused =
        |&index: &u64| why(&journal, index).inspect(|why| assert_eq!(*why, DamageKind::NotAuthentic)).is_some();
    (1..=6).filter(refused).collect()
}

#[test]
fn files_that_are_forged_as_they_were_are_read() {
    let disk = killed();
    Segment::of(&disk).put();
    change_meta(&disk, |_| {});
    assert_eq!(refused(&disk), [0; 0]);
}

#[test]
fn a_changed_byte_of_an_entry_is_refused_in_spite_of_right_checksums() {
    let rest = killed();
    let range = Segment::of(&rest).entry(3);
    // Not the length: that would be another entry's place.
    let fields =
        (range.start + s::ENTRY_FLAGS_AT..range.start + s::ENTRY_BYTES).chain(range.start + s::ENTRY_BYTES..range.end);
    for at in fields {
        let disk = rest.killed();
        let mut segment = Segment::of(&disk);
        segment.bytes[at] ^= 0x10;
        segment.put();
        // A term that falls, or a flag that nobody knows, is no entry of anybody's.
        assert_eq!(refused(&disk), [3], "byte {at}");
    }
}

#[test]
fn a_changed_byte_without_a_right_checksum_is_damage() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    append_each(&journal, &entries(1..=6, 1));
    journal.close().unwrap();
    let at = Segment::of(&disk).entry(3).end - 1;
    disk.flip(&disk.chain()[0], at);
    let journal = open(&disk, ring(1)).unwrap();
    assert_eq!((2..=4).map(|index| why(&journal, index)).collect::<Vec<_>>(), [None, Some(DamageKind::Checksum), None]);
}

#[test]
fn an_entry_at_another_index_is_refused() {
    // All entries of this test have one length: two of them change places.
    for (one, other) in [(3, 4), (1, 6), (2, 5)] {
        let disk = killed();
        let mut segment = Segment::of(&disk);
        let (from, to) = (segment.entry(one), segment.entry(other));
        let (a, b) = (segment.bytes[from.clone()].to_vec(), segment.bytes[to.clone()].to_vec());
        segment.bytes[from].copy_from_slice(&b);
        segment.bytes[to].copy_from_slice(&a);
        segment.put();
        assert_eq!(refused(&disk), [one, other]);
    }
}

#[test]
fn an_older_version_of_an_entry_is_refused_at_the_newer_ones_place() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    journal.append(&entries(1..=3, 1)).unwrap();
    let old = {
        let segment = Segment::of(&disk);
        segment.bytes[segment.entry(3)].to_vec()
    };
    journal.truncate_tail(3).unwrap();
    journal.append(&entries(3..=3, 1)).unwrap();
    let disk = disk.killed();
    let mut segment = Segment::of(&disk);
    let at = segment.entries().pop().unwrap().1.start;
    assert_ne!(segment.bytes[at..at + old.len()], old[..]);
    segment.bytes[at..at + old.len()].copy_from_slice(&old);
    segment.put();
    let journal = open(&disk, ring(1)).unwrap();
    assert_eq!([1, 2, 3].map(|index| why(&journal, index)), [None, None, Some(DamageKind::NotAuthentic)]);
}

#[test]
fn a_plaintext_entry_in_an_encrypted_file_is_refused() {
    let disk = killed();
    let mut segment = Segment::of(&disk);
    let range = segment.entry(5);
    segment.bytes[range.start + s::ENTRY_FLAGS_AT] = 0;
    let payload = range.start + s::ENTRY_BYTES;
    segment.bytes[payload..range.end].fill(b'x');
    segment.put();
    assert_eq!(refused(&disk), [5]);
}

#[test]
fn a_file_that_says_it_is_not_encrypted_is_refused() {
    let disk = killed();
    let name = disk.chain()[0].clone();
    change_header(&disk, &name, |header| header[s::HEADER_KEY_ID_AT] = 0);
    assert_eq!(fault(open(&disk, ring(1))), (0, KeyFault::NotEncrypted, name.clone()));
    change_header(&disk, &name, |header| header[s::HEADER_KEY_ID_AT] = 7);
    assert_eq!(fault(open(&disk, ring(1))), (7, KeyFault::Unknown, name.clone()));
    let keys = ring(1).with(7, crate::key(7));
    assert_eq!(fault(open(&disk, keys)), (7, KeyFault::Wrong, name));
}

#[test]
fn files_that_changed_places_are_no_part_of_the_chain() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    append_each(&journal, &entries(1..=80, 1));
    journal.close().unwrap();
    let chain = disk.chain();
    let (one, other) = (disk.bytes(&chain[1]), disk.bytes(&chain[2]));
    disk.put(&chain[1], &other);
    disk.put(&chain[2], &one);
    // As they are; and with the sequence that the name asks for.
    for _ in 0..2 {
        let Err(Error::Damaged(damage)) = open(&disk, ring(1)) else { panic!("opened") };
        assert_eq!((damage.why, &damage.path), (DamageKind::Misplaced, &disk.path(&chain[1])));
        for name in &chain[1..3] {
            let sequence: u64 = name.strip_suffix(".seg").unwrap().parse().unwrap();
            let at = s::HEADER_SEQUENCE_AT;
            change_header(&disk, name, |header| header[at..at + 8].copy_from_slice(&sequence.to_le_bytes()));
        }
    }
}

#[test]
fn a_changed_byte_of_meta_is_refused_in_spite_of_right_checksums() {
    let rest = killed();
    let len = {
        let bytes = rest.bytes("meta");
        u32::from_le_bytes(bytes[meta::LEN_AT..meta::LEN_AT + 4].try_into().unwrap()) as usize
    };
    let before = rest.bytes("meta");
    let mut faults = Vec::new();
    for at in meta::FLAGS_AT..len {
        let disk = rest.killed();
        change_meta(&disk, |copy| copy.get_mut(at).into_iter().for_each(|byte| *byte ^= 1));
        match open(&disk, ring(1)) {
            Err(Error::Key { fault, .. }) => faults.push(fault),
            // A generation in the wrong slot, a count that cannot be: no copy at all.
            Err(Error::MetaUnreadable { .. }) => {}
            other => panic!("byte {at}: {other:?}"),
        }
    }
    let count = |wanted| faults.iter().filter(|&&fault| fault == wanted).count();
    assert!(count(KeyFault::NotAuthentic) > 150, "{faults:?}");
    assert_eq!(count(KeyFault::Wrong), 32, "the bytes that tell the key, and the journal's id");
    assert_eq!(rest.bytes("meta"), before);
}

#[test]
fn a_meta_without_encryption_is_refused() {
    let (disk, plain) = (killed(), Disk::simulated());
    plain.open().set(b"vote", b"mallory").unwrap();
    disk.put("meta", &plain.bytes("meta"));
    assert_eq!(fault(open(&disk, ring(1))), (0, KeyFault::NotEncrypted, "meta".to_owned()));
}

#[test]
fn a_damaged_record_of_the_key_is_served_by_its_twin_and_is_needed_by_nobody() {
    let disk = killed();
    let name = disk.chain()[0].clone();
    disk.flip(&name, 64 + 9);
    assert_eq!(log(&open(&disk, ring(1)).unwrap()).len(), 6);
    let copy = disk.bytes(&name).len() - 512;
    disk.flip(&name, copy + 64 + 9);
    assert_eq!(log(&open(&disk, ring(1)).unwrap()).len(), 6);
}
