//! Loses power in every way at every moment of random histories, damages disks at rest, and lets threads meet in every
//! order, on all cores, until so many different states were recovered; then says what was explored, and fails if a
//! promise was broken, or nothing explored.
//!
//! ```text
//! cargo run --release --features sim --example crash_hunt -- --states 1000000 --seed 0
//! ```

// The harnesses are those of `tests/`, which use more of them.
#![allow(dead_code)]

mod at_rest;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/crash/explore.rs"]
mod explore;
#[path = "../../tests/crash/generate.rs"]
mod generate;
#[path = "../../tests/crash/history.rs"]
mod history;
#[path = "../../tests/crash/hunt.rs"]
mod hunt;
#[path = "../../tests/crash/model.rs"]
mod model;
#[cfg(test)]
#[path = "../../tests/common/pass_on.rs"]
mod pass_on;
mod progress;
mod short;
#[cfg(test)]
mod tests;
mod threads;

#[path = "../../tests/random_damage"]
mod random_damage {
    pub mod oracle;
    pub mod rest;
    pub mod run;
}

#[path = "../../tests/schedules"]
mod schedules {
    pub mod history;
    pub mod judge;
    pub mod plan;
    pub mod world;
}

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use at_rest::AtRest;
use explore::Seen;
use hunt::Faults;
use schedules::world::Around;
use threads::Threads;

/// States are made of many small pieces, and two threads make them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Explores what crashes, damage and threads leave of a journal.
#[derive(Parser)]
struct Arguments {
    /// Stops after so many different states: a million, unless another end is given.
    #[arg(long)]
    states: Option<u64>,
    /// The first seed; the next ones follow. To each belongs a history of every class of faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stops after so many seeds.
    #[arg(long)]
    histories: Option<u64>,
    /// Stops after so many minutes; 0 for no end.
    #[arg(long)]
    minutes: Option<f64>,
}

fn main() -> ExitCode {
    let Arguments { states, seed, histories, minutes } = Arguments::parse();
    let begun = Instant::now();
    let states = states.or((histories.is_none() && minutes.is_none()).then_some(1_000_000));
    // Too long for a clock is no end.
    let until = minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    let until = until.filter(|time| !time.is_zero());
    let seen = Seen::new(states.unwrap_or(u64::MAX), until.and_then(|time| begun.checked_add(time)));
    let mut classes = hunt::power_cuts(&hunt::plain());
    classes.push(Box::new(AtRest { wrap: random_damage::run::plain }) as Box<dyn Faults>);
    let around = Around { thread: threads::quiet_thread, ..Around::NOTHING };
    classes.push(Box::new(Threads { around }) as Box<dyn Faults>);
    let seeds = seed..seed.saturating_add(histories.unwrap_or(u64::MAX));
    let caught = progress::watched(states, || seen.count(), || hunt::hunt(seeds, &classes, &seen));
    println!("{caught}");
    let (found, seconds) = (caught.distinct(), begun.elapsed().as_secs_f64());
    let rate = found as f64 / seconds;
    println!("{found} states of {} seeds in {seconds:.1} s: {rate:.0} a second", caught.seeds);
    caught.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if found == 0 {
        println!("FAILED: nothing was explored");
    }
    if found > 0 && caught.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
