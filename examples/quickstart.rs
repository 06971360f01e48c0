//! A journal's life in a minute: append, read, replace, truncate, vote, close, reopen, and what each durable step costs
//! beside a bare write and sync of as many bytes.
//!
//! ```text
//! cargo run --release --example quickstart [FILE]
//! ```
//!
//! Every line of FILE becomes an entry, whatever its bytes are. Without a FILE a built-in sample is used.

use std::error::Error;
use std::io::{Seek, SeekFrom, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use raft_journal::{Changes, Entry, Journal, LogStore, Position, StableStore};

type Done<T> = Result<T, Box<dyn Error>>;

const SAMPLE: &str = "\
In the beginning there is one node, and it follows.
It hears from nobody, so it stands for election.
It raises its term and votes for itself.
Both must be on the disk before anybody hears of them.
It asks the others for their votes.
Each of them votes once in a term, and writes it down first.
Those who have the majority lead.
A leader appends what it is asked to do to its log.
It sends the new entries to all who follow.
A follower compares what comes before them.
Where the logs differ, the leader is right.
The follower drops what contradicts, and appends what is new.
It answers only when the disk has it.
What a majority has written down is decided.
Nobody takes a decision back.
The log grows, so now and then the state is drawn as a snapshot.
Then the oldest entries may be forgotten.
Only the last one's term is kept, for the next comparison.
One day the power fails.
Everything that was answered for is found again.
";

/// Lines that are appended one by one; the others go in batches.
const SINGLE_MAX: usize = 100;
const BATCH_LINES: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// How often a step is repeated to measure it.
const ROUNDS: u64 = 9;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Done<()> {
    let (name, lines) = input()?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("journal");
    let mut bench = Bench::new(scratch.path())?;
    let bytes: usize = lines.iter().map(Vec::len).sum();
    println!("{} lines, {} of payload, from {name}\n", lines.len(), size(bytes));
    println!("{:<44}{:>7}{:>11}{:>11}{:>8}", "durable step", "times", "median", "bare", "ratio");

    let journal = Journal::open(&dir)?;
    let entries: Vec<Entry> = (1..).zip(&lines).map(|(index, line)| Entry::new(index, 1, line.clone())).collect();
    append(&mut bench, &journal, &entries)?;
    read_back(&journal, &entries)?;
    change_tail(&mut bench, &journal, &entries)?;
    vote(&mut bench, &journal)?;
    let purged = forget_head(&mut bench, &journal, entries.len() as u64)?;
    reopen(journal, &dir, &entries, purged)
}

/// The lines to append, and where they come from.
fn input() -> Done<(String, Vec<Vec<u8>>)> {
    let mut arguments = std::env::args_os().skip(1);
    let (name, text) = match (arguments.next(), arguments.next()) {
        (None, _) => ("the built-in sample".to_owned(), SAMPLE.as_bytes().to_vec()),
        (Some(path), None) => {
            let name = path.to_string_lossy().into_owned();
            let text = std::fs::read(&path).map_err(|error| format!("cannot read {name}: {error}"))?;
            (name, text)
        }
        (Some(_), Some(_)) => return Err("too many arguments; usage: quickstart [FILE]".into()),
    };
    let mut lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    // What follows the last line break is a line only if there is something.
    lines.pop_if(|last| last.is_empty());
    if lines.is_empty() {
        return Err(format!("{name} has no lines: nothing to append").into());
    }
    Ok((name, lines))
}

/// Every line durable: the first ones alone, the rest in batches.
fn append(bench: &mut Bench, journal: &Journal, entries: &[Entry]) -> Done<()> {
    let (single, rest) = entries.split_at(entries.len().min(SINGLE_MAX));
    for entry in single {
        bench.step(entry.data.len(), || journal.append(std::slice::from_ref(entry)).map(drop))?;
    }
    bench.print("append one line");
    let mut rest = rest;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take(BATCH_LINES).take_while(|entry| {
            bytes += entry.data.len();
            bytes <= BATCH_BYTES
        });
        let (batch, behind) = rest.split_at(fit.count().max(1));
        let bytes = batch.iter().map(|entry| entry.data.len()).sum();
        bench.step(bytes, || journal.append(batch).map(drop))?;
        rest = behind;
    }
    bench.print(&format!("append a batch of up to {BATCH_LINES} lines"));
    Ok(())
}

fn read_back(journal: &Journal, entries: &[Entry]) -> Done<()> {
    let (mut next, end) = (1, entries.len() as u64 + 1);
    while next < end {
        let found = journal.entries(next..end, 1 << 20)?;
        let expected = &entries[next as usize - 1..][..found.len()];
        if found != expected {
            return Err(format!("entries from {next} on are not what was appended").into());
        }
        next += found.len() as u64;
    }
    Ok(())
}

