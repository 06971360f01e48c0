//! Runs a workload: the contestants in turn, another one first each time, a `sync` before each turn.

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use crate::contestant::Contestant;
use crate::result::{Column, Figures, Table};
use crate::workloads::{Run, Stage, Workload};

/// One that takes part, until it fails.
struct Entrant {
    contestant: &'static dyn Contestant,
    run: Option<Box<dyn Run>>,
    rounds: Vec<Figures>,
}

impl Entrant {
    fn turn(&mut self, is_last: bool, counts: bool) -> Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        if !is_last {
            return run.lap();
        }
        let figures = run.round()?;
        if counts {
            self.rounds.push(figures);
        }
        Ok(())
    }
}

/// Who takes turns after whom: another one begins each time, and every second time it goes the other way round, so that
/// nobody always comes after the same one and what that one has left in the background.
fn order(number: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).map(|turn| (number + turn) % count).collect();
    if number % 2 == 1 {
        order.reverse();
    }
    order
}

/// Runs one workload and returns its table, and whether all went well.
///
/// # Errors
///
/// None of a contestant's: one that fails is out, and a note says so.
pub fn run(
    workload: &dyn Workload,
    contestants: &[&'static dyn Contestant],
    rounds: usize,
    stage: &mut Stage,
) -> Result<(Table, bool)> {
    let mut failures = Vec::new();
    let progress = progress_bar(workload.id(), (contestants.len() * (rounds + 2)) as u64)?;
    let mut entrants = Vec::new();
    for &contestant in contestants {
        progress.set_message(format!("{}: getting ready", contestant.name()));
        let able = workload.metrics().iter().any(|metric| contestant.lacks(metric.needs).is_none());
        let run = match able.then(|| workload.start(stage, contestant)).transpose() {
            Ok(run) => run,
            Err(error) => {
                failures.push(format!("{}: failed before the first round: {error:#}", contestant.name()));
                None
            }
        };
        entrants.push(Entrant { contestant, run, rounds: Vec::new() });
        progress.inc(1);
    }
    let laps = workload.laps();
    // One round more than counted: the first one warms up.
    for round in 0..=rounds {
        for lap in 0..=laps {
            for at in order(round + lap, entrants.len()) {
                let entrant = &mut entrants[at];
                progress.set_message(format!("{}: round {round} of {rounds}", entrant.contestant.name()));
                rustix::fs::sync();
                if let Err(error) = entrant.turn(lap == laps, round > 0) {
                    failures.push(format!("{}: failed in round {round}: {error:#}", entrant.contestant.name()));
                    entrant.run = None;
                }
            }
        }
        progress.inc(entrants.len() as u64);
    }
    for entrant in &mut entrants {
        if let Some(Err(error)) = entrant.run.take().map(|run| run.finish(stage)) {
            failures.push(format!("{}: failed at its end: {error:#}", entrant.contestant.name()));
        }
    }
    progress.finish_and_clear();
    let ok = failures.is_empty();
    Ok((table(workload, stage, entrants, failures), ok))
}

fn table(workload: &dyn Workload, stage: &Stage, entrants: Vec<Entrant>, failures: Vec<String>) -> Table {
    let mut notes = failures;
    for entrant in &entrants {
        for metric in workload.metrics() {
            if let Some(why) = entrant.contestant.lacks(metric.needs) {
                let note = format!("{} {why}", entrant.contestant.name());
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
    let column = |entrant: Entrant| Column { name: entrant.contestant.name().to_owned(), rounds: entrant.rounds };
    Table {
        workload: workload.id(),
        title: workload.title(&stage.plan),
        metrics: workload.metrics().to_vec(),
        columns: entrants.into_iter().map(column).collect(),
        notes,
    }
}

/// A progress bar on standard error, where that is a terminal.
///
/// # Errors
///
/// None that happens.
pub fn progress_bar(name: &'static str, turns: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} [{elapsed}] {wide_bar} {pos}/{len} {msg}")
        .map_err(|error| anyhow!("a template of ours: {error}"))?;
    let progress = ProgressBar::new(turns).with_style(style).with_prefix(name);
    progress.enable_steady_tick(std::time::Duration::from_secs(1));
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_begins_and_follows_others_in_turn() {
        assert_eq!([order(0, 3), order(1, 3), order(2, 3)], [[0, 1, 2], [0, 2, 1], [2, 0, 1]]);
        assert_eq!([order(3, 3), order(4, 3), order(5, 3)], [[2, 1, 0], [1, 2, 0], [1, 0, 2]]);
    }
}
