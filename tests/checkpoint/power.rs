//! Power lost at every operation of a checkpoint: the journal loses nothing, and the copy is whole or refused.

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Entry, Error, Journal, LogStore, Position};

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
    let (mut refused, mut opened) = (0, 0);
    for cut in 0.. {
        let disk = disk.killed();
        let journal = disk.open();
        let expected = held(&journal);
        disk.sim().cut_power_at(disk.sim().mutations() + cut);
        let done = journal.checkpoint(disk.beside("backup").dir);
        if let Ok(made) = done {
            assert!(made.linked > 0 || made.kept > 0, "{made:?}");
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

#[test]
fn a_disk_that_fails_or_is_full_leaves_the_journal_at_work() {
    use OperationKind::{Create, Link, Read, Remove, Rename, SetLen, SyncDirectory, Write};
    for kind in [Create, Link, Read, Remove, Rename, SetLen, SyncDirectory, Write] {
        for nth in 0.. {
            let disk = Disk::simulated();
            let journal = filled(&disk);
            let backup = disk.beside("backup");
            journal.checkpoint(&backup.dir).unwrap();
            append_each(&journal, &entries(61..=90, 2));
            disk.sim().inject(Fault::new(kind, std::io::ErrorKind::StorageFull).nth(nth));
            let result = journal.checkpoint(&backup.dir);
            disk.sim().clear_faults();
            append_each(&journal, &entries(91..=92, 2));
            if let Err(error) = &result {
                assert!(error.is_no_space(), "{kind:?} {nth}: {error}");
                match backup.options().read_only(true).open(&backup.dir) {
                    // The old one, or the new one: the failure came before everything, or behind it.
                    Ok(copy) => assert!(matches!(copy.state().last_index(), Some(60 | 90))),
                    Err(Error::UnfinishedCheckpoint { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            journal.checkpoint(&backup.dir).unwrap();
            assert_eq!(held(&backup.open()), held(&journal));
            // What could not be linked was copied.
            if result.is_ok() && kind != Link || nth > 40 {
                break;
            }
        }
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
