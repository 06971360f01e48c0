//! What can be healed, on both file systems: each kind of damage, and what becomes of the repaired entries afterwards.

use std::ops::ControlFlow;

use raft_journal::{
    Compression, Damage, DamageKind, Entry, Error, Journal, LogStore, OnDamage, OpenOptions, Position, StableStore,
    VerifyOptions,
};

use crate::common::{DATA_AT, Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, log, on_both};

/// Fetches what is damaged from `peer`, which holds a log from index 1 on, and puts it back.
pub fn heal(journal: &Journal, peer: &[Entry]) -> Vec<Damage> {
    let damaged = journal.damaged();
    for damage in &damaged {
        let is_in = |entry: &&Entry| damage.indexes.contains(entry.index);
        let fetched: Vec<Entry> = peer.iter().filter(is_in).cloned().collect();
        journal.repair(&fetched).unwrap();
    }
    damaged
}

fn assert_whole(journal: &Journal, expected: &[Entry]) {
    assert_eq!(journal.damaged(), []);
    assert_eq!(log(journal), expected);
    for entry in expected {
        assert_eq!(&journal.entry(entry.index).unwrap(), entry);
        assert_eq!(journal.term(entry.index).unwrap(), entry.term, "{}", entry.index);
    }
}

/// The journal goes on, is stopped in every way, and keeps what was repaired.
fn assert_stays_whole(disk: &Disk, journal: Journal, expected: &[Entry]) {
    assert_whole(&journal, expected);
    let last = expected.last().unwrap();
    let more = entries(last.index + 1..=last.index + 40, last.term);
    append_each(&journal, &more);
    let expected = [expected, &more].concat();
    assert_whole(&journal, &expected);
    assert_whole(&disk.killed().open(), &expected);
    journal.close().unwrap();
    let reopened = disk.open();
    assert_eq!(reopened.recovery_report().damaged, []);
    assert_whole(&reopened, &expected);
    assert_whole(&disk.open_read_only(), &expected);
    // The head passes the segment: nothing is left of the repair.
    reopened.truncate_head(more[38].position()).unwrap();
    reopened.close().unwrap();
    let reopened = disk.open();
    assert_eq!(log(&reopened), more[39..]);
    assert!(disk.names().iter().all(|name| !name.ends_with(".rep")), "{:?}", disk.names());
}

#[test]
fn a_payload_of_a_sealed_segment_that_only_a_read_meets_is_put_back_without_reopening() {
    on_both(|disk| {
        let held = entries(1..=60, 1);
        let journal = disk.open();
        append_each(&journal, &held);
        let (name, at) = disk.find(&held[4].data);
        disk.flip(&name, at + 50);
        let journal = reopen(disk, journal);
        assert_eq!(journal.damaged(), [], "a sealed segment is not read through");
        assert!(matches!(journal.entry(5), Err(Error::Damaged(_))));
        assert_eq!(journal.entries(1..7, u64::MAX).unwrap(), held[..4], "up to the damage");
        let told = heal(&journal, &held);
        let [Damage { path, offset, indexes, term: Some(1), why: DamageKind::Checksum }] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!((path, *offset as usize), (&disk.path(&name), at - 20));
        assert_eq!((indexes.first, indexes.end), (5, Some(6)));
        assert_stays_whole(disk, journal, &held);
    });
}

/// Opens again what was damaged from outside, behind a close.
fn reopen(disk: &Disk, journal: Journal) -> Journal {
    journal.close().unwrap();
    disk.open()
}

/// Nothing is kept in memory of what is on the disk.
fn cold(disk: &Disk) -> OpenOptions {
    disk.options().tail_cache_bytes(0).index_cache_bytes(0)
}

