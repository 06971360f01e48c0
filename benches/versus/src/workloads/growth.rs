//! `growth`: what changes, and what does not, while raft-journal's log grows.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::truncate::{drop_few, drop_oldest, newest};
use super::{Stage, utf8};
use crate::child;
use crate::contestant::{Ability, Contestant, Tuning, When};
use crate::contestants;
use crate::measure::{Times, process_status};
use crate::payload::{Payloads, Random};
use crate::report::thousands;
use crate::result::{Column, Figures, Metric, Table, metric};
use crate::rounds::progress_bar;
use crate::series::Series;
use crate::subject::Subject;

const ENTRY_BYTES: usize = 256;
/// Reads stay within so many of the oldest entries, whose index fits the index cache.
const READ_WINDOW: u64 = 1_000_000;

const APPEND: &str = "durable append (W1, p50)";
const READ: &str = "read within the index cache (W5)";
const OPEN: &str = "open after a clean close (W7)";
const OPEN_MEMORY: &str = "memory after opening";
const MEMORY: &str = "memory after appends and reads";
const NEWEST: &str = "drop the newest 10 (W8)";
const NEWER_HALF: &str = "drop the newer half (W8)";
const OLDER_HALF: &str = "drop the older half (W8)";

const METRICS: &[Metric] = &[
    metric(APPEND, "µs", Ability::Append),
    metric(READ, "ns", Ability::Read),
    metric(OPEN, "ms", Ability::Reopen),
    metric(NEWEST, "µs", Ability::TruncateTail),
    metric(NEWER_HALF, "µs", Ability::TruncateTail),
    metric(OLDER_HALF, "µs", Ability::TruncateHead),
    metric(OPEN_MEMORY, "MiB", Ability::Reopen),
    metric(MEMORY, "MiB", Ability::Reopen),
];

/// What a child is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Task {
    dir: String,
    /// The oldest index.
    first: u64,
    /// The next index.
    next: u64,
    appends: u64,
    reads: u64,
    truncations: u64,
}

/// What a child did.
#[derive(Serialize, Deserialize)]
pub struct Grown {
    first: u64,
    next: u64,
    figures: Vec<(String, f64)>,
}

fn journal() -> Result<&'static dyn Contestant> {
    contestants::named("raft-journal").context("there is no raft-journal")
}

/// Fills logs of all sizes, and has a process of its own measure each of them, round by round.
///
/// # Errors
///
/// The journal's.
pub fn run(stage: &Stage, rounds: usize) -> Result<Series> {
    let sizes = stage.plan.growth.clone();
    let progress = progress_bar("growth", (sizes.len() * (rounds + 2)) as u64)?;
    let mut columns = Vec::new();
    for &size in &sizes {
        progress.set_message(format!("{size} entries"));
        let dir = stage.fresh_dir("growth")?;
        let mut rounds_of_size = Vec::new();
        let (mut first, mut next) = (1, 1);
        for round in 0..=rounds {
            next = fill(&dir, next, first + size)?;
            rustix::fs::sync();
            progress.inc(1);
            let grown = ask(stage, &dir, first, next)?;
            (first, next) = (grown.first, grown.next);
            if round > 0 {
                rounds_of_size.push(figures(&grown));
            }
        }
        progress.inc(1);
        columns.push(Column { name: thousands(size), rounds: rounds_of_size });
        std::fs::remove_dir_all(&dir)?;
    }
    progress.finish_and_clear();
    let title = "raft-journal as its log grows, entries of 256 B; reads among the oldest million at most".to_owned();
    let table = Table { workload: "growth", title, metrics: METRICS.to_vec(), columns, notes: Vec::new() };
    Ok(Series { table, of: "entries", sizes })
}

fn fill(dir: &Path, next: u64, to: u64) -> Result<u64> {
    let mut subject = Subject::open(journal()?, dir, &Tuning::new(ENTRY_BYTES), next)?;
    subject.load_to(to)?;
    let next = subject.next;
    subject.log.close()?;
    Ok(next)
}

fn ask(stage: &Stage, dir: &Path, first: u64, next: u64) -> Result<Grown> {
    let plan = &stage.plan;
    let numbers = [first, next, plan.appends, plan.reads, plan.truncations].map(|number| number.to_string());
    let mut arguments = vec!["grow", utf8(dir)?];
    arguments.extend(numbers.iter().map(String::as_str));
    child::ask(&arguments)
}

fn figures(grown: &Grown) -> Figures {
    let of = |metric: &Metric| grown.figures.iter().find(|(name, _)| name == metric.name).map(|&(_, figure)| figure);
    METRICS.iter().filter_map(|metric| Some((metric.name, of(metric)?))).collect()
}

/// Measures one log: in a process of its own, so that its memory is nobody else's.
///
/// # Errors
///
/// The journal's.
pub fn measure(task: &Task) -> Result<Grown> {
    let mut figures = Vec::new();
    let mut note = |name: &str, figure: f64| figures.push((name.to_owned(), figure));
    // First of all, what is this program's own.
    let (journal, payloads) = (journal()?, Payloads::new());
    let before = process_status("RssAnon")? as f64;
    let memory = || Ok::<_, anyhow::Error>((process_status("RssAnon")? as f64 - before) / 1024.0);

    let begun = Instant::now();
    let log = journal.open(Path::new(&task.dir), &Tuning::new(ENTRY_BYTES))?;
    note(OPEN, begun.elapsed().as_secs_f64() * 1e3);
    note(OPEN_MEMORY, memory()?);
    let mut subject = Subject::new(journal, log, ENTRY_BYTES, task.next, payloads);

    let mut times = Times::new()?;
    for _ in 0..task.appends {
        times.add(subject.append(1, When::Durable)?);
    }
    note(APPEND, times.percentile(50.0));
    note(READ, read(&subject, task)?);
    note(MEMORY, memory()?);
    note(NEWEST, newest(&mut subject, task.truncations)?);

    let entries = task.next - task.first;
    subject.settle(|subject| drop_few(subject).map(drop))?;
    let newer_half = subject.truncate_tail(task.first + entries / 2)?;
    note(NEWER_HALF, micros(newer_half));
    let mut oldest = task.first..task.first + entries / 16;
    subject.settle(|subject| drop_oldest(subject, &mut oldest))?;
    let last_removed = task.first + entries / 4 - 1;
    note(OLDER_HALF, micros(subject.truncate_head(last_removed)?));
    let next = subject.next;
    subject.log.close()?;
    Ok(Grown { first: last_removed + 1, next, figures })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn read(subject: &Subject, task: &Task) -> Result<f64> {
    let window = (task.next - task.first).min(READ_WINDOW) / 8 * 7;
    for offset in (0..window).step_by(32) {
        subject.log.read(task.first + offset)?;
    }
    let mut random = Random::new(task.next);
    let begun = Instant::now();
    for _ in 0..task.reads {
        subject.log.read(task.first - 1 + random.index(window))?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / task.reads as f64)
}
