//! Losses that were accepted, and what comes behind them.

use super::*;

// Guards: an entry that was put back for a lost batch came back in place of the newer one that had replaced it, when the
// header of that one's batch was lost as well: the search began at the same place, and found the same range.
#[test]
fn what_was_put_back_for_one_loss_does_not_stand_in_for_a_later_one_at_its_place() {
    for moved in [true, false] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.truncate_head(Position::new(7, 1)).unwrap();
        journal.append(&[entry(8, 1, 300)]).unwrap();
        journal.set_u64(b"term", 1).unwrap();
        let disk = disk.killed();
        spoil_header(&disk, &entry(8, 1, 300).data);
        assert_eq!(refused(&disk), (8, Some(9)));
        let journal = disk.open_accepting();
        journal.repair(&[entry(8, 1, 300)]).unwrap();
        journal.replace_tail(&[entry(8, 2, 300)]).unwrap();
        journal.append(&[entry(9, 2, 300)]).unwrap();
        if moved {
            journal.set_u64(b"term", 2).unwrap();
        }
        let disk = disk.killed();
        assert_eq!(log(&disk.killed().open()), [entry(8, 2, 300), entry(9, 2, 300)]);
        spoil_header(&disk, &entry(8, 2, 300).data);
        assert_eq!(refused(&disk), (8, Some(9)));
        let journal = disk.open_accepting();
        assert!(is_damaged(&journal, 8));
        assert_eq!(journal.entry(9).unwrap(), entry(9, 2, 300));
        let damaged = journal.damaged();
        assert_eq!(damaged.iter().map(|damage| damage.indexes.first).collect::<Vec<_>>(), [8]);
        // Known from now on.
        let disk = disk.killed();
        let journal = disk.open();
        assert!(is_damaged(&journal, 8));
        journal.repair(&[entry(8, 2, 300)]).unwrap();
        assert_eq!(log(&disk.killed().open()), [entry(8, 2, 300), entry(9, 2, 300)]);
    }
}

/// What a journal says when the file that it went on in, behind a file that was lost, is lost as well.
fn lost_again(go_on: impl Fn(&Journal), repaired: bool) -> Disk {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=9, 1)).unwrap();
    journal.truncate_head(Position::new(1, 1)).unwrap();
    journal.close().unwrap();
    let last = disk.segments().pop().unwrap();
    disk.remove(&last);
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let journal = disk.open_accepting();
    if repaired {
        journal.repair(&entries(2..=9, 1)).unwrap();
        assert_eq!(log(&journal), entries(2..=9, 1));
    }
    go_on(&journal);
    let disk = disk.killed();
    drop(disk.killed().open());
    let last = disk.segments().pop().unwrap();
    disk.remove(&last);
    disk
}

