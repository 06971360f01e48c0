//! Batches that a recovery cut, and that show again.

use super::*;

// Guards: a batch that a recovery cut was taken for what follows a later one, acknowledged and damaged: it replaced the
// entry that was lost, which therefore seemed to be no loss.
#[test]
fn a_batch_that_was_cut_does_not_stand_behind_one_that_came_later() {
    let seconds: [fn(&Journal); 3] = [
        |journal| drop(journal.replace_tail_pending(&[entry(2, 2, 300)]).unwrap()),
        |journal| drop(journal.append_pending(&[entry(3, 1, 300)]).unwrap()),
        |journal| drop(journal.append_pending(&entries(3..=9, 1)).unwrap()),
    ];
    for second in seconds {
        for later in [1, 8] {
            let disk = cut_before(second);
            let journal = disk.open();
            let acknowledged: Vec<_> = (2..2 + later).map(|index| entry(index, 3, 200)).collect();
            journal.append(&acknowledged).unwrap();
            journal.set_u64(b"term", 3).unwrap();
            let disk = disk.killed();
            spoil_header(&disk, &acknowledged[0].data);
            assert_eq!(refused(&disk), (2, Some(2 + later)));
            let journal = disk.open_accepting();
            assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 50));
            assert_eq!(journal.state().next_index(), Some(2 + later));
            for index in 2..2 + later {
                assert!(is_damaged(&journal, index));
            }
            journal.repair(&acknowledged).unwrap();
            drop(journal);
            let journal = disk.killed().open();
            assert_eq!(log(&journal), [vec![entry(1, 1, 50)], acknowledged].concat());
        }
    }
}

// Guards: an append was refused for lack of space where all that was missing of it was zeros, which were there; the next
// batch went to the same place, and power failed during its sync: its sectors showed what they had held before (crash_hunt, a disk
// that fails, seed 97003444).
#[test]
fn an_append_that_was_refused_does_not_come_back_when_the_next_one_is_torn() {
    for (aligned, bytes) in [(false, 400), (true, 400), (false, 72), (false, 30)] {
        let disk = Disk::simulated();
        let journal = disk.options().align_4k(aligned).segment_bytes(64 << 10).open(&disk.dir).unwrap();
        journal.append(&[entry(1, 1, 50)]).unwrap();
        let refused = [Entry::new(2, 1, vec![0; 600]), Entry::new(2, 1, [vec![7; 300], vec![0; 300]].concat())];
        for (number, refused) in refused.iter().enumerate() {
            disk.sim().inject(Fault::short(OperationKind::Write, bytes));
            disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(1));
            assert!(matches!(journal.append(std::slice::from_ref(refused)), Err(Error::NoSpace { .. })), "{number}");
            assert_eq!(disk.sim().faults_left(), 0);
        }
        assert_eq!(log(&journal), [entry(1, 1, 50)]);
        let next = entry(2, 1, 700);
        drop(journal.append_pending(std::slice::from_ref(&next)).unwrap());
        let mut found = 0;
        for state in disk.sim().crash_states(Kinds::All).take(20_000) {
            let journal = disk.options().file_system(std::sync::Arc::new(state)).open(&disk.dir).unwrap();
            let entries = log(&journal);
            assert!(entries == [entry(1, 1, 50)] || entries == [entry(1, 1, 50), next.clone()], "{entries:?}");
            found += entries.len() - 1;
        }
        assert!(found > 0);
        journal.append(&[entry(3, 1, 10)]).unwrap();
        let journal = disk.killed().open();
        assert_eq!(log(&journal), [entry(1, 1, 50), next, entry(3, 1, 10)]);
        assert!(journal.recovery_report().damaged.is_empty());
    }
}

