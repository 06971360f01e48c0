//! The workloads: W1 to W9, and those of the journal alone.

mod durable;
pub mod growth;
pub mod journals;
mod open;
mod reads;
mod shared;
mod truncate;
mod unsynced;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::contestant::{Contestant, Tuning};
use crate::options::Plan;
use crate::result::{Figures, Metric};
use crate::subject::Subject;

/// What contestants do in turn, round by round.
pub trait Workload {
    /// Such as `W1`.
    fn id(&self) -> &'static str;

    /// What it does, in a few words.
    fn title(&self, plan: &Plan) -> String;

    /// What is measured.
    fn metrics(&self) -> &'static [Metric];

    /// How often the contestants take turns before the last turn of a round, in which the round's figures are taken: where
    /// times drift from second to second, short turns keep those comparable that are held against each other.
    fn laps(&self) -> usize {
        0
    }

    /// Gets a contestant ready that can do at least one of the metrics.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>>;
}

/// A contestant at work.
pub trait Run {
    /// Does its part of a round in one of [`Workload::laps`] turns.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn lap(&mut self) -> Result<()> {
        Ok(())
    }

    /// Does what is left of a round, and says what came of it.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn round(&mut self) -> Result<Figures>;

    /// Ends.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn finish(self: Box<Self>, stage: &mut Stage) -> Result<()>;
}

/// All workloads with rounds, in the order in which they run.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(durable::Single),
        Box::new(durable::Batches),
        Box::new(shared::Shared),
        Box::new(unsynced::Unsynced),
        Box::new(reads::Points),
        Box::new(reads::Scan),
        Box::new(open::Open),
        Box::new(truncate::Truncate),
        Box::new(truncate::Space),
    ]
}

/// The directories on the disk, and what is loaded in them.
pub struct Stage {
    root: PathBuf,
    /// How much work there is.
    pub plan: Plan,
    loaded: HashMap<&'static str, Loaded>,
}

/// A log of W5 to W9 that was closed in order.
#[derive(Clone)]
pub struct Loaded {
    /// Where it is.
    pub dir: PathBuf,
    /// Its next index.
    pub next: u64,
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("a directory whose name is no UTF-8")
}

/// The size of an entry of W4 to W9, bytes.
pub const ENTRY_BYTES: usize = 1024;

impl Stage {
    /// An empty directory's.
    pub fn new(root: &Path, plan: Plan) -> Stage {
        Stage { root: root.to_path_buf(), plan, loaded: HashMap::new() }
    }

    /// A directory of this name, empty.
    ///
    /// # Errors
    ///
    /// It cannot be made, or not be emptied.
    pub fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A fresh log.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn fresh(&self, name: &str, contestant: &'static dyn Contestant, tuning: &Tuning) -> Result<Subject> {
        let dir = self.fresh_dir(&format!("{name}-{}", contestant.name()))?;
        Subject::open(contestant, &dir, tuning, 1)
    }

    /// Removes what a workload has left, but not what is loaded: on the disk, and above all in the page cache.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let dir = entry?.path();
            if !self.loaded.values().any(|loaded| loaded.dir == dir) {
                fs::remove_dir_all(dir)?;
            }
        }
        Ok(())
    }

    /// How the logs of W5 to W9 are opened.
    pub fn tuning(&self) -> Tuning {
        Tuning::loaded(ENTRY_BYTES, self.plan.entries)
    }

    /// The contestant's log of [`Plan::entries`] entries, loaded now if it is not there; the caller opens it, closes it
    /// in order, and reports what it appended with [`Stage::appended`].
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn loaded(&mut self, contestant: &'static dyn Contestant) -> Result<Loaded> {
        if let Some(loaded) = self.loaded.get(contestant.name()) {
            return Ok(loaded.clone());
        }
        let dir = self.fresh_dir(&format!("loaded-{}", contestant.name()))?;
        let mut subject = Subject::open(contestant, &dir, &self.tuning(), 1)?;
        subject.load_to(self.plan.entries + 1)?;
        let loaded = Loaded { dir, next: subject.next };
        subject.log.close()?;
        self.loaded.insert(contestant.name(), loaded.clone());
        Ok(loaded)
    }

    /// Says what the next index of a contestant's loaded log is now.
    pub fn appended(&mut self, contestant: &'static dyn Contestant, next: u64) {
        if let Some(loaded) = self.loaded.get_mut(contestant.name()) {
            loaded.next = next;
        }
    }
}
