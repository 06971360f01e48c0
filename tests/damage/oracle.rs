//! What a journal with damage may do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use raft_journal::layout::segment::HEADER_BYTES;
use raft_journal::{Damage, DamagedRange, Entry, Error, Journal, LogStore, OnDamage, SegmentRole, StableStore};

use crate::common::Disk;
use crate::subject::{Model, Subject};

/// What became of damage; or why that must not be, in a text that is the same for all places with the same cause.
pub type Verdict = Result<Outcome, String>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// Everything is there.
    Harmless,
    /// What is lost is an error when it is read.
    ErrorAtRead,
    /// What is lost is named by `open`.
    ToldAtOpen,
    /// The last acknowledged group is gone, and the report says that it may be.
    Suspect,
}

/// How a damaged journal is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// For writing, refusing damage; then accepting it.
    Usual,
    /// For writing, accepting damage at once.
    Accept,
    ReadOnly,
    ReadOnlyAccept,
}

pub const MANNERS: [Manner; 4] = [Manner::Usual, Manner::Accept, Manner::ReadOnly, Manner::ReadOnlyAccept];

/// Bytes that stand where others should.
pub struct Place {
    pub offset: usize,
    pub bytes: Vec<u8>,
}

/// One damaged disk.
pub struct Case<'a> {
    subject: &'a Subject,
    disk: Disk,
    path: &'a Path,
    place: &'a Place,
    /// The entries whose bytes were hit.
    hit: BTreeSet<u64>,
    /// The entries that this may cost.
    losable: BTreeSet<u64>,
    /// What the journal held before the last groups whose bytes were hit.
    before: Vec<&'a Model>,
}

impl<'a> Case<'a> {
    pub fn new(subject: &'a Subject, path: &'a Path, place: &'a Place) -> Self {
        let disk = subject.disk.killed();
        disk.sim().corrupt(path, place.offset as u64, &place.bytes).unwrap();
        let bytes = place.offset..place.offset + place.bytes.len();
        let (hit, losable) = (subject.entries_in(path, &bytes), subject.losable(path, &bytes));
        Case { subject, disk, path, place, hit, losable, before: subject.held_before(path, &bytes) }
    }

    pub fn check(&self, manner: Manner) -> Verdict {
        let is_read_only = matches!(manner, Manner::ReadOnly | Manner::ReadOnlyAccept);
        let accepts = matches!(manner, Manner::Accept | Manner::ReadOnlyAccept);
        let verdict = match self.open(if accepts { OnDamage::Accept } else { OnDamage::Refuse }, is_read_only) {
            Ok(journal) => self.check_opened(&journal, !is_read_only),
            Err(error) if accepts => Err(format!("cannot be accepted: {error}")),
            Err(error) => self.check_refused(&error, is_read_only),
        };
        if is_read_only && !self.is_unchanged() {
            return Err("files changed by a read-only open".into());
        }
        verdict
    }

    fn open(&self, on_damage: OnDamage, read_only: bool) -> Result<Journal, Error> {
        let options = self.subject.form.options(&self.disk);
        options.on_damage(on_damage).read_only(read_only).open(&self.disk.dir)
    }

    /// Whether the files are as the damage left them.
    fn is_unchanged(&self) -> bool {
        let sim = self.disk.sim();
        let is_same = |(path, bytes): (&PathBuf, &Vec<u8>)| {
            let mut expected = bytes.clone();
            if path == self.path {
                expected[self.place.offset..self.place.offset + self.place.bytes.len()]
                    .copy_from_slice(&self.place.bytes);
            }
            sim.read_file(path).is_ok_and(|found| found == expected)
        };
        sim.paths().len() == self.subject.files.len() && self.subject.files.iter().all(is_same)
    }

