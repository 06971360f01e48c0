//! What the threads asked of the journal, and what they were promised.

use std::collections::{BTreeMap, BTreeSet};

use raft_journal::{Entry, Position};

/// One change of the log.
#[derive(Clone, Debug)]
pub struct Write {
    /// Entries from here on are gone.
    pub first: u64,
    pub entries: Vec<Entry>,
}

impl Write {
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

/// What one voter asked for and was promised; its two keys hold the same number.
#[derive(Clone, Copy, Default, Debug)]
pub struct Vote {
    pub asked: u64,
    pub promised: u64,
}

/// How far the log goes: up to the write with this number, where writers take turns (a write's number is the term of
/// its entries); up to this index, where they race. Both begin at 1.
pub type Mark = u64;

/// All that happened, as far as the threads know.
#[derive(Clone, Debug)]
pub struct History {
    pub is_encrypted: bool,
    /// Whether something may fail: power, or an operation.
    pub may_fail: bool,
    /// Whether writers race, and so no order is known but that of the indexes.
    pub races: bool,
    /// Writers in turn: all writes in order. Racing: those that returned `Ok`, by index. The last may not be in the
    /// log, when it failed.
    pub writes: BTreeMap<Mark, Write>,
    /// Everything that anybody ever asked to be written, by index.
    pub attempts: BTreeMap<u64, Vec<Entry>>,
    /// What readers of racing writers saw; nobody may see anything else.
    pub seen: BTreeMap<u64, Entry>,
    /// Some write failed: none comes after it.
    pub failed: bool,
    /// Up to where the calls have returned `Ok`.
    pub returned: Mark,
    /// Up to where the log was promised to be durable.
    pub promised: Mark,
    pub votes: Vec<Vote>,
    /// Truncations keep away from everything up to here.
    pub floor: u64,
    pub purge_asked: Option<Position>,
    pub purge_promised: Option<Position>,
    /// Callbacks that were given and have not run.
    pub callbacks_due: BTreeSet<u64>,
    pub callbacks_given: u64,
}

impl History {
    pub fn new(may_fail: bool, races: bool, voters: usize, is_encrypted: bool) -> History {
        History {
            is_encrypted,
            may_fail,
            races,
            writes: BTreeMap::new(),
            attempts: BTreeMap::new(),
            seen: BTreeMap::new(),
            failed: false,
            returned: 0,
            promised: 0,
            votes: vec![Vote::default(); voters],
            floor: 0,
            purge_asked: None,
            purge_promised: None,
            callbacks_due: BTreeSet::new(),
            callbacks_given: 0,
        }
    }

    pub fn promise(&mut self, mark: Mark) {
        self.promised = self.promised.max(mark);
    }

    /// Notes what somebody is about to write.
    pub fn attempt(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.attempts.entry(entry.index).or_default().push(entry.clone());
        }
    }

    pub fn check_attempted(&self, entry: &Entry) {
        let attempts = self.attempts.get(&entry.index);
        assert!(attempts.is_some_and(|attempts| attempts.contains(entry)), "nobody wrote {entry:?}");
    }

    /// Somebody saw an entry in the log.
    pub fn saw(&mut self, entry: &Entry) {
        self.check_attempted(entry);
        if self.races {
            let first = self.seen.entry(entry.index).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "an entry changed, and nobody replaces any");
        }
    }

    /// Somebody saw this position as the last durable one.
    pub fn saw_durable(&mut self, position: Position) {
        self.promise(if self.races { position.index } else { position.term });
    }
}
