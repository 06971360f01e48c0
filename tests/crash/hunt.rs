//! Many histories, explored on several cores.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::explore::{Explorer, Seen, Tally};
use crate::generate::{self, History, Trouble};
use crate::history::Wrap;
use raft_journal::io::sim::SimFs;

/// All that befalls histories.
pub const TROUBLES: [Trouble; 3] = [Trouble::None, Trouble::CrashLoop, Trouble::Faults];

/// A history in which a promise was broken.
#[derive(Clone)]
pub struct Failure {
    pub seed: u64,
    pub trouble: Trouble,
    /// As short as it could be made.
    pub history: History,
    pub said: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, trouble, history, said } = self;
        writeln!(f, "history {seed} with trouble {trouble:?} breaks a promise: {said}")?;
        writeln!(f, "the shortest history that does: {history:#?}")?;
        write!(f, "again: cargo run --release --features sim --example crash_hunt -- --seed {seed} --histories 1")
    }
}

/// What a hunt came to.
#[derive(Clone, Default)]
pub struct Catch {
    pub tallies: Vec<(Trouble, Tally)>,
    pub histories: u64,
    pub failure: Option<Failure>,
}

impl Catch {
    pub fn distinct(&self) -> u64 {
        self.tallies.iter().map(|(_, tally)| tally.distinct()).sum()
    }

    fn add(&mut self, trouble: Trouble, tally: &Tally) {
        if let Some((_, sum)) = self.tallies.iter_mut().find(|(other, _)| *other == trouble) {
            return sum.add(tally);
        }
        self.tallies.push((trouble, tally.clone()));
    }
}

pub fn plain() -> Wrap {
    Arc::new(|fs: SimFs| Arc::new(fs))
}

/// Explores the histories of these seeds, until so many different states were met or something fails. `progress` hears how many
/// it is now and then.
pub fn hunt(seeds: Range<u64>, states_max: u64, progress: &(dyn Fn(u64) + Sync)) -> Catch {
    let (seen, next, over) = (Seen::new(), AtomicU64::new(seeds.start), AtomicBool::new(false));
    let sum = Mutex::new(Catch::default());
    let worker = || {
        while !over.load(Ordering::Relaxed) && seen.count() < states_max {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            for trouble in TROUBLES {
                let history = generate::history(seed, trouble);
                let (tally, result) = Explorer::new(&seen, plain()).explore(&history);
                progress(seen.count());
                let mut sum = sum.lock().expect("no worker panics here");
                sum.add(trouble, &tally);
                sum.histories += 1;
                if let Err(said) = result
                    && !over.swap(true, Ordering::Relaxed)
                {
                    let (history, said) = shrink(history, said);
                    sum.failure = Some(Failure { seed, trouble, history, said });
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..cores).for_each(|_| _ = scope.spawn(worker));
    });
    sum.into_inner().expect("no worker panics here")
}

/// The shortest history that still fails, leaving out steps one after the other; and how it fails.
pub fn shrink(mut history: History, mut said: String) -> (History, String) {
    let fails = |history: &History| Explorer::new(&Seen::new(), plain()).explore(history).1.err();
    let mut at = history.ops.len();
    while at > 0 {
        at = at.min(history.ops.len());
        if at == 0 {
            break;
        }
        let mut shorter = history.clone();
        shorter.ops.remove(at - 1);
        match fails(&shorter) {
            Some(now) => (history, said) = (shorter, now),
            None => {}
        }
        at -= 1;
    }
    (history, said)
}
