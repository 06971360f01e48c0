//! W5 and W6: reads of single entries all over the log, and of all entries in order.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::shared::{Together, run_threads};
use super::{ENTRY_BYTES, Run, Stage, Workload};
use crate::contestant::{Ability, Contestant, Log, Tuning, When};
use crate::options::Plan;
use crate::payload::Random;
use crate::result::{Figures, Metric, metric};
use crate::subject::Subject;

/// W5.
pub struct Points;

/// So many entries are appended before the newest of them are read.
const TAIL_APPENDS: u64 = 512;
const TAIL_READS: u64 = 256;
/// Before reads are timed, this part of as many is made.
const SETTLING: u64 = 5;
const READERS: usize = 4;
/// The index of a million entries does not fit, nor what is kept in memory of one.
const SMALL_INDEX_CACHE_BYTES: usize = 64 << 10;

impl Workload for Points {
    fn id(&self) -> &'static str {
        "W5"
    }

    fn title(&self, plan: &Plan) -> String {
        format!("random point reads of 1 KiB entries out of {}, page cache warm", plan.entries)
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric("sealed", "ns a read", Ability::Read),
            metric("sealed, index cache of 64 KiB", "ns a read", Ability::ReadBeyondIndexCache),
            metric("recent tail", "ns a read", Ability::ReadTail),
            metric("4 readers beside a writer", "reads per second", Ability::Read),
            metric("the writer beside 4 readers", "appends per second", Ability::Read),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let loaded = stage.loaded(contestant)?;
        let subject = Subject::open(contestant, &loaded.dir, &stage.tuning(), loaded.next)?;
        let beyond = open_beyond_index_cache(contestant, &subject, &loaded.dir, stage.tuning())?;
        let plan = &stage.plan;
        // What is in the newest file, or in a cache of the newest entries, is none of these.
        let sealed = plan.entries / 8 * 7;
        warm_up(&*subject.log, plan.entries)?;
        let time = Duration::from_millis(plan.shared_ms);
        Ok(Box::new(PointsRun { contestant, subject, beyond, sealed, reads: plan.reads, time, seed: 0 }))
    }
}

/// The same log once more, with less memory for the index than the index takes, where that is something else.
fn open_beyond_index_cache(
    contestant: &'static dyn Contestant,
    subject: &Subject,
    dir: &Path,
    tuning: Tuning,
) -> Result<Option<Box<dyn Log>>> {
    if subject.is_floor() || !subject.can(Ability::ReadBeyondIndexCache) {
        return Ok(None);
    }
    let tuning = Tuning { index_cache_bytes: Some(SMALL_INDEX_CACHE_BYTES), ..tuning };
    Ok(Some(contestant.open(dir, &tuning)?))
}

/// Reads everything once in order, where that is possible, and then some of it at random: caches are filled by both.
fn warm_up(log: &dyn Log, entries: u64) -> Result<()> {
    // A contestant that cannot scan says so, and is warmed up by reads alone.
    let _ = log.scan(1..entries + 1);
    (1..=entries).step_by(32).try_for_each(|index| log.read(index).map(drop))
}

struct PointsRun {
    contestant: &'static dyn Contestant,
    subject: Subject,
    beyond: Option<Box<dyn Log>>,
    /// The last index that is read at random.
    sealed: u64,
    reads: u64,
    time: Duration,
    seed: u64,
}

impl PointsRun {
    /// Reads entries behind `offset`, up to `most` further, at random; ns a read. Each `kind` draws others: what was just read is
    /// in the processor's caches. The first ones are not timed: what they meet of memory has rested while others had their turns.
    fn read(&self, log: &dyn Log, kind: u64, offset: u64, most: u64) -> Result<f64> {
        let mut random = Random::new(2 * self.seed + kind);
        let mut read = |reads: u64| (0..reads).try_for_each(|_| read_one(log, offset + random.index(most)));
        read(self.reads / SETTLING)?;
        let begun = Instant::now();
        read(self.reads)?;
        Ok(begun.elapsed().as_nanos() as f64 / self.reads as f64)
    }

