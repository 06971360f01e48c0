//! Bad input gives a typed error that says where and what to do; nothing is written, and nothing is lost.

mod common;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use common::{Disk, append_each, entries, entry, log, names_file, on_both, unsalted_check};
use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use raft_journal::{
    Changes, DamageKind, Entry, Error, Journal, KEY_BYTES_MAX, LogStore, Position, Result, StableStore, VALUE_BYTES_MAX,
};

/// The error of a call that must change nothing: neither the log, nor a byte of any file, nor by an operation that
/// could have.
fn refused<T: std::fmt::Debug>(disk: &Disk, journal: &Journal, call: impl FnOnce(&Journal) -> Result<T>) -> Error {
    let (files, state, entries) = (disk.contents(), journal.state(), log(journal));
    let mutations = disk.sim.as_ref().map(SimFs::mutations);
    let error = call(journal).unwrap_err();
    assert_eq!(disk.sim.as_ref().map(SimFs::mutations), mutations, "written in spite of: {error}");
    assert!(disk.contents() == files, "files changed in spite of: {error}");
    assert_eq!((journal.state(), log(journal)), (state, entries), "the log changed in spite of: {error}");
    error
}

/// As `refused`, and what the error says.
macro_rules! assert_refused {
    ($disk:expr, $journal:expr, $call:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = refused($disk, $journal, $call);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        error.to_string()
    }};
}

/// The error of an open that must change nothing.
fn open_refused(disk: &Disk) -> Error {
    let files = disk.contents();
    let error = disk.try_open().unwrap_err();
    let mut after = disk.contents();
    // The lock file is no part of the journal.
    after.retain(|name, bytes| name != "LOCK" || !bytes.is_empty() || files.contains_key(name));
    assert!(after == files, "files changed in spite of: {error}");
    error
}

// Appends and truncations

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
        assert_refused!(disk, &journal, |j| j.append(&entries(11..=11, u64::MAX)), Error::TermOverflow { index: 11 });
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
fn the_last_index_of_all_is_refused_in_truncations() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        let position = Position::new(u64::MAX, 1);
        assert_refused!(disk, &journal, |j| j.truncate_tail(u64::MAX), Error::IndexOverflow { index: u64::MAX });
        assert_refused!(disk, &journal, |j| j.truncate_head(position), Error::IndexOverflow { index: u64::MAX });
        let changes = Changes::new().set("vote", "me").truncate_head(position);
        assert_refused!(disk, &journal, |j| j.commit(&changes), Error::IndexOverflow { index: u64::MAX });
        assert_eq!(journal.get(b"vote").unwrap(), None);
    });
}

#[test]
fn a_tail_truncation_beyond_the_end_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        let text =
            assert_refused!(disk, &journal, |j| j.truncate_tail(5), Error::TruncateBeyondEnd { index: 5, next: 4 });
        assert!(text.contains("from index 5"), "{text}");
        let files = disk.contents();
        journal.truncate_tail(4).unwrap();
        assert!(disk.contents() == files, "just past the end there is nothing to write");
        journal.truncate_head(Position::new(7, 1)).unwrap();
        assert_refused!(disk, &journal, |j| j.truncate_tail(9), Error::TruncateBeyondEnd { index: 9, next: 8 });
        journal.truncate_tail(8).unwrap();
    });
}

#[test]
fn the_tail_at_or_below_the_purged_position_cannot_be_changed() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=6, 2)).unwrap();
        let purged = Position::new(4, 2);
        journal.truncate_head(purged).unwrap();
        for index in [0, 3, 4] {
            let is =
                |error: &Error| matches!(error, Error::Purged { index: i, purged: p } if (*i, *p) == (index, purged));
            let error = refused(disk, &journal, |j| j.truncate_tail(index));
            assert!(is(&error) && error.to_string().contains("purged up to index 4 term 2"), "{error}");
            assert!(is(&refused(disk, &journal, |j| j.replace_tail(&entries(index..=index, 9)))));
        }
        assert_refused!(disk, &journal, |j| j.append(&entries(4..=4, 2)), Error::Overlap { last: 6, found: 4 });
        journal.replace_tail(&entries(5..=5, 9)).unwrap();
        journal.truncate_tail(5).unwrap();
        assert_eq!(journal.state().last, Some(purged));
    });
}

#[test]
fn a_head_truncation_that_contradicts_the_purged_position_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=6, 2)).unwrap();
        journal.truncate_head(Position::new(4, 2)).unwrap();
        let text =
            assert_refused!(disk, &journal, |j| j.truncate_head(Position::new(4, 3)), Error::PurgedTermDiffers { .. });
        assert!(text.contains("index 4 term 2") && text.contains("index 4 term 3"), "{text}");
        let files = disk.contents();
        journal.truncate_head(Position::new(4, 2)).unwrap();
        journal.truncate_head(Position::new(2, 2)).unwrap();
        journal.truncate_head(Position::new(2, 1)).unwrap();
        assert!(disk.contents() == files, "at or below the purged position there is nothing to write");
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

