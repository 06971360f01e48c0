//! Many seeds, explored on several cores: of each seed, what every class of faults makes of it.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::explore::{Class, Explorer, Seen, Tally};
use crate::generate::{self, History, Trouble};
use crate::history::Wrap;
use crate::model::Op;
use raft_journal::io::sim::SimFs;

/// A seed with which a promise was broken.
pub struct Failure {
    pub seed: u64,
    /// How it was broken.
    pub said: String,
    /// The history, as short as it could be made.
    pub history: Short,
}

/// A history that was made shorter.
pub struct Short {
    /// How many steps are left.
    pub steps: usize,
    /// All of it, as it is printed.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, said, history } = self;
        writeln!(f, "{said}")?;
        writeln!(f, "The shortest history that does this: {}", history.text)?;
        let features = if cfg!(feature = "encryption") { "sim,encryption" } else { "sim" };
        write!(
            f,
            "Again: cargo run --release --features {features} --example crash_hunt -- --seed {seed} --histories 1"
        )
    }
}

/// A class of faults.
pub trait Faults: Sync {
    fn name(&self) -> &'static str;

    /// Where its states come from.
    fn sources(&self) -> &'static [&'static str];

    /// Explores what belongs to a seed; what it came to so far, and what went wrong.
    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>);

    /// A failure of a seed, as short as it can be made.
    fn shrink(&self, seed: u64, said: String) -> Failure;
}

/// What is left when as much as possible is left out: long runs first, single steps last, always from the end. `still`
/// says whether the rest fails as before.
pub fn leave_out<T: Clone>(steps: &[T], mut still: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = steps.to_vec();
    let mut count = left.len();
    while count > 0 {
        let mut end = left.len();
        while end > 0 {
            let begin = end.saturating_sub(count);
            let shorter = [&left[..begin], &left[end..]].concat();
            if still(&shorter) {
                left = shorter;
            }
            end = begin;
        }
        count /= 2;
    }
    left
}

/// Power lost in histories that have some trouble besides.
struct PowerCuts {
    trouble: Trouble,
    wrap: Wrap,
}

impl Faults for PowerCuts {
    fn name(&self) -> &'static str {
        self.trouble.name()
    }

    fn sources(&self) -> &'static [&'static str] {
        &Class::NAMES
    }

    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>) {
        Explorer::new(seen, Arc::clone(&self.wrap)).explore(&generate::history(seed, self.trouble))
    }

    /// Whatever else goes wrong with fewer steps is as good a failure.
    fn shrink(&self, seed: u64, mut said: String) -> Failure {
        let mut history = generate::history(seed, self.trouble);
        let explore = |ops: &[Op]| {
            let shorter = History { ops: ops.to_vec(), ..history.clone() };
            Explorer::new(&Seen::without_end(), Arc::clone(&self.wrap)).explore(&shorter).1
        };
        let ops = leave_out(&history.ops, |ops| explore(ops).map_err(|now| said = now).is_err());
        history.ops = ops;
        Failure { seed, said, history: Short { steps: history.ops.len(), text: format!("{history:#?}") } }
    }
}

/// Power cuts with every trouble; `wrap` stands between journals and their disks.
pub fn power_cuts(wrap: &Wrap) -> Vec<Box<dyn Faults>> {
    let class = |trouble| Box::new(PowerCuts { trouble, wrap: Arc::clone(wrap) }) as Box<dyn Faults>;
    Trouble::ALL.into_iter().map(class).collect()
}

/// Nothing between a journal and its disk.
pub fn plain() -> Wrap {
    Arc::new(|fs: SimFs| Arc::new(fs))
}

/// What a hunt came to with one class of faults.
struct Bag {
    name: &'static str,
    sources: &'static [&'static str],
    tally: Tally,
    failures: u64,
    /// How long workers were at it, all in all.
    busy: Duration,
}

/// What a hunt came to.
pub struct Catch {
    bags: Vec<Bag>,
    pub seeds: u64,
    pub failures: Vec<Failure>,
}

