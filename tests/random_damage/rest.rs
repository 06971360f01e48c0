//! A disk at rest, damaged, and judged: once, or again and again from the same one.

use std::path::PathBuf;

use raft_journal::RecoveryReport;
use raft_journal::io::sim::{AtRest, SimFs};

use super::oracle::{Files, Meta, contents, faults, latent_max, unseen_max};
use super::run::{Random, Run, trace};

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

/// Faults, and what is drawn after them.
pub struct Damage {
    pub faults: Vec<AtRest>,
    random: Random,
}

/// A journal after a random history, closed or killed.
pub struct Rest {
    run: Run,
    disk: SimFs,
    files: Files,
}

impl Rest {
    pub fn new(seed: u64) -> Rest {
        let mut run = Run::new(seed);
        for _ in 0..20 + run.random.below(60) {
            run.step().unwrap();
            if run.random.one_in(25) {
                run.reopen();
            }
        }
        // A commit vouches for all that came before, and so does a close.
        if run.random.one_in(2) {
            run.vote().unwrap();
        }
        let disk = run.sim.clone();
        if run.random.one_in(3) {
            run.journal.close().unwrap();
            run.past.clear();
        }
        let files = contents(&disk);
        Rest { run, disk, files }
    }

    /// The next damage to be done.
    pub fn draw(&mut self) -> Damage {
        let faults = faults(&mut self.run.random, &self.disk);
        Damage { faults, random: Random::new(self.run.random.bits()) }
    }

    /// Damages the disk, opens and judges it, and goes on with it through so many ends of the process. `see` hears of
    /// each disk that was opened, as long as something came after it.
    pub fn judge(&self, damage: &Damage, rounds: u64, see: &mut dyn FnMut(Judged)) {
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
        let mut run = self.run.on(sim, damage.random.clone());
        if meta == Meta::NewestLost {
            run.check_outdated();
            return see(Judged { digest, verdict: Verdict::NewestLost, report: None });
        }

        let accepted = run.open_damaged(&spoiled, &extra);
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
        for round in 0..rounds {
            let digest = run.go_on(accepted.then_some(untold_max));
            if round + 1 < rounds {
                see(Judged { digest, verdict: Verdict::GoneOn, report: Some(run.journal.recovery_report()) });
            }
        }
    }
}

impl Run {
    /// The same on another disk, and with other draws.
    fn on(&self, sim: SimFs, random: Random) -> Run {
        let (journal, model, is_encrypted) = (self.journal.clone(), self.model.clone(), self.is_encrypted);
        Run { random, is_encrypted, sim, journal, model, past: Vec::new(), was_suspect: false, latent_max: None }
    }

    /// Some more steps, and the end of the process; which disk it left.
    fn go_on(&mut self, untold_max: Option<usize>) -> u64 {
        if let Some(untold_max) = untold_max {
            self.check_told(untold_max);
        }
        for _ in 0..self.random.below(30) {
            self.step().unwrap();
        }
        self.model.check(&self.journal);
        self.reopen()
    }
}
