//! From a plain log, whose entries have no terms, to a Raft log.

use std::ops::Range;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use bytes::Bytes;

use super::error::{ReplicaError, Result};
use super::{BACKFILL_KEY, InitStatus, ReplicaLog};
use crate::entry::{Entry, Position};
use crate::log_store::LogStore;
use crate::stable_store::{Changes, StableStore};

/// How much is copied by one append, payload, bytes.
const BATCH_BYTES: usize = 1 << 20;
const BEGUN_BYTES: usize = 24;

/// A log without terms, which a replica begins with.
pub trait PlainLog {
    /// The indexes that it holds, half-open.
    fn indexes(&self) -> Range<u64>;

    /// The payload of one of its entries.
    ///
    /// # Errors
    ///
    /// Its own.
    fn read(&self, index: u64) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;
}

/// What a backfill came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backfilled {
    /// How many entries this call has copied; those of an interrupted call before it are not among them.
    pub copied: u64,
    /// The end of the log, which is its committed position too; `None` for a plain log that never held anything.
    pub last: Option<Position>,
}

/// A backfill that has begun: where, and with which term.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Begun {
    first: u64,
    end: u64,
    term: u64,
}

impl Begun {
    fn encode(self) -> [u8; BEGUN_BYTES] {
        let mut bytes = [0; BEGUN_BYTES];
        LittleEndian::write_u64_into(&[self.first, self.end, self.term], &mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut numbers = [0; 3];
        if bytes.len() != BEGUN_BYTES {
            return Err(ReplicaError::Undecodable { key: BACKFILL_KEY, why: "it is not 24 bytes long" });
        }
        LittleEndian::read_u64_into(bytes, &mut numbers);
        let [first, end, term] = numbers;
        Ok(Begun { first, end, term })
    }
}

impl ReplicaLog {
    /// Copies a plain log into this one and makes it a Raft log: each entry is written once, at its own index, with `term`
    /// for all; the last of them is the committed position. `changes`, such as a first membership and a hard state, become
    /// durable in the same step that ends it.
    ///
    /// After a crash in the middle the status is still [`InitStatus::NeedsBackfill`]; the same call goes on behind the last
    /// entry that is there, and copies nothing twice. The plain log itself is only read: remove it when this has returned.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::WrongStatus`] on a Raft log, and in a journal that holds entries which no backfill put there (see
    /// [`adopt`](Self::adopt)); [`ReplicaError::BackfillTerm`], [`ReplicaError::PlainLogEnd`],
    /// [`ReplicaError::PlainLogGap`], [`ReplicaError::PlainLog`], [`ReplicaError::ReservedChanges`], and the journal's own.
    pub fn backfill(&self, plain: &dyn PlainLog, term: u64, changes: Changes) -> Result<Backfilled> {
        Self::check_changes(&changes)?;
        let _writer = self.0.writer.lock();
        let indexes = plain.indexes();
        match self.init_status(indexes.clone()) {
            InitStatus::NeedsBackfill => {}
            status => return Err(ReplicaError::WrongStatus { call: "backfill", status }),
        }
        let begun = self.begin_backfill(&indexes, term)?;
        let copied = self.copy(plain, begun)?;
        self.finish(changes.remove(BACKFILL_KEY))?;
        Ok(Backfilled { copied, last: self.last() })
    }

    /// Makes a Raft log of a journal that is itself a plain log, written without Raft and with one term, such as 0, for all
    /// its entries. Nothing is copied: one commit says that what is there is committed, and takes `changes` along.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::WrongStatus`] where there is nothing to adopt, or a backfill has begun;
    /// [`ReplicaError::ReservedChanges`], and the journal's own.
    pub fn adopt(&self, changes: Changes) -> Result<()> {
        Self::check_changes(&changes)?;
        let _writer = self.0.writer.lock();
        let status = self.init_status(0..0);
        if status != InitStatus::NeedsBackfill || self.begun()?.is_some() {
            return Err(ReplicaError::WrongStatus { call: "adopt", status });
        }
        self.finish(changes)
    }

    fn begun(&self) -> Result<Option<Begun>> {
        self.0.journal.get(BACKFILL_KEY.as_bytes())?.map(|bytes| Begun::decode(&bytes)).transpose()
    }

    /// Says durably what the backfill copies, or finds out what one has begun to.
    fn begin_backfill(&self, indexes: &Range<u64>, term: u64) -> Result<Begun> {
        let journal = &self.0.journal;
        let begun = self.begun()?;
        if let Some(begun) = begun.filter(|begun| begun.term != term) {
            return Err(ReplicaError::BackfillTerm { begun: begun.term, requested: term });
        }
        if let Some(begun) = begun.filter(|begun| begun.end != indexes.end) {
            return Err(ReplicaError::PlainLogEnd { begun: begun.end, found: indexes.end });
        }
        let next = journal.state().next_index();
        let first = next.unwrap_or(begun.map_or(indexes.start, |begun| begun.first));
        if indexes.start > first {
            return Err(ReplicaError::PlainLogGap { next: first, first: indexes.start });
        }
        if let Some(begun) = begun {
            return Ok(begun);
        }
        if journal.state().first.is_some() {
            // Nothing says that these are the plain log's: `adopt` takes them as they are.
            return Err(ReplicaError::WrongStatus { call: "backfill", status: InitStatus::NeedsBackfill });
        }
        let begun = Begun { first: indexes.start, end: indexes.end, term };
        let mut changes = Changes::new().set(BACKFILL_KEY, begun.encode());
        // What the plain log has forgotten counts as purged, so that the term before the first entry is known.
        if let (None, Some(before)) = (next, indexes.start.checked_sub(1)) {
            changes = changes.truncate_head(Position::new(before, term));
        }
        journal.commit(&changes)?;
        self.0.state.lock().backfilling = true;
        Ok(begun)
    }

    /// Copies what the log lacks.
    fn copy(&self, plain: &dyn PlainLog, begun: Begun) -> Result<u64> {
        let journal = &self.0.journal;
        let mut next = journal.state().next_index().unwrap_or(begun.first);
        let first = next;
        while next < begun.end {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while next < begun.end && bytes < BATCH_BYTES {
                let failed = |source| ReplicaError::PlainLog { index: next, source: Arc::from(source) };
                let data = plain.read(next).map_err(failed)?;
                bytes += data.len();
                batch.push(Entry::new(next, begun.term, data));
                next += 1;
            }
            journal.append(&batch)?;
        }
        Ok(next - first)
    }
}
