//! `ls`: the segment files.

use raft_journal::{SegmentInfo, SegmentRole};
use serde_json::{Value, json};

use super::Look;
use super::arguments::Journal;
use super::failure::{Failure, Outcome};
use super::output::{self, BAD, Output, styled};

pub(super) fn run(out: &mut Output, arguments: &Journal) -> Result<Outcome, Failure> {
    let (look, segments) = look(arguments)?;
    let is_nobodys = |segment: &SegmentInfo| matches!(segment.role, SegmentRole::Foreign | SegmentRole::Unreached);
    let is_bad = look.refused.is_some()
        || super::info::is_bad(look.journal.recovery_report())
        || segments.iter().any(is_nobodys);
    if out.json {
        let list: Vec<Value> = segments.iter().map(document).collect();
        let damaged = look.refused.as_deref().map(output::damage);
        out.document(&json!({ "segments": list, "damaged": damaged }))?;
    } else {
        let titles = ["SEQUENCE", "ROLE", "INDEXES", "TERMS", "USED", "SIZE", "KEY", "RECYCLED"];
        let right = [true, false, false, false, true, true, true, false];
        let rows: Vec<Vec<String>> = segments.iter().map(row).collect();
        for line in output::table(&titles, &right, &rows) {
            out.line(line)?;
        }
        let is_sound = look.refused.is_none() && !super::info::is_bad(look.journal.recovery_report());
        let has_strays = segments.iter().any(is_nobodys);
        if !(is_sound && has_strays) {
            super::info::say_damage(out, &look)?;
        }
        if has_strays {
            out.field("verdict", styled(BAD, "some files are not the log's: see their roles"))?;
        }
    }
    Ok(Outcome::found(is_bad))
}

/// A look at the journal and at its files. Beside a running node the log may go on in a new file between the two, which then
/// seems to be nobody's: a second look knows better, and the file is none of the first one's.
fn look(arguments: &Journal) -> Result<(Look, Vec<SegmentInfo>), Failure> {
    let look = super::look(&arguments.dir, &arguments.keys)?;
    let mut segments = look.journal.segments()?;
    let is_unreached = |segment: &SegmentInfo| segment.role == SegmentRole::Unreached;
    if segments.iter().any(is_unreached) {
        let later = super::look(&arguments.dir, &arguments.keys)?.journal.segments()?;
        let stays = |segment: &SegmentInfo| later.iter().any(|it| it.sequence == segment.sequence && is_unreached(it));
        segments.retain(|segment| !is_unreached(segment) || stays(segment));
    }
    Ok((look, segments))
}

fn role(role: SegmentRole) -> &'static str {
    match role {
        SegmentRole::Sealed => "sealed",
        SegmentRole::Active => "active",
        SegmentRole::Spare => "spare",
        SegmentRole::Retired => "retired",
        SegmentRole::Unreached => "unreached",
        _ => "foreign",
    }
}

fn document(segment: &SegmentInfo) -> Value {
    json!({
        "sequence": segment.sequence,
        "file": segment.path.display().to_string(),
        "role": role(segment.role),
        "sealed": segment.role == SegmentRole::Sealed,
        "first": segment.indexes.start,
        "end": segment.indexes.end,
        "first_term": segment.terms.map(|(first, _)| first),
        "last_term": segment.terms.map(|(_, last)| last),
        "used_bytes": segment.used_bytes,
        "bytes": segment.bytes,
        "version": segment.version,
        "key_id": segment.key_id,
        "recycled": segment.recycled,
    })
}

fn row(segment: &SegmentInfo) -> Vec<String> {
    let none = || "-".to_owned();
    let indexes = match segment.indexes.is_empty() {
        true => none(),
        false => format!("{}..{}", segment.indexes.start, segment.indexes.end),
    };
    let terms = match segment.terms {
        Some((first, last)) if first == last => first.to_string(),
        Some((first, last)) => format!("{first}..={last}"),
        None => none(),
    };
    let key = if segment.key_id == 0 { none() } else { segment.key_id.to_string() };
    let recycled = if segment.recycled { "yes" } else { "-" };
    vec![
        segment.sequence.to_string(),
        role(segment.role).to_owned(),
        indexes,
        terms,
        output::size(segment.used_bytes),
        output::size(segment.bytes),
        key,
        recycled.to_owned(),
    ]
}
