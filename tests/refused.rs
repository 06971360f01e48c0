//! Writes that the disk refuses half way, confirmations that have to wait, and sectors that came from elsewhere.

mod common;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

use common::{Disk, append_each, entries, entry, log};
use raft_journal::io::sim::{AtRest, Fault, Kinds, OperationKind, SimFs, Survival};
use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, OnDamage, Position, StableStore, VerifyOptions};

/// The next write to a segment stops after so many bytes, and this many further ones find no space.
fn stop_write(disk: &Disk, bytes: usize, nth: u64, refusals: u64) {
    disk.sim().inject(Fault::short(OperationKind::Write, bytes).nth(nth).in_path(".seg"));
    for more in 1..=refusals {
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(nth + more).in_path(".seg"));
    }
}

/// What power loss may leave, in every combination of all kinds, opened.
fn each_crash(disk: &Disk, mut check: impl FnMut(&Journal)) {
    let mut states = 0;
    for state in disk.sim().crash_states(Kinds::All) {
        check(&disk.options().file_system(Arc::new(state)).open(&disk.dir).unwrap());
        states += 1;
    }
    assert!(states > 1, "nothing was in flight");
}

// Guards: a tail truncation is refused when all of its header is written but the zeros at its end, the empty batch finds no
// space either, an append is in flight, power is lost.
#[test]
fn a_refused_truncation_of_which_only_zeros_are_missing_does_not_come_back() {
    for bytes in 56..72 {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(0..=9, 1));
        stop_write(&disk, bytes, 0, 2);
        let refused = journal.truncate_tail(4);
        assert_eq!(disk.sim().faults_left(), 0, "{bytes}");
        let next = match refused {
            Err(Error::NoSpace { .. }) => journal,
            Err(Error::Poisoned { .. }) => {
                drop(journal);
                let next = disk.killed();
                // In doubt: the reopened journal says which.
                let journal = next.open();
                assert!([entries(0..=9, 1), entries(0..=3, 1)].contains(&log(&journal)), "{bytes}");
                continue;
            }
            other => panic!("{bytes}: {other:?}"),
        };
        let pending = next.append_pending(&[entry(10, 1, 200)]).unwrap();
        let mut longer = entries(0..=9, 1);
        longer.push(entry(10, 1, 200));
        each_crash(&disk, |found| {
            let found = log(found);
            assert!(found == longer || found == entries(0..=9, 1), "{bytes}: {} entries", found.len());
        });
        pending.wait().unwrap();
    }
}

/// An aligned journal of so many entries whose rotation was refused when so much of its seal was written.
fn refused_at_its_seal(count: u64, bytes: usize) -> (Disk, Journal, Error) {
    let disk = Disk::simulated();
    let journal = disk.options().align_4k(true).segment_bytes(32 << 10).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=count, 1));
    // The trailer is the first write, the seal the second.
    let first = disk.segments().remove(0);
    disk.sim().inject(Fault::short(OperationKind::Write, bytes).nth(1).in_path(&first));
    disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(2).in_path(&first));
    let refused = journal.append(&[entry(count + 1, 1, 12_000)]).unwrap_err();
    assert_eq!(disk.sim().faults_left(), 0);
    (disk, journal, refused)
}

// Guards: an aligned seal is refused in its padding, a snapshot of another term empties the log, an append is in flight,
// power is lost: the seal brought the old entries back, or the journal did not open.
#[test]
fn a_seal_that_was_refused_in_its_padding_brings_nothing_back_after_a_snapshot() {
    for snapshot in [Position::new(2, 9), Position::new(1000, 9)] {
        let (disk, journal, refused) = refused_at_its_seal(3, 512);
        assert!(refused.is_no_space(), "{refused}");
        journal.truncate_head(snapshot).unwrap();
        let next = entry(snapshot.index + 1, 9, 100);
        let pending = journal.append_pending(std::slice::from_ref(&next)).unwrap();
        each_crash(&disk, |found| {
            assert_eq!(found.state().purged, Some(snapshot));
            let found = log(found);
            assert!(found.is_empty() || found == std::slice::from_ref(&next), "{found:?}");
        });
        pending.wait().unwrap();
    }
}

