//! Small state and head truncation: commits of `meta`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Core;
use super::view::{SealedFile, TermAt, View};
use crate::entry::Position;
use crate::error::{Error, Result};
use crate::meta::format::pairs_bytes;
use crate::meta::{Accepted, ChainStart, Mark, MetaStore, Repaired, State};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::fold::Fold;
use crate::stable_store::Changes;
use crate::sync::Ordering;

/// The `meta` file and what its newest durable generation says.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) store: MetaStore,
    pub(crate) state: State,
}

/// While it is there, changes are on their way into `meta`.
struct Announced<'a>(&'a Core);

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        *self.0.coming.lock() = None;
    }
}

/// What a head truncation comes to.
enum Head {
    /// Nothing: it is done already.
    Done,
    /// The log keeps what lies behind the position.
    Keep { position: Position, start: ChainStart },
    /// The log becomes empty, and goes on behind the position.
    Empty { position: Position, start: ChainStart },
}

impl Core {
    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.pairs.read().get(key).cloned()
    }

    pub(super) fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let changes = Changes::new().set(key, value);
        changes.check()?;
        self.check_writable()?;
        let mut pairs = self.pairs.write();
        self.check_bound(&pairs, &changes)?;
        if let Some(coming) = &*self.coming.lock() {
            // Of a commit under way, which was held against the bound without this value.
            let mut with = pairs.clone();
            apply(&mut with, coming);
            self.check_bound(&with, &changes)?;
        }
        apply(&mut pairs, &changes);
        #[cfg(mutate)]
        if let (true, Some(meta)) = (mutate::is(Mutation::LazyOverDurable), self.meta.lock().as_ref()) {
            meta.store.commit(&*self.fs, &State { pairs: pairs.clone(), ..meta.state.clone() })?;
        }
        Ok(())
    }

    fn check_bound(&self, pairs: &BTreeMap<Bytes, Bytes>, changes: &Changes) -> Result<()> {
        let mut after = pairs.clone();
        apply(&mut after, changes);
        let (bytes, bytes_max) = (pairs_bytes(&after), self.options.meta_bytes_max);
        // What was there before must not keep anybody from removing it.
        if bytes <= bytes_max || bytes <= pairs_bytes(pairs) {
            Ok(())
        } else {
            Err(Error::StoreFull { bytes, bytes_max })
        }
    }

    /// Makes changes durable in one commit, with the head truncation they ask for.
    pub(super) fn commit(self: &Arc<Self>, changes: &Changes) -> Result<()> {
        self.group.refuse_in_callback("commit")?;
        changes.check()?;
        self.check_writable()?;
        #[cfg(mutate)]
        if mutate::is(Mutation::TwoCommits) && changes.pairs().len() > 1 && changes.head().is_none() {
            return changes.pairs().iter().try_for_each(|(key, value)| match value {
                Some(value) => self.commit(&Changes::new().set(key, value)),
                None => self.commit(&Changes::new().remove(key)),
            });
        }
        match changes.head() {
            None if changes.pairs().is_empty() => Ok(()),
            None => self.commit_pairs(changes),
            Some(position) => self.commit_head(changes, position),
        }
    }

    fn commit_pairs(&self, changes: &Changes) -> Result<()> {
        let mut meta = self.meta_for_writing()?;
        let meta = meta.as_mut().ok_or_else(|| self.read_only_error())?;
        let _announced = self.announce(changes)?;
        self.commit_state(meta, changes, |_| {})
    }

    /// Holds changes against the bound, and lazy values that come before they are committed against what they will leave.
    fn announce(&self, changes: &Changes) -> Result<Announced<'_>> {
        let pairs = self.pairs.read();
        self.check_bound(&pairs, changes)?;
        *self.coming.lock() = Some(changes.clone());
        Ok(Announced(self))
    }

    /// Commits the next generation of `meta`: what is durable of the log, the pairs, and one more change.
    ///
    /// All appends issued before are durable first, so that `meta` never runs ahead of the log.
    pub(super) fn commit_state(
        &self,
        meta: &mut Meta,
        changes: &Changes,
        change: impl FnOnce(&mut State),
    ) -> Result<()> {
        // Before the sync: a lazy value that comes later may speak of entries that this sync does not cover.
        let pairs = self.pairs.read().clone();
        #[cfg(not(mutate))]
        self.group.sync_all()?;
        #[cfg(mutate)]
        if !mutate::is(Mutation::MetaAhead) {
            self.group.sync_all()?;
        }
        let mut state = meta.state.clone();
        state.generation += 1;
        state.clean = false;
        state.suspect = false;
        #[cfg(mutate)]
        if mutate::is(Mutation::CleanOutlives) {
            state.clean = meta.state.clean;
        }
        state.mark = self.group.durable().1;
        state.pairs = pairs;
        apply(&mut state.pairs, changes);
        change(&mut state);
        // A failed commit leaves a generation that may be read at the next open or not: nothing may follow it.
        self.watch.commit(|| meta.store.commit(&*self.fs, &state)).map_err(|error| match error {
            Error::StoreFull { .. } | Error::Key { .. } => error,
            error => self.group.poison(error),
        })?;
        self.committed_generation.store(state.generation, Ordering::Release);
        meta.state = state;
        apply(&mut self.pairs.write(), changes);
        Ok(())
    }

    fn commit_head(self: &Arc<Self>, changes: &Changes, position: Position) -> Result<()> {
        {
            // The writer lock: nothing may be appended behind a chain start that is not durable yet.
            let _writer = self.writer.lock();
            let head = self.plan_head(position)?;
            if matches!(head, Head::Done) && changes.pairs().is_empty() {
                return Ok(());
            }
            let mut meta = self.meta_for_writing()?;
            let meta = meta.as_mut().ok_or_else(|| self.read_only_error())?;
            let _announced = self.announce(changes)?;
            #[cfg(mutate)]
            if mutate::is(Mutation::HeadTruncationInMemory) {
                self.apply_head(&head);
                return Ok(());
            }
            #[cfg(mutate)]
            if let (true, Head::Keep { start, .. }) = (mutate::is(Mutation::RemovedBeforeMeta), &head) {
                let view = self.view.read();
                let gone = view.sealed.iter().filter(|sealed| sealed.segment.sequence < start.sequence);
                gone.for_each(|sealed| _ = self.fs.remove(&sealed.segment.path));
            }
            let repaired = self.repairs_behind(&head);
            self.commit_state(meta, changes, |state| {
                head.record(state);
                state.repaired = repaired;
            })?;
            self.apply_head(&head);
            let repairs = Arc::clone(&self.view.read().repairs);
            if repairs.records() != meta.state.repaired {
                self.show_repairs(repairs.only(&meta.state.repaired, &meta.state.accepted));
            }
        }
        self.housekeep_soon();
        Ok(())
    }

    fn plan_head(&self, position: Position) -> Result<Head> {
        let (index, view) = (position.index, self.view.read());
        if index == u64::MAX {
            return Err(Error::IndexOverflow { index });
        }
        if let Some(purged) = view.purged.filter(|purged| index <= purged.index) {
            // Terms never fall: a lower index cannot have a higher term, nor the same index another one.
            let agrees =
                if index == purged.index { position.term == purged.term } else { position.term <= purged.term };
            return if agrees { Ok(Head::Done) } else { Err(Error::PurgedTermDiffers { purged, requested: position }) };
        }
        let term = match view.first() {
            Some(first) if index >= first && index < view.next() => match view.term(index) {
                TermAt::Known(term) => Some(term),
                TermAt::InEntry => {
                    drop(view);
                    return self.plan_head_by_entry(position);
                }
            },
            // Before a log that never was purged: only the position right before its first entry connects.
            Some(first) if index < first && index + 1 != first => return Err(Error::BeforeFirst { index, first }),
            // It joins unless its term contradicts: terms never fall along a log.
            Some(first) if index < first => match view.term(first) {
                TermAt::Known(term) if position.term > term => None,
                TermAt::Known(_) | TermAt::InEntry => Some(position.term),
            },
            Some(_) | None => None,
        };
        Ok(view.head(position, term == Some(position.term)))
    }

    /// As [`plan_head`](Self::plan_head), where only the entry itself knows its term. The writer lock is held.
    fn plan_head_by_entry(&self, position: Position) -> Result<Head> {
        let matches = match self.read_entry(position.index) {
            Ok(entry) => entry.term == position.term,
            // A lost entry contradicts nobody, and its truncation is how it is got rid of. Those around it may: terms never fall.
            Err(Error::Damaged(_)) => {
                let above = self.term_above(position.index)?;
                self.term_below(position.index)? <= position.term && above.is_none_or(|above| position.term <= above)
            }
            Err(error) => return Err(error),
        };
        Ok(self.view.read().head(position, matches))
    }

    /// What of the repairs a head truncation leaves.
    fn repairs_behind(&self, head: &Head) -> Vec<Repaired> {
        let view = self.view.read();
        match head {
            Head::Done => view.repairs.records(),
            Head::Keep { position, start } => view.needed(position.index + 1, start.sequence),
            Head::Empty { .. } => Vec::new(),
        }
    }

    fn apply_head(&self, head: &Head) {
        let retired = {
            let mut view = self.view.write();
            match *head {
                Head::Done => return,
                Head::Keep { position, start } => view.keep_behind(position, start),
                Head::Empty { position, start } => {
                    let retired = view.empty(position, start);
                    self.group.settle(view.written());
                    retired
                }
            }
        };
        self.retire_sealed(retired);
    }
}

