//! Threads: several of them on one journal, in an order that a seed draws, and power lost in the middle or in the end.

use raft_journal::io::sim::SimFs;

use crate::explore::{Class, Seen, Tally, crash_states, quietly};
use crate::hunt::Faults;
use crate::schedules::judge;
use crate::schedules::world::{self, Plan, Played};

/// How many schedules belong to a seed.
const SCHEDULES: u64 = 16;

pub struct Threads;

impl Faults for Threads {
    fn name(&self) -> &'static str {
        "threads in every order"
    }

    fn sources(&self) -> &'static [&'static str] {
        &Class::NAMES[..3]
    }

    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>) {
        let mut tally = Tally::default();
        let result = (0..SCHEDULES).try_for_each(|number| {
            let seed = seed * SCHEDULES + number;
            let plan = if number % 2 == 0 { Plan::orderly(seed) } else { Plan::racing(seed) };
            quietly(|| {
                if !seen.is_enough() {
                    lose_power(&world::play(seed, plan), seed, seen, &mut tally);
                }
            })
            .map_err(|said| format!("{said}\nin schedule {seed}"))
        });
        (tally, result)
    }
}

/// Loses power in every way when the schedule is over, or where its plan has cut it off.
fn lose_power(played: &Played, seed: u64, seen: &Seen, tally: &mut Tally) {
    tally.crash_points += u64::from(seen.insert_point(&played.disk));
    for (class, state) in crash_states(&played.disk, seed) {
        if seen.is_enough() {
            return;
        }
        meet(played, &state, class, seen, tally);
    }
}

fn meet(played: &Played, state: &SimFs, class: Class, seen: &Seen, tally: &mut Tally) {
    let digest = state.digest();
    tally.note(&judge::recovered(&played.history, state));
    tally.meet(class.name(), seen.insert(digest));
}
