//! Many histories, explored on several cores.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::explore::{Class, Explorer, Seen, Tally};
use crate::generate::{self, History, Trouble};
use crate::history::Wrap;
use raft_journal::io::sim::SimFs;

/// A history in which a promise was broken, as short as it could be made.
pub struct Failure {
    pub history: History,
    /// How it was broken.
    pub said: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { history, said } = self;
        writeln!(f, "{said}")?;
        writeln!(f, "The shortest history that does this: {history:#?}")?;
        let again = "cargo run --release --features sim --example crash_hunt --";
        write!(f, "Again: {again} --seed {} --histories 1", history.seed)
    }
}

/// What a hunt came to.
#[derive(Default)]
pub struct Catch {
    tallies: Vec<(Trouble, Tally)>,
    pub histories: u64,
    pub failures: Vec<Failure>,
}

impl Catch {
    /// How many different disks were met.
    pub fn distinct(&self) -> u64 {
        self.tallies.iter().map(|(_, tally)| tally.distinct()).sum()
    }

    fn add(&mut self, trouble: Trouble, tally: &Tally) {
        self.histories += 1;
        match self.tallies.iter_mut().find(|(other, _)| *other == trouble) {
            Some((_, sum)) => sum.add(tally),
            None => self.tallies.push((trouble, tally.clone())),
        }
    }

    fn failures_of(&self, trouble: Trouble) -> usize {
        self.failures.iter().filter(|failure| failure.history.trouble == trouble).count()
    }
}

/// The table: fault class, states, failures.
impl fmt::Display for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| trouble | power lost | different states |")?;
        writeln!(f, "|---|---|---|")?;
        let mut all = Tally::default();
        for (trouble, tally) in &self.tallies {
            for class in Class::ALL {
                let states = tally.states.get(&class).copied().unwrap_or_default();
                writeln!(f, "| {} | {} | {states} |", trouble.name(), class.name())?;
            }
            all.add(tally);
        }
        writeln!(f)?;
        writeln!(f, "| trouble | states | judged | crash points | failures |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (trouble, tally) in &self.tallies {
            let (states, failures) = (tally.distinct(), self.failures_of(*trouble));
            let Tally { judged, crash_points, .. } = tally;
            writeln!(f, "| {} | {states} | {judged} | {crash_points} | {failures} |", trouble.name())?;
        }
        writeln!(f)?;
        writeln!(f, "| what recovery decided | times |")?;
        writeln!(f, "|---|---|")?;
        all.rows.iter().try_for_each(|(row, times)| writeln!(f, "| {row} | {times} |"))
    }
}

/// Nothing between a journal and its disk.
pub fn plain() -> Wrap {
    Arc::new(|fs: SimFs| Arc::new(fs))
}

/// Explores the histories of these seeds, until so many different states were met or something fails. `progress` hears
/// how many there were.
pub fn hunt(seeds: Range<u64>, states_max: u64, wrap: &Wrap, progress: &(dyn Fn(u64) + Sync)) -> Catch {
    let (seen, next, over) = (Seen::new(), AtomicU64::new(seeds.start), AtomicBool::new(false));
    let sum = Mutex::new(Catch::default());
    let explore = |seed: u64, trouble: Trouble| {
        let history = generate::history(seed, trouble);
        let (tally, result) = Explorer::new(&seen, states_max, Arc::clone(wrap)).explore(&history);
        progress(seen.count());
        let failure =
            result.err().filter(|_| !over.swap(true, Ordering::Relaxed)).map(|said| shrink(history, said, wrap));
        let mut sum = sum.lock().expect("no worker panics here");
        sum.add(trouble, &tally);
        sum.failures.extend(failure);
    };
    let worker = || {
        while !over.load(Ordering::Relaxed) && seen.count() < states_max {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            Trouble::ALL.into_iter().for_each(|trouble| explore(seed, trouble));
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..cores).for_each(|_| _ = scope.spawn(worker));
    });
    let mut sum = sum.into_inner().expect("no worker panics here");
    sum.tallies.sort_by_key(|(trouble, _)| *trouble);
    sum
}

/// The shortest history that still fails, leaving out one step after the other from the end; and how it fails.
fn shrink(mut history: History, mut said: String, wrap: &Wrap) -> Failure {
    for at in (0..history.ops.len()).rev() {
        let mut shorter = history.clone();
        shorter.ops.remove(at);
        if let Err(now) = Explorer::new(&Seen::new(), u64::MAX, Arc::clone(wrap)).explore(&shorter).1 {
            (history, said) = (shorter, now);
        }
    }
    Failure { history, said }
}
