//! What the crate itself takes of the processor where it is called most: on a disk in memory, without a system call.

#[path = "../tests/common/memory_disk.rs"]
mod memory_disk;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memory_disk::MemoryDisk;
use raft_journal::{Entry, Journal, LogStore, OpenOptions};

const SEGMENT_BYTES: u64 = 4 << 20;
/// Entries that reads choose from: their offsets fit the processor's nearer caches.
const ENTRIES: u64 = 10_000;

fn disk() -> (MemoryDisk, OpenOptions) {
    let disk = MemoryDisk::new(|_| {});
    let options = OpenOptions::new().segment_bytes(SEGMENT_BYTES).file_system(Arc::new(disk.clone()));
    (disk, options)
}

fn entries(first: u64, count: u64, bytes: usize) -> Vec<Entry> {
    (first..first + count).map(|index| Entry::new(index, 1, vec![index as u8; bytes])).collect()
}

/// Indexes all over a log, the same in every run.
fn scattered(first: u64, count: u64) -> impl FnMut() -> u64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        first + (state >> 33) % count
    }
}

/// Check, copy, checksum, write into memory, and publish: all of an append but the disk's part.
fn append(criterion: &mut Criterion) {
    for (name, count, bytes) in [("append, 1 x 256 B", 1, 256), ("append, 64 x 1 KiB", 64, 1024)] {
        let (disk, options) = disk();
        let journal = options.open("/journal").unwrap();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(count * bytes as u64));
        group.bench_function("unsynced", |bencher| {
            bencher.iter_custom(|iterations| {
                let (mut took, mut left) = (Duration::ZERO, iterations);
                while left > 0 {
                    let now = left.min(8);
                    left -= now;
                    let first = journal.state().next_index().unwrap_or(1);
                    let batches: Vec<_> = (0..now).map(|at| entries(first + at * count, count, bytes)).collect();
                    let begun = Instant::now();
                    batches.iter().for_each(|batch| drop(journal.append_pending(batch).unwrap()));
                    took += begun.elapsed();
                    // Files are made and used again while nobody looks, and memory does not fill up.
                    disk.run_jobs();
                    if journal.stats().rotations % 4 == 3 {
                        journal.truncate_head(journal.state().last.unwrap()).unwrap();
                        disk.run_jobs();
                    }
                }
                took
            });
        });
        group.finish();
    }
}

/// A journal of entries that are all in sealed segments, or all in the active one, or all in the tail cache.
struct Logs {
    sealed: Journal,
    active: Journal,
    cached: Journal,
}

impl Logs {
    fn of(bytes: usize) -> Logs {
        let (disk, options) = disk();
        let fill = |options: &OpenOptions, dir: &str, count: u64| {
            let journal = options.open(dir).unwrap();
            for first in (1..count).step_by(100) {
                journal.append(&entries(first, 100, bytes)).unwrap();
                disk.run_jobs();
            }
            journal
        };
        let small = options.clone().segment_bytes(256 << 10).tail_cache_bytes(0);
        // So many more that none of the first ones is in the active file.
        let sealed = fill(&small, "/sealed", ENTRIES + (512 << 10) / bytes as u64);
        assert!(sealed.stats().rotations > 1);
        // A young journal's files are small: the one behind a huge batch is not.
        let large = options.clone().segment_bytes(64 << 20).tail_cache_bytes(0);
        let active = large.open("/active").unwrap();
        active.append(&[Entry::new(1, 1, vec![0; 32 << 20])]).unwrap();
        active.replace_tail(&entries(1, 100, bytes)).unwrap();
        let before = active.stats().rotations;
        for first in (101..ENTRIES).step_by(100) {
            active.append(&entries(first, 100, bytes)).unwrap();
        }
        assert_eq!(active.stats().rotations, before);
        let cached = fill(&options.clone().tail_cache_bytes(64 << 20), "/cached", ENTRIES);
        Logs { sealed, active, cached }
    }

    fn each(&self) -> [(&'static str, &Journal); 3] {
        [("sealed", &self.sealed), ("active", &self.active), ("tail cache", &self.cached)]
    }
}

fn read(criterion: &mut Criterion) {
    // Of a tiny entry it is the way to it that costs; of a large one the checksum.
    for (name, bytes) in [("entry, 16 B", 16), ("entry, 4 KiB", 4096)] {
        let logs = Logs::of(bytes);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes as u64));
        for (place, journal) in logs.each() {
            let mut index = scattered(1, ENTRIES);
            group.bench_function(place, |bencher| bencher.iter(|| journal.entry(index()).unwrap()));
        }
        group.finish();
    }
}

fn lookup(criterion: &mut Criterion) {
    let logs = Logs::of(256);
    let mut group = criterion.benchmark_group("term");
    for (place, journal) in [("sealed", &logs.sealed), ("active", &logs.active)] {
        let mut index = scattered(1, ENTRIES);
        group.bench_function(place, |bencher| bencher.iter(|| journal.term(index()).unwrap()));
    }
    group.finish();
    let mut group = criterion.benchmark_group("entries, 64 x 256 B");
    group.throughput(Throughput::Elements(64));
    for (place, journal) in logs.each() {
        let mut index = scattered(1, ENTRIES - 64);
        group.bench_function(place, |bencher| {
            bencher.iter(|| {
                let first = index();
                journal.entries(first..first + 64, u64::MAX).unwrap()
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("state");
    group.bench_function("active", |bencher| bencher.iter(|| logs.active.state()));
    group.finish();
}

/// What each entry is passed through once when it is written, and once when it is read from a file.
fn checksum(criterion: &mut Criterion) {
    for bytes in [256, 1024, 4096] {
        let payload = vec![7; bytes];
        let mut group = criterion.benchmark_group(format!("checksum, {bytes} B"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("crc32fast", |bencher| bencher.iter(|| crc32fast::hash(black_box(&payload))));
        group.finish();
    }
}

criterion_group!(benches, append, read, lookup, checksum);
criterion_main!(benches);
