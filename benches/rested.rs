//! What the disk and the memory take when they have rested: bare writes and syncs, and touches of memory, right behind others of
//! their kind and behind a pause, in turn, round by round, in one process. No part of a journal is in it: these are the terms on which
//! calls that come seldom are measured.
//!
//! ```text
//! cargo bench --bench rested [-- --rounds 15]
//! ```
//!
//! Takes 2 MiB under the system's temporary directory (`TMPDIR`).

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
/// How long a file rests while another one is written to: longer than a tick of any kernel's clock, by which a file's times go.
const FILE_RESTS: Duration = Duration::from_millis(50);
/// How long nobody syncs anything.
const DISK_RESTS: Duration = Duration::from_millis(300);
/// How far behind that pause a sync is looked at.
const LATER: usize = 500;
/// Syncs that one figure is the median of.
const LOOKED_AT: usize = 5;
const PAGE_BYTES: usize = 4096;
const PAGES: usize = 600;
/// How long pages are not touched.
const MEMORY_RESTS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_millis(2000)];

const DISK_STEPS: [&str; 5] = [
    "a write and a sync, right behind another one",
    "in a file that rested while another one was written to",
    "two writes and a sync in such a file",
    "a write and a sync behind 300 ms without one",
    "500 of them later",
];
const MEMORY_STEPS: [&str; 3] = ["a page that was touched 50 ms before", "500 ms before", "2 s before"];

fn main() {
    let plan = Plan::of_arguments();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut busy, mut rested) = (Syncs::new(&dir.path().join("busy")), Syncs::new(&dir.path().join("rested")));
    let later = if plan.is_quick { 1 } else { LATER };
    plan.run("µs", &DISK_STEPS, |step, _| match step {
        0 => busy.some(later).typical(),
        1 | 2 => {
            let one = |_| {
                busy.while_another_rests();
                rested.one(step)
            };
            median((0..LOOKED_AT).map(one).collect())
        }
        _ => {
            busy.some(later);
            sleep(DISK_RESTS);
            if step == 4 {
                busy.some(later);
            }
            busy.some(LOOKED_AT).typical()
        }
    });
    println!();
    let mut pages = vec![1; if plan.is_quick { 1 } else { PAGES } * PAGE_BYTES];
    plan.run("ns, the mean of 600", &MEMORY_STEPS, |step, _| {
        touch(&mut pages);
        sleep(MEMORY_RESTS[step]);
        touch(&mut pages)
    });
}

/// Touches each page, by itself; nanoseconds a page.
fn touch(pages: &mut [u8]) -> f64 {
    let begun = Instant::now();
    // From place to place, so that no page is fetched because the one before it was.
    let count = pages.len() / PAGE_BYTES;
    for at in (0..count).map(|at| at * 7 % count) {
        pages[at * PAGE_BYTES] = pages[at * PAGE_BYTES].wrapping_add(1);
    }
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// A file of zeros that is written to and synced.
struct Syncs {
    file: File,
    at: u64,
}

/// What syncs took, µs.
struct Took(Vec<f64>);

impl Took {
    fn typical(self) -> f64 {
        median(self.0)
    }
}

impl Syncs {
    fn new(path: &Path) -> Syncs {
        Syncs { file: file_of_zeros(path, FILE_BYTES), at: 0 }
    }

    /// So many writes in places of their own, and a sync; µs.
    fn one(&mut self, writes: usize) -> f64 {
        let begun = Instant::now();
        for _ in 0..writes {
            self.at = (self.at + WRITE_BYTES as u64) % FILE_BYTES;
            pwrite(&self.file, &[1; WRITE_BYTES], self.at);
        }
        self.file.sync_data().expect("a sync");
        begun.elapsed().as_nanos() as f64 / 1e3
    }

    fn some(&mut self, count: usize) -> Took {
        Took((0..count).map(|_| self.one(1)).collect())
    }

    fn while_another_rests(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < FILE_RESTS {
            self.one(1);
        }
    }
}
