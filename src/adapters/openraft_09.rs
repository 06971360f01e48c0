//! openraft 0.9: [`LogStore`] is a `RaftLogStorage` and `RaftLogReader` (storage v2) for any type config.
//!
//! ```no_run
//! use raft_journal::Journal;
//! use raft_journal::adapters::openraft_09::LogStore;
//!
//! # extern crate openraft_09 as openraft;
//! # use std::io::Cursor;
//! # openraft::declare_raft_types!(pub Types: D = String, R = String);
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log_store = LogStore::<Types>::for_node(Journal::open("node-1")?, &1)?;
//! // let raft = openraft::Raft::new(1, config, network, log_store, state_machine).await?;
//! # drop(log_store);
//! # Ok(())
//! # }
//! ```
//!
//! A whole node, and what it does on its worst day: [`docs::openraft`](crate::docs::openraft).
//!
//! | openraft asks for | what happens | durable |
//! |---|---|---|
//! | `append` | one write, on a thread of the journal's; another one syncs and calls back | when the callback says so |
//! | `save_vote` | one commit, which first completes a sync of all appends before it | on return |
//! | `truncate` | one batch | on return |
//! | `purge` | the head and the purged LogId in one commit; first, if asked for, a wait for the snapshot | on return |
//! | `save_committed` | in memory | with the next commit |
//! | reads | on the caller's thread: what was written a moment ago from memory, the rest from files | – |
//!
//! All writes stand in one line, on threads of the journal's, and their answers leave in that order: also those of calls
//! whose future was dropped, because a runtime shut down or a timeout came. No write and no sync ever holds up a worker of
//! the runtime, whatever the runtime is.
//!
//! # openraft's rules
//!
//! - A log starts wherever the first entry says.
//! - Entries at or below the purged position are skipped by `append`: the snapshot has them.
//! - Entries at or below the last one replace the tail, in one step.
//! - `purge` beyond the end empties the log; below the purged position it does nothing.
//! - `try_get_log_entries` answers what there is of a range, as it was at one moment. `limited_get_log_entries`, which
//!   feeds followers, starts at `start` or answers nothing: an answer from further up would leave a hole in a follower's
//!   log.
//!
//! # What is stored
//!
//! Whole entries, votes and LogIds go through serde, as MessagePack behind one byte that names the encoding; the
//! journal itself only needs an entry's index and term. Commands that carry raw bytes are smaller and faster with
//! `serde_bytes`. The keys are `openraft.vote`, `openraft.committed` and `openraft.purged`, and those of the names that
//! say whose the journal is: `adapter` and `adapter.node`. Purge and append through this adapter only.
//!
//! openraft 0.9 purges the log behind a snapshot that may not be saved yet:
//! [`purging_once_saved`](LogStore::purging_once_saved).
//!
//! Two features of openraft matter: `single-term-leader` changes how LogIds are written, so choose before the first
//! entry; `singlethreaded` takes away the `Send` that a callback on another thread needs, and does not build with this
//! adapter.

use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::Arc;

use openraft_09::storage::{LogFlushed, RaftLogStorage};
use openraft_09::{
    AnyError, ErrorSubject, ErrorVerb, LogId, LogState, NodeId, OptionalSend, RaftLogId, RaftLogReader, RaftTypeConfig,
    StorageError, StorageIOError, Vote,
};

use super::OwnerError;
pub use super::openraft::{AdapterError, Backend};
use super::openraft::{Flavor, Found, Log, half_open};
use crate::entry::Position;
use crate::journal::Journal;

type Answer<C, T> = Result<T, StorageError<<C as RaftTypeConfig>::NodeId>>;
type LogIdOf<C> = LogId<<C as RaftTypeConfig>::NodeId>;

/// openraft 0.9 with an application's types.
struct Version<C>(PhantomData<C>);

impl<C: RaftTypeConfig> Flavor for Version<C> {
    const NAME: &'static str = "openraft-09";
    type LogId = LogIdOf<C>;
    type Vote = Vote<C::NodeId>;
    type Entry = C::Entry;

    fn log_id(entry: &C::Entry) -> LogIdOf<C> {
        entry.get_log_id().clone()
    }

    fn position(log_id: &LogIdOf<C>) -> Found<Position> {
        Ok(Position::new(log_id.index, log_id.leader_id.term))
    }
}

type Saved = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A journal as openraft's log store. Clones share the journal, serve as log readers, and write in one order: make one
/// for a node, and clone it.
#[derive(Clone)]
pub struct LogStore<C: RaftTypeConfig, S = Journal> {
    log: Log<Version<C>, S>,
    /// What a purge waits for.
    saved: Option<Arc<dyn Fn(LogIdOf<C>) -> Saved + Send + Sync>>,
}

