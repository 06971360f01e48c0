//! Reads of what the log does not hold.

use raft_journal::{Error, LogStore, Position};

use crate::common::{entries, on_both};

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
