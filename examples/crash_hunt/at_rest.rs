//! Damage at rest: random histories, closed or killed, and the disk damaged afterwards in many ways.

use crate::explore::{Seen, Tally, quietly};
use crate::hunt::{Failure, Faults, Short, leave_out};
use crate::random_damage::rest::{Damage, Judged, Past, Rest, Verdict};
use crate::random_damage::run::{Random, Wrap};
use crate::short::kind;

/// How often the disk of one history is damaged, each time anew.
const DAMAGES: u64 = 512;
/// One of so many damaged disks has a long life afterwards.
const LONG_LIVES: u64 = 16;
/// How many damages are tried on a history that was made shorter.
const TRIED: u64 = 192;

/// `wrap` stands between journals and their disks.
pub struct AtRest {
    pub wrap: Wrap,
}

const DAMAGED: &str = "damaged, opened and gone on with";
const GONE_ON: &str = "later, through closes, kills and power cuts";
const TOLD: &str = "the newest `meta` lost: opened and read only";

impl Faults for AtRest {
    fn name(&self) -> &'static str {
        "damage at rest"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[DAMAGED, GONE_ON, TOLD]
    }

    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>) {
        let mut tally = Tally::default();
        let mut random = Random::new(seed);
        let past = Past::draw(seed, &mut random);
        let broken = self.first_broken(&past, &mut random, DAMAGES, seen, &mut tally);
        (tally, broken.map_or(Ok(()), |broken| Err(broken.said)))
    }

    /// A fault tells a place of a file, and may hit nothing of a history that is shorter: then others are tried.
    fn shrink(&self, seed: u64, said: String) -> Failure {
        let mut random = Random::new(seed);
        let past = Past::draw(seed, &mut random);
        let first = self.first_broken(&past, &mut random, DAMAGES, &Seen::without_end(), &mut Tally::default());
        let Some(mut broken) = first else {
            return Failure { seed, said, history: Short::unknown() };
        };
        leave_out(&past.steps, |steps| {
            let shorter = Past { steps: steps.to_vec(), ..past.clone() };
            self.still(&mut broken, &shorter, TRIED)
        });
        if broken.past.closes {
            let killed = Past { closes: false, ..broken.past.clone() };
            self.still(&mut broken, &killed, TRIED);
        }
        self.shorten_damage(&mut broken);
        Failure { seed, history: Short::of("", &broken.steps()), said: broken.said }
    }
}

/// A history that broke a promise: by itself, or damaged.
struct Broken {
    past: Past,
    damage: Option<Damage>,
    said: String,
}

impl Broken {
    /// What happened, step by step.
    fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self.past.steps.iter().map(|step| format!("{step:?}")).collect();
        if let Some(Damage { faults, interruptions, lives }) = &self.damage {
            steps.push(if self.past.closes { "closed" } else { "killed" }.into());
            steps.extend(faults.iter().map(|fault| format!("damage: {fault:?}")));
            steps.extend(interruptions.iter().map(|interruption| format!("{interruption:?}")));
            for (taken, end) in lives {
                steps.extend(taken.iter().map(|step| format!("{step:?}")));
                steps.push(format!("Reopen({end:?})"));
            }
        }
        steps
    }
}

impl AtRest {
    /// The first of so many damages of a history that breaks a promise; or the history, if it does so itself.
    fn first_broken(
        &self,
        past: &Past,
        random: &mut Random,
        damages: u64,
        seen: &Seen,
        tally: &mut Tally,
    ) -> Option<Broken> {
        let broken = |damage, said| Some(Broken { past: past.clone(), damage, said });
        let rest = match quietly(|| Rest::new(past, self.wrap)) {
            Ok(rest) => rest,
            Err(said) => return broken(None, said),
        };
        for number in 0..damages {
            if seen.is_enough() {
                break;
            }
            let damage = rest.draw(random, if number % LONG_LIVES == 0 { 6 } else { 1 });
            let judge = || rest.judge(&damage, &mut |judged| note(tally, seen, &judged));
            if let Err(said) = quietly(judge) {
                let said = format!("{said}\nafter {:#?}", damage.faults);
                return broken(Some(damage), said);
            }
        }
        // Nothing of it is judged any more.
        quietly(|| drop(rest)).err().and_then(|said| broken(None, said))
    }

    /// Whether another history breaks the same promise: damaged in the same way, or in one of so many others.
    fn still(&self, broken: &mut Broken, past: &Past, damages: u64) -> bool {
        let found = self.broken_by(past, broken.damage.as_ref()).filter(|found| is_same(found, broken)).or_else(|| {
            let (mut random, seen) = (Random::new(past.steps.len() as u64), Seen::without_end());
            let found = self.first_broken(past, &mut random, damages, &seen, &mut Tally::default());
            found.filter(|found| is_same(found, broken))
        });
        found.map(|found| *broken = found).is_some()
    }

    fn broken_by(&self, past: &Past, damage: Option<&Damage>) -> Option<Broken> {
        let judge = || {
            let rest = Rest::new(past, self.wrap);
            damage.iter().for_each(|damage| rest.judge(damage, &mut |_| {}));
        };
        let said = quietly(judge).err()?;
        Some(Broken { past: past.clone(), damage: damage.cloned(), said })
    }

    /// Leaves out what is not needed of the damage and of all that came after it.
    fn shorten_damage(&self, broken: &mut Broken) {
        let Some(damage) = broken.damage.clone() else { return };
        let mut try_damage = |damage: Damage| {
            let found = self.broken_by(&broken.past, Some(&damage)).filter(|found| is_same(found, broken));
            found.map(|found| *broken = found).is_some()
        };
        let mut left = damage;
        left.lives = leave_out(&left.lives, |lives| try_damage(Damage { lives: lives.to_vec(), ..left.clone() }));
        left.interruptions = leave_out(&left.interruptions, |interruptions| {
            try_damage(Damage { interruptions: interruptions.to_vec(), ..left.clone() })
        });
        left.faults = leave_out(&left.faults, |faults| try_damage(Damage { faults: faults.to_vec(), ..left.clone() }));
        for at in 0..left.lives.len() {
            let (steps, end) = left.lives[at].clone();
            left.lives[at].0 = leave_out(&steps, |steps| {
                let mut shorter = left.clone();
                shorter.lives[at] = (steps.to_vec(), end);
                try_damage(shorter)
            });
        }
    }
}

fn is_same(a: &Broken, b: &Broken) -> bool {
    kind(&a.said) == kind(&b.said)
}

fn note(tally: &mut Tally, seen: &Seen, judged: &Judged) {
    let source = match judged.verdict {
        Verdict::GoneOn => GONE_ON,
        Verdict::NewestLost => TOLD,
        Verdict::Accepted | Verdict::Opened => DAMAGED,
    };
    tally.meet(source, seen.insert(judged.digest));
    match judged.verdict {
        Verdict::NewestLost => tally.decided("damage: the newest state lost, and told"),
        Verdict::Accepted => tally.decided("damage: refused, then accepted"),
        Verdict::Opened => tally.decided("damage: opened"),
        Verdict::GoneOn => {}
    }
    if let Some(report) = judged.report {
        tally.note(report);
    }
}
