//! Random damage at rest, and a disk that is full at random writes: a journal and a plain model run the same history,
//! through reopens, kills and power cuts, and the journal must hold what the model holds; what damage took must read as
//! an error, and be told.
//!
//! `DAMAGE_SEEDS` says how many histories each test runs, `DAMAGE_SEED` replays one and prints its steps.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use common::{Disk, entry};
use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use raft_journal::{Damage, Entry, Error, Journal, LogStore, OnDamage, Position, Result, StableStore};

/// Draws numbers (xorshift64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first draws of neighbouring seeds are alike.
        (0..5).for_each(|_| _ = random.bits());
        random
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Says, when a test fails, how to see the failure again.
struct Replay {
    test: &'static str,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Replay { test, seed } = self;
            eprintln!("seed {seed} failed; replay it with");
            eprintln!("DAMAGE_SEED={seed} cargo test --all-features --test random_damage {test} -- --exact");
        }
    }
}

/// Runs a test for every seed, or for the one that is to be replayed; returns what the runs come to, and how many.
fn for_seeds(test: &'static str, usual: u64, run: impl Fn(u64) -> u64) -> (u64, u64) {
    let seeds = match number("DAMAGE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("DAMAGE_SEEDS").unwrap_or(usual),
    };
    let count = seeds.clone().count() as u64;
    let sum = seeds.map(|seed| {
        let _replay = Replay { test, seed };
        run(seed)
    });
    (sum.sum(), count)
}

/// What a journal must hold.
#[derive(Default)]
struct Model {
    purged: Option<Position>,
    entries: BTreeMap<u64, Entry>,
    /// Indexes that damage took; there may have been no entry.
    lost: BTreeSet<u64>,
    term: u64,
    vote: u64,
}

impl Model {
    fn first(&self) -> u64 {
        self.purged.map_or(1, |purged| purged.index + 1)
    }

    fn next(&self) -> u64 {
        let last = self.entries.keys().next_back().max(self.lost.last());
        last.map_or(self.first(), |last| last + 1)
    }

    fn truncate_tail(&mut self, first_removed: u64) {
        self.entries.split_off(&first_removed);
        self.lost.split_off(&first_removed);
    }

    fn truncate_head(&mut self, position: Position) {
        self.entries = self.entries.split_off(&(position.index + 1));
        self.lost = self.lost.split_off(&(position.index + 1));
        self.purged = Some(position);
    }

    /// Compares all that a journal holds.
    fn check(&self, journal: &Journal) {
        let state = journal.state();
        assert_eq!(state.purged, self.purged, "{state:?}");
        if self.first() != self.next() || self.purged.is_some() {
            assert_eq!(state.next_index(), Some(self.next()), "{state:?}");
        }
        assert_eq!(journal.get_u64(b"vote").unwrap().unwrap_or(0), self.vote);
        for index in self.first()..self.next() {
            match (journal.entry(index), self.entries.get(&index)) {
                (Ok(found), Some(entry)) if found == *entry => {}
                (Err(Error::Damaged(_)), _) if self.lost.contains(&index) => {}
                (found, entry) => {
                    let (found, entry) = (found.map(|found| found.position()), entry.map(Entry::position));
                    panic!("entry {index} is {found:?}, not {entry:?}; {state:?}");
                }
            }
        }
    }

    /// Adopts what single damage took from a journal that was opened in spite of it. Nothing else may differ.
    fn suffer(&mut self, journal: &Journal) {
        let next = journal.state().next_index();
        self.lost = self.entries.keys().copied().filter(|&index| is_lost(journal, index)).collect();
        // Where the end is lost, the log ends no lower than it did, and what is beyond was never there to be read.
        if let Some(next) = next.filter(|_| !journal.recovery_report().damaged.is_empty()) {
            self.lost.extend(self.next()..next);
        }
    }
}

fn is_lost(journal: &Journal, index: u64) -> bool {
    matches!(journal.entry(index), Err(Error::Damaged(_)))
}

fn open(sim: &SimFs, on_damage: OnDamage) -> Result<Journal> {
    let disk = Disk::of(sim.clone());
    disk.options().tail_cache_bytes(0).on_damage(on_damage).open(&disk.dir)
}

/// A journal, what it must hold, and the disk it lives on.
struct Run {
    random: Random,
    sim: SimFs,
    journal: Journal,
    model: Model,
}

impl Run {
    fn new(seed: u64) -> Run {
        let sim = SimFs::with_seed(seed);
        let journal = open(&sim, OnDamage::Refuse).unwrap();
        Run { random: Random::new(seed), sim, journal, model: Model { term: 1, ..Model::default() } }
    }

