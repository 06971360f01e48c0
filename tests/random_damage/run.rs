//! A history of random operations, run against a journal and a plain model at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use raft_journal::io::Fs;
use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Entry, Error, Journal, LogStore, OnDamage, Position, Result, StableStore};

use crate::common::{Disk, encrypted, entry};

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

/// One step of a history. Places are told from an end of the log, and counted around where it is shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Append {
        count: u64,
        bytes: usize,
    },
    ReplaceTail {
        back: u64,
        count: u64,
    },
    TruncateTail {
        back: u64,
    },
    TruncateHead {
        ahead: u64,
    },
    InstallSnapshot {
        beyond: u64,
    },
    Repair {
        from: u64,
        count_max: usize,
    },
    Vote,
    Reopen(End),
    /// So many batches that nobody waits for, and power lost among them. A second and later one may replace what is before it.
    InFlight {
        batches: u64,
        replaces: bool,
        bytes: usize,
        seed: u64,
    },
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Close,
    Kill,
    PowerCut { seed: u64 },
}

impl Step {
    /// A step that is no end.
    pub fn draw(random: &mut Random) -> Step {
        match random.below(24) {
            0..=11 => Step::Append { count: 1 + random.below(4), bytes: [30, 300, 700][random.below(3) as usize] },
            12..=14 => {
                // Mostly near the end; now and then far below, in an earlier file.
                let back_max = if random.one_in(3) { 150 } else { 6 };
                Step::ReplaceTail { back: random.below(back_max), count: 1 + random.below(3) }
            }
            15 => Step::TruncateTail { back: random.below(5) },
            16 => Step::TruncateHead { ahead: random.below(12) },
            17 if random.one_in(3) => Step::InstallSnapshot { beyond: random.below(10) },
            18..=19 => Step::InFlight {
                batches: 1 + random.below(4),
                replaces: random.one_in(2),
                bytes: [30, 300, 1500][random.below(3) as usize],
                seed: random.bits(),
            },
            20.. => Step::Repair { from: random.below(1000), count_max: 1 + random.below(20) as usize },
            _ => Step::Vote,
        }
    }
}

