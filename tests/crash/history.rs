//! A history of operations, run against a journal and a plain model at once, with power cuts in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{FIRST_PAYLOAD_AT, LogModel, encrypted};
use crate::model::{KEYS, Model, Op, Shape};
use raft_journal::io::Fs;
use raft_journal::io::sim::{Fault, SimFs, Survival};
use raft_journal::{
    Changes, Compression, Entry, Error, Journal, LogStore, OnDamage, OpenOptions, Position, StableStore,
};

#[path = "copies.rs"]
mod copies;
#[path = "repairs.rs"]
mod repairs;

pub use copies::Copies;

/// Where checkpoints go, each over the one before.
pub const COPY_DIR: &str = "/copy";

/// Moments of a run that allow the same states after a crash.
pub struct Moments {
    /// The disk at each of them.
    pub disks: Vec<SimFs>,
    /// What may be found after a crash.
    pub states: Vec<Model>,
    pub copies: Copies,
}

/// Puts something between a journal and its disk.
pub type Wrap = Arc<dyn Fn(SimFs) -> Arc<dyn Fs> + Send + Sync>;

/// A run of a history.
pub struct Run {
    pub fs: SimFs,
    pub dir: PathBuf,
    options: OpenOptions,
    shape: Shape,
    /// The journal was being closed when it crashed.
    closing: bool,
    /// The journal was in use when it crashed.
    in_use: bool,
    journal: Option<Journal>,
    /// What may be there after a crash, oldest first: the first is acknowledged, each further one adds a write that is
    /// not acknowledged yet. The last is what is there now.
    states: Vec<Model>,
    /// Entries that were damaged at rest once.
    wounds: Vec<Entry>,
    /// Values that the next commit takes along.
    lazy: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the checkpoints were of, finished or not.
    pub copies: Copies,
    /// The newest entry that was sent with each index.
    sent: BTreeMap<u64, Entry>,
    /// How often something came about that a step alone does not bring.
    pub done: BTreeMap<&'static str, u64>,
    term: u64,
    payload: u64,
    /// The state in which the disk is found after power was lost in an operation.
    pub survival: Survival,
    pub crashes: usize,
    /// Whether the disk is told to fail, which is then no failure of the journal's.
    pub faulty: bool,
    /// What stands between journal and disk.
    pub wrap: Wrap,
    /// Whether each moment is kept.
    pub recording: bool,
    pub moments: Vec<Moments>,
    /// How many operations of the disk came before the first crash.
    pub first_crash_at: u64,
}

#[cfg(feature = "encryption")]
fn rewrite(journal: &Journal) -> Result<(), Error> {
    journal.rewrite()
}

#[cfg(not(feature = "encryption"))]
fn rewrite(journal: &Journal) -> Result<(), Error> {
    journal.sync()
}

impl Run {
    pub fn new(fs: SimFs, shape: Shape) -> Run {
        let compression = if shape.compressed { Compression::Lz4 { threshold_bytes: 64 } } else { Compression::None };
        let options = OpenOptions::new()
            .segment_bytes(shape.segment_bytes)
            .meta_bytes_max(512)
            .tail_cache_bytes(1000)
            .index_cache_bytes(4096)
            .compression(compression)
            .align_4k(shape.aligned);
        let options = if shape.encrypted { encrypted(options) } else { options };
        Run {
            fs,
            dir: PathBuf::from("/journal"),
            options,
            shape,
            closing: false,
            in_use: false,
            journal: None,
            states: vec![Model::default()],
            wounds: Vec::new(),
            lazy: BTreeMap::new(),
            copies: Copies::default(),
            sent: BTreeMap::new(),
            done: BTreeMap::new(),
            term: 1,
            payload: 0,
            survival: Survival::Nothing,
            crashes: 0,
            faulty: false,
            wrap: Arc::new(|fs| Arc::new(fs)),
            recording: false,
            moments: Vec::new(),
            first_crash_at: 0,
        }
    }

    /// How the journal is opened on a disk.
    pub fn options_on(&self, disk: &SimFs) -> OpenOptions {
        self.options.clone().file_system((self.wrap)(disk.clone()))
    }

