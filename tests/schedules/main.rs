//! Threads that meet in every order: a seed draws which of them goes on at each operation of the simulated disk, and
//! what they were promised is judged after the power is gone.
//!
//! `SCHEDULE_SEEDS=100000` runs so many schedules of each test, `SCHEDULE_SEED=17` one.

#[path = "../common/mod.rs"]
mod common;
mod history;
mod judge;
mod plan;
mod simulator;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Met, Plan};

/// How many schedules of each test, if nobody says otherwise.
const SEEDS: u64 = 400;

/// The number that an environment variable holds.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: no number")))
}

/// Runs a plan with many seeds; a seed that fails is printed as the command that runs it alone. Returns what the
/// schedules met, all in all, unless it was one only.
fn each_seed(name: &str, plan: impl Fn(u64) -> Plan) -> Option<Met> {
    let run = |seed: u64| -> Result<Met, Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| world::run(&plan(seed)))).inspect_err(|_| {
            eprintln!("SCHEDULE_SEED={seed} cargo test --all-features --test schedules {name} -- --exact");
        })
    };
    let seed = number("SCHEDULE_SEED");
    let seeds = seed.map_or(0..number("SCHEDULE_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let met = seeds.map(|seed| run(seed).unwrap_or_else(|payload| resume_unwind(payload)));
    let met = met.reduce(Met::and)?;
    if seed.is_some() {
        eprintln!("{met:#?}");
    }
    seed.is_none().then_some(met)
}

#[test]
fn writers_in_turn_lose_nothing_that_was_acknowledged() {
    let Some(met) = each_seed("writers_in_turn_lose_nothing_that_was_acknowledged", Plan::orderly) else { return };
    assert!(met.truncations > 100, "{met:#?}");
    check(met);
}

#[test]
fn racing_writers_lose_nothing_that_was_acknowledged() {
    let Some(met) = each_seed("racing_writers_lose_nothing_that_was_acknowledged", Plan::racing) else { return };
    assert!(met.races_lost > 100, "{met:#?}");
    check(met);
}

/// The schedules must have met what they are for.
fn check(met: Met) {
    if number("SCHEDULE_SEEDS").is_some_and(|seeds| seeds < SEEDS) {
        return;
    }
    for (what, count) in [
        ("power cuts", met.power_cuts),
        ("failed operations", met.faults),
        ("closes among other calls", met.closes),
        ("reopens among other calls", met.reopens),
        ("truncated heads", met.purges),
        ("rotations", met.rotations),
        ("syncs shared by several writes", met.shared_syncs),
        ("callbacks", met.callbacks),
        ("votes", met.votes),
        ("reads", met.reads),
        ("marks of idle journals", met.idle_looks),
    ] {
        assert!(count > 20, "only {count} {what}: {met:#?}");
    }
    assert!(met.encrypted > 20 && met.rewrites > 20 || cfg!(not(feature = "encryption")), "{met:#?}");
}