    /// What does not open: the error must be of damage, nothing may have changed, and accepting it must lose no more
    /// than it says.
    fn check_refused(&self, error: &Error, is_read_only: bool) -> Verdict {
        let Error::Damaged(damage) = error else { return Err(format!("not an error of damage: {error}")) };
        let is_before = damage.offset < (self.place.offset + self.place.bytes.len()) as u64;
        if damage.path != *self.path || !is_before || !self.losable.iter().any(|&index| damage.indexes.contains(index))
        {
            return Err(format!("a place that is not the one that was hit: {damage:?}"));
        }
        if !self.is_unchanged() {
            return Err(format!("files changed in spite of: {error}"));
        }
        if is_read_only {
            return Ok(Outcome::ToldAtOpen);
        }
        let journal = self.open(OnDamage::Accept, false).map_err(|error| format!("cannot be accepted: {error}"))?;
        let report = journal.recovery_report();
        if report.damaged.is_empty() && report.reindexed.is_empty() {
            return Err("the damage that was accepted is not reported".into());
        }
        self.check_opened(&journal, true)?;
        Ok(Outcome::ToldAtOpen)
    }

    /// What opens: all that is not told to be lost must be there.
    fn check_opened(&self, journal: &Journal, can_write: bool) -> Verdict {
        let held = &self.subject.held;
        compare_votes(journal, held)?;
        let report = journal.recovery_report();
        let told: Vec<&Damage> = report.damaged.iter().map(|damage| &**damage).collect();
        let (model, outcome) = match compare(journal, held, self, &told) {
            Ok(outcome) => (held, outcome),
            Err(why) => {
                let mut suspects = self.before.iter().copied().filter(|_| report.suspect.is_some());
                let model = suspects.find(|model| compare(journal, model, self, &told).is_ok());
                (model.ok_or(why)?, Outcome::Suspect)
            }
        };
        self.check_headers(journal)?;
        if told.is_empty() {
            return Ok(outcome);
        }
        if can_write {
            self.go_on(journal, model, &told)?;
        }
        Ok(Outcome::ToldAtOpen)
    }

    /// An error of a reader names the entry, its file, the place where it begins there, and its term.
    fn check_place(&self, damage: &Damage, entry: &Entry) -> Result<(), String> {
        let is_it = damage.indexes == DamagedRange { first: entry.index, end: Some(entry.index + 1) };
        let is_known = damage.path == *self.path
            && damage.term == Some(entry.term)
            && self.subject.has_entry_at(&damage.path, damage.offset, entry.index);
        // Of what was put back, where it stands now; or, where nothing of that is known, where it stood first.
        let is_repair = self.path.extension().is_some_and(|end| end == "rep");
        let is_near = damage.path == *self.path || damage.term == Some(entry.term);
        let is_right = is_it && (is_known || is_repair && is_near);
        if is_right { Ok(()) } else { Err(format!("a place that is not the entry's: {damage:?}")) }
    }

    /// Where the first copy of a header was hit, in a file that the log is in, the report says that its twin served.
    fn check_headers(&self, journal: &Journal) -> Result<(), String> {
        let segments = journal.segments().map_err(|error| format!("no segments: {error}"))?;
        let is_used = |role| matches!(role, SegmentRole::Active | SegmentRole::Sealed);
        let Place { offset, bytes } = self.place;
        let before = &self.subject.files[self.path][*offset..];
        let is_changed = before.iter().zip(bytes).take(HEADER_BYTES.saturating_sub(*offset)).any(|(was, is)| was != is);
        let is_hit = is_changed && segments.iter().any(|segment| segment.path == *self.path && is_used(segment.role));
        let told = &journal.recovery_report().twin_headers;
        let is_right = told.iter().map(PathBuf::as_path).eq(is_hit.then_some(self.path));
        if is_right { Ok(()) } else { Err(format!("{told:?} have a header that is served by its twin")) }
    }

