//! `recover --dry-run`: what opening for writing would find and do.

use raft_journal::{OnDamage, RecoveryReport};
use serde_json::json;

use super::arguments::Recover;
use super::failure::{self, Failure, Outcome};
use super::info;
use super::output::{BAD, FAINT, GOOD, Output, styled};

pub(super) fn run(out: &mut Output, recover: &Recover) -> Result<Outcome, Failure> {
    let on_damage = if recover.accept_damage { OnDamage::Accept } else { OnDamage::Refuse };
    let options = recover.journal.keys.options()?.on_damage(on_damage).meta_bytes_max(recover.meta_bytes_max);
    match options.preview(&recover.journal.dir) {
        Ok(report) => {
            say(out, &report)?;
            Ok(Outcome::found(info::is_bad(&report)))
        }
        Err(error) if failure::is_verdict(&error) && out.json => {
            let failure = Failure::from(error);
            out.document(&json!({ "opens": false, "error": failure.to_string(), "hint": failure.hint() }))?;
            Ok(Outcome::Found)
        }
        Err(error) => Err(error.into()),
    }
}

fn say(out: &mut Output, report: &RecoveryReport) -> Result<(), Failure> {
    if out.json {
        out.document(&json!({ "opens": true, "report": info::document(report) }))?;
        return Ok(());
    }
    let life = report.life;
    match report.created {
        true => out.field("would", "make a new journal: there is none")?,
        false => out.field("would", format_args!("open, and begin life {life}: {} segments", report.segments))?,
    }
    let closed = if report.clean { "in order" } else { "not in order, or it is open now" };
    if !report.created {
        out.field("closed", closed)?;
    }
    info::say(out, report)?;
    if info::is_bad(report) {
        return Ok(out.field("verdict", styled(BAD, info::advice(report)))?);
    }
    let more = "(`verify` reads everything)";
    out.field("verdict", format_args!("{} {FAINT}{more}{FAINT:#}", styled(GOOD, "nothing is lost by it")))?;
    Ok(())
}
