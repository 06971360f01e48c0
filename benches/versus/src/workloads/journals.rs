//! `journals`: many of them in one process, as a node with many Raft groups has.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use raft_journal::{Entry, Journal, LogStore, OpenOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{Stage, utf8};
use crate::child;
use crate::contestant::Ability;
use crate::contestants::watch::WatchedFs;
use crate::measure::process_status;
use crate::payload::Payloads;
use crate::report::thousands;
use crate::result::{Column, Figures, Metric, Table, metric};
use crate::rounds::progress_bar;
use crate::series::Series;

const ENTRY_BYTES: usize = 256;
const WRITERS: usize = 4;
/// After so long, a journal that nobody uses has done what it does then: it has committed its mark, and five seconds
/// later given up its memory. It looks every half second; the rest is for the commits of many, which wait for each other.
const IDLE: Duration = Duration::from_secs(8);

const APPENDS: &str = "durable appends, all together";
const SYNCS: &str = "syncs of files";
const SYNCS_PER_APPEND: &str = "syncs for an append";
const THREADS: &str = "threads at most, the writers included";
const IDLE_MEMORY: &str = "memory for an idle journal";
const FILES: &str = "open files for a journal";

const METRICS: &[Metric] = &[
    metric(APPENDS, "per second", Ability::Append),
    metric(SYNCS, "per second", Ability::Append),
    metric(SYNCS_PER_APPEND, "", Ability::Append),
    metric(THREADS, "", Ability::Append),
    metric(IDLE_MEMORY, "KiB", Ability::Append),
    metric(FILES, "", Ability::Append),
];

/// What a child is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Task {
    dir: String,
    /// How many journals.
    count: u64,
    /// How long the writers append.
    ms: u64,
}

/// What a child found.
#[derive(Serialize, Deserialize)]
pub struct Found {
    figures: Vec<(String, f64)>,
}

/// Has a process of its own open so many journals and append to all of them, for all counts, round by round.
///
/// # Errors
///
/// The journals'.
pub fn run(stage: &Stage, rounds: usize) -> Result<Series> {
    let sizes = stage.plan.journals.clone();
    let progress = progress_bar("journals", (sizes.len() * rounds) as u64)?;
    let mut columns = Vec::new();
    for &count in &sizes {
        progress.set_message(format!("{count} journals"));
        let mut rounds_of_size = Vec::new();
        for _ in 0..rounds {
            let dir = stage.fresh_dir("journals")?;
            rustix::fs::sync();
            let (count, ms) = (count.to_string(), stage.plan.shared_ms.to_string());
            let found: Found = child::ask(&["many", utf8(&dir)?, &count, &ms])?;
            rounds_of_size.push(figures(&found));
            std::fs::remove_dir_all(&dir)?;
            progress.inc(1);
        }
        columns.push(Column { name: thousands(count), rounds: rounds_of_size });
    }
    progress.finish_and_clear();
    let title = format!("many journals in one process, {WRITERS} threads append durably to all of them in turn");
    let table = Table { workload: "journals", title, metrics: METRICS.to_vec(), columns, notes: Vec::new() };
    Ok(Series { table, of: "journals", sizes })
}

fn figures(found: &Found) -> Figures {
    let of = |metric: &Metric| found.figures.iter().find(|(name, _)| name == metric.name).map(|&(_, figure)| figure);
    METRICS.iter().filter_map(|metric| Some((metric.name, of(metric)?))).collect()
}

/// A journal, and the next index, held while it is taken.
struct Group {
    journal: Journal,
    next: Mutex<u64>,
}

impl Group {
    fn append(&self, payloads: &mut Payloads) -> Result<()> {
        let pending = {
            let mut next = self.next.lock();
            let pending = self.journal.append_pending(&[Entry::new(*next, 1, payloads.next(ENTRY_BYTES))])?;
            *next += 1;
            pending
        };
        pending.wait()?;
        Ok(())
    }
}

/// Opens journals, looks at them while they are idle, and appends to all of them.
///
/// # Errors
///
/// The journals'.
pub fn measure(task: &Task) -> Result<Found> {
    allow_many_files()?;
    let count = task.count as f64;
    let fs = Arc::new(WatchedFs::default());
    let mut payloads = Payloads::new();
    // What the process has once is none of theirs.
    open(task, &fs, task.count)?.append(&mut payloads)?;
    thread::sleep(IDLE);
    let (memory_before, files_before) = (process_status("RssAnon")? as f64, open_files()? as f64);
    let groups: Vec<Group> = (0..task.count).map(|number| open(task, &fs, number)).collect::<Result<_>>()?;
    groups.iter().try_for_each(|group| group.append(&mut payloads))?;
    thread::sleep(IDLE);
    let memory = (process_status("RssAnon")? as f64 - memory_before) / count;
    let files = (open_files()? as f64 - files_before) / count;

    let syncs_before = fs.counts.syncs();
    let begun = Instant::now();
    let (appends, threads) = append_to_all(&groups, Duration::from_millis(task.ms))?;
    let seconds = begun.elapsed().as_secs_f64();
    let syncs = (fs.counts.syncs() - syncs_before) as f64;
    groups.into_iter().try_for_each(|group| group.journal.close())?;
    let figures = [
        (APPENDS, appends as f64 / seconds),
        (SYNCS, syncs / seconds),
        (SYNCS_PER_APPEND, syncs / appends as f64),
        (THREADS, threads as f64),
        (IDLE_MEMORY, memory),
        (FILES, files),
    ];
    Ok(Found { figures: figures.map(|(name, figure)| (name.to_owned(), figure)).to_vec() })
}

fn open(task: &Task, fs: &Arc<WatchedFs>, number: u64) -> Result<Group> {
    let dir = Path::new(&task.dir).join(number.to_string());
    let journal = OpenOptions::new().file_system(Arc::clone(fs) as Arc<_>).open(dir)?;
    Ok(Group { journal, next: Mutex::new(1) })
}

/// Returns how many appends there were, and how many threads at most.
fn append_to_all(groups: &[Group], time: Duration) -> Result<(u64, u64)> {
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let start = |writer| scope.spawn(move || append_from(groups, writer, until));
        let writers: Vec<_> = (0..WRITERS).map(start).collect();
        let mut threads = 0;
        while Instant::now() < until {
            threads = threads.max(process_status("Threads")?);
            thread::sleep(Duration::from_millis(10));
        }
        let mut appends = 0;
        for writer in writers {
            appends += writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        // Without the one that counts.
        Ok((appends, threads - 1))
    })
}

/// Each writer has its share of the journals; where there are fewer than writers, they share.
fn append_from(groups: &[Group], writer: usize, until: Instant) -> Result<u64> {
    let mut payloads = Payloads::new();
    let (mut at, mut appends) = (writer, 0);
    while Instant::now() < until {
        groups[at % groups.len()].append(&mut payloads)?;
        at += WRITERS;
        appends += 1;
    }
    Ok(appends)
}

fn open_files() -> Result<u64> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count() as u64)
}

fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
