//! Power lost at every operation of a checkpoint: the journal loses nothing, and the copy is whole or refused.

use std::io::ErrorKind;
use std::sync::Arc;

use raft_journal::io::Fs;
use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use raft_journal::{Entry, Error, Journal, LogStore, Position};

use crate::clones::Cloning;
use crate::common::{Disk, append_each, entries, log};
use crate::filled;

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held(Option<Position>, Vec<Entry>, Vec<(bytes::Bytes, bytes::Bytes)>);

fn held(journal: &Journal) -> Held {
    Held(journal.state().purged, log(journal), journal.pairs().unwrap())
}

const SURVIVALS: [Survival; 6] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Random(1),
    Survival::Random(2),
    Survival::OldOrNew(3),
    Survival::OldOrNew(4),
];

/// Cuts the power at each mutation of a checkpoint that is taken on copies of a disk. Returns how often the copy was
/// refused, and how often it opened.
fn cut_at_each(disk: &Disk, allowed: &[Held]) -> (usize, usize) {
    cut_at_each_on(disk, allowed, |sim| Arc::new(sim))
}

fn cut_at_each_on(disk: &Disk, allowed: &[Held], fs: fn(SimFs) -> Arc<dyn Fs>) -> (usize, usize) {
    let (mut refused, mut opened) = (0, 0);
    for cut in 0.. {
        let mut disk = disk.killed();
        disk.fs = fs(disk.sim().clone());
        let journal = disk.open();
        let expected = held(&journal);
        disk.sim().cut_power_at(disk.sim().mutations() + cut);
        let done = journal.checkpoint(disk.beside("backup").dir);
        if let Ok(made) = done {
            assert!(made.linked + made.cloned + made.kept > 0, "{made:?}");
            return (refused, opened);
        }
        for survival in SURVIVALS {
            let after = disk.after_power_cut(survival);
            assert_eq!(held(&after.open()), expected, "the journal lost something, power cut {cut}");
            match after.beside("backup").try_open() {
                Ok(copy) => {
                    let found = held(&copy);
                    let is_empty = found.1.is_empty() && copy.recovery_report().created;
                    assert!(is_empty || allowed.contains(&found), "power cut {cut}: {found:?}");
                    opened += usize::from(!is_empty);
                }
                Err(Error::UnfinishedCheckpoint { .. }) => refused += 1,
                Err(error) => panic!("power cut {cut}: {error}"),
            }
            // It can be taken again, unless somebody went on with it.
            let after = disk.after_power_cut(survival);
            let (journal, backup) = (after.open(), after.beside("backup"));
            journal.checkpoint(&backup.dir).unwrap();
            assert_eq!(held(&backup.open()), expected, "power cut {cut}, taken again");
        }
    }
    unreachable!("a checkpoint has an end")
}