// Reads

#[test]
fn reads_before_the_first_and_after_the_last_index_are_two_errors() {
    on_both(|disk| {
        let journal = disk.open();
        assert!(matches!(journal.entry(0), Err(Error::AfterLast { index: 0, next: 0 })));
        assert!(matches!(journal.term(5), Err(Error::AfterLast { index: 5, next: 0 })));
        journal.append(&entries(1..=9, 2)).unwrap();
        assert!(matches!(journal.entry(0), Err(Error::BeforeFirst { index: 0, first: 1 })));
        assert!(matches!(journal.term(0), Err(Error::BeforeFirst { index: 0, first: 1 })));
        journal.truncate_head(Position::new(4, 2)).unwrap();
        for index in [0, 3, 4] {
            let error = journal.entry(index).unwrap_err();
            assert!(matches!(error, Error::BeforeFirst { first: 5, index: i } if i == index), "{error:?}");
            assert!(error.to_string().contains("snapshot"), "{error}");
        }
        for index in [10, 11, u64::MAX] {
            let error = journal.entry(index).unwrap_err();
            assert!(matches!(error, Error::AfterLast { next: 10, index: i } if i == index), "{error:?}");
            assert!(matches!(journal.term(index), Err(Error::AfterLast { next: 10, .. })));
        }
        assert_eq!(journal.term(4).unwrap(), 2, "the purged position's term stays known");
        assert!(matches!(journal.term(3), Err(Error::BeforeFirst { index: 3, first: 5 })));
        journal.truncate_head(Position::new(20, 3)).unwrap();
        assert!(matches!(journal.entry(20), Err(Error::BeforeFirst { index: 20, first: 21 })));
        assert!(matches!(journal.entry(21), Err(Error::AfterLast { index: 21, next: 21 })));
    });
}

#[test]
fn ranges_beyond_either_end_and_backward_ranges_are_errors() {
    on_both(|disk| {
        let journal = disk.open();
        assert_eq!(journal.entries(0..0, 100).unwrap(), []);
        assert!(matches!(journal.entries(0..1, 100), Err(Error::AfterLast { index: 0, next: 0 })));
        journal.append(&entries(1..=9, 2)).unwrap();
        journal.truncate_head(Position::new(4, 2)).unwrap();
        assert!(matches!(journal.entries(4..6, 100), Err(Error::BeforeFirst { index: 4, first: 5 })));
        assert!(matches!(journal.entries(4..4, 100), Err(Error::BeforeFirst { index: 4, first: 5 })));
        assert!(matches!(journal.entries(5..11, 100), Err(Error::AfterLast { index: 10, next: 10 })));
        assert!(matches!(journal.entries(5..u64::MAX, 100), Err(Error::AfterLast { next: 10, .. })));
        assert!(matches!(journal.entries(11..11, 100), Err(Error::AfterLast { next: 10, .. })));
        #[expect(clippy::reversed_empty_ranges)]
        let backward = 8..6;
        let error = journal.entries(backward, 100).unwrap_err();
        assert!(matches!(&error, Error::BackwardRange { range } if *range == (std::ops::Range { start: 8, end: 6 })));
        assert!(error.to_string().contains("8..6"), "{error}");
        assert_eq!(journal.entries(10..10, 0).unwrap(), []);
        assert_eq!(journal.entries(5..5, 0).unwrap(), []);
        assert_eq!(journal.entries(5..10, 0).unwrap(), entries(5..=5, 2), "at least one, however small the budget");
        assert_eq!(journal.entries(5..10, 600).unwrap(), entries(5..=6, 2));
        assert_eq!(journal.entries(5..10, 1499).unwrap(), entries(5..=8, 2));
        assert_eq!(journal.entries(5..10, u64::MAX).unwrap(), entries(5..=9, 2));
    });
}

// Small state

#[test]
fn a_key_or_a_value_above_its_bound_is_refused() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(16 << 10).open(&disk.dir).unwrap();
        let (key, value) = ([b'k'; KEY_BYTES_MAX + 1], [1; VALUE_BYTES_MAX + 1]);
        journal.set(&key[1..], &value[1..]).unwrap();
        let text = assert_refused!(disk, &journal, |j| j.set(b"vote", &value),
            Error::ValueTooLarge { what: "value", key, bytes: 4097, bytes_max: 4096 } if key == "vote");
        assert!(text.contains("\"vote\""), "{text}");
        assert_refused!(
            disk,
            &journal,
            |j| j.set(&key, b"v"),
            Error::ValueTooLarge { what: "key", bytes: 256, bytes_max: 255, .. }
        );
        assert_refused!(disk, &journal, |j| j.set_lazy(b"vote", &value), Error::ValueTooLarge { .. });
        let changes = Changes::new().set("term", "1").set("vote", value);
        assert_refused!(disk, &journal, |j| j.commit(&changes), Error::ValueTooLarge { .. });
        assert_eq!((journal.get(b"term").unwrap(), journal.get(b"vote").unwrap()), (None, None));
        assert_eq!(journal.get(&key[1..]).unwrap().as_deref(), Some(&value[1..]));
    });
}

