//! From a plain log to a Raft log: each entry is written once, also through crashes.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;
use raft_journal::adapters::replica::{InitStatus, PlainLog, PositionName, ReplicaError, ReplicaLog};
use raft_journal::io::sim::Survival;
use raft_journal::{Changes, Entry, LogStore, Position, StableStore};

use crate::common::{Disk, entries, entry, log as held, on_both};
use crate::{NODE, append, open};

/// A plain log that notes what is read of it.
struct Plain {
    indexes: Range<u64>,
    bytes: usize,
    read: RefCell<Vec<u64>>,
    unreadable: Option<u64>,
}

impl Plain {
    fn new(indexes: Range<u64>, bytes: usize) -> Plain {
        Plain { indexes, bytes, read: RefCell::default(), unreadable: None }
    }

    /// What the Raft log must hold.
    fn entries(&self, term: u64) -> Vec<Entry> {
        self.indexes.clone().map(|index| Entry { term, ..entry(index, 0, self.bytes) }).collect()
    }
}

impl PlainLog for Plain {
    fn indexes(&self) -> Range<u64> {
        self.indexes.clone()
    }

    fn read(&self, index: u64) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        self.read.borrow_mut().push(index);
        match self.unreadable {
            Some(bad) if bad == index => Err(format!("sector of {index}").into()),
            _ => Ok(entry(index, 0, self.bytes).data),
        }
    }
}

fn membership() -> Changes {
    Changes::new().set("membership", "me").set_u64("term", 7)
}

#[test]
fn a_plain_log_becomes_a_raft_log_that_is_committed() {
    on_both(|disk| {
        let plain = Plain::new(11..31, 300);
        let log = open(disk);
        assert_eq!(log.init_status(plain.indexes()), InitStatus::NeedsBackfill);
        let done = log.backfill(&plain, 7, membership()).unwrap();
        assert_eq!((done.copied, done.last), (20, Some(Position::new(30, 7))));
        let look = |log: &ReplicaLog| {
            assert_eq!(log.init_status(plain.indexes()), InitStatus::Bootstrapped);
            assert_eq!(held(log.journal()), plain.entries(7));
            assert_eq!((log.committed(), log.term(10).unwrap()), (Some(30), 7), "the term before the first is known");
            assert_eq!(log.position(&PositionName::Applied).unwrap(), Some(10));
            assert_eq!(log.journal().get_u64(b"term").unwrap(), Some(7));
        };
        look(&log);
        look(&open(&disk.killed()));
        let again = log.backfill(&plain, 7, membership()).unwrap_err();
        assert!(matches!(again, ReplicaError::WrongStatus { call: "backfill", status: InitStatus::Bootstrapped }));
        let committed = log.append(&entries(30..=30, 8)).map(drop).unwrap_err();
        assert!(matches!(committed, ReplicaError::Committed { index: 30, committed: 30 }));
        append(&log, &entries(31..=33, 8));
    });
}

#[test]
fn a_plain_log_that_begins_at_index_zero_is_taken_as_it_is() {
    on_both(|disk| {
        let (plain, log) = (Plain::new(0..3, 10), open(disk));
        log.backfill(&plain, 0, Changes::new()).unwrap();
        assert_eq!((held(log.journal()), log.journal().state().purged), (plain.entries(0), None));
    });
}

#[test]
fn a_journal_that_is_itself_a_plain_log_is_adopted_by_one_commit() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=30, 0)).unwrap();
        journal.truncate_head(Position::new(4, 0)).unwrap();
        let log = ReplicaLog::open(journal, NODE).unwrap();
        assert_eq!(log.init_status(0..0), InitStatus::NeedsBackfill);
        let early = log.append(&entries(31..=31, 1)).map(drop).unwrap_err();
        assert!(matches!(early, ReplicaError::NotBootstrapped { status: InitStatus::NeedsBackfill }));
        // Entries of nobody knows where are no copied beginning of another log.
        let other = log.backfill(&Plain::new(5..40, 10), 0, Changes::new()).unwrap_err();
        assert!(matches!(other, ReplicaError::WrongStatus { call: "backfill", .. }), "{other:?}");
        let batches = log.journal().stats().batches;
        log.adopt(membership()).unwrap();
        assert_eq!(log.journal().stats().batches, batches, "nothing is written to the log");
        assert_eq!((log.committed(), log.init_status(0..0)), (Some(30), InitStatus::Bootstrapped));
        assert_eq!(held(log.journal()), entries(5..=30, 0));
        append(&log, &entries(31..=33, 1));
        assert!(matches!(log.adopt(Changes::new()), Err(ReplicaError::WrongStatus { call: "adopt", .. })));
        assert_eq!(open(&disk.killed()).committed(), Some(30));
        let other = ReplicaLog::open(disk.killed().open(), "2").map(drop).unwrap_err();
        assert!(matches!(other, ReplicaError::Owner(_)), "it is this node's now: {other:?}");
    });
}

