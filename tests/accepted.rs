//! Damage that was accepted: what is lost stays lost, and what comes behind it stays. Each order of events once did not.

mod common;

use common::{DATA_AT, Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, log};
use raft_journal::io::sim::Survival;
use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, OnDamage, Position, StableStore};

/// Reads each entry of `held`, which must be right or lost; returns the indexes of those that are lost.
fn lost_of(journal: &Journal, held: &[Entry]) -> Vec<u64> {
    let mut lost = Vec::new();
    for entry in held {
        match journal.entry(entry.index) {
            Ok(found) => assert_eq!(found.position(), entry.position(), "an older version came back"),
            Err(Error::Damaged(_)) => lost.push(entry.index),
            Err(error) => panic!("entry {}: {error:?}", entry.index),
        }
    }
    lost
}

// Guards: the chain's last file (and the spare) is lost and accepted, appends, close or crash, reopen.
#[test]
fn appends_behind_an_accepted_loss_of_the_last_file_are_kept() {
    for (spare_too, closed) in [(false, false), (false, true), (true, false), (true, true)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        journal.set_u64(b"term", 1).unwrap();
        journal.close().unwrap();
        let last = disk.chain().pop().unwrap();
        disk.segments().iter().filter(|name| **name == last || spare_too && **name > last).for_each(|n| disk.remove(n));
        assert!(matches!(disk.try_open(), Err(Error::Damaged(damage)) if damage.path == disk.path(&last)));

        let journal = disk.open_accepting();
        let damaged = journal.recovery_report().damaged.clone();
        assert_eq!((damaged.len(), &damaged[0].path, damaged[0].why), (1, &disk.path(&last), DamageKind::MissingFile));
        assert_eq!((damaged[0].indexes.end, journal.state().next_index()), (Some(61), Some(61)));
        append_each(&journal, &entries(61..=62, 9));
        if closed {
            journal.close().unwrap();
        }
        for stopped in disk.stopped() {
            let journal = stopped.open();
            assert_eq!(journal.entries(61..63, u64::MAX).unwrap(), entries(61..=62, 9), "{spare_too} {closed}");
            assert_eq!(journal.recovery_report().damaged.len(), 1, "still told");
            lost_of(&journal, &entries(1..=60, 1));
        }
    }
}

// Guards: where an earlier loss came first, whose range had an end, nothing told before it was accepted that the log's end was lost, too.
#[test]
fn a_log_whose_end_is_lost_is_told_from_others_before_that_is_accepted() {
    for (closed, an_earlier_one) in [(false, false), (false, true), (true, false)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        if closed {
            journal.close().unwrap();
        }
        let disk = disk.killed();
        let chain = disk.chain();
        disk.remove(&chain[chain.len() - 1]);
        if an_earlier_one {
            disk.remove(&chain[1]);
        }
        let Err(Error::Damaged(refused)) = disk.options().preview(&disk.dir) else { panic!("not refused") };
        assert_eq!(refused.indexes.end.is_none(), !closed && !an_earlier_one);
        assert_eq!(refused.to_string().contains("rejoin"), refused.indexes.end.is_none(), "{refused}");
        let accepting = || disk.options().on_damage(OnDamage::Accept);
        assert_eq!(accepting().preview(&disk.dir).unwrap().open_ended, !closed);
        let journal = accepting().open(&disk.dir).unwrap();
        assert_eq!(journal.recovery_report().open_ended, !closed);
        // Whoever did not read that is told again, however the process ended.
        for stopped in disk.stopped() {
            assert_eq!(stopped.open().recovery_report().open_ended, !closed);
        }
        journal.truncate_head(Position::new(100, 9)).unwrap();
        journal.close().unwrap();
        let again = disk.open();
        assert!(!again.recovery_report().open_ended, "a snapshot beyond it is installed");
    }
}

