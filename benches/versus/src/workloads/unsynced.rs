//! W4: appends that are not durable yet: what a log costs beside the disk.

use std::time::Instant;

use anyhow::Result;

use super::{ENTRY_BYTES, Run, Stage, Workload};
use crate::contestant::{Ability, Contestant, Tuning, When};
use crate::measure::ProcessorTime;
use crate::options::Plan;
use crate::result::{Figures, Metric, metric};
use crate::subject::Subject;

/// W4.
pub struct Unsynced;

/// Entries of a batch, and batches that are ready before the clock starts.
const BATCH: u64 = 64;
const GROUP: u64 = 4;
/// Groups between two syncs, so that neither dirty pages nor anybody's buffers pile up.
const SYNC_GROUPS: u64 = 64;

impl Workload for Unsynced {
    fn id(&self) -> &'static str {
        "W4"
    }

    fn title(&self, _plan: &Plan) -> String {
        "batches of 64 × 1 KiB that are not durable yet (synced every 16 MiB, not timed)".into()
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric("wall", "ns an entry", Ability::Unsynced),
            metric("processor, the calling thread", "ns an entry", Ability::Unsynced),
            metric("processor, all threads", "ns an entry", Ability::Unsynced),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let subject = stage.fresh("w4", contestant, &Tuning::new(ENTRY_BYTES))?;
        Ok(Box::new(UnsyncedRun { subject, groups: stage.plan.unsynced_groups }))
    }
}

struct UnsyncedRun {
    subject: Subject,
    groups: u64,
}

impl Run for UnsyncedRun {
    fn round(&mut self) -> Result<Figures> {
        let (mut wall_ns, mut thread_ns, mut process_ns) = (0.0, 0.0, 0.0);
        for group in 1..=self.groups {
            self.subject.append_group(GROUP, BATCH, When::Unsynced, |append_all| {
                let (before, begun) = (ProcessorTime::now(), Instant::now());
                append_all()?;
                wall_ns += begun.elapsed().as_nanos() as f64;
                let after = ProcessorTime::now();
                thread_ns += after.thread_ns - before.thread_ns;
                process_ns += after.process_ns - before.process_ns;
                Ok(())
            })?;
            if group % SYNC_GROUPS == 0 {
                self.subject.log.sync()?;
            }
        }
        self.subject.log.sync()?;
        self.subject.forget()?;
        let entries = (self.groups * GROUP * BATCH) as f64;
        Ok(vec![
            ("wall", wall_ns / entries),
            ("processor, the calling thread", thread_ns / entries),
            ("processor, all threads", process_ns / entries),
        ])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        self.subject.log.close()
    }
}
