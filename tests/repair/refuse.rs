//! What is refused, and that nothing is written then.

use raft_journal::{Entry, Error, Journal, LogStore, Position, RepairFault};

use crate::common::{DATA_AT, Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, on_both};

/// A journal of entries 1 to 20 of term 2 and 21 to 40 of term 4, which has lost entry 5's payload and, with their batch's
/// header, entries 35 and 36.
fn damaged(disk: &Disk) -> (Disk, Journal, Vec<Entry>) {
    let held = [entries(1..=20, 2), entries(21..=40, 4)].concat();
    let journal = disk.open();
    append_each(&journal, &held[..34]);
    journal.append(&held[34..36]).unwrap();
    append_each(&journal, &held[36..]);
    let disk = disk.killed();
    let (name, at) = disk.find(&held[4].data);
    disk.flip(&name, at + 50);
    let (name, at) = disk.find(&held[34].data);
    disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
    let journal = disk.open_accepting();
    assert!(journal.entry(5).is_err());
    let first = journal.damaged().iter().map(|damage| damage.indexes.first).collect::<Vec<_>>();
    assert_eq!(first, [5, 35]);
    (disk, journal, held)
}

#[test]
fn what_cannot_be_the_entry_that_was_lost_is_refused_and_nothing_is_written() {
    on_both(|disk| {
        let (disk, journal, held) = damaged(disk);
        let files = disk.contents();
        let refused = |entries: &[Entry]| {
            let error = journal.repair(entries).unwrap_err();
            assert!(disk.contents() == files, "{error}");
            assert!(!error.to_string().is_empty());
            error
        };
        let fault = |entries: &[Entry]| match refused(entries) {
            Error::RepairRefused { index, why, .. } => (index, why),
            error => panic!("{error:?}"),
        };
        assert_eq!(fault(&[entry(5, 1, 300)]), (5, RepairFault::Term { known: 2 }));
        assert_eq!(fault(&[entry(5, 3, 300)]), (5, RepairFault::Term { known: 2 }));
        assert_eq!(fault(&[entry(5, 2, 299)]), (5, RepairFault::Checksum));
        assert_eq!(fault(&[Entry::new(5, 2, held[5].data.clone())]), (5, RepairFault::Checksum));
        assert_eq!(fault(&[entry(35, 3, 300)]), (35, RepairFault::TermBelow { least: 4 }));
        assert_eq!(fault(&[entry(36, 5, 300)]), (36, RepairFault::TermAbove { most: 4 }));
        assert_eq!(fault(&[entry(35, 4, 300), entry(36, 3, 300)]), (36, RepairFault::TermBelow { least: 4 }));
        assert_eq!(fault(&[held[34].clone(), held[34].clone()]), (35, RepairFault::Gap { expected: 36 }));
        assert_eq!(fault(&[held[4].clone(), held[34].clone()]), (35, RepairFault::Gap { expected: 6 }));
        assert!(matches!(refused(&held[3..5]), Error::NotDamaged { index: 4 }));
        assert!(matches!(refused(&held[4..6]), Error::NotDamaged { index: 6 }));
        assert!(matches!(refused(&held[39..]), Error::NotDamaged { index: 40 }));
        assert!(matches!(refused(&[entry(41, 4, 300)]), Error::AfterLast { index: 41, next: 41 }));
        assert!(matches!(refused(&[entry(u64::MAX, 4, 300)]), Error::AfterLast { .. }));
        assert!(matches!(refused(&[entry(0, 0, 300)]), Error::BeforeFirst { index: 0, .. }));
        journal.repair(&[]).unwrap();
        assert!(disk.contents() == files);

        journal.repair(&held[4..5]).unwrap();
        journal.repair(&held[35..36]).unwrap();
        // What was put back is damaged no more, and a neighbour like any other.
        assert!(matches!(journal.repair(&held[4..5]), Err(Error::NotDamaged { index: 5 })));
        assert!(matches!(journal.repair(&held[34..36]), Err(Error::NotDamaged { index: 36 })));
        journal.truncate_head(Position::new(35, 4)).unwrap();
        assert!(matches!(journal.repair(&held[34..35]), Err(Error::BeforeFirst { .. })));
        assert_eq!(journal.damaged(), []);
        journal.close().unwrap();
        assert!(matches!(journal.repair(&held[34..35]), Err(Error::Closed)));
        let looker = disk.open_read_only();
        assert!(matches!(looker.repair(&held[34..35]), Err(Error::ReadOnly { .. })));
    });
}

#[test]
fn more_ranges_than_are_kept_track_of_are_refused_until_the_head_has_passed_some() {
    on_both(|disk| {
        let held = entries(1..=120, 1);
        let journal = disk.options().segment_bytes(64 << 10).tail_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &held);
        for entry in &held {
            let (name, at) = disk.find(&entry.data);
            disk.flip(&name, at + 50);
        }
        // Every other entry, each a range of its own.
        let odd = || held.iter().step_by(2);
        odd().take(32).for_each(|entry| journal.repair(std::slice::from_ref(entry)).unwrap());
        let full = journal.repair(&held[64..65]);
        assert!(matches!(full, Err(Error::RepairsFull { ranges_max: 32 })), "{full:?}");
        assert_eq!(disk.names().iter().filter(|name| name.ends_with(".rep")).count(), 32);
        // The entries between them join two ranges each.
        held[1..63].iter().step_by(2).for_each(|entry| journal.repair(std::slice::from_ref(entry)).unwrap());
        assert_eq!(journal.entries(1..64, u64::MAX).unwrap(), held[..63]);
        // One by one, as many as there are.
        held[63..].iter().for_each(|entry| journal.repair(std::slice::from_ref(entry)).unwrap());
        assert_eq!(journal.damaged(), []);
        for journal in [journal, disk.killed().open()] {
            assert_eq!(journal.entries(1..121, u64::MAX).unwrap(), held);
            assert_eq!(journal.recovery_report().damaged, []);
        }
        let left = disk.killed();
        let journal = left.open();
        append_each(&journal, &entries(121..=220, 1));
        journal.truncate_head(Position::new(219, 1)).unwrap();
        drop(journal);
        assert!(left.names().iter().all(|name| !name.ends_with(".rep")), "{:?}", left.names());
    });
}

#[test]
fn a_file_that_no_meta_names_is_removed_and_its_number_not_used_again() {
    on_both(|disk| {
        let (disk, journal, held) = damaged(disk);
        journal.repair(&held[4..5]).unwrap();
        let name = disk.names().into_iter().find(|name| name.ends_with(".rep")).unwrap();
        let bytes = disk.bytes(&name);
        assert_eq!(&bytes[DATA_AT + FIRST_PAYLOAD_AT..][..300], &held[4].data[..]);
        drop(journal);
        let unnamed = ["00000000000000000090.rep", "00000000000000000091.rep.tmp"];
        unnamed.iter().for_each(|name| disk.put(name, &bytes));
        let journal = disk.open();
        let leftover = &journal.recovery_report().leftover;
        assert!(unnamed.iter().all(|name| leftover.contains(&disk.path(name))), "{leftover:?}");
        journal.repair(&held[34..36]).unwrap();
        let newest = disk.names().into_iter().rfind(|name| name.ends_with(".rep")).unwrap();
        assert_eq!(newest, "00000000000000000092.rep");
        // They are removed behind the scenes: by the time of a close at the latest.
        journal.close().unwrap();
        assert!(disk.names().contains(&name) && unnamed.iter().all(|name| !disk.names().contains(&name.to_string())));
    });
}