impl<C: RaftTypeConfig, S: Debug> Debug for LogStore<C, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogStore").field("log", &self.log).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, S: Backend> LogStore<C, S> {
    /// A log store over an open journal (or a [`MemoryStore`](crate::MemoryStore), in tests). Writes the adapter's name
    /// into a journal that has none, durable on return; a journal that was opened read-only is left as it is.
    ///
    /// # Errors
    ///
    /// [`OwnerError::OtherAdapter`] for a journal that another adapter wrote; [`OwnerError::Store`]. A log without any adapter's
    /// name is taken for one of this adapter's first version, which left none: give it no log that something else wrote.
    pub fn new(store: S) -> Result<Self, OwnerError> {
        Log::open(store, None).map(|log| LogStore { log, saved: None })
    }

    /// As [`new`](Self::new), for the node with this id, whose name is written into the journal as well, where it has
    /// none. So a node that is given another one's directory is refused, and does not vote in its place.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and [`OwnerError::OtherNode`].
    pub fn for_node(store: S, id: &C::NodeId) -> Result<Self, OwnerError> {
        Log::open(store, Some(&id.to_string())).map(|log| LogStore { log, saved: None })
    }

    /// Lets each purge wait until a snapshot that stands in for the entries is durable: `saved(log_id)` answers once the
    /// state machine's durable snapshot covers `log_id`.
    ///
    /// openraft 0.9.25 gives a snapshot that the leader sent to the state machine, which saves it on a task of its own, and
    /// purges the log up to it without waiting for that. A crash in between leaves neither the entries nor the snapshot,
    /// and a node that does not start any more.
    ///
    /// openraft's core waits for a purge, so `saved` must answer in the end: with an error, if the snapshot cannot be saved.
    /// Then nothing is purged, and the node stops. It is asked again after a restart, about what was saved before: begin
    /// with the snapshot that is found.
    ///
    /// ```
    /// use raft_journal::MemoryStore;
    /// use raft_journal::adapters::openraft_09::LogStore;
    /// use std::io;
    /// use tokio::sync::watch;
    ///
    /// # extern crate openraft_09 as openraft;
    /// # use std::io::Cursor;
    /// # openraft::declare_raft_types!(pub Types: D = String, R = String);
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What the newest durable snapshot covers. The state machine sends it on, behind the sync of each.
    /// let (_state_machine, covered) = watch::channel(None);
    /// let log_store = LogStore::<Types, _>::for_node(MemoryStore::new(), &1)?.purging_once_saved(move |log_id| {
    ///     let mut covered = covered.clone();
    ///     async move { covered.wait_for(|up_to| *up_to >= Some(log_id)).await.map(drop).map_err(io::Error::other) }
    /// });
    /// # drop(log_store);
    /// # Ok(())
    /// # }
    /// ```
    pub fn purging_once_saved<F, W>(self, saved: F) -> Self
    where
        F: Fn(LogIdOf<C>) -> W + Send + Sync + 'static,
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        LogStore { saved: Some(Arc::new(move |log_id| Box::pin(saved(log_id)))), ..self }
    }

    /// The store below.
    pub fn store(&self) -> &S {
        self.log.store()
    }
}

/// Says what openraft was doing when a call failed.
fn when<N: NodeId>(subject: ErrorSubject<N>, verb: ErrorVerb) -> impl FnOnce(AdapterError) -> StorageError<N> {
    move |error| StorageIOError::new(subject, verb, AnyError::new(&error)).into()
}

impl<C: RaftTypeConfig, S: Backend> RaftLogReader<C> for LogStore<C, S> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Answer<C, Vec<C::Entry>> {
        let subject = ErrorSubject::LogIndex(half_open(&range).start);
        self.log.read_all(&range).map_err(when(subject, ErrorVerb::Read))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Answer<C, Vec<C::Entry>> {
        self.log.read_some(start..end).map_err(when(ErrorSubject::LogIndex(start), ErrorVerb::Read))
    }
}

impl<C: RaftTypeConfig, S: Backend> RaftLogStorage<C> for LogStore<C, S> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Answer<C, LogState<C>> {
        let (last_purged_log_id, last_log_id) =
            self.log.ends().await.map_err(when(ErrorSubject::Logs, ErrorVerb::Read))?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Answer<C, ()> {
        let saved = self.log.save_vote(vote, || format!("vote {vote}")).await;
        saved.map_err(when(ErrorSubject::Vote, ErrorVerb::Write))
    }

    async fn read_vote(&mut self) -> Answer<C, Option<Vote<C::NodeId>>> {
        self.log.vote().map_err(when(ErrorSubject::Vote, ErrorVerb::Read))
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Answer<C, ()> {
        self.log.save_committed(&committed).map_err(when(ErrorSubject::Store, ErrorVerb::Write))
    }

    async fn read_committed(&mut self) -> Answer<C, Option<LogIdOf<C>>> {
        self.log.committed().map_err(when(ErrorSubject::Store, ErrorVerb::Read))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Answer<C, ()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = move |result: Found<()>| callback.log_io_completed(result.map_err(io::Error::other));
        self.log.append(entries, flushed).await.map_err(when(ErrorSubject::Logs, ErrorVerb::Write))
    }

    async fn truncate(&mut self, log_id: LogIdOf<C>) -> Answer<C, ()> {
        let truncated = self.log.truncate(Some(log_id.index)).await;
        truncated.map_err(when(ErrorSubject::Log(log_id), ErrorVerb::Delete))
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Answer<C, ()> {
        if let Some(saved) = self.saved.as_ref().map(|saved| saved(log_id.clone())) {
            saved.await.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        }
        let purged = self.log.purge(log_id.clone()).await;
        purged.map_err(when(ErrorSubject::Log(log_id), ErrorVerb::Delete))
    }
}
