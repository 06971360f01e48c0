//! Checkpoints by handles that only read.

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
