//! Directories that can take a checkpoint, and those that cannot.

use raft_journal::io::PathKind;
use raft_journal::{Error, OpenOptions, TargetFault};

use crate::common::{Disk, append_each, entries, on_both};
use crate::{assert_same, filled};

fn fault(error: Result<raft_journal::Checkpoint, Error>) -> TargetFault {
    match error {
        Err(Error::CheckpointTarget { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    on_both(|disk| {
        let journal = filled(disk);
        let target = disk.beside("target");
        target.fs.create_dir(&target.dir).unwrap();
        target.put("notes.txt", b"mine");
        assert_eq!(fault(journal.checkpoint(&target.dir)), TargetFault::NotEmpty { found: "notes.txt".into() });
        assert_eq!(target.names(), ["notes.txt"]);
        let file = target.path("notes.txt");
        assert!(matches!(journal.checkpoint(&file), Err(Error::NotAJournal { .. })));
        assert!(matches!(journal.checkpoint(target.path("no/parent")), Err(Error::Io { .. })));
    });
}

#[test]
fn a_journal_in_use_is_no_target_and_is_left_alone() {
    on_both(|disk| {
        let journal = filled(disk);
        let own = disk.contents();
        assert_eq!(fault(journal.checkpoint(&disk.dir)), TargetFault::InUse);
        assert_eq!(disk.contents(), own);
        // A copy that somebody went on with is a journal in its own right.
        let copy = disk.beside("copy");
        journal.checkpoint(&copy.dir).unwrap();
        let opened = copy.open();
        assert!(matches!(journal.checkpoint(&copy.dir), Err(Error::CheckpointTarget { .. })));
        opened.close().unwrap();
        drop(opened);
        let before = copy.contents();
        assert_eq!(fault(journal.checkpoint(&copy.dir)), TargetFault::InUse);
        assert_eq!(copy.contents(), before);
    });
}

#[test]
fn another_journals_checkpoint_is_left_alone() {
    on_both(|disk| {
        let (journal, other) = (filled(disk), filled(&disk.beside("other")));
        let target = disk.beside("target");
        other.checkpoint(&target.dir).unwrap();
        let before = target.contents();
        assert_eq!(fault(journal.checkpoint(&target.dir)), TargetFault::OtherJournal { found: other.id() });
        // Not finished, it is known by its segments.
        target.remove("meta");
        assert_eq!(fault(journal.checkpoint(&target.dir)), TargetFault::OtherJournal { found: other.id() });
        target.put("meta", &before["meta"]);
        assert_eq!(target.contents(), before);
        assert_same(&target.open_read_only(), &other);
    });
}

#[test]
fn a_newer_checkpoint_is_not_taken_back() {
    on_both(|disk| {
        let journal = filled(disk);
        let before = disk.killed();
        append_each(&journal, &entries(61..=63, 1));
        let target = disk.beside("target");
        journal.checkpoint(&target.dir).unwrap();
        let newer = target.contents();
        let older = before.open_read_only();
        let target = before.beside("target");
        before.fs.create_dir(&target.dir).unwrap();
        newer.iter().for_each(|(name, bytes)| target.put(name, bytes));
        assert_eq!(fault(older.checkpoint(&target.dir)), TargetFault::Newer);
        assert_eq!(target.contents(), newer);
    });
}

#[test]
fn only_one_checkpoint_at_a_time_goes_into_a_directory() {
    on_both(|disk| {
        let journal = filled(disk);
        let target = disk.beside("target");
        journal.checkpoint(&target.dir).unwrap();
        let lock = target.fs.lock(&target.path("LOCK")).unwrap().unwrap();
        assert!(matches!(journal.checkpoint(&target.dir), Err(Error::Locked { .. })));
        drop(lock);
        journal.checkpoint(&target.dir).unwrap();
    });
}

#[test]
fn an_unfinished_checkpoint_does_not_open_and_the_next_one_finishes_it() {
    on_both(|disk| {
        let journal = filled(disk);
        let target = disk.beside("target");
        let first = journal.checkpoint(&target.dir).unwrap();
        target.remove("meta");
        let refused = |target: &Disk, options: OpenOptions| match options.open(&target.dir) {
            Err(Error::UnfinishedCheckpoint { dir }) => assert_eq!(dir, target.dir),
            other => panic!("{other:?}"),
        };
        refused(&target, target.options());
        refused(&target, target.options().read_only(true));
        assert!(matches!(target.options().preview(&target.dir), Err(Error::UnfinishedCheckpoint { .. })));
        append_each(&journal, &entries(61..=62, 1));
        target.put("00000000000000000003.seg.tmp", b"half a file");
        let second = journal.checkpoint(&target.dir).unwrap();
        assert!(second.kept > 0 && second.kept >= first.linked - 1, "{second:?}");
        assert_same(&target.open(), &journal);
        assert!(!target.names().iter().any(|name| name == "CHECKPOINT" || name.ends_with(".tmp")));
    });
}

#[test]
fn nothing_is_made_for_a_journal_that_cannot_be_copied() {
    on_both(|disk| {
        let journal = filled(disk);
        journal.close().unwrap();
        let target = disk.beside("target");
        assert!(matches!(journal.checkpoint(&target.dir), Err(Error::Closed)));
        assert_eq!(target.fs.kind(&target.dir).unwrap(), PathKind::Missing);
    });
}