/// What a new leader does to a follower's log: each change leaves the newest line with a higher term, and then the log
/// without it, and then as it was.
fn change_tail(bench: &mut Bench, journal: &Journal, entries: &[Entry]) -> Done<()> {
    let Some(newest) = entries.last() else { return Ok(()) };
    for round in 0..ROUNDS {
        let entry = Entry { term: 2 + round, ..newest.clone() };
        bench.step(entry.data.len(), || journal.replace_tail(&[entry]).map(drop))?;
    }
    bench.print("replace the newest line by another leader's");
    for round in 0..ROUNDS {
        bench.step(0, || journal.truncate_tail(newest.index))?;
        journal.append(&[Entry { term: 2 + ROUNDS + round, ..newest.clone() }])?;
    }
    bench.print("truncate the newest line");
    Ok(())
}

/// Term and vote change in one commit: they never tear apart.
fn vote(bench: &mut Bench, journal: &Journal) -> Done<()> {
    for term in 100..100 + ROUNDS {
        let changes = Changes::new().set_u64("term", term).set("vote", "node-2");
        bench.step(16, || journal.commit(&changes))?;
    }
    bench.print("vote: term and candidate in one commit");
    Ok(())
}

/// What follows a snapshot: up to half of the log is forgotten, in several steps.
fn forget_head(bench: &mut Bench, journal: &Journal, last: u64) -> Done<Option<Position>> {
    let half = last / 2;
    let rounds = ROUNDS.min(half);
    for round in 1..=rounds {
        let index = half * round / rounds;
        bench.step(0, || journal.truncate_head(Position::new(index, 1)))?;
    }
    bench.print("truncate the head up to a snapshot");
    Ok(journal.state().purged)
}

fn reopen(journal: Journal, dir: &std::path::Path, entries: &[Entry], purged: Option<Position>) -> Done<()> {
    journal.close()?;
    let begun = Instant::now();
    let journal = Journal::open(dir)?;
    let took = begun.elapsed();
    let (state, report) = (journal.state(), journal.recovery_report());
    let kept = entries.len() as u64 - purged.map_or(0, |purged| purged.index);
    println!("\nclosed and reopened in {}; {}", time(took), if report.clean { "clean" } else { "not clean" });
    let vote = journal.get(b"vote")?.unwrap_or_default();
    println!("  term {:?}, vote {:?}", journal.get_u64(b"term")?.unwrap_or_default(), String::from_utf8_lossy(&vote));
    if let Some(purged) = state.purged {
        println!("  purged up to {purged}, whose term is still known: {}", journal.term(purged.index)?);
    }
    let (first, last) = (state.first.unwrap_or_default(), state.last.unwrap_or_default());
    println!("  entries {first} to {}, the last one of term {}", last.index, last.term);
    let mut found = 0;
    for expected in &entries[entries.len() - kept as usize..] {
        if journal.entry(expected.index)?.data != expected.data {
            return Err(format!("entry {} is not what was appended", expected.index).into());
        }
        found += 1;
    }
    println!("  all {found} of them read and compared");
    journal.close()?;
    Ok(())
}

/// Times steps, each beside a bare write and sync of as many bytes into a file of zeros.
struct Bench {
    file: std::fs::File,
    at: u64,
    steps: Vec<Duration>,
    bare: Vec<Duration>,
}

impl Bench {
    const FILE_BYTES: usize = 8 << 20;

    fn new(dir: &std::path::Path) -> Done<Bench> {
        let mut file = std::fs::File::create(dir.join("bare"))?;
        file.write_all(&vec![0; Self::FILE_BYTES])?;
        file.sync_all()?;
        Ok(Bench { file, at: 0, steps: Vec::new(), bare: Vec::new() })
    }

    /// Times one step, and right before it what a disk takes for the bytes alone.
    fn step(&mut self, bytes: usize, step: impl FnOnce() -> raft_journal::Result<()>) -> Done<()> {
        // A batch header at least, which a truncation writes as well.
        let written = vec![0x5a; (bytes + 72).min(Self::FILE_BYTES)];
        if self.at + written.len() as u64 > Self::FILE_BYTES as u64 {
            self.at = 0;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let begun = Instant::now();
        self.file.write_all(&written)?;
        self.file.sync_data()?;
        self.bare.push(begun.elapsed());
        self.at += written.len() as u64;
        let begun = Instant::now();
        step()?;
        self.steps.push(begun.elapsed());
        Ok(())
    }

    /// Prints the medians of the steps since the last call.
    fn print(&mut self, what: &str) {
        let (times, steps, bare) = (self.steps.len(), median(&mut self.steps), median(&mut self.bare));
        if let Some((steps, bare)) = steps.zip(bare) {
            let ratio = steps.as_secs_f64() / bare.as_secs_f64();
            println!("{what:<44}{times:>7}{:>11}{:>11}{ratio:>8.2}", time(steps), time(bare));
        }
        self.steps.clear();
        self.bare.clear();
    }
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros < 10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        _ if bytes < 10 << 20 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
