//! A replica's log: what a node keeps beside the entries themselves, as Gitaly's `ReplicaLogStore` does in Go.
//!
//! ```
//! use std::time::Duration;
//!
//! use raft_journal::adapters::replica::{InitStatus, PositionName, ReplicaLog, Watched};
//! use raft_journal::{Changes, Entry, Journal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let dir = temporary.path().join("replica-1");
//! let log = ReplicaLog::open(Journal::open(&dir)?)?;
//! assert_eq!(log.init_status(0..0), InitStatus::Unbootstrapped);
//! log.bootstrap(Changes::new().set("membership", "1"))?;
//!
//! let mut watch = log.watch(None);
//! log.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y")])?.wait()?;
//! log.set_committed(1)?; // a quorum has entry 1
//! assert_eq!(watch.wait(Duration::from_secs(1)), Watched::Moved(1));
//! assert_eq!(log.committed_entries(1, 1 << 20)?, [Entry::new(1, 1, "set x")]);
//!
//! log.acknowledge(&PositionName::Applied, 1)?;
//! log.acknowledge(&PositionName::Snapshotted, 1)?;
//! assert_eq!(log.truncate_head_to_low_water_mark()?, Some(1));
//! assert_eq!(log.term(1)?, 1); // its term stays known
//! # Ok(())
//! # }
//! ```
//!
//! | kept | durable | for |
//! |---|---|---|
//! | the committed position | with the next commit | what is committed is never overwritten, and may be applied |
//! | positions: applied, snapshotted, one for each registered consumer | with the next commit; registering and removing a consumer: on return | the lowest of them is the low-water mark, which head truncation does not pass |
//! | that the log is a Raft log | on return | [`InitStatus`] |
//! | how far a backfill has come | with each batch of it | it goes on after a crash and writes no entry twice |
//!
//! What is lazy may fall back by a crash, but is never beyond the log: a commit of the journal first makes the entries
//! durable that were there when the position was set. Tell the replica anew what is committed, and consumers to be ready for
//! entries that they have seen.
//!
//! Append and truncate through this type only. The keys begin with `replica.`; all others of the journal's stable store are
//! the application's.

mod backfill;
mod error;
mod positions;
mod watch;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use backfill::{Backfilled, PlainLog};
pub use error::{ReplicaError, Result};
pub use positions::PositionName;
pub use watch::{Watch, Watched};

use self::positions::Positions;
use crate::entry::{Entry, Position};
use crate::journal::Journal;
use crate::journal::monitor::{IoLock, Monitor};
use crate::log_store::LogStore;
use crate::pending::Pending;
use crate::stable_store::{Changes, StableStore};

const BOOTSTRAPPED_KEY: &str = "replica.bootstrapped";
const BACKFILL_KEY: &str = "replica.backfill";
const COMMITTED_KEY: &str = "replica.committed";
const POSITIONS_KEY: &str = "replica.positions";

/// What a log is, when a node starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InitStatus {
    /// Nothing is there: a new group, or a new member. Call [`ReplicaLog::bootstrap`].
    Unbootstrapped,
    /// A plain log is there, or a backfill was interrupted. Call [`ReplicaLog::backfill`], or, where the plain log is this
    /// very journal, [`ReplicaLog::adopt`].
    NeedsBackfill,
    /// A Raft log: go on.
    Bootstrapped,
}

impl fmt::Display for InitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InitStatus::Unbootstrapped => "not bootstrapped",
            InitStatus::NeedsBackfill => "in need of a backfill",
            InitStatus::Bootstrapped => "bootstrapped",
        })
    }
}

/// A replica's log over a [`Journal`], on whatever file system that one lives. Clones are the same log; dropping the last
/// one closes the journal when no other clone of that is left.
#[derive(Clone, Debug)]
pub struct ReplicaLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    /// Held by whoever changes the log or the positions, so that a check still holds when it is acted upon.
    writer: IoLock<()>,
    state: Arc<Monitor<State>>,
}

/// What reads see at once.
#[derive(Debug)]
struct State {
    bootstrapped: bool,
    backfilling: bool,
    committed: Option<u64>,
    positions: Positions,
    closed: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

impl Inner {
    /// Tells those who wait that nothing will come.
    fn end(&self) {
        self.state.lock().closed = true;
        self.state.notify_all();
    }
}

impl ReplicaLog {
    /// A replica's log over an open journal.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::CommittedBeyondLog`] when the stored committed position is behind the log's end,
    /// [`ReplicaError::Undecodable`], and the journal's own.
    pub fn open(journal: Journal) -> Result<ReplicaLog> {
        let tasks = journal.tasks();
        let state = Arc::new(Monitor::new(Arc::clone(&tasks), State::read(&journal)?));
        Ok(ReplicaLog(Arc::new(Inner { journal, writer: IoLock::new(tasks, "the replica's log", ()), state })))
    }

