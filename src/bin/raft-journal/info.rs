//! `info`: what a journal holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_journal::{LogState, LogStore, RecoveryReport, SegmentRole};
use serde_json::{Value, json};

use super::Look;
use super::arguments::Journal;
use super::failure::{Failure, Outcome};
use super::output::{self, BAD, FAINT, GOOD, Output, STRONG, styled};

/// The columns that a value takes at most.
const VALUE_COLUMNS: usize = 60;

pub(super) fn run(out: &mut Output, arguments: &Journal) -> Result<Outcome, Failure> {
    let look = super::look(&arguments.dir, &arguments.keys)?;
    let journal = &look.journal;
    let (state, pairs) = (journal.state(), journal.pairs()?);
    let segments = journal.segments()?;
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let in_log = |role| matches!(role, SegmentRole::Sealed | SegmentRole::Active);
    let used: u64 = segments.iter().filter(|segment| in_log(segment.role)).map(|segment| segment.used_bytes).sum();
    let report = journal.recovery_report();
    if out.json {
        out.document(&json!({
            "dir": arguments.dir.display().to_string(),
            "journal_id": journal.id().to_string(),
            "life": report.life,
            "clean": report.clean,
            "purged": state.purged.map(output::position),
            "first": state.first,
            "last": last(&state).map(output::position),
            "entries": entries(&state),
            "segments": report.segments,
            "files": segments.len(),
            "files_by_key": by_key(journal),
            "used_bytes": used,
            "bytes": bytes,
            "pairs": pairs.iter().map(pair).collect::<Vec<_>>(),
            "report": document(report),
            "refused": look.refused.as_deref().map(output::damage),
        }))?;
    } else {
        out.field("journal", styled(STRONG, journal.id()))?;
        out.field("directory", arguments.dir.display())?;
        let closed = if report.clean { "closed in order" } else { "open in a process, or not closed in order" };
        out.field("life", format_args!("{}, {closed}", report.life))?;
        out.field("log", log(&state))?;
        if let Some(purged) = state.purged {
            out.field("purged", format_args!("up to index {}, term {}", purged.index, purged.term))?;
        }
        let (used, bytes) = (output::size(used), output::size(bytes));
        out.field(
            "segments",
            format_args!("{} in the log, {used} used; {} files, {bytes}", report.segments, segments.len()),
        )?;
        for (key_id, files) in by_key(journal).iter().filter(|&(&key_id, _)| key_id != 0) {
            out.field("key", format_args!("{key_id}, of {files} files {FAINT}(segments and repair files){FAINT:#}"))?;
        }
        for pair in &pairs {
            out.field("pair", pair_line(pair))?;
        }
        say(out, report)?;
        say_damage(out, &look)?;
    }
    Ok(Outcome::found(look.refused.is_some() || is_bad(report)))
}

/// How many files need each key, by its id; 0 is for those that need none.
#[cfg(feature = "encryption")]
fn by_key(journal: &raft_journal::Journal) -> BTreeMap<u32, usize> {
    journal.segments_by_key()
}

/// Without the feature no encrypted journal is opened.
#[cfg(not(feature = "encryption"))]
fn by_key(_: &raft_journal::Journal) -> BTreeMap<u32, usize> {
    BTreeMap::new()
}

fn last(state: &LogState) -> Option<raft_journal::Position> {
    state.first.and(state.last)
}

fn entries(state: &LogState) -> u64 {
    state.first.zip(last(state)).map_or(0, |(first, last)| last.index + 1 - first)
}

fn log(state: &LogState) -> String {
    match state.first.zip(last(state)) {
        Some((first, last)) => {
            format!("{} entries, {first} to {}, the last of term {}", entries(state), last.index, last.term)
        }
        None => "empty".to_owned(),
    }
}

/// A value of eight bytes may be a number: most of a node's are.
fn number(value: &Bytes) -> Option<u64> {
    <[u8; 8]>::try_from(&**value).ok().map(u64::from_le_bytes)
}

fn pair((key, value): &(Bytes, Bytes)) -> Value {
    json!({
        "key": String::from_utf8_lossy(key),
        "key_hex": hex::encode(key),
        "value_hex": hex::encode(value),
        "u64": number(value),
    })
}

fn pair_line((key, value): &(Bytes, Bytes)) -> String {
    let key = output::text(key, VALUE_COLUMNS);
    match number(value) {
        Some(_) if value.iter().all(u8::is_ascii_graphic) => {
            format!("{key} = {} {FAINT}(if no number){FAINT:#}", output::text(value, VALUE_COLUMNS))
        }
        Some(number) => format!("{key} = {number} {FAINT}(if a number){FAINT:#}"),
        None => format!("{key} = {}", output::text(value, VALUE_COLUMNS)),
    }
}

