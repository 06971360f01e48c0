//! A disk that keeps what is encrypted, and finds keys and nonces that are used twice.

use std::collections::{HashMap, HashSet};
use std::io::Result;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::walk::hides_terms;
use crate::pass_on::pass_on;
use raft_journal::io::sim::SimFs;
use raft_journal::io::{File, Fs, Mode};
use raft_journal::layout::{meta, segment as s};

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// What was encrypted.
#[derive(Default)]
pub struct Seen {
    /// The ciphertext for each key and nonce: of an entry, or a seal's terms, all that its key is derived from (key id, journal id,
    /// sequence, salt, life), the offset and the random bits; of `meta`, the same of its own.
    texts: HashMap<Vec<u8>, Vec<u8>>,
    /// The first text at each place of a life, without the random bits: where there is another one, they alone keep the
    /// two apart.
    places: HashMap<Vec<u8>, Vec<u8>>,
    shared: HashSet<Vec<u8>>,
    /// The key and nonce that made each ciphertext: no two make the same one.
    makers: HashMap<Vec<u8>, Vec<u8>>,
    broken: Vec<String>,
}

impl Seen {
    fn note(&mut self, place: &[&[u8]], random: &[u8], text: &[u8]) {
        let place = place.concat();
        if *self.places.entry(place.clone()).or_insert_with(|| text.to_vec()) != text {
            self.shared.insert(place.clone());
        }
        let nonce = [&place, random].concat();
        if *self.texts.entry(nonce.clone()).or_insert_with(|| text.to_vec()) != text {
            self.broken.push(format!("two texts of {} bytes at {place:?} with {random:?}", text.len()));
        }
        if *self.makers.entry(text.to_vec()).or_insert_with(|| nonce.clone()) != nonce {
            self.broken.push(format!("what is said to be two keys makes one ciphertext at {place:?}"));
        }
    }

    fn note_batch(&mut self, header: &[u8], bytes: &[u8], offset: u64) {
        if bytes.len() < s::BATCH_BYTES || u64::from(u32_at(bytes, s::BATCH_OFFSET_AT)) != offset {
            return;
        }
        assert!(hides_terms(header), "a new file");
        // The key id and the journal's id, sequence and salt.
        let file =
            [&header[s::HEADER_KEY_ID_AT..s::HEADER_SIZE_AT], &header[s::HEADER_SALT_AT..s::HEADER_BYTES]].concat();
        let mut at = s::BATCH_BYTES;
        if u32_at(bytes, s::BATCH_KIND_AT) != 1 {
            // The runs of terms, of which the batch's own offset makes the nonce.
            let runs = u32_at(bytes, at + s::SUMMARY_RUNS_AT) as usize * s::RUN_BYTES + s::ENCRYPTED_BYTES;
            let stored = at + s::SUMMARY_BYTES;
            return self.note_stored(&file, offset, bytes, at + s::SUMMARY_CHECK_AT + 4..stored, stored + runs);
        }
        for _ in 0..u32_at(bytes, s::BATCH_COUNT_AT) {
            let end = at + s::ENTRY_BYTES + u32_at(bytes, at + s::ENTRY_LEN_AT) as usize;
            let known = at + s::ENTRY_LEN_AT..at + s::ENTRY_TERM_AT;
            self.note_stored(&file, offset + at as u64, bytes, known, end);
            at = end;
        }
    }

    /// What is authenticated, and behind it what is encrypted, up to `end`.
    fn note_stored(&mut self, file: &[u8], place: u64, bytes: &[u8], known: Range<usize>, end: usize) {
        let stored = known.end;
        let life = &bytes[stored + s::ENCRYPTED_LIFE_AT..stored + s::ENCRYPTED_RANDOM_AT];
        let random = &bytes[stored + s::ENCRYPTED_RANDOM_AT..stored + s::ENCRYPTED_TEXT_AT];
        assert_eq!(life, &bytes[s::BATCH_LIFE_AT..s::BATCH_LIFE_AT + 4]);
        // What is authenticated with the text: another one under the same nonce would be as bad.
        let text = [&bytes[known], &bytes[stored + s::ENCRYPTED_TEXT_AT..end]].concat();
        self.note(&[b"segment", file, life, &place.to_le_bytes()], random, &text);
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
pub struct Recorder(pub SimFs, pub Arc<Mutex<Seen>>);

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

    pass_on!(0: sync_dir create_dir kind list rename remove lock entropy tasks);
}

impl File for RecordedFile {
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

    pass_on!(0: sync_data read_at len set_len allocate drop_cache);
}

/// What became of it, in numbers.
pub struct Found {
    pub broken: Vec<String>,
    pub texts: usize,
    pub shared: usize,
}

pub fn found(seen: &Mutex<Seen>) -> Found {
    let seen = seen.lock().unwrap();
    Found { broken: seen.broken.clone(), texts: seen.texts.len(), shared: seen.shared.len() }
}
