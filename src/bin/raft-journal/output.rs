//! What is printed: text with colours where a terminal takes them, or JSON.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use raft_journal::{Damage, Position};
use serde_json::{Value, json};

/// What stands out.
pub(super) const STRONG: Style = Style::new().bold();
/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What asks for action.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What only explains.
pub(super) const FAINT: Style = Style::new().dimmed();

/// Standard output: of a style, a stream that is no terminal gets only the text.
pub(super) struct Output {
    stream: anstream::AutoStream<io::StdoutLock<'static>>,
    pub(super) json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Output {
        Output { stream: anstream::AutoStream::auto(io::stdout().lock()), json }
    }

    pub(super) fn line(&mut self, text: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.stream, "{text}")
    }

    /// A name and what it stands for, side by side.
    pub(super) fn field(&mut self, name: &str, value: impl std::fmt::Display) -> io::Result<()> {
        self.line(format_args!("{FAINT}{name:<12}{FAINT:#} {value}"))
    }

    pub(super) fn document(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.stream, "{value:#}")
    }

    pub(super) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.stream, "{value}")
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

pub(super) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

pub(super) fn position(position: Position) -> Value {
    json!({ "index": position.index, "term": position.term })
}

pub(super) fn damage(damage: &Damage) -> Value {
    json!({
        "file": damage.path.display().to_string(),
        "offset": damage.offset,
        "first": damage.indexes.first,
        "end": damage.indexes.end,
        "term": damage.term,
        "why": damage.why.to_string(),
    })
}

/// Bytes as text on one line, no longer than so many columns: what is no printable ASCII is escaped.
pub(super) fn text(bytes: &[u8], columns: usize) -> String {
    let mut out = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        let piece = byte.escape_ascii().to_string();
        let left = columns.saturating_sub(out.len());
        let needed = if at + 1 == bytes.len() { piece.len() } else { piece.len() + 1 };
        if needed > left {
            out.push('…');
            return out;
        }
        out.push_str(&piece);
    }
    out
}

/// Rows under titles, each column as wide as it must be; those named are flush right.
pub(super) fn table(titles: &[&str], right: &[bool], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(titles.get(column).map(|title| title.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).zip(right).map(|((cell, &width), &right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(styled(STRONG, line(&head))).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn bytes_become_one_line_of_text() {
        assert_eq!(text(b"set x = 1", 20), "set x = 1");
        assert_eq!(text(b"a\n\xff", 20), "a\\n\\xff");
        assert_eq!(text(b"0123456789", 10), "0123456789");
        assert_eq!(text(b"0123456789", 6), "01234…");
    }
}