#[test]
fn a_store_above_its_bound_is_refused_and_removing_still_works() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(512).open(&disk.dir).unwrap();
        journal.set(b"a", &[1; 250]).unwrap();
        journal.set(b"b", &[2; 254]).unwrap();
        let full = |error: &Error| matches!(error, Error::StoreFull { bytes: 516, bytes_max: 512 });
        let error = refused(disk, &journal, |j| j.set(b"c", b""));
        assert!(full(&error) && error.to_string().contains("meta_bytes_max"), "{error:?}");
        assert!(full(&refused(disk, &journal, |j| j.set_lazy(b"c", b""))));
        let changes = Changes::new().remove("nothing").set("c", "").truncate_head(Position::new(5, 1));
        assert!(full(&refused(disk, &journal, |j| j.commit(&changes))));
        assert_eq!(journal.state().purged, None);
        // Exchanging one for another of the same size, overwriting and removing need no room.
        journal.commit(&Changes::new().remove("a").set("c", [3; 250])).unwrap();
        journal.set(b"b", &[4; 254]).unwrap();
        journal.remove(b"b").unwrap();
        journal.set(b"d", &[5; 200]).unwrap();
        journal.close().unwrap();

        let journal = disk.options().meta_bytes_max(4096).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"c").unwrap().as_deref(), Some(&[3; 250][..]));
        journal.set(b"e", &[6; 3000]).unwrap();
        journal.close().unwrap();
        let journal = disk.options().meta_bytes_max(4096).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"e").unwrap().as_deref(), Some(&[6; 3000][..]));
    });
}

#[test]
fn a_bound_too_small_for_what_is_there_is_refused_at_open() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(20 << 10).open(&disk.dir).unwrap();
        for key in [b"a", b"b", b"c", b"d"] {
            journal.set(key, &[1; 4000]).unwrap();
        }
        journal.close().unwrap();
        // In steps of whole copies of the file, and within one.
        for bytes_max in [256, 15_000, 16_000] {
            let error = disk.options().meta_bytes_max(bytes_max).open(&disk.dir).unwrap_err();
            assert!(matches!(error, Error::StoreFull { bytes: 16_016, bytes_max: b } if b == bytes_max), "{error:?}");
        }
        let journal = disk.options().meta_bytes_max(16_016).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"d").unwrap().as_deref(), Some(&[1; 4000][..]));
    });
}

#[test]
fn a_bound_a_little_too_small_for_what_is_there_is_refused_at_open() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(512).open(&disk.dir).unwrap();
        journal.set(b"a", &[1; 400]).unwrap();
        journal.close().unwrap();
        let error = disk.options().meta_bytes_max(256).open(&disk.dir).unwrap_err();
        assert!(matches!(error, Error::StoreFull { bytes: 404, bytes_max: 256 }), "{error:?}");
    });
}

#[test]
fn a_number_asked_of_another_value_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.set(b"name", b"seven").unwrap();
        journal.set_u64(b"term", 7).unwrap();
        let error = journal.get_u64(b"name").unwrap_err();
        assert!(matches!(&error, Error::NotU64 { key, bytes: 5 } if key == "name"), "{error:?}");
        assert_eq!(journal.get_u64(b"term").unwrap(), Some(7));
        assert_eq!(journal.get_u64(b"nothing").unwrap(), None);
    });
}

// Opening

#[test]
fn a_second_opener_in_this_process_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        let files = disk.contents();
        let error = disk.try_open().unwrap_err();
        assert!(matches!(&error, Error::Locked { path } if *path == disk.path("LOCK")), "{error:?}");
        assert!(names_file(&error, &disk.path("LOCK")) && error.to_string().contains("close"), "{error}");
        assert!(disk.contents() == files);
        journal.append(&entries(4..=4, 1)).unwrap();
        let clone = journal.clone();
        drop(journal);
        assert!(matches!(disk.try_open(), Err(Error::Locked { .. })), "a clone still holds it");
        drop(clone);
        assert_eq!(log(&disk.open()), entries(1..=4, 1));
    });
}

