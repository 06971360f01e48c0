//! Orders of events that once lost, brought back or blocked something: each is kept as the shortest way there.

mod common;

use std::future::Future;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use common::{Disk, FIRST_PAYLOAD_AT, append_each, append_until_a_spare_is_due, entries, entry, log, on_both};
use raft_journal::io::sim::{Fault, OperationKind, Schedule, Survival};
use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, Position, StableStore, VerifyOptions};

/// Writes to a journal and loses power with all that was not synced.
fn assert_writes_survive(disk: &Disk, what: &str) {
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.set_u64(b"vote", 7).unwrap();
    let journal = disk.after_power_cut(Survival::Nothing).open();
    assert!(!journal.recovery_report().created, "{what}: the journal was forgotten");
    assert_eq!((log(&journal), journal.get_u64(b"vote").unwrap()), (entries(1..=3, 1), Some(7)), "{what}");
}

// Guards: a directory's sync fails in the first open, the next open succeeds and is written to, power is lost.
#[test]
fn a_journal_whose_making_failed_at_a_directory_sync_is_not_forgotten() {
    let mut failed = 0;
    for nth in 0.. {
        let disk = Disk::simulated();
        disk.sim().fail_at(OperationKind::SyncDirectory, nth, ErrorKind::Other);
        if disk.try_open().is_ok() {
            break;
        }
        disk.sim().clear_faults();
        assert_writes_survive(&disk, &format!("sync {nth}"));
        failed += 1;
    }
    assert!(failed >= 3, "the journal's own directory and its parent: {failed}");
}

// Guards: the first open is killed before any of its operations, the next open is written to, power is lost.
#[test]
fn a_journal_whose_making_was_killed_is_not_forgotten() {
    let probe = Disk::simulated();
    drop(probe.open());
    let mutations = probe.sim().mutations();
    assert!(mutations > 5, "{mutations}");
    for at in 0..mutations {
        let disk = Disk::simulated();
        disk.sim().cut_power_at(at);
        _ = disk.try_open();
        assert_writes_survive(&disk.killed(), &format!("operation {at}"));
    }
}

// Guards: a write is begun and polled inside a callback of the same journal, then waited for there.
#[test]
fn a_polled_write_that_is_waited_for_inside_a_callback_is_an_error() {
    on_both(|disk| {
        disk.threaded_tasks();
        let journal = disk.open();
        let first = journal.append_pending(&entries(1..=1, 1)).unwrap();
        let (sender, receiver) = mpsc::channel();
        let clone = journal.clone();
        first.on_durable(Box::new(move |_| {
            let mut second = Box::pin(clone.append_pending(&entries(2..=2, 1)).unwrap());
            let polled = pin!(&mut second).poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            sender.send(std::pin::Pin::into_inner(second).wait()).unwrap();
        }));
        let result = receiver.recv().unwrap();
        assert!(matches!(result, Err(Error::BlockingCallInCallback { .. })), "{result:?}");
        journal.append(&entries(3..=3, 1)).unwrap();
        assert_eq!(log(&journal), entries(1..=3, 1));
    });
}

/// A journal on a disk that filled up at one of the writes that seal its first segment, and the index refused there.
fn full_at_seal(write: u64) -> (Disk, Journal, u64) {
    let probe = Disk::simulated();
    let journal = probe.open();
    let rotating = (1..).find(|&index| {
        append_each(&journal, &entries(index..=index, 1));
        probe.chain().len() == 2
    });
    let rotating = rotating.unwrap();

    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=rotating - 1, 1));
    let first = disk.chain().remove(0);
    disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(write).in_path(&first));
    let refused = journal.append(&entries(rotating..=rotating, 1));
    assert!(matches!(&refused, Err(Error::NoSpace { path, .. }) if *path == disk.path(&first)), "{refused:?}");
    assert_eq!(disk.sim().faults_left(), 0);
    (disk, journal, rotating)
}

/// The trailer and the seal.
const SEAL_WRITES: u64 = 2;

// Guards: a seal's second write finds no space, a snapshot of another term empties the log, crash.
#[test]
fn a_seal_without_space_brings_no_entries_back_after_a_snapshot() {
    for write in 0..SEAL_WRITES {
        let (disk, journal, _) = full_at_seal(write);
        let snapshot = Position::new(6, 7);
        journal.truncate_head(snapshot).unwrap();
        assert_eq!((log(&journal), journal.state().purged), (vec![], Some(snapshot)));
        for stopped in disk.stopped() {
            let journal = stopped.open();
            assert_eq!((log(&journal), journal.state().purged), (vec![], Some(snapshot)), "write {write}");
            journal.append(&entries(7..=7, 7)).unwrap();
            assert_eq!(log(&stopped.killed().open()), entries(7..=7, 7));
        }
    }
}

