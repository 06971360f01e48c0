//! Somebody changes the files, who knows every byte of the format, and has no key.

use std::ops::ControlFlow;

use raft_journal::layout::{meta, segment as s};
use raft_journal::{
    Compression, DamageKind, DamagedRange, Entry, Error, FaultPart, Journal, KeyFault, LogStore, OnDamage, Position,
    StableStore, VerifyOptions,
};

use crate::common::walk::u32_at;
use crate::common::{Disk, append_each, entries, log, walk};
use crate::forge::{Segment, change_header, change_meta};
use crate::{closed, fault, open, options, ring};

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

/// Opens a journal whose newest file holds entries that somebody put there: that is told, and nothing is cut; who accepts it
/// gets all the others.
fn open_forged(disk: &Disk) -> Journal {
    let before = disk.contents();
    match open(disk, ring(1)) {
        Err(Error::Damaged(damage)) => assert_eq!(damage.why, DamageKind::NotAuthentic, "{damage}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.contents(), before);
    options(disk, ring(1)).on_damage(OnDamage::Accept).open(&disk.dir).unwrap()
}

/// The entries that are refused because they are not authentic, and their terms with them; all others must be right.
fn refused(disk: &Disk) -> Vec<u64> {
    let journal = open_forged(disk);
    let refused =
        |&index: &u64| why(&journal, index).inspect(|why| assert_eq!(*why, DamageKind::NotAuthentic)).is_some();
    let refused: Vec<u64> = (1..=6).filter(refused).collect();
    for index in 1..=6 {
        match journal.term(index) {
            Ok(term) => assert!(term == 1 && !refused.contains(&index), "{index}"),
            Err(error) => assert!(matches!(error, Error::Damaged(_)) && refused.contains(&index), "{index}: {error}"),
        }
    }
    refused
}

#[test]
fn files_that_are_forged_as_they_were_are_read() {
    let disk = killed();
    Segment::of(&disk).put();
    change_meta(&disk, |_| {});
    assert_eq!(log(&open(&disk, ring(1)).unwrap()), entries(1..=6, 1));
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
        // Another term, whatever it is, or a flag that nobody knows, is no entry of anybody's.
        assert_eq!(refused(&disk), [3], "byte {at}");
    }
}

// Guards: the newest batch, in which somebody changed an entry, was cut as one that was torn, or its term believed.
#[test]
fn an_entry_that_somebody_put_at_the_very_end_is_told_and_can_be_put_back() {
    let disk = killed();
    let mut segment = Segment::of(&disk);
    let range = segment.entry(6);
    segment.bytes[range.end - 1] ^= 0x10;
    segment.put();
    let journal = open_forged(&disk);
    let refused = journal.append(&[Entry::new(8, 1, "too far")]);
    assert!(matches!(refused, Err(Error::Gap { expected: 7, .. })), "{refused:?}");
    journal.append(&entries(7..=7, 1)).unwrap();
    assert_eq!(whys(&journal, 1..=7), [(6, DamageKind::NotAuthentic)]);
    journal.repair(&entries(6..=6, 1)).unwrap();
    assert_eq!(log(&journal), entries(1..=7, 1));
    journal.close().unwrap();
    assert_eq!(log(&open(&disk, ring(1)).unwrap()), entries(1..=7, 1));
}

// Guards: how long the entry was that had stood there was guessed, and a scan did not find what was put back for it.
#[test]
fn what_was_put_back_for_a_forged_entry_is_found_by_the_scan_of_the_next_open() {
    let disk = Disk::simulated();
    let compressed = options(&disk, ring(1)).compression(Compression::Lz4 { threshold_bytes: 64 });
    let held = entries(1..=6, 1);
    let journal = compressed.open(&disk.dir).unwrap();
    journal.append(&held).unwrap();
    let disk = disk.killed();
    let mut segment = Segment::of(&disk);
    let range = segment.entry(4);
    assert!(range.len() < held[3].data.len(), "it is compressed");
    segment.bytes[range.end - 1] ^= 0x10;
    segment.put();
    let journal = open_forged(&disk);
    journal.append(&entries(7..=7, 1)).unwrap();
    journal.repair(&held[3..4]).unwrap();
    let journal = open(&disk.killed(), ring(1)).unwrap();
    assert_eq!(log(&journal), entries(1..=7, 1));
    assert_eq!(journal.recovery_report().damaged.len(), 0, "{:?}", journal.recovery_report());
}

#[test]
fn verify_names_what_is_not_authentic_in_every_file() {
    let disk = closed(&entries(1..=80, 1));
    let mut segment = Segment::first(&disk);
    let range = segment.entry(4);
    segment.bytes[range.end - 1] ^= 0x10;
    segment.put_sealed();
    let journal = open(&disk, ring(1)).unwrap();
    let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
    let told = report.faults.iter().map(|fault| (fault.part, fault.indexes, fault.cause.to_string()));
    let why = DamageKind::NotAuthentic.to_string();
    let indexes = DamagedRange { first: 4, end: Some(5) };
    // The seal's own checksum was not mended.
    let expected = [(FaultPart::Entry, Some(indexes), why), (FaultPart::Index, None, DamageKind::Checksum.to_string())];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn where_an_index_is_damaged_too_its_entries_are_told_as_forged() {
    let disk = forged_first(|segment| {
        let range = segment.entry(4);
        segment.bytes[range.end - 1] ^= 0x10;
    });
    let segment = Segment::first(&disk);
    let page = segment.page(*walk::batches(&segment.bytes).last().unwrap());
    disk.flip(&segment.name, page + s::PAGE_HEAD_BYTES);
    let journal = open(&disk, ring(1)).unwrap();
    let Err(Error::Damaged(damage)) = journal.entry(1) else { panic!("read without an index") };
    assert_eq!((damage.why, damage.indexes.first), (DamageKind::NotAuthentic, 1));
    assert_eq!(journal.entry(60).unwrap(), entries(60..=60, 3)[0]);
}

#[test]
fn a_changed_byte_without_a_right_checksum_is_damage() {
    let disk = closed(&entries(1..=6, 1));
    let at = Segment::of(&disk).entry(3).end - 1;
    disk.flip(&disk.chain()[0], at);
    let journal = open(&disk, ring(1)).unwrap();
    assert_eq!((2..=4).map(|index| why(&journal, index)).collect::<Vec<_>>(), [None, Some(DamageKind::Checksum), None]);
}

/// What these entries turn out to be, one by one.
fn whys(journal: &Journal, indexes: std::ops::RangeInclusive<u64>) -> Vec<(u64, DamageKind)> {
    indexes.filter_map(|index| Some((index, why(journal, index)?))).collect()
}

fn moved(from: u64) -> DamageKind {
    DamageKind::Moved { from }
}

#[test]
fn an_entry_at_another_index_is_refused_and_says_where_it_comes_from() {
    // All entries of this test have one length: two of them change places.
    for (one, other) in [(3, 4), (1, 6), (2, 5)] {
        let disk = killed();
        let mut segment = Segment::of(&disk);
        segment.swap(one, other);
        segment.put();
        let journal = open_forged(&disk);
        assert_eq!(whys(&journal, 1..=6), [(one, moved(other)), (other, moved(one))]);
        let told = journal.damaged().into_iter().map(|damage| (damage.indexes.first, damage.why));
        assert_eq!(told.collect::<Vec<_>>(), [(one, moved(other)), (other, moved(one))]);
        // In a range, too.
        assert_eq!(journal.entries(1..7, u64::MAX).map_or(0, |entries| entries.len() as u64), one - 1);
    }
}

#[test]
fn an_entry_that_was_copied_to_another_index_is_refused_there_alone() {
    let disk = killed();
    let mut segment = Segment::of(&disk);
    let (from, to) = (segment.entry(2), segment.entry(5));
    let copy = segment.bytes[from].to_vec();
    segment.bytes[to].copy_from_slice(&copy);
    segment.put();
    assert_eq!(whys(&open_forged(&disk), 1..=6), [(5, moved(2))]);
}

#[test]
fn a_moved_entry_of_a_sealed_file_is_known_where_it_belongs_to_the_same_file() {
    let disk = closed(&entries(1..=80, 1));
    assert!(disk.chain().len() > 2);
    let mut segment = Segment::first(&disk);
    let last = segment.entries().len() as u64;
    segment.swap(2, last);
    // And one from the file behind.
    let next = disk.bytes(&disk.chain()[1]);
    let (from, to) = (walk::entries(&next).remove(0), segment.entry(4));
    segment.bytes[to].copy_from_slice(&next[from.bytes]);
    segment.put_sealed();
    let journal = open(&disk, ring(1)).unwrap();
    assert_eq!(whys(&journal, 1..=80), [(2, moved(last)), (4, DamageKind::NotAuthentic), (last, moved(2))]);
    // The head that is purged is not asked any more.
    journal.truncate_head(Position::new(3, 1)).unwrap();
    assert_eq!(whys(&journal, 4..=80), [(4, DamageKind::NotAuthentic), (last, DamageKind::NotAuthentic)]);
}

#[test]
fn terms_that_an_index_was_made_to_say_are_not_believed() {
    let all: Vec<Entry> = (1..=6).map(|index| Entry::new(index, index, "one length")).collect();
    let disk = closed(&all);
    let rest = disk.killed();
    let segment = Segment::of(&rest);
    let index = *walk::batches(&segment.bytes).last().unwrap();
    assert_eq!(u32_at(&segment.bytes, index + s::BATCH_KIND_AT), 3, "what a close writes");
    let (runs, end) = (index + s::BATCH_BYTES + s::SUMMARY_BYTES, segment.page(index));
    for at in (runs..end).chain([index + s::BATCH_BYTES + s::SUMMARY_BASE_AT]) {
        let disk = rest.killed();
        let mut segment = Segment::of(&disk);
        segment.bytes[at] ^= 0x10;
        segment.put();
        // Found out when it is opened, or read from the batches instead; never another term.
        match open(&disk, ring(1)) {
            Err(error) => assert!(matches!(error, Error::Damaged(_)), "byte {at}: {error:?}"),
            Ok(journal) => assert!(all.iter().all(|it| journal.term(it.index).unwrap() == it.term), "byte {at}"),
        }
    }
    Segment::of(&rest).put();
    assert_eq!(log(&open(&rest, ring(1)).unwrap()), all, "as it was");
}

/// A journal of several files whose process was killed, its first file changed, and all that follows chained to that.
fn forged_first(change: impl Fn(&mut Segment<'_>)) -> Disk {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    append_each(&journal, &entries(1..=60, 3));
    let killed = disk.killed();
    let mut segments = Segment::all(&killed);
    assert!(segments.len() > 2);
    change(&mut segments[0]);
    let mut chain = u32_at(&segments[0].bytes, 512 + s::BATCH_CHAIN_AT);
    segments.into_iter().for_each(|segment| chain = segment.put_behind(chain));
    killed
}

// Guards: what a seal said of terms was believed without a key, if the file's header said that it was an earlier version's.
#[test]
fn no_seal_is_believed_about_terms_because_its_file_looks_like_an_earlier_versions() {
    let disk = forged_first(|segment| segment.show_term(77));
    let journal = open(&disk, ring(1)).unwrap();
    let shown = Segment::first(&disk).entries().len() as u64;
    for index in 1..=60 {
        match journal.term(index) {
            Ok(term) => assert!(term == 3 && index > shown, "{index}: {term}"),
            Err(error) => assert!(matches!(error, Error::Damaged(_)) && index <= shown, "{index}: {error}"),
        }
    }
    // Nor by a truncation: it would take the position for another log's, and all that follows with it.
    let truncated = journal.truncate_head(Position::new(shown / 2, 3));
    assert_eq!(journal.state().last, Some(Position::new(60, 3)), "{truncated:?}");
    assert_eq!(journal.entry(60).unwrap(), entries(60..=60, 3)[0]);
}

#[test]
fn an_entry_from_far_away_is_refused_without_a_long_search() {
    let disk = Disk::simulated();
    let options = || crate::options(&disk, ring(1)).segment_bytes(1 << 20);
    let journal = options().open(&disk.dir).unwrap();
    let many: Vec<_> = (1..=1500).map(|index| Entry::new(index, 1, "of one length")).collect();
    journal.append(&many).unwrap();
    let rest = disk.killed();
    for (to, expected) in [(1001, Some(1)), (1002, None)] {
        let kind = |from: Option<u64>| from.map_or(DamageKind::NotAuthentic, moved);
        let disk = rest.killed();
        let mut segment = Segment::of(&disk);
        segment.swap(1, to);
        segment.put();
        let journal = open_forged(&disk);
        for (at, from) in [(to, expected), (1, expected.map(|_| to))] {
            let Err(Error::Damaged(damage)) = journal.entry(at) else { panic!("read") };
            assert_eq!(damage.why, kind(from), "{at}");
        }
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
    let journal = open_forged(&disk);
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
    let disk = closed(&entries(1..=80, 1));
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

// Guards: the version in front decided how the text was read, and was not authenticated: with terms of the right size, a vote
// disappeared among them.
#[test]
fn meta_is_not_read_as_another_version_than_it_was_written_in() {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    journal.set(b"vote", b"me").unwrap();
    // As a pair's head: a key of 22 bytes, no value; so long are the two terms, less that head, and the one pair behind them.
    journal.append(&[Entry::new(1, 22, "words")]).unwrap();
    journal.close().unwrap();
    for version in 1..=5 {
        let disk = disk.killed();
        change_meta(&disk, |copy| copy[meta::VERSION_AT] = version);
        match open(&disk, ring(1)) {
            Ok(journal) => assert_eq!((version, journal.get(b"vote").unwrap().unwrap()), (4, "me".into())),
            Err(Error::UnsupportedVersion { found: 5, .. }) => assert_eq!(version, 5),
            Err(error) => {
                let is_told = matches!(error, Error::Key { fault: KeyFault::NotAuthentic, .. });
                assert!(is_told && version < 4, "{version}: {error}");
            }
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