#[test]
fn a_second_opener_in_another_process_is_refused() {
    const DIR: &str = "RAFT_JOURNAL_TEST_OTHER_PROCESS";
    const LOCKED: i32 = 17;
    const OPENED: i32 = 18;
    if let Some(dir) = std::env::var_os(DIR) {
        let code = match Journal::open(dir) {
            Err(Error::Locked { .. }) => LOCKED,
            Ok(_) => OPENED,
            Err(_) => 1,
        };
        std::process::exit(code);
    }
    let disk = Disk::real();
    let other = || {
        let name = "a_second_opener_in_another_process_is_refused";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name]).env(DIR, &disk.dir).output().unwrap();
        output.status.code()
    };
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    assert_eq!(other(), Some(LOCKED));
    journal.append(&entries(4..=4, 1)).unwrap();
    journal.close().unwrap();
    assert_eq!(other(), Some(OPENED));
    assert_eq!(log(&disk.open()), entries(1..=4, 1));
}

#[test]
fn a_path_that_is_a_file_is_no_journal_and_stays_as_it_is() {
    on_both(|disk| {
        let inside = disk.beside("parent");
        inside.put("file", b"precious");
        for options in [disk.options(), disk.options().read_only(true)] {
            let error = options.open(inside.path("file")).unwrap_err();
            assert!(matches!(&error, Error::NotAJournal { dir, .. } if *dir == inside.path("file")), "{error:?}");
            assert!(names_file(&error, &inside.path("file")), "{error}");
        }
        assert_eq!(inside.bytes("file"), b"precious");
        assert_eq!(inside.names(), ["file"]);
    });
}

#[test]
fn a_directory_with_other_files_is_no_journal_and_stays_as_it_is() {
    on_both(|disk| {
        disk.put("photo.jpg", b"precious");
        for options in [disk.options(), disk.options().read_only(true)] {
            let error = options.open(&disk.dir).unwrap_err();
            assert!(matches!(&error, Error::NotAJournal { dir, why } if *dir == disk.dir && why.contains("photo.jpg")));
        }
        assert_eq!(disk.names(), ["photo.jpg"]);
        assert_eq!(disk.bytes("photo.jpg"), b"precious");
    });
}

#[test]
fn a_directory_whose_parent_is_missing_is_not_made() {
    on_both(|disk| {
        let nested = disk.path("journal");
        let error = disk.options().open(&nested).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == nested), "{error:?}");
        assert!(disk.fs.list(&disk.dir).is_err());
    });
}

#[test]
fn an_option_out_of_bounds_is_refused_by_name() {
    on_both(|disk| {
        let cases = [
            ("segment_bytes", disk.options().segment_bytes(8191)),
            ("segment_bytes", disk.options().segment_bytes(u64::MAX)),
            ("segment_bytes", disk.options().align_4k(true)),
            ("entry_bytes_max", disk.options().entry_bytes_max(u64::MAX)),
            ("meta_bytes_max", disk.options().meta_bytes_max(0)),
        ];
        for (option, options) in cases {
            let error = options.open(&disk.dir).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { name, .. } if *name == option), "{error:?}");
        }
        assert!(disk.fs.list(&disk.dir).is_err(), "made in spite of bad options");
    });
}

#[test]
fn foreign_files_among_the_segments_are_left_alone_and_reported() {
    on_both(|disk| {
        let other = disk.beside("other");
        append_each(&other.open(), &entries(1..=40, 9));
        append_each(&disk.open(), &entries(1..=40, 1));
        let first_foreign = "00000000000000009000.seg";
        let foreign = [
            ("notes.txt", b"precious".to_vec()),
            (first_foreign, other.bytes(&other.segments()[0])),
            ("00000000000000009001.seg", b"no header at all".to_vec()),
        ];
        foreign.iter().for_each(|(name, bytes)| disk.put(name, bytes));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=40, 1));
        let reported = &journal.recovery_report().foreign;
        assert_eq!(*reported, [disk.path(first_foreign), disk.path("00000000000000009001.seg")]);
        // Still there when the log has rotated and forgotten its head many times over.
        append_each(&journal, &entries(41..=120, 1));
        journal.truncate_head(Position::new(100, 1)).unwrap();
        journal.close().unwrap();
        drop(disk.open());
        foreign.iter().for_each(|(name, bytes)| assert!(disk.bytes(name) == *bytes, "{name}"));
    });
}

#[test]
fn segments_without_meta_are_never_a_fresh_start() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.close().unwrap();
        disk.remove("meta");
        let first = disk.segments()[0].clone();
        let error = open_refused(disk);
        assert!(
            matches!(&error, Error::SegmentsWithoutMeta { dir, first_segment } if *dir == disk.dir && *first_segment == first),
            "{error:?}"
        );
        assert!(names_file(&error, &disk.dir) && error.to_string().contains("rejoin"), "{error}");
    });
}