    /// Appends behind accepted damage, closes, and opens again: reported, not refused, and nothing more is lost.
    fn go_on(&self, journal: &Journal, model: &Model, told: &[&Damage]) -> Result<(), String> {
        let next = journal.state().next_index().unwrap();
        let added = self.subject.form.entry(next, 9);
        journal.append(std::slice::from_ref(&added)).map_err(|error| format!("cannot append after: {error}"))?;
        let mut model = model.clone();
        model.log.replace_tail(&[added]);
        compare(journal, &model, self, told).map_err(|why| format!("after an append: {why}"))?;
        let killed = self.disk.killed();
        journal.close().map_err(|error| format!("cannot close after: {error}"))?;
        for (how, disk) in [("killed", &killed), ("closed", &self.disk)] {
            let opened = self.subject.form.options(disk).open(&disk.dir);
            let journal = opened.map_err(|error| format!("{how}, then refused again: {error}"))?;
            compare(&journal, &model, self, told).map_err(|why| format!("{how}, then opened: {why}"))?;
            if !journal.recovery_report().damaged.is_empty() {
                continue;
            }
            // What a repair file held is damaged where it stood first, as before: readers meet it.
            if told.iter().any(|damage| damage.path.extension().is_none_or(|end| end != "rep")) {
                return Err(format!("{how}, then opened: accepted damage is not reported"));
            }
            compare(&journal, &model, self, &[]).map_err(|why| format!("{how}, then read: {why}"))?;
        }
        Ok(())
    }
}

/// Compares the log with a model, entry by entry: all that is not told to be lost must be there. What is told at
/// `open` is in `told`; only reading finds, at most, what was hit, and says where that is and which term it has.
fn compare(journal: &Journal, model: &Model, case: &Case<'_>, told: &[&Damage]) -> Verdict {
    let state = journal.state();
    if state.purged != model.log.purged {
        return Err(format!("purged {:?}, not {:?}", state.purged, model.log.purged));
    }
    let mut outcome = Outcome::Harmless;
    for expected in &model.log.entries {
        let index = expected.index;
        let is_told = |damage: &&&Damage| damage.indexes.contains(index);
        match journal.entry(index) {
            Ok(entry) if entry == *expected => {
                if journal.term(index).ok() != Some(expected.term) {
                    return Err(format!("term({index}) is {:?}", journal.term(index)));
                }
            }
            Ok(entry) => return Err(format!("a wrong entry: {} instead of {}", entry.position(), expected.position())),
            Err(Error::Damaged(_)) if told.iter().any(|damage| is_told(&damage)) => {
                if !case.losable.contains(&index) {
                    return Err(format!("an entry of another batch is lost: {index}: {told:?}"));
                }
            }
            Err(Error::Damaged(damage)) if damage.indexes.contains(index) && case.hit.contains(&index) => {
                case.check_place(&damage, expected)?;
                outcome = Outcome::ErrorAtRead;
            }
            Err(Error::Damaged(damage)) => return Err(format!("an entry that was not hit is lost: {index}: {damage}")),
            Err(_) if told.iter().any(|damage| is_told(&damage) && damage.indexes.end.is_none()) => {}
            Err(error) => return Err(format!("silently lost: {error}")),
        }
    }
    let end = model.log.entries.last().map_or(0, |last| last.index + 1);
    if told.is_empty() && state.last_index().map(|last| last + 1) != Some(end) {
        return Err(format!("the log ends at {:?}, not before {end}", state.last));
    }
    match (end..end + 5).find(|&index| journal.entry(index).is_ok()) {
        Some(index) => Err(format!("an entry that never was: {index}")),
        None => Ok(outcome),
    }
}

fn compare_votes(journal: &Journal, model: &Model) -> Result<(), String> {
    let found = (journal.get(b"vote").unwrap().unwrap_or_default(), journal.get_u64(b"term").unwrap().unwrap_or(0));
    if found == (model.vote.clone().into(), model.term) {
        return Ok(());
    }
    // Never: `meta` holds every state twice, in different blocks.
    Err(format!("a vote is lost: {found:?}"))
}
