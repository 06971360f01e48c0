//! A contestant's log under test, and where it ends.

use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;

use crate::contestant::{Ability, Contestant, Log, Tuning, When};
use crate::payload::Payloads;

/// Entries of a batch that is loaded, and how many bytes are loaded between two syncs.
const LOAD_BATCH: u64 = 64;
const LOAD_SYNC_BYTES: u64 = 64 << 20;
/// How long background work is left alone before something large is timed.
const SETTLE: Duration = Duration::from_millis(300);
/// How long the disk is woken after that, and in how many steps at least and at most: a disk that was left alone may take some
/// hundred syncs until they are as fast as before (`cargo bench --bench rested`).
const WAKE: Duration = Duration::from_millis(150);
const WAKE_STEPS: RangeInclusive<u64> = 200..=1500;
/// How long there are only durable appends then, as in a log that is in use, and how many at most: a file that they do not go to
/// has rested by the end.
const APPENDS_ONLY: Duration = Duration::from_millis(50);
const APPENDS_ONLY_MAX: u64 = 500;

/// A log under test.
pub struct Subject {
    contestant: &'static dyn Contestant,
    /// The log.
    pub log: Box<dyn Log>,
    /// The index that the next append takes.
    pub next: u64,
    entry_bytes: usize,
    payloads: Payloads,
}

impl Subject {
    /// Opens a log whose next index is `next`: 1 for a fresh one.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn open(contestant: &'static dyn Contestant, dir: &Path, tuning: &Tuning, next: u64) -> Result<Subject> {
        std::fs::create_dir_all(dir)?;
        Ok(Subject::new(contestant, contestant.open(dir, tuning)?, tuning.entry_bytes, next, Payloads::new()))
    }

    /// A log that is open already.
    pub fn new(
        contestant: &'static dyn Contestant,
        log: Box<dyn Log>,
        entry_bytes: usize,
        next: u64,
        payloads: Payloads,
    ) -> Subject {
        Subject { contestant, log, next, entry_bytes, payloads }
    }

    /// Whether the contestant can do something.
    pub fn can(&self, ability: Ability) -> bool {
        self.contestant.lacks(ability).is_none()
    }

    /// Whether this is the bare disk.
    pub fn is_floor(&self) -> bool {
        self.can(Ability::Append) && !self.can(Ability::Space)
    }

    /// Appends a batch, and says how long the call took.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn append(&mut self, count: u64, when: When) -> Result<Duration> {
        let payloads = self.payloads.batch(count as usize, self.entry_bytes);
        let mut append = self.log.prepare(self.next, payloads, when)?;
        let begun = Instant::now();
        append()?;
        let time = begun.elapsed();
        self.next += count;
        Ok(time)
    }

    /// The next index and a payload for it, for those who append to the log themselves.
    pub fn next_payload(&mut self) -> (u64, Bytes) {
        (self.next, self.payloads.next(self.entry_bytes))
    }

    /// Appends batches, all of them ready before the clock starts: `timed` calls each of them.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn append_group<T>(
        &mut self,
        batches: u64,
        count: u64,
        when: When,
        timed: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        let mut group = Vec::with_capacity(batches as usize);
        for number in 0..batches {
            let payloads = self.payloads.batch(count as usize, self.entry_bytes);
            group.push(self.log.prepare(self.next + number * count, payloads, when)?);
        }
        let result = timed(&mut || group.iter_mut().try_for_each(|append| append()))?;
        self.next += batches * count;
        Ok(result)
    }

    /// Appends entries until `next` is the next index, without timing anything, and makes them durable.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn load_to(&mut self, next: u64) -> Result<()> {
        let sync_entries = (LOAD_SYNC_BYTES / self.entry_bytes as u64).next_multiple_of(LOAD_BATCH);
        let when = if self.can(Ability::Unsynced) { When::Unsynced } else { When::Durable };
        let begun = self.next;
        while self.next < next {
            self.append(LOAD_BATCH.min(next - self.next), when)?;
            if (self.next - begun).is_multiple_of(sync_entries) {
                self.log.sync()?;
            }
        }
        self.log.sync()
    }

    /// Lets background work come to rest, and wakes disk and memory afterwards: the disk with durable appends, memory with something
    /// small of the kind that is timed next. Memory that nobody has touched for a while, that of code as well, may take a virtual
    /// machine as long as a sync, page by page.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn settle(&mut self, mut small: impl FnMut(&mut Subject) -> Result<()>) -> Result<()> {
        rustix::fs::sync();
        thread::sleep(SETTLE);
        let begun = Instant::now();
        for step in 0..*WAKE_STEPS.end() {
            if step >= *WAKE_STEPS.start() && begun.elapsed() >= WAKE {
                break;
            }
            self.append(1, When::Durable)?;
            small(self)?;
        }
        let begun = Instant::now();
        for _ in 0..APPENDS_ONLY_MAX {
            if begun.elapsed() >= APPENDS_ONLY {
                break;
            }
            self.append(1, When::Durable)?;
        }
        Ok(())
    }

    /// Truncates the tail, and says how long the call took.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn truncate_tail(&mut self, first_removed: u64) -> Result<Duration> {
        let begun = Instant::now();
        self.log.truncate_tail(first_removed)?;
        let time = begun.elapsed();
        self.next = first_removed;
        Ok(time)
    }

    /// Truncates the head, and says how long the call took.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn truncate_head(&mut self, last_removed: u64) -> Result<Duration> {
        let begun = Instant::now();
        self.log.truncate_head(last_removed)?;
        Ok(begun.elapsed())
    }

    /// Drops all entries, so that the disk does not fill up round by round.
    ///
    /// # Errors
    ///
    /// The contestant's.
    pub fn forget(&mut self) -> Result<()> {
        self.log.forget_all(self.next - 1)
    }
}
