//! raft-rs 0.7: [`LogStore`] is a [`raft::Storage`], and keeps what a [`Ready`] brings.
//!
//! ```
//! use raft::eraftpb::ConfState;
//! use raft::{Config, RawNode};
//! use raft_journal::Journal;
//! use raft_journal::adapters::raft_rs::LogStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let dir = temporary.path().join("node-1");
//! # let logger = slog::Logger::root(slog::Discard, slog::o!());
//! let store = LogStore::open(Journal::open(&dir)?, 1)?;
//! if !store.is_initialized() {
//!     store.initialize(ConfState::from((vec![1], vec![])))?; // the founders, on every node
//! }
//! let mut node = RawNode::new(&Config::new(1), store.clone(), &logger)?;
//! node.campaign()?;
//! while node.has_ready() {
//!     let ready = node.ready();
//!     store.persist(&ready)?.wait()?; // durable: now its messages may go out
//!     node.advance(ready);
//! }
//! assert_eq!(node.raft.raft_log.committed, 1); // the entry by which a leader begins its term
//! # Ok(())
//! # }
//! ```
//!
//! | raft-rs has | call | durable |
//! |---|---|---|
//! | a `Ready` | [`persist`](LogStore::persist): its snapshot, its entries, its HardState, in this order | when the [`Pending`] says so |
//! | … with entries only | one write | with one sync, which all that wait share |
//! | … with a new term or vote | one commit behind the entries | on return |
//! | … without `must_sync` | the commit index, in memory | with the next commit |
//! | a `LightReady` with a commit index | [`set_commit`](LogStore::set_commit), in memory | with the next commit |
//! | a configuration change that was applied | [`set_conf_state`](LogStore::set_conf_state), one commit | on return |
//! | a snapshot taken that covers entries | [`compact`](LogStore::compact), one commit | on return |
//!
//! # What raft-rs is told
//!
//! raft-rs panics on most errors of its storage, so it gets as few as can be. Bounds and terms are in memory and always
//! known. An entry that cannot be read is one of these:
//!
//! | what happened | raft-rs is sending it to a follower | raft-rs needs it itself |
//! |---|---|---|
//! | it was compacted meanwhile | `Compacted`: it sends a snapshot | `Compacted`: it panics |
//! | it is lost, or is none | `Compacted`: it sends a snapshot, once there is one that covers the entry or the entry is [put back](Journal::repair) | `Other`: it panics |
//! | reading failed otherwise | `LogTemporarilyUnavailable`: it tries again later | `Other`: it panics |
//!
//! Itself it needs what it has not applied yet. [`LogStore::resume`] reads that before a node starts, and
//! [`LogStore::take_read_error`] tells what was kept from raft-rs.
//!
//! # When a call waits
//!
//! What the first table says to be durable on return waits for a commit. A `Ready` with entries only is written and not
//! synced, and waits for the disk all the same where
//!
//! - it fills a segment: that one is synced before the next is written to, and the next one may have to be made first;
//! - another thread is in a call of the adapter's that commits (`compact`, `set_conf_state`), or in one that holds up the
//!   journal's appends, as `Journal::rewrite` does;
//! - the system holds up the write itself, because too much of what was written is not on the disk yet.
//!
//! Entries that the journal no longer has in memory are read from its files, on the thread that asks.
//!
//! # What is stored
//!
//! Entries as the protobuf messages that they are, the same bytes with either codec. The keys are `raft.hard_state` and
//! `raft.conf_state`, beside those that say whose journal it is. Append and compact through this adapter only.

mod codec;
mod error;
mod shared;
mod storage;
mod terms;

use std::ops::Range;
use std::sync::Arc;

use raft::Ready;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};

use self::codec::{encode, encode_entry, key_name};
pub use self::error::{Error, Result};
use self::shared::{Shared, State, Unread, check_commit, value};
use self::terms::Terms;
use super::owner;
use crate::entry::Position;
use crate::error::Error as StoreError;
use crate::journal::Journal;
use crate::log_store::LogStore as Log;
use crate::pending::Pending;
use crate::stable_store::{Changes, StableStore};
use crate::sync::{Mutex, RwLock};