// Guards: the file that the log had gone on in behind a lost one was lost as well, and that passed for the loss that had been
// accepted: what it held was gone without a word, and what it had replaced was back.
#[test]
fn the_loss_of_the_file_that_followed_a_lost_one_is_another_loss() {
    let ways: [fn(&Journal); 4] = [
        |journal| _ = journal.append(&entries(10..=12, 2)).unwrap(),
        |journal| _ = journal.replace_tail(&entries(5..=7, 2)).unwrap(),
        |journal| {
            journal.replace_tail(&entries(5..=7, 2)).unwrap();
            journal.set_u64(b"term", 2).unwrap();
        },
        |journal| {
            journal.replace_tail(&entries(5..=7, 2)).unwrap();
            journal.close().unwrap();
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        for repaired in [true, false] {
            let disk = lost_again(way, repaired);
            match disk.try_open() {
                Err(Error::Damaged(_)) => {}
                opened => panic!("way {number}, repaired {repaired}: {:?}", opened.map(|journal| log(&journal))),
            }
            let journal = disk.open_accepting();
            assert!(is_damaged(&journal, 5), "way {number}");
            drop(disk.killed().open());
        }
    }
}

// Guards: behind the place of an accepted loss a batch showed again that had been cut, and was taken for where the log goes on.
#[test]
fn batches_that_were_cut_within_an_accepted_loss_are_not_where_the_log_goes_on() {
    let disk = cut_before(|journal| drop(journal.append_pending(&[entry(3, 1, 300)]).unwrap()));
    let (name, first) = disk.find(&entry(3, 1, 300).data);
    let shown = disk.bytes(&name);
    let journal = disk.open();
    journal.append(&[entry(2, 2, 4000)]).unwrap();
    journal.append(&entries(3..=4, 2)).unwrap();
    journal.set_u64(b"term", 2).unwrap();
    let disk = disk.killed();
    let (_, at) = disk.find(&entry(2, 2, 4000).data);
    let mut bytes = disk.bytes(&name);
    bytes[at - FIRST_PAYLOAD_AT..first + 300].copy_from_slice(&shown[at - FIRST_PAYLOAD_AT..first + 300]);
    bytes[at - FIRST_PAYLOAD_AT..at].fill(0);
    disk.put(&name, &bytes);
    assert_eq!(refused(&disk), (2, Some(3)));
    let mut disk = disk;
    for accepts in [true, false, false] {
        let journal = if accepts { disk.open_accepting() } else { disk.open() };
        assert!(is_damaged(&journal, 2));
        assert_eq!(journal.entries(3..5, u64::MAX).unwrap(), entries(3..=4, 2));
        disk = disk.killed();
    }
}

// Guards: what followed an accepted loss took back a part of it, so that at the next open but one it seemed to be an empty one,
// and a new one at that.
#[test]
fn an_accepted_loss_of_which_a_part_was_taken_back_is_no_other_loss() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.append(&entries(4..=7, 1)).unwrap();
    journal.append(&entries(8..=9, 1)).unwrap();
    journal.set_u64(b"term", 1).unwrap();
    let disk = disk.killed();
    spoil_payload(&disk, &entries(4..=4, 1)[0].data);
    spoil_header(&disk, &entries(8..=8, 1)[0].data);
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 8));
    journal.truncate_tail(7).unwrap();
    journal.append(&[entry(7, 2, 300)]).unwrap();
    let mut disk = disk.killed();
    for life in 0..3 {
        let journal = disk.open();
        assert_eq!(journal.entries(1..4, u64::MAX).unwrap(), entries(1..=3, 1));
        assert!(is_damaged(&journal, 4));
        assert_eq!(journal.entry(7).unwrap(), entry(7, 2, 300));
        let end = journal.state().next_index().unwrap();
        assert_eq!(end, 8 + life);
        journal.append(&[entry(end, 2, 20)]).unwrap();
        disk = disk.killed();
    }
}

// Guards: the first write behind an accepted loss was torn, and the next one was not: an open took that for another loss, and
// refused what nobody had been promised.
#[test]
fn a_torn_write_behind_an_accepted_loss_is_no_other_loss() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&[entry(1, 1, 50)]).unwrap();
    journal.append(&[entry(2, 1, 300)]).unwrap();
    journal.set_u64(b"term", 1).unwrap();
    let disk = disk.killed();
    spoil_header(&disk, &entry(2, 1, 300).data);
    let journal = disk.open_accepting();
    drop(journal.append_pending(&[entry(3, 1, 900)]).unwrap());
    drop(journal.replace_tail_pending(&[entry(3, 2, 300)]).unwrap());
    let disk = disk.killed();
    spoil_header(&disk, &entry(3, 1, 900).data);
    let journal = disk.open();
    assert_eq!((journal.entry(1).unwrap(), journal.state().next_index()), (entry(1, 1, 50), Some(3)));
    assert!(is_damaged(&journal, 2));
    journal.append(&[entry(3, 3, 10)]).unwrap();
    assert_eq!(disk.killed().open().entry(3).unwrap(), entry(3, 3, 10));
}

// Guards: the only file of an empty journal was lost, which cost nothing but could not be told from something; what was
// appended behind it made the next open refuse (the fuzz target for directories found it).
#[test]
fn an_empty_journal_whose_file_was_lost_goes_on() {
    let disk = Disk::simulated();
    drop(disk.open());
    let disk = disk.killed();
    let last = disk.segments().pop().unwrap();
    disk.remove(&last);
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let journal = disk.open_accepting();
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.close().unwrap();
    assert_eq!(log(&disk.killed().open()), entries(1..=3, 1));
}

