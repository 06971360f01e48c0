//! A purge that waits for the snapshot that stands in for the entries, as openraft 0.9 does not.

use std::io;
use std::pin::pin;

use futures_util::poll;
use raft_journal::adapters::openraft_09::Backend;
use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Journal, MemoryStore};
use tokio::sync::watch;

use super::subject::{Log09, Subject, block_on, items, log, open, options};

type Covered = Result<u64, String>;

/// A store whose purges wait until what is sent covers them.
fn waiting<S: Backend>(store: S) -> (Log09<S>, watch::Sender<Covered>) {
    let (sender, covered) = watch::channel(Ok(0));
    let store = Log09::new(store).unwrap().purging_once_saved(move |log_id| {
        let mut covered = covered.clone();
        async move {
            let is_over = |covered: &Covered| covered.as_ref().map_or(true, |index| *index >= log_id.index);
            let covered = covered.wait_for(is_over).await.map_err(io::Error::other)?;
            covered.clone().map(drop).map_err(io::Error::other)
        }
    });
    (store, sender)
}

async fn purge_waits<S: Backend>(store: S) {
    let (mut store, saved) = waiting(store);
    store.append(items(1, 0..9)).await.unwrap();
    let mut purging = store.clone();
    let mut purge = pin!(purging.purge((1, 5), 1));
    for covered in [0, 4] {
        saved.send(Ok(covered)).unwrap();
        assert!(poll!(purge.as_mut()).is_pending());
        assert_eq!(store.state().await.unwrap(), (None, Some((1, 8))));
        // Other calls go on.
        store.save_vote(covered + 1).await.unwrap();
    }
    saved.send(Ok(5)).unwrap();
    purge.await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(1, 6..9));
    // What is covered already waits for nothing.
    saved.send(Ok(7)).unwrap();
    store.purge((1, 7), 1).await.unwrap();
    assert_eq!(store.state().await.unwrap(), (Some((1, 7)), Some((1, 8))));
}

#[test]
fn a_purge_waits_until_the_snapshot_is_saved() {
    block_on(purge_waits(MemoryStore::new()));
    block_on(purge_waits(options(&SimFs::new()).open("/journal").unwrap()));
    let temporary = tempfile::tempdir().unwrap();
    block_on(purge_waits(Journal::open(temporary.path().join("journal")).unwrap()));
}

#[test]
fn a_crash_before_the_snapshot_is_saved_leaves_the_entries() {
    block_on(async {
        let disk = SimFs::new();
        let (mut store, saved) = waiting(options(&disk).open("/journal").unwrap());
        store.append(items(1, 0..9)).await.unwrap();
        let mut purging = store.clone();
        let mut purge = pin!(purging.purge((1, 5), 1));
        assert!(poll!(purge.as_mut()).is_pending());
        for survival in [Survival::Nothing, Survival::Everything] {
            let found = open::<Log09>(&disk.after_power_cut(survival)).unwrap();
            assert_eq!(log(&found).await.unwrap(), items(1, 0..9));
        }
        saved.send(Ok(5)).unwrap();
        purge.await.unwrap();
        let found = open::<Log09>(&disk.after_power_cut(Survival::Nothing)).unwrap();
        assert_eq!(log(&found).await.unwrap(), items(1, 6..9));
    });
}

#[test]
fn a_snapshot_that_cannot_be_saved_is_an_error_and_nothing_is_purged() {
    block_on(async {
        let (mut store, saved) = waiting(MemoryStore::new());
        store.append(items(1, 0..9)).await.unwrap();
        saved.send(Err("no room for the snapshot".into())).unwrap();
        let error = store.purge((1, 5), 1).await.unwrap_err();
        assert!(error.contains("no room for the snapshot") && error.contains("Snapshot"), "{error}");
        assert_eq!(log(&store).await.unwrap(), items(1, 0..9));
    });
}
