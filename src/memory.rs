//! A store in memory, for tests of nodes and as the plain model of what a log is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, Position};
use crate::error::{Error, Result};
use crate::log_store::{LogState, LogStore};
use crate::pending::Pending;
use crate::stable_store::{Changes, StableStore};
use crate::sync::RwLock;

/// A log and a stable store in memory, with the contract and the errors of a [`Journal`](crate::Journal), but for the bounds
/// that options set, and for closing.
///
/// Everything is "durable" at once and lost with the last clone. Clones share one store.
///
/// ```
/// use raft_journal::{Entry, LogStore, MemoryStore, StableStore};
///
/// let store = MemoryStore::new();
/// store.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y")])?;
/// store.set_u64(b"term", 1)?;
/// assert_eq!(store.state().last_index(), Some(2));
/// assert_eq!(store.clone().get_u64(b"term")?, Some(1));
/// # Ok::<(), raft_journal::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<RwLock<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    purged: Option<Position>,
    entries: VecDeque<Entry>,
    values: BTreeMap<Bytes, Bytes>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }
}

impl Contents {
    fn state(&self) -> LogState {
        let last = self.entries.back().map(Entry::position).or(self.purged);
        LogState { purged: self.purged, first: self.entries.front().map(|entry| entry.index), last, durable: last }
    }

    /// The lowest index that can be read; where the log is empty, the index that is read next.
    fn first(&self) -> u64 {
        self.entries.front().map_or_else(|| self.next(), |entry| entry.index)
    }

    /// The index of the next append; 0 where any will do.
    fn next(&self) -> u64 {
        self.state().next_index().unwrap_or(0)
    }

    /// How many entries are below `index`: its place in the queue.
    fn place(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first())).map_or(usize::MAX, |place| place.min(self.entries.len()))
    }

    fn entry(&self, index: u64) -> Result<&Entry> {
        if index < self.first() {
            return Err(Error::BeforeFirst { index, first: self.first() });
        }
        self.entries.get(self.place(index)).ok_or(Error::AfterLast { index, next: self.next() })
    }

    fn term(&self, index: u64) -> Result<u64> {
        match self.purged {
            Some(purged) if purged.index == index => Ok(purged.term),
            _ => self.entry(index).map(|entry| entry.term),
        }
    }

    fn check_range(&self, range: &Range<u64>) -> Result<()> {
        let (first, next) = (self.first(), self.next());
        if range.start > range.end {
            return Err(Error::BackwardRange { range: range.clone() });
        }
        if range.start < first {
            return Err(Error::BeforeFirst { index: range.start, first });
        }
        if range.end > next {
            return Err(Error::AfterLast { index: range.start.max(next), next });
        }
        Ok(())
    }

    /// Checks a run of entries that follows `previous`; without a predecessor it may start anywhere.
    fn check_run(entries: &[Entry], mut previous: Option<Position>) -> Result<()> {
        for entry in entries {
            let (index, found) = (entry.index, entry.term);
            if index == u64::MAX {
                return Err(Error::IndexOverflow { index });
            }
            if let Some(Position { index: last, term }) = previous {
                if index > last + 1 {
                    return Err(Error::Gap { expected: last + 1, found: index });
                }
                if index <= last {
                    return Err(Error::Overlap { last, found: index });
                }
                if found < term {
                    return Err(Error::TermFell { index, previous: term, found });
                }
            }
            previous = Some(entry.position());
        }
        Ok(())
    }

    /// What a replacement from `index` on follows.
    fn replaced_after(&self, index: u64) -> Result<Option<Position>> {
        if let Some(purged) = self.purged.filter(|purged| index <= purged.index) {
            return Err(Error::Purged { index, purged });
        }
        // A log that was purged starts right behind its purged position; any other may be replaced from below.
        let kept = self.entries.iter().take(self.place(index)).next_back();
        Ok(kept.map(Entry::position).or(self.purged))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<Position> {
        Self::check_run(entries, self.state().last)?;
        self.entries.extend(entries.iter().cloned());
        Ok(self.end())
    }

    fn replace_tail(&mut self, entries: &[Entry]) -> Result<Position> {
        let Some(first) = entries.first() else { return Ok(self.end()) };
        Self::check_run(entries, self.replaced_after(first.index)?)?;
        self.entries.truncate(self.place(first.index));
        self.entries.extend(entries.iter().cloned());
        Ok(self.end())
    }

    fn end(&self) -> Position {
        self.state().last.unwrap_or_default()
    }

    fn truncate_tail(&mut self, index: u64) -> Result<()> {
        if index == u64::MAX {
            return Err(Error::IndexOverflow { index });
        }
        let Some(next) = self.state().next_index() else { return Ok(()) };
        if index > next {
            return Err(Error::TruncateBeyondEnd { index, next });
        }
        if let Some(purged) = self.purged.filter(|purged| index <= purged.index) {
            return Err(Error::Purged { index, purged });
        }
        self.entries.truncate(self.place(index));
        Ok(())
    }

    fn check_head(&self, requested: Position) -> Result<()> {
        let (index, first) = (requested.index, self.first());
        match self.purged {
            _ if index == u64::MAX => Err(Error::IndexOverflow { index }),
            Some(purged) if purged.index == index && purged.term != requested.term => {
                Err(Error::PurgedTermDiffers { purged, requested })
            }
            // Terms never fall: a lower index cannot have a higher term.
            Some(purged) if purged.index > index && purged.term < requested.term => {
                Err(Error::PurgedTermDiffers { purged, requested })
            }
            // Below a log that never was purged only the position right before its first entry joins it.
            None if !self.entries.is_empty() && index + 1 < first => Err(Error::BeforeFirst { index, first }),
            _ => Ok(()),
        }
    }

    /// Forgets the head, once `check_head` has said yes.
    fn truncate_head(&mut self, position: Position) {
        if self.purged.is_some_and(|purged| position.index <= purged.index) {
            return;
        }
        let agrees = match self.entry(position.index) {
            Ok(entry) => entry.term == position.term,
            Err(Error::BeforeFirst { .. }) => self.entries.front().is_some_and(|first| position.term <= first.term),
            Err(_) => false,
        };
        let removed = if agrees { self.place(position.index + 1) } else { self.entries.len() };
        self.entries.drain(..removed);
        self.purged = Some(position);
    }

    fn commit(&mut self, changes: &Changes) -> Result<()> {
        changes.check()?;
        changes.head().map_or(Ok(()), |position| self.check_head(position))?;
        for (key, value) in changes.pairs() {
            match value {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(key),
            };
        }
        changes.head().into_iter().for_each(|position| self.truncate_head(position));
        Ok(())
    }
}

