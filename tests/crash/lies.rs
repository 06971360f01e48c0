//! Disks that answer a sync and do not do it: what the simulation must notice.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use raft_journal::io::{File, Fs, Mode, PathKind, SimFs, Tasks};

/// What a disk does not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// It syncs no file.
    Files,
    /// It syncs no directory.
    Directories,
}

#[derive(Debug)]
pub struct Liar(pub SimFs, pub Lie);

#[derive(Debug)]
struct LyingFile(Arc<dyn File>);

impl Fs for Liar {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        let file = self.0.open(path, mode)?;
        Ok(if self.1 == Lie::Files { Arc::new(LyingFile(file)) } else { file })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        if self.1 == Lie::Directories { self.0.kind(dir).map(drop) } else { self.0.sync_dir(dir) }
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.0.create_dir(path)
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        self.0.kind(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.0.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.0.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>> {
        self.0.lock(path)
    }

    fn entropy(&self) -> u64 {
        self.0.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        self.0.tasks()
    }
}

impl File for LyingFile {
    fn sync_data(&self) -> Result<()> {
        self.0.len().map(drop)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.0.allocate(len)
    }

    fn drop_cache(&self, range: std::ops::Range<u64>) -> Result<bool> {
        self.0.drop_cache(range)
    }
}
