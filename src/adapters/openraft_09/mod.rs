//! openraft 0.9: [`LogStore`] is a `RaftLogStorage` and `RaftLogReader` (storage v2) for any type config.
//!
//! ```no_run
//! use raft_journal::Journal;
//! use raft_journal::adapters::openraft_09::LogStore;
//!
//! # extern crate openraft_09 as openraft;
//! # use std::io::Cursor;
//! # openraft::declare_raft_types!(pub Types: D = String, R = String);
//! let journal = Journal::open("node-1")?;
//! let log_store = LogStore::<Types>::new(journal.clone());
//! // let raft = openraft::Raft::new(1, config, network, log_store, state_machine).await?;
//! # drop(log_store);
//! # Ok::<(), raft_journal::Error>(())
//! ```
//!
//! | openraft asks for | what happens | durable |
//! |---|---|---|
//! | `append` | one write on a thread of the journal's, which syncs and calls back | when the callback says so |
//! | `save_vote` | one commit, on a thread of the journal's | on return |
//! | `truncate` | one batch, on a thread of the journal's | on return |
//! | `purge` | the head and the purged LogId in one commit, on a thread of the journal's | on return |
//! | `save_committed` | in memory | with the next commit |
//! | reads | on the caller's thread: mostly of what was written a moment ago, from memory | – |
//!
//! So no write and no sync ever holds up a worker of the runtime, whatever the runtime is.
//!
//! # openraft's rules
//!
//! - A log starts wherever the first entry says.
//! - Entries at or below the purged position are skipped by `append`: the snapshot has them.
//! - Entries at or below the last one replace the tail, in one step.
//! - `purge` beyond the end empties the log; below the purged position it does nothing.
//! - `try_get_log_entries` answers what there is of a range. `limited_get_log_entries`, which feeds followers, starts
//!   at `start` or answers nothing: an answer from further up would leave a hole in a follower's log.
//!
//! # What is stored
//!
//! Whole entries, votes and LogIds go through serde, as MessagePack behind one byte that names the encoding; the
//! journal itself only needs an entry's index and term. Commands that carry raw bytes are smaller and faster with
//! `serde_bytes`. The keys are `openraft.vote`, `openraft.committed` and `openraft.purged`. Purge and append through
//! this adapter only.
//!
//! # Leader and follower, held against each other
//!
//! Two nodes that have applied the same entries hold the same bytes for them. Now and then a leader sends a digest of what
//! it has applied, in a message of the application's own; whoever finds another one has lost or changed an entry.
//!
//! ```
//! use raft_journal::{Entry, Journal, LogStore, RangeDigest};
//!
//! /// What both hold of a range that both have applied; nothing where one of them has purged some of it.
//! fn digest(journal: &Journal, first: u64, applied: u64) -> raft_journal::Result<Option<RangeDigest>> {
//!     let holds = journal.state().first_index().is_some_and(|held| held <= first);
//!     holds.then(|| journal.range_digest(first..applied + 1)).transpose()
//! }
//!
//! # fn main() -> raft_journal::Result<()> {
//! # let temporary = tempfile::tempdir().expect("a temporary directory");
//! # let open = |name: &str| Journal::open(temporary.path().join(name));
//! # let (leader, follower) = (open("leader")?, open("follower")?);
//! # let entries: Vec<_> = (1..=9).map(|index| Entry::new(index, 1, format!("set x = {index}"))).collect();
//! # leader.append(&entries)?;
//! # entries.iter().try_for_each(|entry| follower.append(std::slice::from_ref(entry)).map(drop))?;
//! // On the leader: its applied index, and what it holds up to there.
//! let (first, applied) = (1, 9);
//! let sent = digest(&leader, first, applied)?.map(RangeDigest::to_bytes);
//! // On the follower, once it has applied as much:
//! let same = digest(&follower, first, applied)? == sent.map(RangeDigest::from_bytes);
//! assert!(same, "halve the range until the entry is found; then see docs::operations");
//! # Ok(())
//! # }
//! ```
//!
//! Two features of openraft matter: `single-term-leader` changes how LogIds are written, so choose before the first
//! entry; `singlethreaded` takes away the `Send` that a callback on another thread needs, and does not build with this
//! adapter.

mod backend;
mod codec;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};

use openraft_09::async_runtime::AsyncOneshotSendExt;
use openraft_09::storage::{LogFlushed, RaftLogStorage};
use openraft_09::{
    AnyError, AsyncRuntime, ErrorSubject, ErrorVerb, LogId, LogState, NodeId, OptionalSend, RaftLogId, RaftLogReader,
    RaftTypeConfig, StorageError, StorageIOError, Vote,
};
use serde::de::DeserializeOwned;

pub use self::backend::Backend;
use self::codec::{AdapterError, decode, encode, position};
use crate::entry::Entry;
use crate::error::Error;
use crate::journal::Journal;
use crate::pending::Pending;
use crate::stable_store::Changes;

