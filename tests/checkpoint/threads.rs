//! Checkpoints while other threads append, truncate and close.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raft_journal::io::sim::Schedule;
use raft_journal::{Error, LogStore, Position, StableStore};

use crate::common::{Disk, entry, log, on_both};
use crate::filled;

/// The entry that a writer of these tests puts at an index.
fn at(index: u64) -> raft_journal::Entry {
    entry(index, 1, 200 + usize::try_from(index % 7).unwrap() * 40)
}

#[test]
fn a_copy_is_of_one_moment_while_others_append_and_truncate() {
    on_both(|disk| {
        disk.threaded_tasks();
        let journal = disk.open();
        let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in 1.. {
                    journal.append(&[at(index)]).unwrap();
                    journal.set_u64(b"index", index).unwrap();
                    acknowledged.store(index, Ordering::SeqCst);
                    if index % 60 == 0 {
                        journal.truncate_head(Position::new(index - 40, 1)).unwrap();
                    }
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
            for round in 0..12 {
                // Each directory twice: once new, once brought forward.
                let backup = disk.beside(&format!("backup {}", round / 2));
                let before = acknowledged.load(Ordering::SeqCst);
                let made = journal.checkpoint(&backup.dir).unwrap();
                let copy = if round % 2 == 0 { backup.open_read_only() } else { backup.open() };
                let entries = log(&copy);
                let first = copy.state().purged.map_or(1, |purged| purged.index + 1);
                assert_eq!(entries, (first..first + entries.len() as u64).map(at).collect::<Vec<_>>());
                let last = copy.state().last_index().unwrap_or(0);
                assert!(last >= before, "{last} is before {before}");
                assert_eq!(made.last.map_or(0, |last| last.index), last);
                // Never ahead of the log, and at most one write behind it.
                let index = copy.get_u64(b"index").unwrap().unwrap_or(0);
                assert!(index <= last && index + 1 >= last, "{index} of {last}");
            }
            done.store(true, Ordering::SeqCst);
        });
        let expected = log(&journal);
        journal.close().unwrap();
        drop(journal);
        assert_eq!(log(&disk.open()), expected);
    });
}

#[test]
fn a_close_ends_a_checkpoint_and_leaves_no_copy_that_looks_whole() {
    for round in 0..30 {
        let disk = Disk::real();
        let journal = filled(&disk);
        let backup = disk.beside("backup");
        let expected = log(&journal);
        std::thread::scope(|scope| {
            let checkpoint = scope.spawn(|| journal.checkpoint(&backup.dir));
            (0..round * 20).for_each(|_| std::thread::yield_now());
            journal.close().unwrap();
            match checkpoint.join().unwrap() {
                Ok(_) => assert_eq!(log(&backup.open()), expected),
                Err(Error::Closed) => {
                    let opened = backup.options().read_only(true).open(&backup.dir);
                    assert!(
                        matches!(opened, Err(Error::UnfinishedCheckpoint { .. } | Error::NotAJournal { .. })),
                        "{opened:?}"
                    );
                }
                Err(error) => panic!("{error}"),
            }
        });
        // The lock was given up behind the checkpoint, not before.
        assert_eq!(log(&disk.open()), expected);
    }
}

// Guards: a rotation and lazy values beside a checkpoint, which takes the end of the log first and the rest behind it.
#[test]
fn a_copy_that_is_made_beside_lazy_values_and_rotations_speaks_of_nothing_that_it_has_not() {
    let mut found = 0;
    for seed in 0..600 {
        let disk = Disk::simulated();
        let (journal, backup) = (disk.open(), disk.beside("backup"));
        let (writer, to) = (journal.clone(), backup.dir.clone());
        let append = move || {
            for index in 1..=40_u64 {
                drop(writer.append_pending(&[entry(index, 1, 700)]).unwrap());
                writer.set_lazy(b"committed", &index.to_le_bytes()).unwrap();
            }
        };
        let copy = move || (0..3).for_each(|_| _ = journal.checkpoint(&to).unwrap());
        Schedule::new(seed).thread("append", append).thread("copy", copy).run().unwrap();
        let copy = backup.open();
        let (committed, last) = (copy.get_u64(b"committed").unwrap(), copy.state().last_index());
        assert!(committed <= last, "seed {seed}: committed {committed:?}, and the log ends at {last:?}");
        found += u64::from(last.is_some_and(|last| last < 40));
    }
    assert!(found > 100, "only {found} in the middle");
}

// Guards: a replacement in flight beside a checkpoint, which holds what is replaced.
#[test]
fn a_copy_ends_where_it_says_it_does_whatever_is_being_replaced_meanwhile() {
    let mut replaced = 0;
    for seed in 0..300 {
        let disk = Disk::simulated();
        let (journal, backup) = (disk.open(), disk.beside("backup"));
        let (writer, to) = (journal.clone(), backup.dir.clone());
        drop(journal.append_pending(&(1..=10).map(|index| entry(index, 1, 100)).collect::<Vec<_>>()).unwrap());
        let replace = move || drop(writer.replace_tail_pending(&[entry(5, 2, 100)]).unwrap());
        let copy = move || {
            let made = journal.checkpoint(&to).unwrap();
            assert_eq!(made.last, backup.open_read_only().state().last, "seed {seed}");
        };
        Schedule::new(seed).thread("replace", replace).thread("copy", copy).run().unwrap();
        replaced += u64::from(disk.beside("backup").open_read_only().state().last_index() == Some(5));
    }
    assert!((1..300).contains(&replaced), "{replaced} of 300");
}