// Guards: the record of a greater loss at the same place took the older one's, and forgot that the log's end was lost with that.
#[test]
fn a_log_whose_end_is_lost_is_told_when_more_is_lost_at_the_same_place() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    let disk = disk.killed();
    disk.remove(&disk.chain().pop().unwrap());
    let accepting = |disk: &Disk| disk.options().on_damage(OnDamage::Accept).open(&disk.dir).unwrap();
    let journal = accepting(&disk);
    let next = journal.state().next_index().unwrap();
    append_each(&journal, &entries(next..=next + 40, 1));
    // What follows is known to follow.
    journal.set(b"vote", b"me").unwrap();
    let disk = disk.killed();
    // Of the file that the log had gone on in, once its first batch, once all.
    for whole in [false, true] {
        let disk = disk.killed();
        let (name, at) = disk.find(&entries(next..=next, 1)[0].data);
        if whole {
            disk.remove(&name);
        } else {
            disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        }
        assert!(accepting(&disk).recovery_report().open_ended, "{whole}");
    }
}

#[test]
fn a_log_whose_end_is_lost_within_its_file_is_told_from_others_too() {
    for (spoilt, open_ended) in [(8..=12, true), (8..=8, false)] {
        let disk = Disk::simulated();
        let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=10, 1));
        // The commit notes how far the log is durable.
        journal.set(b"vote", b"me").unwrap();
        append_each(&journal, &entries(11..=12, 1));
        let disk = disk.killed();
        for lost in entries(spoilt, 1) {
            let (name, at) = disk.find(&lost.data);
            disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        }
        let options = || disk.options().segment_bytes(64 << 10);
        let Err(Error::Damaged(refused)) = options().open(&disk.dir) else { panic!("not refused") };
        assert_eq!((refused.indexes.first, refused.indexes.end), (8, Some(if open_ended { 11 } else { 9 })));
        let accepting = options().on_damage(OnDamage::Accept);
        assert_eq!(accepting.preview(&disk.dir).unwrap().open_ended, open_ended);
        assert_eq!(accepting.open(&disk.dir).unwrap().recovery_report().open_ended, open_ended);
    }
}

// Guards: a file in the middle is lost and accepted, all that follows is truncated, a range within the loss is read.
#[test]
fn a_range_within_an_accepted_loss_that_nothing_follows_is_an_error_and_can_be_replaced() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.close().unwrap();
    let names = disk.chain();
    disk.remove(&names[names.len() - 2]);
    let journal = disk.open_accepting();
    let end = journal.recovery_report().damaged[0].indexes.end.unwrap();
    assert!(end > 5 && end < 60, "{end}");
    journal.truncate_tail(end).unwrap();
    assert!(matches!(journal.entries(3..5, 1000), Err(Error::Damaged(_))));
    assert!(matches!(journal.entry(3), Err(Error::Damaged(_))));
    assert!(matches!(journal.term(3), Err(Error::Damaged(_))));
    journal.append(&[entry(end, 9, 300)]).unwrap();
    assert_eq!(journal.entry(end).unwrap(), entry(end, 9, 300));
    journal.replace_tail(&[entry(5, 9, 300)]).unwrap();
    for stopped in disk.stopped() {
        let journal = stopped.open();
        assert_eq!((journal.state().last, journal.entry(5).unwrap()), (Some(Position::new(5, 9)), entry(5, 9, 300)));
    }
}

// Guards: a log begins at a high index, its first batch header is lost and accepted, appends fill that file and rotate.
#[test]
fn a_lost_first_batch_of_a_log_that_begins_high_costs_no_more_than_its_file_can_have_held() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(100_000..=100_005, 1));
    journal.set_u64(b"term", 1).unwrap();
    let disk = disk.killed();
    let name = disk.chain().remove(0);
    disk.flip(&name, DATA_AT + 30);
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let journal = disk.open_accepting();
    let told = journal.recovery_report().damaged[0].indexes;
    assert!((99_000..=100_000).contains(&told.first) && told.end == Some(100_001), "{told:?}");
    let held = entries(100_001..=100_049, 1);
    append_each(&journal, &held[5..]);
    assert!(disk.chain().len() > 2, "it rotates in spite of the slots of the lost");
    for stopped in disk.stopped() {
        assert_eq!(stopped.open().entries(100_001..100_050, u64::MAX).unwrap(), held);
    }
}