// Guards: a seal's second write finds no space, a larger append retires the spare that the seal names, crash.
#[test]
fn a_seal_without_space_names_no_file_that_is_removed_later() {
    for write in 0..SEAL_WRITES {
        let (disk, journal, next) = full_at_seal(write);
        let spare = disk.segments().pop().unwrap();
        disk.sim().set_capacity(Some(disk.sim().bytes_used()));
        let large = journal.append(&[entry(next, 1, 20_000)]);
        assert!(matches!(large, Err(Error::NoSpace { .. })), "{large:?}");
        journal.truncate_head(Position::new(1, 1)).unwrap();
        assert!(!disk.segments().contains(&spare), "{spare} is too small for the append that is due");
        for stopped in disk.stopped() {
            assert_eq!(log(&stopped.open()), entries(2..=next - 1, 1), "write {write}");
        }
    }
}

// Guards: a file gets the name of the last possible segment, or of one shortly before it, open.
#[test]
fn a_segment_name_that_none_can_follow_is_refused_and_left_alone() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        journal.close().unwrap();
        for sequence in [u64::MAX, u64::MAX - 1, u64::MAX - 2] {
            let name = format!("{sequence}.seg");
            disk.put(&name, b"x");
            let files = disk.contents();
            let Err(Error::NotAJournal { why, .. }) = disk.try_open() else { panic!("it opened") };
            assert!(why.contains(&name), "{why}");
            assert!(disk.contents() == files, "a refused open changes nothing");
            disk.remove(&name);
        }
        assert_eq!(log(&disk.open()), entries(1..=5, 1));
    });
}

// Guards: an aligned file of an odd size is sealed, and power is lost in the sync: the trailer shares a sector of 4 KiB
// with the second header.
#[test]
fn a_torn_trailer_leaves_the_second_header_of_an_aligned_file_alone() {
    let cut_at = |cut: u64| {
        let disk = Disk::simulated();
        disk.sim().set_sector_bytes(4096);
        disk.sim().set_damages_whole_sectors(true);
        let journal = disk.options().align_4k(true).segment_bytes((32 << 10) + 4090).open(&disk.dir).unwrap();
        let (name, path) = (disk.segments().remove(0), disk.path(&disk.segments()[0]));
        let header = disk.bytes(&name)[..64].to_vec();
        disk.sim().cut_power_at(disk.sim().mutations() + cut);
        let end = (1..=20).find(|index| journal.append(&[entry(*index, 1, 300)]).is_err());
        for seed in 0..20 {
            let left = disk.sim().after_power_cut(Survival::Random(seed)).read_file(&path).unwrap();
            assert!(left[64..].windows(64).any(|bytes| bytes == header), "cut {cut}, seed {seed}");
        }
        end.is_some()
    };
    let cuts = (0..).take_while(|cut| cut_at(*cut)).count();
    assert!(cuts > 40, "{cuts}");
}

// Guards: the sync of a seal fails but the seal is on the disk, while a spare is made for the same segment.
#[test]
fn a_file_that_a_seal_names_outlives_the_failed_sync_of_the_seal() {
    for seed in 0..300 {
        let disk = Disk::simulated();
        disk.sim().queue_tasks(true);
        let journal = disk.open();
        let next = append_until_a_spare_is_due(&disk, &journal);
        let seal = Fault::new(OperationKind::Sync, ErrorKind::Other).in_path(&disk.segments()[0]);
        disk.sim().inject(seal);
        disk.sim().set_failed_syncs_leave(Survival::Everything);
        let append =
            move || (next..).take_while(|&i| journal.append_pending(&entries(i..=i, 1)).is_ok()).for_each(drop);
        Schedule::new(seed).thread("writer", append).run().unwrap();
        assert_eq!(disk.sim().faults_left(), 0);
        let found = disk.after_power_cut(Survival::Everything).try_open();
        assert!(found.is_ok(), "after schedule {seed}: {found:?}");
    }
}

// Guards: `meta` loses its end, which told how long its copies were; the newest one is still there.
#[test]
fn a_meta_that_is_cut_never_passes_an_older_vote_off_as_the_newest() {
    for bytes_max in [512, 20_000] {
        let disk = Disk::simulated();
        let options = |disk: &Disk| disk.options().meta_bytes_max(bytes_max);
        let journal = options(&disk).open(&disk.dir).unwrap();
        for vote in 1..=6 {
            journal.set_u64(b"vote", vote).unwrap();
            let whole = disk.killed().bytes("meta");
            let copy_bytes = whole.len() / 4;
            let generation = |copy: usize| whole[copy * copy_bytes + 24];
            let newest = (0..4).step_by(2).max_by_key(|copy| generation(*copy)).unwrap();
            for len in (100..whole.len()).step_by(whole.len() / 150) {
                let disk = disk.killed();
                disk.put("meta", &whole[..len]);
                match options(&disk).open(&disk.dir) {
                    Ok(journal) if journal.get_u64(b"vote").unwrap() == Some(vote) => {}
                    Ok(journal) => {
                        assert!(len < newest * copy_bytes + 400, "cut at {len}: there is a newer vote");
                        assert!(journal.recovery_report().suspect.is_some_and(|suspect| suspect.vote));
                    }
                    Err(Error::MetaUnreadable { .. }) => {}
                    Err(error) => panic!("cut at {len}: {error}"),
                }
            }
        }
        let disk = disk.killed();
        let whole = disk.bytes("meta");
        disk.put("meta", &whole[..whole.len() - 4200]);
        let journal = options(&disk).open(&disk.dir).unwrap();
        assert_eq!(journal.get_u64(b"vote").unwrap(), Some(6), "every slot has a copy before the cut");
    }
}

