//! What the clones of a log store share, and how it is written.

use std::collections::BTreeSet;
use std::ops::Range;

use protobuf::Message;
use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};

use super::codec::{decode, decode_entry, encode, key_name};
use super::error::{Error, Result};
use super::terms::Terms;
use super::{Backend, CONF_STATE_KEY, FOUNDERS_KEY, HARD_STATE_KEY};
use crate::entry::Position;
use crate::error::Error as StoreError;
use crate::pending::Pending;
use crate::stable_store::{Changes, StableStore};
use crate::sync::{Mutex, RwLock};

pub(super) struct Shared<S> {
    pub(super) store: S,
    /// Held by whoever writes, so that the state changes in the order of the store.
    pub(super) writing: Mutex<()>,
    /// What raft-rs asks for all the time. Never locked during I/O.
    pub(super) state: RwLock<State>,
    pub(super) unread: Mutex<Unread>,
}

pub(super) struct State {
    pub(super) terms: Terms,
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
}

/// What could not be read, and was kept from raft-rs.
#[derive(Default)]
pub(super) struct Unread {
    pub(super) error: Option<Error>,
    /// The entries that were lost when a follower needed them.
    pub(super) lost: BTreeSet<u64>,
}

impl<S: Backend> Shared<S> {
    /// The first and the last index.
    pub(super) fn bounds(&self) -> Range<u64> {
        let state = self.state.read();
        state.terms.first_index()..state.terms.last_index()
    }