// Guards: the same in a file that has no room for anything but its seal.
#[test]
fn a_seal_that_was_refused_in_a_full_file_poisons_and_is_believed_by_the_next_open() {
    // Of less than its header zeros are enough.
    let (_, journal, refused) = refused_at_its_seal(4, 40);
    assert!(refused.is_no_space(), "{refused}");
    journal.append(&[entry(5, 1, 12_000)]).unwrap();

    let (disk, journal, refused) = refused_at_its_seal(4, 512);
    assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
    assert_eq!(log(&journal), entries(1..=4, 1));
    for stopped in disk.stopped() {
        let options = stopped.options().align_4k(true).segment_bytes(32 << 10);
        let journal = options.open(&stopped.dir).unwrap();
        assert_eq!(log(&journal), entries(1..=4, 1));
        journal.append(&[entry(5, 1, 12_000)]).unwrap();
        assert_eq!(journal.entry(5).unwrap(), entry(5, 1, 12_000));
    }
}

// Guards: a seal is refused when its header is written, the log goes on behind the empty batch in its place, and at rest the
// write of that batch turns out never to have happened: the seal shows again, and what followed was not looked at.
#[test]
fn a_refused_seal_that_shows_again_hides_nothing_that_was_appended_behind_it() {
    // With all of the seal but its padding, and with hardly more than its header.
    for (is_aligned, written) in [(false, 100), (true, 100), (true, 512)] {
        for appended in 1..=3 {
            let disk = Disk::simulated();
            let (size, large) = if is_aligned { (64 << 10, 48_000) } else { (8 << 10, 6_000) };
            let options = disk.options().align_4k(is_aligned).segment_bytes(size);
            let journal = options.clone().open(&disk.dir).unwrap();
            append_each(&journal, &entries(1..=2, 1));
            let first = disk.segments().remove(0);
            disk.sim().inject(Fault::short(OperationKind::Write, written).nth(1).in_path(&first));
            disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(2).in_path(&first));
            let refused = journal.append(&[entry(3, 1, large)]).unwrap_err();
            assert!(refused.is_no_space() && disk.sim().faults_left() == 0, "{refused}");
            append_each(&journal, &entries(3..=2 + appended, 1));
            let damaged = disk.killed();
            let lost = AtRest::LoseWrite { path: damaged.path(&first), back: appended as usize };
            damaged.sim().damage(&lost).unwrap();
            assert_ne!(damaged.bytes(&first), disk.bytes(&first));
            match options.file_system(Arc::clone(&damaged.fs)).open(&damaged.dir) {
                Ok(found) => assert_eq!(log(&found), entries(1..=2 + appended, 1), "{is_aligned}, {appended}"),
                Err(Error::Damaged(_)) => {}
                Err(error) => panic!("{is_aligned}, {appended}: {error}"),
            }
        }
    }
}

// Guards: a truncation in a file that is full of slots is refused half way: the empty batch in its place took the room of the
// seal, and no append could rotate any more.
#[test]
fn a_refused_truncation_leaves_room_for_the_seal() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let empty = |indexes: std::ops::RangeInclusive<u64>| -> Vec<Entry> {
        indexes.map(|index| Entry::new(index, 1, "")).collect()
    };
    journal.append(&empty(1..=200)).unwrap();
    journal.append(&empty(201..=226)).unwrap();
    assert_eq!(disk.chain().len(), 1);
    stop_write(&disk, 40, 0, 1);
    let refused = journal.truncate_tail(10);
    assert!(matches!(refused, Err(Error::NoSpace { .. } | Error::Poisoned { .. })), "{refused:?}");
    assert_eq!(disk.sim().faults_left(), 0);
    let next = disk.killed();
    let reopened = next.open();
    assert_eq!(log(&reopened), empty(1..=226));
    reopened.append(&empty(227..=227)).unwrap();
    if matches!(refused, Err(Error::NoSpace { .. })) {
        journal.append(&empty(227..=227)).unwrap();
    }
    assert_eq!(log(&next.killed().open()), empty(1..=227));
}

// Guards: a tail is replaced and not yet durable, a truncation of what it removed already returns, power is lost.
#[test]
fn a_truncation_of_what_is_gone_already_waits_until_that_is_durable() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=10, 1)).unwrap();
    drop(journal.replace_tail_pending(&entries(5..=5, 2)).unwrap());
    journal.truncate_tail(6).unwrap();
    let found = log(&disk.after_power_cut(Survival::Nothing).open());
    assert_eq!(found, [entries(1..=4, 1), entries(5..=5, 2)].concat());
}