// Guards: the purged position had passed the void batch, and the lost entries took fewer slots than they had indexes: what was
// appended behind them did not fit, and was cut without a word.
#[test]
fn what_is_appended_behind_void_batches_stays_where_the_head_was_truncated_into_them() {
    for truncates_before in [true, false] {
        let disk = Disk::simulated();
        let open = |disk: &Disk, on_damage| {
            disk.options().segment_bytes(64 << 10).align_4k(true).on_damage(on_damage).open(&disk.dir)
        };
        let journal = open(&disk, OnDamage::Refuse).unwrap();
        journal.append(&[entry(1, 1, 50)]).unwrap();
        drop(journal.append_pending(&[entry(2, 1, 300)]).unwrap());
        let disk = disk.killed();
        let shown = Shown::of(&disk, &entry(2, 1, 300));
        spoil_payload(&disk, &entry(2, 1, 300).data);
        let lost: Vec<_> = (2..=9).map(|index| entry(index, 2, 100)).collect();
        let journal = open(&disk, OnDamage::Refuse).unwrap();
        journal.append(&lost).unwrap();
        let disk = disk.killed();
        let journal = open(&disk, OnDamage::Refuse).unwrap();
        if truncates_before {
            journal.truncate_head(Position::new(3, 2)).unwrap();
        }
        let disk = disk.killed();
        shown.on(&disk);
        assert!(matches!(open(&disk, OnDamage::Refuse), Err(Error::Damaged(_))));
        let journal = open(&disk, OnDamage::Accept).unwrap();
        assert_eq!(journal.state().next_index(), Some(10));
        let mut expected = Vec::new();
        let mut disk = disk;
        for index in 10..14 {
            let journal = if index == 10 { journal.clone() } else { open(&disk, OnDamage::Refuse).unwrap() };
            assert!(is_damaged(&journal, 9));
            assert_eq!(journal.entries(10..index, u64::MAX).unwrap_or_default(), expected);
            journal.append(&[entry(index, 3, 20)]).unwrap();
            expected.push(entry(index, 3, 20));
            if index == 11 && !truncates_before {
                journal.truncate_head(Position::new(5, 2)).unwrap();
            }
            disk = disk.killed();
        }
    }
}

// Guards: what stands behind a void batch was lost later, its header or its body: one record took the other's place, and the void
// batch was served, or the next open refused what had been accepted.
#[test]
fn what_follows_a_void_batch_is_another_loss() {
    for (header, closes) in [(true, false), (false, false), (true, true), (false, true)] {
        let disk = cut_shown_again(&[entry(2, 1, 300)], &[entry(2, 2, 300)], |journal| {
            if !closes {
                journal.append(&[entry(3, 2, 300)]).unwrap();
                journal.append(&[entry(4, 2, 300)]).unwrap();
            }
        });
        let journal = disk.open_accepting();
        let index = if closes { 3 } else { 5 };
        assert!(is_damaged(&journal, 2));
        if closes {
            journal.close().unwrap();
        }
        let journal = if closes { disk.open() } else { journal };
        if closes {
            journal.append(&[entry(3, 2, 300)]).unwrap();
        }
        let disk = opens_for_lives(disk.killed(), 2, |journal| assert!(is_damaged(journal, 2)));
        let journal = disk.open();
        journal.append(&[entry(journal.state().next_index().unwrap(), 3, 40)]).unwrap();
        let disk = disk.killed();
        let (name, at) = disk.find(&entry(3, 2, 300).data);
        let at = if closes { disk.find(&entry(1, 1, 50).data).1 + (300 + 50 + 2 * FIRST_PAYLOAD_AT) } else { at };
        let start = if closes { at.next_multiple_of(8) - FIRST_PAYLOAD_AT } else { at - FIRST_PAYLOAD_AT };
        disk.flip(&name, start + if header { 30 } else { 72 + 30 });
        let disk = match disk.try_open() {
            Err(Error::Damaged(_)) => {
                let _journal = disk.open_accepting();
                disk.killed()
            }
            opened => {
                let journal = opened.unwrap();
                assert!(is_damaged(&journal, 2));
                disk.killed()
            }
        };
        opens_for_lives(disk, 3, |journal| {
            assert!(is_damaged(journal, 2), "header {header}, closes {closes}");
            assert!(journal.state().next_index() > Some(index));
        });
    }
}

