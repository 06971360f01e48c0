//! Which files a checkpoint shares with its journal, and which must be its own.

use std::io::ErrorKind;

use raft_journal::io::sim::{AtRest, Fault, OperationKind};
use raft_journal::{Error, Journal, LogStore};

use crate::common::{Disk, append_each, append_until_a_spare_is_due, entries, entry, log};
use crate::filled;

/// Appends until the active segment is sealed and its successor has no batch yet, because there was no room for the first
/// one; the name of the sealed file.
fn seal_the_newest(disk: &Disk, journal: &Journal) -> String {
    disk.sim().queue_tasks(true);
    let next = append_until_a_spare_is_due(disk, journal);
    disk.sim().run_tasks();
    disk.sim().queue_tasks(false);
    let newest = disk.chain().last().unwrap().clone();
    for index in next.. {
        // A rotation writes a trailer and a seal before the batch.
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(2));
        let result = journal.append(&entries(index..=index, 1));
        disk.sim().clear_faults();
        match result {
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(disk.chain().last(), Some(&newest), "the next file has a batch");
    newest
}

/// Where a sealed file's seal stands: its trailer says so.
fn seal_of(bytes: &[u8]) -> u64 {
    let at = bytes.len() - 1024 + 4;
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()).into()
}

#[test]
fn a_file_whose_seal_no_commit_vouches_for_may_be_written_to_again_and_is_copied() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let newest = seal_the_newest(&disk, &journal);
    let made = journal.checkpoint(disk.beside("backup").dir).unwrap();
    assert!(made.linked > 1, "what lies before the last commit: {made:?}");
    let expected = log(&journal);
    // The process ends, and the one thing goes bad that says that the file is full.
    let disk = disk.killed();
    let backup = disk.beside("backup");
    let bit = seal_of(&disk.bytes(&newest)) * 8;
    disk.sim().damage(&AtRest::FlipBit { path: disk.path(&newest), bit }).unwrap();
    let (before, spoiled) = (backup.contents(), disk.bytes(&newest));
    let journal = disk.open();
    let next = journal.state().next_index().unwrap();
    append_each(&journal, &[entry(next, 7, 30)]);
    assert!(disk.bytes(&newest) != spoiled, "the log goes on in it");
    assert!(backup.contents() == before, "the copy was written to");
    assert_eq!(log(&backup.open()), expected);
}

#[test]
fn a_commit_behind_a_seal_lets_the_file_be_shared() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let newest = seal_the_newest(&disk, &journal);
    raft_journal::StableStore::set(&journal, b"vote", b"node-3").unwrap();
    let made = journal.checkpoint(disk.beside("backup").dir).unwrap();
    assert_eq!((made.linked, made.copied), (made.segments - 1, 1));
    // The same damage as without the commit is known to be damage.
    let disk = disk.killed();
    let bit = seal_of(&disk.bytes(&newest)) * 8;
    disk.sim().damage(&AtRest::FlipBit { path: disk.path(&newest), bit }).unwrap();
    let before = disk.beside("backup").contents();
    assert!(matches!(disk.try_open(), Err(Error::Damaged(_))));
    let journal = disk.open_accepting();
    let next = journal.state().next_index().unwrap();
    append_each(&journal, &[entry(next, 7, 30)]);
    assert!(disk.beside("backup").contents() == before, "the copy was written to");
}

/// A sync over blocks that were never written has to write metadata too, and may find no space.
#[test]
fn the_newest_file_of_a_copy_is_written_from_its_start_to_its_end() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    journal.checkpoint(&backup.dir).unwrap();
    let name = backup.chain().pop().unwrap();
    let unfinished = format!("{}.tmp", backup.path(&name).display());
    let mut parts: Vec<(u64, u64)> = disk
        .sim()
        .operations()
        .into_iter()
        .filter(|operation| operation.kind == OperationKind::Write && *operation.path == *unfinished)
        .map(|write| (write.offset, write.offset + write.len))
        .collect();
    parts.sort_unstable();
    let end = parts.iter().fold(0, |end, &(from, to)| if from <= end { end.max(to) } else { end });
    assert_eq!(end, backup.bytes(&name).len() as u64, "{parts:?}");
}
