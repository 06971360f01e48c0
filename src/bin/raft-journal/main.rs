//! The program `raft-journal`.

mod arguments;
mod bench;
mod checkpoint;
mod dump;
mod failure;
mod info;
mod keys;
mod list;
mod output;
mod recover;
mod repair;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use raft_journal::{Damage, Error, Journal, OnDamage};

use arguments::{Arguments, Command};
use failure::{Failure, Outcome};
use keys::Keys;
use output::{BAD, FAINT, Output, STRONG};

fn main() -> ExitCode {
    let arguments = Arguments::parse().checked().unwrap_or_else(|error| error.exit());
    let json = arguments.json;
    match run(arguments) {
        Ok(outcome) => outcome.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, json);
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let mut out = Output::new(arguments.json);
    let outcome = match arguments.command {
        Command::Info(journal) => info::run(&mut out, &journal)?,
        Command::Ls(journal) => list::run(&mut out, &journal)?,
        Command::Dump(dump) => dump::run(&mut out, &dump)?,
        Command::Verify(verify) => verify::run(&mut out, &verify)?,
        Command::Repair(repair) => repair::run(&mut out, &repair)?,
        Command::Recover(recover) => recover::run(&mut out, &recover)?,
        Command::Checkpoint(checkpoint) => checkpoint::run(&mut out, &checkpoint)?,
        Command::Bench(bench) => bench::run(&mut out, &bench)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "raft-journal", &mut script);
            out.line(String::from_utf8_lossy(&script).trim_end())?;
            Outcome::Fine
        }
    };
    out.finish()?;
    Ok(outcome)
}

/// Says on standard error what went wrong, and what to do; with `--json`, for programs.
fn tell(failure: &Failure, json: bool) {
    if json {
        let document = serde_json::json!({ "error": failure.to_string(), "hint": failure.hint() });
        anstream::eprintln!("{document}");
        return;
    }
    anstream::eprintln!("{BAD}error{BAD:#}: {failure}");
    if let Some(hint) = failure.hint() {
        anstream::eprintln!("{STRONG}hint{STRONG:#}: {FAINT}{hint}{FAINT:#}");
    }
}

/// A journal that is looked at, and what a strict open would have refused it for.
struct Look {
    journal: Journal,
    refused: Option<Arc<Damage>>,
}

/// Opens a journal for reading, its damage included: a tool that looks must not need a sound one.
fn look(dir: &Path, keys: &Keys) -> Result<Look, Failure> {
    let options = keys.options()?.read_only(true);
    match options.open(dir) {
        Err(Error::Damaged(damage)) => match options.on_damage(OnDamage::Accept).open(dir) {
            // The file that the log ends in is lost: a reader has nothing to read from, and that is why.
            Err(Error::NotAJournal { .. }) => Err(Error::Damaged(damage).into()),
            opened => Ok(Look { journal: opened?, refused: Some(damage) }),
        },
        opened => Ok(Look { journal: opened?, refused: None }),
    }
}