impl Head {
    fn record(&self, state: &mut State) {
        match *self {
            Head::Done => {}
            Head::Keep { position, start } => {
                state.purged = Some(position);
                state.start = Some(start);
                // What a lost file held may reach beyond the position, up to where the chain now starts.
                let is_needed = |lost: &Accepted| lost.end > position.index + 1 && start.base > position.index + 1;
                state.accepted.retain(|lost| lost.sequence >= start.sequence || is_needed(lost));
            }
            Head::Empty { position, start } => {
                state.purged = Some(position);
                state.start = Some(start);
                state.accepted.clear();
                state.mark = Mark {
                    sequence: start.sequence,
                    offset: start.offset,
                    chain: start.chain,
                    next: start.base,
                    last_term: position.term,
                    base: start.base,
                    replacing: 0,
                    index: 0,
                };
            }
        }
    }
}

impl View {
    fn head(&self, position: Position, matches: bool) -> Head {
        if !matches {
            let (sequence, salt) = (self.active.sequence, self.active.salt_value);
            let (offset, chain) = (self.fold.end, self.fold.chain);
            return Head::Empty {
                position,
                start: ChainStart { sequence, salt, offset, chain, base: position.index + 1 },
            };
        }
        let kept = self.sealed.iter().find(|sealed| sealed.live_end > position.index + 1);
        Head::Keep { position, start: kept.map_or(self.active_start, |sealed| sealed.start) }
    }

