//! Promise 3, of a torn tail: it is cut, and reported.

use raft_journal::LogStore;

use crate::common::{FIRST_PAYLOAD_AT, entries, entry, log, on_both};

#[test]
fn a_torn_tail_is_cut_and_reported() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.append_pending(&entries(4..=6, 1)).unwrap().on_durable(Box::new(drop));
        let torn = disk.killed();
        let (name, at) = torn.find(&entry(6, 1, 300).data);
        torn.flip(&name, at + 299);
        let (_, header) = torn.find(&entry(4, 1, 300).data);
        let opened = torn.open();
        assert_eq!(log(&opened), entries(1..=3, 1));
        let report = opened.recovery_report();
        let cut = report.torn.as_ref().unwrap();
        assert_eq!((&cut.path, cut.offset), (&torn.path(&name), (header - FIRST_PAYLOAD_AT) as u64));
        assert_eq!((cut.indexes, cut.bytes), (Some((4, 7)), Some((72 + 3 * 320u64).next_multiple_of(8))));
        assert!(!report.clean && report.suspect.is_some(), "{report:?}");
        opened.append(&entries(4..=4, 2)).unwrap();
        opened.close().unwrap();
        drop(opened);
        let report = torn.open().recovery_report().clone();
        assert!(report.clean && report.suspect.is_none(), "{report:?}");
    });
}

// Promise 3, the other way round: nothing is reported that did not happen.
#[test]
fn what_was_cut_once_is_not_reported_as_torn_after_a_clean_close() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.append_pending(&entries(4..=6, 1)).unwrap().on_durable(Box::new(drop));
        let torn = disk.killed();
        let (name, at) = torn.find(&entry(6, 1, 300).data);
        torn.flip(&name, at + 299);
        let journal = torn.open();
        assert!(journal.recovery_report().torn.is_some());
        // Shorter than what was cut: the rest of it still stands behind.
        journal.append(&entries(4..=4, 2)).unwrap();
        journal.close().unwrap();
        drop(journal);
        let journal = torn.open();
        assert_eq!((journal.recovery_report().clean, &journal.recovery_report().torn), (true, &None));
    });
}