// Guards: another entry of the file was put back, and the report took what void batches stand in the place of for healed, because
// a whole batch stands there.
#[test]
fn what_void_batches_stand_in_the_place_of_is_reported_until_it_is_put_back() {
    let disk = cut_shown_again(&[entry(2, 1, 300)], &[entry(2, 2, 300)], |journal| {
        journal.append(&[entry(3, 2, 100)]).unwrap();
        journal.append(&[entry(4, 2, 200)]).unwrap();
    });
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 2));
    let disk = disk.killed();
    spoil_payload(&disk, &entry(4, 2, 200).data);
    let journal = disk.open_accepting();
    journal.repair(&[entry(4, 2, 200)]).unwrap();
    let disk = opens_for_lives(disk.killed(), 2, |journal| {
        let told = &journal.recovery_report().damaged;
        assert!(told.iter().any(|damage| damage.indexes.contains(2)), "{told:?}");
        assert!(is_damaged(journal, 2));
        assert_eq!(journal.entry(4).unwrap(), entry(4, 2, 200));
    });
    disk.open().repair(&[entry(1, 1, 50), entry(2, 2, 300)]).unwrap();
    let journal = disk.killed().open();
    assert_eq!(journal.recovery_report().damaged, []);
    assert_eq!(log(&journal), [entry(1, 1, 50), entry(2, 2, 300), entry(3, 2, 100), entry(4, 2, 200)]);
}

// Guards: of two void batches only the last one was known as that, once what followed them was lost as well.
#[test]
fn all_of_several_void_batches_stay_lost_when_what_follows_them_is() {
    let cut = [entry(2, 1, 100), entry(3, 1, 100)];
    let disk = cut_shown_again(&cut, &[entry(2, 2, 292)], |journal| {
        journal.append(&[entry(3, 2, 50)]).unwrap();
        journal.append(&[entry(4, 2, 60)]).unwrap();
    });
    assert_eq!(refused(&disk), (1, Some(3)));
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 2));
    assert_eq!(journal.entries(3..5, u64::MAX).unwrap(), [entry(3, 2, 50), entry(4, 2, 60)]);
    let disk = opens_for_lives(disk.killed(), 2, |journal| assert!(is_damaged(journal, 2)));
    spoil_header(&disk, &entry(3, 2, 50).data);
    assert_eq!(refused(&disk).1, Some(4));
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 2));
    opens_for_lives(disk.killed(), 2, |journal| {
        assert!(is_damaged(journal, 2) && is_damaged(journal, 3));
        assert_eq!(journal.entry(4).unwrap(), entry(4, 2, 60));
    });
}

// Guards: the log was replaced from below the file that void batches stand in: the next open refused what had been accepted.
#[test]
fn a_replacement_from_an_earlier_file_leaves_the_accepted_loss_of_void_batches_what_it_is() {
    let (disk, shown, next) = cut_in_a_second_file(300);
    let journal = disk.open();
    journal.append(&[entry(next, 2, 300)]).unwrap();
    let disk = disk.killed();
    let disk = opens_for_lives(disk, 1, |_| {});
    shown.on(&disk);
    assert_eq!(refused(&disk).1, Some(next + 1));
    let journal = disk.open_accepting();
    journal.replace_tail(&entries(5..=6, 3)).unwrap();
    opens_for_lives(disk.killed(), 3, |journal| {
        assert_eq!(journal.entries(5..7, u64::MAX).unwrap(), entries(5..=6, 3));
        assert_eq!(journal.state().next_index(), Some(7));
        assert_eq!(journal.entry(4).unwrap(), entry(4, 1, 300));
    });
}

