//! A history of random operations, run against a journal and a plain model at once.

use std::collections::{BTreeMap, BTreeSet};

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Entry, Error, Journal, LogStore, OnDamage, Position, Result, StableStore};

use crate::common::{Disk, encrypted, entry, is_encrypted};

/// The number that an environment variable holds.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Prints a step of a run that is replayed.
pub fn trace(step: impl Fn() -> String) {
    if number("DAMAGE_SEED").is_some() {
        println!("{}", step());
    }
}

/// Draws numbers (xorshift64).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first draws of neighbouring seeds are alike.
        (0..5).for_each(|_| _ = random.bits());
        random
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What a journal must hold.
#[derive(Clone, Default)]
pub struct Model {
    pub purged: Option<Position>,
    pub entries: BTreeMap<u64, Entry>,
    /// Indexes that damage took; there may have been no entry.
    pub lost: BTreeSet<u64>,
    pub term: u64,
    pub vote: u64,
}

impl Model {
    pub fn first(&self) -> u64 {
        self.purged.map_or(1, |purged| purged.index + 1)
    }

    pub fn next(&self) -> u64 {
        let last = self.entries.keys().next_back().max(self.lost.last());
        last.map_or(self.first(), |last| last + 1)
    }

    pub fn truncate_tail(&mut self, first_removed: u64) {
        self.entries.split_off(&first_removed);
        self.lost.split_off(&first_removed);
    }

    pub fn truncate_head(&mut self, position: Position) {
        self.entries = self.entries.split_off(&(position.index + 1));
        self.lost = self.lost.split_off(&(position.index + 1));
        self.purged = Some(position);
    }

    /// The log up to where another one differs, and all that lie between this and the whole.
    pub fn ends_behind_shared_with(&self, other: &Model) -> Vec<Model> {
        let differs = |index: &u64| self.entries.get(index) != other.entries.get(index);
        let shared = (self.first()..self.next()).find(differs).unwrap_or(self.next());
        let up_to = |end: u64| {
            let mut shorter = self.clone();
            shorter.truncate_tail(end);
            shorter
        };
        (shared..self.next()).map(up_to).collect()
    }

    /// Compares all that a journal holds.
    pub fn check(&self, journal: &Journal) {
        if let Some(difference) = self.difference(journal) {
            panic!("{difference}; {:?}", journal.state());
        }
    }

    pub fn difference(&self, journal: &Journal) -> Option<String> {
        let state = journal.state();
        if state.purged != self.purged {
            return Some(format!("purged is not {:?}", self.purged));
        }
        if (self.first() != self.next() || self.purged.is_some()) && state.next_index() != Some(self.next()) {
            return Some(format!("the next index is not {}", self.next()));
        }
        let vote = journal.get_u64(b"vote").unwrap().unwrap_or(0);
        if vote != self.vote {
            return Some(format!("the vote is {vote}, not {}", self.vote));
        }
        let difference =
            (self.first()..self.next()).find_map(|index| match (journal.entry(index), self.entries.get(&index)) {
                (Ok(found), Some(entry)) if found == *entry => None,
                (Err(Error::Damaged(_)), _) if self.lost.contains(&index) => None,
                (found, entry) => {
                    let (found, entry) = (found.map(|found| found.position()), entry.map(Entry::position));
                    Some(format!("entry {index} is {found:?}, not {entry:?}"))
                }
            });
        difference.or_else(|| {
            // Each was read just now.
            let damaged = journal.damaged();
            let told: BTreeSet<u64> =
                damaged.iter().flat_map(|told| told.indexes.first..told.indexes.end.unwrap()).collect();
            let is_lost = |index: &u64| journal.entry(*index).is_err();
            let lost: BTreeSet<u64> = (self.first()..self.next()).filter(is_lost).collect();
            let told: BTreeSet<u64> = told.into_iter().filter(|&index| index >= self.first()).collect();
            (told != lost).then(|| format!("{lost:?} cannot be read, but told are {damaged:?}"))
        })
    }

    /// Adopts what single damage took from a journal that was opened in spite of it. Nothing else may differ.
    pub fn suffer(&mut self, journal: &Journal) {
        let next = journal.state().next_index();
        self.lost = self.entries.keys().copied().filter(|&index| is_lost(journal, index)).collect();
        // Where the end is lost, the log ends no lower than it did, and what is beyond was never there to be read.
        if let Some(next) = next.filter(|_| !journal.recovery_report().damaged.is_empty()) {
            self.lost.extend(self.next()..next);
        }
    }

    /// What was lost only because others of its batch were is back with them.
    pub fn find_again(&mut self, journal: &Journal) {
        self.lost.retain(|&index| journal.entry(index).is_err());
    }
}

pub fn is_lost(journal: &Journal, index: u64) -> bool {
    match journal.entry(index) {
        Err(Error::Damaged(damage)) => {
            assert!(damage.indexes.contains(index), "entry {index}: {damage}");
            true
        }
        _ => false,
    }
}

fn open(sim: &SimFs, is_encrypted: bool, on_damage: OnDamage) -> Result<Journal> {
    let disk = Disk::of(sim.clone());
    let options = disk.options().tail_cache_bytes(0).on_damage(on_damage);
    let options = if is_encrypted { encrypted(options) } else { options };
    options.open(&disk.dir)
}

