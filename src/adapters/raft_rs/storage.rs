//! What raft-rs reads. It panics on most errors, so what it is told is chosen by what it can do about it.

use raft::eraftpb::{Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::error::Error;
use super::{Backend, LogStore};
use crate::error::Error as StoreError;

impl<S: Backend> Storage for LogStore<S> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let state = self.shared.state.read();
        Ok(RaftState { hard_state: state.hard_state.clone(), conf_state: state.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bounds = self.shared.bounds();
        if low < bounds.start {
            return Err(StorageError::Compacted.into());
        }
        if low > high || high > bounds.end + 1 {
            return Err(StorageError::Unavailable.into());
        }
        if low == high {
            return Ok(Vec::new());
        }
        // A payload is the whole message, so that the budget means the same on both sides.
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        self.shared.read(low..high, bytes_max).map_err(|error| self.told(low, error, context.can_async()))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let state = self.shared.state.read();
        let unknown =
            if index < state.terms.first_index() { StorageError::Compacted } else { StorageError::Unavailable };
        state.terms.term(index).ok_or(unknown.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.shared.bounds().start)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.shared.bounds().end)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        // From an older one the follower would come to entries that nobody can send it.
        let lowest = self.shared.bounds().start - 1;
        let needed = request_index.max(lowest).max(self.shared.highest_lost()).max(1);
        let snapshot = (self.snapshots)(request_index, to);
        let covers = |snapshot: &Snapshot| snapshot.get_metadata().index >= needed;
        snapshot.filter(covers).ok_or(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

impl<S: Backend> LogStore<S> {
    /// What raft-rs is told when entries from `low` on cannot be read. While it sends them it can do without.
    fn told(&self, low: u64, error: Error, is_sending: bool) -> raft::Error {
        if !is_sending || matches!(error, Error::Store(StoreError::BeforeFirst { .. } | StoreError::AfterLast { .. })) {
            return error.into();
        }
        let mut unread = self.shared.unread.lock();
        let told = if error.is_final() {
            unread.lost.insert(low);
            StorageError::Compacted
        } else {
            StorageError::LogTemporarilyUnavailable
        };
        unread.error = Some(error);
        told.into()
    }
}
