//! Loses power in every way at every moment of random histories, until so many different states were recovered.
//!
//! `cargo run --release --features sim --example crash_hunt -- --states 1000000 --seed 0`

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

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Explores what power cuts leave of a journal.
#[derive(Parser)]
struct Arguments {
    /// Stops after so many different states.
    #[arg(long, default_value_t = 1_000_000)]
    states: u64,
    /// The first history.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stops after so many histories, too.
    #[arg(long, default_value_t = u64::MAX / 2)]
    histories: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bar = ProgressBar::new(arguments.states);
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} states, {per_sec}, {eta} left").expect("a template"),
    );
    let begun = Instant::now();
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.histories);
    let caught = hunt::hunt(seeds, arguments.states, &|states| bar.set_position(states));
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    for (trouble, tally) in &caught.tallies {
        println!("{trouble:?} {tally:#?}");
    }
    println!(
        "{} states of {} histories in {seconds:.1} s: {:.0} a second",
        caught.distinct(),
        caught.histories,
        caught.distinct() as f64 / seconds
    );
    match &caught.failure {
        Some(failure) => println!("FAILED: {failure}"),
        None if caught.distinct() == 0 => println!("FAILED: nothing was explored"),
        None => return ExitCode::SUCCESS,
    }
    ExitCode::FAILURE
}