/// The name that a store knows this adapter by.
const ADAPTER: &str = "raft-rs";
const HARD_STATE_KEY: &[u8] = b"raft.hard_state";
const CONF_STATE_KEY: &[u8] = b"raft.conf_state";
/// What entry 1 is applied to. Not there in a journal of before it was kept.
const FOUNDERS_KEY: &[u8] = b"raft.founders";

/// How much is read at a time where nobody says: payload, bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A store that raft-rs can sit on: a [`Journal`], or a [`MemoryStore`](crate::MemoryStore) in the tests of a node.
pub trait Backend: Log + StableStore {}

impl<S: Log + StableStore> Backend for S {}

type Snapshots = Arc<dyn Fn(u64, u64) -> Option<Snapshot> + Send + Sync>;

/// A journal as raft-rs's storage. Clones share the journal: one goes into the `RawNode`, one stays with its driver.
pub struct LogStore<S = Journal> {
    shared: Arc<Shared<S>>,
    snapshots: Snapshots,
}

impl<S> Clone for LogStore<S> {
    fn clone(&self) -> Self {
        LogStore { shared: Arc::clone(&self.shared), snapshots: Arc::clone(&self.snapshots) }
    }
}

impl<S> std::fmt::Debug for LogStore<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").finish_non_exhaustive()
    }
}

impl<S: Backend> LogStore<S> {
    /// Takes a store for the node with this id; an empty one is the node's from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Owner`] for another node's store or another adapter's; [`Error::CommitOutside`], [`Error::BeginningLost`],
    /// [`Error::TermsLost`] and [`Error::Decode`] for one that raft-rs could not start from. Nothing is written then.
    pub fn open(store: S, node: u64) -> Result<Self> {
        owner::claim(&store, ADAPTER, Some(&node.to_string()))?;
        let terms = Terms::read(&store)?;
        let state =
            State { hard_state: value(&store, HARD_STATE_KEY)?, conf_state: value(&store, CONF_STATE_KEY)?, terms };
        check_commit(&state.hard_state, state.terms.first_index(), state.terms.last_index())?;
        let (writing, unread) = (Mutex::new(()), Mutex::new(Unread::default()));
        let shared = Shared { store, writing, state: RwLock::new(state), unread };
        Ok(LogStore { shared: Arc::new(shared), snapshots: Arc::new(|_, _| None) })
    }

    /// Says where snapshots for followers come from: `source(request_index, to)` gives the newest one, whole, or nothing
    /// when there is none yet that reaches up to `request_index`; raft-rs then asks again later. It is called on
    /// raft-rs's thread. Without a source a follower that needs a snapshot waits for ever.
    pub fn with_snapshots(self, source: impl Fn(u64, u64) -> Option<Snapshot> + Send + Sync + 'static) -> Self {
        LogStore { snapshots: Arc::new(source), ..self }
    }

    /// The store below. Its log is this adapter's; keys of your own in it are yours.
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// Whether the node has a configuration, from [`initialize`](Self::initialize) or from a snapshot.
    pub fn is_initialized(&self) -> bool {
        self.shared.state.read().conf_state != ConfState::default()
    }

    /// The first configuration of a group: its founders, the same on each of its nodes, before it first starts. Also on
    /// one that joins later: the leader sends it either the log from entry 1 on, whose changes build upon the founders, or
    /// a snapshot, which brings its own configuration. A joining node that lacks the founders and is sent the log comes to
    /// take itself for the whole group. Durable on return.
    ///
    /// # Errors
    ///
    /// [`Error::Initialized`] when there is a state already.
    pub fn initialize(&self, conf_state: ConfState) -> Result<()> {
        let _writing = self.shared.writing.lock();
        {
            let state = self.shared.state.read();
            let is_new = state.terms == Terms::empty(Position::default()) && state.hard_state == HardState::default();
            if !is_new || state.conf_state != ConfState::default() {
                return Err(Error::Initialized);
            }
        }
        let founders = Changes::new().set(FOUNDERS_KEY, encode(&conf_state, || key_name(FOUNDERS_KEY))?);
        self.shared.commit_states(founders, None, Some(conf_state))
    }

