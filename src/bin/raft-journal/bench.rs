//! `bench`: what a disk does for a Raft node. A write and a sync of the same bytes into a file of zeros is the least that
//! a durable append can cost; both are measured in turn, so that a drifting disk moves both.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use raft_journal::io::{self, File, Fs, Mode, OsFs};
use raft_journal::{Entry, Error, Journal, LogStore, Position};
use serde_json::{Value, json};

use super::arguments::Bench;
use super::failure::{Failure, Outcome};
use super::output::{BAD, FAINT, GOOD, Output, styled, table};

/// The file that the bare writes go round in.
const FLOOR_BYTES: u64 = 16 << 20;
/// So many of one kind, then so many of the other.
const TURN: u64 = 50;
/// The longest that can be told apart.
const NANOSECONDS_MAX: u64 = 60_000_000_000;
/// The head is truncated after so many appends, as a node does behind a snapshot; or after so many bytes of them.
const KEPT: u64 = 10_000;
const KEPT_BYTES: u64 = 64 << 20;
/// The columns of a full bar.
const BAR_COLUMNS: usize = 20;
/// The columns of the share beside it.
const SHARE_COLUMNS: usize = 8;
/// A disk that takes longer for one in a hundred delays heartbeats: what etcd's guide asks of a disk, too.
const FIT: Duration = Duration::from_millis(10);
/// With longer timeouts such a disk still serves.
const SLOW: Duration = Duration::from_millis(100);
/// No disk answers a sync so fast: it is memory, or it does not wait.
const TOO_FAST: Duration = Duration::from_micros(5);

/// What a disk is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fit,
    Slow,
    Unfit,
    NoDisk,
}

impl Verdict {
    fn of(floor: &Histogram<u64>, journal: &Histogram<u64>) -> Verdict {
        let p99 = at(journal, 99.0);
        match () {
            () if at(floor, 50.0) < TOO_FAST => Verdict::NoDisk,
            () if p99 <= FIT => Verdict::Fit,
            () if p99 <= SLOW => Verdict::Slow,
            () => Verdict::Unfit,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verdict::Fit => "fit",
            Verdict::Slow => "slow",
            Verdict::Unfit => "unfit",
            Verdict::NoDisk => "no disk",
        }
    }

    fn advice(self) -> String {
        match self {
            Verdict::Fit => styled(GOOD, "fit for Raft: 99 of 100 appends are durable within 10 ms"),
            Verdict::Slow => styled(BAD, "slow: 1 of 100 appends takes more than 10 ms; raise the election timeout"),
            Verdict::Unfit => {
                styled(BAD, "not fit for Raft: 1 of 100 appends takes more than 100 ms; use another disk")
            }
            Verdict::NoDisk => {
                styled(BAD, "no disk: a sync that fast is memory, or waits for nothing; name a directory on a disk")
            }
        }
    }
}

pub(super) fn run(out: &mut Output, bench: &Bench) -> Result<Outcome, Failure> {
    let temporary = tempfile::Builder::new().prefix("raft-journal-bench-").tempdir_in(&bench.dir);
    let temporary = temporary.map_err(|error| Error::io("create a directory in", &bench.dir, None, error))?;
    let (floor, journal) = measure(temporary.path(), bench)?;
    // The program measured the disk; a directory that stays is named by the error.
    temporary.close().map_err(|error| Error::io("remove from", &bench.dir, None, error))?;
    let verdict = Verdict::of(&floor, &journal);
    if out.json {
        out.document(&json!({
            "dir": bench.dir.display().to_string(),
            "appends": bench.appends,
            "entry_bytes": bench.entry_bytes,
            "floor": document(&floor),
            "journal": document(&journal),
            "ratio_p50": ratio(&floor, &journal, 50.0),
            "ratio_p99": ratio(&floor, &journal, 99.0),
            "verdict": verdict.name(),
        }))?;
    } else {
        say(out, bench, &floor, &journal)?;
        out.line(verdict.advice())?;
    }
    Ok(Outcome::found(verdict != Verdict::Fit))
}

type Histograms = (Histogram<u64>, Histogram<u64>);

