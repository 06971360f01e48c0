//! W8 and W9: durable truncations, and the space that a log takes before and after one.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{ENTRY_BYTES, Run, Stage, Workload};
use crate::contestant::{Ability, Contestant, Tuning, When};
use crate::measure::{Times, settled_bytes};
use crate::options::Plan;
use crate::result::{Figures, Metric, metric};
use crate::subject::Subject;

/// W8.
pub struct Truncate;

/// How many of the newest entries a small truncation drops.
const FEW: u64 = 10;
/// How often a half is dropped in a round, which fills the log up again before: what the disk has still to write of that makes
/// a single one slow or not.
const HALVES: usize = 3;

const NEWEST: &str = "tail, newest 10";
const NEWER_HALF: &str = "tail, newer half";
const OLDER_HALF: &str = "head, older half";

impl Workload for Truncate {
    fn id(&self) -> &'static str {
        "W8"
    }

    fn title(&self, plan: &Plan) -> String {
        format!(
            "durable truncations of {} entries of 1 KiB; the floor is a durable append of 256 B (W1, p50)",
            plan.entries
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric(NEWEST, "µs", Ability::TruncateTail),
            metric(NEWER_HALF, "µs", Ability::TruncateTail),
            metric(OLDER_HALF, "µs", Ability::TruncateHead),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let (truncations, entries) = (stage.plan.truncations, stage.plan.entries);
        let floor = stage.fresh("w8", contestant, &Tuning::new(256))?;
        if floor.is_floor() {
            return Ok(Box::new(FloorRun { subject: floor, appends: truncations * 10 }));
        }
        floor.log.close()?;
        let mut subject = stage.fresh("w8", contestant, &stage.tuning())?;
        subject.load_to(entries + 1)?;
        Ok(Box::new(TruncateRun { subject, first: 1, entries, truncations }))
    }
}

struct FloorRun {
    subject: Subject,
    appends: u64,
}

impl Run for FloorRun {
    fn round(&mut self) -> Result<Figures> {
        let mut times = Times::new()?;
        self.subject.settle(|_| Ok(()))?;
        for _ in 0..self.appends {
            times.add(self.subject.append(1, When::Durable)?);
        }
        Ok([NEWEST, NEWER_HALF, OLDER_HALF].map(|name| (name, times.percentile(50.0))).to_vec())
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}

struct TruncateRun {
    subject: Subject,
    /// The oldest index.
    first: u64,
    /// How many entries the log has at the beginning of a round.
    entries: u64,
    truncations: u64,
}

impl TruncateRun {
    /// Drops the newer half again and again; µs.
    fn newer_half(&mut self) -> Result<f64> {
        let mut times = Times::new()?;
        for _ in 0..HALVES {
            self.subject.load_to(self.first + self.entries)?;
            self.subject.settle(|subject| drop_few(subject).map(drop))?;
            times.add(self.subject.truncate_tail(self.first + self.entries / 2)?);
        }
        Ok(times.percentile(50.0))
    }

    /// Drops the older half again and again; µs.
    fn older_half(&mut self) -> Result<f64> {
        let mut times = Times::new()?;
        for _ in 0..HALVES {
            self.subject.load_to(self.first + self.entries)?;
            let last_removed = self.first + self.entries / 2 - 1;
            let oldest = &mut (self.first..self.first + self.entries / 8);
            self.subject.settle(|subject| drop_oldest(subject, oldest))?;
            times.add(self.subject.truncate_head(last_removed)?);
            self.first = last_removed + 1;
            self.subject.log.collect_garbage()?;
        }
        Ok(times.percentile(50.0))
    }
}

/// Drops the newest entries again and again; µs.
pub(super) fn newest(subject: &mut Subject, truncations: u64) -> Result<f64> {
    let mut times = Times::new()?;
    for _ in 0..truncations {
        times.add(drop_few(subject)?);
    }
    Ok(times.percentile(50.0))
}

/// Appends a few entries, and says how long it takes to drop them again.
pub(super) fn drop_few(subject: &mut Subject) -> Result<Duration> {
    subject.append(FEW, When::Durable)?;
    subject.truncate_tail(subject.next - FEW)
}

/// Drops the oldest entry, the first of `oldest`, while there is one.
pub(super) fn drop_oldest(subject: &mut Subject, oldest: &mut Range<u64>) -> Result<()> {
    oldest.next().map_or(Ok(()), |index| subject.truncate_head(index).map(drop))
}

impl Run for TruncateRun {
    fn round(&mut self) -> Result<Figures> {
        let mut figures = Vec::new();
        if self.subject.can(Ability::TruncateTail) {
            self.subject.settle(|subject| drop_few(subject).map(drop))?;
            figures.push((NEWEST, newest(&mut self.subject, self.truncations)?));
            figures.push((NEWER_HALF, self.newer_half()?));
        }
        if self.subject.can(Ability::TruncateHead) {
            figures.push((OLDER_HALF, self.older_half()?));
        }
        self.subject.load_to(self.first + self.entries)?;
        Ok(figures)
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}

/// W9.
pub struct Space;

const FULL: &str = "loaded";
const FULL_RATIO: &str = "loaded, times the payload";
const HALF: &str = "without the older half";
const HALF_RATIO: &str = "without the older half, times the payload left";

impl Workload for Space {
    fn id(&self) -> &'static str {
        "W9"
    }

    fn title(&self, plan: &Plan) -> String {
        format!("bytes allocated on the disk for {} entries of 1 KiB in batches of 64", plan.entries)
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric(FULL, "MiB", Ability::Space),
            metric(FULL_RATIO, "", Ability::Space),
            metric(HALF, "MiB", Ability::Space),
            metric(HALF_RATIO, "", Ability::Space),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let dir = stage.fresh_dir(&format!("w9-{}", contestant.name()))?;
        let mut subject = Subject::open(contestant, &dir, &stage.tuning(), 1)?;
        subject.load_to(stage.plan.entries + 1)?;
        Ok(Box::new(SpaceRun { subject, dir, entries: stage.plan.entries, figures: Vec::new() }))
    }
}

struct SpaceRun {
    subject: Subject,
    dir: PathBuf,
    entries: u64,
    /// The same in every round: no time is measured.
    figures: Figures,
}

impl Run for SpaceRun {
    fn round(&mut self) -> Result<Figures> {
        if self.figures.is_empty() {
            let payload = (self.entries * ENTRY_BYTES as u64) as f64;
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            let full = settled_bytes(&self.dir)? as f64;
            self.figures = vec![(FULL, mib(full)), (FULL_RATIO, full / payload)];
            if self.subject.can(Ability::TruncateHead) {
                self.subject.log.truncate_head(self.entries / 2)?;
                self.subject.log.collect_garbage()?;
                let half = settled_bytes(&self.dir)? as f64;
                self.figures.extend([(HALF, mib(half)), (HALF_RATIO, half / (payload / 2.0))]);
            }
        }
        Ok(self.figures.clone())
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}
