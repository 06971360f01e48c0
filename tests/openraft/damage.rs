//! Entries that the disk lost: an error for exactly those, until they were fetched again, or put back.

use std::ops::Range;
use std::path::PathBuf;

use raft_journal::io::sim::SimFs;
use raft_journal::{Entry, Error, Journal, LogStore, OnDamage};

use super::subject::{Log09, Log010, Subject, block_on, item, items, log, options};

/// Where something stands on the disk.
fn place(disk: &SimFs, wanted: &[u8]) -> (PathBuf, u64) {
    let found = disk.paths().into_iter().find_map(|path| {
        let bytes = disk.read_file(&path).unwrap();
        let at = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        Some((path, at as u64))
    });
    found.unwrap()
}

/// Spoils a byte of what the entry says, wherever that is on the disk.
fn spoil(disk: &SimFs, entry: u64) {
    let (path, at) = place(disk, item(1, entry).1.as_bytes());
    disk.corrupt(path, at, b"W").unwrap();
}

async fn lost_entry_is_fetched_again<L: Subject<Store = Journal>>(closed: bool) {
    let disk = SimFs::new();
    let mut store = L::new(options(&disk).open("/journal").unwrap()).unwrap();
    for first in (0..60).step_by(4) {
        store.append(items(1, first..first + 4)).await.unwrap();
    }
    store.save_vote(1).await.unwrap();
    if closed {
        store.store().close().unwrap();
    }
    drop(store);
    let disk = if closed { disk } else { disk.after_process_kill() };
    spoil(&disk, 57);
    let journal = match options(&disk).open("/journal") {
        Err(Error::Damaged(damage)) => {
            assert!(damage.indexes.contains(57), "{damage}");
            options(&disk).on_damage(OnDamage::Accept).open("/journal").unwrap()
        }
        opened => opened.unwrap(),
    };
    let mut store = L::new(journal).unwrap();
    for error in [
        store.read(57..58).await.unwrap_err(),
        store.read(0..u64::MAX).await.unwrap_err(),
        store.read_limited(57..60).await.unwrap_err(),
    ] {
        assert!(error.contains("lost") && error.contains("fetch them from the leader"), "{error}");
    }
    assert_eq!(store.read(0..56).await.unwrap(), items(1, 0..56));
    // From another node, up to the last entry that is here.
    store.append(items(1, 56..60)).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(1, 0..60));
    drop(store);
    let store = L::new(options(&disk.after_process_kill()).open("/journal").unwrap()).unwrap();
    assert_eq!(log(&store).await.unwrap(), items(1, 0..60));
}

#[test]
fn lost_entries_are_an_error_until_they_were_fetched_again() {
    for closed in [true, false] {
        block_on(lost_entry_is_fetched_again::<Log09>(closed));
        block_on(lost_entry_is_fetched_again::<Log010>(closed));
    }
}

/// How much a message takes: some of these entries, and not all that are lost.
const MESSAGE_BYTES_MAX: u64 = 300;

/// Spoils the header of the batch that begins with an entry: all its entries are lost, and their terms with them.
fn spoil_batch(disk: &SimFs, first: &Entry) {
    let (path, at) = place(disk, &first.data);
    // Behind the batch's header of 72 bytes and the entry's of 20 comes the payload.
    let at = at - 92 + 30;
    let byte = disk.read_file(&path).unwrap()[at as usize];
    disk.corrupt(path, at, &[byte ^ 0x55]).unwrap();
}

/// Puts back what is damaged, as the leader's journal has it. The messages that this took.
fn heal(journal: &Journal, leader: &Journal) -> Vec<Range<u64>> {
    let mut messages = Vec::new();
    for damage in journal.damaged() {
        let mut lost = damage.indexes.first..damage.indexes.end.unwrap();
        while !lost.is_empty() {
            let entries = leader.entries(lost.clone(), MESSAGE_BYTES_MAX).unwrap();
            journal.repair(&entries).unwrap();
            let next = entries.last().unwrap().index + 1;
            messages.push(lost.start..next);
            lost.start = next;
        }
    }
    messages
}

async fn lost_entries_are_put_back<L: Subject<Store = Journal>>() {
    let (leaders, disk) = (SimFs::new(), SimFs::new());
    let mut leader = L::new(options(&leaders).open("/journal").unwrap()).unwrap();
    let mut follower = L::new(options(&disk).open("/journal").unwrap()).unwrap();
    for first in (0..40).step_by(4) {
        leader.append(items(1, first..first + 4)).await.unwrap();
    }
    for first in (0..40).step_by(8) {
        follower.append(items(1, first..first + 8)).await.unwrap();
    }
    follower.save_vote(1).await.unwrap();
    let disk = disk.after_process_kill();
    spoil_batch(&disk, &leader.store().entry(16).unwrap());
    spoil(&disk, 29);
    let refused = options(&disk).open("/journal").unwrap_err();
    assert!(matches!(&refused, Error::Damaged(damage) if damage.indexes.contains(16)), "{refused}");

    let journal = options(&disk).on_damage(OnDamage::Accept).open("/journal").unwrap();
    let damaged = journal.damaged();
    let ranges: Vec<_> = damaged.iter().map(|damage| (damage.indexes.first, damage.indexes.end)).collect();
    assert_eq!(ranges, [(16, Some(24)), (29, Some(30))]);
    let mut follower = L::new(journal.clone()).unwrap();
    assert!(follower.read(16..17).await.unwrap_err().contains("lost"));
    assert!(journal.range_digest(0..40).is_err());

    let messages = heal(&journal, leader.store());
    assert_eq!(messages, [16..19, 19..22, 22..24, 29..30]);
    assert_eq!(journal.damaged(), []);
    assert_eq!(follower.read(16..30).await.unwrap(), items(1, 16..30));
    assert_eq!(follower.read_limited(29..40).await.unwrap(), items(1, 29..40));
    assert_eq!(journal.range_digest(0..40).unwrap(), leader.store().range_digest(0..40).unwrap());

    // With the default options, killed or closed in order: nothing is left to refuse or to report.
    let killed = disk.after_process_kill();
    journal.close().unwrap();
    for disk in [killed, disk] {
        let journal = options(&disk).open("/journal").unwrap();
        assert_eq!((journal.recovery_report().damaged.as_slice(), journal.damaged().as_slice()), (&[][..], &[][..]));
        assert_eq!(journal.range_digest(0..40).unwrap(), leader.store().range_digest(0..40).unwrap());
        let mut follower = L::new(journal).unwrap();
        assert_eq!(log(&follower).await.unwrap(), items(1, 0..40));
        assert_eq!(follower.read_vote().await.unwrap(), Some(1));
        follower.append(items(1, 40..44)).await.unwrap();
        assert_eq!(log(&follower).await.unwrap(), items(1, 0..44));
    }
}

#[test]
fn lost_entries_are_put_back_as_the_leaders_journal_has_them() {
    block_on(lost_entries_are_put_back::<Log09>());
    block_on(lost_entries_are_put_back::<Log010>());
}