// Guards: the first write of a life never reached the disk, and a batch that had been cut right there showed again, whole and
// chained to what is before it. Once its loss was accepted, the next open took it in.
#[test]
fn a_batch_that_was_cut_does_not_come_back_where_the_write_over_it_never_happened() {
    let (disk, shown) = cut_after_one();
    let journal = disk.open();
    assert_eq!(log(&journal), [entry(1, 1, 50)]);
    journal.append(&entries(2..=5, 2)).unwrap();
    journal.set_u64(b"term", 2).unwrap();
    let disk = disk.killed();
    shown.on(&disk);
    assert_eq!(refused(&disk), (2, Some(6)));
    let mut disk = disk;
    for accepts in [true, false, false] {
        let journal = if accepts { disk.open_accepting() } else { disk.open() };
        assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 50));
        for index in 2..=5 {
            assert!(is_damaged(&journal, index), "entry {index}");
        }
        assert_eq!(journal.state().next_index(), Some(6));
        disk = disk.killed();
    }
    let journal = disk.open();
    journal.repair(&entries(2..=5, 2)).unwrap();
    assert_eq!(log(&disk.killed().open()), [vec![entry(1, 1, 50)], entries(2..=5, 2)].concat());
}

// Guards: the batch that showed again, torn or whole, had the length of the lost one. Once its loss was accepted and a life
// later, the walk came over it to what follows, which continues another one: an open refused that as a further loss (crash_hunt,
// damage at rest, seed 99803876).
#[test]
fn a_batch_that_was_cut_stays_void_where_an_accepted_loss_is_as_long_as_it() {
    for (torn, rest) in [(true, 7), (false, 7), (true, 2), (false, 2)] {
        let (disk, shown) = cut_after_one();
        let journal = disk.open();
        let expected = [vec![entry(1, 1, 50), entry(2, 2, 300)], entries(3..=rest, 2)].concat();
        for entry in &expected[1..] {
            journal.append(std::slice::from_ref(entry)).unwrap();
        }
        if rest == 2 {
            journal.set_u64(b"term", 2).unwrap();
        }
        let disk = disk.killed();
        shown.on(&disk);
        if torn {
            spoil_payload(&disk, &entry(2, 1, 300).data);
        }
        assert_eq!(refused(&disk), (2, Some(3)));
        let mut disk = disk;
        for accepts in [true, false, false] {
            let journal = if accepts { disk.open_accepting() } else { disk.open() };
            assert!(is_damaged(&journal, 2));
            assert_eq!(journal.state().next_index(), Some(rest + 1));
            for entry in &expected[2..] {
                assert_eq!(journal.entry(entry.index).unwrap(), *entry);
            }
            disk = disk.killed();
        }
        let journal = disk.open();
        journal.repair(&[entry(2, 2, 300)]).unwrap();
        assert_eq!(log(&disk.killed().open()), expected);
    }
}

// Guards: the batch that stands right behind another one says that it was written behind a third one, which was durable; it was
// taken for what a crash left, and cut.
#[test]
fn a_batch_that_its_follower_does_not_know_is_damage_though_nothing_else_says_so() {
    let second = |byte| Entry::new(2, 1, vec![byte; 300]);
    let written = |second: &Entry| {
        let disk = Disk::simulated();
        let journal = disk.open();
        for entry in [&entry(1, 1, 50), second, &entry(3, 1, 10)] {
            journal.append(std::slice::from_ref(entry)).unwrap();
        }
        disk.killed()
    };
    let (disk, other) = (written(&second(1)), written(&second(2)));
    let (name, at) = disk.find(&second(1).data);
    let batch = at - FIRST_PAYLOAD_AT..at + 300;
    let mut bytes = disk.bytes(&name);
    bytes[batch.clone()].copy_from_slice(&other.bytes(&name)[batch]);
    disk.put(&name, &bytes);
    assert_eq!(refused(&disk), (1, Some(3)));
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 2));
    assert_eq!(journal.entry(3).unwrap(), entry(3, 1, 10));
    journal.repair(&[entry(1, 1, 50), second(1)]).unwrap();
    assert_eq!(log(&disk.killed().open()), [entry(1, 1, 50), second(1), entry(3, 1, 10)]);
}

