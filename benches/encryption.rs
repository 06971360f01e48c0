//! What encryption costs: the same calls on a journal with keys and on one without, in turn, round by round, in one
//! process: on the disk under the temporary directory, and on a disk in memory, where what is timed is the crate's own.
//!
//! ```text
//! cargo bench --bench encryption --features encryption [-- --rounds 15]
//! ```

#[path = "../tests/common/memory_disk.rs"]
mod memory_disk;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memory_disk::MemoryDisk;
use raft_journal::{Entry, Journal, Key, KeyRing, LogStore, OpenOptions, StableStore};

/// Entries that are read: all in sealed segments.
const ENTRIES: u64 = 4000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` calls a bench without `--bench`: then only see that it works.
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let asked = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
    let rounds = asked.map_or(if quick { 1 } else { 15 }, |rounds| rounds.parse().expect("a number of rounds"));
    let times = if quick { 2 } else { 300 };
    println!("{rounds} rounds: the quickest of each, and the median of the ratios pair by pair\n");
    println!("| | plain, quickest | encrypted beside it, quickest | median |");
    println!("|---|---|---|---|");
    durable(rounds, times);
    reads_on_disk(rounds, times);
    for (name, count, bytes) in [("append, 1 x 256 B", 1, 256), ("append, 64 x 1 KiB", 64, 1024)] {
        let mut journals = pair(|options| Appended::new(options, count, bytes));
        compare(&format!("{name}, not yet durable"), rounds, |at| journals[at].run(times));
    }
    for bytes in [256, 1024] {
        let journals = pair(|(disk, options)| filled(&options, "/journal".as_ref(), bytes, || _ = disk.run_jobs()));
        reads(&format!("{bytes} B"), &journals, rounds, times);
    }
}

fn keys() -> Arc<KeyRing> {
    Arc::new(KeyRing::new(1, Key::new([7; 32])))
}

/// The same with plain options and with encrypting ones.
fn both<T>(mut make: impl FnMut(&str, OpenOptions) -> T) -> [T; 2] {
    [make("plain", OpenOptions::new()), make("encrypted", OpenOptions::new().encryption(keys()))]
}

/// The same, each on a disk of its own in memory.
fn pair<T>(make: impl Fn((MemoryDisk, OpenOptions)) -> T) -> [T; 2] {
    both(|_, options| {
        let disk = MemoryDisk::new(|_| {});
        make((disk.clone(), options.segment_bytes(4 << 20).file_system(Arc::new(disk))))
    })
}

/// Times both in turn, and prints a row.
fn compare(name: &str, rounds: usize, mut time: impl FnMut(usize) -> Duration) {
    let mut taken = Vec::new();
    // One round more than counted: the first one warms up.
    for round in 0..=rounds {
        let mut pair = [Duration::ZERO; 2];
        for at in [round % 2, (round + 1) % 2] {
            pair[at] = time(at);
        }
        taken.push(pair);
    }
    let quickest = |at: usize| taken[1..].iter().map(|pair| pair[at]).min().unwrap_or_default();
    let mut ratios: Vec<f64> = taken[1..].iter().map(|pair| pair[1].div_duration_f64(pair[0])).collect();
    ratios.sort_by(f64::total_cmp);
    let (plain, encrypted) = (quickest(0), quickest(1));
    println!("| {name} | {plain:?} | {:.2} | {:.2} |", encrypted.div_duration_f64(plain), ratios[rounds / 2]);
}

/// Durable appends and votes, on the disk under the temporary directory.
fn durable(rounds: usize, times: u64) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let journals = both(|name, options| options.open(temporary.path().join(name)).expect("a new journal"));
    let median = |mut calls: Vec<Duration>| {
        calls.sort_unstable();
        calls[calls.len() / 2]
    };
    for (name, count, bytes) in [("1 x 256 B", 1, 256), ("64 x 1 KiB", 64, 1024)] {
        compare(&format!("append, {name}, durable, p50"), rounds, |at| {
            let append = |_| {
                let batch = batch(journals[at].state().next_index().unwrap_or(1), count, bytes);
                let begun = Instant::now();
                journals[at].append(&batch).expect("an append");
                begun.elapsed()
            };
            median((0..times).map(append).collect())
        });
    }
    // Into the page cache; synced behind each round.
    compare("append, 64 x 1 KiB, not yet durable, on the disk", rounds, |at| {
        let append = |_| {
            let batch = batch(journals[at].state().next_index().unwrap_or(1), 64, 1024);
            let begun = Instant::now();
            drop(journals[at].append_pending(&batch).expect("an append"));
            begun.elapsed()
        };
        let median = median((0..times.div_ceil(4)).map(append).collect());
        journals[at].sync().expect("a sync");
        median
    });
    // With what is done in the background: syncs, and the next files.
    #[cfg(unix)]
    compare("append, 64 x 1 KiB, not yet durable, processor time of all threads", rounds, |at| {
        let first = journals[at].state().next_index().unwrap_or(1);
        let batches: Vec<_> = (0..times).map(|number| batch(first + 64 * number, 64, 1024)).collect();
        let begun = processor_time();
        batches.iter().for_each(|batch| drop(journals[at].append_pending(batch).expect("an append")));
        journals[at].sync().expect("a sync");
        std::thread::sleep(Duration::from_millis(50));
        (processor_time() - begun) / times as u32
    });
    compare("append, 1 x 256 B, durable, 16 threads, an append", rounds, |at| {
        let begun = Instant::now();
        let turn = Mutex::new(());
        let append = || {
            let pending = {
                let _turn = turn.lock().expect("nobody panicked");
                let next = journals[at].state().next_index().unwrap_or(1);
                journals[at].append_pending(&batch(next, 1, 256)).expect("an append")
            };
            pending.wait().expect("a sync");
        };
        std::thread::scope(|scope| (0..16).for_each(|_| _ = scope.spawn(|| (0..times).for_each(|_| append()))));
        begun.elapsed() / (16 * times) as u32
    });
    compare("set, durable, p50", rounds, |at| {
        let set = |term| {
            let begun = Instant::now();
            journals[at].set_u64(b"term", term).expect("a commit");
            begun.elapsed()
        };
        median((0..times).map(set).collect())
    });
}

/// The processor time of the whole process so far.
#[cfg(unix)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// So many entries from an index on.
fn batch(first: u64, count: u64, bytes: usize) -> Vec<Entry> {
    (first..first + count).map(|index| Entry::new(index, 1, vec![index as u8; bytes])).collect()
}

/// A journal that is appended to again and again.
struct Appended {
    disk: MemoryDisk,
    journal: Journal,
    count: u64,
    bytes: usize,
}

impl Appended {
    fn new((disk, options): (MemoryDisk, OpenOptions), count: u64, bytes: usize) -> Appended {
        Appended { disk, journal: options.open("/journal").expect("a new journal"), count, bytes }
    }

    /// How long an append takes.
    fn run(&mut self, times: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            let first = self.journal.state().next_index().unwrap_or(1);
            let batch = batch(first, self.count, self.bytes);
            let begun = Instant::now();
            drop(self.journal.append_pending(&batch).expect("an append"));
            took += begun.elapsed();
            // Files are made and used again while nobody looks, and memory does not fill up.
            self.disk.run_jobs();
            if self.journal.stats().rotations % 4 == 3 {
                self.journal.truncate_head(self.journal.state().last.expect("an entry")).expect("a commit");
                self.disk.run_jobs();
            }
        }
        took / times as u32
    }
}

/// A journal whose first entries are all in sealed segments, and in no cache.
fn filled(options: &OpenOptions, dir: &Path, bytes: usize, rest: impl Fn()) -> Journal {
    let options = options.clone().segment_bytes(256 << 10).tail_cache_bytes(0);
    let journal = options.open(dir).expect("a new journal");
    for first in (1..2 * ENTRIES + (1 << 20) / bytes as u64).step_by(100) {
        journal.append(&batch(first, 100, bytes)).expect("an append");
        rest();
    }
    journal
}

/// Reads of what is in the system's page cache, by one thread, and by four beside one that appends.
fn reads_on_disk(rounds: usize, times: u64) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let journals = both(|name, options| filled(&options, &temporary.path().join(name), 1024, || ()));
    reads("1024 B, on the disk", &journals, rounds, times);
    compare("point read, 1024 B, on the disk, four readers beside a writer", rounds, |at| {
        let (journal, readers_left) = (&journals[at], AtomicUsize::new(4));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while readers_left.load(Ordering::Relaxed) > 0 {
                    let next = journal.state().next_index().unwrap_or(1);
                    journal.append(&batch(next, 1, 256)).expect("an append");
                }
            });
            let read = |_| {
                let begun = Instant::now();
                read_scattered(journal, 10 * times);
                readers_left.fetch_sub(1, Ordering::Relaxed);
                begun.elapsed()
            };
            let readers: Vec<_> = (0..4).map(|reader| scope.spawn(move || read(reader))).collect();
            let took = readers.into_iter().map(|reader| reader.join().expect("nobody panics")).max();
            took.unwrap_or_default() / (40 * times) as u32
        })
    });
}

/// Point reads all over the sealed segments, and a scan of them.
fn reads(what: &str, journals: &[Journal; 2], rounds: usize, times: u64) {
    compare(&format!("point read, {what}"), rounds, |at| {
        let begun = Instant::now();
        read_scattered(&journals[at], 10 * times);
        begun.elapsed() / (10 * times) as u32
    });
    compare(&format!("scan, {what}, an entry"), rounds, |at| {
        let begun = Instant::now();
        (1..ENTRIES).step_by(500).for_each(|index| drop(journals[at].entries(index..index + 500, u64::MAX)));
        begun.elapsed() / ENTRIES as u32
    });
}

fn read_scattered(journal: &Journal, times: u64) {
    scattered().take(times as usize).for_each(|index| drop(journal.entry(index).expect("an entry")));
}

/// Indexes all over a log, the same in every run.
fn scattered() -> impl Iterator<Item = u64> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) % ENTRIES
    })
}