impl LogStore for MemoryStore {
    fn state(&self) -> LogState {
        self.shared.read().state()
    }

    fn term(&self, index: u64) -> Result<u64> {
        self.shared.read().term(index)
    }

    fn entry(&self, index: u64) -> Result<Entry> {
        self.shared.read().entry(index).cloned()
    }

    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        let contents = self.shared.read();
        contents.check_range(&range)?;
        let mut bytes = 0;
        let places = contents.place(range.start)..contents.place(range.end);
        Ok(contents
            .entries
            .range(places)
            .enumerate()
            .take_while(|(count, entry)| {
                bytes += entry.data.len() as u64;
                *count == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    fn append_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.shared.write().append(entries).map(Pending::ready)
    }

    fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.shared.write().replace_tail(entries).map(Pending::ready)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.shared.write().truncate_tail(first_removed)
    }

    fn truncate_head(&self, position: Position) -> Result<()> {
        self.commit(&Changes::new().truncate_head(position))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl StableStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.shared.read().values.get(key).cloned())
    }

    fn commit(&self, changes: &Changes) -> Result<()> {
        self.shared.write().commit(changes)
    }

    fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.commit(&Changes::new().set(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(terms: &[(u64, u64)]) -> Vec<Entry> {
        terms.iter().map(|&(index, term)| Entry::new(index, term, vec![index as u8; 4])).collect()
    }

    fn log(terms: &[(u64, u64)]) -> MemoryStore {
        let store = MemoryStore::new();
        store.append(&entries(terms)).expect("the run is sound");
        store
    }

    #[test]
    fn empty_log_takes_any_first_index_also_after_it_was_emptied() {
        let store = log(&[(7, 1), (8, 1)]);
        store.truncate_tail(7).unwrap();
        assert_eq!(store.state(), LogState::default());
        store.truncate_tail(99).unwrap();
        assert_eq!(store.append(&entries(&[(3, 1)])).unwrap(), Position::new(3, 1));
        assert_eq!(store.append(&[]).unwrap(), Position::new(3, 1));
    }

    #[test]
    fn bad_appends_are_named_and_change_nothing() {
        let store = log(&[(5, 2)]);
        let refusal = |terms: &[(u64, u64)]| store.append(&entries(terms)).unwrap_err();
        assert!(matches!(refusal(&[(7, 2)]), Error::Gap { expected: 6, found: 7 }));
        assert!(matches!(refusal(&[(5, 2)]), Error::Overlap { last: 5, found: 5 }));
        assert!(matches!(refusal(&[(6, 3), (7, 2)]), Error::TermFell { index: 7, previous: 3, found: 2 }));
        assert!(matches!(refusal(&[(u64::MAX, 2)]), Error::IndexOverflow { index: u64::MAX }));
        assert_eq!(store.state().last, Some(Position::new(5, 2)));
    }

    #[test]
    fn reads_outside_the_log_say_on_which_side() {
        let store = log(&[(4, 1), (5, 1), (6, 2)]);
        store.truncate_head(Position::new(4, 1)).unwrap();
        assert_eq!(store.term(4).unwrap(), 1);
        assert!(matches!(store.entry(4), Err(Error::BeforeFirst { index: 4, first: 5 })));
        assert!(matches!(store.entry(7), Err(Error::AfterLast { index: 7, next: 7 })));
        assert!(matches!(store.entries(4..6, 99), Err(Error::BeforeFirst { index: 4, first: 5 })));
        assert!(matches!(store.entries(5..8, 99), Err(Error::AfterLast { index: 7, next: 7 })));
        let (start, end) = (6, 5);
        assert!(matches!(store.entries(start..end, 99), Err(Error::BackwardRange { .. })));
        assert_eq!(store.entries(7..7, 99).unwrap(), []);
        assert_eq!(store.entries(5..7, 0).unwrap().len(), 1);
        assert_eq!(store.entries(5..7, 8).unwrap().len(), 2);
    }

    #[test]
    fn replaced_tail_is_gone_and_purged_entries_are_safe() {
        let store = log(&[(1, 1), (2, 1), (3, 1)]);
        store.replace_tail(&entries(&[(2, 2)])).unwrap();
        assert_eq!(store.state().last, Some(Position::new(2, 2)));
        assert!(matches!(store.replace_tail(&entries(&[(4, 2)])), Err(Error::Gap { expected: 3, found: 4 })));
        store.replace_tail(&entries(&[(0, 3)])).unwrap();
        assert_eq!(store.state().first, Some(0));
        store.truncate_head(Position::new(0, 3)).unwrap();
        assert!(matches!(store.replace_tail(&entries(&[(0, 3)])), Err(Error::Purged { index: 0, .. })));
        assert!(matches!(store.replace_tail(&entries(&[(1, 2)])), Err(Error::TermFell { previous: 3, .. })));
        assert!(matches!(store.truncate_tail(0), Err(Error::Purged { index: 0, .. })));
        assert!(matches!(store.truncate_tail(2), Err(Error::TruncateBeyondEnd { index: 2, next: 1 })));
    }

    #[test]
    fn snapshot_position_empties_a_log_that_does_not_hold_it() {
        for position in [Position::new(9, 3), Position::new(2, 3)] {
            let store = log(&[(1, 1), (2, 1), (3, 1)]);
            store.truncate_head(position).unwrap();
            assert_eq!(store.state().first, None);
            assert_eq!(store.state().next_index(), Some(position.index + 1));
            store.truncate_head(Position::new(1, 2)).unwrap();
            for other in [Position::new(position.index, 8), Position::new(1, 7)] {
                assert!(matches!(store.truncate_head(other), Err(Error::PurgedTermDiffers { .. })));
            }
        }
    }

    #[test]
    fn log_that_never_was_purged_joins_only_the_position_right_before_it() {
        let store = log(&[(5, 2), (6, 2)]);
        assert!(matches!(store.truncate_head(Position::new(3, 1)), Err(Error::BeforeFirst { index: 3, first: 5 })));
        store.truncate_head(Position::new(4, 1)).unwrap();
        assert_eq!((store.term(4).unwrap(), store.state().first), (1, Some(5)));
    }

    #[test]
    fn refused_commit_changes_nothing() {
        let store = log(&[(1, 1)]);
        store.truncate_head(Position::new(1, 1)).unwrap();
        let refused = Changes::new().set("vote", "a").truncate_head(Position::new(1, 2));
        assert!(matches!(store.commit(&refused), Err(Error::PurgedTermDiffers { .. })));
        assert!(matches!(store.set(b"vote", &[0; 4097]), Err(Error::ValueTooLarge { .. })));
        assert_eq!(store.get(b"vote").unwrap(), None);
    }
}
