//! `checkpoint`: a copy of a journal, by a handle that only reads.

use raft_journal::Error;
use serde_json::json;

use super::arguments::Checkpoint;
use super::failure::{Failure, Outcome};
use super::output::{self, GOOD, Output, styled};

/// How often a journal is looked at anew whose writer removes files faster than they are copied.
const TRIES: usize = 5;

pub(super) fn run(out: &mut Output, arguments: &Checkpoint) -> Result<Outcome, Failure> {
    let made = copy(arguments)?;
    if out.json {
        out.document(&json!({
            "to": arguments.to.display().to_string(),
            "last": made.last.map(output::position),
            "segments": made.segments,
            "kept": made.kept,
            "cloned": made.cloned,
            "copied": made.copied,
            "copied_bytes": made.copied_bytes,
            "removed": made.removed,
        }))?;
        return Ok(Outcome::Fine);
    }
    out.field("checkpoint", arguments.to.display())?;
    let last = made.last.map_or("an empty log".to_owned(), |last| format!("index {}, term {}", last.index, last.term));
    out.field("up to", last)?;
    let (kept, cloned, copied) = (made.kept, made.cloned, made.copied);
    let bytes = output::size(made.copied_bytes);
    out.field("segments", format_args!("{}: {copied} copied ({bytes}), {cloned} cloned, {kept} kept", made.segments))?;
    if made.removed > 0 {
        out.field("removed", format_args!("{} of an older checkpoint", made.removed))?;
    }
    out.field("verdict", styled(GOOD, "complete and durable"))?;
    Ok(Outcome::Fine)
}

/// Copies what a strict open shows: a copy of a damaged journal would take its damage for accepted.
fn copy(arguments: &Checkpoint) -> Result<raft_journal::Checkpoint, Failure> {
    let options = arguments.journal.keys.options()?.read_only(true);
    let mut tries = 1;
    loop {
        let journal = options.open(&arguments.journal.dir)?;
        match journal.checkpoint(&arguments.to) {
            Err(Error::Overtaken { .. }) if tries < TRIES => tries += 1,
            result => return Ok(result?),
        }
    }
}
