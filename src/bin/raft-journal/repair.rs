//! `repair`: damaged entries are put back as another journal has them.

use std::collections::{BTreeMap, BTreeSet};

use raft_journal::{DamagedRange, Entry, Error, Journal, LogStore, OnDamage};
use serde_json::{Value, json};

use super::arguments::Repair;
use super::failure::{Failure, Outcome};
use super::keys::Keys;
use super::output::{BAD, GOOD, Output, styled};

/// What is read of the other journal at a time, bytes.
const READ_BYTES_MAX: u64 = 8 << 20;

/// A run of damaged entries, and what became of it.
struct Run {
    first: u64,
    end: u64,
    /// Why it is as it was; none when it is whole again, or can be.
    failed: Option<Error>,
}

/// Runs of indexes, half-open.
type Runs = Vec<(u64, u64)>;
/// Why the system did not read an entry.
type Unread = BTreeMap<u64, Error>;

pub(super) fn run(out: &mut Output, arguments: &Repair) -> Result<Outcome, Failure> {
    let other = super::look(&arguments.from, &from_keys(arguments))?.journal;
    let journal = open(arguments)?;
    let (damaged, unread) = damaged(&journal)?;
    // Of what the system refuses to read, nobody knows whether it is damaged.
    let unread = unread.into_iter().map(|(index, error)| Run { first: index, end: index + 1, failed: Some(error) });
    let runs: Vec<Run> = unread.collect();
    let mut healer = Healer { journal: &journal, other: &other, dry_run: arguments.dry_run, runs, stopped: None };
    damaged.into_iter().for_each(|(first, end)| healer.put_back(first..end));
    let Healer { mut runs, stopped, .. } = healer;
    runs.sort_by_key(|run| run.first);
    let closed = if arguments.dry_run { Ok(()) } else { journal.close() };
    // What was put back before the journal failed stays so.
    say(out, arguments.dry_run, &runs)?;
    if let Some(error) = stopped.filter(|error| is_its_own(error) && !matches!(error, Error::RepairsFull { .. })) {
        return Err(error.into());
    }
    closed?;
    let left = runs.iter().any(|run| run.failed.is_some());
    Ok(Outcome::found(left || arguments.dry_run && !runs.is_empty()))
}

/// The other journal's keys. That it has none must be said: a plain journal in its place could hold anybody's entries.
fn from_keys(arguments: &Repair) -> Keys {
    match &arguments.from_key_file {
        Some(path) => Keys { key_file: Some(path.clone()), key_id: None },
        None if arguments.from_plain => Keys::default(),
        None => arguments.journal.keys.clone(),
    }
}

/// Opens the journal with its damage. A dry run only reads, and nothing makes a journal where none is.
fn open(arguments: &Repair) -> Result<Journal, Failure> {
    let options = arguments.journal.keys.options()?.on_damage(OnDamage::Accept);
    let options = options.meta_bytes_max(arguments.meta_bytes_max);
    let dir = &arguments.journal.dir;
    let would = options.preview(dir)?;
    if would.created {
        let why = "nothing is there".to_owned();
        return Err(Error::NotAJournal { dir: dir.clone(), why }.into());
    }
    if would.open_ended {
        return Err(Failure::OpenEnded(dir.clone()));
    }
    Ok(options.read_only(arguments.dry_run).open(dir)?)
}

/// The runs of entries that cannot be read. Reading everything is how they are found: a journal that opens has not looked
/// into its sealed files.
fn damaged(journal: &Journal) -> Result<(Runs, Unread), Failure> {
    let report = super::verify::verify(journal, None)?;
    let found = report.losses().filter_map(|fault| fault.indexes);
    let known = journal.damaged().into_iter().map(|damage| damage.indexes);
    let state = journal.state();
    let (first, next) = (state.first.unwrap_or(u64::MAX), state.next_index().unwrap_or(0));
    let (mut lost, mut unread) = (BTreeSet::new(), Unread::new());
    for DamagedRange { first: from, end } in found.chain(known) {
        for index in from.max(first)..end.unwrap_or(next).min(next) {
            match journal.entry(index) {
                Err(Error::Damaged(_)) => _ = lost.insert(index),
                Err(error @ Error::Io { .. }) => _ = unread.insert(index, error),
                _ => {}
            }
        }
    }
    let mut runs = Runs::new();
    for index in lost {
        match runs.last_mut().filter(|(_, end)| *end == index) {
            Some((_, end)) => *end = index + 1,
            None => runs.push((index, index + 1)),
        }
    }
    Ok((runs, unread))
}

