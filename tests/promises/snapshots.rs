//! Where a log starts: at a snapshot, or anywhere.

use raft_journal::{Error, Journal, LogStore, Position};

use crate::common::{append_each, entries, log, on_both};

#[test]
fn a_snapshot_beyond_the_end_empties_the_log_and_the_next_append_follows_it() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        let position = Position::new(1000, 7);
        journal.truncate_head(position).unwrap();
        let check = |journal: &Journal| {
            let state = journal.state();
            assert_eq!((state.purged, state.last, state.durable), (Some(position), Some(position), Some(position)));
            assert_eq!((state.first_index(), state.last_index(), state.next_index()), (None, None, Some(1001)));
            assert_eq!(journal.term(1000).unwrap(), 7);
            assert!(matches!(journal.entry(40), Err(Error::BeforeFirst { first: 1001, .. })));
        };
        check(&journal);
        check(&disk.killed().open());
        journal.close().unwrap();
        let journal = disk.open();
        check(&journal);
        assert!(matches!(journal.append(&entries(41..=41, 7)), Err(Error::Overlap { .. })));
        assert!(matches!(journal.append(&entries(1002..=1002, 7)), Err(Error::Gap { expected: 1001, .. })));
        append_each(&journal, &entries(1001..=1040, 7));
        assert_eq!(log(&disk.killed().open()), entries(1001..=1040, 7));
    });
}

#[test]
fn a_snapshot_over_another_term_empties_the_log() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.truncate_head(Position::new(20, 2)).unwrap();
        assert_eq!(log(&journal), []);
        assert_eq!(journal.state().last, Some(Position::new(20, 2)));
        append_each(&journal, &entries(21..=25, 2));
        assert_eq!(log(&journal), entries(21..=25, 2));
        assert_eq!(log(&disk.killed().open()), entries(21..=25, 2));
        // Where the term agrees, what follows stays.
        journal.truncate_head(Position::new(23, 2)).unwrap();
        assert_eq!(log(&disk.killed().open()), entries(24..=25, 2));
    });
}

#[test]
fn a_log_may_start_at_any_index_and_start_over_elsewhere_while_it_is_empty() {
    on_both(|disk| {
        for first in [0, 1, 2, 1 << 40] {
            let disk = disk.beside(&format!("from {first}"));
            let journal = disk.open();
            append_each(&journal, &entries(first..=first + 3, 1));
            assert_eq!(journal.state().first_index(), Some(first));
            journal.truncate_tail(first).unwrap();
            assert_eq!((journal.state().first_index(), journal.state().last), (None, None));
            append_each(&journal, &entries(7..=9, 1));
            assert_eq!(log(&disk.killed().open()), entries(7..=9, 1));
        }
    });
}
