//! What a journal that is left alone gives up, and what it keeps as long as somebody is at work; what a young one takes.

mod common;

use common::{Disk, append_each, entries, entry, log};
use raft_journal::{Journal, LogStore, OnDamage, OpenOptions, Position, SegmentRole, StableStore};

/// How many reads of the disk it takes to read an entry.
fn reads(disk: &Disk, journal: &Journal, index: u64) -> u64 {
    let before = disk.sim().counts();
    assert_eq!(journal.entry(index).unwrap(), entry(index, 1, 300));
    (disk.sim().counts() - before).reads
}

/// How many looks it takes: one to see that it was in use, and ten that see nobody.
const LOOKS: usize = 11;

/// Lets half a second pass again and again, until nobody waits for time to pass; how often.
fn until_idle(disk: &Disk) -> usize {
    let looks = (0..100).take_while(|_| disk.sim().pass_time() > 0).count();
    assert!(looks < 100, "watched for ever");
    assert_eq!(disk.sim().tasks_waiting(), 0);
    looks
}

#[test]
fn an_idle_journal_gives_up_its_tail_cache() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=9, 1));
    assert_eq!((reads(&disk, &journal, 1), reads(&disk, &journal, 9)), (0, 0));
    assert_eq!(until_idle(&disk), LOOKS);
    assert_eq!((reads(&disk, &journal, 1), reads(&disk, &journal, 9)), (1, 1));
    // It takes in what comes, and joins no gap.
    append_each(&journal, &entries(10..=12, 1));
    assert_eq!((reads(&disk, &journal, 9), reads(&disk, &journal, 10), reads(&disk, &journal, 12)), (1, 0, 0));
    assert_eq!(log(&journal), entries(1..=12, 1));
    journal.truncate_tail(11).unwrap();
    until_idle(&disk);
    journal.truncate_tail(10).unwrap();
    journal.truncate_head(Position::new(3, 1)).unwrap();
    assert_eq!(log(&journal), entries(4..=9, 1));
}

#[test]
fn an_idle_journal_gives_up_its_index_pages() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    until_idle(&disk);
    let readers = [disk.open_read_only(), disk.open()];
    for journal in &readers {
        // The page and the entry; then the entry alone.
        assert_eq!((reads(&disk, journal, 1), reads(&disk, journal, 2)), (2, 1));
        assert_eq!(until_idle(&disk), LOOKS);
        assert_eq!((reads(&disk, journal, 1), reads(&disk, journal, 2)), (2, 1));
        // A range brings pages in, too.
        until_idle(&disk);
        assert_eq!(log(journal), entries(1..=60, 1));
        assert_eq!(reads(&disk, journal, 1), 1);
        until_idle(&disk);
        assert_eq!(reads(&disk, journal, 1), 2);
    }
}

/// What a journal's files take of a real disk, bytes.
#[cfg(unix)]
fn allocated_bytes(disk: &Disk) -> u64 {
    use std::os::unix::fs::MetadataExt;
    disk.names().iter().map(|name| std::fs::metadata(disk.path(name)).unwrap().blocks() * 512).sum()
}

#[cfg(unix)]
#[test]
fn a_fresh_journal_takes_at_most_2_mib_of_disk() {
    const TAKEN_MAX: u64 = 2 << 20;
    let disk = Disk::real();
    let journal = OpenOptions::new().open(&disk.dir).unwrap();
    let opened = allocated_bytes(&disk);
    // Until its first file is all but full, and the next one stands ready.
    let is_nearly_full = || {
        let segments = journal.segments().unwrap();
        let active = segments.iter().find(|segment| segment.role == SegmentRole::Active).unwrap();
        active.used_bytes > active.bytes / 16 * 15
    };
    (1..).take_while(|_| !is_nearly_full()).for_each(|index| append_each(&journal, &[entry(index, 1, 16 << 10)]));
    while disk.segments().len() < 2 {
        std::thread::yield_now();
    }
    let used = allocated_bytes(&disk);
    assert_eq!(journal.stats().rotations, 0);
    journal.close().unwrap();
    let closed = allocated_bytes(&disk);
    drop(journal);
    let reopened = OpenOptions::new().open(&disk.dir).unwrap();
    assert!(reopened.state().last_index() > Some(20));
    let taken = [opened, used, closed, allocated_bytes(&disk)];
    assert!(taken.iter().all(|bytes| (512 << 10..=TAKEN_MAX).contains(bytes)), "{taken:?}");
}

#[test]
fn a_journal_that_is_read_keeps_its_caches() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    until_idle(&disk);
    let journal = disk.open();
    append_each(&journal, &entries(61..=62, 1));
    assert_eq!(reads(&disk, &journal, 1), 2);
    for _ in 0..3 {
        // A pause is no idleness.
        assert!((1..LOOKS).all(|_| disk.sim().pass_time() == 1));
        assert_eq!((reads(&disk, &journal, 62), reads(&disk, &journal, 1)), (0, 1));
    }
    assert_eq!(until_idle(&disk), LOOKS);
}

#[test]
fn a_journal_that_is_written_to_keeps_its_tail_cache() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    for index in 1..=3 {
        append_each(&journal, &entries(index..=index, 1));
        assert!((1..LOOKS).all(|_| disk.sim().pass_time() == 1));
    }
    assert_eq!(reads(&disk, &journal, 1), 0);
}

#[test]
fn a_journal_that_is_only_read_writes_nothing_when_it_falls_idle() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    until_idle(&disk);
    let journal = disk.options().on_damage(OnDamage::Accept).open(&disk.dir).unwrap();
    let before = disk.sim().mutations();
    journal.entry(1).unwrap();
    until_idle(&disk);
    assert_eq!(disk.sim().mutations(), before);
}

#[test]
fn a_thousand_idle_journals_have_no_timer_and_no_job() {
    let disk = Disk::simulated();
    let open = |number| {
        let journal = disk.options().open(disk.beside(&format!("group-{number}")).dir).unwrap();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"term", 1).unwrap();
        journal.entry(2).unwrap();
        journal
    };
    let journals: Vec<Journal> = (0..1000).map(open).collect();
    assert!((0..LOOKS).all(|_| disk.sim().pass_time() == 1000));
    assert_eq!((disk.sim().pass_time(), disk.sim().tasks_waiting()), (0, 0));
    // Those that were only opened never had any.
    drop(journals);
    until_idle(&disk);
    let _journals: Vec<Journal> = (0..1000).map(|number| disk.beside(&format!("group-{number}")).open()).collect();
    assert_eq!((disk.sim().pass_time(), disk.sim().tasks_waiting()), (0, 0));
}

#[test]
fn nobody_watches_a_journal_that_is_closed_or_poisoned() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=3, 1));
    journal.close().unwrap();
    assert_eq!(until_idle(&disk), 1);
    journal.entry(1).unwrap_err();
    assert_eq!(until_idle(&disk), 0);
    let journal = disk.open();
    disk.sim().fail_next(raft_journal::io::sim::OperationKind::Sync, std::io::ErrorKind::Other);
    journal.append(&entries(4..=4, 1)).unwrap_err();
    assert_eq!(until_idle(&disk), LOOKS);
    assert_eq!(reads(&disk, &journal, 4), 1);
}
