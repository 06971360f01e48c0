//! openraft 0.10, of which one pre-release is meant (0.10.0-alpha.37): [`LogStore`] is a `RaftLogStorage` and
//! `RaftLogReader` for any type config.
//!
//! ```no_run
//! use raft_journal::Journal;
//! use raft_journal::adapters::openraft_010::LogStore;
//!
//! # extern crate openraft_010 as openraft;
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
//! | `append` | one write, on a thread of the journal's; another one syncs and completes the `IOFlushed` | when the callback says so |
//! | `save_vote` | one commit, which first completes a sync of all appends before it | on return |
//! | `truncate_after` | one batch | on return |
//! | `purge` | the head and the purged LogId in one commit | on return |
//! | `save_committed` | in memory | with the next commit |
//! | reads, also of the vote | on the caller's thread: what was written a moment ago from memory, the rest from files | – |
//!
//! Appends go on while a sync runs, and one sync serves all that were written before it began. All writes stand in one
//! line, and their answers leave in that order: an `IOFlushed` never comes before an earlier one, and `save_vote` returns
//! after all that were appended before it have been reported. No write and no sync holds up a worker of the runtime,
//! whatever the runtime is.
//!
//! # openraft's rules
//!
//! - A log starts wherever the first entry says.
//! - Entries at or below the purged position are skipped by `append`: the snapshot has them.
//! - Entries at or below the last one replace the tail, in one step.
//! - `truncate_after` keeps the entry that it names; beyond the end it does nothing; with `None` it removes all entries.
//! - `purge` beyond the end empties the log; below the purged position it does nothing.
//! - `try_get_log_entries` answers what there is of a range, as it was at one moment. `limited_get_log_entries`, which
//!   feeds followers, starts at `start` or, where that was purged meanwhile, answers nothing.
//!
//! # What is stored
//!
//! The same as for openraft 0.9, but LogIds and votes are other types, so neither adapter opens what the other one wrote.
//! The journal keeps an entry's index and term beside it, and takes the term from the LogId's leader through
//! [`LeaderTerm`]: implemented for openraft's two kinds of leader id; implement it for one of your own.
//!
//! openraft's feature `single-threaded` takes away the `Send` that a callback on another thread needs, and does not build
//! with this adapter.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use openraft_010::entry::RaftEntry;
use openraft_010::storage::{IOFlushed, RaftLogStorage};
use openraft_010::vote::{RaftLeaderId, RaftTerm, leader_id_adv, leader_id_std};
use openraft_010::{LogId, LogState, NodeId, OptionalSend, RaftLogReader, RaftTypeConfig};

use super::OwnerError;
pub use super::openraft::{AdapterError, Backend};
use super::openraft::{Flavor, Found, Log};
use crate::entry::Position;
use crate::error::Error;
use crate::journal::Journal;

type LogIdOf<C> = LogId<<<C as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed>;
type VoteOf<C> = <C as RaftTypeConfig>::Vote;

/// The term in a leader's id, as it stands in a LogId.
pub trait LeaderTerm {
    /// The term as a number, in the order of the terms; `None` if it has none, and then its entries cannot be stored.
    fn term_number(&self) -> Option<u64>;
}

impl<T: RaftTerm, N: NodeId> LeaderTerm for leader_id_adv::LeaderId<T, N> {
    fn term_number(&self) -> Option<u64> {
        self.term.as_u64()
    }
}

impl<T: RaftTerm> LeaderTerm for leader_id_std::CommittedLeaderId<T> {
    fn term_number(&self) -> Option<u64> {
        self.term.as_u64()
    }
}

/// A type config whose LogIds have a [`LeaderTerm`]. Nobody implements it: it is what [`LogStore`] asks for.
pub trait TypeConfig: RaftTypeConfig<LeaderId: RaftLeaderId<Committed: LeaderTerm>> {}

impl<C: RaftTypeConfig<LeaderId: RaftLeaderId<Committed: LeaderTerm>>> TypeConfig for C {}

/// openraft 0.10 with an application's types.
struct Version<C>(PhantomData<C>);

impl<C: TypeConfig> Flavor for Version<C> {
    const NAME: &'static str = "openraft-010";
    type LogId = LogIdOf<C>;
    type Vote = VoteOf<C>;
    type Entry = C::Entry;

    fn log_id(entry: &C::Entry) -> LogIdOf<C> {
        let (leader_id, index) = entry.log_id_parts();
        LogIdOf::<C>::new(leader_id.clone(), index)
    }

    fn position(log_id: &LogIdOf<C>) -> Found<Position> {
        match log_id.leader_id.term_number() {
            Some(term) => Ok(Position::new(log_id.index, term)),
            None => Err(AdapterError::NoTerm { log_id: log_id.to_string() }),
        }
    }
}

/// A journal as openraft's log store. Clones share the journal, serve as log readers, and write in one order: make one
/// for a node, and clone it.
#[derive(Clone, Debug)]
pub struct LogStore<C: TypeConfig, S = Journal> {
    log: Log<Version<C>, S>,
}

impl<C: TypeConfig, S: Backend> LogStore<C, S> {
    /// A log store over an open journal (or a [`MemoryStore`](crate::MemoryStore), in tests). Writes the adapter's name
    /// into a journal that has none, durable on return; a journal that was opened read-only is left as it is.
    ///
    /// # Errors
    ///
    /// [`OwnerError::OtherAdapter`] and [`OwnerError::NoAdapter`] for a journal that this adapter did not write;
    /// [`OwnerError::Store`].
    pub fn new(store: S) -> Result<Self, OwnerError> {
        Log::open(store, None).map(|log| LogStore { log })
    }

    /// As [`new`](Self::new), for the node with this id, whose name is written into the journal as well, where it has
    /// none. So a node that is given another one's directory is refused, and does not vote in its place.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and [`OwnerError::OtherNode`].
    pub fn for_node(store: S, id: &C::NodeId) -> Result<Self, OwnerError> {
        Log::open(store, Some(&id.to_string())).map(|log| LogStore { log })
    }

    /// The store below.
    pub fn store(&self) -> &S {
        self.log.store()
    }
}

/// The operating system's kind of error where there is one, and the typed error inside.
fn told(error: AdapterError) -> io::Error {
    let kind = match &error {
        AdapterError::Store(Error::Io { source, .. } | Error::NoSpace { source, .. }) => source.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl<C: TypeConfig, S: Backend> RaftLogReader<C> for LogStore<C, S> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<C::Entry>> {
        self.log.read_all(&range).map_err(told)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        self.log.vote().map_err(told)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<C::Entry>> {
        self.log.read_some(start..end).map_err(told)
    }
}

impl<C: TypeConfig, S: Backend> RaftLogStorage<C> for LogStore<C, S> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let (last_purged_log_id, last_log_id) = self.log.ends().await.map_err(told)?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        self.log.save_vote(vote, || format!("vote {vote}")).await.map_err(told)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> io::Result<()> {
        self.log.save_committed(&committed).map_err(told)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<C>>> {
        self.log.committed().map_err(told)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = move |result: Found<()>| callback.io_completed(result.map_err(told));
        self.log.append(entries, flushed).await.map_err(told)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> io::Result<()> {
        // Behind the last index that there is, nothing is.
        let first_removed = last_log_id.map(|last| last.index.saturating_add(1));
        self.log.truncate(first_removed).await.map_err(told)
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> io::Result<()> {
        self.log.purge(log_id).await.map_err(told)
    }
}
