//! Where the log begins and ends, and the terms of its entries: in memory, as raft-rs asks for them all the time and
//! takes no disk's error for an answer.

use std::collections::VecDeque;

use super::error::{Error, Result};
use crate::entry::Position;
use crate::error::Error as StoreError;
use crate::log_store::LogStore;

/// The bounds and the terms of a log: 16 bytes for each term in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// The purged position; before a log that never was purged, index 0 of term 0.
    purged: Position,
    /// Where each later term begins, rising.
    runs: VecDeque<Position>,
    last_index: u64,
}

impl Terms {
    /// A log without entries behind `purged`.
    pub(super) fn empty(purged: Position) -> Terms {
        Terms { purged, runs: VecDeque::new(), last_index: purged.index }
    }

    /// The terms of a store's log. Terms never fall, so looking for where each begins takes few looks.
    pub(super) fn read(store: &impl LogStore) -> Result<Terms> {
        let state = store.state();
        let mut terms = Terms::empty(state.purged.unwrap_or_default());
        let Some((first, last)) = state.first.zip(state.last) else { return Ok(terms) };
        if first != terms.first_index() {
            return Err(Error::BeginningLost { first_index: first, expected: terms.first_index() });
        }
        terms.last_index = last.index;
        let mut at = terms.purged;
        while at.term != last.term {
            at = beginning(store, at, last)?;
            terms.runs.push_back(at);
        }
        Ok(terms)
    }

    pub(super) fn purged(&self) -> Position {
        self.purged
    }

    pub(super) fn first_index(&self) -> u64 {
        self.purged.index + 1
    }

    pub(super) fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The term of an entry, or of the purged position.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index < self.purged.index || index > self.last_index {
            return None;
        }
        let begun = self.runs.partition_point(|run| run.index <= index);
        let run = begun.checked_sub(1).and_then(|at| self.runs.get(at));
        Some(run.map_or(self.purged.term, |run| run.term))
    }

    /// Notes that the log goes on with `positions`, which replace what it held from the first one on.
    pub(super) fn replace_tail(&mut self, positions: impl Iterator<Item = Position>) {
        for position in positions {
            if position.index <= self.last_index {
                self.runs.truncate(self.runs.partition_point(|run| run.index < position.index));
            }
            if self.runs.back().map_or(self.purged.term, |run| run.term) != position.term {
                self.runs.push_back(position);
            }
            self.last_index = position.index;
        }
    }

    /// Notes that the log begins behind `position`, which it holds.
    pub(super) fn truncate_head(&mut self, position: Position) {
        let begun = self.runs.partition_point(|run| run.index <= position.index);
        self.runs.drain(..begun);
        self.purged = position;
    }
}

/// Where the next term begins behind `at`; it differs from `at`'s at the latest at `last`.
fn beginning(store: &impl LogStore, at: Position, last: Position) -> Result<Position> {
    let (mut before, mut found) = (at.index, last);
    while found.index - before > 1 {
        let middle = before + (found.index - before) / 2;
        match nearest(store, middle, before + 1, found.index)? {
            Some(position) if position.term == at.term => before = position.index,
            Some(position) => found = position,
            None => return Err(Error::TermsLost { first: before + 1, end: found.index }),
        }
    }
    Ok(found)
}

/// The entry of `first..end` whose term is known and that is nearest to `middle`, in either direction.
fn nearest(store: &impl LogStore, middle: u64, first: u64, end: u64) -> Result<Option<Position>> {
    for index in (middle..end).chain((first..middle).rev()) {
        match store.term(index) {
            Ok(term) => return Ok(Some(Position::new(index, term))),
            Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