#[test]
fn a_first_checkpoint_is_whole_or_refused() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let now = held(&journal);
    let (refused, opened) = cut_at_each(&disk, &[now]);
    assert!(refused > 20 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn a_first_checkpoint_of_clones_is_whole_or_refused() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let now = held(&journal);
    let (refused, opened) = cut_at_each_on(&disk, &[now], |sim| Arc::new(Cloning(sim)));
    assert!(refused > 20 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn an_older_checkpoint_is_replaced_whole_or_refused() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let before = held(&journal);
    journal.checkpoint(disk.beside("backup").dir).unwrap();
    append_each(&journal, &entries(61..=90, 2));
    journal.truncate_head(Position::new(30, 1)).unwrap();
    let now = held(&journal);
    let (refused, opened) = cut_at_each(&disk, &[before, now]);
    assert!(refused > 20 && opened > 0, "{refused} refused, {opened} opened");
}

/// What a checkpoint asks of a disk.
const ASKED: [OperationKind; 15] = {
    use OperationKind::*;
    [
        Create,
        CreateDirectory,
        Kind,
        Len,
        Link,
        List,
        Lock,
        Open,
        Read,
        Remove,
        Rename,
        SetLen,
        Sync,
        SyncDirectory,
        Write,
    ]
};

/// Lets a call fail that a checkpoint makes, the first one or one over an older, and sees what is left of the journal and
/// of the checkpoints. `false` where it makes not so many.
fn fail_one(is_first: bool, kind: OperationKind, nth: u64, error: ErrorKind) -> bool {
    let what = format!("{kind:?} {nth}: {error}");
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    if !is_first {
        journal.checkpoint(&backup.dir).unwrap();
    }
    let before = held(&journal);
    append_each(&journal, &entries(61..=90, 2));
    journal.truncate_head(Position::new(20, 1)).unwrap();
    let acknowledged = held(&journal);
    // Nobody has waited for it: the checkpoint's first sync is the journal's own.
    drop(journal.append_pending(&entries(91..=91, 2)).unwrap());
    let now = held(&journal);
    disk.sim().inject(Fault::new(kind, error).nth(nth));
    let result = journal.checkpoint(&backup.dir);
    let struck = disk.sim().faults_left() == 0;
    disk.sim().clear_faults();
    if !struck {
        assert!(result.is_ok(), "{what}, which never came: {result:?}");
        return false;
    }
    let is_poisoned = matches!(&result, Err(Error::Poisoned { .. }));
    assert_eq!(is_poisoned, (kind, nth) == (OperationKind::Sync, 0), "{what}");
    match &result {
        // What could not be linked was copied.
        Ok(made) if kind == OperationKind::Link => assert!(made.copied > 1, "{what}: {made:?}"),
        // What may be in the way of a link, and was not.
        Ok(_) => assert_eq!(kind, OperationKind::Remove, "{what}"),
        Err(_) if is_poisoned => {}
        Err(Error::NoSpace { .. }) => assert_eq!(error, ErrorKind::StorageFull, "{what}"),
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), error, "{what}"),
        Err(other) => panic!("{what} gives {other}"),
    }
    match backup.options().read_only(true).open(&backup.dir) {
        // The old one where the failure came before everything, the new one where it came behind it.
        Ok(copy) => assert!(held(&copy) == now || !is_first && held(&copy) == before, "{what}"),
        Err(Error::NotAJournal { .. }) => assert!(is_first && result.is_err(), "{what}"),
        Err(Error::UnfinishedCheckpoint { .. }) => assert!(result.is_err(), "{what}"),
        Err(error) => panic!("{what}, then the copy: {error}"),
    }
    // The journal is at work, or says that it is not; whatever happens to it, what was acknowledged is there.
    match journal.append(&entries(92..=92, 2)) {
        Ok(_) => assert!(!is_poisoned, "{what}"),
        Err(refused) => assert!(is_poisoned && matches!(refused, Error::Poisoned { .. }), "{what}, then {refused}"),
    }
    let allowed = if is_poisoned { vec![acknowledged, now] } else { vec![held(&journal)] };
    for disk in disk.stopped() {
        let journal = disk.open();
        assert!(allowed.contains(&held(&journal)), "{what}");
        take_again(&disk, &journal, &what);
    }
    if !is_poisoned {
        take_again(&disk, &journal, &what);
    }
    true
}

/// A checkpoint that is taken again is whole, and on the disk.
fn take_again(disk: &Disk, journal: &Journal, what: &str) {
    let made = journal.checkpoint(disk.beside("backup").dir);
    made.unwrap_or_else(|error| panic!("{what}, then again: {error}"));
    for stopped in disk.stopped() {
        assert_eq!(held(&stopped.beside("backup").open()), held(journal), "{what}");
    }
}

#[test]
fn a_disk_that_fails_or_is_full_leaves_the_journal_at_work() {
    for error in [ErrorKind::Other, ErrorKind::StorageFull] {
        let failed = |is_first, kind| (0..).take_while(|&nth| fail_one(is_first, kind, nth, error)).count();
        let counts = ASKED.map(|kind| (kind, [failed(true, kind), failed(false, kind)]));
        println!("{error}, of a first checkpoint and of a later one: {counts:?}");
        // There is a directory, and a file to be locked, or they are made.
        assert!(counts.iter().all(|(_, [first, later])| first + later > 0), "{counts:?}");
        // It sets sizes, and writes.
        assert_eq!([true, false].map(|is_first| failed(is_first, OperationKind::Allocate)), [0, 0]);
    }
}

#[test]
fn a_power_cut_long_after_takes_nothing_from_a_checkpoint() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    journal.checkpoint(&backup.dir).unwrap();
    let expected = held(&journal);
    crate::churn(&disk, &journal);
    for survival in SURVIVALS {
        let after = disk.after_power_cut(survival);
        assert_eq!(held(&after.beside("backup").open()), expected);
        assert_eq!(held(&after.open()), held(&journal));
    }
    assert!(disk.fs.links(&backup.path(&backup.chain()[0])).unwrap() <= 2);
}
