//! What an append that nobody waits for is made of: the bare `pwrite` of its bytes, then one thing after the other that a log
//! adds to it, and the journal's own append, in turn, round by round, in one process.
//!
//! ```text
//! cargo bench --bench writes [-- --rounds 15]
//! ```
//!
//! Where the platform has it, the time is the calling thread's processor time: an append may wait for a file, which is none of its
//! own. Takes 300 MiB under the system's temporary directory (`TMPDIR`).

#[path = "steps/headers.rs"]
mod headers;
#[path = "steps/pwrite.rs"]
mod pwrite;
mod steps;

use std::collections::VecDeque;
use std::fs::File;
use std::hint::black_box;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;

use headers::{BATCH_HEADER_BYTES, ENTRY_HEADER_BYTES};
use pwrite::pwrite;
use raft_journal::{Entry, Journal, LogStore};
use steps::{Plan, file_of_zeros};

const ENTRY_BYTES: usize = 1024;
/// Entries of one batch.
const BATCH: u64 = 64;
/// Batches that are ready before the clock starts: new, and in the processor's caches.
const GROUP: u64 = 4;
/// Groups between two syncs, which are not timed.
const SYNC_GROUPS: u64 = 64;
/// Where the bare writes begin again.
const RING_BYTES: u64 = 64 << 20;

/// The steps, in the order of the table.
const STEPS: [&str; 8] = [
    "`pwrite` of 64 × 1 KiB that lie side by side",
    "copied there first, after headers, into one buffer, which stays near",
    "into one of 16 buffers in turn, as a cache of the newest entries has it",
    "and a checksum for each entry, right after its copy",
    "and that after the next entry's copy",
    "without a copy: headers and payloads from where they lie, one `pwritev`",
    "and a checksum for each entry",
    "`LogStore::append_pending`",
];
/// What is bare of them.
const BARE: [Bytes; 7] = [
    Bytes::SideBySide,
    Bytes::Copied { buffers: 1, lag: None },
    Bytes::Copied { buffers: 16, lag: None },
    Bytes::Copied { buffers: 16, lag: Some(0) },
    Bytes::Copied { buffers: 16, lag: Some(1) },
    Bytes::InPlace { is_checked: false },
    Bytes::InPlace { is_checked: true },
];

/// Where the bytes of a batch are when they are written.
#[derive(Clone, Copy)]
enum Bytes {
    /// Together, before the clock starts.
    SideBySide,
    /// In one of so many buffers in turn. Each entry's checksum, if any, is taken so many copies behind its own.
    Copied { buffers: usize, lag: Option<usize> },
    /// Where the caller has them.
    InPlace { is_checked: bool },
}

fn main() {
    let plan = Plan::of_arguments();
    let groups = if plan.is_quick { 1 } else { 8 * SYNC_GROUPS };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut bare = Bare::new(&dir.path().join("bare"), if plan.is_quick { 1 << 20 } else { RING_BYTES });
    let journal = Journal::open(dir.path().join("journal")).expect("a new journal");
    let mut payloads = Payloads::new();
    let mut next = 1;
    plan.run("ns an entry", &STEPS, |step, _| {
        let mut took = 0.0;
        for group in 1..=groups {
            let batches: Vec<Vec<Entry>> = (0..GROUP).map(|number| payloads.entries(next + number * BATCH)).collect();
            took += match BARE.get(step) {
                None => {
                    next += GROUP * BATCH;
                    timed(|| batches.iter().for_each(|batch| drop(journal.append_pending(batch).expect("an append"))))
                }
                Some(Bytes::SideBySide) => {
                    let side_by_side: Vec<Vec<u8>> = batches.iter().map(|batch| joined(batch)).collect();
                    timed(|| side_by_side.iter().for_each(|bytes| bare.write(bytes)))
                }
                Some(&Bytes::Copied { buffers, lag }) => {
                    timed(|| batches.iter().for_each(|batch| bare.encode(batch, buffers, lag)))
                }
                Some(&Bytes::InPlace { is_checked }) => {
                    timed(|| batches.iter().for_each(|batch| bare.write_in_place(batch, is_checked)))
                }
            };
            if group % SYNC_GROUPS == 0 {
                bare.file.sync_data().expect("a sync");
                journal.sync().expect("a sync");
            }
        }
        if step == BARE.len() {
            // A log does not grow for ever.
            let last = journal.state().last.expect("entries");
            journal.truncate_head(last).expect("a truncation");
        }
        took / (groups * GROUP * BATCH) as f64
    });
    journal.close().expect("a close in order");
}