// An index was believed that an accepted loss had made void, and so was what an earlier life had left behind it: what was
// accepted was refused at the next open (seed 1000000581 of the hunt).
#[test]
fn an_index_within_an_accepted_loss_is_not_believed() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.close().unwrap();
    let journal = disk.open();
    (4..=5).for_each(|index| drop(journal.append_pending(&[entry(index, 1, 300)]).unwrap()));
    let disk = disk.killed();
    spoil_payload(&disk, &entry(4, 1, 300).data);
    let (name, at) = disk.find(&entry(5, 1, 300).data);
    let start = disk.find(&entries(3..=3, 1)[0].data).1;
    let shown = Shown::within(&disk, name, start..at + 300);
    let journal = disk.open();
    assert!(journal.recovery_report().torn.is_some());
    let later = [entry(4, 1, 1500)];
    journal.append(&later).unwrap();
    journal.replace_tail(&entries(2..=3, 2)).unwrap();
    // `meta` vouches for all of it.
    journal.set(b"vote", b"me").unwrap();
    let disk = disk.killed();
    shown.on(&disk);
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let judge = |journal: &Journal| {
        assert!(is_damaged(journal, 1));
        assert_eq!(journal.entries(2..4, u64::MAX).unwrap(), entries(2..=3, 2));
        assert_eq!(journal.state().next_index(), Some(4));
    };
    let journal = disk.open_accepting();
    judge(&journal);
    opens_for_lives(disk.killed(), 3, judge);
}

// Guards: what was put back for one loss stood in for a newer entry that was lost since, with all of the file.
#[test]
fn what_was_put_back_does_not_stand_in_for_what_the_whole_file_lost_later() {
    for is_file in [true, false] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=4, 1));
        let disk = disk.killed();
        spoil_header(&disk, &entries(3..=3, 1)[0].data);
        let journal = disk.open_accepting();
        assert!(is_damaged(&journal, 3));
        journal.repair(&entries(3..=3, 1)).unwrap();
        journal.replace_tail(&entries(3..=4, 2)).unwrap();
        journal.set(b"vote", b"me").unwrap();
        let disk = disk.killed();
        if is_file {
            disk.remove(&disk.chain()[0]);
        } else {
            // A loss that begins before the older one.
            spoil_header(&disk, &entries(2..=2, 1)[0].data);
            spoil_header(&disk, &entries(3..=3, 2)[0].data);
        }
        let judge = |journal: &Journal| {
            assert!(is_damaged(journal, 3), "{:?}", journal.entry(3));
            assert!(journal.damaged().iter().any(|damage| damage.indexes.contains(3)), "{:?}", journal.damaged());
        };
        let journal = disk.open_accepting();
        judge(&journal);
        opens_for_lives(disk.killed(), 2, judge);
        let disk = disk.killed();
        let journal = disk.open();
        journal.repair(&entries(3..=3, 2)).unwrap();
        assert_eq!(journal.entry(3).unwrap(), entries(3..=3, 2)[0]);
        assert_eq!(disk.killed().open().entry(3).unwrap(), entries(3..=3, 2)[0]);
    }
}

/// Entries 1 to 5, and a batch that the next one replaces from its first entry on.
fn replaced_at_once() -> (Disk, Journal) {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=5, 1)).unwrap();
    journal.append(&entries(6..=9, 1)).unwrap();
    journal.replace_tail(&entries(6..=7, 2)).unwrap();
    (disk, journal)
}

// Guards: the first batch behind a lost one was taken for one that had been cut, because nobody knew what it replaced.
#[test]
fn what_the_first_batch_behind_a_loss_replaced_speaks_against_nothing() {
    let (disk, journal) = replaced_at_once();
    append_each(&journal, &entries(8..=9, 2));
    journal.set(b"vote", b"me").unwrap();
    let disk = disk.killed();
    spoil_header(&disk, &entries(6..=6, 1)[0].data);
    let held = [entries(1..=5, 1), entries(6..=9, 2)].concat();
    let disk = opens_for_lives(disk, 2, |journal| assert_eq!(log(journal), held));
    spoil_header(&disk, &entries(8..=8, 2)[0].data);
    assert_eq!(refused(&disk), (8, Some(9)));
    let judge = |journal: &Journal| {
        assert!(is_damaged(journal, 8));
        assert!(
            held.iter().filter(|entry| entry.index != 8).all(|entry| journal.entry(entry.index).unwrap() == *entry)
        );
    };
    let journal = disk.open_accepting();
    judge(&journal);
    opens_for_lives(disk.killed(), 2, judge);
}

