//! A disk that fails.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Error, LogStore, Position, Result, StableStore};

use crate::common::{Disk, append_each, append_until_a_spare_is_due, entries, log, names_file};

#[test]
fn one_failed_sync_poisons_for_good_and_everybody_is_told() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    // One file that is not half full: no other sync is under way that the fault could strike.
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=3, 1)).unwrap();
    let pending: Vec<_> = (4..=9).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    let hold = disk.sim().hold_syncs();
    let told = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let mut waiters = Vec::new();
        for (number, pending) in pending.into_iter().enumerate() {
            if number % 2 == 0 {
                waiters.push(scope.spawn(|| pending.wait()));
            } else {
                let told = Arc::clone(&told);
                pending.on_durable(Box::new(move |result| told.lock().unwrap().push(result)));
            }
        }
        disk.sim().wait_for_held_syncs(1);
        drop(hold);
        for waiter in waiters {
            let result = waiter.join().unwrap();
            let Err(error @ Error::Poisoned { cause }) = &result else { panic!("{result:?}") };
            let Error::Io { op: "sync", path, .. } = &**cause else { panic!("{cause:?}") };
            assert!(names_file(error, path) && error.to_string().contains("open again"), "{error}");
        }
    });
    assert_eq!(disk.sim().faults_left(), 0);
    let poisoned = |result: Result<()>| assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
    let (writes, syncs) = (disk.sim().counts().writes, disk.sim().counts().syncs);
    poisoned(journal.append(&entries(10..=10, 1)).map(drop));
    poisoned(journal.append_pending(&entries(10..=10, 1)).map(drop));
    poisoned(journal.replace_tail(&entries(2..=2, 1)).map(drop));
    poisoned(journal.truncate_tail(2));
    poisoned(journal.truncate_head(Position::new(2, 1)));
    poisoned(journal.set(b"vote", b"me"));
    poisoned(journal.sync());
    assert_eq!(log(&journal), entries(1..=9, 1), "reads go on");
    assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
    poisoned(journal.close());
    assert_eq!((disk.sim().counts().writes, disk.sim().counts().syncs), (writes, syncs), "nothing is tried again");
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told.len(), 3, "each callback exactly once");
    told.into_iter().for_each(|result| poisoned(result.map(drop)));
    // What the sync was for is not on the disk; what was acknowledged is.
    assert_eq!(log(&disk.open()), entries(1..=3, 1));
}

#[test]
fn a_spare_that_cannot_be_made_is_no_failure_until_it_is_needed() {
    let kinds = [OperationKind::Create, OperationKind::Allocate, OperationKind::Write, OperationKind::Sync];
    for kind in kinds {
        let disk = Disk::simulated();
        disk.sim().queue_tasks(true);
        let journal = disk.open();
        let next = append_until_a_spare_is_due(&disk, &journal);
        // Of a file that has not even its name yet.
        disk.sim().inject(Fault::new(kind, ErrorKind::Other).in_path(".seg.tmp"));
        disk.sim().run_tasks();
        assert_eq!(disk.sim().faults_left(), 0, "{kind:?}");
        let appended = journal.append(&entries(next..=next, 1));
        assert!(appended.is_ok(), "a spare's failed {kind:?}: {appended:?}");
        append_each(&journal, &entries(next + 1..=40, 1));
        assert_eq!(log(&disk.after_power_cut(Survival::Nothing).open()), entries(1..=40, 1));
    }
}

#[test]
fn a_write_that_fails_poisons() {
    for written in [0, 40, 200] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::Other).at_most(written));
        let error = journal.append(&entries(4..=4, 1)).unwrap_err();
        let Error::Poisoned { cause } = &error else { panic!("{error:?}") };
        let Error::Io { op: "write", path, offset: Some(_), .. } = &**cause else { panic!("{cause:?}") };
        assert!(names_file(&error, path) && error.to_string().contains("at offset"), "{error}");
        assert!(matches!(journal.append(&entries(4..=4, 1)), Err(Error::Poisoned { .. })));
        assert!(matches!(journal.set(b"vote", b"me"), Err(Error::Poisoned { .. })));
        assert_eq!(log(&journal), entries(1..=3, 1));
        assert!(matches!(journal.close(), Err(Error::Poisoned { .. })));
        assert_eq!(log(&disk.open()), entries(1..=3, 1), "{written}");
    }
}

#[test]
fn a_failed_commit_of_small_state_poisons_and_leaves_the_old_value() {
    for kind in [OperationKind::Write, OperationKind::Sync] {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set(b"vote", b"me").unwrap();
        disk.sim().inject(Fault::new(kind, ErrorKind::Other).in_path("meta"));
        let error = journal.set(b"vote", b"you").unwrap_err();
        let Error::Poisoned { cause } = &error else { panic!("{error:?}") };
        assert!(matches!(&**cause, Error::Io { path, .. } if *path == disk.path("meta")), "{cause:?}");
        assert_eq!(journal.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        assert!(matches!(journal.append(&entries(4..=4, 1)), Err(Error::Poisoned { .. })));
        drop(journal);
        let journal = disk.open();
        assert_eq!(journal.get(b"vote").unwrap().as_deref(), Some(&b"me"[..]));
        assert_eq!(log(&journal), entries(1..=3, 1));
    }
}

#[test]
fn an_unreadable_disk_while_opening_is_not_damage() {
    for kind in [OperationKind::Read, OperationKind::Open, OperationKind::Len, OperationKind::List] {
        let disk = Disk::simulated();
        append_each(&disk.open(), &entries(1..=60, 1));
        let mut failed = 0;
        loop {
            disk.sim().fail_at(kind, failed, ErrorKind::Other);
            match disk.try_open() {
                Ok(journal) => {
                    disk.sim().clear_faults();
                    assert_eq!(log(&journal), entries(1..=60, 1));
                    break;
                }
                Err(error) => {
                    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&disk.dir)), "{error:?}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 0, "{kind:?} was never asked");
    }
}