    /// Whether entries were damaged at rest.
    pub fn is_wounded(&self) -> bool {
        !self.wounds.is_empty()
    }

    /// How it is opened where one of these states may be found.
    pub fn options_for(&self, disk: &SimFs, states: &[Model]) -> OpenOptions {
        let is_damaged = states.iter().any(|state| !state.damaged.is_empty());
        self.options_on(disk).on_damage(if is_damaged { OnDamage::Accept } else { OnDamage::Refuse })
    }

    /// What the journal holds, read entry by entry and as a range, or at once.
    pub fn read(&self, journal: &Journal, by_points: bool) -> Result<Model, Error> {
        match if by_points { Model::read(journal) } else { Model::read_at_once(journal) } {
            Err(Error::Damaged(_)) if !self.wounds.is_empty() => Model::read_wounded(journal, &self.wounds),
            found => found,
        }
    }

    pub fn now(&self) -> &Model {
        self.states.last().expect("there is always a state")
    }

    fn log(&self) -> &LogModel {
        &self.now().log
    }

    /// Runs a history; power losses on the way are survived and checked.
    pub fn run(&mut self, ops: &[Op]) {
        self.open();
        ops.iter().for_each(|op| self.take(op));
        self.fs.cut_power();
        self.survive();
    }

    /// Takes one step of a history.
    pub fn take(&mut self, op: &Op) {
        match *op {
            Op::Crash { seed } => {
                self.survival = Survival::Random(seed);
                self.fs.cut_power();
                self.survive();
            }
            Op::Kill if !self.fs.is_power_off() => {
                self.kill();
                self.crash_again();
            }
            Op::CrashLater { mutations } => self.fs.cut_power_at(self.fs.mutations() + u64::from(mutations)),
            Op::Fail { kind, nth, error } => self.fault(Fault::new(kind, error).nth(nth.into())),
            Op::Shorten { kind, nth, bytes } => self.fault(Fault::short(kind, bytes.into()).nth(nth.into())),
            _ => {
                let states = self.states.len();
                match self.step(op) {
                    Ok(()) => self.check_now(),
                    Err(error) if self.fs.is_power_off() => {
                        assert!(!matches!(error, Error::Damaged(_)), "no power is no damage: {error}");
                        self.survive();
                    }
                    Err(error) if self.faulty => self.after_failure(&error, states),
                    Err(error) => panic!("{op:?} failed: {error}"),
                }
            }
        }
        self.keep_moments();
        self.hold_durable();
    }

