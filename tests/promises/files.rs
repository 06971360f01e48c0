//! Files that nobody needs any more, and names that cannot be synced.

use std::io::{Error as IoError, ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};

use raft_journal::io::sim::{Fault, OperationKind, SimFs};
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Error, Health, Journal, LogStore, Position};

use crate::common::{Disk, append_each, entries, entry, log};
use crate::pass_on::pass_on;

/// What happens in the middle of a call, once.
type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

fn run(hook: &Hook) {
    let taken = hook.lock().unwrap().take();
    taken.into_iter().for_each(|hook| hook());
}

/// A simulated disk on which something happens in the middle of a removal, or of a read.
#[derive(Clone)]
struct Hooked {
    below: SimFs,
    remove: Hook,
    read: Hook,
    /// How many directories find no file descriptor to be synced through.
    refused: Arc<Mutex<u32>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Fs for Hooked {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        Ok(Arc::new(HookedFile { below: self.below.open(path, mode)?, read: Arc::clone(&self.read) }))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        run(&self.remove);
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut refused = self.refused.lock().unwrap();
        match refused.checked_sub(1) {
            Some(left) => {
                *refused = left;
                // Too many open files.
                Err(IoError::from_raw_os_error(if cfg!(unix) { 24 } else { 4 }))
            }
            None => self.below.sync_dir(dir),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.below.link(from, to)
    }

    fn links(&self, path: &Path) -> Result<u64> {
        self.below.links(path)
    }

    pass_on!(below: create_dir kind list rename lock entropy tasks);
}

struct HookedFile {
    below: Arc<dyn File>,
    read: Hook,
}

impl std::fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookedFile")
    }
}

impl File for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        run(&self.read);
        self.below.read_at(buffer, offset)
    }

    pass_on!(below: write_at sync_data len set_len allocate drop_cache);
}

/// A journal of several files on such a disk.
fn hooked() -> (Disk, Hooked, Journal) {
    let mut disk = Disk::simulated();
    let none = || Arc::new(Mutex::new(None));
    let refused = Arc::new(Mutex::new(0));
    let hooked = Hooked { below: disk.sim().clone(), remove: none(), read: none(), refused };
    disk.fs = Arc::new(hooked.clone());
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=80, 1));
    assert!(disk.chain().len() > 3);
    (disk, hooked, journal)
}

/// What truncates the head up to an index.
fn truncating(journal: &Journal, index: u64) -> Option<Box<dyn FnOnce() + Send>> {
    let journal = journal.clone();
    Some(Box::new(move || journal.truncate_head(Position::new(index, 1)).unwrap()))
}

// Guards: files that were given up while a job removed others, which had looked already, stayed until the next write.
#[test]
fn files_that_are_given_up_while_others_are_removed_go_too() {
    let (disk, hooked, journal) = hooked();
    *hooked.remove.lock().unwrap() = truncating(&journal, 70);
    journal.truncate_head(Position::new(30, 1)).unwrap();
    let named = journal.segments().unwrap().len();
    assert_eq!(disk.segments().len(), named, "{:?}", disk.segments());
    let first = &journal.segments().unwrap()[0];
    assert!(first.indexes.contains(&71) || first.indexes.start > 71, "{first:?}");
}

/// A journal that was closed, with what a crash may leave beside it: a file in preparation, under the number that the next
/// one would have, and the first file, which its head truncation had removed.
fn with_leftovers() -> (Disk, [String; 2]) {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=80, 1));
    let gone = disk.segments()[0].clone();
    let bytes = disk.bytes(&gone);
    journal.truncate_head(Position::new(70, 1)).unwrap();
    journal.close().unwrap();
    assert!(!disk.segments().contains(&gone));
    let newest: u64 = disk.segments().last().unwrap()[..20].parse().unwrap();
    let unfinished = format!("{:020}.seg.tmp", newest + 1);
    disk.put(&gone, &bytes);
    disk.put(&unfinished, &bytes);
    (disk, [gone, unfinished])
}