// Guards: as before, with the seal lost behind it: no open could accept that (seed 1200004305 of the hunt).
#[test]
fn a_lost_seal_behind_the_first_batch_behind_a_loss_can_be_accepted() {
    let (disk, journal) = replaced_at_once();
    journal.set(b"vote", b"me").unwrap();
    journal.append(&[entry(8, 2, 7000)]).unwrap();
    assert_eq!(disk.chain().len(), 2);
    let name = disk.chain()[0].clone();
    let disk = disk.killed();
    let seal = common::walk::batches(&disk.bytes(&name)).into_iter().next_back().unwrap();
    spoil_header(&disk, &entries(6..=6, 1)[0].data);
    disk.flip(&name, seal + 30);
    let held = [entries(1..=5, 1), entries(6..=7, 2), vec![entry(8, 2, 7000)]].concat();
    opens_for_lives(disk, 2, |journal| assert_eq!(log(journal), held));
}

// Guards: what was put back for a lost file was given up when a file before it lost an older version of the same entries.
#[test]
fn what_was_put_back_for_a_later_file_outlives_the_loss_of_an_earlier_one() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=30, 1));
    journal.set(b"vote", b"me").unwrap();
    let disk = disk.killed();
    assert_eq!(disk.chain().len(), 2);
    disk.remove(&disk.chain()[1].clone());
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 6));
    journal.repair(&entries(6..=7, 1)).unwrap();
    let disk = disk.killed();
    spoil_header(&disk, &entries(6..=6, 1)[0].data);
    let judge = |journal: &Journal| assert_eq!(journal.entries(6..8, u64::MAX).unwrap(), entries(6..=7, 1));
    let journal = disk.open_accepting();
    judge(&journal);
    opens_for_lives(disk.killed(), 2, judge);
}

// Guards: an accepted loss at a file's end was taken for that of all before it, and refused, once the first batch of the next
// file was torn and cut (seed 1300002630 of the hunt).
#[test]
fn a_torn_first_batch_behind_an_accepted_loss_of_a_files_end_is_no_other_loss() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=5, 1));
    let torn = entry(6, 1, 7000);
    drop(journal.append_pending(std::slice::from_ref(&torn)).unwrap());
    let name = disk.chain()[0].clone();
    assert_eq!(disk.chain().len(), 2);
    let disk = disk.killed();
    spoil_payload(&disk, &torn.data);
    let ends = common::walk::batches(&disk.bytes(&name)).split_off(4);
    assert_eq!(ends.len(), 2, "a batch and the seal");
    ends.iter().for_each(|&at| disk.flip(&name, at + 30));
    assert_eq!(refused(&disk), (5, Some(6)));
    let judge = |journal: &Journal| {
        assert_eq!(journal.entries(1..5, u64::MAX).unwrap(), entries(1..=4, 1));
        assert!(is_damaged(journal, 5));
        assert_eq!(journal.state().next_index(), Some(6));
    };
    let journal = disk.open_accepting();
    judge(&journal);
    let disk = opens_for_lives(disk.killed(), 3, judge);
    // It goes on there.
    let journal = disk.open();
    journal.append(&entries(6..=7, 2)).unwrap();
    let disk = disk.killed();
    let journal = disk.open();
    assert_eq!(journal.entries(6..8, u64::MAX).unwrap(), entries(6..=7, 2));
    journal.repair(&entries(5..=5, 1)).unwrap();
    let held = [entries(1..=5, 1), entries(6..=7, 2)].concat();
    opens_for_lives(disk.killed(), 2, |journal| assert_eq!(log(journal), held));
}
