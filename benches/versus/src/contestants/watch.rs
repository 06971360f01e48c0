//! A file system that counts syncs, and that knows which segment file a thread has written to last.

use std::cell::Cell;
use std::io::Result;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_journal::io::{File, Fs, Mode, OsFs, PathKind, Tasks};

thread_local! {
    /// The number of the segment file that this thread has written to last; 0 for none.
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

/// The number of the segment file that the calling thread has written to last; 0 for none.
pub fn file_written_last() -> u64 {
    WRITTEN.get()
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Counts {
    syncs: AtomicU64,
    files: AtomicU64,
}

impl Counts {
    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

/// The operating system's file system, watched.
#[derive(Debug, Default)]
pub struct WatchedFs {
    inner: OsFs,
    /// What is counted.
    pub counts: Arc<Counts>,
}

impl Fs for WatchedFs {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        let is_segment = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".seg"));
        let number = if is_segment { 1 + self.counts.files.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Ok(Arc::new(WatchedFile { inner, number, counts: Arc::clone(&self.counts) }))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.inner.create_dir(path)
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        self.inner.kind(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.inner.remove(path)
    }

    fn will_read(&self, path: &Path, bytes: u64) {
        self.inner.will_read(path, bytes);
    }

    fn will_write(&self, path: &Path) {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.will_write(path);
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>> {
        self.inner.lock(path)
    }

    fn entropy(&self) -> u64 {
        self.inner.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        self.inner.tasks()
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn File>,
    /// Above 0 for segment files.
    number: u64,
    counts: Arc<Counts>,
}

impl File for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.inner.read_to(buffer, len, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        if self.number > 0 {
            WRITTEN.set(self.number);
        }
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync_data()
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.inner.allocate(len)
    }

    fn drop_cache(&self, range: std::ops::Range<u64>) -> Result<bool> {
        self.inner.drop_cache(range)
    }
}
