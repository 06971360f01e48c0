//! Appends that no log could take, and those that only look so.

use raft_journal::io::sim::SimFs;
use raft_journal::{Entry, Error, LogStore, Position};

use crate::common::{entries, entry, log, on_both};
use crate::refused;

#[test]
fn an_append_that_leaves_a_hole_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        let text =
            assert_refused!(disk, &journal, |j| j.append(&entries(5..=5, 1)), Error::Gap { expected: 4, found: 5 });
        assert!(text.contains("index 5") && text.contains("next index is 4"), "{text}");
        let torn = [entry(4, 1, 9), entry(6, 1, 9)];
        assert_refused!(disk, &journal, |j| j.append(&torn), Error::Gap { expected: 5, found: 6 });
        assert_refused!(disk, &journal, |j| j.append_pending(&torn), Error::Gap { .. });
        assert_refused!(disk, &journal, |j| j.replace_tail(&entries(5..=5, 1)), Error::Gap { expected: 4, found: 5 });
        assert_refused!(disk, &journal, |j| j.replace_tail(&torn), Error::Gap { expected: 5, found: 6 });
        journal.append(&entries(4..=4, 1)).unwrap();
    });
}

#[test]
fn an_append_that_overlaps_the_log_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        for index in [0, 1, 3] {
            let text = assert_refused!(disk, &journal, |j| j.append(&entries(index..=index, 1)), Error::Overlap { last: 3, found } if *found == index);
            assert!(text.contains("replace_tail"), "{text}");
        }
        let doubled = [entry(4, 1, 9), entry(4, 1, 9)];
        assert_refused!(disk, &journal, |j| j.append(&doubled), Error::Overlap { last: 4, found: 4 });
        journal.append(&entries(4..=4, 1)).unwrap();
    });
}

#[test]
fn a_falling_term_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 5)).unwrap();
        let fell = |error: &Error| matches!(error, Error::TermFell { index: 4, previous: 5, found: 4 });
        let error = refused(disk, &journal, |j| j.append(&entries(4..=4, 4)));
        assert!(fell(&error), "{error:?}");
        let inside = [entry(4, 6, 9), entry(5, 5, 9)];
        assert_refused!(disk, &journal, |j| j.append(&inside), Error::TermFell { index: 5, previous: 6, found: 5 });
        assert_refused!(
            disk,
            &journal,
            |j| j.replace_tail(&entries(3..=3, 4)),
            Error::TermFell { index: 3, previous: 5, found: 4 }
        );
        journal.truncate_head(Position::new(9, 7)).unwrap();
        assert_refused!(
            disk,
            &journal,
            |j| j.append(&entries(10..=10, 6)),
            Error::TermFell { index: 10, previous: 7, found: 6 }
        );
        journal.append(&entries(10..=10, 7)).unwrap();
        // What a reopened journal knows of terms is read, not remembered.
        journal.close().unwrap();
        let journal = disk.open();
        assert_refused!(
            disk,
            &journal,
            |j| j.append(&entries(11..=11, 6)),
            Error::TermFell { index: 11, previous: 7, found: 6 }
        );
        journal.append(&entries(11..=11, u64::MAX)).unwrap();
        assert_eq!(journal.term(11).unwrap(), u64::MAX, "the highest term is a term");
    });
}

#[test]
fn the_last_index_of_all_is_refused_in_an_empty_log() {
    on_both(|disk| {
        let journal = disk.open();
        let last = [entry(u64::MAX, 1, 9)];
        assert_refused!(disk, &journal, |j| j.append(&last), Error::IndexOverflow { index: u64::MAX });
        assert_refused!(disk, &journal, |j| j.replace_tail(&last), Error::IndexOverflow { index: u64::MAX });
    });
}

#[test]
fn the_last_index_of_all_is_refused_at_the_end_of_a_log() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&[entry(u64::MAX - 2, 1, 9)]).unwrap();
        let pair = [entry(u64::MAX - 1, 1, 9), entry(u64::MAX, 1, 9)];
        assert_refused!(disk, &journal, |j| j.append(&pair), Error::IndexOverflow { index: u64::MAX });
        journal.append(&pair[..1]).unwrap();
        assert_refused!(disk, &journal, |j| j.append(&pair[1..]), Error::IndexOverflow { index: u64::MAX });
        assert_eq!(journal.entries(u64::MAX - 2..u64::MAX, u64::MAX).unwrap().len(), 2);
    });
}

#[test]
fn an_entry_above_the_limit_is_refused_when_appended_and_never_when_read() {
    on_both(|disk| {
        let journal = disk.options().segment_bytes(64 << 10).entry_bytes_max(300).open(&disk.dir).unwrap();
        journal.append(&entries(1..=30, 1)).unwrap();
        let large = [entry(31, 1, 300), entry(32, 1, 301)];
        let text = assert_refused!(
            disk,
            &journal,
            |j| j.append(&large),
            Error::EntryTooLarge { index: 32, bytes: 301, bytes_max: 300 }
        );
        assert!(text.contains("entry_bytes_max"), "{text}");
        assert_refused!(
            disk,
            &journal,
            |j| j.replace_tail(&large[1..]),
            Error::EntryTooLarge { index: 32, .. } | Error::Gap { .. }
        );
        journal.close().unwrap();

        let journal = disk.options().entry_bytes_max(10).tail_cache_bytes(0).open(&disk.dir).unwrap();
        assert_eq!(log(&journal), entries(1..=30, 1));
        assert_eq!(journal.entry(30).unwrap(), entry(30, 1, 300));
        assert_refused!(
            disk,
            &journal,
            |j| j.append(&[Entry::new(31, 1, [0; 11].to_vec())]),
            Error::EntryTooLarge { index: 31, bytes: 11, bytes_max: 10 }
        );
        journal.append(&[Entry::new(31, 1, [0; 10].to_vec())]).unwrap();
    });
}

#[test]
fn a_batch_above_the_limit_is_refused_before_anything_is_written() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        // One payload, shared: together more than a segment file can be long.
        let data = bytes::Bytes::from(vec![7; 64 << 20]);
        let batch: Vec<Entry> = (4..4 + 64).map(|index| Entry { index, term: 1, data: data.clone() }).collect();
        let text = assert_refused!(disk, &journal, |j| j.append(&batch), Error::BatchTooLarge { bytes, bytes_max } if bytes > bytes_max);
        assert!(text.contains("in parts"), "{text}");
        journal.append(&entries(4..=4, 1)).unwrap();
    });
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_file_of_its_own_size() {
    on_both(|disk| {
        let journal = disk.open();
        let batch: Vec<Entry> = (1..=5).map(|index| entry(index, 1, 20_000)).collect();
        journal.append(&batch).unwrap();
        journal.close().unwrap();
        assert_eq!(log(&disk.open()), batch);
    });
}

#[test]
fn an_empty_append_is_fine_and_does_no_io() {
    on_both(|disk| {
        let journal = disk.open();
        assert_eq!(journal.append(&[]).unwrap(), Position::default());
        journal.append(&entries(1..=3, 2)).unwrap();
        let files = disk.contents();
        let counts = disk.sim.as_ref().map(SimFs::counts);
        assert_eq!(journal.append(&[]).unwrap(), Position::new(3, 2));
        assert_eq!(journal.append_pending(&[]).unwrap().wait().unwrap(), Position::new(3, 2));
        assert_eq!(journal.replace_tail(&[]).unwrap(), Position::new(3, 2));
        assert_eq!(disk.sim.as_ref().map(SimFs::counts), counts);
        assert!(disk.contents() == files);
    });
}