/// Two journals on one disk, closed; the first holds a vote of its own.
fn two_on_one_disk() -> (SimFs, Disk, Disk) {
    let one = Disk::simulated();
    let other = one.beside("other");
    for (disk, commits) in [(&one, 1), (&other, 9)] {
        let journal = disk.open();
        journal.append(&entries(1..=5, 1)).unwrap();
        (1..=commits).for_each(|vote| journal.set_u64(b"vote", vote).unwrap());
        journal.close().unwrap();
    }
    (one.sim().clone(), one, other)
}

/// Puts the first sector of one file at the place of another's.
fn misdirect(sim: &SimFs, from: (&Disk, &str), to: (&Disk, &str), at: usize) {
    let bytes = from.0.bytes(from.1)[at..at + 512].to_vec();
    sim.corrupt(to.0.path(to.1), at as u64, &bytes).unwrap();
}

// Guards: a sector of another journal stands where one copy of a header does.
#[test]
fn a_header_of_another_journal_is_read_from_its_twin_and_told() {
    let (sim, one, other) = two_on_one_disk();
    let name = one.chain().remove(0);
    misdirect(&sim, (&other, &name), (&one, &name), 0);
    let journal = one.open();
    assert_eq!(log(&journal), entries(1..=5, 1));
    assert_eq!(journal.recovery_report().twin_headers, [one.path(&name)]);
    // It is copied as any other, and a pass through a handle that only reads takes it for what it is.
    let copy = one.beside("copy");
    journal.checkpoint(&copy.dir).unwrap();
    assert_eq!(log(&copy.open()), entries(1..=5, 1));
    let (damaged, at) = one.find(&entry(3, 1, 300).data);
    one.flip(&damaged, at + 9);
    let report = one.open_read_only().verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
    assert!(report.skipped.is_empty() && report.losses().count() == 1, "{report:?}");
}

// Guards: a checkpoint is taken again through a handle that only reads, and a file of it is gone.
#[test]
fn a_checkpoint_that_is_taken_again_is_looked_at() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.close().unwrap();
    let copy = disk.beside("copy");
    let first = disk.open_read_only().checkpoint(&copy.dir).unwrap();
    copy.remove(&copy.segments()[0]);
    let second = disk.open_read_only().checkpoint(&copy.dir).unwrap();
    assert_eq!((second.segments, second.kept), (first.segments, first.segments - 2), "{second:?}");
    let (newest, at) = copy.find(&entry(60, 1, 300).data);
    copy.flip(&newest, at + 9);
    disk.open_read_only().checkpoint(&copy.dir).unwrap();
    assert_eq!(log(&copy.open()), entries(1..=60, 1));
}

// Guards: the newest `meta` of a journal that was closed is lost, and the open that finds it rewrites the file for another bound
// and is cut short.
#[test]
fn a_lost_vote_is_told_again_after_an_open_that_was_cut_short_while_it_rewrote_meta() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=5, 1)).unwrap();
    journal.set_u64(b"vote", 7).unwrap();
    journal.close().unwrap();
    drop(journal);
    let quarter = disk.bytes("meta").len() / raft_journal::layout::meta::COPIES;
    for slot in 0..2 {
        let damaged = disk.killed();
        (0..2).for_each(|copy| damaged.flip("meta", (2 * slot + copy) * quarter + 20));
        for cut in 0.. {
            let disk = damaged.killed();
            disk.sim().cut_power_at(disk.sim().mutations() + cut);
            let opened = disk.options().meta_bytes_max(40 << 10).open(&disk.dir).is_ok();
            for survival in [Survival::Everything, Survival::Nothing] {
                let after = disk.after_power_cut(survival);
                let report =
                    after.options().meta_bytes_max(40 << 10).open(&after.dir).unwrap().recovery_report().clone();
                let is_told = !report.clean && report.suspect.is_some_and(|suspect| suspect.vote);
                assert!(is_told, "slot {slot}, cut {cut}: {report:?}");
            }
            if opened {
                break;
            }
        }
    }
}

