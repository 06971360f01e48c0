//! Damage at rest: random histories, closed or killed, and the disk damaged afterwards in many ways.

use crate::explore::{Seen, Tally, quietly};
use crate::hunt::Faults;
use crate::random_damage::rest::{Judged, Rest, Verdict};

/// How often the disk of one history is damaged, each time anew.
const DAMAGES: u64 = 512;
/// One of so many damaged disks has a long life afterwards.
const LONG_LIVES: u64 = 16;

pub struct AtRest;

const DAMAGED: &str = "damaged, opened and gone on with";
const GONE_ON: &str = "later, through closes, kills and power cuts";

impl Faults for AtRest {
    fn name(&self) -> &'static str {
        "damage at rest"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[DAMAGED, GONE_ON]
    }

    fn explore(&self, seed: u64, seen: &Seen) -> (Tally, Result<(), String>) {
        let mut tally = Tally::default();
        let result = quietly(|| Rest::new(seed)).and_then(|mut rest| {
            for number in 0..DAMAGES {
                if seen.is_enough() {
                    break;
                }
                let damage = rest.draw();
                let rounds = if number % LONG_LIVES == 0 { 6 } else { 1 };
                let judge = || rest.judge(&damage, rounds, &mut |judged| note(&mut tally, seen, &judged));
                quietly(judge).map_err(|said| format!("{said}\nafter {:#?}", damage.faults))?;
            }
            // Nothing of it is judged any more.
            quietly(|| drop(rest))
        });
        (tally, result)
    }
}

fn note(tally: &mut Tally, seen: &Seen, judged: &Judged) {
    let source = if judged.verdict == Verdict::GoneOn { GONE_ON } else { DAMAGED };
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
