//! What a child does to its journal, step by step, and what the journal may hold afterwards.

use std::sync::mpsc;

use raft_journal::{Entry, Error, Journal, LogStore, Position, Result, StableStore};

use crate::common::{LogModel, entries, log};

/// One thing that is done to a journal.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// So many entries from this index on, of this term.
    Append(u64, u64, u64),
    /// The same, each an append of its own, all in flight before the first is waited for.
    Pending(u64, u64, u64),
    /// The same, told by callbacks.
    Callbacks(u64, u64, u64),
    ReplaceTail(u64, u64, u64),
    TruncateTail(u64),
    TruncateHead(u64, u64),
    Vote(u64),
    Close,
}

use Step::{Append, Callbacks, Close, Pending, ReplaceTail, TruncateHead, TruncateTail, Vote};

/// What a new journal is put through, in files of 8 KiB.
pub const FIRST_LIFE: &[Step] = &[
    Vote(1),
    Append(1, 3, 1),
    Pending(4, 4, 1),
    Append(8, 9, 1),
    Append(17, 5, 1),
    Callbacks(22, 3, 1),
    ReplaceTail(15, 4, 2),
    Vote(2),
    Append(19, 12, 2),
    TruncateTail(29),
    Append(29, 12, 3),
    TruncateHead(20, 2),
    Append(41, 6, 3),
];

/// What the next process does to it, after the first one was killed.
pub const SECOND_LIFE: &[Step] = &[
    Append(47, 2, 4),
    Vote(5),
    Pending(49, 3, 5),
    Append(52, 14, 5),
    ReplaceTail(60, 9, 6),
    TruncateHead(45, 3),
    Callbacks(69, 3, 6),
    Vote(7),
    Append(72, 10, 7),
    TruncateHead(90, 9),
    Append(91, 2, 9),
    Close,
];

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    pub log: LogModel,
    pub vote: u64,
}

fn batch(first: u64, count: u64, term: u64) -> Vec<Entry> {
    entries(first..=first + count - 1, term)
}

impl Model {
    pub fn of(journal: &Journal) -> Model {
        Model { log: LogModel::of(journal), vote: journal.get_u64(b"vote").unwrap().unwrap_or(0) }
    }

    pub fn after(steps: &[Step]) -> Model {
        let mut model = Model::default();
        steps.iter().for_each(|&step| model.apply(step));
        model
    }

    pub fn apply(&mut self, step: Step) {
        match step {
            Append(first, count, term) | Pending(first, count, term) | Callbacks(first, count, term) => {
                self.log.append(&batch(first, count, term));
            }
            ReplaceTail(first, count, term) => self.log.replace_tail(&batch(first, count, term)),
            TruncateTail(first_removed) => self.log.truncate_tail(first_removed),
            TruncateHead(index, term) => self.log.truncate_head(Position::new(index, term)),
            Vote(vote) => self.vote = vote,
            Close => {}
        }
    }

    /// What a journal may hold when a step was begun and not acknowledged: all of it, nothing, or, of several appends,
    /// the first ones.
    pub fn possible_after(&self, step: Step) -> Vec<Model> {
        let mut possible = vec![self.clone()];
        match step {
            Pending(first, count, term) | Callbacks(first, count, term) => {
                for index in first..first + count {
                    let mut next = possible[possible.len() - 1].clone();
                    next.apply(Append(index, 1, term));
                    possible.push(next);
                }
            }
            step => {
                let mut next = self.clone();
                next.apply(step);
                possible.push(next);
            }
        }
        possible
    }
}

/// What is missing of several appends when they are tried again after one of them was refused.
fn missing(journal: &Journal, step: Step) -> Vec<Entry> {
    let (Pending(first, count, term) | Callbacks(first, count, term)) = step else { return Vec::new() };
    let next = journal.state().next_index().map_or(first, |next| next.max(first));
    batch(next, first + count - next, term)
}

/// Takes a step, and waits until it is acknowledged or refused.
pub fn take(journal: &Journal, step: Step) -> Result<()> {
    match step {
        Append(first, count, term) => journal.append(&batch(first, count, term)).map(drop),
        Pending(..) => {
            let pending: Result<Vec<_>> =
                missing(journal, step).chunks(1).map(|one| journal.append_pending(one)).collect();
            pending?.into_iter().try_for_each(|pending| pending.wait().map(drop))
        }
        Callbacks(..) => {
            let (sender, told) = mpsc::channel();
            let missing = missing(journal, step);
            for one in missing.chunks(1) {
                let sender = sender.clone();
                // Nobody listens when a later one was refused.
                journal.append_pending(one)?.on_durable(Box::new(move |result| _ = sender.send(result)));
            }
            drop(sender);
            let told: Vec<Result<Position>> = told.iter().collect();
            assert_eq!(told.len(), missing.len(), "each callback exactly once");
            told.into_iter().try_for_each(|result| result.map(drop))
        }
        ReplaceTail(first, count, term) => journal.replace_tail(&batch(first, count, term)).map(drop),
        TruncateTail(first_removed) => journal.truncate_tail(first_removed),
        TruncateHead(index, term) => journal.truncate_head(Position::new(index, term)),
        Vote(vote) => journal.set_u64(b"vote", vote),
        Close => journal.close(),
    }
}

/// Reads the whole log; a read that fails may be tried again.
pub fn read(journal: &Journal, mut failed: impl FnMut(&Error)) -> Vec<Entry> {
    let (Some(first), Some(next)) = (journal.state().first_index(), journal.state().next_index()) else {
        return log(journal);
    };
    // One by one: a range ends before what cannot be read.
    let one = |index| match journal.entry(index) {
        Err(error @ Error::Io { op: "read", .. }) => {
            failed(&error);
            journal.entry(index).expect("the same read again")
        }
        result => result.expect("an entry of the log"),
    };
    (first..next).map(one).collect()
}