    /// Forgets everything up to `position`, and the segments before the chain's new start.
    fn keep_behind(&mut self, position: Position, start: ChainStart) -> Vec<Arc<SealedFile>> {
        let next = position.index + 1;
        self.purged = Some(position);
        self.fold.purged = true;
        self.fold.log_first = self.fold.log_first.filter(|_| next < self.next()).map(|_| next);
        self.last = self.last.filter(|last| last.index >= next);
        self.rewrites += 1;
        self.tail.drop_head(next);
        self.leave_behind(start)
    }

    /// Forgets the segments before the chain's new start, which hold nothing that is part of the log.
    pub(super) fn leave_behind(&mut self, start: ChainStart) -> Vec<Arc<SealedFile>> {
        let gone = self.sealed.partition_point(|sealed| sealed.start.sequence < start.sequence);
        self.sealed.take_first(gone)
    }

    /// Empties the log, which goes on at `start`.
    fn empty(&mut self, position: Position, start: ChainStart) -> Vec<Arc<SealedFile>> {
        let life = self.fold.life;
        self.purged = Some(position);
        self.last = None;
        self.fold = Fold { life, ..Fold::start(start.offset, start.base, start.chain, true) };
        self.active_start = start;
        self.index_batch = (0, 0);
        self.rewrites += 1;
        self.tail.truncate(0);
        self.sealed.take_first(self.sealed.len())
    }
}

fn apply(pairs: &mut BTreeMap<Bytes, Bytes>, changes: &Changes) {
    for (key, value) in changes.pairs() {
        match value {
            Some(value) => _ = pairs.insert(key.clone(), value.clone()),
            None => _ = pairs.remove(key),
        }
    }
}