impl End {
    pub fn draw(random: &mut Random) -> End {
        match random.below(3) {
            0 => End::Close,
            1 => End::Kill,
            _ => End::PowerCut { seed: random.bits() },
        }
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
        let is_blank = self.first() == self.next() && self.purged.is_none();
        if is_blank && state.last.is_some() {
            return Some("the log is not empty".into());
        }
        if !is_blank && state.next_index() != Some(self.next()) {
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

/// How a journal is opened.
#[derive(Clone, Copy)]
pub struct Way {
    pub wrap: Wrap,
    pub is_encrypted: bool,
}

impl Way {
    fn open(self, sim: &SimFs, on_damage: OnDamage) -> Result<Journal> {
        let mut disk = Disk::of(sim.clone());
        disk.fs = (self.wrap)(sim.clone());
        let options = disk.options().tail_cache_bytes(0).on_damage(on_damage);
        let options = if self.is_encrypted { encrypted(options) } else { options };
        options.open(&disk.dir)
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

/// What stands between a journal and its disk.
pub type Wrap = fn(SimFs) -> Arc<dyn Fs>;

/// Nothing.
pub fn plain(sim: SimFs) -> Arc<dyn Fs> {
    Arc::new(sim)
}

/// A journal, what it must hold, and the disk it lives on.
pub struct Run {
    pub way: Way,
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
    pub fn new(way: Way) -> Run {
        // The same identities and salts for each: what differs is the history.
        let sim = SimFs::new();
        let journal = way.open(&sim, OnDamage::Refuse).unwrap();
        let model = Model { term: 1, ..Model::default() };
        Run { way, sim, journal, model, past: Vec::new(), was_suspect: false, latent_max: None }
    }

    pub fn open(&self, on_damage: OnDamage) -> Result<Journal> {
        self.open_on(&self.sim, on_damage)
    }

    /// Opens it on another disk.
    pub fn open_on(&self, sim: &SimFs, on_damage: OnDamage) -> Result<Journal> {
        self.way.open(sim, on_damage)
    }

    /// Takes one step. The model follows only when it succeeds.
    pub fn take(&mut self, step: &Step) -> Result<()> {
        match *step {
            Step::Append { count, bytes } => self.append(count, bytes),
            Step::ReplaceTail { back, count } => self.replace_tail(back, count),
            Step::TruncateTail { back } => self.truncate_tail(back),
            Step::TruncateHead { ahead } => self.truncate_head(ahead),
            Step::InstallSnapshot { beyond } => self.install_snapshot(beyond),
            Step::Repair { from, count_max } => self.repair(from, count_max),
            Step::Vote => self.vote(),
            Step::Reopen(end) => {
                self.reopen(end);
                Ok(())
            }
            Step::InFlight { batches, replaces, bytes, seed } => self.lose_power(batches, replaces, bytes, seed),
        }
    }

    /// What comes now is vouched for by what comes behind it.
    pub fn remember(&mut self) {
        self.past.push((self.model.clone(), self.sim.mutations()));
    }

    fn append(&mut self, count: u64, bytes: usize) -> Result<()> {
        let first = self.model.next();
        let batch: Vec<Entry> = (first..first + count).map(|index| entry(index, self.model.term, bytes)).collect();
        trace(|| format!("append {first} +{count}"));
        self.remember();
        self.journal.append(&batch)?;
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    fn replace_tail(&mut self, back: u64, count: u64) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = next - 1 - back % (next - first);
        self.model.term += 1;
        let batch: Vec<Entry> = (at..at + count).map(|index| entry(index, self.model.term, 200)).collect();
        trace(|| format!("replace {at} +{count}"));
        self.remember();
        self.journal.replace_tail(&batch)?;
        self.model.truncate_tail(at);
        self.model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
        Ok(())
    }

    fn truncate_tail(&mut self, back: u64) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = next - back % (next - first);
        trace(|| format!("truncate_tail {at}"));
        self.remember();
        self.journal.truncate_tail(at)?;
        self.model.truncate_tail(at);
        Ok(())
    }

    fn truncate_head(&mut self, ahead: u64) -> Result<()> {
        let (first, next) = (self.model.first(), self.model.next());
        if first == next {
            return Ok(());
        }
        let at = first + ahead % (next - first);
        let entry = self.model.entries.get(&at).filter(|_| !self.model.lost.contains(&at));
        let Some(position) = entry.map(Entry::position) else { return Ok(()) };
        trace(|| format!("truncate_head {position}"));
        self.journal.truncate_head(position)?;
        self.model.truncate_head(position);
        self.past.clear();
        Ok(())
    }

    /// Replaces the whole log by a position at or beyond its end.
    fn install_snapshot(&mut self, beyond: u64) -> Result<()> {
        self.model.term += 1;
        let position = Position::new(self.model.next() + beyond, self.model.term);
        trace(|| format!("snapshot {position}"));
        self.journal.truncate_head(position)?;
        self.model.truncate_head(position);
        self.past.clear();
        Ok(())
    }

    /// Puts some of what damage took back; whoever asks for the wrong entries is refused.
    fn repair(&mut self, from: u64, count_max: usize) -> Result<()> {
        self.model.find_again(&self.journal);
        let lost: Vec<Entry> = self.model.lost.iter().filter_map(|at| self.model.entries.get(at)).cloned().collect();
        if lost.is_empty() {
            return Ok(());
        }
        let from = from as usize % lost.len();
        let follows = |(at, entry): &(usize, &Entry)| entry.index == lost[from].index + *at as u64;
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

    fn vote(&mut self) -> Result<()> {
        let vote = self.model.vote + 1;
        trace(|| "vote".into());
        self.journal.set_u64(b"vote", vote)?;
        self.model.vote = vote;
        self.past.clear();
        Ok(())
    }

    /// Loses power among writes in flight: what is left behind is made void by the open that cuts it.
    fn lose_power(&mut self, batches: u64, replaces: bool, bytes: usize, seed: u64) -> Result<()> {
        if self.latent_max.is_some() {
            return Ok(());
        }
        let mut possible = vec![self.model.clone()];
        for number in 0..batches {
            let mut model = possible[number as usize].clone();
            let back = u64::from(replaces && number > 0);
            let at = model.next() - back;
            model.term += back;
            let batch: Vec<Entry> = (at..at + 1 + number % 2)
                .map(|index| entry(index, model.term, bytes / (1 + number as usize)))
                .collect();
            trace(|| format!("in flight {at} +{}", batch.len()));
            if let Err(error) = self.journal.replace_tail_pending(&batch) {
                // What was written before it is in the log.
                self.model = possible.pop().unwrap_or_default();
                return self.journal.sync().and(Err(error));
            }
            model.truncate_tail(at);
            model.entries.extend(batch.into_iter().map(|entry| (entry.index, entry)));
            possible.push(model);
        }
        let term = possible.last().map_or(0, |model| model.term);
        self.restart(End::PowerCut { seed });
        let is_found = |model: &Model| model.difference(&self.journal).is_none();
        let found = possible.iter().rev().find(|model| is_found(model)).cloned();
        self.model = found.unwrap_or_else(|| panic!("none of {batches} states: {:?}", self.journal.state()));
        self.model.term = term;
        self.settle();
        Ok(())
    }

    /// Ends the process, opens again, and compares; which disk that was.
    pub fn reopen(&mut self, end: End) -> u64 {
        let digest = self.restart(end);
        self.model.check(&self.journal);
        self.settle();
        digest
    }

    /// Ends the process and opens again; which disk that was.
    fn restart(&mut self, end: End) -> u64 {
        let next = match end {
            End::Close => {
                self.journal.close().unwrap();
                self.sim.after_process_kill()
            }
            End::Kill => self.sim.after_process_kill(),
            End::PowerCut { seed } => self.sim.after_power_cut(Survival::Random(seed)),
        };
        trace(|| format!("reopen: {end:?}"));
        // Taken before: dropping the last handle closes the journal.
        self.sim = next;
        let digest = self.sim.digest();
        self.journal = match self.open(OnDamage::Refuse) {
            Err(Error::Damaged(_)) if self.latent_max.is_some() => self.accept_latent(),
            opened => opened.unwrap(),
        };
        trace(|| format!("opened: {:?}", self.journal.recovery_report()));
        self.past.clear();
        digest
    }

    fn settle(&mut self) {
        self.model.find_again(&self.journal);
        assert!(!self.journal.recovery_report().meta_healed, "nothing was damaged since the last open");
    }
}
