//! A disk between the journal and the simulated one that does not do all that it is asked.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raft_journal::io::{File, Fs, Mode, PathKind, SimFs, Tasks};
use raft_journal::layout::segment::{BATCH_BYTES, BATCH_KIND_AT};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Of a segment, only what its preparation or its recovery synced is ever synced.
    SegmentUnsynced,
    /// The directory is not synced after a segment got its name.
    SegmentNameUnsynced,
    /// The same for the first segment alone.
    FirstNameUnsynced,
    /// The directory above the journal's is not synced.
    ParentUnsynced,
    /// `meta` is made under its own name.
    MetaInPlace,
    /// A new segment is not synced before it gets its name.
    SpareUnsynced,
    /// A sync that failed is tried again.
    SyncRetried,
    /// A short write passes for a whole one.
    ShortWriteWhole,
    /// The page cache is not dropped.
    CacheBelieved,
    /// A segment that was opened is not synced before it is written to.
    TailUnsynced,
    /// Seals stay in a buffer of the process.
    SealBuffered,
}

/// More than any honest history asks for: a bug must not loop for ever.
const STEPS_MAX: u64 = 1 << 20;
const SEAL: u32 = 2;

#[derive(Debug)]
pub struct Disk {
    fs: SimFs,
    lie: Option<Lie>,
    steps: Arc<AtomicU64>,
    /// The next sync of the directory does nothing.
    skips_directory: AtomicBool,
}

#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn File>,
    lie: Option<Lie>,
    steps: Arc<AtomicU64>,
    is_segment: bool,
    mode: Mode,
    syncs: AtomicU64,
    is_written: AtomicBool,
}

fn step(steps: &AtomicU64) -> Result<()> {
    match steps.fetch_add(1, Ordering::Relaxed) {
        count if count < STEPS_MAX => Ok(()),
        _ => Err(Error::other("far more operations than a journal asks for")),
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

fn is_spare(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".seg.tmp")
}

impl Disk {
    pub fn new(fs: SimFs, lie: Option<Lie>) -> Disk {
        Disk { fs, lie, steps: Arc::default(), skips_directory: AtomicBool::new(false) }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }
}

impl Fs for Disk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        step(&self.steps)?;
        let in_place = self.lies(Lie::MetaInPlace) && path.ends_with("meta.tmp");
        let path = if in_place { path.with_file_name("meta") } else { path.to_path_buf() };
        Ok(Arc::new(LyingFile {
            file: self.fs.open(&path, mode)?,
            lie: self.lie,
            steps: Arc::clone(&self.steps),
            is_segment: is_segment(&path) || is_spare(&path),
            mode,
            syncs: AtomicU64::new(0),
            is_written: AtomicBool::new(false),
        }))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        step(&self.steps)?;
        if self.skips_directory.swap(false, Ordering::Relaxed)
            || (self.lies(Lie::ParentUnsynced) && dir.parent().is_none())
        {
            return Ok(());
        }
        self.fs.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        step(&self.steps)?;
        if self.lies(Lie::MetaInPlace) && from.ends_with("meta.tmp") {
            return Ok(());
        }
        if is_segment(to) {
            let others = self.fs.paths().iter().any(|path| is_segment(path));
            let skips = self.lies(Lie::SegmentNameUnsynced) || (self.lies(Lie::FirstNameUnsynced) && !others);
            self.skips_directory.store(skips, Ordering::Relaxed);
        }
        self.fs.rename(from, to)
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        step(&self.steps)?;
        self.fs.create_dir(path)
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        step(&self.steps)?;
        self.fs.kind(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        step(&self.steps)?;
        self.fs.list(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        step(&self.steps)?;
        self.fs.link(from, to)
    }

    fn links(&self, path: &Path) -> Result<u64> {
        step(&self.steps)?;
        self.fs.links(path)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        step(&self.steps)?;
        self.fs.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>> {
        step(&self.steps)?;
        self.fs.lock(path)
    }

    fn entropy(&self) -> u64 {
        self.fs.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        self.fs.tasks()
    }
}

impl LyingFile {
    fn skips_sync(&self) -> bool {
        let is_first = self.syncs.fetch_add(1, Ordering::Relaxed) == 0;
        match self.lie {
            Some(Lie::SegmentUnsynced) => self.is_segment && !is_first,
            Some(Lie::SpareUnsynced) => self.is_segment && is_first && self.mode == Mode::Create,
            Some(Lie::TailUnsynced) => self.is_segment && !self.is_written.load(Ordering::Relaxed),
            _ => false,
        }
    }
}

impl File for LyingFile {
    fn sync_data(&self) -> Result<()> {
        step(&self.steps)?;
        if self.skips_sync() {
            return Ok(());
        }
        match self.file.sync_data() {
            Err(_) if self.lie == Some(Lie::SyncRetried) => self.file.sync_data(),
            result => result,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        step(&self.steps)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        step(&self.steps)?;
        self.is_written.store(true, Ordering::Relaxed);
        let kind = bytes.get(BATCH_KIND_AT..BATCH_KIND_AT + 4).filter(|_| bytes.len() >= BATCH_BYTES);
        if self.lie == Some(Lie::SealBuffered) && self.is_segment && kind == Some(&SEAL.to_le_bytes()) {
            return Ok(bytes.len());
        }
        let written = self.file.write_at(bytes, offset)?;
        Ok(if self.lie == Some(Lie::ShortWriteWhole) { bytes.len() } else { written })
    }

    fn len(&self) -> Result<u64> {
        step(&self.steps)?;
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        step(&self.steps)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        step(&self.steps)?;
        self.file.allocate(len)
    }

    fn drop_cache(&self, range: std::ops::Range<u64>) -> Result<bool> {
        step(&self.steps)?;
        if self.lie == Some(Lie::CacheBelieved) { Ok(true) } else { self.file.drop_cache(range) }
    }
}