    /// Entries of a range that the log holds, as many as the budget allows and at least one. What cannot be read ends
    /// the answer, or is an error where it comes first.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        let found = self.store.entries(range, bytes_max)?;
        let mut entries = Vec::with_capacity(found.len());
        for entry in &found {
            match decode_entry(entry) {
                Ok(entry) => entries.push(entry),
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    /// The highest of the lost entries that a follower needed, or 0: only a snapshot from there on is of use to it. Those
    /// that were put back meanwhile, or are part of the log no more, are forgotten.
    pub(super) fn highest_lost(&self) -> u64 {
        loop {
            // Not locked while the entry is read.
            let Some(highest) = self.unread.lock().lost.last().copied() else { return 0 };
            match self.read(highest..highest + 1, 0) {
                Ok(_) | Err(Error::Store(StoreError::BeforeFirst { .. } | StoreError::AfterLast { .. })) => {
                    self.unread.lock().lost.remove(&highest);
                }
                Err(_) => return highest,
            }
        }
    }

    /// Appends or replaces; nothing for no entries.
    pub(super) fn write(&self, entries: &[crate::entry::Entry]) -> Result<Option<Pending>> {
        let Some(first) = entries.first() else { return Ok(None) };
        let (purged, last_index) = {
            let state = self.state.read();
            (state.terms.purged(), state.terms.last_index())
        };
        let index = first.index;
        // An empty log that never was purged would take any first index.
        if index <= purged.index {
            return Err(StoreError::Purged { index, purged }.into());
        }
        if index > last_index + 1 {
            return Err(StoreError::Gap { expected: last_index + 1, found: index }.into());
        }
        let pending = match index <= last_index {
            true => self.store.replace_tail_pending(entries),
            false => self.store.append_pending(entries),
        }?;
        self.state.write().terms.replace_tail(entries.iter().map(crate::entry::Entry::position));
        Ok(Some(pending))
    }

    /// As [`save`](Self::save), for a commit index that nobody has checked.
    pub(super) fn set_hard_state(&self, hard_state: &HardState) -> Result<()> {
        let end = self.bounds();
        check_commit(hard_state, end.start, end.end)?;
        self.save(hard_state)
    }

    /// Stores a HardState: at once where term or vote are new, else with the next commit.
    pub(super) fn save(&self, hard_state: &HardState) -> Result<()> {
        let is_lazy = {
            let known = &self.state.read().hard_state;
            known.term == hard_state.term && known.vote == hard_state.vote
        };
        if !is_lazy {
            return self.commit_states(Changes::new(), Some(hard_state.clone()), None);
        }
        let value = encode(hard_state, || key_name(HARD_STATE_KEY))?;
        self.store.set_lazy(HARD_STATE_KEY, &value)?;
        self.state.write().hard_state = hard_state.clone();
        Ok(())
    }

    /// One commit of what is given, and of changes that belong to it.
    pub(super) fn commit_states(
        &self,
        mut changes: Changes,
        hard_state: Option<HardState>,
        conf_state: Option<ConfState>,
    ) -> Result<()> {
        if let Some(hard_state) = &hard_state {
            changes = changes.set(HARD_STATE_KEY, encode(hard_state, || key_name(HARD_STATE_KEY))?);
        }
        if let Some(conf_state) = &conf_state {
            changes = changes.set(CONF_STATE_KEY, encode(conf_state, || key_name(CONF_STATE_KEY))?);
        }
        self.store.commit(&changes)?;
        let mut state = self.state.write();
        if let Some(hard_state) = hard_state {
            state.hard_state = hard_state;
        }
        if let Some(conf_state) = conf_state {
            state.conf_state = conf_state;
        }
        Ok(())
    }

    /// Puts a snapshot in the log's place, with the HardState that came with it, or the one that follows from it.
    pub(super) fn install(&self, metadata: &SnapshotMetadata, given: Option<&HardState>) -> Result<()> {
        let snapshot = Position::new(metadata.index, metadata.term);
        let (mut hard_state, is_kept) = {
            let state = self.state.read();
            let (purged, commit) = (state.terms.purged(), state.hard_state.commit);
            if snapshot.index < purged.index.max(commit).max(1) {
                return Err(Error::SnapshotOutOfDate { snapshot, purged, commit });
            }
            let is_kept = state.terms.term(snapshot.index) == Some(snapshot.term);
            (given.unwrap_or(&state.hard_state).clone(), is_kept)
        };
        if hard_state.term < snapshot.term {
            (hard_state.term, hard_state.vote) = (snapshot.term, 0);
        }
        // What it says beyond the snapshot is saved once the entries are there that it speaks of.
        hard_state.commit = snapshot.index;
        let changes = Changes::new().truncate_head(snapshot);
        self.commit_states(changes, Some(hard_state), Some(metadata.get_conf_state().clone()))?;
        let behind = {
            let mut state = self.state.write();
            match is_kept {
                true => state.terms.truncate_head(snapshot),
                false => state.terms = Terms::empty(snapshot),
            }
            state.terms.last_index() > snapshot.index
        };
        if behind {
            // The log held the snapshot's last entry and went on, and a crash may leave it so, which does no harm. But
            // raft-rs expects an end here.
            self.store.truncate_tail(snapshot.index + 1)?;
            self.state.write().terms = Terms::empty(snapshot);
        }
        Ok(())
    }

    /// Makes the log and a state machine fit; returns the index that was applied last.
    pub(super) fn resume(&self, machine: &SnapshotMetadata) -> Result<u64> {
        let _writing = self.writing.lock();
        let applied = Position::new(machine.index, machine.term);
        let (purged, term, mut hard_state, conf_state) = {
            let state = self.state.read();
            let term = state.terms.term(applied.index);
            (state.terms.purged(), term, state.hard_state.clone(), state.conf_state.clone())
        };
        if applied.index < purged.index {
            return Err(Error::SnapshotOutOfDate { snapshot: applied, purged, commit: hard_state.commit });
        }
        if term != Some(applied.term) {
            self.install(machine, None)?;
            return Ok(applied.index);
        }
        hard_state.commit = hard_state.commit.max(applied.index);
        // Behind nothing, all changes come again: upon the founders, and upon what is there where they are not known.
        let held = match applied.index {
            0 => value(&self.store, FOUNDERS_KEY)?,
            _ => machine.get_conf_state().clone(),
        };
        let is_known = applied.index > 0 || held != ConfState::default();
        if is_known && held != conf_state {
            self.commit_states(Changes::new(), Some(hard_state), Some(held))?;
        } else {
            self.save(&hard_state)?;
        }
        Ok(applied.index)
    }

    pub(super) fn compact(&self, compact_index: u64) -> Result<()> {
        let (position, mut hard_state) = {
            let state = self.state.read();
            if compact_index <= state.terms.first_index() {
                return Ok(());
            }
            let (index, last_index) = (compact_index - 1, state.terms.last_index());
            let term = state.terms.term(index).ok_or(Error::CompactBeyondEnd { compact_index, last_index })?;
            (Position::new(index, term), state.hard_state.clone())
        };
        // A crash must not leave a commit index that lies before the log: raft-rs would refuse to start.
        hard_state.commit = hard_state.commit.max(position.index);
        self.commit_states(Changes::new().truncate_head(position), Some(hard_state), None)?;
        self.state.write().terms.truncate_head(position);
        Ok(())
    }
}

/// A HardState must not speak of entries that are not there.
pub(super) fn check_commit(hard_state: &HardState, first_index: u64, last_index: u64) -> Result<()> {
    let commit = hard_state.commit;
    if commit > last_index || commit + 1 < first_index {
        return Err(Error::CommitOutside { commit, first_index, last_index });
    }
    Ok(())
}

/// The message under a key; the default one where there is none.
pub(super) fn value<M: Message + Default>(store: &impl StableStore, key: &[u8]) -> Result<M> {
    store.get(key)?.map_or_else(|| Ok(M::default()), |bytes| decode(&bytes, || key_name(key)))
}