// Guards: the batch that showed again was torn, and its length led on to what follows, which continues another one: that was
// taken for a second loss.
#[test]
fn a_torn_batch_that_its_follower_does_not_know_is_one_loss_with_what_stood_there() {
    let ways: [fn(&Journal); 2] = [|_| {}, |journal| _ = journal.append(&entries(3..=4, 2)).unwrap()];
    for way in ways {
        let disk = cut_shown_again(&[entry(2, 1, 300)], &[entry(2, 2, 300)], way);
        spoil_payload(&disk, &entry(2, 1, 300).data);
        assert_eq!(refused(&disk), (2, Some(3)));
        let journal = disk.open_accepting();
        let damaged = journal.recovery_report().damaged.clone();
        assert_eq!(damaged.iter().map(|damage| damage.indexes.first).collect::<Vec<_>>(), [2]);
        assert!(is_damaged(&journal, 2));
        let end = journal.state().next_index().unwrap();
        let rest = if end > 3 { journal.entries(3..end, u64::MAX).unwrap() } else { vec![] };
        assert_eq!(rest, entries(3..=4, 2)[..rest.len()]);
        journal.repair(&[entry(2, 2, 300)]).unwrap();
        let expected = [vec![entry(1, 1, 50), entry(2, 2, 300)], rest].concat();
        assert_eq!(log(&disk.killed().open()), expected);
    }
}

// Guards: the batch that showed again had more entries than the log had at the mark: they were said to be there.
#[test]
fn a_batch_that_was_cut_with_more_entries_than_the_log_had_is_not_served() {
    let cut: Vec<_> = (2..=5).map(|index| entry(index, 1, 100)).collect();
    let disk = cut_shown_again(&cut, &[entry(2, 2, 900)], |_| {});
    let (first, end) = refused(&disk);
    assert!(first == 1 && end >= Some(3), "{first}..{end:?}");
    let journal = disk.open_accepting();
    assert!((1..=5).all(|index| journal.entry(index).is_err()));
    journal.truncate_tail(3).unwrap();
    journal.repair(&[entry(1, 1, 50), entry(2, 2, 900)]).unwrap();
    journal.append(&[entry(3, 3, 20)]).unwrap();
    let expected = [entry(1, 1, 50), entry(2, 2, 900), entry(3, 3, 20)];
    assert_eq!(log(&disk.killed().open()), expected);
}

// Guards: of the batch that showed again only the header did, and its length led over what follows: that was taken for lost.
#[test]
fn a_header_that_shows_again_over_what_follows_it_costs_nothing_of_that() {
    let rest = entries(3..=12, 2);
    let acknowledged = [vec![entry(2, 2, 100)], rest.clone()].concat();
    let disk = cut_shown_again(&[entry(2, 1, 400)], &acknowledged, |_| {});
    assert_eq!(refused(&disk), (2, Some(3)));
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 2));
    assert_eq!(journal.entries(3..13, u64::MAX).unwrap(), rest);
    journal.repair(&[entry(2, 2, 100)]).unwrap();
    let expected = [vec![entry(1, 1, 50), entry(2, 2, 100)], rest].concat();
    assert_eq!(log(&disk.killed().open()), expected);
}

// Guards: what the void batch stands in the place of had taken back entries of earlier files; they were served.
#[test]
fn entries_of_earlier_files_that_a_lost_batch_took_back_are_not_served() {
    let (disk, shown, _) = cut_in_a_second_file(300);
    let journal = disk.open();
    journal.replace_tail(&[entry(3, 2, 300)]).unwrap();
    let disk = disk.killed();
    let journal = disk.open();
    journal.append(&[entry(4, 2, 10)]).unwrap();
    let disk = disk.killed();
    shown.on(&disk);
    let (first, end) = refused(&disk);
    assert!(first <= 3 && end == Some(4), "{first}..{end:?}");
    let journal = disk.open_accepting();
    assert!(is_damaged(&journal, 3));
    assert_eq!((journal.entry(4).unwrap(), journal.state().next_index()), (entry(4, 2, 10), Some(5)));
}

// Guards: an index whose batch header was lost, and with it nothing, between one life and the next.
#[test]
fn a_lost_header_of_an_index_between_two_lives_costs_nothing() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.close().unwrap();
    let (name, at) = disk.find(&entries(3..=3, 1)[0].data);
    let index = (at + entries(3..=3, 1)[0].data.len()).next_multiple_of(8);
    let journal = disk.open();
    journal.append(&entries(4..=5, 1)).unwrap();
    let disk = disk.killed();
    disk.flip(&name, index + 30);
    let mut disk = disk;
    for _ in 0..3 {
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=5, 1));
        assert!(!journal.recovery_report().reindexed.is_empty());
        disk = disk.killed();
    }
}