    /// Plans a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.faulty = true;
        self.fs.inject(fault);
    }

    /// What a failing disk made of a step: refused, and the journal goes on; or in doubt, and it must be opened again.
    fn after_failure(&mut self, error: &Error, states_before: usize) {
        match error {
            Error::NoSpace { .. } => {
                self.keep_moments();
                self.states.truncate(states_before);
                self.check_now();
            }
            Error::Poisoned { .. } | Error::Io { .. } => {
                self.kill();
            }
            error => panic!("a failing disk gives {error}"),
        }
    }

    fn kill(&mut self) {
        self.keep_moments();
        self.note_crash();
        self.restart();
        self.open();
    }

    /// Ends the process; the next one meets no planned faults.
    fn restart(&mut self) {
        // The copy first: what the old journal still does when it is dropped reaches nobody.
        let after = self.fs.after_process_kill();
        self.journal = None;
        self.fs = after;
    }

    /// Whether the journal's view is the newest state; reads go on without power only from memory.
    fn check_now(&self) {
        if self.fs.is_power_off() {
            return;
        }
        let journal = self.journal.as_ref().expect("open");
        let state = journal.state();
        assert_eq!((state.purged, state.last), (self.log().purged, self.log().last()));
        if self.states.len() == 1 {
            assert_eq!(state.durable, self.log().last(), "everything was acknowledged");
        }
    }

    /// What is said to be durable now is in all that may be found from now on, and an acknowledged checkpoint is there.
    fn hold_durable(&mut self) {
        self.copies.hold();
        let journal = self.journal.as_ref().filter(|_| !self.fs.is_power_off());
        let Some(durable) = journal.and_then(|journal| journal.state().durable) else { return };
        let holds = |state: &Model| {
            state.log.purged.is_some_and(|purged| purged.index >= durable.index)
                || state.log.entries.iter().any(|entry| entry.position() == durable)
        };
        let first = self.states.iter().position(holds);
        self.states.drain(..first.unwrap_or_else(|| panic!("{durable} is said to be durable, and was never written")));
    }

    /// Opens the journal, over and over if power is lost again while it recovers.
    pub fn open(&mut self) {
        loop {
            self.fs.record(self.recording);
            match self.options_for(&self.fs, &self.states).open(&self.dir) {
                Ok(journal) => {
                    let (found, report) = (self.read(&journal, true), journal.recovery_report());
                    let told = !report.clean && report.suspect.is_some();
                    assert!(told || !self.in_use, "a crash passed for a clean close: {report:?}");
                    self.journal = Some(journal);
                    match found {
                        Ok(found) => return self.adopt(found),
                        Err(_) if self.fs.is_power_off() => self.next_disk(),
                        Err(Error::Io { .. }) if self.faulty => self.restart(),
                        Err(error) => panic!("an acknowledged entry cannot be read: {error}"),
                    }
                }
                Err(_) if self.fs.is_power_off() => self.next_disk(),
                Err(Error::Io { .. } | Error::NoSpace { .. } | Error::Poisoned { .. }) if self.faulty => self.restart(),
                Err(error) => panic!("recovery refused: {error}\nwith {:#?}", self.states),
            }
        }
    }

    /// The recovered state must be one that may be there, and is durable from now on.
    fn adopt(&mut self, found: Model) {
        let Some(at) = self.states.iter().rposition(|state| *state == found) else {
            panic!("recovered {found:#?}\nwhich is none of {:#?}", self.states);
        };
        // Until the journal is handed out, a crash may still bring another of them: stale bytes of the commit that
        // was in flight, for one.
        self.keep_moments();
        self.states = vec![self.states.swap_remove(at)];
        self.keep_moments();
        self.lazy.clear();
        (self.closing, self.in_use) = (false, false);
    }

    /// Keeps the moments since the last call: what is allowed after a crash is about to change, or a step is over.
    fn keep_moments(&mut self) {
        if self.recording {
            let (states, copies) = (self.states.clone(), self.copies.clone());
            self.moments.push(Moments { disks: self.fs.take_recorded(), states, copies });
        }
    }

    fn next_disk(&mut self) {
        self.keep_moments();
        self.note_crash();
        drop(self.journal.take());
        self.fs = self.fs.after_power_cut(self.survival);
    }

    fn note_crash(&mut self) {
        if self.crashes == 0 {
            self.first_crash_at = self.fs.mutations();
        }
        self.crashes += 1;
        self.in_use |= self.journal.is_some() && !self.closing;
    }

    fn survive(&mut self) {
        self.next_disk();
        self.open();
        self.crash_again();
        self.heal_again();
    }

    /// What was just recovered is durable, and a second recovery changes nothing.
    fn crash_again(&mut self) {
        let (found, survival) = (self.now().clone(), self.survival);
        self.fs.cut_power();
        self.survival = Survival::Nothing;
        self.next_disk();
        self.open();
        self.survival = survival;
        assert_eq!(*self.now(), found, "a second recovery changed the log");
    }

    fn entries(&mut self, from: u64, count: u8, bytes: u16) -> Vec<Entry> {
        let term = self.term;
        let mut entry = |index| {
            self.payload += 1;
            let number = if self.shape.repeats { index } else { self.payload };
            let mut data = format!("{number}-").into_bytes();
            data.resize(usize::from(bytes), (number % 7) as u8);
            Entry::new(index, term, data)
        };
        let entries: Vec<Entry> = (from..from + u64::from(count.max(1))).map(&mut entry).collect();
        let before = entries.iter().map(|entry| self.sent.insert(entry.index, entry.clone()));
        let again = before.zip(&entries).filter(|(before, entry)| before.as_ref() == Some(*entry)).count();
        self.did("equal entries sent again", again as u64);
        entries
    }

    fn did(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.done.entry(what).or_default() += times;
        }
    }

    /// Does what waits in the background.
    fn housekeep(&mut self) {
        let before = self.segments();
        self.fs.run_tasks();
        let edge = if self.shape.aligned { 4096 } else { 512 };
        let is_used = |path: &PathBuf| {
            let bytes = self.fs.read_file(path).unwrap_or_default();
            bytes.len() > 2 * edge && bytes[edge..bytes.len() - edge].iter().any(|byte| *byte != 0)
        };
        let recycled = self.segments().difference(&before).filter(|path| is_used(path)).count();
        self.did("files used anew", recycled as u64);
    }

    fn segments(&self) -> BTreeSet<PathBuf> {
        self.fs.paths().into_iter().filter(|path| path.extension().is_some_and(|is| is == "seg")).collect()
    }

    fn next_index(&self) -> u64 {
        self.log().last().map_or(3, |last| last.index + 1)
    }

    /// The state that a write makes: it may be there after a crash from now on.
    fn push(&mut self, change: impl FnOnce(&mut Model)) {
        let mut state = self.now().clone();
        change(&mut state);
        self.states.push(state);
    }

    /// All writes so far were acknowledged.
    fn acknowledged(&mut self) {
        self.keep_moments();
        self.states.drain(..self.states.len() - 1);
    }

    fn step(&mut self, op: &Op) -> Result<(), Error> {
        let journal = self.journal.clone().expect("open");
        match *op {
            Op::Append { count, bytes } => self.append(&journal, count, bytes, true),
            Op::AppendPending { count, bytes } => self.append(&journal, count, bytes, false),
            Op::AppendBySectors => {
                let mut entries = self.entries(self.next_index(), 3, 492);
                entries[0].data.truncate(512 - FIRST_PAYLOAD_AT);
                self.push(|model| model.log.append(&entries));
                journal.append_pending(&entries).map(drop)
            }
            Op::Replace { back, count, bytes } => self.replace(&journal, back, count, bytes, true),
            Op::ReplacePending { back, count, bytes } => self.replace(&journal, back, count, bytes, false),
            Op::TruncateTail { back } => self.truncate_tail(&journal, self.back(back)),
            Op::TruncateHead { keep } => self.truncate_head(&journal, self.keep(keep), None),
            Op::VoteAndTruncate { value, keep } => self.truncate_head(&journal, self.keep(keep), Some(value)),
            Op::Snapshot { beyond } => {
                let index = self.next_index() + u64::from(beyond);
                self.truncate_head(&journal, Some(Position::new(index, self.term)), None)
            }
            Op::Overrule => {
                self.term += 1;
                let last = self.log().entries.last().map(|last| Position::new(last.index, self.term));
                self.truncate_head(&journal, last, None)
            }
            Op::Vote { value } => self.commit(&journal, Changes::new().set(KEYS[0], [value])),
            Op::VoteInTerm { value } => {
                self.commit(&journal, Changes::new().set(KEYS[0], [value; 200]).set(KEYS[2], [value; 200]))
            }
            Op::Forget => self.commit(&journal, Changes::new().remove(KEYS[0])),
            Op::CommitLazily { value } => {
                self.lazy.insert(KEYS[1].to_vec(), vec![value]);
                journal.set_lazy(KEYS[1], &[value])
            }
            Op::Sync => {
                journal.sync()?;
                self.acknowledged();
                Ok(())
            }
            Op::Idle if self.lazy.is_empty() => {
                // Once to notice, once to act.
                self.fs.pass_time();
                self.fs.pass_time();
                journal.sync()?;
                self.acknowledged();
                Ok(())
            }
            Op::Idle => Ok(()),
            Op::Housekeep => {
                self.housekeep();
                Ok(())
            }
            Op::Checkpoint => self.checkpoint(&journal),
            Op::Repair { back } => self.repair(&journal, back),
            Op::Rewrite => self.rewrite(&journal),
            Op::Reopen => self.reopen(&journal),
            Op::Crash { .. } | Op::CrashLater { .. } | Op::Kill | Op::Fail { .. } | Op::Shorten { .. } => Ok(()),
        }
    }

    fn rewrite(&mut self, journal: &Journal) -> Result<(), Error> {
        let lazy = self.lazy.clone();
        self.push(|model| model.pairs.extend(lazy));
        rewrite(journal)?;
        self.acknowledged();
        self.lazy.clear();
        self.did("logs written anew", 1);
        Ok(())
    }

    fn reopen(&mut self, journal: &Journal) -> Result<(), Error> {
        let lazy = std::mem::take(&mut self.lazy);
        self.push(|model| model.pairs.extend(lazy));
        self.closing = true;
        journal.close()?;
        self.acknowledged();
        self.journal = None;
        self.open();
        Ok(())
    }

    fn append(&mut self, journal: &Journal, count: u8, bytes: u16, wait: bool) -> Result<(), Error> {
        let entries = self.entries(self.next_index(), count, bytes);
        self.push(|model| model.log.append(&entries));
        if wait {
            journal.append(&entries)?;
            self.acknowledged();
        } else {
            drop(journal.append_pending(&entries)?);
        }
        Ok(())
    }

    /// The index that leaves out so many of the newest entries.
    fn back(&self, back: u8) -> u64 {
        self.next_index() - u64::from(back).min(self.log().entries.len() as u64)
    }

    fn replace(&mut self, journal: &Journal, back: u8, count: u8, bytes: u16, wait: bool) -> Result<(), Error> {
        self.term += 1;
        let from = self.back(back);
        let entries = self.entries(from, count, bytes);
        self.push(|model| {
            model.log.replace_tail(&entries);
        });
        if wait {
            journal.replace_tail(&entries)?;
            self.acknowledged();
        } else {
            drop(journal.replace_tail_pending(&entries)?);
        }
        Ok(())
    }

    fn truncate_tail(&mut self, journal: &Journal, from: u64) -> Result<(), Error> {
        // Where nothing is left to remove, it waits for all that was written.
        if from < self.next_index() {
            self.push(|model| model.log.truncate_tail(from));
        }
        journal.truncate_tail(from)?;
        self.acknowledged();
        Ok(())
    }

    /// The position whose truncation keeps so many entries.
    fn keep(&self, keep: u8) -> Option<Position> {
        let entries = &self.log().entries;
        entries.len().checked_sub(1 + usize::from(keep)).map(|at| entries[at].position())
    }

    fn truncate_head(&mut self, journal: &Journal, position: Option<Position>, vote: Option<u8>) -> Result<(), Error> {
        let mut changes = position.iter().fold(Changes::new(), |changes, &position| changes.truncate_head(position));
        changes = vote.iter().fold(changes, |changes, &vote| changes.set(KEYS[0], [vote]));
        if changes == Changes::new() {
            return Ok(());
        }
        self.commit(journal, changes)
    }

    fn commit(&mut self, journal: &Journal, changes: Changes) -> Result<(), Error> {
        let lazy = std::mem::take(&mut self.lazy);
        self.push(|model| {
            model.pairs.extend(lazy);
            for (key, value) in changes.pairs() {
                match value {
                    Some(value) => _ = model.pairs.insert(key.to_vec(), value.to_vec()),
                    None => _ = model.pairs.remove(key.as_ref()),
                }
            }
            if let Some(position) = changes.head() {
                model.log.truncate_head(position);
            }
        });
        journal.commit(&changes)?;
        self.acknowledged();
        Ok(())
    }
}

/// A journal on a real directory, driven by the same steps without power cuts.
pub fn run_on_real_directory(dir: &Path, ops: &[Op], shape: Shape) {
    let mut run = Run::new(SimFs::new(), shape);
    run.dir = dir.to_path_buf();
    let open = |run: &mut Run| {
        let journal = run.options.open(dir).expect("a real directory opens");
        let found = run.read(&journal, true).expect("everything can be read");
        run.journal = Some(journal);
        run.adopt(found);
    };
    open(&mut run);
    for op in ops {
        match op {
            Op::Crash { .. } | Op::CrashLater { .. } | Op::Kill | Op::Reopen => {
                // Dropping closes in order: lazy values are kept, and so is what nobody waited for.
                let lazy = std::mem::take(&mut run.lazy);
                run.push(|model| model.pairs.extend(lazy));
                run.acknowledged();
                run.journal = None;
                open(&mut run);
            }
            op => run.step(op).expect("a real disk fails nothing"),
        }
    }
}
