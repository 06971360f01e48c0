//! raft-journal.

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use bytes::Bytes;
use parking_lot::Mutex;
use raft_journal::{Entry, Journal, LogStore, OpenOptions, Position};

use super::watch::{self, WatchedFs};
use crate::contestant::{Append, Contestant, Log, Tuning, When};

/// What a scan asks for at a time, bytes.
const SCAN_BYTES: u64 = 256 << 10;
/// What an entry takes beside its payload, its slot in the seal included, and what a batch takes beside its entries.
const ENTRY_OVERHEAD_BYTES: u64 = 28;
const BATCH_OVERHEAD_BYTES: u64 = 80;
/// The term of all entries.
const TERM: u64 = 1;

/// This repository's journal.
pub struct RaftJournal;

impl Contestant for RaftJournal {
    fn name(&self) -> &'static str {
        "raft-journal"
    }

    fn setting(&self) -> &'static str {
        "the defaults"
    }

    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
        open(OpenOptions::new(), dir, tuning)
    }
}

/// The same with keys.
#[cfg(feature = "encryption")]
pub struct Encrypted;

#[cfg(feature = "encryption")]
impl Contestant for Encrypted {
    fn name(&self) -> &'static str {
        "raft-journal-encrypted"
    }

    fn setting(&self) -> &'static str {
        "the defaults, with a key"
    }

    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
        use raft_journal::{Key, KeyRing};
        open(OpenOptions::new().encryption(Arc::new(KeyRing::new(1, Key::new([7; 32])))), dir, tuning)
    }
}

fn open(mut options: OpenOptions, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
    if let Some(bytes) = tuning.file_bytes {
        options = options.segment_bytes(bytes);
    }
    if let Some(bytes) = tuning.index_cache_bytes {
        options = options.index_cache_bytes(bytes).read_only(true);
    }
    if tuning.watched {
        options = options.file_system(Arc::new(WatchedFs::default()));
    }
    let journal = options.open(dir)?;
    let (file, changes) = (AtomicU64::new(0), AtomicU64::new(0));
    Ok(Box::new(JournalLog { journal, dir: dir.to_path_buf(), order: Mutex::new(()), file, changes }))
}

struct JournalLog {
    journal: Journal,
    dir: PathBuf,
    /// Held while an index is chosen and its entry written.
    order: Mutex<()>,
    /// The file that was written to last, and how often that was another one than before.
    file: AtomicU64,
    changes: AtomicU64,
}

fn entries(first_index: u64, payloads: Vec<Bytes>) -> Vec<Entry> {
    (first_index..).zip(payloads).map(|(index, data)| Entry::new(index, TERM, data)).collect()
}

/// Right after a change of files, that of the file in use: its successor is made later.
fn largest_file_bytes(dir: &Path) -> Result<u64> {
    let mut largest = 0;
    for file in fs::read_dir(dir)? {
        largest = largest.max(file?.metadata()?.len());
    }
    Ok(largest)
}

impl Log for JournalLog {
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        let batch = entries(first_index, payloads);
        Ok(Box::new(move || {
            let pending = self.journal.append_pending(&batch)?;
            if when == When::Durable {
                pending.wait()?;
            }
            Ok(())
        }))
    }

    fn append_shared(&self, _thread: usize, payload: &Bytes) -> Result<()> {
        let pending = {
            let _order = self.order.lock();
            let index = self.journal.state().next_index().unwrap_or(1);
            self.journal.append_pending(&[Entry::new(index, TERM, payload.clone())])?
        };
        pending.wait()?;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.journal.sync()?)
    }

    fn read(&self, index: u64) -> Result<usize> {
        Ok(black_box(self.journal.entry(index)?).data.len())
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        let (mut next, mut bytes) = (range.start, 0);
        while next < range.end {
            let entries = self.journal.entries(next..range.end, SCAN_BYTES)?;
            ensure!(!entries.is_empty(), "no entry at {next}");
            next += entries.len() as u64;
            bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            black_box(entries);
        }
        Ok(bytes)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        Ok(self.journal.truncate_tail(first_removed)?)
    }

    fn truncate_head(&self, last_removed: u64) -> Result<()> {
        Ok(self.journal.truncate_head(Position::new(last_removed, TERM))?)
    }

    fn file_changes(&self) -> u64 {
        let file = watch::file_written_last();
        let before = self.file.swap(file, Ordering::Relaxed);
        if before != 0 && before != file {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.changes.load(Ordering::Relaxed)
    }

    fn fill_file(&self, mut next: u64, payload: &Bytes, when: When) -> Result<()> {
        const BATCH: usize = 64;
        let before = self.file_changes();
        let mut append = || -> Result<()> {
            self.prepare(next, vec![payload.clone(); BATCH], when)?()?;
            next += BATCH as u64;
            Ok(())
        };
        // To the beginning of a file, and then up to its last twentieth or so.
        while self.file_changes() == before {
            append()?;
        }
        let batch_bytes = BATCH as u64 * (payload.len() as u64 + ENTRY_OVERHEAD_BYTES) + BATCH_OVERHEAD_BYTES;
        for _ in 1..largest_file_bytes(&self.dir)? * 19 / 20 / batch_bytes {
            append()?;
        }
        self.sync()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.journal.close()?)
    }
}