impl Catch {
    fn of(classes: &[Box<dyn Faults>]) -> Catch {
        let names = classes.iter().map(|class| (class.name(), class.sources()));
        let bags = names.map(|(name, sources)| Bag {
            name,
            sources,
            tally: Tally::default(),
            failures: 0,
            busy: Duration::ZERO,
        });
        Catch { bags: bags.collect(), seeds: 0, failures: Vec::new() }
    }

    /// How many different disks were met.
    pub fn distinct(&self) -> u64 {
        self.bags.iter().map(|bag| bag.tally.distinct()).sum()
    }

    /// Everything together.
    pub fn all(&self) -> Tally {
        let mut all = Tally::default();
        self.bags.iter().for_each(|bag| all.add(&bag.tally));
        all
    }
}

/// The tables: fault class, states, failures; where the states come from; what was decided.
impl fmt::Display for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault class | where its states come from | different states |")?;
        writeln!(f, "|---|---|---|")?;
        for Bag { name, sources, tally, .. } in &self.bags {
            for source in *sources {
                let states = tally.states.get(source).copied().unwrap_or_default();
                writeln!(f, "| {name} | {source} | {states} |")?;
            }
        }
        writeln!(f)?;
        let all = self.all();
        for (title, rows) in [("what the histories did", &all.done), ("what recovery decided", &all.rows)] {
            writeln!(f, "| {title} | times |")?;
            writeln!(f, "|---|---|")?;
            rows.iter().try_for_each(|(row, times)| writeln!(f, "| {row} | {times} |"))?;
            writeln!(f)?;
        }
        writeln!(f, "| in its history before | different states of journals that lost power |")?;
        writeln!(f, "|---|---|")?;
        all.since.iter().try_for_each(|(kind, states)| writeln!(f, "| {kind} | {states} |"))?;
        writeln!(f)?;
        writeln!(f, "| fault class | states | judged | crash points | seconds of a core | failures |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        let mut row = |name: &str, tally: &Tally, busy: Duration, failures: u64| {
            let Tally { judged, crash_points, .. } = tally;
            let (states, seconds) = (tally.distinct(), busy.as_secs());
            writeln!(f, "| {name} | {states} | {judged} | {crash_points} | {seconds} | {failures} |")
        };
        self.bags.iter().try_for_each(|bag| row(bag.name, &bag.tally, bag.busy, bag.failures))?;
        let (busy, failures) = (self.bags.iter().map(|bag| bag.busy), self.bags.iter().map(|bag| bag.failures));
        row("all", &all, busy.sum(), failures.sum())
    }
}

/// Explores what every class of faults makes of these seeds, one class after the other, until `seen` has enough or
/// something fails.
pub fn hunt(seeds: Range<u64>, classes: &[Box<dyn Faults>], seen: &Seen) -> Catch {
    let (next, over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let sum = Mutex::new(Catch::of(classes));
    let explore = |seed: u64, at: usize, class: &dyn Faults| {
        let begun = Instant::now();
        let (tally, result) = class.explore(seed, seen);
        let busy = begun.elapsed();
        let first = result.err().filter(|_| !over.swap(true, Ordering::Relaxed));
        let failure = first.map(|said| class.shrink(seed, said));
        let mut sum = sum.lock().expect("no worker panics here");
        let bag = &mut sum.bags[at];
        bag.tally.add(&tally);
        bag.busy += busy;
        bag.failures += u64::from(failure.is_some());
        sum.failures.extend(failure);
    };
    let worker = || {
        while !over.load(Ordering::Relaxed) && !seen.is_enough() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            classes.iter().enumerate().for_each(|(at, class)| explore(seed, at, &**class));
            sum.lock().expect("no worker panics here").seeds += 1;
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..cores).for_each(|_| _ = scope.spawn(worker));
    });
    sum.into_inner().expect("no worker panics here")
}