/// Bare writes and appends, in turn.
fn measure(dir: &Path, bench: &Bench) -> Result<Histograms, Failure> {
    let histogram = || Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3).map_err(std::io::Error::other);
    let (mut floors, mut journals) = (histogram()?, histogram()?);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}").map_err(std::io::Error::other)?;
    let progress = ProgressBar::new(2 * bench.appends).with_style(style).with_message("measuring");
    let payload: Vec<u8> = (0..bench.entry_bytes).map(|at| (at % 251) as u8).collect();
    let mut floor = Floor::new(&dir.join("floor"))?;
    let journal = Journal::open(dir.join("journal"))?;
    // The first turn warms up, and is not counted.
    let mut turn = 0;
    while journals.len() < bench.appends {
        let count = TURN.min(bench.appends - journals.len());
        for _ in 0..count {
            let time = floor.write(&payload)?;
            if turn > 0 {
                floors.saturating_record(time);
            }
        }
        for _ in 0..count {
            let time = append(&journal, &payload)?;
            if turn > 0 {
                journals.saturating_record(time);
            }
        }
        progress.set_position(floors.len() + journals.len());
        turn += 1;
    }
    progress.finish_and_clear();
    journal.close()?;
    Ok((floors, journals))
}

fn append(journal: &Journal, payload: &[u8]) -> Result<u64, Error> {
    let index = journal.state().next_index().unwrap_or(1);
    let entry = [Entry::new(index, 1, payload.to_vec())];
    let begun = Instant::now();
    journal.append(&entry)?;
    let time = nanoseconds(begun.elapsed());
    if index.is_multiple_of((KEPT_BYTES / payload.len().max(1) as u64).clamp(1, KEPT)) {
        journal.truncate_head(Position::new(index, 1))?;
    }
    Ok(time)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A file of zeros that is written from its start to its end, and again.
struct Floor {
    file: Arc<dyn File>,
    path: std::path::PathBuf,
    at: u64,
}

impl Floor {
    fn new(path: &Path) -> Result<Floor, Error> {
        let error = |error| Error::io("make", path, None, error);
        let file = OsFs.open(path, Mode::Create).map_err(error)?;
        let zeros = vec![0; 256 << 10];
        for offset in (0..FLOOR_BYTES).step_by(zeros.len()) {
            io::write_all_at(&*file, &zeros, offset).map_err(|(_, source)| error(source))?;
        }
        file.sync_data().map_err(error)?;
        Ok(Floor { file, path: path.to_path_buf(), at: 0 })
    }

    fn write(&mut self, payload: &[u8]) -> Result<u64, Error> {
        if self.at + payload.len() as u64 > FLOOR_BYTES {
            self.at = 0;
        }
        let error = |error| Error::io("write", &self.path, Some(self.at), error);
        let begun = Instant::now();
        io::write_all_at(&*self.file, payload, self.at).map_err(|(_, source)| error(source))?;
        self.file.sync_data().map_err(error)?;
        let time = nanoseconds(begun.elapsed());
        self.at += payload.len() as u64;
        Ok(time)
    }
}

fn at(histogram: &Histogram<u64>, percentile: f64) -> Duration {
    Duration::from_nanos(histogram.value_at_percentile(percentile))
}

fn ratio(floor: &Histogram<u64>, journal: &Histogram<u64>, percentile: f64) -> f64 {
    let ratio = at(journal, percentile).as_secs_f64() / at(floor, percentile).as_secs_f64().max(f64::MIN_POSITIVE);
    (ratio * 1000.0).round() / 1000.0
}

fn document(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50_ns": histogram.value_at_percentile(50.0),
        "p99_ns": histogram.value_at_percentile(99.0),
        "p999_ns": histogram.value_at_percentile(99.9),
        "max_ns": histogram.max(),
    })
}

