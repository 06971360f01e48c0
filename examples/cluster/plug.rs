//! A file system with a plug to pull: from then on nothing reaches the disk, as if the process had been killed.
//!
//! What was written before stays as it is, finished or not. The crate's own crash tests go through the same door, with
//! whole simulated disks behind it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_journal::io::{File, Fs, Mode, OsFs, PathKind, Tasks};

/// The operating system's file system, until the plug is pulled. Clones share the plug.
#[derive(Clone, Default, Debug)]
pub struct Plug {
    pulled: Arc<AtomicBool>,
}

impl Plug {
    /// Pulls the plug: every write, sync and rename from now on fails, and does nothing.
    pub fn pull(&self) {
        self.pulled.store(true, Ordering::SeqCst);
    }

    fn power(&self) -> io::Result<()> {
        match self.pulled.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the plug was pulled")),
            false => Ok(()),
        }
    }
}

impl Fs for Plug {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        self.power()?;
        Ok(Arc::new(PluggedFile { file: OsFs.open(path, mode)?, plug: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.power().and_then(|()| OsFs.create_dir(path))
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        OsFs.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power().and_then(|()| OsFs.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.power().and_then(|()| OsFs.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.power().and_then(|()| OsFs.sync_dir(dir))
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

#[derive(Debug)]
struct PluggedFile {
    file: Arc<dyn File>,
    plug: Plug,
}

impl File for PluggedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.plug.power().and_then(|()| self.file.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plug.power().and_then(|()| self.file.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.plug.power().and_then(|()| self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.plug.power().and_then(|()| self.file.allocate(len))
    }

    fn drop_cache(&self, range: std::ops::Range<u64>) -> io::Result<bool> {
        self.file.drop_cache(range)
    }
}