/// What a call takes of the calling thread, nanoseconds.
fn timed(call: impl FnOnce()) -> f64 {
    let begun = now();
    call();
    now() - begun
}

#[cfg(target_os = "linux")]
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[cfg(not(target_os = "linux"))]
fn now() -> f64 {
    static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    FIRST.elapsed().as_nanos() as f64
}

/// Payloads, each new and from another place of a pool than the one before.
struct Payloads {
    pool: Vec<u8>,
    at: usize,
}

impl Payloads {
    fn new() -> Payloads {
        let mut random = fastrand::Rng::with_seed(7);
        Payloads { pool: std::iter::repeat_with(|| random.u8(..)).take(4 << 20).collect(), at: 0 }
    }

    /// A batch's.
    fn entries(&mut self, first: u64) -> Vec<Entry> {
        let mut entry = |index| {
            self.at = (self.at + ENTRY_BYTES) % self.pool.len();
            Entry::new(index, 1, self.pool[self.at..self.at + ENTRY_BYTES].to_vec())
        };
        (first..first + BATCH).map(&mut entry).collect()
    }
}

fn joined(batch: &[Entry]) -> Vec<u8> {
    batch.iter().flat_map(|entry| entry.data.iter().copied()).collect()
}

/// A file of zeros that is written to again and again, and the buffers for that.
struct Bare {
    file: File,
    bytes: u64,
    at: u64,
    buffers: Vec<Vec<u8>>,
    turn: usize,
}

impl Bare {
    fn new(path: &Path, bytes: u64) -> Bare {
        let file = file_of_zeros(path, bytes);
        Bare { file, bytes, at: 0, buffers: vec![Vec::new(); 16], turn: 0 }
    }

    /// Where so many bytes go.
    fn place(&mut self, bytes: usize) -> u64 {
        let start = if self.at + bytes as u64 > self.bytes { 0 } else { self.at };
        self.at = start + bytes as u64;
        start
    }

    fn write(&mut self, bytes: &[u8]) {
        let offset = self.place(bytes.len());
        pwrite(&self.file, bytes, offset);
    }

    /// Copies a batch behind headers into a buffer, and writes that.
    fn encode(&mut self, batch: &[Entry], buffers: usize, lag: Option<usize>) {
        self.turn = (self.turn + 1) % buffers;
        let mut buffer = std::mem::take(&mut self.buffers[self.turn]);
        buffer.clear();
        buffer.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
        let mut unchecked = VecDeque::new();
        let check = |place: Range<usize>, buffer: &[u8]| _ = black_box(crc32fast::hash(&buffer[place]));
        for entry in batch {
            let start = buffer.len();
            buffer.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
            buffer.extend_from_slice(&entry.data);
            if let Some(lag) = lag {
                unchecked.push_back(start..buffer.len());
                if unchecked.len() > lag {
                    unchecked.pop_front().into_iter().for_each(|place| check(place, &buffer));
                }
            }
        }
        unchecked.into_iter().for_each(|place| check(place, &buffer));
        self.write(&buffer);
        self.buffers[self.turn] = buffer;
    }

    /// Writes a batch from where its payloads lie, with headers between them.
    fn write_in_place(&mut self, batch: &[Entry], is_checked: bool) {
        let headers = [0; BATCH_HEADER_BYTES + BATCH as usize * ENTRY_HEADER_BYTES];
        let (first, rest) = headers.split_at(BATCH_HEADER_BYTES);
        let mut slices = Vec::with_capacity(1 + 2 * batch.len());
        slices.push(IoSlice::new(first));
        for (entry, header) in batch.iter().zip(rest.chunks(ENTRY_HEADER_BYTES)) {
            if is_checked {
                black_box(crc32fast::hash(&entry.data));
            }
            slices.extend([IoSlice::new(header), IoSlice::new(&entry.data)]);
        }
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        let offset = self.place(bytes);
        pwritev(&self.file, &slices, offset, bytes);
    }
}

#[cfg(target_os = "linux")]
fn pwritev(file: &File, slices: &[IoSlice<'_>], offset: u64, bytes: usize) {
    assert_eq!(rustix::io::pwritev(file, slices, offset).expect("a write"), bytes);
}

/// Where it is one call for each slice, these steps say little.
#[cfg(not(target_os = "linux"))]
fn pwritev(file: &File, slices: &[IoSlice<'_>], offset: u64, _bytes: usize) {
    let mut at = offset;
    for slice in slices {
        pwrite(file, slice, at);
        at += slice.len() as u64;
    }
}