// Guards: a seal was lost, which cost nothing, and the first batch behind it was torn: with that cut, the next open took the
// file's loss for a real one.
#[test]
fn a_lost_seal_before_a_batch_that_was_torn_costs_nothing_however_often_it_is_met() {
    let disk = Disk::simulated();
    let open = |disk: &Disk| disk.options().segment_bytes(8 << 10).open(&disk.dir).unwrap();
    let journal = open(&disk);
    let mut next = 1;
    while disk.chain().len() < 2 {
        journal.append_pending(&[entry(next, 1, 500)]).unwrap().wait().unwrap();
        next += 1;
    }
    let (name, at) = disk.find(&entry(next - 2, 1, 500).data);
    let disk = disk.killed();
    spoil_payload(&disk, &entry(next - 1, 1, 500).data);
    disk.flip(&name, (at + 500).next_multiple_of(8) + 30);
    let expected: Vec<_> = (1..next - 1).map(|index| entry(index, 1, 500)).collect();
    let mut disk = disk;
    for _ in 0..3 {
        let journal = open(&disk);
        assert_eq!(log(&journal), expected);
        disk = disk.killed();
    }
    let journal = open(&disk);
    journal.append(&[entry(next - 1, 2, 500)]).unwrap();
    let disk = disk.killed();
    assert_eq!(log(&open(&disk)), [expected, vec![entry(next - 1, 2, 500)]].concat());
}

// Guards: the batch that showed again was taken for part of the log, because the life that had cut it was not the present one,
// and what follows is at the index where it ends, too: an entry that had been cut was served in place of an acknowledged one.
#[test]
fn a_batch_that_was_cut_two_lives_ago_is_not_served_where_what_follows_is_not_its_successor() {
    type GoOn = fn(&Journal);
    let ways: [(u64, GoOn); 4] = [
        (3, |_| {}),
        (5, |journal| _ = journal.append(&entries(3..=4, 2)).unwrap()),
        (5, |journal| {
            journal.append(&entries(3..=4, 2)).unwrap();
            journal.set_u64(b"term", 2).unwrap();
        }),
        (4, |journal| {
            journal.append(&[entry(3, 2, 10)]).unwrap();
            drop(journal.append_pending(&[entry(4, 2, 400)]).unwrap());
        }),
    ];
    // Of one length with the one that was cut; or longer, so that something unreadable stands between.
    for second in [entry(2, 2, 300), entry(2, 2, 900)] {
        for (number, (next, way)) in ways.into_iter().enumerate() {
            let disk = cut_shown_again(&[entry(2, 1, 300)], std::slice::from_ref(&second), way);
            assert_eq!(refused(&disk), (1, Some(3)), "way {number}");
            let mut disk = disk;
            for accepts in [true, false, false] {
                let journal = if accepts { disk.open_accepting() } else { disk.open() };
                assert!(is_damaged(&journal, 2), "way {number}");
                assert!(journal.state().next_index().is_some_and(|end| end >= next), "way {number}");
                if next > 3 {
                    assert_eq!(journal.entry(3).unwrap().term, 2);
                }
                disk = disk.killed();
            }
            let journal = disk.open();
            let rest = journal.state().next_index().map_or(vec![], |end| journal.entries(3..end, u64::MAX).unwrap());
            journal.repair(&[entry(1, 1, 50), second.clone()]).unwrap();
            let expected = [vec![entry(1, 1, 50), second.clone()], rest].concat();
            assert_eq!(log(&disk.killed().open()), expected);
            // What is appended behind it is lost, too: the batch that was cut is not back.
            let end = journal.state().next_index().unwrap();
            journal.append(&[entry(end, 3, 500), entry(end + 1, 3, 10)]).unwrap();
            journal.set_u64(b"term", 3).unwrap();
            let disk = disk.killed();
            spoil_header(&disk, &entry(end, 3, 500).data);
            assert_eq!(refused(&disk).1, Some(end + 2));
            let journal = disk.open_accepting();
            let served = journal.entry(2);
            assert!(served.as_ref().map_or_else(|error| matches!(error, Error::Damaged(_)), |entry| *entry == second));
            assert!(is_damaged(&journal, end));
            assert_eq!(disk.killed().open().entry(2).ok(), served.ok());
        }
    }
}