// Guards: the same of a copy of `meta`, whose other journal has committed more often.
#[test]
fn a_copy_of_meta_of_another_journal_is_not_believed() {
    let copies = raft_journal::layout::meta::COPIES;
    for copy in 0..copies {
        let (sim, one, other) = two_on_one_disk();
        misdirect(&sim, (&other, "meta"), (&one, "meta"), one.bytes("meta").len() / copies * copy);
        let journal = one.open();
        assert_eq!((log(&journal), journal.get_u64(b"vote").unwrap()), (entries(1..=5, 1), Some(1)), "copy {copy}");
        assert!(journal.recovery_report().meta_healed, "copy {copy}");
    }
}

// Guards: a copy of a checkpoint's `meta`, which had the same generation as the journal's next commit, stands in place of one
// of the journal's: it hid a vote, or passed for that of a journal that was closed.
#[test]
fn a_copy_of_meta_of_a_checkpoint_hides_no_vote_and_no_crash() {
    let copies = raft_journal::layout::meta::COPIES;
    for copy in 0..copies {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=5, 1)).unwrap();
        let target = disk.beside("copy");
        journal.checkpoint(&target.dir).unwrap();
        journal.append(&entries(6..=8, 1)).unwrap();
        for votes in [false, true] {
            if votes {
                journal.set_u64(b"vote", 7).unwrap();
            }
            let damaged = disk.killed();
            let (sim, at) = (damaged.sim().clone(), disk.bytes("meta").len() / copies * copy);
            misdirect(&sim, (&damaged.beside("copy"), "meta"), (&damaged, "meta"), at);
            let found = damaged.open();
            let report = found.recovery_report();
            let is_told = report.suspect.is_some_and(|suspect| suspect.vote);
            assert!(!report.clean && report.suspect.is_some(), "copy {copy}, {votes}: {report:?}");
            assert_eq!(log(&found), entries(1..=8, 1), "copy {copy}, {votes}");
            assert!(!votes || found.get_u64(b"vote").unwrap() == Some(7) || is_told, "copy {copy}");
        }
    }
}

// Guards: a checkpoint is brought forward behind a vote, then again through a handle that was opened before the vote.
#[test]
fn an_older_handle_does_not_take_a_checkpoint_back() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=5, 1)).unwrap();
    let before = disk.open_read_only();
    journal.set_u64(b"vote", 7).unwrap();
    let target = disk.beside("copy");
    journal.checkpoint(&target.dir).unwrap();
    _ = before.checkpoint(&target.dir);
    assert_eq!(target.open_read_only().get_u64(b"vote").unwrap(), Some(7));
}

// Guards: the directory's sync behind a rotation's new file finds no space.
#[test]
fn a_directory_whose_sync_finds_no_space_poisons() {
    let disk = Disk::simulated();
    let journal = disk.open();
    disk.sim().inject(Fault::new(OperationKind::SyncDirectory, ErrorKind::StorageFull).always());
    let refused = (1..100).find_map(|index| journal.append(&entries(index..=index, 1)).err());
    assert!(matches!(refused, Some(Error::Poisoned { .. })), "{refused:?}");
}

#[test]
fn a_file_that_stands_in_the_place_of_another_is_told_as_misplaced() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=80, 1));
    journal.close().unwrap();
    let chain = disk.chain();
    disk.put(&chain[1], &disk.bytes(&chain[2]));
    let Err(Error::Damaged(damage)) = disk.try_open() else { panic!("opened") };
    assert_eq!((damage.path.clone(), damage.why), (disk.path(&chain[1]), DamageKind::Misplaced));
}

#[test]
fn a_refused_open_tells_the_term_of_an_entry_between_two_of_its_batch() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=5, 3)).unwrap();
    journal.set_u64(b"vote", 1).unwrap();
    let killed = disk.killed();
    let (name, at) = killed.find(&entry(3, 3, 300).data);
    killed.flip(&name, at + 9);
    let Err(Error::Damaged(damage)) = killed.try_open() else { panic!("opened") };
    assert_eq!((damage.indexes.first, damage.indexes.end, damage.term), (3, Some(4), Some(3)));
    let journal = killed.options().on_damage(OnDamage::Accept).open(&killed.dir).unwrap();
    assert_eq!(journal.damaged()[0].term, Some(3));
}
