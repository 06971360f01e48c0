//! A log that forgets entries only once the snapshot that stands in for them is saved.
//!
//! openraft 0.9 hands a snapshot of the leader's to the state machine, which saves it on a task of its own, and purges
//! the log up to it without waiting for that. A crash in between would leave a log without the entries and a state
//! machine without the snapshot: nothing that this node acknowledged there could be found again.

use std::fmt::Debug;
use std::ops::RangeBounds;

use openraft_09 as openraft;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use raft_journal::adapters::openraft_09::LogStore;

use super::state_machine::{StateMachine, Types};

type Answer<T> = Result<T, StorageError<u64>>;

/// The log store of a node, and the state machine that it waits for.
#[derive(Clone)]
pub struct CarefulLog {
    pub log: LogStore<Types>,
    pub machine: StateMachine,
}

impl RaftLogReader<Types> for CarefulLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Answer<Vec<Entry<Types>>> {
        self.log.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Answer<Vec<Entry<Types>>> {
        self.log.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Types> for CarefulLog {
    type LogReader = LogStore<Types>;

    async fn purge(&mut self, log_id: LogId<u64>) -> Answer<()> {
        let saved = self.machine.is_saved_up_to(log_id).await;
        saved.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        self.log.purge(log_id).await
    }

    async fn get_log_state(&mut self) -> Answer<LogState<Types>> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore<Types> {
        self.log.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Answer<()> {
        self.log.save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Answer<Option<Vote<u64>>> {
        self.log.read_vote().await
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Answer<()> {
        self.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Answer<Option<LogId<u64>>> {
        self.log.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Answer<()>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.log.append(entries, callback).await
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Answer<()> {
        self.log.truncate(log_id).await
    }
}
