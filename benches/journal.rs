//! The journal's everyday calls, each beside its floor: what the operating system takes for the bytes alone.
//!
//! Contestants run one after the other; for durable appends pair by pair see `floor`.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raft_journal::{Entry, Journal, LogStore, OpenOptions};

const ENTRY_BYTES: usize = 1024;
const ENTRIES: u64 = 20_000;
const RANGE: u64 = 1024;

fn entries(first: u64, count: usize, bytes: usize) -> Vec<Entry> {
    (first..).take(count).map(|index| Entry::new(index, 1, vec![index as u8 | 1; bytes])).collect()
}

fn zeros(path: &Path, bytes: usize) -> File {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(&vec![0; bytes]).unwrap();
    file.sync_all().unwrap();
    file
}

/// Indexes all over the log, the same in every run.
fn scattered() -> impl FnMut() -> u64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) % ENTRIES
    }
}

fn durable_append(criterion: &mut Criterion) {
    const FILE_BYTES: usize = 64 << 20;
    for (name, count, bytes) in [("durable append, 1 x 256 B", 1, 256), ("durable append, 64 x 1 KiB", 64, 1024)] {
        let dir = tempfile::tempdir().unwrap();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes((count * bytes) as u64));
        let (mut file, payload, mut at) = (zeros(&dir.path().join("floor"), FILE_BYTES), vec![7; count * bytes], 0);
        group.bench_function("floor", |bencher| {
            bencher.iter(|| {
                at = if at + payload.len() > FILE_BYTES { 0 } else { at };
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                file.write_all(&payload).unwrap();
                file.sync_data().unwrap();
                at += payload.len();
            });
        });
        let journal = Journal::open(dir.path().join("journal")).unwrap();
        group.bench_function("journal", |bencher| {
            bencher.iter_batched(
                || entries(journal.state().next_index().unwrap_or(1), count, bytes),
                |batch| journal.append(&batch).unwrap(),
                // One batch at a time: each must follow the one before.
                criterion::BatchSize::PerIteration,
            );
            // Not a gigabyte of log behind every bench.
            journal.truncate_head(journal.state().last.unwrap()).unwrap();
        });
        group.finish();
        journal.close().unwrap();
    }
}

/// A closed journal of many entries.
fn fill(dir: &Path) {
    let journal = OpenOptions::new().segment_bytes(8 << 20).open(dir).unwrap();
    let mut next = 1;
    while next <= ENTRIES {
        let count = (ENTRIES + 1 - next).min(500) as usize;
        let pending = journal.append_pending(&entries(next, count, ENTRY_BYTES)).unwrap();
        next = pending.position().index + 1;
    }
    journal.sync().unwrap();
    journal.close().unwrap();
}

fn read(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    fill(&path);
    // Without the tail cache: every read goes to the page cache, as the floor's.
    let journal = OpenOptions::new().segment_bytes(8 << 20).tail_cache_bytes(0).open(&path).unwrap();
    let mut file = zeros(&dir.path().join("floor"), ENTRIES as usize * ENTRY_BYTES);

    let mut group = criterion.benchmark_group("point read, 1 KiB");
    let mut index = scattered();
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            let mut bytes = vec![0; ENTRY_BYTES];
            file.seek(SeekFrom::Start((index() - 1) * ENTRY_BYTES as u64)).unwrap();
            file.read_exact(&mut bytes).unwrap();
            black_box(bytes)
        });
    });
    let mut index = scattered();
    group.bench_function("journal", |bencher| bencher.iter(|| journal.entry(index()).unwrap()));
    group.finish();

    let mut group = criterion.benchmark_group("range read, 1024 x 1 KiB");
    group.throughput(Throughput::Elements(RANGE));
    let mut index = scattered();
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            let first = index().min(ENTRIES - RANGE) - 1;
            file.seek(SeekFrom::Start(first * ENTRY_BYTES as u64)).unwrap();
            let mut window = vec![0; 64 << 10];
            let mut found = Vec::with_capacity(RANGE as usize);
            while found.len() < RANGE as usize {
                file.read_exact(&mut window).unwrap();
                found.extend(window.chunks(ENTRY_BYTES).map(<[u8]>::to_vec));
            }
            black_box(found)
        });
    });
    let mut index = scattered();
    group.bench_function("journal", |bencher| {
        bencher.iter(|| {
            let first = index().min(ENTRIES - RANGE);
            let found = journal.entries(first..first + RANGE, u64::MAX).unwrap();
            assert_eq!(found.len() as u64, RANGE);
            found
        });
    });
    group.finish();
    journal.close().unwrap();
}

fn open(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    fill(&path);
    let mut group = criterion.benchmark_group("open, 20 MiB in files of up to 8 MiB");
    group.sample_size(20);
    group.bench_function("floor: both ends of each file", |bencher| {
        bencher.iter(|| {
            for entry in fs::read_dir(&path).unwrap() {
                let mut file = File::open(entry.unwrap().path()).unwrap();
                let mut bytes = [0; 4096];
                let end = file.metadata().unwrap().len().saturating_sub(bytes.len() as u64);
                for place in [0, end] {
                    file.seek(SeekFrom::Start(place)).unwrap();
                    black_box(file.read(&mut bytes).unwrap());
                }
            }
        });
    });
    group.bench_function("journal, closed in order", |bencher| {
        bencher.iter(|| OpenOptions::new().segment_bytes(8 << 20).open(&path).unwrap().close().unwrap());
    });
    group.bench_function("journal, read-only", |bencher| {
        bencher.iter(|| OpenOptions::new().read_only(true).open(&path).unwrap());
    });
    group.finish();
}

criterion_group!(benches, durable_append, read, open);
criterion_main!(benches);
