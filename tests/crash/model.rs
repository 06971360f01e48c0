//! What a journal should hold, and the steps that a history is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use crate::common::LogModel;
use raft_journal::io::sim::OperationKind;
use raft_journal::{Entry, Error, Journal, LogStore, StableStore};

/// What a journal should hold: nothing but plain collections.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Model {
    pub log: LogModel,
    pub pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Entries of the log that damage at rest took, until they are put back.
    pub damaged: BTreeSet<u64>,
}

/// In few words: payloads only by their beginning and their length.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.log.purged {
            Some(purged) => write!(f, "purged {purged},")?,
            None => write!(f, "nothing purged,")?,
        }
        for entry in &self.log.entries {
            let number = entry.data.split(|byte| *byte == b'-').next().unwrap_or_default();
            write!(f, " {}:{}#{}+{}", entry.index, entry.term, number.escape_ascii(), entry.data.len())?;
        }
        write!(f, " {:?}, damaged {:?}", self.pairs, self.damaged)
    }
}

impl Model {
    /// What a journal says that it holds, read entry by entry and as a range.
    pub fn read(journal: &Journal) -> Result<Model, Error> {
        let model = Model::read_at_once(journal)?;
        for entry in &model.log.entries {
            assert_eq!(journal.entry(entry.index)?, *entry, "a point read differs from a range read");
            assert_eq!(journal.term(entry.index)?, entry.term, "the term of entry {}", entry.index);
        }
        Ok(model)
    }

    /// The same in as few calls as it takes.
    pub fn read_at_once(journal: &Journal) -> Result<Model, Error> {
        let state = journal.state();
        let mut log = LogModel { purged: state.purged, ..LogModel::default() };
        if let (Some(first), Some(last)) = (state.first_index(), state.last_index()) {
            let mut next = first;
            // Where a range ends early, the next one says why: or goes on, where a read failed just once.
            while next <= last {
                let more = journal.entries(next..last + 1, u64::MAX)?;
                assert!(!more.is_empty(), "a range of nothing");
                next += more.len() as u64;
                log.entries.extend(more);
            }
            assert!(
                log.entries.iter().map(|entry| entry.index).eq(first..=last),
                "a range read is not what was asked for"
            );
        }
        Model::with_log(journal, log)
    }

    /// The same of a journal in which these entries were damaged: they are there, or cannot be read.
    pub fn read_wounded(journal: &Journal, wounds: &[Entry]) -> Result<Model, Error> {
        let state = journal.state();
        let mut log = LogModel { purged: state.purged, ..LogModel::default() };
        let mut damaged = BTreeSet::new();
        let indexes = state.first_index().zip(state.last_index()).map(|(first, last)| first..=last);
        for index in indexes.into_iter().flatten() {
            log.entries.push(match (journal.entry(index), wounds.iter().rfind(|wound| wound.index == index)) {
                (Err(Error::Damaged(_)), Some(wound)) => {
                    damaged.insert(index);
                    wound.clone()
                }
                (entry, _) => entry?,
            });
        }
        Ok(Model { damaged, ..Model::with_log(journal, log)? })
    }

    fn with_log(journal: &Journal, log: LogModel) -> Result<Model, Error> {
        let state = journal.state();
        assert_eq!(state.last, log.last(), "the state's last position");
        if let Some(purged) = state.purged {
            assert_eq!(journal.term(purged.index)?, purged.term);
        }
        let mut model = Model { log, ..Model::default() };
        for key in KEYS {
            if let Some(value) = journal.get(key)? {
                model.pairs.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(model)
    }
}

pub const KEYS: [&[u8]; 3] = [b"vote", b"commit", b"term"];

/// One step of a history. Numbers are relative to the log as it is, so that every step is valid.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Appends so many entries of so many bytes, durable at once.
    Append {
        count: u8,
        bytes: u16,
    },
    /// The same without waiting.
    AppendPending {
        count: u8,
        bytes: u16,
    },
    /// Appends three entries without waiting, each of which ends where a sector does, in a file that is aligned.
    AppendBySectors,
    /// Replaces so many of the newest entries by so many new ones under a new term.
    Replace {
        back: u8,
        count: u8,
        bytes: u16,
    },
    ReplacePending {
        back: u8,
        count: u8,
        bytes: u16,
    },
    /// Removes so many of the newest entries.
    TruncateTail {
        back: u8,
    },
    /// Removes the oldest entries, keeping so many.
    TruncateHead {
        keep: u8,
    },
    /// Installs a snapshot so far beyond the end.
    Snapshot {
        beyond: u8,
    },
    /// Installs a snapshot at the last index, under a newer term.
    Overrule,
    /// Copies the journal, over an older copy if there is one.
    Checkpoint,
    Vote {
        value: u8,
    },
    /// A vote and its term in one commit, too long for one sector.
    VoteInTerm {
        value: u8,
    },
    /// Removes the vote.
    Forget,
    /// A vote and a head truncation in one commit.
    VoteAndTruncate {
        value: u8,
        keep: u8,
    },
    CommitLazily {
        value: u8,
    },
    Sync,
    /// Lets an entry be damaged at rest, so many before the newest but one, and puts it back.
    Repair {
        back: u8,
    },
    /// Closes in order and opens again.
    Reopen,
    /// The whole log into a new file. Only of an encrypted journal.
    Rewrite,
    /// Does what waits in the background, where that is queued.
    Housekeep,
    /// Leaves the journal alone until it has noticed.
    Idle,
    /// Ends the process: the page cache stays, and nothing of it has reached the disk by that.
    Kill,
    /// Loses power now, in the state that the seed picks.
    Crash {
        seed: u64,
    },
    /// Loses power so many operations of the disk later, whatever happens then.
    CrashLater {
        mutations: u8,
    },
    /// Lets an operation of the disk fail, the one so many of its kind later.
    Fail {
        kind: OperationKind,
        nth: u8,
        error: ErrorKind,
    },
    /// Lets a read or write move only so many bytes.
    Shorten {
        kind: OperationKind,
        nth: u8,
        bytes: u16,
    },
}

/// How a history's journal is opened.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub segment_bytes: u64,
    pub compressed: bool,
    pub aligned: bool,
    /// Whether entries that are sent again after a crash have the bytes that they had before.
    pub repeats: bool,
    /// Only in a build with the feature `encryption`.
    pub encrypted: bool,
}
