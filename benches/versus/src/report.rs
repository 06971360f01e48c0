//! Results as Markdown.

use std::fmt::Write;

use crate::contestant::Contestant;
use crate::result::{Column, Ratio, Table};

/// One workload as a Markdown table: a row for each metric, a column for each contestant.
pub fn table(table: &Table) -> String {
    let mut out = String::new();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "### {}: {}\n", table.workload, table.title);
    let _ = writeln!(out, "| | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    for metric in &table.metrics {
        let cells: Vec<String> = table.columns.iter().map(|column| cell(table, column, metric.name)).collect();
        let _ = writeln!(out, "| {} | {} |", metric.label(), cells.join(" | "));
    }
    for note in &table.notes {
        let _ = write!(out, "\n- {note}");
    }
    if !table.notes.is_empty() {
        out.push('\n');
    }
    out
}

fn cell(table: &Table, column: &Column, metric: &str) -> String {
    let Some(figure) = column.median(metric) else { return "–".to_owned() };
    let ratio = table.floor().filter(|floor| floor.name != column.name);
    match ratio.and_then(|floor| column.ratio(floor, metric)) {
        Some(Ratio { median, lowest, highest }) => {
            format!("{} · **{}** ({}–{})", number(figure), digits(median), digits(lowest), digits(highest))
        }
        None => number(figure),
    }
}

/// A figure with three digits or more.
pub fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1e4 => thousands(figure.round() as u64),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// A whole number, its thousands apart.
pub fn thousands(number: u64) -> String {
    let whole = number.to_string();
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn digits(ratio: f64) -> String {
    if ratio.abs() < 10.0 { format!("{ratio:.2}") } else { number(ratio) }
}

/// At which setting each contestant ran.
pub fn settings(contestants: &[&'static dyn Contestant]) -> String {
    let mut out = String::from("### Settings\n\n| | |\n|---|---|\n");
    for contestant in contestants {
        let _ = writeln!(out, "| {} | {} |", contestant.name(), contestant.setting());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_more() {
        let cases = [(0.5, "0.50"), (12.34, "12.3"), (123.4, "123"), (1234.0, "1234"), (12345.0, "12,345")];
        for (figure, text) in cases {
            assert_eq!(number(figure), text);
        }
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!([thousands(1), thousands(1000)], ["1", "1,000"]);
    }
}
