//! `dump`: entries.

use raft_journal::{Entry, Error, LogStore};
use serde_json::json;

use super::arguments::{Dump, Format, Indexes};
use super::failure::{Failure, Outcome};
use super::output::{self, BAD, FAINT, Output, STRONG, styled};

/// What is read at a time, bytes.
const READ_BYTES_MAX: u64 = 1 << 20;
/// The columns that an entry's beginning takes at most.
const TEXT_COLUMNS: usize = 80;
/// Bytes on one line in hexadecimal.
const HEX_BYTES: usize = 16;

pub(super) fn run(out: &mut Output, dump: &Dump) -> Result<Outcome, Failure> {
    let look = super::look(&dump.journal.dir, &dump.journal.keys)?;
    let state = look.journal.state();
    let format = if out.json { Format::Json } else { dump.format.unwrap_or(Format::Text) };
    let Indexes { first, end } = dump.range;
    // What is printed may be sound, and the journal would not open all the same.
    let would_open = Outcome::found(look.refused.is_some());
    match look.refused.as_deref() {
        Some(damage) if out.json => anstream::eprintln!("{}", json!({ "refused": output::damage(damage) })),
        Some(damage) => anstream::eprintln!("{BAD}a node would refuse this journal{BAD:#}: {damage}"),
        None => {}
    }
    let Some(log_first) = state.first else {
        let error = Error::AfterLast { index: first, next: state.next_index().unwrap_or(0) };
        return refuse_if_asked(&dump.range, error, would_open);
    };
    let log_end = state.last.map_or(log_first, |last| last.index + 1);
    let (mut index, end) = (first.max(log_first), end.unwrap_or(log_end).min(log_end));
    if index >= end {
        let error = match first < log_first {
            true => Error::BeforeFirst { index: first, first: log_first },
            false => Error::AfterLast { index: first, next: log_end },
        };
        return refuse_if_asked(&dump.range, error, would_open);
    }
    let mut damaged = false;
    while index < end {
        match look.journal.entries(index..end, READ_BYTES_MAX) {
            Ok(entries) => {
                for entry in &entries {
                    print(out, format, entry)?;
                }
                index += entries.len().max(1) as u64;
            }
            Err(error @ (Error::Damaged(_) | Error::Io { .. })) => {
                damaged = true;
                print_damaged(out, format, index, &error)?;
                index += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if damaged { Outcome::found(true) } else { would_open })
}

/// Nothing to print is an error where indexes were named.
fn refuse_if_asked(range: &Indexes, error: Error, outcome: Outcome) -> Result<Outcome, Failure> {
    if *range == Indexes::default() { Ok(outcome) } else { Err(error.into()) }
}

fn print(out: &mut Output, format: Format, entry: &Entry) -> Result<(), Failure> {
    let Entry { index, term, data } = entry;
    match format {
        Format::Json => {
            let line = json!({ "index": index, "term": term, "bytes": data.len(), "hex": hex::encode(data) });
            out.json_line(&line)?;
        }
        Format::Text => {
            let text = output::text(data, TEXT_COLUMNS);
            out.line(format_args!("{STRONG}{index}{STRONG:#}\t{term}\t{}\t{text}", data.len()))?;
        }
        Format::Hex => {
            out.line(format_args!("{STRONG}index {index}{STRONG:#}, term {term}, {} bytes", data.len()))?;
            for (at, line) in data.chunks(HEX_BYTES).enumerate() {
                let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                let visible = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' };
                let text: String = line.iter().map(visible).collect();
                let width = 3 * HEX_BYTES - 1;
                out.line(format_args!("{FAINT}{:08x}{FAINT:#}  {:<width$}  {text}", at * HEX_BYTES, bytes.join(" ")))?;
            }
        }
    }
    Ok(())
}

fn print_damaged(out: &mut Output, format: Format, index: u64, error: &Error) -> Result<(), Failure> {
    match format {
        Format::Json => out.json_line(&json!({ "index": index, "error": error.to_string() }))?,
        Format::Text | Format::Hex => {
            let what = if matches!(error, Error::Io { .. }) { "unread" } else { "damaged" };
            out.line(format_args!("{index}\t{}\t{error}", styled(BAD, what)))?;
        }
    }
    Ok(())
}
