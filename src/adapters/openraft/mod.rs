//! What the adapters for openraft's versions share: the log in terms of a [`Flavor`]'s types, the line that its writes
//! stand in, and how values become bytes.

mod backend;
mod codec;
mod error;
mod line;

use std::fmt::Debug;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_channel::oneshot;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::backend::Backend;
use self::codec::{decode, encode};
pub use self::error::AdapterError;
use self::line::Line;
use super::owner::{self, OwnerError};
use crate::entry::{Entry, Position};
use crate::error::Error;
use crate::pending::Pending;
use crate::stable_store::Changes;

const VOTE_KEY: &[u8] = b"openraft.vote";
const COMMITTED_KEY: &[u8] = b"openraft.committed";
const PURGED_KEY: &[u8] = b"openraft.purged";

/// The most that one answer of [`Log::read_some`] holds: payload, bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

pub(super) type Found<T> = Result<T, AdapterError>;

/// The first and the last LogId of a log's state: what was purged, and where it ends.
pub(super) type Ends<L> = (Option<L>, Option<L>);

/// A version of openraft, with an application's types.
pub(super) trait Flavor: 'static {
    /// The adapter's name in the stores that it writes.
    const NAME: &'static str;
    type LogId: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static;
    type Vote: Serialize + DeserializeOwned;
    type Entry: Serialize + DeserializeOwned;

    fn log_id(entry: &Self::Entry) -> Self::LogId;

    /// The index and term that the store knows an entry by. A LogId may say more; all of it is in the payload.
    fn position(log_id: &Self::LogId) -> Found<Position>;
}

/// A store as openraft's log. Clones share it.
pub(super) struct Log<F, S> {
    store: S,
    line: Arc<Line>,
    flavor: PhantomData<fn() -> F>,
}

impl<F, S: Clone> Clone for Log<F, S> {
    fn clone(&self) -> Self {
        Log { store: self.store.clone(), line: Arc::clone(&self.line), flavor: PhantomData }
    }
}