    /// One random operation. The model follows only when it succeeds.
    fn step(&mut self) -> Result<()> {
        match self.random.below(20) {
            0..=11 => self.append(),
            12..=14 => self.replace_tail(),
            15 => self.truncate_tail(),
            16 => self.truncate_head(),
            17 if self.random.one_in(3) => self.install_snapshot(),
            _ => self.vote(),
        }
    }

    fn append(&mut self) -> Result<()> {
        let (first, count) = (self.model.next(), 1 + self.random.below(4));
        let bytes = [30, 300, 700][self.random.below(3) as usize];
        let batch: Vec<Entry> = (first..first + count).map(|index| entry(index, self.model.term, bytes)).collect();
        trace(|| format!("append {first} +{count}"));
        self.journal.append(&batch)?;
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    fn replace_tail(&mut self) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        // Mostly near the end; now and then far below, in an earlier file.
        let back_max = if self.random.one_in(3) { next - first } else { (next - first).min(6) };
        let at = next - 1 - self.random.below(back_max);
        let count = 1 + self.random.below(3);
        self.model.term += 1;
        let batch: Vec<Entry> = (at..at + count).map(|index| entry(index, self.model.term, 200)).collect();
        trace(|| format!("replace {at} +{count}"));
        self.journal.replace_tail(&batch)?;
        self.model.truncate_tail(at);
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    fn truncate_tail(&mut self) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = next - self.random.below((next - first).min(5));
        trace(|| format!("truncate_tail {at}"));
        self.journal.truncate_tail(at)?;
        self.model.truncate_tail(at);
        Ok(())
    }

    fn truncate_head(&mut self) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = first + self.random.below((next - first).min(12));
        let entry = self.model.entries.get(&at).filter(|_| !self.model.lost.contains(&at));
        let Some(position) = entry.map(Entry::position) else { return Ok(()) };
        trace(|| format!("truncate_head {position}"));
        self.journal.truncate_head(position)?;
        self.model.truncate_head(position);
        Ok(())
    }

    /// Replaces the whole log by a position at or beyond its end.
    fn install_snapshot(&mut self) -> Result<()> {
        self.model.term += 1;
        let position = Position::new(self.model.next() + self.random.below(10), self.model.term);
        trace(|| format!("snapshot {position}"));
        self.journal.truncate_head(position)?;
        self.model.truncate_head(position);
        Ok(())
    }

    fn vote(&mut self) -> Result<()> {
        let vote = self.random.bits();
        trace(|| "vote".into());
        self.journal.set_u64(b"vote", vote)?;
        self.model.vote = vote;
        Ok(())
    }

    /// Ends the process by a close, a kill or a power cut, opens again, and compares.
    fn reopen(&mut self) {
        let next = match self.random.below(3) {
            0 => {
                self.journal.close().unwrap();
                self.sim.after_process_kill()
            }
            1 => self.sim.after_process_kill(),
            _ => self.sim.after_power_cut(Survival::Random(self.random.bits())),
        };
        trace(|| "reopen".into());
        // Taken before: dropping the last handle closes the journal.
        self.sim = next;
        self.journal = open(&self.sim, OnDamage::Refuse).unwrap();
        self.model.check(&self.journal);
    }
}

fn trace(step: impl Fn() -> String) {
    if number("DAMAGE_SEED").is_some() {
        println!("{}", step());
    }
}

/// Spoils one place of one segment file: the file as such, a byte, or one or two neighbouring sectors.
fn damage(random: &mut Random, sim: &SimFs) {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let segments: Vec<PathBuf> = sim.paths().into_iter().filter(is_segment).collect();
    let path = &segments[random.below(segments.len() as u64) as usize];
    let bytes = sim.read_file(path).unwrap();
    let len = bytes.len() as u64;
    let (byte, sector) = (random.below(len), random.below(len / 512) * 512);
    let sectors = (512 * (1 + random.below(2))).min(len - sector);
    let kind = random.below(10);
    match kind {
        0 => sim.remove_file_now(path).unwrap(),
        1 => sim.truncate_file(path, byte).unwrap(),
        2..=4 => sim.corrupt(path, byte, &[bytes[byte as usize] ^ (1 << random.below(8))]).unwrap(),
        5..=7 => sim.corrupt(path, sector, &vec![0; sectors as usize]).unwrap(),
        _ => sim.corrupt(path, sector, &vec![0xa5; sectors as usize]).unwrap(),
    }
    trace(|| format!("damage {kind} of {} at byte {byte} or sector {sector} +{sectors}", path.display()));
}

