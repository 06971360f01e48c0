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
            metric(CLEAN.0, "ms", Ability::Reopen),
            metric(CLEAN.1, "MiB", Ability::Reopen),
            metric(UNWAITED.0, "ms", Ability::Reopen),
            metric(UNWAITED.1, "MiB", Ability::Reopen),
            metric(WAITED.0, "ms", Ability::ReopenWaited),
            metric(WAITED.1, "MiB", Ability::ReopenWaited),
        ];
        METRICS
    }

    fn start(&self, stage: &mut Stage, contestant: &'static dyn Contestant) -> Result<Box<dyn Run>> {
        let name = contestant.name();
        let entries = stage.plan.entries.to_string();
        let clean = stage.loaded(contestant)?.dir;
        let mut crashed = Vec::new();
        for (row, kind, ability, options) in CRASHES {
            if contestant.lacks(ability).is_none() {
                let original = stage.fresh_dir(&format!("w7-{kind}-{name}"))?;
                let work = stage.fresh_dir(&format!("w7-{kind}-work-{name}"))?;
                child::wait_for_death(&[&["load-and-die", name, utf8(&original)?, &entries], options].concat())?;
                crashed.push((row, Copied::new(original, work)));
            }
        }
        Ok(Box::new(OpenRun { opener: Opener { name, entries }, clean, crashed }))
    }
}

/// What a row of time and one of memory are called.
type Rows = (&'static str, &'static str);

const CLEAN: Rows = ("after a clean close", "after a clean close, memory added");
const UNWAITED: Rows = ("after a crash", "after a crash, memory added");
const WAITED: Rows = (
    "after a crash behind appends that were waited for",
    "after a crash behind appends that were waited for, memory added",
);

/// The crashes: a name for directories, who can be asked for it, and how a child is told.
const CRASHES: [(Rows, &str, Ability, &[&str]); 2] =
    [(UNWAITED, "unwaited", Ability::Reopen, &[]), (WAITED, "waited", Ability::ReopenWaited, &["--wait"])];

struct OpenRun {
    opener: Opener,
    clean: PathBuf,
    crashed: Vec<(Rows, Copied)>,
}

/// Opens logs of one contestant's.
struct Opener {
    name: &'static str,
    entries: String,
}

impl Opener {
    fn open(&self, rows: Rows, dir: &Path, options: &[&str]) -> Result<Figures> {
        warm_up(dir)?;
        let arguments = ["open", self.name, utf8(dir)?, &self.entries];
        let opened: Opened = child::ask(&[&arguments, options].concat())?;
        Ok(vec![(rows.0, opened.ms), (rows.1, opened.memory_kib / 1024.0)])
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
        // Opening changes a directory: the one that was left in order is left so again, the others are put back.
        let mut figures = self.opener.open(CLEAN, &self.clean, &[])?;
        for (rows, crashed) in &mut self.crashed {
            crashed.restore()?;
            figures.extend(self.opener.open(*rows, &crashed.work, &["--crash"])?);
        }
        Ok(figures)
    }

    fn finish(self: Box<Self>, _stage: &mut Stage) -> Result<()> {
        for (_, crashed) in &self.crashed {
            fs::remove_dir_all(&crashed.original)?;
            fs::remove_dir_all(&crashed.work)?;
        }
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

    /// Copies what is not as it was, and removes what was not there; all of it is on the disk then.
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
        rustix::fs::sync();
        Ok(())
    }
}