impl<F, S: Debug> Debug for Log<F, S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Log").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<F: Flavor, S: Backend> Log<F, S> {
    /// The log in a store that no other adapter, and no other node, has a claim on.
    pub(super) fn open(store: S, node: Option<&str>) -> Result<Self, OwnerError> {
        match owner::claim(&store, F::NAME, node) {
            // Nobody else's, and opened to be looked at: there is no name to write.
            Ok(()) | Err(OwnerError::Store(Error::ReadOnly { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(Log { store, line: Arc::default(), flavor: PhantomData })
    }

    pub(super) fn store(&self) -> &S {
        &self.store
    }

    // Reads, on the caller's thread.

    /// The indexes that can be read now.
    fn live(&self) -> Range<u64> {
        let state = self.store.state();
        state.first_index().zip(state.next_index()).map_or(0..0, |(first, next)| first..next)
    }

    /// Entries from the start of a range inside the log, all as they were at one moment; none when an end of the log
    /// has moved past it meanwhile.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> Found<Vec<F::Entry>> {
        match self.store.entries(range, bytes_max) {
            Ok(entries) => entries.into_iter().map(|entry| decode_entry::<F>(&entry)).collect(),
            Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the log holds of a range, without a hole, as it was at one moment.
    pub(super) fn read_all(&self, wanted: &impl RangeBounds<u64>) -> Found<Vec<F::Entry>> {
        let wanted = half_open(wanted);
        loop {
            let live = self.live();
            let range = wanted.start.max(live.start)..wanted.end.min(live.end);
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let found = self.read(range.clone(), u64::MAX)?;
            let next = range.start + found.len() as u64;
            if next >= range.end {
                return Ok(found);
            }
            // The log was changed under this read, which starts anew; or the next entry is lost, which is an error.
            self.read(next..next + 1, 0)?;
        }
    }

    /// The first entries of a range, as many as one answer may hold; none when the log does not hold the first one.
    pub(super) fn read_some(&self, wanted: Range<u64>) -> Found<Vec<F::Entry>> {
        loop {
            let live = self.live();
            let range = wanted.start..wanted.end.min(live.end);
            if range.start < live.start || range.is_empty() {
                return Ok(Vec::new());
            }
            let found = self.read(range, READ_BYTES_MAX)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    pub(super) fn vote(&self) -> Found<Option<F::Vote>> {
        value(&self.store, VOTE_KEY)
    }

    pub(super) fn committed(&self) -> Found<Option<F::LogId>> {
        value(&self.store, COMMITTED_KEY).map(Option::flatten)
    }

    /// Notes how far openraft has committed; it reaches the disk with the next commit.
    pub(super) fn save_committed(&self, committed: &Option<F::LogId>) -> Found<()> {
        let bytes = encode(committed, || format!("committed mark {committed:?}"))?;
        Ok(self.store.set_lazy(COMMITTED_KEY, &bytes)?)
    }

    // Writes, and what must not overtake one, in line.

    /// Makes a call on a thread of the store's, after those before it.
    fn call<T, G>(&self, call: G) -> impl Future<Output = Found<T>> + Send + use<F, S, T, G>
    where
        T: Send + 'static,
        G: FnOnce(&S) -> Found<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.line.submit(&self.store, move |store, place| {
            let answer = call(&store);
            // Whoever gets the answer may then drop the last handle, and closes the journal on a thread of its own.
            drop(store);
            // A runtime that shut down meanwhile has nobody left to tell.
            place.answer(move || drop(sender.send(answer)));
        });
        async move { receiver.await.unwrap_or(Err(AdapterError::Interrupted)) }
    }

    /// Appends entries, or replaces the tail by them. They can be read when this returns; `flushed` is told when they
    /// are durable, or can never be, after those before it.
    pub(super) fn append<I, G>(
        &self,
        entries: I,
        flushed: G,
    ) -> impl Future<Output = Found<()>> + Send + use<F, S, I, G>
    where
        I: IntoIterator<Item = F::Entry>,
        G: FnOnce(Found<()>) + Send + 'static,
    {
        let encoded: Found<Vec<Entry>> = entries.into_iter().map(|entry| encode_entry::<F>(&entry)).collect();
        let written = encoded.map(|entries| {
            let (sender, receiver) = oneshot::channel();
            self.line.submit(&self.store, move |store, place| {
                let pending = write(&store, entries);
                drop(store);
                match pending {
                    Ok(pending) => {
                        let _ = sender.send(Ok(()));
                        let answer = |result: Result<Position, Error>| flushed(result.map(drop).map_err(Into::into));
                        pending.on_durable(Box::new(move |result| place.answer(move || answer(result))));
                    }
                    Err(error) => place.answer(move || drop(sender.send(Err(error.into())))),
                }
            });
            receiver
        });
        async move { written?.await.unwrap_or(Err(AdapterError::Interrupted)) }
    }

    /// Stores a vote; durable, with all that was appended before it, on return.
    pub(super) async fn save_vote(&self, vote: &F::Vote, what: impl FnOnce() -> String) -> Found<()> {
        let bytes = encode(vote, what)?;
        self.call(move |store| Ok(store.set(VOTE_KEY, &bytes)?)).await
    }

    /// What was purged, and where the log ends.
    pub(super) async fn ends(&self) -> Found<Ends<F::LogId>> {
        self.call(|store| {
            let purged = purged::<F, S>(store)?;
            let last = match store.state().last_index() {
                Some(index) => Some(F::log_id(&decode_entry::<F>(&store.entry(index)?)?)),
                None => purged.clone(),
            };
            Ok((purged, last))
        })
        .await
    }

    /// Removes the entries from `first_removed` on (`None`: all there are); durable on return. Beyond the end it does
    /// nothing.
    pub(super) async fn truncate(&self, first_removed: Option<u64>) -> Found<()> {
        self.call(move |store| {
            let state = store.state();
            let first_removed = first_removed.unwrap_or(state.purged.map_or(0, |purged| purged.index + 1));
            match state.next_index() {
                Some(next) if first_removed < next => Ok(store.truncate_tail(first_removed)?),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Forgets the log up to `log_id`, which is stored in the same commit; durable on return. Below what was purged it
    /// does nothing.
    pub(super) async fn purge(&self, log_id: F::LogId) -> Found<()> {
        self.call(move |store| {
            let position = F::position(&log_id)?;
            if let Some(purged) = purged::<F, S>(store)? {
                let before = F::position(&purged)?;
                if position.index < before.index || log_id == purged {
                    return Ok(());
                }
                if position.index == before.index {
                    let (purged, requested) = (format!("{purged:?}"), format!("{log_id:?}"));
                    return Err(AdapterError::OtherHistory { purged, requested });
                }
            }
            let value = encode(&log_id, || format!("purged LogId {log_id:?}"))?;
            Ok(store.commit(&Changes::new().set(PURGED_KEY, value).truncate_head(position))?)
        })
        .await
    }
}

/// Writes entries that may start at or below the log's last one, which they then replace. Those at or below the purged
/// position are left out: a snapshot has them.
fn write<S: Backend>(store: &S, mut entries: Vec<Entry>) -> Result<Pending, Error> {
    let state = store.state();
    entries.retain(|entry| state.purged.is_none_or(|purged| entry.index > purged.index));
    match entries.first().zip(state.last_index()) {
        Some((first, last)) if first.index <= last => store.replace_tail_pending(&entries),
        _ => store.append_pending(&entries),
    }
}

fn value<T: DeserializeOwned>(store: &impl Backend, key: &[u8]) -> Found<Option<T>> {
    let Some(bytes) = store.get(key)? else { return Ok(None) };
    decode(&bytes, || format!("the value of `{}`", String::from_utf8_lossy(key))).map(Some)
}

/// The purged LogId, which every purge stores beside the position that the store knows.
fn purged<F: Flavor, S: Backend>(store: &S) -> Found<Option<F::LogId>> {
    let log_id: Option<F::LogId> = value(store, PURGED_KEY)?;
    let stored = log_id.as_ref().map(F::position).transpose()?;
    match store.state().purged {
        purged if purged == stored => Ok(log_id),
        purged => Err(AdapterError::OtherPurge { purged, stored }),
    }
}

fn encode_entry<F: Flavor>(entry: &F::Entry) -> Found<Entry> {
    let at = F::position(&F::log_id(entry))?;
    let data = encode(entry, || format!("the entry at {at}"))?;
    Ok(Entry::new(at.index, at.term, data))
}

fn decode_entry<F: Flavor>(entry: &Entry) -> Found<F::Entry> {
    let found = entry.position();
    let decoded: F::Entry = decode(&entry.data, || format!("the entry at {found}"))?;
    match F::position(&F::log_id(&decoded))? {
        inside if inside == found => Ok(decoded),
        inside => Err(AdapterError::OtherEntry { found, inside }),
    }
}

/// The same range with its start in it and its end not.
pub(super) fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
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
