//! Random damage at rest, and a disk that is full at random writes: a journal and a plain model run the same history,
//! through reopens, kills and power cuts, and the journal must hold what the model holds; what damage took must read as
//! an error, and be told. Of what nothing on the disk vouches for, the report must say that it is suspect.
//!
//! `DAMAGE_SEEDS` says how many histories each test runs, `DAMAGE_SEED` replays one and prints its steps.

#[path = "../common/mod.rs"]
mod common;

mod oracle;
mod rest;
mod run;

use std::io::ErrorKind;

use common::is_encrypted;
use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Error, OnDamage};
use rest::{Judged, Past, Rest, Verdict};
use run::{End, Random, Run, Step, Way, number, plain, trace};

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

/// Returns 1 when the damage had to be accepted.
fn run_damaged(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let rest = Rest::new(&Past::draw(seed, &mut random), plain);
    let damage = rest.draw(&mut random, 6);
    let mut accepted = 0;
    rest.judge(&damage, &mut |Judged { digest, verdict, report }| {
        trace(|| format!("disk {digest:x}: {verdict:?}, {report:?}"));
        accepted += u64::from(verdict == Verdict::Accepted);
    });
    accepted
}

#[test]
fn random_damage_costs_no_more_than_is_told_and_nothing_that_is_appended_later() {
    let test = "random_damage_costs_no_more_than_is_told_and_nothing_that_is_appended_later";
    let (accepted, runs) = for_seeds(test, 1000, run_damaged);
    assert!(accepted >= runs / 10, "only {accepted} of {runs} were refused at first");
}

/// Returns how often there was no space.
fn run_full(seed: u64) -> u64 {
    let (mut run, mut random) = (Run::new(Way { wrap: plain, is_encrypted: is_encrypted(seed) }), Random::new(seed));
    let mut refused = 0;
    for _ in 0..8 {
        for _ in 0..random.below(40) {
            if random.one_in(4) {
                let full = Fault::new(OperationKind::Write, ErrorKind::StorageFull).in_path(".seg");
                let full = full.nth(random.below(4));
                let written = random.below(20) as usize;
                run.sim.inject(if random.one_in(2) { full.at_most(written) } else { full });
            }
            match run.take(&Step::draw(&mut random)) {
                Ok(()) => {}
                Err(Error::NoSpace { .. }) => refused += 1,
                Err(error) => panic!("a full disk gives {error:?}"),
            }
            run.sim.clear_faults();
            if random.one_in(6) {
                let drawn = Survival::Random(random.bits());
                let survival = if random.one_in(2) { Survival::Everything } else { drawn };
                run.model.check(&run.open_on(&run.sim.after_power_cut(survival), OnDamage::Refuse).unwrap());
            }
        }
        run.model.check(&run.journal);
        run.reopen(End::draw(&mut random));
    }
    refused
}

#[test]
fn a_disk_that_is_full_at_random_writes_costs_nothing_that_was_acknowledged() {
    let test = "a_disk_that_is_full_at_random_writes_costs_nothing_that_was_acknowledged";
    let (refused, runs) = for_seeds(test, 600, run_full);
    assert!(refused >= runs / 2, "only {refused} refusals in {runs} runs");
}