// Guards: a rotating batch takes back entries of earlier files, its header and the seal before it are lost, accepted.
#[test]
fn a_lost_seal_and_a_lost_replacing_batch_behind_it_bring_no_older_versions_back() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=28, 1));
    journal.replace_tail(&entries(4..=15, 2)).unwrap();
    append_each(&journal, &entries(16..=40, 2));
    journal.close().unwrap();
    let (replacing, at) = disk.find(&entry(4, 2, 300).data);
    let (sealed, _) = disk.find(&entry(28, 1, 300).data);
    assert!(sealed < replacing && at == DATA_AT + FIRST_PAYLOAD_AT, "the batch is its file's first");
    let bytes = disk.bytes(&sealed);
    // The trailer says where the seal is.
    let trailer = bytes.len() - 1024;
    let seal = u32::from_le_bytes(bytes[trailer + 4..trailer + 8].try_into().unwrap());
    disk.flip(&sealed, seal as usize + 30);
    disk.flip(&replacing, DATA_AT + 30);

    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let held = [entries(1..=3, 1), entries(4..=40, 2)].concat();
    let journal = disk.open_accepting();
    let lost = lost_of(&journal, &held);
    let told = journal.recovery_report().damaged[0].indexes;
    assert!(lost.iter().all(|index| told.first <= *index && *index < told.end.unwrap()), "{lost:?} {told:?}");
    // Nobody knows how far back the two reached; what the second file held, its own seal knows.
    assert_eq!(lost, [1, 2, 3]);
    append_each(&journal, &entries(41..=42, 3));
    for stopped in disk.stopped() {
        let journal = stopped.open();
        assert_eq!(lost_of(&journal, &held), lost);
        assert_eq!(journal.entries(41..43, u64::MAX).unwrap(), entries(41..=42, 3));
    }
}

// Guards: an entry amid a term's run in an almost full segment is lost and accepted, appends rotate.
#[test]
fn an_accepted_loss_in_an_almost_full_segment_leaves_room_for_its_seal() {
    for bytes in 300..400 {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=15, 1));
        journal.append(&[entry(16, 1, bytes)]).unwrap();
        let disk = disk.killed();
        let (name, at) = disk.find(&entry(8, 1, 300).data);
        disk.flip(&name, at + 50);
        let journal = disk.open_accepting();
        let appended = journal.append(&entries(17..=20, 1));
        assert!(appended.is_ok(), "with {bytes} bytes before the seal: {appended:?}");
        assert!(matches!(journal.entry(8), Err(Error::Damaged(_))));
        assert_eq!(journal.entries(17..21, u64::MAX).unwrap(), entries(17..=20, 1));
    }
}

// Guards: the only file of an empty log is lost and accepted, the first append begins at index 1, reopen.
#[test]
fn an_accepted_loss_of_an_empty_logs_file_is_not_refused_once_the_log_begins() {
    for first in [0, 1, 70] {
        let disk = Disk::simulated();
        drop(disk.open());
        let name = disk.segments().remove(0);
        disk.remove(&name);
        assert!(matches!(disk.try_open(), Err(Error::Damaged(damage)) if damage.path == disk.path(&name)));
        let journal = disk.open_accepting();
        append_each(&journal, &entries(first..=first + 1, 1));
        for stopped in disk.stopped() {
            let journal = stopped.open();
            assert_eq!((log(&journal), journal.state().first), (entries(first..=first + 1, 1), Some(first)));
            assert_eq!(journal.recovery_report().damaged.len(), 1, "still told");
        }
    }
}