#[test]
fn a_payload_of_the_active_segment_that_a_read_meets_is_put_back_and_the_next_open_does_not_refuse() {
    on_both(|disk| {
        let held = entries(1..=9, 1);
        let journal = cold(disk).open(&disk.dir).unwrap();
        append_each(&journal, &held[..3]);
        journal.append(&held[3..7]).unwrap();
        append_each(&journal, &held[7..]);
        // A payload, an entry's header, and another payload of the same batch.
        let place = |index: u64| disk.find(&entry(index, 1, 300).data);
        let (name, at) = place(5);
        disk.flip(&name, at + 50);
        disk.flip(&name, place(6).1 - 20 + 5);
        disk.flip(&name, place(9).1 + 60);
        let lost: Vec<u64> = (1..=9).filter(|&index| journal.entry(index).is_err()).collect();
        assert_eq!(lost, [5, 6, 9]);
        assert!(matches!(disk.killed().try_open(), Err(Error::Damaged(_))));
        assert_eq!(heal(&journal, &held).iter().map(|told| told.indexes.first).collect::<Vec<_>>(), lost);
        let reopened = disk.killed().open();
        assert_eq!(reopened.recovery_report().damaged, []);
        assert_whole(&reopened, &held);
        assert_stays_whole(disk, journal, &held);
    });
}

#[test]
fn what_a_refused_open_names_is_put_back_after_an_accepting_one() {
    // What is flipped of the batch of entries 4 to 7, from its first payload on: payload, entry header, batch header.
    for at_flip in [50, -20 + 5, 300 + 5, -92 + 30] {
        on_both(|disk| {
            let held = entries(1..=9, 1);
            let journal = disk.open();
            append_each(&journal, &held[..3]);
            journal.append(&held[3..7]).unwrap();
            append_each(&journal, &held[7..]);
            let disk = disk.killed();
            let (name, at) = disk.find(&held[3].data);
            disk.flip(&name, at.checked_add_signed(at_flip).unwrap());
            assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
            let journal = disk.open_accepting();
            let told = heal(&journal, &held);
            assert!(told.iter().all(|damage| damage.path == disk.path(&name) && damage.offset > 0), "{told:?}");
            assert_eq!((told[0].indexes.first, told.last().unwrap().indexes.end.unwrap() <= 8), (4, true), "{told:?}");
            assert_stays_whole(&disk, journal, &held);
        });
    }
}

#[test]
fn what_stood_in_a_file_that_is_gone_is_put_back() {
    for from_the_end in [1, 2, 3] {
        on_both(|disk| {
            let held = [entries(1..=30, 1), entries(31..=60, 2)].concat();
            let journal = disk.open();
            append_each(&journal, &held);
            journal.truncate_head(Position::new(3, 1)).unwrap();
            journal.close().unwrap();
            let names = disk.chain();
            disk.remove(&names[names.len() - from_the_end]);
            let journal = disk.open_accepting();
            let told = heal(&journal, &held);
            assert_eq!((told.len(), told[0].indexes.first, told[0].why), (1, 4, DamageKind::Accepted), "{told:?}");
            assert_eq!(journal.state().last, Some(Position::new(60, 2)));
            assert_eq!(journal.state().durable, journal.state().last);
            assert_stays_whole(disk, journal, &held[3..]);
        });
    }
}