    /// The term, vote and commit index as they would be found after a crash, but for the commit index, which may be
    /// newer here.
    pub fn hard_state(&self) -> HardState {
        self.shared.state.read().hard_state.clone()
    }

    /// The configuration that was set last.
    pub fn conf_state(&self) -> ConfState {
        self.shared.state.read().conf_state.clone()
    }

    /// Writes all that a `Ready` brings: its snapshot, its entries, its HardState. Everything can be read when this
    /// returns, and is durable when the [`Pending`] says so, which it does in the order of the calls.
    ///
    /// It does not sync what it writes, but where a snapshot, a new term or a vote comes with the `Ready`: those are
    /// commits, and durable on return with all entries before them. Where else it may wait, the
    /// [module](self#when-a-call-waits) says. Two ways to go on:
    ///
    /// - `store.persist(&ready)?.wait()?`, then send the persisted messages and `advance(ready)`;
    /// - keep the persisted messages, let [`Pending::on_durable`] tell the node's thread, and call
    ///   `advance_append_async(ready)` at once; when told, send the messages and call `on_persist_ready(number)`.
    ///
    /// The data of a snapshot must be durable in the application's own place before this call.
    ///
    /// # Errors
    ///
    /// After [`NoSpace`](crate::Error::NoSpace) make room, by compaction or otherwise, and call this again with the same
    /// `Ready`. After any other error the node must stop, because raft-rs goes on from what it handed out. Nothing is
    /// written for [`Error::CommitOutside`] and [`Error::SnapshotOutOfDate`], and none of the entries where
    /// [`LogStore::append`](crate::LogStore::append) refuses them.
    pub fn persist(&self, ready: &Ready) -> Result<Pending> {
        let _writing = self.shared.writing.lock();
        let (snapshot, hard_state) = (ready.snapshot(), ready.hs());
        let entries = ready.entries().iter().map(encode_entry).collect::<Result<Vec<_>>>()?;
        let metadata = Some(snapshot.get_metadata()).filter(|metadata| metadata.index > 0);
        if let Some(hard_state) = hard_state {
            let end = self.shared.bounds();
            let first = metadata.map_or(end.start, |metadata| metadata.index.saturating_add(1));
            let last = entries.last().map_or(metadata.map_or(end.end, |metadata| metadata.index), |entry| entry.index);
            check_commit(hard_state, first, last)?;
        }
        if let Some(metadata) = metadata {
            self.shared.install(metadata, hard_state)?;
        }
        let pending = self.shared.write(&entries)?;
        if let Some(hard_state) = hard_state {
            self.shared.save(hard_state)?;
        }
        // Also where nothing was written: raft-rs takes what is told of this `Ready` as told of all before it.
        pending.map_or_else(|| Ok(self.shared.store.sync_pending()?), Ok)
    }

    /// Appends entries, which replace what the log holds from the first one on. Readable on return, durable when the
    /// [`Pending`] says so. For those who take a `Ready` apart themselves.
    ///
    /// # Errors
    ///
    /// A gap, entries at or below the purged position, terms that fall, and what else
    /// [`LogStore::append`](crate::LogStore::append) refuses; nothing is written then.
    pub fn append(&self, entries: &[Entry]) -> Result<Pending> {
        let _writing = self.shared.writing.lock();
        let entries = entries.iter().map(encode_entry).collect::<Result<Vec<_>>>()?;
        self.shared.write(&entries)?.map_or_else(|| Ok(self.shared.store.sync_pending()?), Ok)
    }

    /// Sets the HardState. Durable on return where term or vote are new; a new commit index alone stays in memory until
    /// the next commit, because Raft can do without it.
    ///
    /// # Errors
    ///
    /// [`Error::CommitOutside`]; nothing is written then.
    pub fn set_hard_state(&self, hard_state: &HardState) -> Result<()> {
        let _writing = self.shared.writing.lock();
        self.shared.set_hard_state(hard_state)
    }