#[test]
fn meta_of_another_journal_is_refused() {
    on_both(|disk| {
        let other = disk.beside("other");
        let (journal, others) = (disk.open(), other.open());
        let (id, others_id) = (journal.id(), others.id());
        assert_ne!(id, others_id);
        append_each(&journal, &entries(1..=40, 1));
        append_each(&others, &entries(1..=40, 1));
        journal.close().unwrap();
        others.close().unwrap();
        disk.put("meta", &other.bytes("meta"));
        let error = open_refused(disk);
        let Error::ForeignFile { path, expected, found } = &error else { panic!("{error:?}") };
        assert_eq!((*expected, *found), (others_id, id));
        assert_eq!(*path, disk.path(&disk.segments()[0]));
        assert!(names_file(&error, path), "{error}");
    });
}

#[test]
fn a_segment_of_another_journal_in_the_chain_is_refused() {
    on_both(|disk| {
        let other = disk.beside("other");
        let (journal, others) = (disk.open(), other.open());
        let (id, others_id) = (journal.id(), others.id());
        append_each(&journal, &entries(1..=60, 1));
        append_each(&others, &entries(1..=60, 1));
        journal.close().unwrap();
        others.close().unwrap();
        let files = disk.contents();
        for name in disk.segments().iter().take(3) {
            disk.put(name, &other.bytes(name));
            let error = open_refused(disk);
            let Error::ForeignFile { path, expected, found } = &error else { panic!("{error:?}") };
            assert_eq!((*expected, *found), (id, others_id));
            assert_eq!(*path, disk.path(name));
            disk.put(name, &files[name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}

#[test]
fn a_newer_format_of_a_segment_is_not_damage() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        journal.close().unwrap();
        let files = disk.contents();
        for name in disk.segments().iter().take(3) {
            let mut bytes = disk.bytes(name);
            let copy = bytes.len() - 512;
            for at in [0, copy] {
                bytes[at + 8..at + 12].copy_from_slice(&2u32.to_le_bytes());
                let check = unsalted_check(&[&bytes[at..at + 12], &bytes[at + 16..at + 64]]);
                bytes[at + 12..at + 16].copy_from_slice(&check.to_le_bytes());
            }
            disk.put(name, &bytes);
            let error = open_refused(disk);
            let Error::UnsupportedVersion { path, found: 2, supported: 1 } = &error else { panic!("{error:?}") };
            assert_eq!(*path, disk.path(name));
            assert!(names_file(&error, path) && error.to_string().contains("newer build"), "{error}");
            disk.put(name, &files[name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}

#[test]
fn a_newer_format_of_meta_is_not_damage() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        journal.close().unwrap();
        let whole = disk.bytes("meta");
        let copy_bytes = whole.len() / 4;
        for slots in [&[0, 1][..], &[2, 3], &[0, 1, 2, 3]] {
            let mut bytes = whole.clone();
            for copy in slots {
                let content = &mut bytes[copy * copy_bytes..];
                let len = u32::from_le_bytes(content[16..20].try_into().unwrap()) as usize;
                content[8..12].copy_from_slice(&9u32.to_le_bytes());
                let check = unsalted_check(&[&content[..12], &content[16..len]]);
                content[12..16].copy_from_slice(&check.to_le_bytes());
            }
            disk.put("meta", &bytes);
            let error = open_refused(disk);
            let Error::UnsupportedVersion { path, found: 9, supported: 1 } = &error else { panic!("{error:?}") };
            assert_eq!(*path, disk.path("meta"));
        }
        disk.put("meta", &whole);
        assert_eq!(log(&disk.open()), entries(1..=5, 1));
    });
}

#[test]
fn a_missing_segment_is_named_wherever_in_the_chain_it_was() {
    for is_clean in [true, false] {
        on_both(|disk| {
            let journal = disk.open();
            append_each(&journal, &entries(1..=60, 1));
            let killed = disk.killed();
            journal.close().unwrap();
            let disk = if is_clean { disk } else { &killed };
            let (segments, files) = (chain(disk), disk.contents());
            assert!(segments.len() >= 4, "{segments:?}");
            for name in &segments {
                disk.remove(name);
                let error = open_refused(disk);
                let Error::Damaged(damage) = &error else { panic!("{name}: {error:?}") };
                assert_eq!((&damage.path, damage.why), (&disk.path(name), DamageKind::MissingFile));
                assert!(names_file(&error, &disk.path(name)) && error.to_string().contains("missing"), "{error}");
                assert!(damage.indexes.first <= first_index_in(&files[name]), "{error}");
                disk.put(name, &files[name]);
            }
            assert_eq!(log(&disk.open()), entries(1..=60, 1));
        });
    }
}

/// The segments that hold batches: not the spare.
fn chain(disk: &Disk) -> Vec<String> {
    disk.segments().into_iter().filter(|name| disk.bytes(name)[512..584] != [0; 72]).collect()
}

/// The first index of a segment's first batch.
fn first_index_in(segment: &[u8]) -> u64 {
    u64::from_le_bytes(segment[512 + 24..512 + 32].try_into().unwrap())
}

#[test]
fn a_short_segment_is_named() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        journal.close().unwrap();
        let files = disk.contents();
        for name in chain(disk) {
            for len in [64, 4096, 8191] {
                disk.put(&name, &files[&name][..len]);
                let error = open_refused(disk);
                let Error::Damaged(damage) = &error else { panic!("{name}: {error:?}") };
                assert_eq!((&damage.path, damage.why), (&disk.path(&name), DamageKind::ShortFile), "{len}");
                assert!(error.to_string().contains("shorter"), "{error}");
            }
            disk.put(&name, &files[&name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}

#[test]
fn a_read_only_directory_refuses_to_open_for_writing_and_serves_readers() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=40, 1));
    disk.sim().set_read_only(true);
    let error = open_refused(&disk);
    let Error::Io { path, source, .. } = &error else { panic!("{error:?}") };
    assert!(path.starts_with(&disk.dir) && source.kind() == ErrorKind::ReadOnlyFilesystem, "{error:?}");
    let reader = disk.options().read_only(true).open(&disk.dir).unwrap();
    assert_eq!(log(&reader), entries(1..=40, 1));
    reader.close().unwrap();
    disk.sim().set_read_only(false);
    assert_eq!(log(&disk.open()), entries(1..=40, 1));
}

#[test]
fn writes_through_a_read_only_open_are_refused() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=20, 1));
        journal.set(b"vote", b"me").unwrap();
        journal.close().unwrap();
        let reader = disk.options().read_only(true).open(&disk.dir).unwrap();
        let is = |error: Error| match error {
            Error::ReadOnly { dir } => assert_eq!(dir, disk.dir),
            other => panic!("{other:?}"),
        };
        is(refused(disk, &reader, |j| j.append(&entries(21..=21, 1))));
        is(refused(disk, &reader, |j| j.append_pending(&entries(21..=21, 1))));
        is(refused(disk, &reader, |j| j.replace_tail(&entries(20..=20, 1))));
        is(refused(disk, &reader, |j| j.truncate_tail(20)));
        is(refused(disk, &reader, |j| j.truncate_head(Position::new(3, 1))));
        is(refused(disk, &reader, |j| j.set(b"vote", b"you")));
        is(refused(disk, &reader, |j| j.set_lazy(b"vote", b"you")));
        is(refused(disk, &reader, |j| j.remove(b"vote")));
        is(refused(disk, &reader, |j| j.sync()));
        assert_eq!(reader.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        let files = disk.contents();
        reader.close().unwrap();
        assert!(disk.contents() == files, "closing a reader writes nothing");
    });
}

