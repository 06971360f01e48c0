//! What the integration tests share: a disk, real or simulated, and entries to put on it.

// Every test file takes its own part of this one.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_journal::io::sim::SimFs;
use raft_journal::io::{Fs, OsFs};
use raft_journal::{Entry, Journal, LogStore, OpenOptions, Result};

/// A file system and the directory on it that a journal is to live in.
pub struct Disk {
    pub fs: Arc<dyn Fs>,
    pub dir: PathBuf,
    pub sim: Option<SimFs>,
    _temporary: Option<tempfile::TempDir>,
}

/// Runs a test on the real file system and on the simulated one.
pub fn on_both(test: impl Fn(&Disk)) {
    test(&Disk::simulated());
    test(&Disk::real());
}

impl Disk {
    pub fn real() -> Disk {
        let temporary = tempfile::tempdir().unwrap();
        Disk { fs: Arc::new(OsFs), dir: temporary.path().join("journal"), sim: None, _temporary: Some(temporary) }
    }

    pub fn simulated() -> Disk {
        Disk::of(SimFs::with_seed(7))
    }

    pub fn of(sim: SimFs) -> Disk {
        Disk { fs: Arc::new(sim.clone()), dir: PathBuf::from("/journal"), sim: Some(sim), _temporary: None }
    }

    /// Another journal's directory on the same disk.
    pub fn beside(&self, name: &str) -> Disk {
        let dir = self.dir.with_file_name(name);
        Disk { fs: Arc::clone(&self.fs), dir, sim: self.sim.clone(), _temporary: None }
    }

    /// The disk as the next process finds it when this one is killed now.
    pub fn killed(&self) -> Disk {
        if let Some(sim) = &self.sim {
            return Disk { dir: self.dir.clone(), ..Disk::of(sim.after_process_kill()) };
        }
        let copy = Disk::real();
        // A spare that is being made may change its name meanwhile; nothing else is at work.
        let files = loop {
            let read = |name: String| Some((name.clone(), std::fs::read(self.path(&name)).ok()?));
            let files: Option<Vec<_>> = self.names().into_iter().map(read).collect();
            if let Some(files) = files {
                break files;
            }
        };
        files.iter().for_each(|(name, bytes)| copy.put(name, bytes));
        copy
    }

    /// The simulated disk, where a test is about it.
    pub fn sim(&self) -> &SimFs {
        self.sim.as_ref().unwrap()
    }

    /// Small files, so that few entries make several segments.
    pub fn options(&self) -> OpenOptions {
        OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512).file_system(Arc::clone(&self.fs))
    }

    pub fn open(&self) -> Journal {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Journal> {
        self.options().open(&self.dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn names(&self) -> Vec<String> {
        let mut names = self.fs.list(&self.dir).unwrap();
        names.sort();
        names
    }

    /// The names of the segment files, oldest first.
    pub fn segments(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        match &self.sim {
            Some(sim) => sim.read_file(self.path(name)).unwrap(),
            None => std::fs::read(self.path(name)).unwrap(),
        }
    }

    /// Makes or replaces a file from outside.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        match &self.sim {
            Some(sim) => sim.write_file(self.path(name), bytes).unwrap(),
            None => {
                std::fs::create_dir_all(&self.dir).unwrap();
                std::fs::write(self.path(name), bytes).unwrap();
            }
        }
    }

    /// Removes a file from outside.
    pub fn remove(&self, name: &str) {
        match &self.sim {
            Some(sim) => sim.remove_file_now(self.path(name)).unwrap(),
            None => std::fs::remove_file(self.path(name)).unwrap(),
        }
    }

    /// Spoils one byte of a file.
    pub fn flip(&self, name: &str, offset: usize) {
        let mut bytes = self.bytes(name);
        bytes[offset] ^= 0x55;
        self.put(name, &bytes);
    }

    /// Every file with its bytes.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.names().into_iter().map(|name| (name.clone(), self.bytes(&name))).collect()
    }

    /// Where a payload stands: the segment's name and the offset in it.
    pub fn find(&self, payload: &[u8]) -> (String, usize) {
        let found = self.segments().into_iter().find_map(|name| {
            let at = self.bytes(&name).windows(payload.len()).position(|bytes| bytes == payload)?;
            Some((name, at))
        });
        found.unwrap()
    }
}

/// An entry with a payload of its own, `bytes` long.
pub fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let mut data = format!("<entry {index} of term {term}>").into_bytes();
    data.resize(bytes.max(data.len()), b'.');
    Entry::new(index, term, data)
}

/// Consecutive entries of one term, 300 bytes each.
pub fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, 300)).collect()
}

/// Appends entry by entry, each durable before the next.
pub fn append_each(journal: &Journal, entries: &[Entry]) {
    entries.iter().for_each(|entry| _ = journal.append(std::slice::from_ref(entry)).unwrap());
}

/// All that the log holds.
pub fn log(journal: &Journal) -> Vec<Entry> {
    match (journal.state().first_index(), journal.state().next_index()) {
        (Some(first), Some(next)) => journal.entries(first..next, u64::MAX).unwrap(),
        _ => Vec::new(),
    }
}

/// CRC-32 (ISO-HDLC) behind eight zero bytes of salt, as the files' own headers have it.
pub fn unsalted_check(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in [0; 8].iter().chain(parts.iter().copied().flatten()) {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
    }
    !crc
}

/// Whether an error's text names a file.
pub fn names_file(error: &raft_journal::Error, path: &Path) -> bool {
    error.to_string().contains(&path.display().to_string())
}