// Guards: a file is lost and accepted, the head is truncated to within what it held, reopen.
#[test]
fn a_head_truncated_to_within_an_accepted_loss_forgets_none_of_the_rest() {
    // The file and the highest index that is left: one of three files in the middle, or the only one.
    for (last, lost) in [(60, 1), (5, 0)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=last, 1));
        journal.set_u64(b"term", 1).unwrap();
        journal.close().unwrap();
        disk.remove(&disk.chain()[lost]);
        let journal = disk.open_accepting();
        journal.truncate_head(Position::new(2, 1)).unwrap();
        let held = (journal.state(), lost_of(&journal, &entries(3..=last, 1)));
        assert!(held.0.first == Some(3) && held.1.starts_with(&[3, 4, 5]), "{held:?}");
        for stopped in disk.stopped() {
            let journal = stopped.open();
            assert_eq!((journal.state(), lost_of(&journal, &entries(3..=last, 1))), held);
            assert_eq!(journal.recovery_report().damaged.len(), 1, "still told");
            journal.append(&[entry(last + 1, 2, 30)]).unwrap();
            assert_eq!(journal.entry(last + 1).unwrap(), entry(last + 1, 2, 30));
            journal.truncate_head(Position::new(last, 1)).unwrap();
            journal.close().unwrap();
            let journal = stopped.open();
            assert_eq!(log(&journal), [entry(last + 1, 2, 30)]);
            assert_eq!(journal.recovery_report().damaged, [], "got rid of");
        }
    }
}

/// Zeros the end of the last segment but one, where its seal is, and the beginning of the last one's first batch.
fn lose_two_ends(disk: &Disk) {
    let [.., sealed, last] = &disk.chain()[..] else { panic!("two files at least") };
    let bytes = disk.bytes(sealed);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let is_seal = |at: &usize| number(at + 20) as usize == *at && number(at + 8) == 2;
    let seal = (DATA_AT..bytes.len() - 512).step_by(8).find(is_seal).unwrap();
    disk.sim().zero_sector(disk.path(sealed), seal as u64 / 512).unwrap();
    disk.sim().zero_sector(disk.path(last), DATA_AT as u64 / 512).unwrap();
    assert!(matches!(disk.try_open(), Err(Error::Damaged(damage)) if damage.path == disk.path(sealed)));
}

// Guards: the end of a segment and the first batch of the next one are lost and accepted, appends, rotation, reopen
// (crash_hunt, damage at rest, seed 0).
#[test]
fn appends_behind_an_accepted_loss_of_two_files_ends_are_kept() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    // What comes before it is vouched for: the log goes on right behind it.
    journal.set_u64(b"term", 1).unwrap();
    let disk = disk.killed();
    let files = disk.chain().len();
    lose_two_ends(&disk);

    let journal = disk.open_accepting();
    append_each(&journal, &entries(61..=100, 2));
    assert!(disk.chain().len() >= files, "a file was begun: one has lost its beginning");
    let held = lost_of(&journal, &entries(1..=60, 1));
    for stopped in disk.stopped() {
        let journal = stopped.open();
        assert_eq!(lost_of(&journal, &entries(1..=60, 1)), held);
        assert!(lost_of(&journal, &entries(61..=100, 2)).is_empty());
        assert_eq!(journal.state().next_index(), Some(101));
    }
}

// Guards: the same, and no mark in `meta` is behind them (crash_hunt, damage at rest, seed 100009).
#[test]
fn a_file_whose_first_batch_is_lost_with_the_seal_before_it_is_not_cut_off() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    let disk = disk.killed();
    lose_two_ends(&disk);
    assert_eq!(disk.open_accepting().state().next_index(), Some(61));
}