#[test]
fn a_read_only_open_of_nothing_makes_nothing() {
    on_both(|disk| {
        let error = disk.options().read_only(true).open(&disk.dir).unwrap_err();
        assert!(matches!(&error, Error::NotAJournal { dir, .. } if *dir == disk.dir), "{error:?}");
        assert!(disk.fs.list(&disk.dir).is_err());
    });
}

#[test]
fn every_call_after_close_answers_closed_on_every_clone() {
    on_both(|disk| {
        let journal = disk.open();
        let clone = journal.clone();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"term", 1).unwrap();
        journal.close().unwrap();
        let files = disk.contents();
        for journal in [&journal, &clone] {
            let closed = |result: Result<()>| assert!(matches!(result, Err(Error::Closed)), "{result:?}");
            closed(journal.append(&entries(4..=4, 1)).map(drop));
            closed(journal.append(&[]).map(drop));
            closed(journal.append_pending(&entries(4..=4, 1)).map(drop));
            closed(journal.replace_tail(&entries(3..=3, 1)).map(drop));
            closed(journal.truncate_tail(3));
            closed(journal.truncate_head(Position::new(1, 1)));
            closed(journal.sync());
            closed(journal.entry(1).map(drop));
            closed(journal.entries(1..2, 1).map(drop));
            closed(journal.term(1).map(drop));
            closed(journal.get(b"term").map(drop));
            closed(journal.get_u64(b"term").map(drop));
            closed(journal.set(b"term", b"2"));
            closed(journal.set_lazy(b"term", b"2"));
            closed(journal.remove(b"term"));
            closed(journal.commit(&Changes::new()));
            closed(journal.close());
            assert_eq!(journal.state().last, Some(Position::new(3, 1)), "the last state stays known");
        }
        assert!(disk.contents() == files);
        // The lock is given up although handles are still there.
        assert_eq!(log(&disk.open()), entries(1..=3, 1));
    });
}