/// Puts back, and keeps what became of it.
struct Healer<'a> {
    journal: &'a Journal,
    other: &'a Journal,
    dry_run: bool,
    runs: Vec<Run>,
    /// Why nothing more is put back.
    stopped: Option<Error>,
}

impl Healer<'_> {
    /// Puts a run back, in pieces as they are read, from its lowest index on.
    fn put_back(&mut self, range: std::ops::Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            if let Some(error) = &self.stopped {
                return self.note(at, range.end, Some(error.clone()));
            }
            let fetched = fetch(self.other, at, range.end);
            let end = fetched.as_ref().map_or(at + 1, |entries| at + entries.len() as u64);
            let put = match fetched {
                Ok(entries) if !self.dry_run => self.journal.repair(&entries).inspect_err(|error| self.stop_at(error)),
                fetched => fetched.map(drop),
            };
            self.note(at, end, put.err());
            at = end;
        }
    }

    /// Where an entry contradicts what is left of the lost one, the other log is another one from there on: nothing that stands
    /// behind it is taken, even where nothing is left that could contradict. And a journal that cannot write takes nothing.
    fn stop_at(&mut self, error: &Error) {
        if matches!(error, Error::RepairRefused { .. }) || is_its_own(error) {
            self.stopped = Some(error.clone());
        }
    }

    /// Notes what became of entries, half-open; what went well right behind what did is one run with it.
    fn note(&mut self, first: u64, end: u64, failed: Option<Error>) {
        match self.runs.last_mut().filter(|last| last.end == first && last.failed.is_none() && failed.is_none()) {
            Some(last) => last.end = end,
            None => self.runs.push(Run { first, end, failed }),
        }
    }
}

/// Whether it is the journal that is mended which failed, and no other one.
fn is_its_own(error: &Error) -> bool {
    matches!(error, Error::Poisoned { .. } | Error::Io { .. } | Error::NoSpace { .. } | Error::RepairsFull { .. })
}

/// Entries from an index on, at least one.
fn fetch(other: &Journal, first: u64, end: u64) -> Result<Vec<Entry>, Error> {
    let next = other.state().next_index().unwrap_or(0);
    let entries = other.entries(first..end.min(next).max(first), READ_BYTES_MAX)?;
    if entries.is_empty() { Err(Error::AfterLast { index: first, next }) } else { Ok(entries) }
}

fn say(out: &mut Output, dry_run: bool, runs: &[Run]) -> Result<(), Failure> {
    let count = |failed: bool| -> u64 {
        runs.iter().filter(|run| run.failed.is_some() == failed).map(|run| run.end - run.first).sum()
    };
    let (well, left) = (count(false), count(true));
    let word = if dry_run { "repairable" } else { "repaired" };
    if out.json {
        let document = |run: &Run| -> Value {
            json!({ "first": run.first, "end": run.end, "error": run.failed.as_ref().map(Error::to_string) })
        };
        out.document(&json!({
            word: well,
            "left": left,
            "runs": runs.iter().map(document).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    for run in runs {
        let range = format!("{}..{}", run.first, run.end);
        match &run.failed {
            None => out.field(&range, word)?,
            Some(error) => out.field(&range, format_args!("{}: {error}", styled(BAD, "not repaired")))?,
        }
    }
    match (well, left) {
        (0, 0) => out.field("verdict", styled(GOOD, "nothing is damaged"))?,
        (_, 0) => out.field("verdict", styled(GOOD, format_args!("all {word}: {well}")))?,
        (_, left) => {
            // What no other node's journal changes says itself what to do.
            let is_others = runs.iter().any(|run| run.failed.as_ref().is_some_and(|error| !is_its_own(error)));
            let advice = if is_others { "; try another node's journal" } else { "" };
            out.field("verdict", format_args!("{word}: {well}, left: {left}{advice}"))?;
        }
    }
    Ok(())
}