fn contents(sim: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    sim.paths().into_iter().map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

fn is_told(damaged: &[Arc<Damage>], index: u64) -> bool {
    let ranges = damaged.iter().map(|damage| damage.indexes);
    ranges.into_iter().any(|range| range.first <= index && range.end.is_none_or(|end| index < end))
}

impl Run {
    /// Opens with damage at rest; says whether it had to be accepted first.
    fn open_damaged(&mut self) -> bool {
        let files = contents(&self.sim);
        match open(&self.sim, OnDamage::Refuse) {
            Ok(journal) => {
                self.journal = journal;
                return false;
            }
            Err(Error::Damaged(_)) => {}
            Err(error) => panic!("damage at rest gives {error:?}"),
        }
        assert!(contents(&self.sim) == files, "a refused open changes nothing");
        for _ in 0..self.random.below(4) {
            self.sim.cut_power_at(self.sim.mutations() + self.random.below(14));
            drop(open(&self.sim, OnDamage::Accept));
            self.sim = self.sim.after_power_cut(Survival::Random(self.random.bits()));
            if self.random.one_in(2) {
                let strict = open(&self.sim, OnDamage::Refuse);
                assert!(matches!(strict, Ok(_) | Err(Error::Damaged(_))), "after a power cut: {strict:?}");
                self.sim = self.sim.after_process_kill();
            }
        }
        self.journal = open(&self.sim, OnDamage::Accept).unwrap();
        true
    }

    /// What was lost is told, as long as it is part of the log.
    fn check_told(&self) {
        let damaged = &self.journal.recovery_report().damaged;
        let untold: Vec<_> = self.model.lost.iter().filter(|&&index| !is_told(damaged, index)).collect();
        assert!(untold.is_empty(), "{untold:?} are lost, told are {damaged:?}");
    }
}

/// The most entries that damage may take without being seen at the open: those that have bytes in two sectors.
const UNSEEN_MAX: usize = 2 * 512 / 50 + 2;

/// Returns 1 when the damage had to be accepted.
fn run_damaged(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    for _ in 0..20 + run.random.below(60) {
        run.step().unwrap();
        if run.random.one_in(25) {
            run.reopen();
        }
    }
    // A commit vouches for all that came before.
    run.vote().unwrap();
    if run.random.one_in(2) {
        run.journal.close().unwrap();
    }
    run.sim = run.sim.after_process_kill();
    damage(&mut run.random, &run.sim);

    let accepted = run.open_damaged();
    run.model.suffer(&run.journal);
    trace(|| format!("accepted: {accepted}, lost: {:?}, {:?}", run.model.lost, run.journal.recovery_report()));
    run.model.check(&run.journal);
    assert!(accepted || run.model.lost.len() <= UNSEEN_MAX, "{:?}", run.model.lost);
    for _ in 0..6 {
        if accepted {
            run.check_told();
        }
        for _ in 0..run.random.below(30) {
            run.step().unwrap();
        }
        run.model.check(&run.journal);
        run.reopen();
    }
    u64::from(accepted)
}

#[test]
fn random_damage_costs_no_more_than_is_told_and_nothing_that_is_appended_later() {
    let test = "random_damage_costs_no_more_than_is_told_and_nothing_that_is_appended_later";
    let (accepted, runs) = for_seeds(test, 1000, run_damaged);
    assert!(accepted >= runs / 10, "only {accepted} of {runs} were refused at first");
}

/// Returns how often there was no space.
fn run_full(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    let mut refused = 0;
    for _ in 0..8 {
        for _ in 0..run.random.below(40) {
            if run.random.one_in(4) {
                let full = Fault::new(OperationKind::Write, ErrorKind::StorageFull).in_path(".seg");
                let full = full.nth(run.random.below(4));
                let written = run.random.below(20) as usize;
                run.sim.inject(if run.random.one_in(2) { full.at_most(written) } else { full });
            }
            match run.step() {
                Ok(()) => {}
                Err(Error::NoSpace { .. }) => refused += 1,
                Err(error) => panic!("a full disk gives {error:?}"),
            }
            run.sim.clear_faults();
            if run.random.one_in(6) {
                let random = Survival::Random(run.random.bits());
                let survival = if run.random.one_in(2) { Survival::Everything } else { random };
                run.model.check(&open(&run.sim.after_power_cut(survival), OnDamage::Refuse).unwrap());
            }
        }
        run.model.check(&run.journal);
        run.reopen();
    }
    refused
}

#[test]
fn a_disk_that_is_full_at_random_writes_costs_nothing_that_was_acknowledged() {
    let test = "a_disk_that_is_full_at_random_writes_costs_nothing_that_was_acknowledged";
    let (refused, runs) = for_seeds(test, 600, run_full);
    assert!(refused >= runs / 2, "only {refused} refusals in {runs} runs");
}