// Failing disks

#[test]
fn a_full_disk_in_the_middle_of_an_append_leaves_nothing_of_it() {
    for written in [0, 1, 71, 72, 100, 350] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).at_most(written).in_path(".seg"));
        let state = journal.state();
        let error = journal.append(&entries(4..=5, 1)).unwrap_err();
        let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*path, disk.path(&disk.segments()[0]));
        assert!(error.is_no_space() && names_file(&error, path) && error.to_string().contains("truncate the head"));
        assert_eq!(journal.state(), state);
        assert!(matches!(journal.entry(4), Err(Error::AfterLast { .. })));
        for crashed in [disk.sim().after_process_kill(), disk.sim().after_power_cut(Survival::Everything)] {
            assert_eq!(log(&Disk::of(crashed).open()), entries(1..=3, 1), "{written}");
        }
        journal.append(&entries(4..=4, 2)).unwrap();
        let cut = Disk::of(disk.sim().after_power_cut(Survival::Nothing));
        assert_eq!(log(&cut.open()), [entries(1..=3, 1), entries(4..=4, 2)].concat(), "{written}");
    }
}

#[test]
fn a_full_disk_at_a_rotation_refuses_the_append_until_there_is_room() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    disk.sim().set_capacity(Some(disk.sim().bytes_used()));
    let mut next = 61;
    let error = loop {
        match journal.append(&entries(next..=next, 1)) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(next < 120, "the disk never filled");
    let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
    assert!(path.starts_with(&disk.dir) && names_file(&error, path), "{error}");
    assert_eq!(journal.state().last, Some(Position::new(next - 1, 1)));
    assert!(matches!(journal.append(&entries(next..=next, 1)), Err(Error::NoSpace { .. })), "and again");
    // Small state and reads need no room either.
    journal.set_u64(b"term", 3).unwrap();
    assert_eq!(log(&journal), entries(1..=next - 1, 1));
    assert_eq!(log(&Disk::of(disk.sim().after_process_kill()).open()), entries(1..=next - 1, 1));

    journal.truncate_head(Position::new(50, 1)).unwrap();
    append_each(&journal, &entries(next..=next + 10, 1));
    assert_eq!(log(&journal), entries(51..=next + 10, 1));
    let cut = Disk::of(disk.sim().after_power_cut(Survival::Nothing));
    let journal = cut.open();
    assert_eq!((log(&journal), journal.get_u64(b"term").unwrap()), (entries(51..=next + 10, 1), Some(3)));
}

#[test]
fn an_existing_journal_opens_on_a_full_disk() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.close().unwrap();
    for disk in [disk.sim().after_process_kill(), disk.sim().after_power_cut(Survival::Nothing)].map(Disk::of) {
        disk.sim().set_capacity(Some(0));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=60, 1));
        journal.truncate_head(Position::new(50, 1)).unwrap();
        journal.close().unwrap();
        assert_eq!(log(&disk.open()), entries(51..=60, 1));
    }
}

#[test]
fn a_fresh_journal_on_a_full_disk_is_refused_and_can_be_made_later() {
    for capacity in [0, 4096, 8 << 10, 16 << 10, 20 << 10] {
        let disk = Disk::simulated();
        disk.sim().set_capacity(Some(capacity));
        let error = disk.try_open().unwrap_err();
        assert!(matches!(&error, Error::NoSpace { path, .. } if path.starts_with(&disk.dir)), "{capacity}: {error:?}");
        disk.sim().set_capacity(None);
        append_each(&disk.open(), &entries(1..=3, 1));
        assert_eq!(log(&disk.open()), entries(1..=3, 1));
    }
}

