//! A disk at rest, damaged, and judged: once, or again and again from the same one.

use std::path::PathBuf;

use raft_journal::RecoveryReport;
use raft_journal::io::sim::{AtRest, SimFs};

use super::oracle::{Files, Interruption, Meta, contents, faults, latent_max, unseen_max};
use super::run::{End, Random, Run, Step, Way, Wrap, trace};
use crate::common::is_encrypted;

/// How an open dealt with a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// What `meta` alone knew was hit: refused, or told to be suspect.
    NewestLost,
    /// Refused, and opened with what was lost accepted.
    Accepted,
    /// Opened, in spite of the damage or because it cost nothing.
    Opened,
    /// Opened again later, after more writes and the end of a process.
    GoneOn,
}

/// A disk that was opened and judged.
pub struct Judged<'a> {
    pub digest: u64,
    pub verdict: Verdict,
    /// Of the journal, if there is one.
    pub report: Option<&'a RecoveryReport>,
}

/// What happened to a journal before its disk was at rest.
#[derive(Clone)]
pub struct Past {
    pub steps: Vec<Step>,
    /// It was closed, not killed.
    pub closes: bool,
    pub is_encrypted: bool,
}

impl Past {
    /// What belongs to a seed, which `random` was made of.
    pub fn draw(seed: u64, random: &mut Random) -> Past {
        let (mut steps, mut is_void) = (Vec::new(), false);
        for _ in 0..20 + random.below(60) {
            let step = Step::draw(random);
            // What a recovery cut is void for the life that comes next. Two lives later, where a write that never reached
            // the disk shows it again, nothing may tell any more.
            let begins_life = matches!(step, Step::InFlight { .. });
            if !(is_void && begins_life) {
                steps.push(step);
            }
            is_void |= begins_life;
            if random.one_in(25) && !is_void {
                steps.push(Step::Reopen(End::draw(random)));
            }
        }
        // A commit vouches for all that came before, and so does a close.
        if random.one_in(2) {
            steps.push(Step::Vote);
        }
        Past { steps, closes: random.one_in(3), is_encrypted: is_encrypted(seed) }
    }
}

/// Faults, and what comes after them.
#[derive(Clone)]
pub struct Damage {
    pub faults: Vec<AtRest>,
    /// Power lost while the damage is accepted.
    pub interruptions: Vec<Interruption>,
    /// What each process does that follows, and how it ends.
    pub lives: Vec<(Vec<Step>, End)>,
}

/// A journal after its history, closed or killed.
pub struct Rest {
    run: Run,
    disk: SimFs,
    files: Files,
}

impl Rest {
    pub fn new(past: &Past, wrap: Wrap) -> Rest {
        let mut run = Run::new(Way { wrap, is_encrypted: past.is_encrypted });
        past.steps.iter().for_each(|step| run.take(step).unwrap());
        let disk = run.sim.clone();
        if past.closes {
            run.journal.close().unwrap();
            run.past.clear();
        }
        let files = contents(&disk);
        Rest { run, disk, files }
    }

    /// Damage to be done, with so many processes after it.
    pub fn draw(&self, random: &mut Random, lives: u64) -> Damage {
        let faults = faults(random, &self.disk);
        let interruptions = (0..random.below(4)).map(|_| Interruption::draw(random)).collect();
        let mut life = |_| ((0..random.below(30)).map(|_| Step::draw(random)).collect(), End::draw(random));
        Damage { faults, interruptions, lives: (0..lives).map(&mut life).collect() }
    }

    /// Damages the disk, opens and judges it, and goes on with it. `see` hears of each disk that was opened, as long as
    /// something came after it.
    pub fn judge(&self, damage: &Damage, see: &mut dyn FnMut(Judged)) {
        let sim = self.disk.after_process_kill();
        for fault in &damage.faults {
            trace(|| format!("damage: {fault:?}"));
            sim.damage(fault).unwrap();
        }
        let (after, digest) = (contents(&sim), sim.digest());
        let is_spoiled = |path: &&PathBuf| after.get(*path) != self.files.get(*path);
        let spoiled: Vec<PathBuf> = self.files.keys().filter(is_spoiled).cloned().collect();
        let extra: Vec<PathBuf> = after.keys().filter(|path| !self.files.contains_key(*path)).cloned().collect();
        let meta = Meta::of(&self.files, &after);
        let mut run = self.run.on(sim);
        if meta == Meta::NewestLost {
            run.check_outdated();
            return see(Judged { digest, verdict: Verdict::NewestLost, report: None });
        }

        let accepted = run.open_damaged(&spoiled, &extra, &damage.interruptions);
        run.suffer(self.run.possible(&self.disk, &self.files, &after));
        let (unseen_max, untold_max) = unseen_max(&damage.faults);
        let report = run.journal.recovery_report();
        trace(|| format!("{meta:?}, lost: {:?}", run.model.lost));
        match meta {
            Meta::Readable { healed } => assert!(accepted || report.meta_healed == healed, "{report:?}"),
            Meta::OlderLost | Meta::NewestLost => assert!(accepted || report.suspect.is_some(), "{report:?}"),
        }
        assert!(accepted || run.model.lost.len() <= unseen_max, "{:?}", run.model.lost);
        run.latent_max = latent_max(&damage.faults);
        let verdict = if accepted { Verdict::Accepted } else { Verdict::Opened };
        see(Judged { digest, verdict, report: Some(report) });
        for (number, (steps, end)) in (1..).zip(&damage.lives) {
            let digest = run.go_on(steps, *end, accepted.then_some(untold_max));
            if number < damage.lives.len() {
                see(Judged { digest, verdict: Verdict::GoneOn, report: Some(run.journal.recovery_report()) });
            }
        }
    }
}

impl Run {
    /// The same on another disk.
    fn on(&self, sim: SimFs) -> Run {
        let (way, journal, model) = (self.way, self.journal.clone(), self.model.clone());
        Run { way, sim, journal, model, past: Vec::new(), was_suspect: false, latent_max: None }
    }

    /// Some more steps, and the end of the process; which disk it left.
    fn go_on(&mut self, steps: &[Step], end: End, untold_max: Option<usize>) -> u64 {
        if let Some(untold_max) = untold_max {
            self.check_told(untold_max);
        }
        steps.iter().for_each(|step| self.take(step).unwrap());
        self.model.check(&self.journal);
        self.reopen(end)
    }
}
