//! Durable appends beside the least that a disk can do for them: a write and a sync of the same payload into a file of
//! zeros. Both in turn, round by round, in one process, so that a drifting disk moves both.
//!
//! ```text
//! cargo bench --bench floor [-- --rounds 15]
//! ```
//!
//! The directory is the system's temporary one (`TMPDIR`): it must be on the disk that is meant, not in memory.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use raft_journal::{Entry, Journal, LogStore};

const FILE_BYTES: usize = 64 << 20;

struct Workload {
    name: &'static str,
    entries: usize,
    entry_bytes: usize,
    appends: usize,
}

const WORKLOADS: [Workload; 2] = [
    Workload { name: "1 entry of 256 B", entries: 1, entry_bytes: 256, appends: 400 },
    Workload { name: "64 entries of 1 KiB", entries: 64, entry_bytes: 1024, appends: 200 },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` calls a bench without `--bench`: then only see that it works.
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let asked = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
    let rounds = asked.map_or(if quick { 1 } else { 9 }, |rounds| rounds.parse().expect("a number of rounds"));
    println!("medians of {rounds} rounds; ratios pair by pair, lowest and highest round in brackets\n");
    println!("| a durable append of | floor p50 | journal p50 | p50 ratio | p99 ratio |");
    println!("|---|---|---|---|---|");
    for workload in &WORKLOADS {
        let appends = if quick { 3 } else { workload.appends };
        run(workload, appends, rounds);
    }
}

fn run(workload: &Workload, appends: usize, rounds: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut floor = Floor::new(&dir.path().join("floor"));
    let journal = Journal::open(dir.path().join("journal")).expect("a new journal");
    let payload = payload(workload.entries * workload.entry_bytes);
    let (mut floors, mut journals) = (Vec::new(), Vec::new());
    // One round more than counted: the first one warms up.
    for round in 0..=rounds {
        let mut pair = [None, None];
        for turn in [round % 2, (round + 1) % 2] {
            let times = match turn {
                0 => (0..appends).map(|_| floor.append(&payload)).collect(),
                _ => append(&journal, workload, &payload, appends),
            };
            pair[turn] = Some(Percentiles::of(times));
        }
        if let ([Some(floor), Some(journal)], true) = (pair, round > 0) {
            floors.push(floor);
            journals.push(journal);
        }
    }
    journal.close().expect("a close in order");
    let ratio = |of: fn(&Percentiles) -> Duration| {
        let mut ratios: Vec<f64> =
            floors.iter().zip(&journals).map(|(floor, journal)| of(journal).div_duration_f64(of(floor))).collect();
        ratios.sort_by(f64::total_cmp);
        format!("{:.2} ({:.2}–{:.2})", ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1])
    };
    let median = |percentiles: &[Percentiles]| {
        let mut all: Vec<Duration> = percentiles.iter().map(|percentiles| percentiles.p50).collect();
        all.sort_unstable();
        all[all.len() / 2].as_micros()
    };
    println!(
        "| {} | {} µs | {} µs | {} | {} |",
        workload.name,
        median(&floors),
        median(&journals),
        ratio(|percentiles| percentiles.p50),
        ratio(|percentiles| percentiles.p99),
    );
}

#[derive(Clone, Copy)]
struct Percentiles {
    p50: Duration,
    p99: Duration,
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Percentiles {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        Percentiles { p50: at(50), p99: at(99) }
    }
}

fn append(journal: &Journal, workload: &Workload, payload: &[u8], appends: usize) -> Vec<Duration> {
    let mut next = journal.state().next_index().unwrap_or(1);
    let mut times = Vec::with_capacity(appends);
    for _ in 0..appends {
        let chunks = payload.chunks(workload.entry_bytes);
        let batch: Vec<Entry> = (next..).zip(chunks).map(|(index, data)| Entry::new(index, 1, data.to_vec())).collect();
        let begun = Instant::now();
        let last = journal.append(&batch).expect("an append");
        times.push(begun.elapsed());
        next = last.index + 1;
    }
    // As a node does behind a snapshot: the head goes, and files are used again.
    let last = journal.state().last.expect("entries");
    journal.truncate_head(last).expect("a head truncation");
    times
}

/// A file of zeros that is written from its start to its end, and again.
struct Floor {
    file: File,
    at: u64,
}

impl Floor {
    fn new(path: &Path) -> Floor {
        let mut file = File::create(path).expect("a file");
        // In pieces, as the journal's files are filled: how a file was filled shows in the cache's folios.
        let zeros = vec![0; 256 << 10];
        (0..FILE_BYTES / zeros.len()).for_each(|_| file.write_all(&zeros).expect("zeros"));
        file.sync_all().expect("a sync");
        Floor { file, at: 0 }
    }

    fn append(&mut self, payload: &[u8]) -> Duration {
        if self.at + payload.len() as u64 > FILE_BYTES as u64 {
            self.at = 0;
        }
        self.file.seek(SeekFrom::Start(self.at)).expect("a place");
        let begun = Instant::now();
        self.file.write_all(payload).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += payload.len() as u64;
        begun.elapsed()
    }
}

/// Half random bytes, half words.
fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = [b"leader ", b"follow ", b"entry  ", b"commit "];
    let mut out = Vec::with_capacity(bytes + 16);
    while out.len() < bytes {
        out.extend_from_slice(&random().to_le_bytes());
        out.extend_from_slice(words[(random() % 4) as usize]);
        out.push(b' ');
    }
    out.truncate(bytes);
    out
}