#[test]
fn there_is_nothing_to_adopt_in_an_empty_journal_nor_while_a_backfill_is_under_way() {
    on_both(|disk| {
        let log = open(disk);
        assert!(matches!(log.adopt(Changes::new()), Err(ReplicaError::WrongStatus { call: "adopt", .. })));
        let plain = Plain { unreadable: Some(5), ..Plain::new(1..9, 10) };
        log.backfill(&plain, 0, Changes::new()).unwrap_err();
        assert_eq!(log.init_status(0..0), InitStatus::NeedsBackfill);
        assert!(matches!(log.adopt(Changes::new()), Err(ReplicaError::WrongStatus { call: "adopt", .. })));
        assert!(matches!(log.bootstrap(Changes::new()), Err(ReplicaError::WrongStatus { call: "bootstrap", .. })));
    });
}

#[test]
fn an_unreadable_entry_is_named_and_the_next_call_goes_on() {
    on_both(|disk| {
        // Two batches of a megabyte, and the third ends in an entry that cannot be read.
        let mut plain = Plain { unreadable: Some(25), ..Plain::new(1..31, 100_000) };
        let log = open(disk);
        let error = log.backfill(&plain, 3, Changes::new()).unwrap_err();
        assert!(matches!(error, ReplicaError::PlainLog { index: 25, .. }), "{error:?}");
        assert!(error.to_string().contains("sector of 25"), "{error}");
        let next = log.journal().state().next_index().unwrap();
        assert_eq!(next, 23);
        let term = log.backfill(&plain, 4, Changes::new()).unwrap_err();
        assert!(matches!(term, ReplicaError::BackfillTerm { begun: 3, requested: 4 }), "{term:?}");
        drop(log);
        let log = open(disk);
        let shorter = log.backfill(&Plain::new(1..25, 100_000), 3, Changes::new()).unwrap_err();
        assert!(matches!(shorter, ReplicaError::PlainLogEnd { begun: 31, found: 25 }), "{shorter:?}");
        let later = log.backfill(&Plain::new(24..31, 100_000), 3, Changes::new()).unwrap_err();
        assert!(matches!(later, ReplicaError::PlainLogGap { next: 23, first: 24 }), "{later:?}");
        plain.unreadable = None;
        plain.read.borrow_mut().clear();
        assert_eq!(log.backfill(&plain, 3, Changes::new()).unwrap().copied, 8);
        assert_eq!(plain.read.borrow()[0], next, "nothing is copied twice");
        assert_eq!(held(log.journal()), plain.entries(3));
    });
}

/// Backfills until power is lost.
fn interrupted(disk: &Disk, plain: &Plain) -> bool {
    let log = disk.try_open().map_err(ReplicaError::from).and_then(|journal| ReplicaLog::open(journal, NODE));
    log.and_then(|log| log.backfill(plain, 7, membership())).is_ok()
}

#[test]
fn a_backfill_that_loses_power_anywhere_goes_on_and_writes_no_entry_twice() {
    let (mut cuts, mut went_on) = (0, 0);
    loop {
        let (disk, plain) = (Disk::simulated(), Plain::new(11..35, 100_000));
        disk.sim().cut_power_at(cuts);
        let acknowledged = interrupted(&disk, &plain);
        if !disk.sim().is_power_off() {
            break;
        }
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(cuts)] {
            let disk = disk.after_power_cut(survival);
            let log = open(&disk);
            let status = log.init_status(plain.indexes());
            assert!(status != InitStatus::Unbootstrapped && (!acknowledged || status == InitStatus::Bootstrapped));
            if status == InitStatus::NeedsBackfill {
                let next = log.journal().state().next_index().unwrap_or(11);
                went_on += u64::from(next > 11);
                plain.read.borrow_mut().clear();
                let done = log.backfill(&plain, 7, membership()).unwrap();
                assert_eq!(done.copied, 35 - next, "cut at {cuts}, {survival:?}");
                assert_eq!(*plain.read.borrow(), (next..35).collect::<Vec<_>>());
            }
            assert_eq!(held(log.journal()), plain.entries(7), "cut at {cuts}, {survival:?}");
            assert_eq!((log.committed(), log.journal().get_u64(b"term").unwrap()), (Some(34), Some(7)));
            assert_eq!(log.init_status(0..0), InitStatus::Bootstrapped);
        }
        cuts += 1;
    }
    assert!(cuts > 20 && went_on > 10, "{cuts} cuts, {went_on} times in the middle");
}