#[test]
fn one_failed_sync_poisons_for_good_and_everybody_is_told() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    // One file that is not half full: no other sync is under way that the fault could strike.
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=3, 1)).unwrap();
    let pending: Vec<_> = (4..=9).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    let hold = disk.sim().hold_syncs();
    let told = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let mut waiters = Vec::new();
        for (number, pending) in pending.into_iter().enumerate() {
            if number % 2 == 0 {
                waiters.push(scope.spawn(|| pending.wait()));
            } else {
                let told = Arc::clone(&told);
                pending.on_durable(Box::new(move |result| told.lock().unwrap().push(result)));
            }
        }
        disk.sim().wait_for_held_syncs(1);
        drop(hold);
        for waiter in waiters {
            let result = waiter.join().unwrap();
            let Err(error @ Error::Poisoned { cause }) = &result else { panic!("{result:?}") };
            let Error::Io { op: "sync", path, .. } = &**cause else { panic!("{cause:?}") };
            assert!(names_file(error, path) && error.to_string().contains("open again"), "{error}");
        }
    });
    assert_eq!(disk.sim().faults_left(), 0);
    let poisoned = |result: Result<()>| assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
    let (writes, syncs) = (disk.sim().counts().writes, disk.sim().counts().syncs);
    poisoned(journal.append(&entries(10..=10, 1)).map(drop));
    poisoned(journal.append_pending(&entries(10..=10, 1)).map(drop));
    poisoned(journal.replace_tail(&entries(2..=2, 1)).map(drop));
    poisoned(journal.truncate_tail(2));
    poisoned(journal.truncate_head(Position::new(2, 1)));
    poisoned(journal.set(b"vote", b"me"));
    poisoned(journal.sync());
    assert_eq!(log(&journal), entries(1..=9, 1), "reads go on");
    assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
    poisoned(journal.close());
    assert_eq!((disk.sim().counts().writes, disk.sim().counts().syncs), (writes, syncs), "nothing is tried again");
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told.len(), 3, "each callback exactly once");
    told.into_iter().for_each(|result| poisoned(result.map(drop)));
    // What the sync was for is not on the disk; what was acknowledged is.
    assert_eq!(log(&disk.open()), entries(1..=3, 1));
}

#[test]
fn a_spare_that_cannot_be_made_is_no_failure_until_it_is_needed() {
    let kinds = [OperationKind::Create, OperationKind::Allocate, OperationKind::Write, OperationKind::Sync];
    for kind in kinds {
        let disk = Disk::simulated();
        disk.sim().queue_tasks(true);
        let journal = disk.open();
        let mut next = 1;
        while disk.sim().tasks_waiting() == 0 {
            journal.append(&entries(next..=next, 1)).unwrap();
            next += 1;
        }
        // Of a file that has not even its name yet.
        disk.sim().inject(Fault::new(kind, ErrorKind::Other).in_path(".seg.tmp"));
        disk.sim().run_tasks();
        assert_eq!(disk.sim().faults_left(), 0, "{kind:?}");
        let appended = journal.append(&entries(next..=next, 1));
        assert!(appended.is_ok(), "a spare's failed {kind:?}: {appended:?}");
        append_each(&journal, &entries(next + 1..=40, 1));
        assert_eq!(log(&Disk::of(disk.sim().after_power_cut(Survival::Nothing)).open()), entries(1..=40, 1));
    }
}

#[test]
fn a_write_that_fails_poisons() {
    for written in [0, 40, 200] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::Other).at_most(written));
        let error = journal.append(&entries(4..=4, 1)).unwrap_err();
        let Error::Poisoned { cause } = &error else { panic!("{error:?}") };
        let Error::Io { op: "write", path, offset: Some(_), .. } = &**cause else { panic!("{cause:?}") };
        assert!(names_file(&error, path) && error.to_string().contains("at offset"), "{error}");
        assert!(matches!(journal.append(&entries(4..=4, 1)), Err(Error::Poisoned { .. })));
        assert!(matches!(journal.set(b"vote", b"me"), Err(Error::Poisoned { .. })));
        assert_eq!(log(&journal), entries(1..=3, 1));
        assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
        assert_eq!(log(&disk.open()), entries(1..=3, 1), "{written}");
    }
}

#[test]
fn a_failed_commit_of_small_state_poisons_and_leaves_the_old_value() {
    for kind in [OperationKind::Write, OperationKind::Sync] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set(b"vote", b"me").unwrap();
        disk.sim().inject(Fault::new(kind, ErrorKind::Other).in_path("meta"));
        let error = journal.set(b"vote", b"you").unwrap_err();
        let Error::Poisoned { cause } = &error else { panic!("{error:?}") };
        assert!(matches!(&**cause, Error::Io { path, .. } if *path == disk.path("meta")), "{cause:?}");
        assert_eq!(journal.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        assert!(matches!(journal.append(&entries(4..=4, 1)), Err(Error::Poisoned { .. })));
        drop(journal);
        let journal = disk.open();
        assert_eq!(journal.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        assert_eq!(log(&journal), entries(1..=3, 1));
    }
}

#[test]
fn an_unreadable_disk_while_opening_is_not_damage() {
    for kind in [OperationKind::Read, OperationKind::Open, OperationKind::Len, OperationKind::List] {
        let disk = Disk::simulated();
        append_each(&disk.open(), &entries(1..=60, 1));
        let mut failed = 0;
        loop {
            disk.sim().fail_at(kind, failed, ErrorKind::Other);
            match disk.try_open() {
                Ok(journal) => {
                    disk.sim().clear_faults();
                    assert_eq!(log(&journal), entries(1..=60, 1));
                    break;
                }
                Err(error) => {
                    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&disk.dir)), "{error:?}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 0, "{kind:?} was never asked");
    }
}
