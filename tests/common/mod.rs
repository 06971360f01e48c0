//! What the integration tests share: a disk, real or simulated, entries to put on it, and a model of their log.

// Every test file takes its own part of this one.
#![allow(dead_code)]

pub mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::io::{Fs, OsFs};
use raft_journal::{Entry, Journal, LogStore, OnDamage, OpenOptions, Position, Result};

/// Where a segment's first batch starts.
pub const DATA_AT: usize = 512;

/// Where the first payload of a batch stands in it: behind the batch's header and the entry's.
pub const FIRST_PAYLOAD_AT: usize = 72 + 20;

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

    /// The simulated disk as power lost now may leave it.
    pub fn after_power_cut(&self, survival: Survival) -> Disk {
        Disk { dir: self.dir.clone(), ..Disk::of(self.sim().after_power_cut(survival)) }
    }

    /// Gives the simulated disk threads for work in the background, as the real one has them.
    pub fn threaded_tasks(&self) {
        if let Some(sim) = &self.sim {
            sim.threaded_tasks();
        }
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

    pub fn open_read_only(&self) -> Journal {
        self.options().read_only(true).open(&self.dir).unwrap()
    }

    /// Opens in spite of damage.
    pub fn open_accepting(&self) -> Journal {
        self.options().on_damage(OnDamage::Accept).open(&self.dir).unwrap()
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

    /// The segments that hold batches; the others are spares.
    pub fn chain(&self) -> Vec<String> {
        self.segments().into_iter().filter(|name| self.bytes(name)[DATA_AT..DATA_AT + 72] != [0; 72]).collect()
    }

    /// The disk as every way to stop without a close may leave it.
    pub fn stopped(&self) -> [Disk; 4] {
        let cut = |survival| self.after_power_cut(survival);
        [self.killed(), cut(Survival::Nothing), cut(Survival::Everything), cut(Survival::Random(5))]
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

/// Whether the random history of a seed is one of an encrypted journal. Not drawn, so that the histories are the same with
/// the feature and without it.
pub fn is_encrypted(seed: u64) -> bool {
    cfg!(feature = "encryption") && seed % 8 == 5
}

/// How an encrypted journal is opened; in a build that has no encryption, any.
pub fn encrypted(options: OpenOptions) -> OpenOptions {
    #[cfg(feature = "encryption")]
    return options.encryption(Arc::new(raft_journal::KeyRing::new(1, raft_journal::Key::new([7; 32]))));
    #[cfg(not(feature = "encryption"))]
    return options;
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

/// Appends entry by entry until a simulated disk that queues tasks has one, the making of a spare; returns the next
/// index.
pub fn append_until_a_spare_is_due(disk: &Disk, journal: &Journal) -> u64 {
    let mut next = journal.state().next_index().unwrap_or(1);
    while disk.sim().tasks_waiting() == 0 {
        journal.append(&entries(next..=next, 1)).unwrap();
        next += 1;
    }
    next
}

/// All that the log holds.
pub fn log(journal: &Journal) -> Vec<Entry> {
    match (journal.state().first_index(), journal.state().next_index()) {
        (Some(first), Some(next)) => journal.entries(first..next, u64::MAX).unwrap(),
        _ => Vec::new(),
    }
}

/// What a log must hold: nothing but a plain collection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogModel {
    pub purged: Option<Position>,
    pub entries: Vec<Entry>,
}

impl LogModel {
    pub fn of(journal: &Journal) -> LogModel {
        LogModel { purged: journal.state().purged, entries: log(journal) }
    }

    pub fn last(&self) -> Option<Position> {
        self.entries.last().map(Entry::position).or(self.purged)
    }

    pub fn append(&mut self, batch: &[Entry]) {
        self.entries.extend_from_slice(batch);
    }

    pub fn replace_tail(&mut self, batch: &[Entry]) {
        self.truncate_tail(batch[0].index);
        self.append(batch);
    }

    pub fn truncate_tail(&mut self, first_removed: u64) {
        self.entries.retain(|entry| entry.index < first_removed);
    }

    pub fn truncate_head(&mut self, position: Position) {
        let kept = self.entries.iter().any(|entry| entry.position() == position);
        self.entries.retain(|entry| kept && entry.index > position.index);
        self.purged = Some(position);
    }
}

/// Gives a segment another version, in both copies of its header, as a newer build would write it.
pub fn set_segment_version(segment: &mut [u8], version: u32) {
    let copy = segment.len() - 512;
    for at in [0, copy] {
        segment[at + 8..at + 12].copy_from_slice(&version.to_le_bytes());
        let check = unsalted_check(&[&segment[at..at + 12], &segment[at + 16..at + 64]]);
        segment[at + 12..at + 16].copy_from_slice(&check.to_le_bytes());
    }
}

/// CRC-32 (ISO-HDLC) behind eight zero bytes of salt, as the files' own headers have it.
pub fn unsalted_check(parts: &[&[u8]]) -> u32 {
    salted_check(&[0; 8], parts)
}

/// The same behind a segment's own salt, as all else in it has it.
pub fn salted_check(salt: &[u8], parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in salt.iter().chain(parts.iter().copied().flatten()) {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
    }
    !crc
}

/// Whether an error's text names a file.
pub fn names_file(error: &raft_journal::Error, path: &Path) -> bool {
    error.to_string().contains(&path.display().to_string())
}

/// A configuration for the tests of this binary whose seed a failure prints, as the command that draws the same again.
pub fn seeded(binary: &str, config: ProptestConfig) -> ProptestConfig {
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => OsFs.entropy(),
    };
    println!("PROPTEST_RNG_SEED={seed} cargo test --all-features --test {binary}");
    ProptestConfig { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..config }
}