// Guards: the same, and where that first batch stood, one shows that an earlier life wrote and a recovery cut: once another life
// has begun, nothing but the record of the loss says that it is void (crash_hunt, damage at rest, seed 3000000850).
#[test]
fn what_an_earlier_life_left_in_an_accepted_loss_is_not_where_the_log_goes_on() {
    for is_file_lost in [false, true] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=1, 1)).unwrap();
        let files = || disk.chain().len();
        // Until a batch that nobody waits for is the first of its file.
        let (before, mut next) = (files(), 2);
        let pending = loop {
            let pending = journal.append_pending(&entries(next..=next, 1)).unwrap();
            if files() > before {
                break pending;
            }
            pending.wait().unwrap();
            next += 1;
        };
        let file = disk.chain().pop().unwrap();
        let cut = disk.bytes(&file)[DATA_AT..2 * DATA_AT].to_vec();
        let disk = disk.after_power_cut(Survival::Nothing);
        drop(pending);

        let journal = disk.open();
        assert_eq!(journal.state().next_index(), Some(next));
        append_each(&journal, &entries(next..=next + 5, 2));
        journal.set_u64(b"term", 1).unwrap();
        let disk = disk.killed();
        lose_two_ends(&disk);
        let mut bytes = disk.bytes(&file);
        bytes[DATA_AT..2 * DATA_AT].copy_from_slice(&cut);
        disk.put(&file, &bytes);
        if is_file_lost {
            disk.remove(&disk.chain()[0]);
        }

        let journal = disk.open_accepting();
        let told = journal.recovery_report().damaged[0].indexes;
        let is_lost =
            |journal: &Journal| (1..=next + 5).filter(|&index| journal.entry(index).is_err()).collect::<Vec<u64>>();
        let lost = is_lost(&journal);
        assert!(lost.contains(&next) && lost.contains(&(next + 1)) && lost.len() < next as usize + 5);
        assert!(lost.iter().all(|&index| told.contains(index)), "{lost:?} {told:?}");
        journal.close().unwrap();
        for stopped in disk.stopped() {
            let journal = stopped.open();
            assert_eq!(is_lost(&journal), lost);
            assert_eq!(journal.recovery_report().damaged[0].indexes, told);
        }

        // The batch that the log goes on with is lost, too.
        let (_, payload) = disk.find(&entry(next + 2, 2, 300).data);
        disk.flip(&file, payload - FIRST_PAYLOAD_AT + 30);
        assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
        let journal = disk.open_accepting();
        let damaged = journal.recovery_report().damaged.clone();
        // The index of the close may have it still.
        let now = is_lost(&journal);
        assert!(
            lost.iter().all(|index| now.contains(index)) && now.len() <= lost.len() + 1,
            "{now:?}, and {lost:?} before"
        );
        let is_told = |&index: &u64| damaged.iter().any(|damage| damage.indexes.contains(index));
        assert!(now.iter().all(is_told), "{now:?} {damaged:?}");
        journal.close().unwrap();
        assert_eq!(is_lost(&disk.open()), now);
    }
}

// Guards: the same, of a file with one batch, behind a head; opened again and again (crash_hunt, damage at rest, seed
// 100055).
#[test]
fn a_log_whose_end_is_lost_grows_with_no_open() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let mut next = 1;
    while disk.chain().len() < 2 {
        append_each(&journal, &entries(next..=next, 1));
        next += 1;
    }
    journal.truncate_head(Position::new(5, 1)).unwrap();
    let disk = disk.killed();
    lose_two_ends(&disk);
    (0..3).for_each(|_| assert_eq!(disk.open_accepting().state().next_index(), Some(next)));
}

