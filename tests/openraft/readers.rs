//! Readers on the runtime's threads, and what must never run there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_journal::{Journal, OpenOptions};

use super::disks::{WORKER, Watch};
use super::history::{HISTORY, take};
use super::subject::{Log09, Log010, Subject, items};

/// How many entries the readers' log comes to.
const END: u64 = 4000;

fn many_read<L: Subject<Store = Journal>>() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new().segment_bytes(64 << 10).tail_cache_bytes(4 << 10);
    let journal = options.open(dir.path().join("journal")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut store = L::new(journal.clone()).unwrap();
        let reader = |number| tokio::spawn(read_until_the_end(store.clone(), Arc::clone(&written), number));
        let readers: Vec<_> = (0..3).map(reader).collect();
        for first in (0..END).step_by(20) {
            store.append(items(1, first..first + 20)).await.unwrap();
            if first % 400 == 200 {
                // Taken back, and written once more.
                store.truncate(first + 5).await.unwrap();
                store.append(items(1, first + 5..first + 20)).await.unwrap();
            }
            if first % 1000 == 500 {
                store.purge((1, first - 300), 1).await.unwrap();
            }
            written.store(first + 20, Ordering::SeqCst);
        }
        for reader in readers {
            reader.await.unwrap();
        }
    });
    journal.close().unwrap();
}

/// Reads here and there, and last of all the end.
async fn read_until_the_end<L: Subject>(mut reader: L, written: Arc<AtomicU64>, number: u64) {
    let mut place = number * 7;
    loop {
        let end = written.load(Ordering::SeqCst);
        place = (place * 31 + 17) % (end + 1);
        let found = match place % 2 {
            0 => reader.read(place..place + 50).await.unwrap(),
            _ => reader.read_limited(place..place + 50).await.unwrap(),
        };
        let first = found.first().map_or(place, |&((_, index), _)| index);
        assert!(place <= first && (first == place || place.is_multiple_of(2)), "asked for {place}, got {first}");
        assert_eq!(found, items(1, first..first + found.len() as u64));
        if end >= END {
            assert_eq!(reader.read(END - 100..END).await.unwrap(), items(1, END - 100..END));
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn readers_see_a_whole_log_while_it_is_written() {
    many_read::<Log09>();
    many_read::<Log010>();
}

fn no_sync_on_workers<L: Subject<Store = Journal>>() {
    let (dir, watch) = (tempfile::tempdir().unwrap(), Watch::default());
    let options = OpenOptions::new().segment_bytes(8 << 10).file_system(Arc::new(watch.clone()));
    let journal = options.open(dir.path().join("journal")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name(WORKER).enable_all().build().unwrap();
    let mut store = L::new(journal.clone()).unwrap();
    let opened = watch.syncs.load(Ordering::SeqCst);
    let lived = runtime.spawn(async move {
        for step in HISTORY {
            take(&mut store, step).await.unwrap();
        }
    });
    runtime.block_on(lived).unwrap();
    assert!(watch.syncs.load(Ordering::SeqCst) > opened + HISTORY.len() as u64, "too few syncs to prove anything");
    assert_eq!(watch.on_workers.load(Ordering::SeqCst), 0);
    journal.close().unwrap();
}

#[test]
fn no_sync_runs_on_a_worker_of_the_runtime() {
    no_sync_on_workers::<Log09>();
    no_sync_on_workers::<Log010>();
}
