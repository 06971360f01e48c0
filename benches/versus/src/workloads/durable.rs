//! W1 and W2: durable appends by one thread.

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
const SMALL_FILE_BYTES: u64 = 1 << 20;

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
            metric("p50, files of 1 MiB", "µs", Ability::SmallFiles),
            metric("p99, files of 1 MiB", "µs", Ability::SmallFiles),
            metric("append at a rotation, median, beside the floor's p50", "µs", Ability::SmallFiles),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let tuning = Tuning::new(ENTRY_BYTES);
        let main = stage.fresh("w1", contestant, &tuning)?;
        let small = if main.can(Ability::SmallFiles) && !main.is_floor() {
            let tuning = Tuning { file_bytes: Some(SMALL_FILE_BYTES), watched: true, ..tuning };
            Some(stage.fresh("w1-small-files", contestant, &tuning)?)
        } else {
            None
        };
        let (appends, appends_small_files) = (stage.plan.appends, stage.plan.appends_small_files);
        Ok(Box::new(SingleRun { main, small, appends, appends_small_files }))
    }
}

struct SingleRun {
    main: Subject,
    small: Option<Subject>,
    appends: u64,
    appends_small_files: u64,
}

impl Run for SingleRun {
    fn round(&mut self) -> Result<Figures> {
        let mut times = Times::new()?;
        for _ in 0..self.appends {
            times.add(self.main.append(1, When::Durable)?);
        }
        self.main.forget()?;
        let (p50, p99) = (times.percentile(50.0), times.percentile(99.0));
        let mut figures = vec![("p50", p50), ("p99", p99), ("p99.9", times.percentile(99.9))];
        let [p50_small, p99_small, rotation] = match &mut self.small {
            // The floor has no files that end: one figure serves for all.
            None if self.main.is_floor() => [p50, p99, p50],
            None => return Ok(figures),
            Some(small) => {
                let mut times = Times::new()?;
                let rotations = at_rotations(small, self.appends_small_files, &mut times)?;
                small.forget()?;
                [times.percentile(50.0), times.percentile(99.0), median(rotations).unwrap_or(f64::NAN)]
            }
        };
        figures.push(("p50, files of 1 MiB", p50_small));
        figures.push(("p99, files of 1 MiB", p99_small));
        figures.push(("append at a rotation, median, beside the floor's p50", rotation));
        Ok(figures)
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.main.log.close()?;
        self.small.map_or(Ok(()), |small| small.log.close())
    }
}

/// Appends, and returns the times, µs, of those appends that went to another file than the one before.
fn at_rotations(subject: &mut Subject, appends: u64, times: &mut Times) -> Result<Vec<f64>> {
    let mut rotations = Vec::new();
    let mut changes = subject.log.file_changes();
    for _ in 0..appends {
        let time = subject.append(1, When::Durable)?;
        times.add(time);
        let changes_now = subject.log.file_changes();
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

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let subject = stage.fresh("w2", contestant, &Tuning::new(super::ENTRY_BYTES))?;
        Ok(Box::new(BatchesRun { subject, batches: stage.plan.batches }))
    }
}

struct BatchesRun {
    subject: Subject,
    batches: u64,
}

impl Run for BatchesRun {
    fn round(&mut self) -> Result<Figures> {
        let mut times = Times::new()?;
        for _ in 0..self.batches {
            times.add(self.subject.append(BATCH, When::Durable)?);
        }
        self.subject.forget()?;
        Ok(vec![("p50", times.percentile(50.0)), ("p99", times.percentile(99.0))])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}
