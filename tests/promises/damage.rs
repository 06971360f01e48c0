//! Promise 3, of damage: it is never cut, and costs only what it hit. Promise 8: what is unknown or unreadable is none.

use std::io::ErrorKind;

use raft_journal::io::sim::{Fault, OperationKind};
use raft_journal::{DamageKind, Error, Journal, LogStore, OnDamage, Position};

use crate::common::{FIRST_PAYLOAD_AT, append_each, entries, entry, log, names_file, on_both, set_segment_version};

// Promise 3.
#[test]
fn damaged_bytes_are_never_cut_and_cost_only_what_they_held() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=4, 1));
        journal.append(&entries(5..=7, 1)).unwrap();
        append_each(&journal, &entries(8..=10, 1));
        let damaged = disk.killed();
        let (name, at) = damaged.find(&entry(6, 1, 300).data);
        damaged.flip(&name, at + 50);
        let (_, batch) = damaged.find(&entry(5, 1, 300).data);
        let files = damaged.contents();
        let error = damaged.try_open().unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error:?}") };
        assert_eq!((&damage.path, damage.why), (&damaged.path(&name), DamageKind::Checksum));
        assert_eq!(damage.offset, (batch - FIRST_PAYLOAD_AT) as u64, "the batch");
        assert_eq!((damage.indexes.first, damage.indexes.end), (6, Some(7)), "and the entry in it");
        let text = error.to_string();
        assert!(
            names_file(&error, &damage.path) && text.contains("entry 6 is lost") && text.contains("leader"),
            "{text}"
        );
        assert!(damaged.contents() == files, "a refused open changes nothing");

        let accepted = damaged.open_accepting();
        let expect = |journal: &Journal, last| {
            assert_eq!(journal.state().last, Some(Position::new(last, 1)));
            assert_eq!(journal.entries(1..6, u64::MAX).unwrap(), entries(1..=5, 1));
            assert_eq!(journal.entries(7..last + 1, u64::MAX).unwrap(), entries(7..=last, 1));
            assert!(matches!(journal.entry(6), Err(Error::Damaged(_))));
            assert!(matches!(journal.entries(6..8, 1), Err(Error::Damaged(_))));
            assert!(matches!(journal.term(6), Err(Error::Damaged(_)) | Ok(1)));
            assert_eq!(journal.recovery_report().damaged.len(), 1);
        };
        expect(&accepted, 10);
        append_each(&accepted, &entries(11..=12, 1));
        // The next open reports and does not refuse.
        let killed = damaged.killed();
        expect(&killed.open(), 12);
        // The tail can be replaced across the hole, which ends it.
        let journal = killed.open();
        journal.replace_tail(&entries(6..=8, 2)).unwrap();
        drop(journal);
        assert_eq!(log(&killed.open()), [entries(1..=5, 1), entries(6..=8, 2)].concat());
    });
}

// Promise 3.
#[test]
fn a_lost_batch_header_costs_the_batch_and_never_brings_older_versions_back() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=8, 1));
        journal.replace_tail(&entries(5..=6, 2)).unwrap();
        append_each(&journal, &entries(7..=9, 2));
        let damaged = disk.killed();
        let (name, at) = damaged.find(&entry(5, 2, 300).data);
        damaged.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        let error = damaged.try_open().unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error:?}") };
        assert!(damage.indexes.first <= 5 && damage.indexes.end == Some(7), "{error}");
        let journal = damaged.open_accepting();
        // Nobody knows how far back the lost batch reached, down to the segment's base.
        for (index, expected) in (1..).zip(entries(1..=4, 1)) {
            assert!(
                matches!(journal.entry(index), Err(Error::Damaged(_))) || journal.entry(index).unwrap() == expected
            );
        }
        (5..=6).for_each(|index| assert!(matches!(journal.entry(index), Err(Error::Damaged(_))), "{index}"));
        assert_eq!(journal.entries(7..10, u64::MAX).unwrap(), entries(7..=9, 2));
        drop(journal);
        let journal = damaged.open();
        (5..=6).for_each(|index| assert!(matches!(journal.entry(index), Err(Error::Damaged(_))), "{index}"));
        assert_eq!(journal.recovery_report().damaged.len(), 1);
    });
}

// Promise 8.
#[test]
fn unknown_and_unreadable_are_not_damage_even_for_those_who_accept_damage() {
    on_both(|disk| {
        let other = disk.beside("other");
        append_each(&disk.open(), &entries(1..=40, 1));
        append_each(&other.open(), &entries(1..=40, 1));
        let whole = disk.contents();
        let accept = disk.options().on_damage(OnDamage::Accept);
        let refused = |is: &dyn Fn(&Error) -> bool| {
            let files = disk.contents();
            let error = accept.open(&disk.dir).unwrap_err();
            assert!(is(&error), "{error:?}");
            assert!(disk.contents() == files, "{error}");
        };
        let name = disk.segments()[1].clone();
        disk.put(&name, &other.bytes(&name));
        refused(&|error| matches!(error, Error::ForeignFile { .. }));
        let mut newer = whole[&name].clone();
        set_segment_version(&mut newer, 2);
        disk.put(&name, &newer);
        refused(&|error| matches!(error, Error::UnsupportedVersion { found: 2, .. }));
        disk.put(&name, &whole[&name]);
        if let Some(sim) = &disk.sim {
            sim.inject(Fault::new(OperationKind::Read, ErrorKind::Other).in_path(&name));
            refused(&|error| matches!(error, Error::Io { op: "read", .. }));
            sim.clear_faults();
        }
        assert_eq!(log(&accept.open(&disk.dir).unwrap()), entries(1..=40, 1));
    });
}
