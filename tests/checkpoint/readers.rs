//! Checkpoints by handles that only read.

use std::io::ErrorKind;

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Error, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};
use crate::{assert_same, churn, filled};

#[test]
fn a_read_only_handle_copies_everything_and_links_nothing() {
    on_both(|disk| {
        let journal = filled(disk);
        let reader = disk.open_read_only();
        append_each(&journal, &entries(61..=62, 1));
        let backup = disk.beside("backup");
        let made = reader.checkpoint(&backup.dir).unwrap();
        assert_eq!((made.linked, made.copied), (0, made.segments));
        assert_eq!(made.last, Some(Position::new(60, 1)));
        assert_same(&backup.open_read_only(), &reader);
        // Beside the writer, and brought forward by it.
        let made = journal.checkpoint(&backup.dir).unwrap();
        assert_eq!((made.kept, made.copied), (made.segments - 1, 1));
        assert_same(&backup.open(), &journal);
        journal.append(&entries(63..=63, 1)).unwrap();
    });
}

#[test]
fn a_closed_journal_is_copied_as_it_is() {
    on_both(|disk| {
        let journal = filled(disk);
        let expected = log(&journal);
        journal.close().unwrap();
        drop(journal);
        let before = disk.contents();
        let backup = disk.beside("backup");
        disk.open_read_only().checkpoint(&backup.dir).unwrap();
        assert_eq!(disk.contents(), before);
        assert_eq!(log(&backup.open()), expected);
    });
}

#[test]
fn a_reader_that_was_overtaken_says_so_and_its_copy_does_not_open() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let reader = disk.open_read_only();
    let backup = disk.beside("backup");
    churn(&disk, &journal);
    let result = reader.checkpoint(&backup.dir);
    assert!(matches!(result, Err(Error::Overtaken { .. })), "{result:?}");
    assert!(matches!(backup.try_open(), Err(Error::UnfinishedCheckpoint { .. })));
    disk.open_read_only().checkpoint(&backup.dir).unwrap();
    assert_same(&backup.open(), &journal);
}

#[test]
fn a_reader_with_a_small_bound_brings_a_checkpoint_forward_whole() {
    on_both(|disk| {
        let options = disk.options().meta_bytes_max(100 << 10);
        let journal = options.open(&disk.dir).unwrap();
        journal.append(&entries(1..=3, 1)).unwrap();
        let value = vec![7; 1000];
        (0..40_u8).for_each(|key| journal.set(&[key], &value).unwrap());
        let backup = disk.beside("backup");
        journal.checkpoint(&backup.dir).unwrap();
        journal.append(&entries(4..=6, 1)).unwrap();
        journal.close().unwrap();
        // The reader's own bound says nothing of what is there.
        disk.open_read_only().checkpoint(&backup.dir).unwrap();
        let copy = options.open(&backup.dir).unwrap();
        assert_eq!((log(&copy), copy.pairs().unwrap().len()), (entries(1..=6, 1), 40));
    });
}

#[test]
fn a_checkpoint_of_a_checkpoint_into_itself_touches_nothing() {
    on_both(|disk| {
        let journal = filled(disk);
        let backup = disk.beside("backup");
        journal.checkpoint(&backup.dir).unwrap();
        let before = backup.contents();
        let mutations = backup.sim.as_ref().map(|sim| sim.mutations());
        let made = backup.open_read_only().checkpoint(&backup.dir).unwrap();
        assert_eq!((made.last, made.copied, made.kept), (journal.state().last, 0, made.segments));
        // Not for a moment: a crash in the middle would have found it unfinished.
        assert_eq!(backup.sim.as_ref().map(|sim| sim.mutations()), mutations);
        assert_eq!(backup.contents(), before);
        assert_same(&backup.open_read_only(), &journal);
    });
}

// Guards: the answer was yes, and nothing was synced, where another try had come as far as the last name.
#[test]
fn a_checkpoint_of_a_checkpoint_is_durable_also_where_another_try_failed_at_the_last_sync() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let (first, second) = (disk.beside("first"), disk.beside("second"));
    journal.checkpoint(&first.dir).unwrap();
    let reader = first.open_read_only();
    let syncs = {
        let before = disk.sim().counts().dir_syncs;
        reader.checkpoint(&disk.beside("measured").dir).unwrap();
        disk.sim().counts().dir_syncs - before
    };
    disk.sim().inject(Fault::new(OperationKind::SyncDirectory, ErrorKind::Other).nth(syncs - 1));
    assert!(matches!(reader.checkpoint(&second.dir), Err(Error::Io { op: "sync", .. })));
    reader.checkpoint(&second.dir).unwrap();
    assert_same(&second.after_power_cut(Survival::Nothing).open(), &journal);
}

// Guards: a checkpoint of another branch of the same journal was taken for this one.
#[test]
fn a_checkpoint_of_another_branch_is_made_anew() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    journal.checkpoint(disk.beside("branch").dir).unwrap();
    let disk = disk.killed();
    let [branch, ours, theirs] = ["branch", "ours", "theirs"].map(|name| disk.beside(name));
    for (from, vote, to) in [(&disk, "you", &ours), (&branch, "her", &theirs)] {
        let journal = from.open();
        journal.set(b"vote", vote.as_bytes()).unwrap();
        journal.checkpoint(&to.dir).unwrap();
    }
    let vote = |disk: &Disk| disk.open_read_only().get(b"vote").unwrap().unwrap();
    assert_eq!((vote(&ours), vote(&theirs)), ("you".into(), "her".into()));
    ours.open_read_only().checkpoint(&theirs.dir).unwrap();
    assert_eq!(vote(&theirs), "you");
}

// Guards: one whose newest file had gone bad was taken for whole; that file is always written anew.
#[test]
fn a_checkpoint_whose_newest_file_went_bad_is_mended_by_the_next_one() {
    on_both(|disk| {
        let journal = filled(disk);
        let (first, second) = (disk.beside("first"), disk.beside("second"));
        journal.checkpoint(&first.dir).unwrap();
        let reader = first.open_read_only();
        reader.checkpoint(&second.dir).unwrap();
        second.flip(&second.chain().pop().unwrap(), 600);
        reader.checkpoint(&second.dir).unwrap();
        assert_same(&second.open(), &journal);
    });
}

#[test]
fn a_checkpoint_of_a_checkpoint_into_itself_by_another_name_touches_nothing() {
    let disk = Disk::real();
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    journal.checkpoint(&backup.dir).unwrap();
    let before = backup.contents();
    let reader = backup.open_read_only();
    let made = reader.checkpoint(backup.dir.join("../backup")).unwrap();
    assert_eq!((made.copied, made.kept), (0, made.segments));
    assert_eq!(backup.contents(), before);
    // And where it is another one by now, neither.
    backup.open().set(b"vote", b"her").unwrap();
    journal.set(b"vote", b"me").unwrap();
    assert!(matches!(reader.checkpoint(&backup.dir), Err(Error::CheckpointTarget { .. })));
}
