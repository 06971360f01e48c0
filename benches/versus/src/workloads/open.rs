//! W7: opening a log in a fresh process, after a clean close and after a crash.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::{Run, Stage, Workload, utf8};
use crate::child::{self, Opened};
use crate::contestant::{Ability, Contestant};
use crate::options::Plan;
use crate::result::{Figures, Metric, metric};

/// W7.
pub struct Open;

impl Workload for Open {
    fn id(&self) -> &'static str {
        "W7"
    }

    fn title(&self, plan: &Plan) -> String {
        format!("opening a log of {} entries of 1 KiB in a fresh process, page cache warm", plan.entries)
    }

    fn metrics(&self) -> &'static [Metric] {
        const METRICS: &[Metric] = &[
            metric("after a clean close", "ms", Ability::Reopen),
            metric("after a clean close, memory added", "MiB", Ability::Reopen),
            metric("after a crash", "ms", Ability::Reopen),
            metric("after a crash, memory added", "MiB", Ability::Reopen),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let name = contestant.name();
        let clean = stage.loaded(contestant)?.dir;
        let crashed = stage.fresh_dir(&format!("w7-crashed-{name}"))?;
        let work = stage.fresh_dir(&format!("w7-{name}"))?;
        let entries = stage.plan.entries;
        child::wait_for_death(&["load-and-die", name, utf8(&crashed)?, &entries.to_string()])?;
        Ok(Box::new(OpenRun { name, entries, clean, crashed: Copied::new(crashed, work) }))
    }
}

struct OpenRun {
    name: &'static str,
    entries: u64,
    clean: PathBuf,
    crashed: Copied,
}

impl OpenRun {
    fn open(&self, dir: &Path, options: &[&str]) -> Result<Opened> {
        warm_up(dir)?;
        let entries = self.entries.to_string();
        let arguments = ["open", self.name, utf8(dir)?, &entries];
        child::ask(&[&arguments, options].concat())
    }
}

/// Reads all files, so that all of them are in the page cache.
fn warm_up(dir: &Path) -> Result<()> {
    for file in fs::read_dir(dir)? {
        io::copy(&mut File::open(file?.path())?, &mut io::sink())?;
    }
    Ok(())
}

impl Run for OpenRun {
    fn round(&mut self) -> Result<Figures> {
        // Opening changes a directory: the one that was left in order is left so again, the other one is put back.
        let clean = self.open(&self.clean, &[])?;
        self.crashed.restore()?;
        rustix::fs::sync();
        let crashed = self.open(&self.crashed.work, &["--crash"])?;
        Ok(vec![
            ("after a clean close", clean.ms),
            ("after a clean close, memory added", clean.memory_kib / 1024.0),
            ("after a crash", crashed.ms),
            ("after a crash, memory added", crashed.memory_kib / 1024.0),
        ])
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        fs::remove_dir_all(&self.crashed.original)?;
        fs::remove_dir_all(&self.crashed.work)?;
        Ok(())
    }
}

/// A directory of files and its copy, which is used, and then made the same again.
struct Copied {
    original: PathBuf,
    work: PathBuf,
    /// The copies as they were when they were made.
    made: HashMap<OsString, State>,
}

/// What tells that a file has changed.
type State = (SystemTime, u64);

fn state(metadata: &Metadata) -> Result<State> {
    Ok((metadata.modified()?, metadata.len()))
}

impl Copied {
    fn new(original: PathBuf, work: PathBuf) -> Copied {
        Copied { original, work, made: HashMap::new() }
    }

    /// Copies what is not as it was, and removes what was not there.
    fn restore(&mut self) -> Result<()> {
        for file in fs::read_dir(&self.work)? {
            let file = file?;
            let is_as_made = self.made.get(&file.file_name()) == Some(&state(&file.metadata()?)?);
            if !is_as_made {
                self.made.remove(&file.file_name());
                fs::remove_file(file.path())?;
            }
        }
        for file in fs::read_dir(&self.original)? {
            let file = file?;
            let copy = self.work.join(file.file_name());
            if !copy.exists() {
                fs::copy(file.path(), &copy)?;
                self.made.insert(file.file_name(), state(&fs::metadata(&copy)?)?);
            }
        }
        Ok(())
    }
}