// Guards: a seal that was the first batch of a life was lost as a whole: its trailer tells that nothing else was.
#[test]
fn a_lost_seal_between_two_lives_costs_nothing() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&[entry(1, 1, 300)]).unwrap();
    let (name, at) = disk.find(&entry(1, 1, 300).data);
    let seal = (at + 300).next_multiple_of(8);
    let disk = disk.killed();
    let journal = disk.open();
    journal.append(&[entry(2, 1, 7800)]).unwrap();
    let mut disk = disk.killed();
    assert_eq!(disk.chain().len(), 2);
    let mut bytes = disk.bytes(&name);
    bytes[seal..seal + 72 + 56 + 16 + 8 + 8].fill(0);
    disk.put(&name, &bytes);
    for _ in 0..3 {
        let journal = disk.open();
        assert_eq!(log(&journal), [entry(1, 1, 300), entry(2, 1, 7800)]);
        disk = disk.killed();
    }
}

// Guards: a seal that a crash had cut showed again where the write over it never happened, and led to the next file: all that the
// log went on with in this one was gone, and open said nothing.
#[test]
fn a_seal_that_was_cut_does_not_end_its_file() {
    for later_life in [true, false] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&[entry(1, 1, 300)]).unwrap();
        let (name, at) = disk.find(&entry(1, 1, 300).data);
        let seal = (at + 300).next_multiple_of(8);
        let before = disk.bytes(&name);
        // Too large for what is left of the file.
        drop(journal.append_pending(&[entry(2, 1, 7800)]).unwrap());
        let sealed = disk.bytes(&name);
        assert!(disk.chain().len() == 2 && before != sealed);
        let successor = disk.chain()[1].clone();
        // The power goes before the sync: neither the seal is there, nor what follows it.
        let disk = disk.killed();
        disk.put(&name, &before);
        let mut blank = disk.bytes(&successor);
        blank[DATA_AT..].fill(0);
        disk.put(&successor, &blank);
        let journal = disk.open();
        assert_eq!(log(&journal), [entry(1, 1, 300)]);
        let expected: Vec<_> = (1..=6).map(|index| entry(index, index.min(2), 300)).collect();
        expected[1..].iter().for_each(|entry| _ = journal.append(std::slice::from_ref(entry)).unwrap());
        let disk = disk.killed();
        let disk =
            if later_life { opens_for_lives(disk, 1, |journal| assert_eq!(log(journal), expected)) } else { disk };
        let mut bytes = disk.bytes(&name);
        let shown = seal..seal + 72 + 56 + 16 + 8 + 8;
        bytes[shown.clone()].copy_from_slice(&sealed[shown]);
        disk.put(&name, &bytes);
        assert_eq!(refused(&disk).0, 2, "later life {later_life}");
        let journal = disk.open_accepting();
        assert_eq!(
            (journal.entry(1).unwrap(), journal.entries(3..7, u64::MAX).unwrap()),
            (expected[0].clone(), expected[2..].to_vec())
        );
    }
}

// Guards: what the lost batch had taken back of earlier files was served, where something unreadable stands behind the void one.
#[test]
fn entries_of_earlier_files_that_a_longer_lost_batch_took_back_are_not_served() {
    let (disk, shown, next) = cut_in_a_second_file(200);
    // As many entries, from further back.
    let lost: Vec<_> = (3..=next).map(|index| entry(index, 2, 60)).collect();
    let journal = disk.open();
    journal.replace_tail(&lost).unwrap();
    let disk = disk.killed();
    let journal = disk.open();
    journal.append(&[entry(next + 1, 2, 20)]).unwrap();
    let disk = disk.killed();
    shown.on(&disk);
    let (first, end) = refused(&disk);
    assert!(first <= 3 && end == Some(next + 1), "{first}..{end:?}");
    let journal = disk.open_accepting();
    assert!((3..=next).all(|index| is_damaged(&journal, index)));
    assert_eq!(journal.entry(next + 1).unwrap(), entry(next + 1, 2, 20));
}