#[test]
fn what_a_sealed_segment_holds_whose_index_and_batch_are_damaged_is_put_back() {
    on_both(|disk| {
        let held = entries(1..=60, 1);
        let journal = disk.open();
        append_each(&journal, &held);
        let (name, at) = disk.find(&held[4].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        let bytes = disk.bytes(&name);
        let trailer = bytes.len() - 1024;
        let seal = u32::from_le_bytes(bytes[trailer + 4..trailer + 8].try_into().unwrap()) as usize;
        // Behind the seal's header, its summary, and one run of terms: the page.
        disk.flip(&name, seal + 72 + 56 + 16 + 30);
        let journal = reopen(disk, journal);
        let lost: Vec<u64> = (1..=60).filter(|&index| journal.entry(index).is_err()).collect();
        assert!(lost.len() > 10 && lost[0] == 1, "{lost:?}");
        heal(&journal, &held);
        // What is damaged stays so, and costs nothing any more.
        let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
        assert!(!report.faults.is_empty() && report.losses().count() == 0, "{report:#?}");
        assert_stays_whole(disk, journal, &held);
    });
}

#[test]
fn a_compressed_entry_is_held_against_its_checksum_too() {
    on_both(|disk| {
        let options = || cold(disk).compression(Compression::Lz4 { threshold_bytes: 100 });
        // The second one is too short, the third does not get smaller.
        let noise: Vec<u8> = (0..300u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let held = [entry(1, 1, 2000), entry(2, 1, 50), Entry::new(3, 1, noise), entry(4, 1, 2000)];
        let journal = options().open(&disk.dir).unwrap();
        append_each(&journal, &held);
        let name = disk.chain().remove(0);
        let mut at = DATA_AT;
        for _ in &held {
            disk.flip(&name, at + FIRST_PAYLOAD_AT + 10);
            let bytes = disk.bytes(&name);
            at += (72 + u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize).next_multiple_of(8);
        }
        held.iter().for_each(|entry| assert!(journal.entry(entry.index).is_err()));
        let mut wrong = held[3].clone();
        wrong.data = entry(5, 1, 2000).data;
        assert!(matches!(journal.repair(&[wrong]), Err(Error::RepairRefused { index: 4, .. })));
        journal.repair(&held).unwrap();
        assert_whole(&journal, &held);
        drop(journal);
        // Compression is for what is written anew.
        assert_whole(&disk.killed().open(), &held);
    });
}

#[test]
fn an_aligned_journal_is_healed() {
    on_both(|disk| {
        let options = || cold(disk).align_4k(true).segment_bytes(64 << 10);
        let held = entries(1..=30, 1);
        let journal = options().open(&disk.dir).unwrap();
        append_each(&journal, &held);
        for index in [3, 29] {
            let (name, at) = disk.find(&entry(index, 1, 300).data);
            disk.flip(&name, at + 50);
            assert!(journal.entry(index).is_err());
        }
        heal(&journal, &held);
        assert_whole(&journal, &held);
        let killed = disk.killed();
        assert_whole(&options().file_system(killed.fs.clone()).open(&killed.dir).unwrap(), &held);
    });
}

#[test]
fn what_was_repaired_never_comes_back_once_the_tail_was_truncated_below_it() {
    // The payload of entry 5, its batch's header, or the file that holds it.
    for kind in 0..3 {
        on_both(|disk| {
            let held = entries(1..=60, 1);
            let journal = disk.open();
            append_each(&journal, &held[..8]);
            let disk = if kind == 2 {
                journal.truncate_head(Position::new(1, 1)).unwrap();
                append_each(&journal, &held[8..]);
                journal.close().unwrap();
                disk.remove(&disk.chain()[1]);
                disk.killed()
            } else {
                let disk = disk.killed();
                let (name, at) = disk.find(&held[4].data);
                disk.flip(&name, if kind == 0 { at + 50 } else { at - FIRST_PAYLOAD_AT + 30 });
                disk
            };
            let journal = disk.open_accepting();
            heal(&journal, &held);
            let next = journal.state().next_index().unwrap();
            assert_whole(&journal, &held[..next as usize - 1][journal.state().first.unwrap() as usize - 1..]);
            journal.truncate_tail(4).unwrap();
            let newer = [entries(1..=3, 1), entries(4..=9, 2)].concat();
            journal.append(&newer[3..5]).unwrap();
            append_each(&journal, &newer[5..]);
            let first = journal.state().first.unwrap() as usize - 1;
            assert_whole(&journal, &newer[first..]);
            let disk = disk.killed();
            assert_whole(&disk.killed().open(), &newer[first..]);
            // The newer entry 5 is damaged as well: the older one must not stand in for it.
            for flip in [50, -(FIRST_PAYLOAD_AT as isize) - 320 + 30] {
                let disk = disk.killed();
                let (name, at) = disk.find(&newer[4].data);
                disk.flip(&name, at.checked_add_signed(flip).unwrap());
                let journal = disk.options().on_damage(OnDamage::Accept).tail_cache_bytes(0).open(&disk.dir).unwrap();
                match journal.entry(5) {
                    Err(Error::Damaged(_)) => {}
                    // A sealed segment's batch headers are not looked at.
                    found => assert!(kind == 2 && flip != 50 && found.as_ref().unwrap() == &newer[4], "{found:?}"),
                }
                if flip == 50 {
                    let refused = journal.repair(&held[4..5]);
                    assert!(matches!(refused, Err(Error::RepairRefused { .. })), "its term is known: {refused:?}");
                }
                heal(&journal, &newer);
                assert_stays_whole(&disk, journal, &newer[first..]);
            }
        });
    }
}

#[test]
fn a_repair_file_that_is_damaged_in_its_turn_is_told_and_repaired_again() {
    on_both(|disk| {
        let held = entries(1..=60, 1);
        let journal = disk.open();
        append_each(&journal, &held);
        journal.close().unwrap();
        let (name, at) = disk.find(&held[4].data);
        disk.flip(&name, at + 50);
        disk.flip(&name, at + 50 + 392);
        let journal = disk.open();
        assert!(journal.entry(5).is_err() && journal.entry(6).is_err());
        journal.repair(&held[4..6]).unwrap();
        journal.close().unwrap();
        let repair_file = disk.names().into_iter().find(|name| name.ends_with(".rep")).unwrap();
        let whole = disk.contents();

        // A payload in it: that entry alone is damaged, and the other is served.
        let bytes = &whole[&repair_file];
        let at = bytes.windows(300).position(|bytes| bytes == held[5].data).unwrap();
        disk.flip(&repair_file, at + 50);
        let journal = disk.open();
        assert_eq!(journal.entry(5).unwrap(), held[4]);
        assert!(
            matches!(journal.entry(6), Err(Error::Damaged(damage)) if damage.path == disk.path(&repair_file)),
            "the file that is damaged now"
        );
        assert_eq!(heal(&journal, &held).len(), 1);
        assert_whole(&journal, &held);
        journal.close().unwrap();
        assert_whole(&disk.open(), &held);

        // Its batch's header, its own two, and all of it.
        for damage in [DATA_AT + 30, 0, usize::MAX] {
            let disk = disk.beside(&format!("damaged at {damage}"));
            whole.iter().filter(|(name, _)| *name != "LOCK").for_each(|(name, bytes)| disk.put(name, bytes));
            match damage {
                usize::MAX => disk.remove(&repair_file),
                0 => disk.put(&repair_file, &vec![0; whole[&repair_file].len()]),
                at => disk.flip(&repair_file, at),
            }
            let Err(Error::Damaged(told)) = disk.try_open() else { panic!("opened without {damage}") };
            assert_eq!((&told.path, told.indexes.first, told.indexes.end), (&disk.path(&repair_file), 5, Some(7)));
            let journal = disk.open_accepting();
            assert_eq!(journal.recovery_report().damaged.len(), 1);
            assert_eq!(heal(&journal, &held).iter().map(|d| d.indexes.first).collect::<Vec<_>>(), [5, 6]);
            assert_stays_whole(&disk, journal, &held);
        }
    });
}

#[test]
fn the_term_of_an_entry_that_was_put_back_is_its_own_also_in_segments_that_were_sealed_without_it() {
    // The payload, the term in the entry's header, and the batch's header.
    for at_flip in [50, -20 + 13, -92 + 30] {
        on_both(|disk| {
            let held = [entries(1..=4, 1), entries(5..=5, 2), entries(6..=9, 3)].concat();
            let journal = disk.open();
            append_each(&journal, &held);
            let disk = disk.killed();
            let (name, at) = disk.find(&held[4].data);
            disk.flip(&name, at.checked_add_signed(at_flip).unwrap());
            let journal = disk.open_accepting();
            assert!(matches!(journal.term(5), Err(Error::Damaged(_))));
            // Sealed before it is put back, or behind it.
            let more = entries(10..=40, 3);
            let expected = [&held[..], &more].concat();
            for first in [true, false] {
                let disk = disk.killed();
                let journal = disk.open();
                if first {
                    heal(&journal, &held);
                }
                append_each(&journal, &more);
                heal(&journal, &held);
                assert_stays_whole(&disk, journal, &expected);
            }
        });
    }
}

#[test]
fn the_last_entry_is_put_back_and_the_log_goes_on_from_its_term() {
    on_both(|disk| {
        let held = [entries(1..=4, 1), entries(5..=5, 7)].concat();
        let journal = disk.open();
        append_each(&journal, &held);
        journal.set_u64(b"term", 7).unwrap();
        let disk = disk.killed();
        let (name, at) = disk.find(&held[4].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        let journal = disk.open_accepting();
        heal(&journal, &held);
        assert_eq!((journal.state().last, journal.state().durable), (Some(Position::new(5, 7)), journal.state().last));
        assert!(matches!(journal.append(&[entry(6, 6, 300)]), Err(Error::TermFell { previous: 7, .. })));
        assert_stays_whole(&disk, journal, &held);
    });
}

// Guards: an entry of a sealed segment is put back, the segment is lost later, as a whole or both its headers.
#[test]
fn a_segment_that_is_lost_behind_a_repair_of_it_is_told_whole_and_accepted() {
    for is_missing in [true, false] {
        let disk = Disk::simulated();
        let held = entries(4..=60, 1);
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        // Where a log that was never purged began, a lost file leaves unknown.
        journal.truncate_head(Position::new(3, 1)).unwrap();
        journal.close().unwrap();
        let (name, at) = disk.find(&held[16].data);
        disk.flip(&name, at + 50);
        let journal = disk.open();
        journal.entry(20).unwrap_err();
        heal(&journal, &held);
        assert_eq!(journal.entry(20).unwrap(), held[16]);
        journal.close().unwrap();

        if is_missing {
            disk.remove(&name)
        } else {
            disk.put(&name, &vec![0x5a; disk.bytes(&name).len()])
        }
        assert!(matches!(disk.try_open(), Err(Error::Damaged(damage)) if damage.path == disk.path(&name)));
        let journal = disk.open_accepting();
        let lost = |index: &u64| journal.entry(*index).is_err();
        let told = |index: &u64| journal.recovery_report().damaged.iter().any(|damage| damage.indexes.contains(*index));
        assert_eq!((4..=60).filter(lost).collect::<Vec<_>>(), (4..=60).filter(told).collect::<Vec<_>>());
        assert!(lost(&20));
        heal(&journal, &held);
        assert_stays_whole(&disk, journal, &held);
    }
}

// Guards: the index of a segment that was sealed without the entries of a lost batch has all of them as lost; with some of them
// put back the batch was whole, and the next open told nothing of the others (the hunt: damage at rest, seed 80000038).
#[test]
fn what_is_left_of_a_loss_is_told_though_its_batch_is_whole_with_what_was_put_back() {
    // Of the batch of entries 4 to 7, the third entry's header or payload, or the batch's own header.
    for (index, at_flip) in [(6, -20 + 5), (6, 50), (4, -92 + 30)] {
        on_both(|disk| {
            let held = entries(1..=60, 1);
            let journal = disk.open();
            append_each(&journal, &held[..3]);
            journal.append(&held[3..7]).unwrap();
            append_each(&journal, &held[7..9]);
            let disk = disk.killed();
            let (name, at) = disk.find(&entry(index, 1, 300).data);
            disk.flip(&name, at.checked_add_signed(at_flip).unwrap());
            // Sealed with the loss in its index.
            let mut journal = disk.open_accepting();
            let next = journal.state().next_index().unwrap() as usize;
            append_each(&journal, &held[next - 1..]);
            journal.close().unwrap();
            journal = disk.open();
            let lost: Vec<u64> = (1..=60).filter(|&index| journal.entry(index).is_err()).collect();
            assert!(!lost.is_empty());
            // The entries in front are whole in the file once those behind are put back.
            for &index in lost.iter().rev() {
                journal.repair(&held[index as usize - 1..index as usize]).unwrap();
                journal.close().unwrap();
                journal = disk.open();
                let damaged = &journal.recovery_report().damaged;
                let told = |index: u64| damaged.iter().any(|damage| damage.indexes.contains(index));
                for index in 1..=60 {
                    assert_eq!(told(index), journal.entry(index).is_err(), "entry {index}: {damaged:?}");
                }
            }
            assert_stays_whole(&disk, journal, &held);
        });
    }
}

// Guards: looking for what is lost in a sealed segment, an open counted beyond the last number that there is.
#[test]
fn what_is_put_back_among_the_last_indexes_is_found_again() {
    on_both(|disk| {
        let first = u64::MAX - 60;
        let held = entries(first..=u64::MAX - 1, 1);
        let journal = disk.open();
        append_each(&journal, &held[..40]);
        let disk = disk.killed();
        let (name, at) = disk.find(&held[38].data);
        disk.flip(&name, at);
        let journal = disk.open_accepting();
        journal.repair(&held[38..39]).unwrap();
        append_each(&journal, &held[40..]);
        journal.close().unwrap();
        let journal = disk.open();
        assert_eq!(journal.entries(first..u64::MAX, u64::MAX).unwrap(), held);
    });
}
