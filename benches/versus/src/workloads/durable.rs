//! W1 and W2: durable appends by one thread.

use std::time::Duration;

use anyhow::Result;

use super::{Run, Stage, Workload};
use crate::contestant::{Ability, Contestant, Tuning, When};
use crate::measure::{Times, median};
use crate::options::Plan;
use crate::result::{Figures, Metric, metric};
use crate::subject::Subject;

/// W1.
pub struct Single;

const ENTRY_BYTES: usize = 256;
const LAPS: usize = 7;
/// Appends at the beginning of a turn that are not timed: since its last one, memory has rested, which no log's does that is
/// appended to all the time.
const WARM_UP: u64 = 20;
const SMALL_FILE_BYTES: u64 = 1 << 20;
/// So many appends take longer than a file system's clock from tick to tick: the next write to a file that rested
/// meanwhile has to change the file's time, and its sync has to write that.
const APPENDS_MEANWHILE: u64 = 100;

impl Workload for Single {
    fn id(&self) -> &'static str {
        "W1"
    }

    fn title(&self, _plan: &Plan) -> String {
        "one durable 256 B entry an append, one thread".into()
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric("p50", "µs", Ability::Append),
            metric("p99", "µs", Ability::Append),
            metric("p99.9", "µs", Ability::Append),
            metric("p50 in a log that rested meanwhile", "µs", Ability::Append),
            metric("p50, files of 1 MiB", "µs", Ability::SmallFiles),
            metric("p99, files of 1 MiB", "µs", Ability::SmallFiles),
            metric("append at a rotation, median, beside the floor's p50", "µs", Ability::SmallFiles),
        ];
        METRICS
    }

    fn laps(&self) -> usize {
        LAPS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let tuning = Tuning::new(ENTRY_BYTES);
        let main = stage.fresh("w1", contestant, &tuning)?;
        let rested = stage.fresh("w1-rested", contestant, &tuning)?;
        let small = if main.can(Ability::SmallFiles) && !main.is_floor() {
            let tuning = Tuning { file_bytes: Some(SMALL_FILE_BYTES), watched: true, ..tuning };
            Some(stage.fresh("w1-small-files", contestant, &tuning)?)
        } else {
            None
        };
        let turns = LAPS as u64 + 1;
        let appends = stage.plan.appends.div_ceil(turns);
        let appends_small_files = stage.plan.appends_small_files.div_ceil(turns);
        let (main, rested) = (Timed::new(main)?, Timed::new(rested)?);
        let small = small.map(Timed::new).transpose()?;
        Ok(Box::new(SingleRun { main, rested, small, rotations: Vec::new(), appends, appends_small_files }))
    }
}

/// A log, and the times of this round.
struct Timed {
    subject: Subject,
    times: Times,
}

impl Timed {
    fn new(subject: Subject) -> Result<Timed> {
        Ok(Timed { subject, times: Times::new()? })
    }

    /// Gets into the swing again.
    fn warm_up(&mut self, count: u64) -> Result<()> {
        (0..WARM_UP).try_for_each(|_| self.subject.append(count, When::Durable).map(drop))
    }

    fn append(&mut self, count: u64) -> Result<Duration> {
        let time = self.subject.append(count, When::Durable)?;
        self.times.add(time);
        Ok(time)
    }

    /// Ends the round: its times, and an empty log for the next one.
    fn end_round(&mut self) -> Result<Times> {
        self.subject.forget()?;
        Ok(std::mem::replace(&mut self.times, Times::new()?))
    }
}

struct SingleRun {
    main: Timed,
    /// Appended to once in a while.
    rested: Timed,
    small: Option<Timed>,
    /// The times, µs, of appends that went to another file than the one before.
    rotations: Vec<f64>,
    /// In a turn.
    appends: u64,
    appends_small_files: u64,
}

impl Run for SingleRun {
    fn lap(&mut self) -> Result<()> {
        self.main.warm_up(1)?;
        for number in 1..=self.appends {
            self.main.append(1)?;
            if number % APPENDS_MEANWHILE == 0 {
                self.rested.append(1)?;
            }
        }
        if let Some(small) = &mut self.small {
            self.rotations.append(&mut at_rotations(small, self.appends_small_files)?);
        }
        Ok(())
    }

    fn round(&mut self) -> Result<Figures> {
        self.lap()?;
        let times = self.main.end_round()?;
        let (p50, p99) = (times.percentile(50.0), times.percentile(99.0));
        let mut figures = vec![("p50", p50), ("p99", p99), ("p99.9", times.percentile(99.9))];
        figures.push(("p50 in a log that rested meanwhile", self.rested.end_round()?.percentile(50.0)));
        let [p50_small, p99_small, rotation] = match &mut self.small {
            // The floor has no files that end: one figure serves for all.
            None if self.main.subject.is_floor() => [p50, p99, p50],
            None => return Ok(figures),
            Some(small) => {
                let (times, rotations) = (small.end_round()?, std::mem::take(&mut self.rotations));
                [times.percentile(50.0), times.percentile(99.0), median(rotations).unwrap_or(f64::NAN)]
            }
        };
        figures.push(("p50, files of 1 MiB", p50_small));
        figures.push(("p99, files of 1 MiB", p99_small));
        figures.push(("append at a rotation, median, beside the floor's p50", rotation));
        Ok(figures)
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.main.subject.log.close()?;
        self.rested.subject.log.close()?;
        self.small.map_or(Ok(()), |small| small.subject.log.close())
    }
}

/// Appends, and returns the times, µs, of those appends that went to another file than the one before.
fn at_rotations(small: &mut Timed, appends: u64) -> Result<Vec<f64>> {
    let mut rotations = Vec::new();
    small.warm_up(1)?;
    let mut changes = small.subject.log.file_changes();
    for _ in 0..appends {
        let time = small.append(1)?;
        let changes_now = small.subject.log.file_changes();
        if changes_now != changes {
            changes = changes_now;
            rotations.push(time.as_secs_f64() * 1e6);
        }
    }
    Ok(rotations)
}

/// W2.
pub struct Batches;

const BATCH: u64 = 64;

impl Workload for Batches {
    fn id(&self) -> &'static str {
        "W2"
    }

    fn title(&self, _plan: &Plan) -> String {
        "durable batches of 64 × 1 KiB, one thread".into()
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[metric("p50", "µs", Ability::Append), metric("p99", "µs", Ability::Append)];
        METRICS
    }

    fn laps(&self) -> usize {
        LAPS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let subject = stage.fresh("w2", contestant, &Tuning::new(super::ENTRY_BYTES))?;
        Ok(Box::new(BatchesRun { log: Timed::new(subject)?, batches: stage.plan.batches.div_ceil(LAPS as u64 + 1) }))
    }
}

struct BatchesRun {
    log: Timed,
    /// In a turn.
    batches: u64,
}

impl Run for BatchesRun {
    fn lap(&mut self) -> Result<()> {
        self.log.warm_up(BATCH)?;
        (0..self.batches).try_for_each(|_| self.log.append(BATCH).map(drop))
    }

    fn round(&mut self) -> Result<Figures> {
        self.lap()?;
        let times = self.log.end_round()?;
        Ok(vec![("p50", times.percentile(50.0)), ("p99", times.percentile(99.0))])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.log.subject.log.close()
    }
}