const VOTE_KEY: &[u8] = b"openraft.vote";
const COMMITTED_KEY: &[u8] = b"openraft.committed";
const PURGED_KEY: &[u8] = b"openraft.purged";

/// How much is read at a time, and the most that one answer of `limited_get_log_entries` holds: payload, bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

type Found<T> = Result<T, AdapterError>;
type Answer<C, T> = Result<T, StorageError<<C as RaftTypeConfig>::NodeId>>;
type LogIdOf<C> = LogId<<C as RaftTypeConfig>::NodeId>;

/// A journal as openraft's log store. Clones share the journal, and serve as log readers.
#[derive(Clone, Debug)]
pub struct LogStore<C, S = Journal> {
    store: S,
    config: PhantomData<fn() -> C>,
}

impl<C: RaftTypeConfig, S: Backend> LogStore<C, S> {
    /// A log store over an open journal (or a [`MemoryStore`](crate::MemoryStore), in tests).
    pub fn new(store: S) -> Self {
        LogStore { store, config: PhantomData }
    }

    /// The store below.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The indexes that can be read now.
    fn live(&self) -> Range<u64> {
        let state = self.store.state();
        state.first_index().zip(state.next_index()).map_or(0..0, |(first, next)| first..next)
    }

    /// Entries from the start of a range inside the log; `None` when an end of the log has moved past it meanwhile.
    fn read(&self, range: Range<u64>) -> Found<Option<Vec<C::Entry>>> {
        match self.store.entries(range, READ_BYTES_MAX) {
            Ok(entries) => entries.iter().map(decode_entry::<C>).collect::<Found<_>>().map(Some),
            Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the log holds of a range, without a hole.
    fn read_all(&self, wanted: Range<u64>) -> Found<Vec<C::Entry>> {
        let mut found = Vec::new();
        let mut next = wanted.start;
        loop {
            let live = self.live();
            if live.start > next {
                // Purged under this read: what was found is gone as well, and would border a hole.
                found.clear();
                next = live.start;
            }
            let range = next..wanted.end.min(live.end);
            if range.is_empty() {
                return Ok(found);
            }
            if let Some(entries) = self.read(range)? {
                next += entries.len() as u64;
                found.extend(entries);
            }
        }
    }

    /// The first entries of a range, as many as one answer may hold; none when the log does not hold the first one.
    fn read_some(&self, wanted: Range<u64>) -> Found<Vec<C::Entry>> {
        loop {
            let live = self.live();
            let range = wanted.start..wanted.end.min(live.end);
            if range.start < live.start || range.is_empty() {
                return Ok(Vec::new());
            }
            if let Some(entries) = self.read(range)? {
                return Ok(entries);
            }
        }
    }

    fn value<T: DeserializeOwned>(&self, key: &[u8]) -> Found<Option<T>> {
        let Some(bytes) = self.store.get(key)? else { return Ok(None) };
        decode(&bytes, || format!("the value of `{}`", String::from_utf8_lossy(key))).map(Some)
    }

    /// The purged LogId, which every purge stores beside the position that the journal knows.
    fn purged(&self) -> Found<Option<LogIdOf<C>>> {
        let log_id: Option<LogIdOf<C>> = self.value(PURGED_KEY)?;
        let stored = log_id.as_ref().map(position);
        match self.store.state().purged {
            Some(purged) if stored != Some(purged) => Err(AdapterError::OtherPurge { purged, stored }),
            _ => Ok(log_id),
        }
    }

    fn log_state(&self) -> Found<LogState<C>> {
        let last_purged_log_id = self.purged()?;
        let last_log_id = match self.store.state().last_index() {
            Some(index) => Some(decode_entry::<C>(&self.store.entry(index)?)?.get_log_id().clone()),
            None => last_purged_log_id.clone(),
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    /// The entries that the log still needs, as the journal takes them: a snapshot has those up to the purged position.
    fn encoded(&self, entries: impl Iterator<Item = C::Entry>) -> Found<Vec<Entry>> {
        let purged = self.store.state().purged;
        entries
            .filter(|entry| purged.is_none_or(|purged| entry.get_log_id().index > purged.index))
            .map(|entry| encode_entry::<C>(&entry))
            .collect()
    }

    /// Makes a call that may wait for the disk on a thread of the store's; `then` goes on there once the answer is out.
    fn elsewhere<T, F, G>(&self, call: F, then: G) -> impl Future<Output = Found<()>> + use<C, S, T, F, G>
    where
        F: FnOnce(&S) -> Result<T, Error> + Send + 'static,
        G: FnOnce(T) + Send + 'static,
    {
        let (sender, receiver) = C::AsyncRuntime::oneshot::<Result<(), Error>>();
        let store = self.store.clone();
        self.store.run(Box::new(move || {
            let (answer, rest) = match call(&store) {
                Ok(rest) => (Ok(()), Some(rest)),
                Err(error) => (Err(error), None),
            };
            // Whoever gets the answer may then drop the last handle, and closes the journal on a thread of its own.
            drop(store);
            // A runtime that shut down meanwhile has nobody left to tell.
            let _ = sender.send(answer);
            if let Some(rest) = rest {
                then(rest);
            }
        }));
        async move { Ok(receiver.await.map_err(|_| AdapterError::Interrupted)??) }
    }
}

/// Writes entries that may start at or below the log's last one, which they then replace.
fn write<S: Backend>(store: &S, entries: &[Entry]) -> Result<Pending, Error> {
    match entries.first().zip(store.state().last_index()) {
        Some((first, last)) if first.index <= last => store.replace_tail_pending(entries),
        _ => store.append_pending(entries),
    }
}

fn encode_entry<C: RaftTypeConfig>(entry: &C::Entry) -> Found<Entry> {
    let at = position(entry.get_log_id());
    let data = encode(entry, || format!("the entry at {at}"))?;
    Ok(Entry::new(at.index, at.term, data))
}

fn decode_entry<C: RaftTypeConfig>(entry: &Entry) -> Found<C::Entry> {
    let found = entry.position();
    let decoded: C::Entry = decode(&entry.data, || format!("the entry at {found}"))?;
    match position(decoded.get_log_id()) {
        inside if inside == found => Ok(decoded),
        inside => Err(AdapterError::OtherEntry { found, inside }),
    }
}

/// Says what openraft was doing when a call failed.
fn when<N: NodeId>(subject: ErrorSubject<N>, verb: ErrorVerb) -> impl FnOnce(AdapterError) -> StorageError<N> {
    move |error| StorageIOError::new(subject, verb, AnyError::new(&error)).into()
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&index) => index,
        Bound::Excluded(&index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&index) => index.saturating_add(1),
        Bound::Excluded(&index) => index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl<C: RaftTypeConfig, S: Backend> RaftLogReader<C> for LogStore<C, S> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Answer<C, Vec<C::Entry>> {
        let range = half_open(&range);
        let subject = ErrorSubject::LogIndex(range.start);
        self.read_all(range).map_err(when(subject, ErrorVerb::Read))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Answer<C, Vec<C::Entry>> {
        self.read_some(start..end).map_err(when(ErrorSubject::LogIndex(start), ErrorVerb::Read))
    }
}

impl<C: RaftTypeConfig, S: Backend> RaftLogStorage<C> for LogStore<C, S> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Answer<C, LogState<C>> {
        self.log_state().map_err(when(ErrorSubject::Logs, ErrorVerb::Read))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Answer<C, ()> {
        let value = encode(vote, || format!("vote {vote}")).map_err(when(ErrorSubject::Vote, ErrorVerb::Write))?;
        let saved = self.elsewhere(move |store| store.set(VOTE_KEY, &value), drop).await;
        saved.map_err(when(ErrorSubject::Vote, ErrorVerb::Write))
    }

    async fn read_vote(&mut self) -> Answer<C, Option<Vote<C::NodeId>>> {
        self.value(VOTE_KEY).map_err(when(ErrorSubject::Vote, ErrorVerb::Read))
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Answer<C, ()> {
        encode(&committed, || format!("committed mark {committed:?}"))
            .and_then(|value| Ok(self.store.set_lazy(COMMITTED_KEY, &value)?))
            .map_err(when(ErrorSubject::Store, ErrorVerb::Write))
    }

    async fn read_committed(&mut self) -> Answer<C, Option<LogIdOf<C>>> {
        let committed: Found<Option<Option<_>>> = self.value(COMMITTED_KEY);
        committed.map(Option::flatten).map_err(when(ErrorSubject::Store, ErrorVerb::Read))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Answer<C, ()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let when = |error| when(ErrorSubject::Logs, ErrorVerb::Write)(error);
        let entries = self.encoded(entries.into_iter()).map_err(when)?;
        let synced = move |pending: Pending| {
            callback.log_io_completed(pending.wait().map(drop).map_err(io::Error::other));
        };
        self.elsewhere(move |store| write(store, &entries), synced).await.map_err(when)
    }

    async fn truncate(&mut self, log_id: LogIdOf<C>) -> Answer<C, ()> {
        if self.store.state().next_index().is_none_or(|next| log_id.index >= next) {
            return Ok(());
        }
        let subject = ErrorSubject::Log(log_id.clone());
        let truncated = self.elsewhere(move |store| store.truncate_tail(log_id.index), drop).await;
        truncated.map_err(when(subject, ErrorVerb::Delete))
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Answer<C, ()> {
        let subject = ErrorSubject::Log(log_id.clone());
        let purged = async {
            if self.purged()?.is_some_and(|purged| log_id.index < purged.index || log_id == purged) {
                return Ok(());
            }
            let value = encode(&log_id, || format!("purged LogId {log_id}"))?;
            let changes = Changes::new().set(PURGED_KEY, value).truncate_head(position(&log_id));
            self.elsewhere(move |store| store.commit(&changes), drop).await
        };
        purged.await.map_err(when(subject, ErrorVerb::Delete))
    }
}
