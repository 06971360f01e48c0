//! Truncations of what is not there, or not there any more.

use raft_journal::{Changes, Error, LogStore, Position, StableStore};

use crate::common::{entries, on_both};
use crate::refused;

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