// Guards: a sealed segment's index and one of its batches are damaged, later batches of it replaced earlier ones.
#[test]
fn an_entry_that_cannot_be_read_is_in_the_range_that_its_error_names() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=10, 1));
    journal.replace_tail(&entries(3..=3, 2)).unwrap();
    append_each(&journal, &entries(4..=40, 2));
    let disk = disk.killed();
    let sealed = disk.segments().remove(0);
    let bytes = disk.bytes(&sealed);
    let seal = u32::from_le_bytes(bytes[bytes.len() - 1024 + 4..bytes.len() - 1024 + 8].try_into().unwrap()) as usize;
    let body = u32::from_le_bytes(bytes[seal + 16..seal + 20].try_into().unwrap()) as usize;
    disk.flip(&sealed, seal + 72 + body - 1);
    disk.flip(&sealed, disk.find(&entry(9, 1, 300).data).1);
    let journal = disk.open();
    let mut lost = 0;
    for held in entries(1..=2, 1).into_iter().chain(entries(3..=40, 2)) {
        match journal.entry(held.index) {
            Ok(found) => assert_eq!(found, held),
            Err(Error::Damaged(damage)) => {
                assert!(damage.indexes.contains(held.index), "entry {}: {damage}", held.index);
                lost += 1;
            }
            Err(error) => panic!("entry {}: {error}", held.index),
        }
    }
    assert!(lost > 0 && journal.entry(40).is_ok());
}

// Guards: the last file is lost after an unclean stop, with acknowledged groups that no mark speaks of.
#[test]
fn a_lost_last_file_leaves_its_range_open_unless_the_journal_was_closed() {
    for close in [false, true] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=8, 1));
        journal.set_u64(b"vote", 1).unwrap();
        append_each(&journal, &entries(9..=12, 1));
        if close {
            journal.close().unwrap();
        }
        let disk = disk.killed();
        disk.remove(&disk.find(&entry(12, 1, 300).data).0);
        let Err(Error::Damaged(damage)) = disk.try_open() else { panic!("a missing file is damage") };
        assert_eq!(damage.why, DamageKind::MissingFile);
        assert_eq!(damage.indexes.end, close.then_some(13), "{damage}");
        assert!((1..=12).all(|index| damage.indexes.contains(index)), "{damage}");
        let journal = disk.open_accepting();
        assert_eq!(journal.recovery_report().suspect.is_some(), !close);
        let told = journal.recovery_report().damaged[0].indexes;
        assert_eq!(told.end, journal.state().next_index(), "what is appended from there on is not lost");
    }
}

/// The next write to a segment stops after so many bytes, and what goes on with it finds the disk full.
fn full_after(disk: &Disk, written: usize) {
    disk.sim().inject(Fault::short(OperationKind::Write, written).in_path(".seg"));
    disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).in_path(".seg"));
}

// Guards: a write finds the disk full when all but zeros of the batch is written, then power is lost.
#[test]
fn an_append_that_a_full_disk_refused_does_not_come_back_whole() {
    // The first one lacks its padding, the second one the end of its payload.
    for (payload, written) in [(vec![7; 10], FIRST_PAYLOAD_AT + 10), ([[7; 100], [0; 100]].concat(), 250)] {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=3, 1));
        full_after(&disk, written);
        let refused = journal.append(&[Entry::new(4, 1, payload)]);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        for disk in disk.stopped() {
            assert_eq!(log(&disk.open()), entries(1..=3, 1), "after {written} bytes");
        }
        journal.append(&entries(4..=5, 1)).unwrap();
        assert_eq!(log(&disk.after_power_cut(Survival::Nothing).open()), entries(1..=5, 1));
    }
}

// Guards: the zeros that make the beginning of a batch void find no space either.
#[test]
fn a_refused_append_that_cannot_be_made_void_poisons() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=3, 1));
    full_after(&disk, 100);
    disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).in_path(".seg"));
    let refused = journal.append(&entries(4..=4, 1));
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    assert_eq!(log(&journal), entries(1..=3, 1));
}

// Guards: a crash between the two headers of a file that is used anew leaves it with one, and it becomes the next segment
// (crash_hunt, a disk that fails, seed 90000259).
#[test]
fn a_spare_with_one_header_is_not_used() {
    on_both(|disk| {
        let journal = disk.open();
        // More than half of the first file, and not all of it.
        append_each(&journal, &entries(1..=14, 1));
        journal.close().unwrap();
        let [_, spare] = &disk.segments()[..] else { panic!("{:?}", disk.segments()) };
        let headers_at = [0, disk.bytes(spare).len() - 512];
        for at in headers_at {
            let disk = disk.killed();
            disk.flip(spare, at + 40);
            let journal = disk.open();
            assert_eq!(journal.recovery_report().leftover, [disk.path(spare)]);
            append_each(&journal, &entries(15..=45, 1));
            let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
            assert!(report.faults.is_empty(), "{report:?}");
        }
    });
}