/// A journal, what it must hold, and the disk it lives on.
pub struct Run {
    pub random: Random,
    pub is_encrypted: bool,
    pub sim: SimFs,
    pub journal: Journal,
    pub model: Model,
    /// What the journal held before each write since `meta` vouched for all, and the disk's mutations by then.
    pub past: Vec<(Model, u64)>,
    /// An open that accepted damage, and was not the last one, said that something is suspect.
    pub was_suspect: bool,
    /// Of damage in two places, one may show only later, when the other has it looked for: the most entries of it.
    pub latent_max: Option<usize>,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        // The same identities and salts for each: what differs is the history.
        let sim = SimFs::new();
        let is_encrypted = is_encrypted(seed);
        let journal = open(&sim, is_encrypted, OnDamage::Refuse).unwrap();
        let (random, model) = (Random::new(seed), Model { term: 1, ..Model::default() });
        let (past, was_suspect, latent_max) = (Vec::new(), false, None);
        Run { random, is_encrypted, sim, journal, model, past, was_suspect, latent_max }
    }

    /// Opens a journal like this one on a disk.
    pub fn open(&self, sim: &SimFs, on_damage: OnDamage) -> Result<Journal> {
        open(sim, self.is_encrypted, on_damage)
    }

    /// One random operation. The model follows only when it succeeds.
    pub fn step(&mut self) -> Result<()> {
        match self.random.below(24) {
            0..=11 => self.append(),
            12..=14 => self.replace_tail(),
            15 => self.truncate_tail(),
            16 => self.truncate_head(),
            17 if self.random.one_in(3) => self.install_snapshot(),
            20.. => self.repair(),
            _ => self.vote(),
        }
    }

    /// What comes now is vouched for by what comes behind it.
    pub fn remember(&mut self) {
        self.past.push((self.model.clone(), self.sim.mutations()));
    }

    pub fn append(&mut self) -> Result<()> {
        let (first, count) = (self.model.next(), 1 + self.random.below(4));
        let bytes = [30, 300, 700][self.random.below(3) as usize];
        let batch: Vec<Entry> = (first..first + count).map(|index| entry(index, self.model.term, bytes)).collect();
        trace(|| format!("append {first} +{count}"));
        self.remember();
        self.journal.append(&batch)?;
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    pub fn replace_tail(&mut self) -> Result<()> {
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
        self.remember();
        self.journal.replace_tail(&batch)?;
        self.model.truncate_tail(at);
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    pub fn truncate_tail(&mut self) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = next - self.random.below((next - first).min(5));
        trace(|| format!("truncate_tail {at}"));
        self.remember();
        self.journal.truncate_tail(at)?;
        self.model.truncate_tail(at);
        Ok(())
    }

    pub fn truncate_head(&mut self) -> Result<()> {
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
        self.past.clear();
        Ok(())
    }

    /// Replaces the whole log by a position at or beyond its end.
    pub fn install_snapshot(&mut self) -> Result<()> {
        self.model.term += 1;
        let position = Position::new(self.model.next() + self.random.below(10), self.model.term);
        trace(|| format!("snapshot {position}"));
        self.journal.truncate_head(position)?;
        self.model.truncate_head(position);
        self.past.clear();
        Ok(())
    }

    /// Puts some of what damage took back; whoever asks for the wrong entries is refused.
    pub fn repair(&mut self) -> Result<()> {
        self.model.find_again(&self.journal);
        let lost: Vec<Entry> = self.model.lost.iter().filter_map(|at| self.model.entries.get(at)).cloned().collect();
        if lost.is_empty() {
            return Ok(());
        }
        let from = self.random.below(lost.len() as u64) as usize;
        let follows = |(at, entry): &(usize, &Entry)| entry.index == lost[from].index + *at as u64;
        let count_max = 1 + self.random.below(20) as usize;
        let run: Vec<Entry> = lost[from..]
            .iter()
            .enumerate()
            .take(count_max)
            .take_while(follows)
            .map(|(_, entry)| entry.clone())
            .collect();
        trace(|| format!("repair {} +{}", run[0].index, run.len()));
        let beside = run[run.len() - 1].index + 1;
        if let Some(whole) = self.model.entries.get(&beside).filter(|_| !self.model.lost.contains(&beside)) {
            let too_many = [&run[..], std::slice::from_ref(whole)].concat();
            let refused = self.journal.repair(&too_many);
            assert!(matches!(refused, Err(Error::NotDamaged { .. })), "{beside} is not lost, but {refused:?}");
        }
        match self.journal.repair(&run) {
            Err(Error::RepairsFull { .. }) => {}
            repaired => {
                repaired?;
                run.iter().for_each(|entry| _ = self.model.lost.remove(&entry.index));
                self.past.clear();
            }
        }
        Ok(())
    }

    pub fn vote(&mut self) -> Result<()> {
        let vote = self.model.vote + 1;
        trace(|| "vote".into());
        self.journal.set_u64(b"vote", vote)?;
        self.model.vote = vote;
        self.past.clear();
        Ok(())
    }

    /// Ends the process by a close, a kill or a power cut, opens again, and compares; which disk that was.
    pub fn reopen(&mut self) -> u64 {
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
        let digest = self.sim.digest();
        self.journal = match self.open(&self.sim, OnDamage::Refuse) {
            Err(Error::Damaged(_)) if self.latent_max.is_some() => self.accept_latent(),
            opened => opened.unwrap(),
        };
        trace(|| format!("opened: {:?}", self.journal.recovery_report()));
        self.past.clear();
        self.model.check(&self.journal);
        self.model.find_again(&self.journal);
        assert!(!self.journal.recovery_report().meta_healed, "nothing was damaged since the last open");
        digest
    }
}
