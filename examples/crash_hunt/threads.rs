//! Threads: several of them on one journal, in an order that a seed draws, and power lost in the middle or in the end.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_journal::io::sim::SimFs;

use crate::explore::{Class, Seen, Tally, crash_states, quietly};
use crate::hunt::{Failure, Faults, Short, leave_out};
use crate::schedules::judge;
use crate::schedules::world::{self, Around, Job, Plan, Played, Told};
use crate::short::kind;

/// How many schedules belong to a seed.
const SCHEDULES: u64 = 16;
/// In how many orders the threads that are left are tried.
const TRIED: u64 = 200;
/// No order is tried any more after that time: one whose threads block costs minutes.
const TIME_MAX: Duration = Duration::from_secs(120);

/// `around` stands around the threads' world.
pub struct Threads {
    pub around: Around,
}

impl Faults for Threads {
    fn name(&self) -> &'static str {
        "threads in every order"
    }

    fn sources(&self) -> &'static [&'static str] {
        &Class::NAMES[..3]
    }

    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>) {
        let mut tally = Tally::default();
        let result = plans(seed).try_for_each(|plan| match seen.is_enough() {
            true => Ok(()),
            false => self.play(&plan, None, seen, &mut tally).map_err(|said| format!("{said}\nwith {plan:#?}")),
        });
        (tally, result)
    }

    /// Fewer threads meet in other orders: some are tried.
    fn shrink(&self, seed: u64, said: String) -> Failure {
        let Some(mut broken) = plans(seed).find_map(|plan| self.broken(plan)) else {
            return Failure { seed, said, history: Short::unknown() };
        };
        let until = Instant::now() + TIME_MAX;
        self.shorten(&mut broken, until);
        let Broken { plan, said, told } = broken;
        let history = Short::of(&format!("{plan:#?}, in which the threads call"), &told);
        Failure { seed, said, history }
    }
}

/// The plans that belong to a seed.
fn plans(seed: u64) -> impl Iterator<Item = Plan> {
    let plan = |seed: u64| if seed.is_multiple_of(2) { Plan::orderly(seed) } else { Plan::racing(seed) };
    (seed * SCHEDULES..(seed + 1) * SCHEDULES).map(plan)
}

/// What happens inside a schedule's threads is told like what happens outside of them.
pub fn quiet_thread(work: Box<dyn FnOnce()>) {
    quietly(work).unwrap_or_else(|said| resume_unwind(Box::new(said)));
}

/// A plan that broke a promise.
struct Broken {
    plan: Plan,
    said: String,
    /// What the threads called.
    told: Vec<String>,
}

impl Threads {
    fn play(&self, plan: &Plan, told: Option<Told>, seen: &Seen, tally: &mut Tally) -> Result<(), String> {
        let around = Around { told, ..self.around.clone() };
        quietly(|| lose_power(&world::play(plan, &around), plan.seed, seen, tally))
    }

    fn broken(&self, plan: Plan) -> Option<Broken> {
        let told = Told::default();
        let said = self.play(&plan, Some(Arc::clone(&told)), &Seen::without_end(), &mut Tally::default()).err()?;
        let told = told.lock().expect("no panic").clone();
        Some(Broken { plan, said, told })
    }

    /// Whether a plan breaks the same promise, in the same order or in one of some others.
    fn still(&self, broken: &mut Broken, plan: &Plan, until: Instant) -> bool {
        let orders = std::iter::once(plan.schedule).chain(0..TRIED).take_while(|_| Instant::now() < until);
        let mut found = orders.filter_map(|schedule| self.broken(Plan { schedule, ..plan.clone() }));
        let same = found.find(|found| kind(&found.said) == kind(&broken.said));
        same.map(|found| *broken = found).is_some()
    }

    /// Leaves out threads, then what each of them does, then what else befalls them.
    fn shorten(&self, broken: &mut Broken, until: Instant) {
        leave_out(&broken.plan.jobs.clone(), |jobs| {
            let plan = Plan { jobs: jobs.to_vec(), ..broken.plan.clone() };
            self.still(broken, &plan, until)
        });
        for at in 0..broken.plan.jobs.len() {
            for times_max in (1..10).filter(|&times| times < broken.plan.jobs[at].times_max).collect::<Vec<_>>() {
                let mut plan = broken.plan.clone();
                plan.jobs[at] = Job { times_max, ..plan.jobs[at] };
                if self.still(broken, &plan, until) {
                    break;
                }
            }
        }
        let plain: [fn(&mut Plan); 4] = [
            |plan| plan.fault = None,
            |plan| plan.power_cut = None,
            |plan| plan.reopens = false,
            |plan| plan.leaks = true,
        ];
        for make_plain in plain {
            let mut plan = broken.plan.clone();
            make_plain(&mut plan);
            self.still(broken, &plan, until);
        }
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
