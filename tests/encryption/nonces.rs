//! No key and nonce for two texts: of all that a journal ever hands to its disk, written or not.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};

use raft_journal::io::sim::{Fault, OperationKind, SimFs};
use raft_journal::io::{File, Fs, Mode, PathKind, Tasks};
use raft_journal::layout::{meta, segment as s};
use raft_journal::{LogStore, StableStore};

use crate::common::{Disk, entries};
use crate::forge::u32_at;
use crate::generate::{self, Trouble};
use crate::history::Run;
use crate::model::{Op, Shape};
use crate::ring;

/// What was encrypted.
#[derive(Default)]
struct Seen {
    /// The ciphertext for each key and nonce: of an entry, all that its key is derived from (key id, journal id,
    /// sequence, salt, life), the offset and the random bits; of `meta`, the same of its own.
    texts: HashMap<Vec<u8>, Vec<u8>>,
    /// The first text at each place of a life, without the random bits: where there is another one, they alone keep the
    /// two apart.
    places: HashMap<Vec<u8>, Vec<u8>>,
    shared: HashSet<Vec<u8>>,
    broken: Vec<String>,
}

impl Seen {
    fn note(&mut self, place: &[&[u8]], random: &[u8], text: &[u8]) {
        let place = place.concat();
        if *self.places.entry(place.clone()).or_insert_with(|| text.to_vec()) != text {
            self.shared.insert(place.clone());
        }
        let nonce = [&place, random].concat();
        if *self.texts.entry(nonce).or_insert_with(|| text.to_vec()) != text {
            self.broken.push(format!("two texts of {} bytes at {place:?} with {random:?}", text.len()));
        }
    }

    fn note_batch(&mut self, header: &[u8], bytes: &[u8], offset: u64) {
        let batch = bytes.len() >= s::BATCH_BYTES && u64::from(u32_at(bytes, s::BATCH_OFFSET_AT)) == offset;
        if !batch || u32_at(bytes, s::BATCH_KIND_AT) != 1 {
            return;
        }
        // The key id and the journal's id, sequence and salt.
        let file =
            [&header[s::HEADER_KEY_ID_AT..s::HEADER_SIZE_AT], &header[s::HEADER_SALT_AT..s::HEADER_BYTES]].concat();
        let mut at = s::BATCH_BYTES;
        for _ in 0..u32_at(bytes, s::BATCH_COUNT_AT) {
            let stored = at + s::ENTRY_BYTES;
            let end = stored + u32_at(bytes, at + s::ENTRY_LEN_AT) as usize;
            let life = &bytes[stored + s::ENCRYPTED_LIFE_AT..stored + s::ENCRYPTED_RANDOM_AT];
            let random = &bytes[stored + s::ENCRYPTED_RANDOM_AT..stored + s::ENCRYPTED_TEXT_AT];
            assert_eq!(life, &bytes[s::BATCH_LIFE_AT..s::BATCH_LIFE_AT + 4]);
            let place = (offset + at as u64).to_le_bytes();
            // The header is authenticated with the text: another one under the same nonce would be as bad.
            let text = [&bytes[at + 4..stored], &bytes[stored + s::ENCRYPTED_TEXT_AT..end]].concat();
            self.note(&[b"entry", &file, life, &place], random, &text);
            at = end;
        }
    }

    fn note_meta(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(&meta::MAGIC) {
            return;
        }
        let count = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let accepted = count(meta::ACCEPTED_AT) * meta::ACCEPTED_BYTES;
        let repaired = count(meta::REPAIRED_AT) * meta::REPAIRED_BYTES;
        let pairs = meta::FIXED_BYTES + accepted + repaired;
        let random = &bytes[pairs + meta::ENCRYPTED_RANDOM_AT..pairs + meta::ENCRYPTED_KEY_CHECK_AT];
        let id =
            [&bytes[pairs..pairs + meta::ENCRYPTED_RANDOM_AT], &bytes[meta::JOURNAL_ID_AT..meta::LIFE_AT]].concat();
        let life = &bytes[meta::LIFE_AT..meta::LIFE_AT + 4];
        let generation = &bytes[meta::GENERATION_AT..meta::GENERATION_AT + 8];
        self.note(&[b"meta", &id, generation, life], random, bytes);
    }
}

/// A disk that keeps what it is asked to write.
struct Recorder(SimFs, Arc<Mutex<Seen>>);

#[derive(Debug)]
struct RecordedFile(Arc<dyn File>, Arc<Mutex<Seen>>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} texts", self.texts.len())
    }
}

