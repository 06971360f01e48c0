//! Loses power in every way at every moment of random histories, on all cores, until so many different states were
//! recovered; then says what was explored, and fails if a promise was broken, or nothing explored.
//!
//! ```text
//! cargo run --release --features sim --example crash_hunt -- --states 1000000 --seed 0
//! ```

// The harness is that of `tests/crash`, which uses more of it.
#![allow(dead_code)]

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
    /// The first history's seed; the next ones follow.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stops after so many seeds, too.
    #[arg(long, default_value_t = u64::MAX)]
    histories: u64,
}

fn main() -> ExitCode {
    let Arguments { states, seed, histories } = Arguments::parse();
    let bar = ProgressBar::new(states);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} states, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    let caught = hunt::hunt(seed..seed.saturating_add(histories), states, &hunt::plain(), &|states| {
        bar.set_position(states);
    });
    bar.finish_and_clear();
    println!("{caught}");
    let (found, seconds) = (caught.distinct(), begun.elapsed().as_secs_f64());
    println!(
        "{found} states of {} histories in {seconds:.1} s: {:.0} a second",
        caught.histories,
        found as f64 / seconds
    );
    caught.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if found == 0 {
        println!("FAILED: nothing was explored");
    }
    if found > 0 && caught.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