#[test]
fn what_an_open_finds_unneeded_is_removed_once_it_has_returned() {
    let (disk, leftover) = with_leftovers();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    let there = |name: &String| disk.names().contains(name);
    assert!(leftover.iter().all(there), "{:?}", disk.names());
    assert_eq!(journal.recovery_report().leftover, leftover.each_ref().map(|name| disk.path(name)));
    // New files are made meanwhile, and have other names.
    let rotations = journal.stats().rotations;
    let mut next = journal.state().last.unwrap().index + 1;
    while journal.stats().rotations < rotations + 3 {
        journal.append(&[entry(next, 2, 500)]).unwrap();
        next += 1;
    }
    let held = log(&journal);
    disk.sim().run_tasks();
    assert!(!leftover.iter().any(there), "{:?}", disk.names());
    assert_eq!(log(&journal), held);
    journal.close().unwrap();
    let journal = disk.open();
    assert_eq!((log(&journal), journal.recovery_report().leftover.len()), (held, 0));
}

#[test]
fn a_close_right_behind_an_open_leaves_nothing_to_remove() {
    let (disk, leftover) = with_leftovers();
    disk.sim().queue_tasks(true);
    disk.open().close().unwrap();
    assert!(!leftover.iter().any(|name| disk.names().contains(name)), "{:?}", disk.names());
}

#[test]
fn an_append_that_finds_no_room_takes_that_of_what_an_open_found_unneeded() {
    let (disk, leftover) = with_leftovers();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    disk.sim().set_capacity(Some(disk.contents().values().map(|file| file.len() as u64).sum()));
    let rotations = journal.stats().rotations;
    let mut next = journal.state().last.unwrap().index + 1;
    // The first time there is a spare.
    while journal.stats().rotations < rotations + 2 {
        journal.append(&[entry(next, 2, 500)]).unwrap();
        next += 1;
    }
    assert!(!leftover.iter().any(|name| disk.names().contains(name)), "{:?}", disk.names());
}

// Guards: a full disk on which a file waits to be removed, which a reader held when the head was truncated.
#[test]
fn what_a_reader_held_makes_room_for_the_append_that_finds_none() {
    let (disk, hooked, journal) = hooked();
    let first = disk.chain()[0].clone();
    *hooked.read.lock().unwrap() = truncating(&journal, 30);
    assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 300));
    assert!(disk.segments().contains(&first), "a reader holds it");
    // No spare, and no room for one.
    disk.sim().inject(Fault::new(OperationKind::Allocate, ErrorKind::StorageFull).nth(0));
    let big = entry(81, 1, 20_000);
    journal.append(std::slice::from_ref(&big)).unwrap();
    assert_eq!(disk.sim().faults_left(), 0);
    assert!(!disk.segments().contains(&first));
    assert_eq!(journal.entry(81).unwrap(), big);
}

// Guards: a process without a file descriptor to spare lost its journal, though no sync had failed.
#[test]
fn a_directory_that_cannot_be_opened_to_be_synced_poisons_nothing() {
    let (disk, hooked, journal) = hooked();
    let before = disk.segments();
    // One for a spare, which nobody hears of, and one for the append.
    *hooked.refused.lock().unwrap() = 1;
    let refused = journal.append(&[entry(81, 1, 20_000)]);
    assert!(matches!(refused, Err(Error::Io { op: "sync", .. })), "{refused:?}");
    assert!(matches!(journal.health(), Health::Healthy), "{}", journal.health());
    assert!(disk.segments().len() <= before.len(), "{:?}", disk.segments());
    journal.append(&[entry(81, 1, 20_000)]).unwrap();
    assert_eq!(log(&journal).len(), 81);
    let killed = disk.killed();
    assert_eq!(log(&killed.open()).len(), 81);
}