/// A report's losses, and what it asks an operator to look at: a journal that is not there was meant to be.
pub(super) fn is_bad(report: &RecoveryReport) -> bool {
    report.created
        || report.open_ended
        || !report.damaged.is_empty()
        || !report.foreign.is_empty()
        || report.suspect.is_some_and(|suspect| suspect.vote)
}

pub(super) fn document(report: &RecoveryReport) -> Value {
    let paths = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    json!({
        "created": report.created,
        "clean": report.clean,
        "life": report.life,
        "segments": report.segments,
        "torn": report.torn.as_ref().map(|torn| json!({
            "file": torn.path.display().to_string(),
            "offset": torn.offset,
            "bytes": torn.bytes,
            "indexes": torn.indexes.map(|(first, end)| json!([first, end])),
        })),
        "suspect": report.suspect.map(|suspect| json!({ "vote": suspect.vote })),
        "meta_healed": report.meta_healed,
        "twin_headers": paths(&report.twin_headers),
        "damaged": report.damaged.iter().map(|damage| output::damage(damage)).collect::<Vec<_>>(),
        "open_ended": report.open_ended,
        "reindexed": paths(&report.reindexed),
        "foreign": paths(&report.foreign),
        "leftover": paths(&report.leftover),
    })
}

/// Says of a report what is worth a line.
pub(super) fn say(out: &mut Output, report: &RecoveryReport) -> Result<(), Failure> {
    if let Some(torn) = &report.torn {
        let bytes = torn.bytes.map_or("an unknown number of".to_owned(), |bytes| bytes.to_string());
        out.field("torn", format_args!("{bytes} bytes at offset {} of {}", torn.offset, torn.path.display()))?;
    }
    if let Some(suspect) = report.suspect {
        let what =
            if suspect.vote { styled(BAD, "the newest vote may be lost") } else { "nothing that can be told".into() };
        out.field("suspect", format_args!("{what} {FAINT}(an unclean stop){FAINT:#}"))?;
    }
    if report.meta_healed {
        out.field("meta", "one copy is unreadable; its twin serves")?;
    }
    for path in &report.twin_headers {
        out.field("header", format_args!("{}: one copy is unreadable; its twin serves", path.display()))?;
    }
    if report.open_ended {
        out.field("end", styled(BAD, "lost: how much more was acknowledged nobody knows"))?;
    }
    for damage in &report.damaged {
        out.field("damaged", styled(BAD, damage))?;
    }
    for path in &report.reindexed {
        out.field("reindexed", format_args!("{}: its index could not be used", path.display()))?;
    }
    for path in &report.foreign {
        out.field("foreign", styled(BAD, path.display()))?;
    }
    for path in &report.leftover {
        out.field("leftover", path.display())?;
    }
    Ok(())
}

/// What to do about the gravest of what a report has.
pub(super) fn advice(report: &RecoveryReport) -> &'static str {
    match () {
        () if report.open_ended => {
            "the end of its log is lost: let it rejoin its group, under an id that was never used"
        }
        () if report.suspect.is_some_and(|suspect| suspect.vote) => {
            "the newest vote may be lost: normal if power was lost in a vote, else let it rejoin under a new id"
        }
        () if !report.damaged.is_empty() => {
            "without entries that it had: `raft-journal repair DIR --from OTHER_DIR` puts them back, once it is stopped"
        }
        () if !report.foreign.is_empty() => {
            "but files are there that are not its own: find out whose they are, and move them away"
        }
        () => "there is nothing yet",
    }
}

/// Says whether a node could open the journal.
pub(super) fn say_damage(out: &mut Output, look: &Look) -> Result<(), Failure> {
    match &look.refused {
        Some(damage) => {
            let refused = styled(BAD, "a node would refuse it");
            out.field("verdict", format_args!("{refused}: {damage}"))?;
            // Which the first loss alone does not tell.
            if look.journal.recovery_report().open_ended && damage.indexes.end.is_some() {
                out.field("verdict", styled(BAD, advice(look.journal.recovery_report())))?;
            }
        }
        None if is_bad(look.journal.recovery_report()) => {
            let advice = advice(look.journal.recovery_report());
            out.field("verdict", format_args!("{}: {advice}", styled(BAD, "a node would open it")))?;
        }
        None => {
            let more = "(`verify` reads everything)";
            out.field("verdict", format_args!("{} {FAINT}{more}{FAINT:#}", styled(GOOD, "nothing wrong was met")))?;
        }
    }
    Ok(())
}
