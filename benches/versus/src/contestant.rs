//! What takes part: a log that can be opened, and what it can do.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;

/// What a figure asks of a contestant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ability {
    /// Appends that are durable when they return.
    Append,
    /// The same with files of 1 MiB, and a way to tell when a file is left for the next one.
    SmallFiles,
    /// Durable appends by many threads at a time.
    Share,
    /// Appends that are not durable yet.
    Unsynced,
    /// Reads of one entry.
    Read,
    /// The same with less memory for the index than the index takes.
    ReadBeyondIndexCache,
    /// Reads of the newest entries.
    ReadTail,
    /// Reads of all entries in order.
    Scan,
    /// Opening what is there.
    Reopen,
    /// The same behind a crash, where it matters whether the newest appends had been waited for.
    ReopenWaited,
    /// Dropping the newest entries.
    TruncateTail,
    /// Dropping the oldest entries.
    TruncateHead,
    /// Taking space of its own on the disk.
    Space,
}

/// What a workload asks for, other than a contestant's best setting.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// The size of every payload, bytes.
    pub entry_bytes: usize,
    /// How many entries are loaded before anything is measured.
    pub entries: u64,
    /// Files of this size, where a contestant has [`Ability::SmallFiles`].
    pub file_bytes: Option<u64>,
    /// An index cache of this size, where a contestant has [`Ability::ReadBeyondIndexCache`]: then the log is only read.
    pub index_cache_bytes: Option<usize>,
    /// Whether [`Log::file_changes`] is asked for.
    pub watched: bool,
    /// Whether [`Log::append_shared`] is what is measured.
    pub many_threads: bool,
}

impl Tuning {
    /// A log of such entries at the contestant's best setting, empty at first.
    pub fn new(entry_bytes: usize) -> Tuning {
        Tuning {
            entry_bytes,
            entries: 0,
            file_bytes: None,
            index_cache_bytes: None,
            watched: false,
            many_threads: false,
        }
    }

    /// A log into which so many entries are loaded first.
    pub fn loaded(entry_bytes: usize, entries: u64) -> Tuning {
        Tuning { entries, ..Tuning::new(entry_bytes) }
    }
}

/// One that takes part.
pub trait Contestant: Sync {
    /// The name in tables and after `--only`.
    fn name(&self) -> &'static str;

    /// The setting that it runs at, and why.
    fn setting(&self) -> &'static str;

    /// Why it cannot do something; `None` if it can, as it can do everything unless this says otherwise.
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        let _ = ability;
        None
    }

    /// Opens the log in a directory, making it if the directory is empty. Indexes begin at 1.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>>;
}

/// An append in the contestant's own form: only the call is timed, neither what makes its input nor what drops it.
pub type Append<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

/// Whether an append is durable when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// It is.
    Durable,
    /// It is after the next [`Log::sync`].
    Unsynced,
}

/// An open log. Every call that is not [`When::Unsynced`] is durable when it returns.
pub trait Log: Send + Sync {
    /// Gets a batch ready, whose first entry has this index; calling it appends.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>>;

    /// Appends one durable entry next to other threads; which index it gets is found here. Threads have numbers from 0.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn append_shared(&self, thread: usize, payload: &Bytes) -> Result<()>;

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn sync(&self) -> Result<()>;

    /// Reads an entry into memory of the caller's, and returns its payload's size, bytes.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn read(&self, index: u64) -> Result<usize>;

    /// Reads entries in order, each into memory of the caller's, and returns how many bytes of payload they had.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn scan(&self, range: Range<u64>) -> Result<u64>;

    /// Drops the entries from `first_removed` on.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn truncate_tail(&self, first_removed: u64) -> Result<()>;

    /// Drops the entries up to `last_removed`.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn truncate_head(&self, last_removed: u64) -> Result<()>;

    /// Does what a user must call from time to time so that space comes back, if there is such. Not timed.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn collect_garbage(&self) -> Result<()> {
        Ok(())
    }

    /// Drops all entries, up to `last`, as a node does behind a snapshot, so that space can be used again. Not timed.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn forget_all(&self, last: u64) -> Result<()> {
        self.truncate_head(last)?;
        self.collect_garbage()
    }

    /// How often an append of the calling thread has gone to another file than the one before it, as seen by calling
    /// this after each of them.
    fn file_changes(&self) -> u64 {
        0
    }

    /// Appends until the file in use is nearly full, so that a crash leaves as much as possible to look at. Where that
    /// has no meaning, nothing. `next` is the next index.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn fill_file(&self, next: u64, payload: &Bytes, when: When) -> Result<()> {
        let _ = (next, payload, when);
        Ok(())
    }

    /// Closes in order.
    ///
    /// # Errors
    ///
    /// The contestant's.
    fn close(self: Box<Self>) -> Result<()>;
}