// Guards: the last file's header is lost and the end of the file before it, accepted; the log goes on in a new file, or
// stops before it does; reopen (the fuzz target for directories).
#[test]
fn entries_that_an_accepted_loss_may_have_superseded_do_not_come_back() {
    for (appended, closed) in [(0, false), (0, true), (3, false), (3, true), (40, true)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=30, 1));
        // From the next file on, other entries stand in for some of those that are still to be read in the one before.
        let files = disk.chain().len();
        (31..)
            .take_while(|_| disk.chain().len() == files)
            .for_each(|index| append_each(&journal, &[entry(index, 1, 300)]));
        let end = journal.state().next_index().unwrap();
        journal.replace_tail(&[entry(end - 20, 2, 300)]).unwrap();
        journal.close().unwrap();
        let [.., sealed, last] = &disk.chain()[..] else { panic!("two files at least") };
        let (mut spoilt, lost) = (disk.bytes(sealed), disk.bytes(last));
        let half = spoilt.len() / 2;
        spoilt[half..].fill(b'0');
        disk.put(sealed, &spoilt);
        disk.put(last, &vec![b'0'; lost.len()]);
        assert!(matches!(disk.try_open(), Err(Error::Damaged(damage)) if damage.path == disk.path(sealed)));

        let journal = disk.open_accepting();
        let next = journal.state().next_index().unwrap();
        append_each(&journal, &(next..next + appended).map(|index| entry(index, 9, 300)).collect::<Vec<_>>());
        let held = |journal: &Journal| {
            let indexes = 1..next + appended;
            (journal.state(), indexes.map(|index| journal.entry(index).ok()).collect::<Vec<_>>())
        };
        let before = held(&journal);
        assert_eq!(before.1.iter().flatten().count() as u64, appended, "nobody knows what the last file took back");
        if closed {
            journal.close().unwrap();
        }
        for stopped in disk.stopped() {
            let journal = stopped.open();
            let found = held(&journal);
            assert_eq!((&found.1, found.0.first), (&before.1, before.0.first), "{appended} appended, closed: {closed}");
            assert_eq!(journal.recovery_report().damaged.len(), 1, "still told");
            journal.close().unwrap();
            assert_eq!(held(&stopped.open()), found, "another open changes nothing");
        }
    }
}

// Guards: a snapshot of another term than a lost entry can have had kept what followed that: terms fell along the log.
#[test]
fn a_snapshot_that_those_around_a_lost_entry_contradict_empties_the_log() {
    for (term, kept) in [(1, 1), (2, 4), (3, 0), (0, 0)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        let held = [entries(1..=5, 1), entries(6..=10, 2)].concat();
        append_each(&journal, &held);
        let disk = disk.killed();
        let lost = if kept == 1 { 5 } else { 6 };
        let (name, at) = disk.find(&held[lost - 1].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        let journal = disk.open_accepting();
        journal.entry(lost as u64).unwrap_err();
        journal.truncate_head(Position::new(lost as u64, term)).unwrap();
        let expected = if kept > 0 { &held[lost..] } else { &[] };
        assert_eq!(log(&journal), expected, "term {term}");
        assert_eq!(log(&disk.killed().open()), expected, "term {term}");
        if kept == 0 {
            journal.append(&entries(7..=9, 3)).unwrap();
            assert_eq!(log(&disk.killed().open()), entries(7..=9, 3));
        }
    }
}

// Guards: the same within one file, where the batch that the log goes on with is lost later.
#[test]
fn what_an_earlier_life_left_in_an_accepted_loss_within_a_file_does_not_come_back() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=3, 1));
    let pending = journal.append_pending(&entries(4..=4, 1)).unwrap();
    let batch_of = |disk: &Disk, entry: &Entry| {
        let (name, payload) = disk.find(&entry.data);
        (name, payload - FIRST_PAYLOAD_AT)
    };
    let (name, at) = batch_of(&disk, &entry(4, 1, 300));
    let batch = at..at + FIRST_PAYLOAD_AT + 300;
    let cut = disk.bytes(&name)[batch.clone()].to_vec();
    let disk = disk.after_power_cut(Survival::Nothing);
    drop(pending);

    let journal = disk.open();
    append_each(&journal, &entries(4..=9, 2));
    journal.set_u64(b"term", 2).unwrap();
    let disk = disk.killed();
    let mut bytes = disk.bytes(&name);
    bytes[batch].copy_from_slice(&cut);
    disk.put(&name, &bytes);
    disk.flip(&name, batch_of(&disk, &entry(3, 1, 300)).1 + 30);
    let journal = disk.open_accepting();
    assert!(journal.entry(4).is_err() && journal.entry(5).is_ok());
    journal.set_u64(b"term", 3).unwrap();

    let disk = disk.killed();
    disk.flip(&name, batch_of(&disk, &entry(5, 2, 300)).1 + 30);
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let journal = disk.open_accepting();
    assert_eq!(lost_of(&journal, &[entries(1..=3, 1), entries(4..=9, 2)].concat()), [3, 4, 5]);
}
