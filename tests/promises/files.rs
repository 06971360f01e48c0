//! Files that nobody needs any more, and names that cannot be synced.

use std::io::{Error as IoError, ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Error, Health, Journal, LogStore, Position, SegmentInfo, SegmentRole};

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
fn with_leftovers(last: u64) -> (Disk, [String; 2]) {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=last, 1));
    let gone = disk.segments()[0].clone();
    let bytes = disk.bytes(&gone);
    journal.truncate_head(Position::new(last - 10, 1)).unwrap();
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
    let (disk, leftover) = with_leftovers(80);
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
    let (disk, leftover) = with_leftovers(80);
    disk.sim().queue_tasks(true);
    disk.open().close().unwrap();
    assert!(!leftover.iter().any(|name| disk.names().contains(name)), "{:?}", disk.names());
}

#[test]
fn an_append_that_finds_no_room_takes_that_of_what_an_open_found_unneeded() {
    let (disk, leftover) = with_leftovers(80);
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

/// What all files together take.
fn used(disk: &Disk) -> u64 {
    disk.contents().values().map(|file| file.len() as u64).sum()
}

// Guards: a spare was given up for its room, and held open by whoever asked for that room.
#[test]
fn a_spare_that_is_too_small_makes_room_for_the_file_that_a_large_batch_needs() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let mut next = 1;
    let spare = || journal.segments().unwrap().into_iter().find(|segment| segment.role == SegmentRole::Spare);
    while spare().is_none() {
        journal.append(&entries(next..=next, 1)).unwrap();
        next += 1;
    }
    let spare = spare().unwrap();
    disk.sim().set_capacity(Some(used(&disk) + (8 << 10)));
    let big = entry(next, 1, 12 << 10);
    journal.append(std::slice::from_ref(&big)).unwrap();
    assert_eq!(journal.entry(next).unwrap(), big);
    assert!(!disk.segments().iter().any(|name| disk.path(name) == spare.path), "{:?}", disk.segments());
}

// Guards: the spare was asked for first, so that a journal called itself nearly full, for room that a crash had left taken.
#[test]
fn what_a_crash_left_goes_before_a_spare_is_made() {
    let mut spares = 0;
    for last in 60..85 {
        let (disk, leftover) = with_leftovers(last);
        disk.sim().queue_tasks(true);
        let journal = disk.open();
        disk.sim().set_capacity(Some(used(&disk)));
        disk.sim().run_tasks();
        assert!(!leftover.iter().any(|name| disk.names().contains(name)), "{:?}", disk.names());
        assert_eq!((journal.stats().errors, journal.last_error().is_none()), (0, true), "{last}");
        let is_spare = |segment: &SegmentInfo| segment.role == SegmentRole::Spare;
        // Made now: no number is used twice.
        let newest = format!("{:020}.seg", leftover[1][..20].parse::<u64>().unwrap() + 1);
        let spare = journal.segments().unwrap().into_iter().find(is_spare);
        spares += usize::from(spare.is_some_and(|spare| spare.path == disk.path(&newest)));
    }
    assert!(spares > 0);
}

// Guards: each first open that was cut short left another unfinished file, and on a full disk none ever came to its end.
#[test]
fn a_first_open_that_is_cut_short_again_and_again_takes_no_more_room_each_time() {
    let mut met = 0;
    let unfinished = |disk: &Disk| {
        let names = disk.fs.list(&disk.dir).unwrap_or_default();
        names.iter().filter(|name| name.ends_with(".seg.tmp")).count()
    };
    for cut in 0..40 {
        let mut disk = Disk::simulated();
        for _ in 0..3 {
            disk.sim().cut_power_at(disk.sim().mutations() + cut);
            let opened = disk.try_open();
            if opened.is_ok() {
                break;
            }
            disk = disk.after_power_cut(Survival::Everything);
            assert!(unfinished(&disk) <= 1, "cut at {cut}: {:?}", disk.names());
            met += unfinished(&disk);
        }
        if unfinished(&disk) > 0 {
            disk.sim().set_capacity(Some(used(&disk)));
            disk.open().append(&entries(1..=1, 1)).unwrap();
        }
    }
    assert!(met > 5, "{met}");
}

#[test]
fn a_file_in_preparation_with_a_number_that_no_file_can_get_is_removed() {
    let disk = Disk::simulated();
    disk.open().close().unwrap();
    let name = format!("{:020}.seg.tmp", u64::MAX);
    disk.put(&name, b"nobody made this");
    let journal = disk.open();
    journal.append(&entries(1..=1, 1)).unwrap();
    journal.close().unwrap();
    assert!(!disk.names().contains(&name));
}

// Guards: an append was refused for want of room while a job was giving that room back.
#[test]
fn an_append_that_finds_no_room_waits_for_files_that_are_being_removed() {
    let (disk, hooked, journal) = hooked();
    disk.threaded_tasks();
    let (begun, begins) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let hook = move || {
        begun.send(()).unwrap();
        goes_on.recv().unwrap();
    };
    *hooked.remove.lock().unwrap() = Some(Box::new(hook));
    journal.truncate_head(Position::new(79, 1)).unwrap();
    begins.recv().unwrap();
    // No spare is of this size, and what one gives back is not room enough.
    disk.sim().set_capacity(Some(used(&disk)));
    disk.sim().inject(Fault::new(OperationKind::Allocate, ErrorKind::StorageFull).nth(0).in_path(".seg"));
    let big = entry(81, 1, 20_000);
    let appender = std::thread::spawn({
        let (journal, big) = (journal.clone(), big.clone());
        move || journal.append(&[big])
    });
    while disk.sim().faults_left() > 0 {
        std::thread::yield_now();
    }
    // Time for an append that does not wait to be refused.
    for _ in 0..100 {
        if appender.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    go_on.send(()).unwrap();
    appender.join().unwrap().unwrap();
    assert_eq!(journal.entry(81).unwrap(), big);
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