/// A journal of entries 1 to 5 whose last batch was torn, by these bytes of a disk of one more step; cut, and written over by
/// `go_on`, of which `meta` knows. Then the first sector of what was cut shows again.
fn header_shown_again(step: impl Fn(Journal), go_on: impl Fn(&Journal)) -> Disk {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=5, 1));
    let before = disk.killed();
    step(journal);
    let name = before.chain()[0].clone();
    let (old, new) = (before.bytes(&name), disk.bytes(&name));
    let start = (0..old.len()).find(|&at| old[at] != new[at]).unwrap();
    let shown = Shown::within(&disk, name, start..start + DATA_AT.min(72));
    shown.on(&before);
    let journal = before.open();
    assert!(journal.recovery_report().torn.is_some(), "{:?}", journal.recovery_report());
    go_on(&journal);
    let disk = before.killed();
    let disk = opens_for_lives(disk, 1, |_| {});
    shown.on(&disk);
    disk
}

/// Refused; and once that is accepted, no entry that `is_void` is served, whatever life it is.
fn serves_none(disk: &Disk, is_void: impl Fn(&Entry) -> bool) {
    let error = disk.try_open();
    assert!(matches!(error, Err(Error::Damaged(_))), "{error:?}");
    let judge = |journal: &Journal| {
        let next = journal.state().next_index().unwrap();
        let served = (1..next).filter_map(|index| journal.entry(index).ok()).find(&is_void);
        assert_eq!(served, None);
    };
    let journal = disk.open_accepting();
    judge(&journal);
    opens_for_lives(disk.killed(), 3, judge);
}

// Guards: the header of an index that was torn, and cut, hid the batch that was written over it.
#[test]
fn a_torn_index_that_shows_again_hides_no_replacement() {
    let close = |journal: Journal| journal.close().unwrap();
    let disk = header_shown_again(close, |journal| _ = journal.replace_tail(&[entry(5, 2, 400)]).unwrap());
    serves_none(&disk, |entry| entry.index == 5 && entry.term == 1);
}

// Guards: the header of a batch that was torn, and cut, passed for all that was lost where one was written over it.
#[test]
fn a_torn_batch_that_shows_again_hides_no_replacement() {
    let append = |journal: Journal| drop(journal.append_pending(&[entry(6, 1, 300)]).unwrap());
    let replacement: Vec<Entry> = (5..=6).map(|index| entry(index, 2, 300)).collect();
    let disk = header_shown_again(append, |journal| _ = journal.replace_tail(&replacement).unwrap());
    serves_none(&disk, |entry| entry.index >= 5 && entry.term == 1);
    // What was acknowledged there can be put back.
    let journal = disk.open();
    journal.repair(&replacement).unwrap();
    assert_eq!(journal.entries(5..7, u64::MAX).unwrap(), replacement);
}

// Guards: a whole batch that was cut, and shows again, was served with all that the one over it had replaced.
#[test]
fn a_whole_batch_that_shows_again_hides_no_replacement() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=5, 1));
    drop(journal.append_pending(&[entry(6, 1, 100)]).unwrap());
    let disk = disk.killed();
    let shown = Shown::of(&disk, &entry(6, 1, 100));
    spoil_payload(&disk, &entry(6, 1, 100).data);
    let journal = disk.open();
    journal.replace_tail(&entries(3..=9, 2)).unwrap();
    let disk = disk.killed();
    let disk = opens_for_lives(disk, 1, |_| {});
    shown.on(&disk);
    serves_none(&disk, |entry| entry.index >= 3 && entry.term == 1);
}

// Guards: a sealed file whose index is damaged was scanned, and served what the seal does not follow.
#[test]
fn a_void_batch_before_a_seal_is_not_served_where_the_index_is_damaged() {
    let (disk, shown) = cut_after_one();
    let journal = disk.open();
    journal.append(&[entry(2, 2, 300)]).unwrap();
    journal.append(&[entry(3, 2, 7800)]).unwrap();
    assert_eq!(disk.chain().len(), 2);
    let name = disk.chain()[0].clone();
    let disk = disk.killed();
    shown.on(&disk);
    let seal = common::walk::batches(&disk.bytes(&name)).into_iter().next_back().unwrap();
    let seal = if seal == shown.at.start { shown.at.end.next_multiple_of(8) } else { seal };
    disk.flip(&name, seal + 72 + 56 + 32 + 10);
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    assert_eq!(journal.term(2).unwrap(), 2);
    assert!(is_damaged(&journal, 2), "{:?}", journal.entry(2));
    assert_eq!(journal.entry(3).unwrap(), entry(3, 2, 7800));
}