    /// The journal below. Reads of it are fine, and so are other keys of its stable store.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// What the log is. `plain` names the entries of a plain log that this replica is to begin with; an empty range, such as
    /// `0..0`, where there is none.
    pub fn init_status(&self, plain: Range<u64>) -> InitStatus {
        let holds_entries = self.0.journal.state().next_index().is_some();
        let state = self.0.state.lock();
        match state.bootstrapped {
            true => InitStatus::Bootstrapped,
            false if state.backfilling || holds_entries || !plain.is_empty() => InitStatus::NeedsBackfill,
            false => InitStatus::Unbootstrapped,
        }
    }

    /// Makes an empty log a Raft log, and takes `changes`, such as a first membership, along in the same commit. Durable
    /// when it returns.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::WrongStatus`] unless the log is [`InitStatus::Unbootstrapped`], [`ReplicaError::ReservedChanges`],
    /// and the journal's own.
    pub fn bootstrap(&self, changes: Changes) -> Result<()> {
        Self::check_changes(&changes)?;
        let _writer = self.0.writer.lock();
        match self.init_status(0..0) {
            InitStatus::Unbootstrapped => self.finish(changes),
            status => Err(ReplicaError::WrongStatus { call: "bootstrap", status }),
        }
    }

    /// Appends entries; those at or below the log's last one replace the tail in the same step. Written and readable when
    /// it returns, durable when the [`Pending`] says so.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Committed`] at or below the committed position, [`ReplicaError::NotBootstrapped`], and the
    /// journal's own.
    pub fn append(&self, entries: &[Entry]) -> Result<Pending> {
        let _writer = self.0.writer.lock();
        self.check_bootstrapped()?;
        let journal = &self.0.journal;
        let Some(first) = entries.first() else { return Ok(journal.append_pending(entries)?) };
        if let Some(committed) = self.committed().filter(|committed| first.index <= *committed) {
            return Err(ReplicaError::Committed { index: first.index, committed });
        }
        Ok(match journal.state().last_index() {
            Some(last) if first.index <= last => journal.replace_tail_pending(entries)?,
            _ => journal.append_pending(entries)?,
        })
    }

    /// The end of the log: its last entry, or, when all of it is purged, the purged position.
    pub fn last(&self) -> Option<Position> {
        self.0.journal.state().last
    }

    /// The term of an entry, also of the one before the first: where all of the log is purged, of the last entry that there
    /// was.
    ///
    /// # Errors
    ///
    /// The journal's own.
    pub fn term(&self, index: u64) -> Result<u64> {
        Ok(self.0.journal.term(index)?)
    }

    /// The committed position: what a quorum is known to have. It may fall back by a crash.
    pub fn committed(&self) -> Option<u64> {
        self.0.state.lock().committed
    }

    /// Moves the committed position up, and tells those who watch it. Lazy: durable with the next commit of the journal.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::CommittedFell`], [`ReplicaError::CommittedBeyondLog`], [`ReplicaError::NotBootstrapped`], and the
    /// journal's own.
    pub fn set_committed(&self, index: u64) -> Result<()> {
        let _writer = self.0.writer.lock();
        self.check_bootstrapped()?;
        if let Some(committed) = self.committed().filter(|committed| index < *committed) {
            return Err(ReplicaError::CommittedFell { committed, requested: index });
        }
        let next = self.0.journal.state().next_index().unwrap_or(0);
        if index >= next {
            return Err(ReplicaError::CommittedBeyondLog { requested: index, next });
        }
        self.0.journal.set_lazy(COMMITTED_KEY.as_bytes(), &index.to_le_bytes())?;
        self.0.state.lock().committed = Some(index);
        self.0.state.notify_all();
        Ok(())
    }

    /// Committed entries from `first` on, as many as fit `bytes_max` bytes of payload, and at least one if there is one.
    ///
    /// # Errors
    ///
    /// The journal's own: [`BeforeFirst`](crate::Error::BeforeFirst) when they are purged, and a snapshot has them.
    pub fn committed_entries(&self, first: u64, bytes_max: u64) -> Result<Vec<Entry>> {
        match self.committed() {
            Some(committed) if first <= committed => Ok(self.0.journal.entries(first..committed + 1, bytes_max)?),
            _ => Ok(Vec::new()),
        }
    }

