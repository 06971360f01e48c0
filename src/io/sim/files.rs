//! The traits of `io` on the simulated disk.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::contents::PAGE_BYTES;
use super::disk::{FileId, Node, fail, key};
use super::operation::OperationKind;
use super::state::{State, located};
use super::survival::Fates;
use super::{Shared, SimFs};
use crate::io::{File, Fs, Mode, PathKind, Tasks};
use crate::sync::MutexGuard;

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let key = key(path);
        let kind = if mode == Mode::Create { OperationKind::Create } else { OperationKind::Open };
        let mut state = self.shared.enter_plain(kind, &key, 0)?;
        if mode == Mode::Write && state.read_only {
            return fail(io::ErrorKind::ReadOnlyFilesystem, &key, "the disk is read-only");
        }
        let id = if mode == Mode::Create { state.disk.create_file(&key)? } else { state.disk.file_at(&key)? };
        let inode = state.disk.file(id)?;
        inode.handles += 1;
        if mode == Mode::Create {
            inode.set_len(0);
        }
        Ok(Arc::new(SimFile { shared: self.shared.clone(), id, path: key, writable: mode != Mode::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let key = key(path);
        let mut state = self.shared.enter_plain(OperationKind::CreateDirectory, &key, 0)?;
        state.disk.create_directory(&key)
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let key = key(path);
        let state = self.shared.enter_plain(OperationKind::Kind, &key, 0)?;
        Ok(match state.disk.node(&key) {
            None => PathKind::Missing,
            Some(Node::Directory) => PathKind::Directory,
            Some(Node::File(_)) => PathKind::File,
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let key = key(dir);
        let mut state = self.shared.enter_plain(OperationKind::List, &key, 0)?;
        Ok(state.disk.directory(&key)?.names.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (key(from), key(to));
        let mut state = self.shared.enter_plain(OperationKind::Rename, &from, 0)?;
        let issued = state.issued;
        state.log.renamed(issued, &to);
        state.disk.rename(&from, &to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let key = key(path);
        let mut state = self.shared.enter_plain(OperationKind::Remove, &key, 0)?;
        state.disk.remove(&key)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (key(from), key(to));
        let mut state = self.shared.enter_plain(OperationKind::Link, &from, 0)?;
        state.disk.link(&from, &to)
    }

    fn links(&self, path: &Path) -> io::Result<u64> {
        let key = key(path);
        let state = self.shared.enter_plain(OperationKind::Links, &key, 0)?;
        Ok(state.disk.names_of(state.disk.file_at(&key)?))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let key = key(dir);
        let mut state = self.shared.enter_plain(OperationKind::SyncDirectory, &key, 0)?;
        let issued = state.issued;
        state.sync_directory(&key, issued)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let key = key(path);
        let made = self.shared.state.lock().disk.node(&key).is_none();
        let kind = if made { OperationKind::Create } else { OperationKind::Lock };
        let mut state = self.shared.enter_plain(kind, &key, 0)?;
        let id = state.disk.create_file(&key)?;
        if !state.locks.insert(id) {
            return Ok(None);
        }
        Ok(Some(Box::new(LockGuard { shared: self.shared.clone(), id })))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<Option<u64>> {
        let state = self.shared.state.lock();
        let used = state.disk.pages_used() * PAGE_BYTES as u64;
        Ok(state.disk.capacity.map(|capacity| capacity.saturating_sub(used)))
    }

    fn entropy(&self) -> u64 {
        self.shared.state.lock().random.bits()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        self.shared.tasks.clone()
    }
}

struct LockGuard {
    shared: Arc<Shared>,
    id: FileId,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.shared.state.lock().locks.remove(&self.id);
    }
}

struct SimFile {
    shared: Arc<Shared>,
    id: FileId,
    path: Arc<str>,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { fail(io::ErrorKind::PermissionDenied, &self.path, "opened for reading") }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut state, effect) = self.shared.enter(OperationKind::Read, &self.path, offset, buffer.len() as u64)?;
        effect.raise(OperationKind::Read, &self.path)?;
        let (piece, _) = buffer.split_at_mut(effect.transferred(buffer.len()));
        let count = state.disk.file(self.id)?.cache.read(piece, offset);
        state.counts.bytes_read += count as u64;
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let (mut state, effect) = self.shared.enter(OperationKind::Write, &self.path, offset, bytes.len() as u64)?;
        let (piece, _) = bytes.split_at(effect.transferred(bytes.len()));
        let written = state.disk.write(self.id, piece, offset).map_err(|error| located(&error, &self.path))?;
        state.counts.bytes_written += written as u64;
        effect.raise(OperationKind::Write, &self.path)?;
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, effect) = self.shared.enter(OperationKind::Sync, &self.path, 0, 0)?;
        let (issued, mutations) = (state.issued, state.mutations);
        // A sync takes its time: others write meanwhile, and it does not cover what they wrote.
        MutexGuard::unlocked(state.guard(), || self.shared.tasks.step(OperationKind::Sync, &self.path));
        if state.holds > 0 {
            state.syncs_waiting += 1;
            self.shared.holds_changed.notify_all();
            while state.holds > 0 && !state.power_off {
                let ended = |state: &State| state.holds == 0 || state.power_off;
                self.shared.wait(state.guard(), "the end of a hold on syncs", ended);
            }
            state.syncs_waiting -= 1;
            self.shared.holds_changed.notify_all();
        }
        state.check_power(&self.path)?;
        if effect.error.is_some() {
            let mut fates = Fates::new(state.failed_syncs_leave, mutations, state.sectors);
            state.disk.file(self.id)?.fail_sync(issued, &mut fates);
            return effect.raise(OperationKind::Sync, &self.path);
        }
        state.sync_file(self.id, issued)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.shared.enter_plain(OperationKind::Len, &self.path, 0)?;
        Ok(state.disk.file(self.id)?.cache.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.shared.enter_plain(OperationKind::SetLen, &self.path, len)?;
        state.disk.file(self.id)?.set_len(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.shared.enter_plain(OperationKind::Allocate, &self.path, len)?;
        state.disk.allocate(self.id, len).map_err(|error| located(&error, &self.path))
    }

    fn drop_cache(&self, range: Range<u64>) -> io::Result<bool> {
        let mut state = self.shared.enter_plain(OperationKind::DropCache, &self.path, 0)?;
        if state.drops_cache {
            state.disk.file(self.id)?.drop_cache(&range);
        }
        Ok(state.drops_cache)
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.shared.state.lock().disk.close(self.id);
    }
}
