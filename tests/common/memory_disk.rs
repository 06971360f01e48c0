//! A disk in memory that costs next to nothing, so that what is counted and timed on it is the crate's own. Background
//! work waits until it is told to run, on the calling thread.

// Each of its users takes its own part of this one.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use raft_journal::io::{File, Fs, Job, Lane, Mode, PathKind, Tasks};

/// Called with `true` when the disk begins to work, and with `false` when it is done: its memory is nobody else's.
pub type Aside = fn(bool);

#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    aside: Aside,
    dirs: Mutex<BTreeSet<PathBuf>>,
    files: Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>,
    /// Kept, emptied, for whoever counts: they would be given back by the last who has them open, not by the disk.
    removed: Mutex<Vec<Arc<MemoryFile>>>,
    entropy: AtomicU64,
    tasks: Arc<MemoryTasks>,
}

#[derive(Debug)]
struct MemoryFile {
    aside: Aside,
    bytes: RwLock<Vec<u8>>,
}

struct MemoryTasks {
    aside: Aside,
    jobs: Mutex<VecDeque<Job>>,
    later: Mutex<VecDeque<Job>>,
}

/// The disk's work, until it is dropped.
struct AtWork(Aside);

impl AtWork {
    fn begin(aside: Aside) -> AtWork {
        aside(true);
        AtWork(aside)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        (self.0)(false);
    }
}

impl MemoryDisk {
    pub fn new(aside: Aside) -> Self {
        let _at_work = AtWork::begin(aside);
        let tasks = Arc::new(MemoryTasks { aside, jobs: Mutex::default(), later: Mutex::default() });
        MemoryDisk(Arc::new(Shared {
            aside,
            dirs: Mutex::new(BTreeSet::from([PathBuf::from("/")])),
            files: Mutex::default(),
            removed: Mutex::default(),
            entropy: AtomicU64::new(0),
            tasks,
        }))
    }

    /// Runs the background work, and what it submits; how many jobs.
    pub fn run_jobs(&self) -> usize {
        self.0.tasks.run()
    }

    /// Lets so much time pass that all who wait for it are due; how many.
    pub fn pass_time(&self) -> usize {
        let count = {
            let _at_work = self.at_work();
            let mut later = self.0.tasks.later.lock().unwrap();
            let due = later.len();
            self.0.tasks.jobs.lock().unwrap().append(&mut later);
            due
        };
        self.run_jobs();
        count
    }

    fn at_work(&self) -> AtWork {
        AtWork::begin(self.0.aside)
    }
}

impl Fs for MemoryDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let _at_work = self.at_work();
        let mut files = self.0.files.lock().unwrap();
        if mode == Mode::Create {
            let made = Arc::new(MemoryFile { aside: self.0.aside, bytes: RwLock::default() });
            files.insert(path.to_path_buf(), made);
        }
        match files.get(path) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn File>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let _at_work = self.at_work();
        self.0.dirs.lock().unwrap().insert(path.to_path_buf());
        Ok(())
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let is_file = self.0.files.lock().unwrap().contains_key(path);
        let is_directory = self.0.dirs.lock().unwrap().contains(path);
        Ok(match (is_directory, is_file) {
            (true, _) => PathKind::Directory,
            (false, true) => PathKind::File,
            (false, false) => PathKind::Missing,
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.files.lock().unwrap();
        let names = files.keys().filter(|path| path.parent() == Some(dir)).filter_map(|path| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _at_work = self.at_work();
        let mut files = self.0.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _at_work = self.at_work();
        let file = self.0.files.lock().unwrap().remove(path).ok_or(io::ErrorKind::NotFound)?;
        *file.bytes.write().unwrap() = Vec::new();
        self.0.removed.lock().unwrap().push(file);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(Some(Box::new(())))
    }

    fn entropy(&self) -> u64 {
        // Different each time, the same in every run.
        self.0.entropy.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        Arc::clone(&self.0.tasks) as Arc<dyn Tasks>
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read().unwrap();
        let found = rest(&bytes, offset, buffer.len());
        buffer[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read().unwrap();
        let found = rest(&bytes, offset, len);
        buffer.extend_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let mut file = self.bytes.write().unwrap();
        if file.len() < end {
            let _at_work = AtWork::begin(self.aside);
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _at_work = AtWork::begin(self.aside);
        self.bytes.write().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self, _range: Range<u64>) -> io::Result<bool> {
        Ok(true)
    }
}

/// At most `len` bytes from `offset`.
fn rest(bytes: &[u8], offset: u64, len: usize) -> &[u8] {
    let from = &bytes[bytes.len().min(offset as usize)..];
    &from[..from.len().min(len)]
}

impl MemoryTasks {
    fn run(&self) -> usize {
        // One by one: a job may submit another.
        let next = || self.jobs.lock().unwrap().pop_front();
        std::iter::from_fn(next).map(|job| job()).count()
    }

    fn put(&self, queue: &Mutex<VecDeque<Job>>, job: Job) {
        let _at_work = AtWork::begin(self.aside);
        queue.lock().unwrap().push_back(job);
    }
}

impl Tasks for MemoryTasks {
    fn submit(&self, _lane: Lane, job: Job) {
        self.put(&self.jobs, job);
    }

    fn after(&self, _delay: Duration, _lane: Lane, job: Job) {
        self.put(&self.later, job);
    }

    fn help(&self) {
        self.run();
    }
}

impl std::fmt::Debug for MemoryTasks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MemoryTasks").finish_non_exhaustive()
    }
}