    /// Watches the committed position for moves beyond `seen`, such as a consumer's own position.
    pub fn watch(&self, seen: Option<u64>) -> Watch {
        Watch::new(Arc::clone(&self.0.state), seen)
    }

    /// Registers a consumer, which from now on holds the head back until it acknowledges. It begins at the purged position.
    /// One that is registered already stays where it is. Durable when it returns. Returns the consumer's position.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::ConsumerName`], and the journal's own: a journal has room for some dozen consumers.
    pub fn register(&self, consumer: &str) -> Result<Option<u64>> {
        let name = PositionName::consumer(consumer).check()?;
        let _writer = self.0.writer.lock();
        let mut positions = self.0.state.lock().positions.clone();
        if let Ok(position) = positions.position(&name) {
            return Ok(position);
        }
        let start = self.0.journal.state().purged.map(|purged| purged.index);
        positions.set(name, start);
        self.0.journal.commit(&Changes::new().set(POSITIONS_KEY, positions.encode()))?;
        self.0.state.lock().positions = positions;
        Ok(start)
    }

    /// Removes a consumer, which no longer holds the head back. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::UnknownConsumer`], and the journal's own.
    pub fn unregister(&self, consumer: &str) -> Result<()> {
        let name = PositionName::consumer(consumer);
        let _writer = self.0.writer.lock();
        let mut positions = self.0.state.lock().positions.clone();
        positions.position(&name)?;
        positions.remove(&name);
        self.0.journal.commit(&Changes::new().set(POSITIONS_KEY, positions.encode()))?;
        self.0.state.lock().positions = positions;
        Ok(())
    }

    /// Says how far one has come: all entries up to `index` are done with. Lazy: durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::PositionFell`], [`ReplicaError::PositionBeyondCommitted`], [`ReplicaError::UnknownConsumer`],
    /// [`ReplicaError::NotBootstrapped`], and the journal's own.
    pub fn acknowledge(&self, name: &PositionName, index: u64) -> Result<()> {
        let _writer = self.0.writer.lock();
        self.check_bootstrapped()?;
        let (mut positions, committed) = {
            let state = self.0.state.lock();
            (state.positions.clone(), state.committed)
        };
        if let Some(position) = positions.position(name)?.filter(|position| index < *position) {
            return Err(ReplicaError::PositionFell { name: name.clone(), position, requested: index });
        }
        if committed.is_none_or(|committed| committed < index) {
            return Err(ReplicaError::PositionBeyondCommitted { name: name.clone(), committed, requested: index });
        }
        positions.set(name.clone(), Some(index));
        self.0.journal.set_lazy(POSITIONS_KEY.as_bytes(), &positions.encode())?;
        self.0.state.lock().positions = positions;
        Ok(())
    }

    /// How far one has come; `None` when it has acknowledged nothing yet.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::UnknownConsumer`].
    pub fn position(&self, name: &PositionName) -> Result<Option<u64>> {
        self.0.state.lock().positions.position(name)
    }

    /// All positions, in the order of their names.
    pub fn positions(&self) -> Vec<(PositionName, Option<u64>)> {
        self.0.state.lock().positions.all().iter().map(|(name, position)| (name.clone(), *position)).collect()
    }

    /// The lowest of all positions: up to here, and no further, the head may be truncated. `None` when somebody has
    /// acknowledged nothing yet.
    pub fn low_water_mark(&self) -> Option<u64> {
        self.0.state.lock().positions.lowest().and_then(|(_, position)| position)
    }

    /// Removes everything up to and including `index`, whose term stays known. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Held`] above the low-water mark, [`ReplicaError::NotBootstrapped`], and the journal's own.
    pub fn truncate_head(&self, index: u64) -> Result<()> {
        let _writer = self.0.writer.lock();
        self.truncate(index)
    }

    /// As `truncate_head`, under the writer's lock.
    fn truncate(&self, index: u64) -> Result<()> {
        self.check_bootstrapped()?;
        if let Some((name, position)) = self.0.state.lock().positions.lowest()
            && position.is_none_or(|position| position < index)
        {
            return Err(ReplicaError::Held { index, name: name.clone(), position });
        }
        if self.0.journal.state().purged.is_some_and(|purged| index <= purged.index) {
            return Ok(());
        }
        let term = self.0.journal.term(index)?;
        Ok(self.0.journal.truncate_head(Position::new(index, term))?)
    }

