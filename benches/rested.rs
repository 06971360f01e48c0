//! What a disk takes when it, or a file on it, has rested: bare writes and syncs, one right after the other and after a pause, in
//! turn, round by round, in one process. No part of a journal is in it: these are the terms on which calls that come seldom are
//! measured.
//!
//! ```text
//! cargo bench --bench rested [-- --rounds 15]
//! ```
//!
//! Takes 2 MiB under the system's temporary directory (`TMPDIR`), which must be on a disk.

#[path = "steps/pwrite.rs"]
mod pwrite;
mod steps;

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pwrite::pwrite;
use steps::{Plan, file_of_zeros, median};

const FILE_BYTES: u64 = 1 << 20;
const WRITE_BYTES: usize = 256;
/// Between two writes of one sync: not in one page of the cache, as the copies of a commit to `meta` are not.
const APART_BYTES: u64 = 20 << 10;
/// How long a file rests while another one is written to: longer than a tick of any kernel's clock, by which a file's times go.
const FILE_RESTS: Duration = Duration::from_millis(50);
/// How long nobody syncs anything.
const DISK_RESTS: Duration = Duration::from_millis(300);
/// How many syncs later one is looked at again.
const LATER: usize = 500;
/// Syncs that one figure is the median of.
const LOOKED_AT: usize = 5;

const STEPS: [&str; 5] = [
    "a write and a sync, one right after the other",
    "in a file that rested while another one was written to",
    "two writes and a sync in such a file",
    "the first five after 300 ms without a sync",
    "five of them, 500 later",
];

fn main() {
    let plan = Plan::of_arguments();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut busy, mut rested) = (Syncs::new(&dir.path().join("busy")), Syncs::new(&dir.path().join("rested")));
    let later = if plan.is_quick { 1 } else { LATER };
    plan.run("µs", &STEPS, |step, _| match step {
        0 => busy.typical(later),
        1 | 2 => {
            let one = |_| {
                busy.while_another_rests();
                rested.one(step)
            };
            median((0..LOOKED_AT).map(one).collect())
        }
        _ => {
            busy.typical(later);
            sleep(DISK_RESTS);
            if step == 4 {
                busy.typical(later);
            }
            busy.typical(LOOKED_AT)
        }
    });
}

/// A file of zeros that is written to and synced.
struct Syncs {
    file: File,
    at: u64,
}

impl Syncs {
    fn new(path: &Path) -> Syncs {
        Syncs { file: file_of_zeros(path, FILE_BYTES), at: 0 }
    }

    /// So many writes, and a sync; µs.
    fn one(&mut self, writes: usize) -> f64 {
        let begun = Instant::now();
        for _ in 0..writes {
            self.at = (self.at + if writes > 1 { APART_BYTES } else { WRITE_BYTES as u64 }) % FILE_BYTES;
            pwrite(&self.file, &[1; WRITE_BYTES], self.at);
        }
        self.file.sync_data().expect("a sync");
        begun.elapsed().as_nanos() as f64 / 1e3
    }

    /// The median of so many; µs.
    fn typical(&mut self, count: usize) -> f64 {
        median((0..count).map(|_| self.one(1)).collect())
    }

    fn while_another_rests(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < FILE_RESTS {
            self.one(1);
        }
    }
}