impl Fs for Recorder {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        Ok(Arc::new(RecordedFile(self.0.open(path, mode)?, Arc::clone(&self.1))))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.sync_dir(dir)
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

impl File for RecordedFile {
    fn sync_data(&self) -> Result<()> {
        self.0.sync_data()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        let mut header = [0; s::HEADER_BYTES];
        // What cannot be read now cannot be written either.
        let read = self.0.read_at(&mut header, 0).unwrap_or(0);
        let mut seen = self.1.lock().unwrap();
        if read == header.len() && header.starts_with(&s::MAGIC) && offset > 0 {
            seen.note_batch(&header, bytes, offset);
        }
        seen.note_meta(bytes);
        drop(seen);
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

/// What became of it, in numbers.
struct Found {
    broken: Vec<String>,
    texts: usize,
    shared: usize,
}

fn found(seen: &Mutex<Seen>) -> Found {
    let seen = seen.lock().unwrap();
    Found { broken: seen.broken.clone(), texts: seen.texts.len(), shared: seen.shared.len() }
}

/// Runs a history; what was encrypted in it.
fn run(disk: SimFs, shape: Shape, queued: bool, ops: &[Op]) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut run = Run::new(disk, Shape { encrypted: true, ..shape });
    let noting = Arc::clone(&seen);
    run.wrap = Arc::new(move |fs| -> Arc<dyn Fs> { Arc::new(Recorder(fs, Arc::clone(&noting))) });
    run.fs.queue_tasks(queued);
    run.open();
    ops.iter().for_each(|op| run.take(op));
    drop(run);
    seen
}

#[test]
fn no_history_repeats_a_key_and_a_nonce() {
    let (mut texts, mut shared) = (0, 0);
    for seed in 0..1500 {
        for trouble in [Trouble::CrashLoop, Trouble::Faults] {
            let history = generate::history(seed, trouble);
            let seen = run(trouble.disk(seed), history.shape, history.queued, &history.ops);
            let found = found(&seen);
            assert_eq!(found.broken, [""; 0], "{history:#?}");
            texts += found.texts;
            shared += found.shared;
        }
    }
    println!("{texts} texts, at {shared} places more than one");
    assert!(texts > 10_000 && shared > 0, "{texts} {shared}");
}

#[test]
fn an_append_that_a_full_disk_refused_shares_no_nonce_with_the_next_one() {
    for written in [0, 72, 200, 350] {
        let (disk, seen) = (Disk::simulated(), Arc::new(Mutex::new(Seen::default())));
        let recorder = Arc::new(Recorder(disk.sim().clone(), Arc::clone(&seen)));
        let journal = crate::options(&disk, ring(1)).file_system(recorder).open(&disk.dir).unwrap();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).at_most(written).in_path(".seg"));
        assert!(journal.append(&entries(4..=5, 1)).unwrap_err().is_no_space());
        journal.append(&entries(4..=5, 2)).unwrap();
        let found = found(&seen);
        assert_eq!(found.broken, [""; 0]);
        assert_eq!(found.shared, 2, "both entries were tried twice at their places, in one life");
    }
}

#[test]
fn a_copy_that_is_written_to_shares_no_nonce_with_its_original() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let open = |sim: SimFs| {
        let disk = Disk::of(sim.clone());
        let recorder = Arc::new(Recorder(sim, Arc::clone(&seen)));
        crate::options(&disk, ring(1)).file_system(recorder).open(&disk.dir).unwrap()
    };
    let original = Disk::simulated();
    let journal = open(original.sim().clone());
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.close().unwrap();
    // The same bytes on another disk, whose random numbers are others.
    let copy = SimFs::with_seed(8);
    copy.create_dir(&original.dir).unwrap();
    for (name, bytes) in original.contents() {
        copy.write_file(original.path(&name), &bytes).unwrap();
    }
    for (sim, term) in [(original.sim().clone(), 2), (copy, 3)] {
        let journal = open(sim);
        journal.append(&entries(4..=5, term)).unwrap();
        journal.set_u64(b"term", term).unwrap();
    }
    let found = found(&seen);
    assert_eq!(found.broken, [""; 0]);
    assert!(found.shared > 2, "each wrote at the same places, in the same life: {}", found.shared);
}

#[test]
fn a_checkpoint_that_is_written_to_shares_no_nonce_with_its_journal() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let disk = Disk::simulated();
    let recorder = Arc::new(Recorder(disk.sim().clone(), Arc::clone(&seen)));
    let open = |disk: &Disk| crate::options(disk, ring(1)).file_system(recorder.clone()).open(&disk.dir).unwrap();
    let journal = open(&disk);
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.set_u64(b"term", 1).unwrap();
    let copy = disk.beside("copy");
    journal.checkpoint(&copy.dir).unwrap();
    journal.close().unwrap();
    for (disk, term) in [(&disk, 2), (&copy, 3)] {
        let journal = open(disk);
        journal.append(&entries(4..=5, term)).unwrap();
        journal.set_u64(b"term", term).unwrap();
    }
    let found = found(&seen);
    assert_eq!(found.broken, [""; 0]);
    assert!(found.shared > 2, "each wrote at the same places, in the same life: {}", found.shared);
}
