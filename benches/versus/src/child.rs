//! What is done in a process of its own: opening a log, and leaving one as a crash does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json as json;

use crate::contestant::{Contestant, Tuning, When};
use crate::contestants;
use crate::measure::process_status;
use crate::payload::Payloads;
use crate::subject::Subject;
use crate::workloads::{ENTRY_BYTES, growth, journals};

/// What a child does; its answer is a line of JSON.
#[derive(Subcommand, Clone, Debug)]
pub enum Child {
    /// Opens a log, and says how long that took and what memory it added.
    #[command(hide = true)]
    Open {
        contestant: String,
        dir: PathBuf,
        entries: u64,
        /// Ends without closing it.
        #[arg(long)]
        crash: bool,
    },
    /// Loads a log and dies without closing it.
    #[command(hide = true)]
    LoadAndDie {
        contestant: String,
        dir: PathBuf,
        entries: u64,
        /// Waits for each of the appends that fill the last file.
        #[arg(long)]
        wait: bool,
    },
    /// Does what `growth` measures.
    #[command(hide = true)]
    Grow(growth::Task),
    /// Does what `journals` measures.
    #[command(hide = true)]
    Many(journals::Task),
}

/// What opening took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The time, ms.
    pub ms: f64,
    /// Anonymous memory, KiB more than before.
    pub memory_kib: f64,
}

/// Does what a child does.
///
/// # Errors
///
/// The contestant's.
pub fn run(child: &Child) -> Result<()> {
    match child {
        Child::Open { contestant, dir, entries, crash } => {
            let opened = open(named(contestant)?, dir, *entries, *crash)?;
            println!("{}", json::to_string(&opened)?);
        }
        Child::LoadAndDie { contestant, dir, entries, wait } => {
            let when = if *wait { When::Durable } else { When::Unsynced };
            load_and_die(named(contestant)?, dir, *entries, when)?;
        }
        Child::Grow(task) => println!("{}", json::to_string(&growth::measure(task)?)?),
        Child::Many(task) => println!("{}", json::to_string(&journals::measure(task)?)?),
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static dyn Contestant> {
    contestants::named(name).with_context(|| format!("no contestant is called `{name}`"))
}

fn open(contestant: &'static dyn Contestant, dir: &Path, entries: u64, crash: bool) -> Result<Opened> {
    let tuning = Tuning::loaded(ENTRY_BYTES, entries);
    let before = process_status("RssAnon")?;
    let begun = Instant::now();
    let log = contestant.open(dir, &tuning)?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let memory_kib = process_status("RssAnon")? as f64 - before as f64;
    if crash {
        // As a process that is killed: nothing is closed.
        std::mem::forget(log);
    } else {
        log.close()?;
    }
    Ok(Opened { ms, memory_kib })
}

fn load_and_die(contestant: &'static dyn Contestant, dir: &Path, entries: u64, when: When) -> Result<()> {
    let tuning = Tuning { watched: true, ..Tuning::loaded(ENTRY_BYTES, entries) };
    let mut subject = Subject::open(contestant, dir, &tuning, 1)?;
    subject.load_to(entries + 1)?;
    subject.log.fill_file(subject.next, &Payloads::new().next(ENTRY_BYTES), when)?;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}

/// Starts this program again with these arguments and returns what it printed.
///
/// # Errors
///
/// It cannot be started, or it failed.
pub fn ask<T: for<'a> Deserialize<'a>>(arguments: &[&str]) -> Result<T> {
    let output = command(arguments)?.stdout(Stdio::piped()).output()?;
    ensure!(output.status.success(), "`versus {}` ended with {}", arguments.join(" "), output.status);
    Ok(json::from_slice(&output.stdout)?)
}

/// Starts this program again with these arguments, and waits until it kills itself.
///
/// # Errors
///
/// It cannot be started, or it ended in another way.
pub fn wait_for_death(arguments: &[&str]) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    let status = command(arguments)?.stdout(Stdio::null()).status()?;
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    ensure!(killed, "`versus {}` ended with {status}", arguments.join(" "));
    Ok(())
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}
