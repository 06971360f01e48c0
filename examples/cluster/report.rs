//! What happened, in numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::history::{Action, Fault, History};

/// What happened in a run.
#[derive(Default)]
pub struct Tally {
    pub seconds: f64,
    pub rounds: u64,
    /// Acknowledged writes, and answered reads.
    pub written: u64,
    pub reads: u64,
    /// Calls whose history was judged, writes of unknown outcome among them.
    pub judged: u64,
    pub unknown: u64,
    pub keys: u64,
    /// Stale reads that were planted in what was judged, and rejected.
    pub planted: u64,
    /// Nodes that were killed, or lost power.
    pub strikes: u64,
    pub partitions: u64,
    pub full_disks: u64,
    /// Snapshots that nodes which were taken down had installed, and those of the running ones.
    pub installed: u64,
    pub installed_by: BTreeMap<u64, u64>,
    /// Entries that the logs of all nodes had in common at the end.
    pub entries: u64,
    pub faults: Vec<Fault>,
}

impl Tally {
    pub fn progress(&self, written: u64) -> String {
        format!("{} writes, {} nodes struck, {} partitions", HumanCount(written), self.strikes, self.partitions)
    }

    pub fn add(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    /// Counts a history that has no fault.
    pub fn count(&mut self, history: &History) {
        for call in history.calls() {
            self.judged += 1;
            self.unknown += u64::from(call.returned.is_none() && matches!(call.action, Action::Write(_)));
        }
        self.keys += history.keys().len() as u64;
        self.planted += 1;
    }

    /// What a run must have seen to be worth anything.
    pub fn missing(&self) -> Option<&'static str> {
        let seen = [
            (self.written, "no write was acknowledged"),
            (self.judged, "nothing was judged"),
            (self.strikes, "no node was struck"),
            (self.entries, "no log was compared"),
        ];
        seen.into_iter().find(|(count, _)| *count == 0).map(|(_, what)| what)
    }

    /// The table; `struck` says what happened to a node that was struck.
    pub fn table(&self, struck: &str) -> Table<'_> {
        Table { tally: self, struck: struck.to_owned() }
    }
}

pub struct Table<'a> {
    tally: &'a Tally,
    struck: String,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally;
        let lost = tally.faults.iter().filter(|fault| matches!(fault, Fault::Lost { .. })).count() as u64;
        let installed = tally.installed + tally.installed_by.values().sum::<u64>();
        let rows = [
            (self.struck.as_str(), tally.strikes),
            ("partitions", tally.partitions),
            ("full disks", tally.full_disks),
            ("snapshots installed", installed),
            ("writes acknowledged", tally.written),
            ("reads answered", tally.reads),
            ("writes of unknown outcome", tally.unknown),
            ("calls judged", tally.judged),
            ("keys judged", tally.keys),
            ("planted stale reads caught", tally.planted),
            ("log entries compared", tally.entries),
            ("acknowledged writes lost", lost),
            ("faults", tally.faults.len() as u64),
        ];
        writeln!(f, "{} rounds in {:.1} s", tally.rounds, tally.seconds)?;
        rows.iter().try_for_each(|(what, count)| writeln!(f, "  {what:<26}{:>12}", HumanCount(*count).to_string()))
    }
}

/// How long nothing is said where nobody watches.
const SILENCE: Duration = Duration::from_secs(60);

/// How far the run is: a bar for those who watch, a line a minute for those who look later.
pub struct Progress {
    begun: Instant,
    told: Instant,
    /// Where standard error is a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn begin(duration: Duration) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(duration.as_secs()));
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} s: {msg}");
        if let (Some(bar), Ok(style)) = (&bar, style) {
            bar.set_style(style);
        }
        Progress { begun: Instant::now(), told: Instant::now(), bar }
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let seconds = self.begun.elapsed().as_secs();
        if let Some(bar) = &self.bar {
            bar.set_position(seconds);
            bar.set_message(what());
        } else if self.told.elapsed() >= SILENCE {
            self.told = Instant::now();
            eprintln!("{seconds} s: {}", what());
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