    /// Reads of four threads while another one appends; what the two sides did.
    fn read_beside_writer(&mut self) -> Result<(Together, f64)> {
        let (subject, sealed, seed, time) = (&mut self.subject, self.sealed, self.seed, self.time);
        // The writer needs the subject whole: it goes on in the same log through a batch that it repeats to get ready.
        let (first, payload) = subject.next_payload();
        let log = &*subject.log;
        let (together, appends) = thread::scope(|scope| -> Result<_> {
            let writer = scope.spawn(move || -> Result<(u64, f64)> {
                let (begun, mut count) = (Instant::now(), 0);
                while begun.elapsed() < time {
                    log.prepare(first + count, vec![payload.clone()], When::Durable)?()?;
                    count += 1;
                }
                Ok((count, count as f64 / begun.elapsed().as_secs_f64()))
            });
            let together = run_threads(READERS, time, |number, until| {
                let mut random = Random::new(seed * 1000 + number as u64);
                let mut count = 0;
                while Instant::now() < until {
                    // Not a clock for every read.
                    for _ in 0..32 {
                        read_one(log, random.index(sealed))?;
                    }
                    count += 32;
                }
                Ok(count)
            });
            let appends = writer.join().map_err(|_| anyhow!("the writer panicked"))??;
            Ok((together?, appends))
        })?;
        subject.next += appends.0;
        Ok((together, appends.1))
    }
}

fn read_one(log: &dyn Log, index: u64) -> Result<()> {
    let bytes = log.read(index)?;
    ensure!(bytes == ENTRY_BYTES, "entry {index} has {bytes} bytes");
    Ok(())
}

impl Run for PointsRun {
    fn round(&mut self) -> Result<Figures> {
        self.seed += 1;
        if self.subject.can(Ability::ReadTail) {
            // While the others had their turns, a cache of the newest entries may have been given up.
            self.subject.load_to(self.subject.next + TAIL_APPENDS)?;
        }
        let log = &*self.subject.log;
        let sealed = self.read(log, 0, 0, self.sealed)?;
        let mut figures = vec![("sealed", sealed)];
        match &self.beyond {
            Some(beyond) => {
                figures.push(("sealed, index cache of 64 KiB", self.read(&**beyond, 1, 0, self.sealed)?));
            }
            None if self.subject.is_floor() => figures.push(("sealed, index cache of 64 KiB", sealed)),
            None => {}
        }
        if self.subject.can(Ability::ReadTail) {
            figures.push(("recent tail", self.read(log, 0, self.subject.next - 1 - TAIL_READS, TAIL_READS)?));
        }
        let (reads, appends) = self.read_beside_writer()?;
        figures.push(("4 readers beside a writer", reads.per_second()));
        figures.push(("the writer beside 4 readers", appends));
        Ok(figures)
    }

    fn finish(self: Box<Self>, stage: &mut Stage) -> Result<()> {
        drop(self.beyond);
        stage.appended(self.contestant, self.subject.next);
        self.subject.log.close()
    }
}

/// W6.
pub struct Scan;

impl Workload for Scan {
    fn id(&self) -> &'static str {
        "W6"
    }

    fn title(&self, plan: &Plan) -> String {
        format!("scan of {} entries of 1 KiB in order, page cache warm", plan.entries)
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[metric("scan", "ns an entry", Ability::Scan)];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let loaded = stage.loaded(contestant)?;
        let subject = Subject::open(contestant, &loaded.dir, &stage.tuning(), loaded.next)?;
        Ok(Box::new(ScanRun { subject, entries: stage.plan.entries }))
    }
}

struct ScanRun {
    subject: Subject,
    entries: u64,
}

impl Run for ScanRun {
    fn round(&mut self) -> Result<Figures> {
        let begun = Instant::now();
        let bytes = self.subject.log.scan(1..self.entries + 1)?;
        let time = begun.elapsed();
        ensure!(bytes == self.entries * ENTRY_BYTES as u64, "{bytes} bytes in {} entries", self.entries);
        Ok(vec![("scan", time.as_nanos() as f64 / self.entries as f64)])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}
