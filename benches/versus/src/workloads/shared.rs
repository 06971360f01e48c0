//! W3: many threads append durably to one log.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::{Run, Stage, Workload};
use crate::contestant::{Ability, Contestant, Log, Tuning};
use crate::options::Plan;
use crate::payload::Payloads;
use crate::result::{Figures, Metric, metric};
use crate::subject::Subject;

/// W3.
pub struct Shared;

const THREADS: usize = 16;
const ENTRY_BYTES: usize = 256;
const LAPS: usize = 3;

impl Workload for Shared {
    fn id(&self) -> &'static str {
        "W3"
    }

    fn title(&self, _plan: &Plan) -> String {
        format!("{THREADS} threads, each appending one durable 256 B entry at a time to one log")
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[metric("appends", "per second", Ability::Share)];
        METRICS
    }

    fn laps(&self) -> usize {
        LAPS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let subject = stage.fresh("w3", contestant, &Tuning { many_threads: true, ..Tuning::new(ENTRY_BYTES) })?;
        let time = Duration::from_millis(stage.plan.shared_ms) / (LAPS as u32 + 1);
        Ok(Box::new(SharedRun { subject, time, done: Together::default() }))
    }
}

struct SharedRun {
    subject: Subject,
    /// Of a turn.
    time: Duration,
    /// In this round.
    done: Together,
}

impl Run for SharedRun {
    fn lap(&mut self) -> Result<()> {
        let log = &*self.subject.log;
        let done = run_threads(THREADS, self.time, |number, until| append_until(log, number, until))?;
        self.subject.next += done.count;
        self.done.count += done.count;
        self.done.time += done.time;
        Ok(())
    }

    fn round(&mut self) -> Result<Figures> {
        self.lap()?;
        self.subject.forget()?;
        Ok(vec![("appends", std::mem::take(&mut self.done).per_second())])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}

fn append_until(log: &dyn Log, number: usize, until: Instant) -> Result<u64> {
    let mut payloads = Payloads::new();
    let mut count = 0;
    while Instant::now() < until {
        log.append_shared(number, &payloads.next(ENTRY_BYTES))?;
        count += 1;
    }
    Ok(count)
}

/// What threads did together.
#[derive(Default)]
pub struct Together {
    /// How much, in sum.
    pub count: u64,
    time: Duration,
}

impl Together {
    /// How much in a second.
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

/// Lets threads, numbered from 0, begin together and work until a time; each returns how much it did.
///
/// # Errors
///
/// Those of the work.
pub fn run_threads(
    threads: usize,
    time: Duration,
    work: impl Fn(usize, Instant) -> Result<u64> + Sync,
) -> Result<Together> {
    let start = Barrier::new(threads + 1);
    let (work, gate) = (&work, &start);
    thread::scope(|scope| {
        let spawn = |number| {
            scope.spawn(move || {
                gate.wait();
                work(number, Instant::now() + time)
            })
        };
        let running: Vec<_> = (0..threads).map(spawn).collect();
        start.wait();
        let begun = Instant::now();
        let mut count = 0;
        for thread in running {
            count += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(Together { count, time: begun.elapsed() })
    })
}
