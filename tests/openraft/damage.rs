//! Entries that the disk lost: an error for exactly those, until they were fetched again.

use raft_journal::io::sim::SimFs;
use raft_journal::{Error, Journal, OnDamage};

use super::subject::{Log09, Log010, Subject, block_on, item, items, log, options};

/// Spoils a byte of what the entry says, wherever that is on the disk.
fn spoil(disk: &SimFs, entry: u64) {
    let (_, text) = item(1, entry);
    let found = disk.paths().into_iter().find_map(|path| {
        let bytes = disk.read_file(&path).unwrap();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
        Some((path, at as u64))
    });
    let (path, at) = found.unwrap();
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
