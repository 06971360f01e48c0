//! Bugs on purpose, each of which some store has had: the crash simulation must catch every one, within a bounded number
//! of states.
//!
//! Those of what the disk is asked run in every build. The others are in the library, for builds with `--cfg mutate`:
//!
//! ```text
//! RUSTFLAGS='--cfg mutate' CARGO_TARGET_DIR=target/mutate cargo test --features encryption --test mutations
//! ```
//!
//! Each has a number, its row in the table; `-- 07-` behind the command runs the seventh alone.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod disk;
mod explore;
#[path = "../common/pass_on.rs"]
mod pass_on;
// The histories are those of the crash tests; not every part of them is needed here.
#[allow(dead_code)]
#[path = "../crash/generate.rs"]
mod generate;
#[allow(dead_code)]
#[path = "../crash/history.rs"]
mod history;
#[allow(dead_code)]
#[path = "../crash/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../encryption/recorder.rs"]
mod recorder;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use disk::{Disk, Lie};
use explore::{Faults, QUIET, explore};
use history::Wrap;
use libtest_mimic::{Arguments, Failed, Trial};
use table::{Row, Switch, TABLE};

/// The states that each bug was caught in, in the table's order.
static CAUGHT: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

fn main() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            usual(info);
        }
    }));
    let bugs = TABLE.iter().enumerate().filter(|(_, row)| is_built(row));
    let bugs = bugs.map(|(at, row)| Trial::test(numbered(at, row), move || catch(at, row)));
    let sound = Faults::ALL.into_iter().filter(|faults| faults.are_built());
    let sound = sound.map(|faults| Trial::test(format!("no bug under {faults:?}"), move || find_nothing(faults)));
    let trials: Vec<Trial> = sound.chain(bugs).chain(table_trial()).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    print_table();
    conclusion.exit();
}

/// Whether this build can have the bug.
fn is_built(row: &Row) -> bool {
    row.faults.are_built() && (cfg!(mutate) || matches!(row.switch, Switch::Disk(_)))
}

fn name(row: &Row) -> String {
    match row.switch {
        Switch::Disk(lie) => format!("{lie:?}"),
        Switch::Source(name) => name.to_owned(),
    }
}

/// What a bug is chosen by.
fn numbered(at: usize, row: &Row) -> String {
    format!("{:02}-{}", at + 1, name(row))
}

#[cfg(mutate)]
fn switch_on(name: Option<&str>) {
    use raft_journal::mutate::{Mutation, set};
    let named = |mutation: &&Mutation| name == Some(format!("{mutation:?}").as_str());
    set(Mutation::ALL.iter().find(named).copied());
}

#[cfg(not(mutate))]
fn switch_on(_: Option<&str>) {}

/// Where the explorations start from: the same place each time, or where `MUTATIONS_SEED` says.
fn seed() -> u64 {
    std::env::var("MUTATIONS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

fn wrap(lie: Option<Lie>) -> Wrap {
    Arc::new(move |fs| Arc::new(Disk::new(fs, lie)))
}

fn catch(at: usize, row: &Row) -> Result<(), Failed> {
    let (lie, source) = match row.switch {
        Switch::Disk(lie) => (Some(lie), None),
        Switch::Source(name) => (None, Some(name)),
    };
    switch_on(source);
    let outcome = explore(row.faults, seed(), &wrap(lie), row.faults.states_max());
    switch_on(None);
    let states = outcome.states;
    let Some(failure) = outcome.failure else {
        return Err(format!("{states} states under {:?}, and nobody noticed: {}", row.faults, row.bug).into());
    };
    if std::env::var_os("MUTATIONS_VERBOSE").is_some() {
        println!("{}: {}", name(row), failure.lines().next().unwrap_or_default());
    }
    CAUGHT.lock().unwrap().insert(at, states);
    Ok(())
}

fn find_nothing(faults: Faults) -> Result<(), Failed> {
    let outcome = explore(faults, seed(), &wrap(None), faults.states_max());
    match outcome.failure {
        Some(failure) => Err(format!("after {} states: {failure}", outcome.states).into()),
        None => Ok(()),
    }
}

#[cfg(mutate)]
fn table_trial() -> Option<Trial> {
    Some(Trial::test("every bug of the library is in the table", || {
        let mut known: Vec<String> =
            raft_journal::mutate::Mutation::ALL.iter().map(|mutation| format!("{mutation:?}")).collect();
        let in_source = |row: &&Row| matches!(row.switch, Switch::Source(_));
        let mut listed: Vec<String> = TABLE.iter().filter(in_source).map(name).collect();
        known.sort();
        listed.sort();
        if known == listed { Ok(()) } else { Err(format!("{known:?}\n{listed:?}").into()) }
    }))
}

#[cfg(not(mutate))]
fn table_trial() -> Option<Trial> {
    None
}

fn print_table() {
    let caught = CAUGHT.lock().unwrap();
    if caught.is_empty() {
        return;
    }
    println!("\n{:28} | {:14} | {:>19} | bug (who had it)", "mutation", "faults", "states until caught");
    for (&at, states) in caught.iter() {
        let Row { bug, peer, faults, .. } = &TABLE[at];
        println!("{:28} | {:14} | {states:>19} | {bug} ({peer})", numbered(at, &TABLE[at]), format!("{faults:?}"));
    }
    let unbuilt = TABLE.iter().filter(|row| !is_built(row)).count();
    match (caught.len(), unbuilt) {
        (count, 0) if count == TABLE.len() => println!("all {count} bugs caught"),
        (count, 0) => println!("{count} of {} bugs caught", TABLE.len()),
        (count, unbuilt) => {
            let needed = "a build with --cfg mutate and the feature encryption";
            println!("{count} of {} bugs caught; {unbuilt} need {needed}", TABLE.len())
        }
    }
}
