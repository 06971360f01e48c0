//! raft-journal, its peers and the bare disk, in turn, on the same work.
//!
//! ```text
//! cargo run --release -p versus                                  # W1 to W9
//! cargo run --release -p versus -- --quick                       # only to see that all of it runs
//! cargo run --release -p versus -- --workload W1,W2 --only floor,raft-journal
//! cargo run --release -p versus -- --json all.json --svg all.svg
//! ```
//!
//! Tables come in Markdown on standard output, progress on standard error. Each cell has the median of all rounds and,
//! in bold, its ratio to the floor: taken pair by pair within a round, then the median of the rounds, the lowest and
//! the highest in brackets. Times drift with the machine and the hour; hold the ratios.
//!
//! The directory (`--dir`) must be on the disk that is meant, with some 20 GB free, and enough memory to keep a few
//! gigabytes of it cached. Nothing else should run beside it.
#![forbid(unsafe_code)]

mod child;
mod contestant;
mod contestants;
mod measure;
mod options;
mod payload;
mod report;
mod result;
mod rounds;
mod subject;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::contestant::Contestant;
use crate::options::{Cli, Options, Plan};
use crate::workloads::Stage;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.child {
        Some(child) => child::run(child).map(|()| ExitCode::SUCCESS),
        None => run(&cli.options),
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let contestants = contestants(&options.only)?;
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    ensure!(!is_in_memory(&parent)?, "{} is in memory: choose a directory on a disk with --dir", parent.display());
    let root = tempfile::Builder::new().prefix("versus-").tempdir_in(&parent)?;
    let plan = Plan::new(options);
    let mut all_ok = true;
    println!(
        "Medians of {} rounds; ratios to the floor in bold, lowest and highest round in brackets.\n",
        options.rounds
    );
    let mut stage = Stage::new(root.path(), plan);
    for workload in workloads(&options.workload)? {
        let (table, ok) = rounds::run(&*workload, &contestants, options.rounds, &mut stage)?;
        println!("{}", report::table(&table));
        all_ok &= ok;
    }
    println!("{}", report::settings(&contestants));
    root.close().context("the directory of the logs cannot be removed")?;
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The contestants with these names, in their own order; all if there are none.
fn contestants(names: &[String]) -> Result<Vec<&'static dyn Contestant>> {
    for name in names {
        if contestants::named(name).is_none() {
            let known: Vec<&str> = contestants::ALL.iter().map(|contestant| contestant.name()).collect();
            bail!("no contestant is called `{name}`; there are {}", known.join(", "));
        }
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    Ok(contestants::ALL.iter().copied().filter(|contestant| wanted(contestant.name())).collect())
}

/// The workloads with these names, in their own order; all if there are none.
fn workloads(names: &[String]) -> Result<Vec<Box<dyn workloads::Workload>>> {
    let all = workloads::all();
    for name in names {
        if !all.iter().any(|workload| workload.id().eq_ignore_ascii_case(name)) {
            let known: Vec<&str> = all.iter().map(|workload| workload.id()).collect();
            bail!("no workload is called `{name}`; there are {}", known.join(", "));
        }
    }
    let wanted = |id: &str| names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(id));
    Ok(all.into_iter().filter(|workload| wanted(workload.id())).collect())
}

fn is_in_memory(dir: &Path) -> Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir).with_context(|| format!("{} cannot be looked at", dir.display()))?.f_type as u64;
    Ok(kind == TMPFS || kind == RAMFS)
}
