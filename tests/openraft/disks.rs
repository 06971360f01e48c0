//! Stores that show when and where an adapter works.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::pass_on::pass_on;
use bytes::Bytes;
use raft_journal::adapters::openraft_09::Backend;
use raft_journal::io::{File, Fs, Job, Mode, OsFs, PathKind, Tasks};
use raft_journal::{Changes, Entry, LogState, LogStore, MemoryStore, Pending, Position, Result, StableStore};

/// The operating system's files; counts the syncs that run on a worker of the runtime.
#[derive(Clone, Default, Debug)]
pub struct Watch {
    pub syncs: Arc<AtomicU64>,
    pub on_workers: Arc<AtomicU64>,
}

/// What the workers' threads are called.
pub const WORKER: &str = "worker";

impl Watch {
    fn sync(&self) {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if std::thread::current().name() == Some(WORKER) {
            self.on_workers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn File>,
    watch: Watch,
}

impl File for WatchedFile {
    fn sync_data(&self) -> io::Result<()> {
        self.watch.sync();
        self.file.sync_data()
    }

    pass_on!(file: read_at write_at len set_len allocate drop_cache);
}

impl Fs for Watch {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(WatchedFile { file: OsFs.open(path, mode)?, watch: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.create_dir(path)
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        OsFs.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync();
        OsFs.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        OsFs.lock(path)
    }

    fn entropy(&self) -> u64 {
        OsFs.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        OsFs.tasks()
    }
}

/// A store in memory whose work stays where it is until the test runs it, the newest first: as bad as threads can be.
#[derive(Clone, Default)]
pub struct Held {
    store: MemoryStore,
    jobs: Arc<Mutex<Vec<Job>>>,
    /// Whether the next commit panics.
    pub panics: Arc<AtomicBool>,
}

impl Held {
    /// Runs what waits, and what that adds; how many jobs.
    pub fn run_newest_first(&self) -> usize {
        let newest = || self.jobs.lock().unwrap().pop();
        let mut count = 0;
        while let Some(job) = newest() {
            job();
            count += 1;
        }
        count
    }
}

impl Backend for Held {
    fn run(&self, job: Job) {
        self.jobs.lock().unwrap().push(job);
    }
}

impl LogStore for Held {
    fn state(&self) -> LogState {
        self.store.state()
    }

    fn term(&self, index: u64) -> Result<u64> {
        self.store.term(index)
    }

    fn entry(&self, index: u64) -> Result<Entry> {
        self.store.entry(index)
    }

    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        self.store.entries(range, bytes_max)
    }

    fn append_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.store.append_pending(entries)
    }

    fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.store.replace_tail_pending(entries)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.store.truncate_tail(first_removed)
    }

    fn truncate_head(&self, position: Position) -> Result<()> {
        self.store.truncate_head(position)
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl StableStore for Held {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.store.get(key)
    }

    fn commit(&self, changes: &Changes) -> Result<()> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "planned");
        self.store.commit(changes)
    }

    fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.set_lazy(key, value)
    }
}