    /// Removes everything that nobody needs any more; up to where, if there is a low-water mark.
    ///
    /// # Errors
    ///
    /// As for [`truncate_head`](Self::truncate_head).
    pub fn truncate_head_to_low_water_mark(&self) -> Result<Option<u64>> {
        let _writer = self.0.writer.lock();
        let mark = self.low_water_mark();
        mark.map_or(Ok(()), |mark| self.truncate(mark))?;
        Ok(mark)
    }

    /// Takes a leader's snapshot in: the log begins behind `position`, which is committed, applied and snapshotted, and
    /// `changes`, such as the snapshot's membership, become durable in the same commit. What the log holds behind it stays
    /// if it agrees with the snapshot. Returns the consumers that miss entries now and must read the snapshot instead.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::SnapshotOutOfDate`] at or below the committed position, [`ReplicaError::NotBootstrapped`],
    /// [`ReplicaError::ReservedChanges`], and the journal's own.
    pub fn install_snapshot(&self, position: Position, changes: Changes) -> Result<Vec<String>> {
        Self::check_changes(&changes)?;
        let _writer = self.0.writer.lock();
        self.check_bootstrapped()?;
        if let Some(committed) = self.committed().filter(|committed| position.index <= *committed) {
            return Err(ReplicaError::SnapshotOutOfDate { requested: position, committed });
        }
        let mut positions = self.0.state.lock().positions.clone();
        let behind = positions.all().iter().filter_map(|(name, at)| match name {
            PositionName::Consumer(name) if *at < Some(position.index) => Some(name.clone()),
            _ => None,
        });
        let behind = behind.collect();
        positions.map(|at| at.max(Some(position.index)));
        let changes = changes
            .set_u64(COMMITTED_KEY, position.index)
            .set(POSITIONS_KEY, positions.encode())
            .truncate_head(position);
        self.0.journal.commit(&changes)?;
        {
            let mut state = self.0.state.lock();
            (state.committed, state.positions) = (Some(position.index), positions);
        }
        self.0.state.notify_all();
        Ok(behind)
    }

    /// Ends all watches and closes the journal, which makes the lazy positions durable.
    ///
    /// # Errors
    ///
    /// The journal's own; the log is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.0.end();
        Ok(self.0.journal.close()?)
    }

    /// The commit that makes a Raft log of what is there, all of which is committed.
    fn finish(&self, changes: Changes) -> Result<()> {
        let journal = &self.0.journal;
        let last = journal.state().last.map(|last| last.index);
        let mut changes = changes.set(BOOTSTRAPPED_KEY, [1]);
        if let Some(last) = last {
            changes = changes.set_u64(COMMITTED_KEY, last);
        }
        journal.commit(&changes)?;
        {
            let mut state = self.0.state.lock();
            (state.bootstrapped, state.backfilling, state.committed) = (true, false, last);
            let purged = journal.state().purged.map(|purged| purged.index);
            state.positions.map(|at| at.max(purged));
        }
        self.0.state.notify_all();
        Ok(())
    }

    fn check_bootstrapped(&self) -> Result<()> {
        match self.init_status(0..0) {
            InitStatus::Bootstrapped => Ok(()),
            status => Err(ReplicaError::NotBootstrapped { status }),
        }
    }

    fn check_changes(changes: &Changes) -> Result<()> {
        let reserved = changes.pairs().iter().any(|(key, _)| key.starts_with(b"replica."));
        if reserved || changes.head().is_some() { Err(ReplicaError::ReservedChanges) } else { Ok(()) }
    }
}

impl State {
    /// What a journal says, made to agree with itself: what is lazy may have been lost in part.
    fn read(journal: &Journal) -> Result<State> {
        let log = journal.state();
        let purged = log.purged.map(|purged| purged.index);
        let committed = journal.get_u64(COMMITTED_KEY.as_bytes())?.max(purged);
        if let Some(requested) = committed
            && let next = log.next_index().unwrap_or(0)
            && requested >= next
        {
            return Err(ReplicaError::CommittedBeyondLog { requested, next });
        }
        let undecodable = |why| ReplicaError::Undecodable { key: POSITIONS_KEY, why };
        let mut positions = match journal.get(POSITIONS_KEY.as_bytes())? {
            Some(bytes) => Positions::decode(&bytes).map_err(undecodable)?,
            None => Positions::new(None),
        };
        positions.map(|at| at.min(committed).max(purged));
        Ok(State {
            bootstrapped: journal.get(BOOTSTRAPPED_KEY.as_bytes())?.is_some(),
            backfilling: journal.get(BACKFILL_KEY.as_bytes())?.is_some(),
            committed,
            positions,
            closed: false,
        })
    }
}
