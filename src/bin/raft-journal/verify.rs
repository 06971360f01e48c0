//! `verify`: every checksum of every file.

use std::ops::ControlFlow;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use raft_journal::{Damage, Fault, Journal, VerifyOptions, VerifyReport};
use serde_json::{Value, json};

use super::arguments::Verify;
use super::failure::{Failure, Outcome};
use super::output::{self, BAD, FAINT, GOOD, Output, styled};

pub(super) fn run(out: &mut Output, arguments: &Verify) -> Result<Outcome, Failure> {
    let look = super::look(&arguments.journal.dir, &arguments.journal.keys)?;
    let rate = arguments.mib_per_second.map(|rate| rate << 20);
    let report = verify(&look.journal, rate)?;
    // What the look had to do without, a pass takes for known.
    let lost = &look.journal.recovery_report().damaged;
    if out.json {
        out.document(&json!({
            "files": report.files,
            "bytes": report.bytes,
            "batches": report.batches,
            "entries": report.entries,
            "seconds": report.time.as_secs_f64(),
            "faults": report.faults.iter().map(document).collect::<Vec<_>>(),
            "skipped": report.skipped.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            "damaged": lost.iter().map(|damage| output::damage(damage)).collect::<Vec<_>>(),
            "refused": look.refused.as_deref().map(output::damage),
        }))?;
    } else {
        say(out, &report, lost)?;
        if look.refused.is_some() {
            super::info::say_damage(out, &look)?;
        }
    }
    Ok(Outcome::found(!report.faults.is_empty() || look.refused.is_some() || !lost.is_empty()))
}

/// Reads all of a journal, and shows on a terminal how far it has come.
pub(super) fn verify(journal: &Journal, bytes_per_second: Option<u64>) -> Result<VerifyReport, Failure> {
    let template = "verifying {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    let style = ProgressStyle::with_template(template).map_err(std::io::Error::other)?;
    let bar = ProgressBar::new(0).with_style(style);
    let options = VerifyOptions::new();
    let options = bytes_per_second.map_or(options, |rate| options.bytes_per_second(rate));
    let report = journal.verify(&options, |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn document(fault: &Fault) -> Value {
    json!({
        "file": fault.path.display().to_string(),
        "offset": fault.offset,
        "part": fault.part.to_string(),
        "cause": fault.cause.to_string(),
        "first": fault.indexes.map(|indexes| indexes.first),
        "end": fault.indexes.and_then(|indexes| indexes.end),
        "term": fault.term,
    })
}

fn say(out: &mut Output, report: &VerifyReport, lost: &[Arc<Damage>]) -> Result<(), Failure> {
    let (bytes, seconds) = (output::size(report.bytes), report.time.as_secs_f64());
    let VerifyReport { files, batches, entries, .. } = report;
    out.field(
        "checked",
        format_args!("{files} files, {bytes}, {batches} batches, {entries} entries in {seconds:.1} s"),
    )?;
    for damage in lost {
        out.field("damaged", styled(BAD, damage))?;
    }
    for fault in &report.faults {
        out.field("fault", styled(BAD, fault))?;
    }
    for path in &report.skipped {
        out.field("skipped", format_args!("{} {FAINT}(the writer changed it meanwhile){FAINT:#}", path.display()))?;
    }
    let losses = report.losses().count() + lost.len();
    match (report.faults.len() + lost.len(), losses) {
        (0, _) if report.skipped.is_empty() => out.field("verdict", styled(GOOD, "everything checks out"))?,
        (0, _) => out.field("verdict", "everything that was not skipped checks out")?,
        (1, 0) => out.field("verdict", "1 fault, and no entry is lost")?,
        (faults, 0) => out.field("verdict", format_args!("{faults} faults, and no entry is lost"))?,
        (faults, losses) => {
            let hint = "`raft-journal repair DIR --from OTHER_DIR` puts them back";
            out.field("verdict", format_args!("faults: {faults}, of which cost entries: {losses}; {hint}"))?;
        }
    }
    Ok(())
}