fn say(out: &mut Output, bench: &Bench, floor: &Histogram<u64>, journal: &Histogram<u64>) -> Result<(), Failure> {
    let Bench { dir, appends, entry_bytes } = bench;
    out.line(format_args!("{appends} durable appends of {entry_bytes} bytes under {}", dir.display()))?;
    let percentiles = [50.0, 99.0, 99.9, 100.0];
    let times = |name: &str, histogram: &Histogram<u64>| {
        std::iter::once(name.to_owned())
            .chain(percentiles.map(|percentile| duration(at(histogram, percentile))))
            .collect()
    };
    let ratios = percentiles.map(|percentile| format!("{:.2}", ratio(floor, journal, percentile)));
    let ratios = std::iter::once("ratio".to_owned()).chain(ratios).collect();
    let rows: Vec<Vec<String>> = vec![times("write and sync", floor), times("journal", journal), ratios];
    for line in table(&["", "P50", "P99", "P99.9", "MAX"], &[false, true, true, true, true], &rows) {
        out.line(line)?;
    }
    out.line("")?;
    for line in chart(floor, journal) {
        out.line(line)?;
    }
    out.line("")?;
    Ok(())
}

/// How many took how long, a line from each time to twice that: the bare disk's on the left, the journal's on the right.
fn chart(floor: &Histogram<u64>, journal: &Histogram<u64>) -> Vec<String> {
    let micros = |nanoseconds: u64| (nanoseconds / 1000).max(1);
    let (low, high) = (micros(floor.min().min(journal.min())), micros(floor.max().max(journal.max())));
    let width = BAR_COLUMNS + SHARE_COLUMNS;
    let mut lines = vec![format!("{:>10}  {FAINT}{:<width$}  journal{FAINT:#}", "", "write and sync")];
    for power in low.ilog2()..=high.ilog2() {
        let to = (1000 << (power + 1)) - 1;
        let from = if power == 0 { 0 } else { 1000u64 << power };
        let bar = |histogram: &Histogram<u64>, block: &str| {
            let share = histogram.count_between(from, to) as f64 / histogram.len().max(1) as f64;
            let columns = (share * BAR_COLUMNS as f64).round() as usize;
            format!("{:<BAR_COLUMNS$}{:>SHARE_COLUMNS$}", block.repeat(columns), format!("{:.1} %", share * 100.0))
        };
        let label = format!("< {}", duration(Duration::from_nanos(to + 1)));
        lines.push(format!("{label:>10}  {}  {}", bar(floor, "░"), bar(journal, "█")));
    }
    lines
}

/// A time as people read it.
fn duration(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match () {
        () if micros < 10.0 => format!("{micros:.1} µs"),
        () if micros < 1000.0 => format!("{micros:.0} µs"),
        () if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        () => format!("{:.1} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::{Verdict, chart, duration, ratio};

    fn histogram(times: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, super::NANOSECONDS_MAX, 3).unwrap();
        times.iter().for_each(|micros| histogram.record(micros * 1000).unwrap());
        histogram
    }

    #[test]
    fn a_disk_is_judged_by_its_slow_appends() {
        let times = |slow: u64| histogram(&[100, 100, 100, 100, 100, 100, 100, 100, 100, slow]);
        let verdict = |slow| Verdict::of(&times(100), &times(slow)).name();
        assert_eq!([verdict(900), verdict(20_000), verdict(200_000)], ["fit", "slow", "unfit"]);
        assert_eq!(Verdict::of(&histogram(&[1, 1, 1]), &times(100)).name(), "no disk");
        assert!((ratio(&times(100), &histogram(&[150]), 50.0) - 1.5).abs() < 0.01);
    }

    #[test]
    fn the_chart_has_a_line_for_each_doubling() {
        let lines = chart(&histogram(&[100, 100, 100, 300]), &histogram(&[120, 130, 140, 500]));
        assert!(lines[1].trim_start().starts_with("< 128 µs"), "{lines:#?}");
        assert_eq!(lines.len(), 1 + 3, "{lines:#?}");
        assert!(lines[1].contains("75.0 %") && lines[1].contains("25.0 %"), "{lines:#?}");
        assert!(lines[3].matches("25.0 %").count() == 2, "{lines:#?}");
        assert_eq!(
            [950, 87_000, 1_250_000].map(|nanos| duration(Duration::from_nanos(nanos))),
            ["0.9 µs", "87 µs", "1.2 ms"]
        );
    }
}
