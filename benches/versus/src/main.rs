//! raft-journal, its peers and the bare disk, in turn, on the same work.
//!
//! ```text
//! cargo run --release -p versus                                  # W1 to W9, all contestants
//! cargo run --release -p versus -- --quick                       # only to see that all of it runs
//! cargo run --release -p versus -- --workload W1,W2 --only floor,raft-journal
//! cargo run --release -p versus -- --json all.json --svg all.svg
//! cargo run --release -p versus -- --workload growth,journals --svg plot.svg   # plot-growth.svg, plot-journals.svg
//! cargo run --release -p versus -- --dir /mnt/journaled          # on another file system
//! ```
//!
//! Tables come in Markdown on standard output, progress on standard error. Each cell has the median of all rounds and,
//! in bold, its ratio to the floor: taken pair by pair within a round, then the median of the rounds, the lowest and
//! the highest in brackets. Times drift with the machine and the hour; hold the ratios.
//!
//! Contestants take turns within one process, each round beginning with the next one, with a `sync` before each turn.
//! One round more than asked for warms up. Payloads are half random, half words.
//!
//! The directory (`--dir`, the system's temporary one unless given) must be on the disk that is meant, with some 20 GB
//! free, and there should be enough memory to keep as much of it cached. Nothing else should run meanwhile.
#![forbid(unsafe_code)]

mod child;
mod contestant;
mod contestants;
mod measure;
mod options;
mod output;
mod payload;
mod plot;
mod report;
mod result;
mod rounds;
mod series;
mod subject;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::contestant::Contestant;
use crate::options::{Cli, Options, Plan};
use crate::output::Output;
use crate::workloads::{Stage, growth, journals};

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.child {
        Some(child) => child::run(child).map(|()| ExitCode::SUCCESS),
        None => run(&cli.options),
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let contestants = contestants(&options.only)?;
    let names = workload_names(&options.workload)?;
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    ensure!(!is_in_memory(&parent)?, "{} is in memory: choose a directory on a disk with --dir", parent.display());
    let root = tempfile::Builder::new().prefix("versus-").tempdir_in(&parent)?;
    let mut stage = Stage::new(root.path(), Plan::new(options));
    let mut output = Output::new(options.rounds);
    let mut all_ok = true;
    println!(
        "Medians of {} rounds; ratios to the floor in bold, lowest and highest round in brackets.\n",
        options.rounds
    );
    for workload in workloads::all().iter().filter(|workload| names.contains(&workload.id())) {
        let (table, ok) = rounds::run(&**workload, &contestants, options.rounds, &mut stage)?;
        stage.clear()?;
        println!("{}", report::table(&table));
        output.tables.push(table);
        // What was measured stays, whatever ends the run early.
        output.write(options)?;
        all_ok &= ok;
    }
    if !output.tables.is_empty() {
        println!("{}", report::settings(&contestants));
    }
    for (name, measure) in ALONE {
        if names.contains(&name) {
            let series = measure(&stage, options.rounds)?;
            println!("{}", report::table(&series.table));
            output.series.push(series);
            output.write(options)?;
        }
    }
    root.close().context("the directory of the logs cannot be removed")?;
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type MeasureAlone = fn(&Stage, usize) -> Result<series::Series>;

/// The workloads of the journal alone, which run when they are asked for.
const ALONE: [(&str, MeasureAlone); 2] = [("growth", growth::run), ("journals", journals::run)];

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

/// The workloads with these names, in their own spelling; W1 to W9 if there are none.
fn workload_names(names: &[String]) -> Result<Vec<&'static str>> {
    let compared: Vec<&str> = workloads::all().iter().map(|workload| workload.id()).collect();
    if names.is_empty() {
        return Ok(compared);
    }
    let known: Vec<&str> = compared.into_iter().chain(ALONE.map(|(name, _)| name)).collect();
    let find = |name: &String| {
        let found = known.iter().copied().find(|known| known.eq_ignore_ascii_case(name));
        found.with_context(|| format!("no workload is called `{name}`; there are {}", known.join(", ")))
    };
    names.iter().map(find).collect()
}

fn is_in_memory(dir: &Path) -> Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(dir).with_context(|| format!("{} cannot be looked at", dir.display()))?.f_type as u64;
    Ok(kind == TMPFS || kind == RAMFS)
}
