//! What a point read is made of: the bare `pread` of an entry, then one thing after the other that a log adds to it, and the
//! journal's own read, in turn, round by round, in one process, out of a log that is in the page cache and far larger than the
//! processor's.
//!
//! ```text
//! cargo bench --bench reads [-- --rounds 15]
//! ```
//!
//! Takes 2 GiB under the system's temporary directory (`TMPDIR`).

#[path = "steps/headers.rs"]
mod headers;
mod steps;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use headers::{BATCH_HEADER_BYTES, ENTRY_HEADER_BYTES};
use raft_journal::{Entry, Journal, LogStore};
use steps::{Plan, file_of_zeros};

const ENTRY_BYTES: u64 = 1024;
const STORED_BYTES: u64 = ENTRY_HEADER_BYTES as u64 + ENTRY_BYTES;
/// Entries of one batch.
const BATCH: u64 = 64;
/// Entries whose places are in one piece of the index.
const PAGE: u64 = 512;

/// The steps, in the order of the table; each has what those before it have.
const STEPS: [&str; 5] = [
    "`pread` of 1 KiB, entries side by side",
    "with headers between them",
    "and a checksum",
    "and the place from an index, 8 bytes an entry",
    "`Journal::entry`",
];

fn main() {
    let plan = Plan::of_arguments();
    let (entries, reads) = if plan.is_quick { (10 * BATCH, 10) } else { (1 << 20, 100_000) };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (bare, journal) = (Bare::new(&dir.path().join("bare"), entries), filled(&dir.path().join("journal"), entries));
    // What is in the newest file, or in a cache of the newest entries, is not read.
    let sealed = entries / 8 * 7;
    (1..=entries).for_each(|index| _ = black_box(journal.entry(index).expect("an entry")));
    plan.run("ns a read", &STEPS, |step, round| {
        let mut random = fastrand::Rng::with_seed(round as u64);
        let begun = Instant::now();
        for _ in 0..reads {
            let at = random.u64(..sealed);
            if step == STEPS.len() - 1 {
                black_box(journal.entry(1 + at).expect("an entry"));
            } else {
                bare.read(step, at);
            }
        }
        begun.elapsed().as_nanos() as f64 / f64::from(reads)
    });
    journal.close().expect("a close in order");
}

/// A journal with so many entries.
fn filled(dir: &Path, entries: u64) -> Journal {
    let journal = Journal::open(dir).expect("a new journal");
    let mut random = fastrand::Rng::with_seed(7);
    for first in (1..=entries).step_by(BATCH as usize) {
        let payload = || std::iter::repeat_with(|| random.u8(..)).take(ENTRY_BYTES as usize).collect::<Vec<u8>>();
        let payloads = std::iter::repeat_with(payload).take(BATCH as usize);
        let batch: Vec<Entry> = (first..).zip(payloads).map(|(index, data)| Entry::new(index, 1, data)).collect();
        drop(journal.append_pending(&batch).expect("an append"));
    }
    journal.sync().expect("a sync");
    journal
}

/// A file of zeros, and where the journal's entries would be in it.
struct Bare {
    file: File,
    index: Vec<Vec<u64>>,
}

impl Bare {
    fn new(path: &Path, entries: u64) -> Bare {
        let file = file_of_zeros(path, packed(entries) + ENTRY_BYTES);
        let page = |number: u64| (number * PAGE..(number + 1) * PAGE).map(packed).collect();
        Bare { file, index: (0..=entries / PAGE).map(page).collect() }
    }

    fn read(&self, step: usize, at: u64) {
        let (offset, bytes) = match step {
            0 => (at * ENTRY_BYTES, ENTRY_BYTES),
            1 | 2 => (packed(at), STORED_BYTES),
            _ => (self.index[(at / PAGE) as usize][(at % PAGE) as usize], STORED_BYTES),
        };
        let mut entry = Vec::with_capacity(bytes as usize);
        assert_eq!(pread(&self.file, &mut entry, offset) as u64, bytes);
        if step >= 2 {
            black_box(crc32fast::hash(&entry));
        }
        black_box(&entry);
    }
}

/// Reads as many bytes as there is room for.
#[cfg(unix)]
fn pread(file: &File, bytes: &mut Vec<u8>, offset: u64) -> usize {
    rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), offset).expect("a read")
}

#[cfg(windows)]
fn pread(file: &File, bytes: &mut Vec<u8>, offset: u64) -> usize {
    bytes.resize(bytes.capacity(), 0);
    std::os::windows::fs::FileExt::seek_read(file, bytes, offset).expect("a read")
}

/// Where an entry's header is if those before it stand behind one another as in a segment.
fn packed(at: u64) -> u64 {
    at * STORED_BYTES + (1 + at / BATCH) * BATCH_HEADER_BYTES as u64
}
