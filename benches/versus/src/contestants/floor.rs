//! The bare disk: what the operating system takes for the bytes alone.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, bail};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::contestant::{Ability, Append, Contestant, Log, Tuning, When};
use crate::result::FLOOR;

/// Room for appends, behind what is loaded: written from its start to its end, and again.
const RING_BYTES: u64 = 64 << 20;
/// What a scan reads at a time.
const SCAN_BYTES: usize = 64 << 10;

/// `pwrite`, `fdatasync` and `pread` on a file of zeros.
pub struct Floor;

impl Contestant for Floor {
    fn name(&self) -> &'static str {
        FLOOR
    }

    fn setting(&self) -> &'static str {
        "`pwrite` and `fdatasync` into a file that was filled with zeros and synced before; `pread` into a fresh `Vec`; \
         with many threads, one syncs for all who wait. W8: a durable append of 256 B"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Reopen | Ability::ReopenWaited => Some("has nothing to recover"),
            Ability::Space => Some("has no space of its own"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
        let entry_bytes = tuning.entry_bytes as u64;
        let loaded_bytes = tuning.entries * entry_bytes;
        let path = dir.join("zeros");
        let file = if path.exists() {
            OpenOptions::new().read(true).write(true).open(path)?
        } else {
            zeros(&path, loaded_bytes + RING_BYTES)?
        };
        let group = Group { state: Mutex::default(), done: Condvar::new() };
        Ok(Box::new(FloorLog { file, entry_bytes, loaded_bytes, group }))
    }
}

/// A file of zeros, synced. In pieces as the journal fills its own: how a file was filled shows in the page cache's folios.
fn zeros(path: &Path, bytes: u64) -> Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let zeros = vec![0; 256 << 10];
    for _ in 0..bytes.div_ceil(zeros.len() as u64) {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

struct FloorLog {
    file: File,
    entry_bytes: u64,
    loaded_bytes: u64,
    group: Group,
}

impl FloorLog {
    /// Where a batch is written: its place in the log, or, behind what is loaded, somewhere in the ring.
    fn offset(&self, first_index: u64, bytes: u64) -> u64 {
        let at = (first_index - 1) * self.entry_bytes;
        if at < self.loaded_bytes {
            return at;
        }
        let in_ring = (at - self.loaded_bytes) % RING_BYTES;
        self.loaded_bytes + if in_ring + bytes > RING_BYTES { 0 } else { in_ring }
    }
}

impl Log for FloorLog {
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        let bytes = payloads.concat();
        let offset = self.offset(first_index, bytes.len() as u64);
        Ok(Box::new(move || {
            self.file.write_all_at(&bytes, offset)?;
            if when == When::Durable {
                rustix::fs::fdatasync(&self.file)?;
            }
            Ok(())
        }))
    }

    fn append_shared(&self, _thread: usize, payload: &Bytes) -> Result<()> {
        let offset = self.loaded_bytes + self.group.take(payload.len() as u64);
        self.file.write_all_at(payload, offset)?;
        self.group.wait_for_sync(|| Ok(rustix::fs::fdatasync(&self.file)?))
    }

    fn sync(&self) -> Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn read(&self, index: u64) -> Result<usize> {
        let offset = self.offset(index, self.entry_bytes);
        let mut entry = Vec::with_capacity(self.entry_bytes as usize);
        let read = rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut entry), offset)?;
        black_box(&entry);
        Ok(read)
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        let (mut offset, end) = ((range.start - 1) * self.entry_bytes, (range.end - 1) * self.entry_bytes);
        let mut buffer = vec![0; SCAN_BYTES];
        let mut bytes = 0;
        while offset < end {
            let wanted = SCAN_BYTES.min((end - offset) as usize);
            self.file.read_exact_at(&mut buffer[..wanted], offset)?;
            for entry in buffer[..wanted].chunks(self.entry_bytes as usize) {
                bytes += black_box(entry.to_vec()).len() as u64;
            }
            offset += wanted as u64;
        }
        Ok(bytes)
    }

    fn truncate_tail(&self, _first_removed: u64) -> Result<()> {
        bail!("the floor truncates nothing")
    }

    fn truncate_head(&self, _last_removed: u64) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One syncs for all who have written and wait. With the locks that the journal uses: with those of the standard library,
/// whose condition variable wakes all who wait at once, it is a quarter slower, and then no floor: okaywal is faster.
struct Group {
    state: Mutex<GroupState>,
    done: Condvar,
}

#[derive(Default)]
struct GroupState {
    /// Where the next write goes in the ring.
    at: u64,
    /// Counts the writes that have been made.
    written: u64,
    /// As many of them as a sync has covered.
    synced: u64,
    /// Somebody syncs.
    syncing: bool,
}

impl Group {
    /// Hands out the next place.
    fn take(&self, bytes: u64) -> u64 {
        let mut state = self.state.lock();
        if state.at + bytes > RING_BYTES {
            state.at = 0;
        }
        state.at += bytes;
        state.at - bytes
    }

    /// Returns when a sync that began after the caller's write has ended.
    fn wait_for_sync(&self, sync: impl Fn() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        // Counted after the write: whoever leads from here on covers it.
        state.written += 1;
        let mine = state.written;
        while state.synced < mine {
            if state.syncing {
                self.done.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let covered = state.written;
            drop(state);
            let result = sync();
            state = self.state.lock();
            state.syncing = false;
            if result.is_ok() {
                state.synced = covered;
            }
            self.done.notify_all();
            result?;
        }
        Ok(())
    }
}