    /// Sets the commit index, as a `LightReady` gives it: in memory until the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::CommitOutside`]; nothing is written then.
    pub fn set_commit(&self, commit: u64) -> Result<()> {
        let _writing = self.shared.writing.lock();
        let mut hard_state = self.hard_state();
        hard_state.commit = commit;
        self.shared.set_hard_state(&hard_state)
    }

    /// Sets the configuration that came of applying a change. Durable on return, in one commit with the newest
    /// HardState.
    ///
    /// # Errors
    ///
    /// Those of [`StableStore::commit`]: a configuration of some hundred nodes is too large for a value.
    pub fn set_conf_state(&self, conf_state: ConfState) -> Result<()> {
        let _writing = self.shared.writing.lock();
        self.shared.commit_states(Changes::new(), None, Some(conf_state))
    }

    /// Replaces the log with a snapshot's position, and the configuration with its own; the commit index follows. One
    /// commit, durable on return. [`persist`](Self::persist) does this for the snapshot of a `Ready`.
    ///
    /// The snapshot's data is the application's: make it durable first.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotOutOfDate`] for one that ends before the log begins, or before what is known to be committed;
    /// nothing is written then.
    pub fn apply_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        let _writing = self.shared.writing.lock();
        self.shared.install(snapshot.get_metadata(), None)
    }

    /// Forgets all entries before `compact_index`. One commit, durable on return; the term of the last one forgotten
    /// stays known. At or before the first index it does nothing.
    ///
    /// Compact only what was applied: what is gone counts as committed from then on. And only what a snapshot covers that
    /// [`with_snapshots`](Self::with_snapshots)' source can give. The disk's space comes back by whole segments.
    ///
    /// # Errors
    ///
    /// [`Error::CompactBeyondEnd`]; nothing is written then.
    pub fn compact(&self, compact_index: u64) -> Result<()> {
        let _writing = self.shared.writing.lock();
        self.shared.compact(compact_index)
    }

    /// What a snapshot at `index` says of itself: that entry's term, and the configuration that was set last, which is
    /// right for the entry that was applied last.
    ///
    /// # Errors
    ///
    /// As for reading an entry; the purged position has a term, too.
    pub fn metadata(&self, index: u64) -> Result<SnapshotMetadata> {
        let state = self.shared.state.read();
        let (first, next) = (state.terms.first_index(), state.terms.last_index() + 1);
        let term = state.terms.term(index).ok_or(if index < first {
            StoreError::BeforeFirst { index, first }
        } else {
            StoreError::AfterLast { index, next }
        })?;
        let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(state.conf_state.clone());
        Ok(metadata)
    }

    /// Holds the log against the state machine that a node is about to start with, and makes one fit the other. `machine`
    /// says what was applied last and which configuration it left, as the application's newest durable snapshot does, or
    /// a state machine that is durable itself; the default value says that nothing was. Then start the node with
    /// `Config::applied` at that index.
    ///
    /// - What was applied is committed, also where the crash took that index back.
    /// - A snapshot that became durable right before the crash, and that the log does not know yet, takes the log's place.
    /// - The configuration is the one that `machine` has: raft-rs gives the changes behind it once more.
    /// - All that is not yet applied is read once, because raft-rs panics where it cannot read what is committed.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotOutOfDate`] where the log begins behind `machine`: the entries between are gone, nothing is
    /// written, and only a newer snapshot helps. What [`verify`](Self::verify) finds.
    pub fn resume(&self, machine: &SnapshotMetadata) -> Result<()> {
        let applied = self.shared.resume(machine)?;
        self.verify(applied + 1..self.shared.bounds().end + 1)
    }

    /// Reads a half-open range of entries and throws them away: whether raft-rs could read them.
    ///
    /// # Errors
    ///
    /// What is wrong with the first entry that cannot be read.
    pub fn verify(&self, range: Range<u64>) -> Result<()> {
        let mut next = range.start;
        while next < range.end {
            next += self.shared.read(next..range.end, READ_BYTES_MAX)?.len() as u64;
        }
        Ok(())
    }

    /// The last failure of a read that was kept from raft-rs, because a follower can be helped without; see the module's
    /// page. Taken: `None` until the next one.
    pub fn take_read_error(&self) -> Option<Error> {
        self.shared.unread.lock().error.take()
    }
}
