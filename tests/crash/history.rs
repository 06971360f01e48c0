//! A history of operations, run against a journal and a plain model at once, with power cuts in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{FIRST_PAYLOAD_AT, LogModel};
use crate::lies::{Liar, Lie};
use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Changes, Compression, Entry, Error, Journal, LogStore, OpenOptions, Position, StableStore};

/// What a journal should hold: nothing but plain collections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    pub log: LogModel,
    pub pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    /// What a journal says that it holds, read entry by entry and as a range.
    pub fn read(journal: &Journal) -> Result<Model, Error> {
        let state = journal.state();
        let mut log = LogModel { purged: state.purged, ..LogModel::default() };
        if let (Some(first), Some(last)) = (state.first_index(), state.last_index()) {
            log.entries = (first..=last).map(|index| journal.entry(index)).collect::<Result<_, _>>()?;
            let range = journal.entries(first..last + 1, u64::MAX)?;
            assert_eq!(range, log.entries, "a range read differs from point reads");
            for entry in &log.entries {
                assert_eq!(journal.term(entry.index)?, entry.term, "the term of entry {}", entry.index);
            }
        }
        assert_eq!(state.last, log.last(), "the state's last position");
        if let Some(purged) = state.purged {
            assert_eq!(journal.term(purged.index)?, purged.term);
        }
        let mut model = Model { log, pairs: BTreeMap::new() };
        for key in KEYS {
            if let Some(value) = journal.get(key)? {
                model.pairs.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(model)
    }
}

pub const KEYS: [&[u8]; 3] = [b"vote", b"commit", b"snapshot"];

/// One step of a history. Numbers are relative to the log as it is, so that every step is valid.
#[derive(Clone, Debug)]
pub enum Op {
    /// Appends so many entries of so many bytes, durable at once.
    Append {
        count: u8,
        bytes: u16,
    },
    /// The same without waiting.
    AppendPending {
        count: u8,
        bytes: u16,
    },
    /// Appends three entries without waiting, each of which ends where a sector does, in a file that is aligned.
    AppendBySectors,
    /// Replaces so many of the newest entries by so many new ones under a new term.
    Replace {
        back: u8,
        count: u8,
        bytes: u16,
    },
    ReplacePending {
        back: u8,
        count: u8,
        bytes: u16,
    },
    /// Removes so many of the newest entries.
    TruncateTail {
        back: u8,
    },
    /// Removes the oldest entries, keeping so many.
    TruncateHead {
        keep: u8,
    },
    /// Installs a snapshot so far beyond the end.
    Snapshot {
        beyond: u8,
    },
    /// Installs a snapshot at the last index, under a newer term.
    Overrule,
    Vote {
        value: u8,
    },
    /// Removes the vote.
    Forget,
    /// A vote and a head truncation in one commit.
    VoteAndTruncate {
        value: u8,
        keep: u8,
    },
    CommitLazily {
        value: u8,
    },
    Sync,
    /// Closes in order and opens again.
    Reopen,
    /// Leaves the journal alone until it has noticed.
    Idle,
    /// Ends the process: the page cache stays, and nothing of it has reached the disk by that.
    Kill,
    /// Loses power now, in the state that the seed picks.
    Crash {
        seed: u64,
    },
    /// Loses power so many operations of the disk later, whatever happens then.
    CrashLater {
        mutations: u8,
    },
}

/// A run of a history.
pub struct Run {
    pub fs: SimFs,
    pub dir: PathBuf,
    options: OpenOptions,
    journal: Option<Journal>,
    /// What may be there after a crash, oldest first: the first is acknowledged, each further one adds a write that is
    /// not acknowledged yet. The last is what is there now.
    states: Vec<Model>,
    /// Values that the next commit takes along.
    lazy: BTreeMap<Vec<u8>, Vec<u8>>,
    term: u64,
    payload: u64,
    /// The state in which the disk is found after power was lost in an operation.
    pub survival: Survival,
    pub crashes: usize,
    /// What the disk only pretends to do.
    pub lie: Lie,
    /// How many operations of the disk came before the first crash.
    pub first_crash_at: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub segment_bytes: u64,
    pub compressed: bool,
    pub aligned: bool,
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
        Run {
            fs,
            dir: PathBuf::from("/journal"),
            options,
            journal: None,
            states: vec![Model::default()],
            lazy: BTreeMap::new(),
            term: 1,
            payload: 0,
            survival: Survival::Nothing,
            crashes: 0,
            lie: Lie::None,
            first_crash_at: 0,
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
        for op in ops {
            match *op {
                Op::Crash { seed } => {
                    self.survival = Survival::Random(seed);
                    self.fs.cut_power();
                    self.survive();
                }
                Op::Kill if !self.fs.is_power_off() => {
                    self.note_crash();
                    // The copy first: what the old journal still does when it is dropped reaches nobody.
                    let after = self.fs.after_process_kill();
                    self.journal = None;
                    self.fs = after;
                    self.open();
                    self.crash_again();
                }
                Op::CrashLater { mutations } => self.fs.cut_power_at(self.fs.mutations() + u64::from(mutations)),
                _ => match self.step(op) {
                    Ok(()) => self.check_now(),
                    Err(error) if self.fs.is_power_off() => {
                        assert!(!matches!(error, Error::Damaged(_)), "no power is no damage: {error}");
                        self.survive();
                    }
                    Err(error) => panic!("{op:?} failed: {error}"),
                },
            }
        }
        self.fs.cut_power();
        self.survive();
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

    /// Opens the journal, over and over if power is lost again while it recovers.
    fn open(&mut self) {
        loop {
            let disk = Liar(self.fs.clone(), self.lie);
            let options = self.options.clone().file_system(Arc::new(disk));
            match options.open(&self.dir) {
                Ok(journal) => {
                    let found = Model::read(&journal);
                    self.journal = Some(journal);
                    match found {
                        Ok(found) => return self.adopt(found),
                        Err(_) if self.fs.is_power_off() => self.next_disk(),
                        Err(error) => panic!("an acknowledged entry cannot be read: {error}"),
                    }
                }
                Err(_) if self.fs.is_power_off() => self.next_disk(),
                Err(error) => panic!("recovery refused: {error}\nwith {:#?}", self.states),
            }
        }
    }

    /// The recovered state must be one that may be there, and is durable from now on.
    fn adopt(&mut self, found: Model) {
        let Some(at) = self.states.iter().rposition(|state| *state == found) else {
            panic!("recovered {found:#?}\nwhich is none of {:#?}", self.states);
        };
        self.states = vec![self.states.swap_remove(at)];
        self.lazy.clear();
    }

    fn next_disk(&mut self) {
        self.note_crash();
        drop(self.journal.take());
        self.fs = self.fs.after_power_cut(self.survival);
    }

    fn note_crash(&mut self) {
        if self.crashes == 0 {
            self.first_crash_at = self.fs.mutations();
        }
        self.crashes += 1;
    }

    fn survive(&mut self) {
        self.next_disk();
        self.open();
        self.crash_again();
    }

    /// What was just recovered is durable, and a second recovery changes nothing.
    fn crash_again(&mut self) {
        let found = self.now().clone();
        self.fs.cut_power();
        self.survival = Survival::Nothing;
        self.next_disk();
        self.open();
        assert_eq!(*self.now(), found, "a second recovery changed the log");
    }

    fn entries(&mut self, from: u64, count: u8, bytes: u16) -> Vec<Entry> {
        let term = self.term;
        (from..from + u64::from(count.max(1)))
            .map(|index| {
                self.payload += 1;
                let mut data = format!("{}-", self.payload).into_bytes();
                data.resize(usize::from(bytes), (self.payload % 7) as u8);
                Entry::new(index, term, data)
            })
            .collect()
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
            Op::TruncateTail { back } => {
                let from = self.back(back);
                if from == self.next_index() {
                    return journal.truncate_tail(from);
                }
                self.push(|model| model.log.truncate_tail(from));
                journal.truncate_tail(from)?;
                self.acknowledged();
                Ok(())
            }
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
            Op::Reopen => self.reopen(&journal),
            Op::Crash { .. } | Op::CrashLater { .. } | Op::Kill => Ok(()),
        }
    }

    fn reopen(&mut self, journal: &Journal) -> Result<(), Error> {
        let lazy = std::mem::take(&mut self.lazy);
        self.push(|model| model.pairs.extend(lazy));
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
        let found = Model::read(&journal).expect("everything can be read");
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
