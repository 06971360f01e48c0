//! What readers see while the log is written to, taken back and shortened.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_journal::{Entry, Error, Journal, LogState, LogStore, Position};
use shuttle::thread;

use crate::common::{DIR, check, disk, entry_of, join, log, options, reopen};

const ENTRY_BYTES: usize = 1500;

/// The log as it is between two writes.
#[derive(Clone, Debug, Default)]
struct Version {
    purged: Option<Position>,
    entries: Vec<Entry>,
}

impl Version {
    fn append(&self, indexes: std::ops::RangeInclusive<u64>, term: u64) -> Version {
        let mut next = self.clone();
        next.entries.retain(|entry| entry.index < *indexes.start());
        next.entries.extend(indexes.map(|index| entry_of(index, term, ENTRY_BYTES)));
        next
    }

    fn without_head(&self, index: u64) -> Version {
        let term = self.entry(index).expect("an entry to purge").term;
        let entries = self.entries.iter().filter(|entry| entry.index > index).cloned().collect();
        Version { purged: Some(Position::new(index, term)), entries }
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index == index)
    }

    fn has(&self, state: LogState) -> bool {
        let last = self.entries.last().map(Entry::position).or(self.purged);
        let first = self.entries.first().map(|entry| entry.index);
        let durable = state.durable.is_none_or(|durable| {
            self.purged == Some(durable) || self.entry(durable.index).is_some_and(|entry| entry.position() == durable)
        });
        (state.purged, state.first, state.last) == (self.purged, first, last) && durable
    }

    fn answers_entry(&self, index: u64, found: &Result<Entry, Error>) -> bool {
        match found {
            Ok(found) => self.entry(index) == Some(found),
            Err(Error::BeforeFirst { .. }) => self.purged.is_some_and(|purged| index <= purged.index),
            Err(Error::AfterLast { .. }) => self.entries.last().is_none_or(|last| index > last.index),
            Err(_) => false,
        }
    }

    /// Whether this may be what `first..end` holds, or its beginning where it was rewritten meanwhile.
    fn answers_entries(&self, first: u64, end: u64, found: &Result<Vec<Entry>, Error>) -> bool {
        match found {
            Ok(found) => (first..).zip(found).all(|(index, found)| self.entry(index) == Some(found)),
            Err(Error::BeforeFirst { .. }) => self.purged.is_some_and(|purged| first <= purged.index),
            Err(Error::AfterLast { .. }) => self.entries.last().is_none_or(|last| end > last.index + 1),
            Err(_) => false,
        }
    }

    fn answers_term(&self, index: u64, found: &Result<u64, Error>) -> bool {
        match found {
            Ok(term) => {
                let purged = self.purged.filter(|purged| purged.index == index).map(|purged| purged.term);
                self.entry(index).map(|entry| entry.term).or(purged) == Some(*term)
            }
            Err(Error::BeforeFirst { .. }) => self.purged.is_some_and(|purged| index < purged.index),
            Err(Error::AfterLast { .. }) => self.entries.last().is_none_or(|last| index > last.index),
            Err(_) => false,
        }
    }
}

/// The history that the writer goes through, and how far it is: a reader sees a version that began before its read
/// ended and did not end before its read began.
struct History {
    versions: Vec<Version>,
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl History {
    fn new() -> History {
        let empty = Version::default();
        let appended = empty.append(1..=3, 1);
        let replaced = appended.append(2..=4, 2);
        let shortened = replaced.without_head(2);
        let grown = shortened.append(5..=7, 2);
        let replaced_again = grown.append(4..=4, 3);
        let gone = replaced_again.without_head(4);
        let versions = vec![empty, appended, replaced, shortened, grown, replaced_again, gone];
        History { versions, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) }
    }

    fn write(&self, journal: &Journal) {
        for number in 1..self.versions.len() {
            let (before, after) = (&self.versions[number - 1], &self.versions[number]);
            self.begun.store(number, Ordering::SeqCst);
            if after.purged != before.purged {
                journal.truncate_head(after.purged.unwrap()).unwrap();
            } else {
                let new: Vec<Entry> =
                    after.entries.iter().filter(|&entry| before.entry(entry.index) != Some(entry)).cloned().collect();
                // Some are still on their way to the disk when the next one comes.
                let pending = journal.replace_tail_pending(&new).unwrap();
                if number % 2 == 0 {
                    pending.wait().unwrap();
                }
            }
            self.done.store(number, Ordering::SeqCst);
        }
    }

    /// Reads, and holds the answer against the versions that were there meanwhile.
    fn observe<T: Debug>(&self, read: impl FnOnce() -> T, fits: impl Fn(&Version, &T) -> bool) {
        let oldest = self.done.load(Ordering::SeqCst);
        let found = read();
        let newest = self.begun.load(Ordering::SeqCst);
        let versions = &self.versions[oldest..=newest];
        assert!(versions.iter().any(|version| fits(version, &found)), "{found:?} in none of {versions:?}");
    }

    fn read(&self, journal: &Journal) {
        for round in 0..3 {
            self.observe(|| journal.state(), |version, &state| version.has(state));
            let state = journal.state();
            let (first, end) = (state.first.unwrap_or(1), state.next_index().unwrap_or(1));
            let index = first + (round * 2) % (end - first).max(1);
            self.observe(|| journal.entry(index), |version, found| version.answers_entry(index, found));
            self.observe(|| journal.term(index), |version, found| version.answers_term(index, found));
            self.observe(
                || journal.entries(first..end, u64::MAX),
                |version, found| version.answers_entries(first, end, found),
            );
        }
    }
}

fn read_while_writing(tail_cache_bytes: usize) {
    let disk = disk();
    let journal = options(&disk).tail_cache_bytes(tail_cache_bytes).open(DIR).unwrap();
    let history = Arc::new(History::new());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (journal, history) = (journal.clone(), Arc::clone(&history));
        threads.push(thread::spawn(move || history.read(&journal)));
    }
    {
        let journal = journal.clone();
        threads.push(thread::spawn(move || (0..3).for_each(|_| journal.sync().unwrap())));
    }
    history.write(&journal);
    join(threads);
    let last = history.versions.last().unwrap();
    journal.close().unwrap();
    let journal = reopen(&disk);
    assert!(last.has(journal.state()), "{:?} is not {last:?}", journal.state());
    assert_eq!(log(&journal), last.entries);
}

#[test]
fn readers_see_only_logs_that_existed_in_files() {
    check(400, || read_while_writing(0));
}

#[test]
fn readers_see_only_logs_that_existed_in_the_cache() {
    check(400, || read_while_writing(2 * ENTRY_BYTES + 500));
}

/// A segment is read while the log's head passes it and its file is wanted for a new one.
fn read_what_is_removed() {
    let disk = disk();
    let journal = options(&disk).tail_cache_bytes(0).open(DIR).unwrap();
    let large = |index| entry_of(index, 1, 5000);
    for index in 1..=2 {
        journal.append(&[large(index)]).unwrap();
    }
    let mut readers = Vec::new();
    for _ in 0..3 {
        let journal = journal.clone();
        readers.push(thread::spawn(move || match journal.entry(1) {
            Ok(found) => assert_eq!(found, large(1)),
            Err(error) => assert!(matches!(error, Error::BeforeFirst { .. }), "{error}"),
        }));
    }
    journal.truncate_head(Position::new(1, 1)).unwrap();
    for index in 3..=5 {
        journal.append(&[large(index)]).unwrap();
    }
    join(readers);
    journal.close().unwrap();
    assert_eq!(log(&reopen(&disk)), (2..=5).map(large).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_read_is_not_used_again() {
    check(2_000, read_what_is_removed);
}

/// Both caches are given up, as often as time passes, while they are read and written to.
fn read_while_memory_is_given_up() {
    let disk = disk();
    let large = |index| entry_of(index, 1, 3000);
    {
        let journal = options(&disk).open(DIR).unwrap();
        (1..=4).for_each(|index| _ = journal.append(&[large(index)]).unwrap());
        journal.close().unwrap();
    }
    let journal = options(&disk).open(DIR).unwrap();
    let mut threads = Vec::new();
    for first in [1, 3] {
        let journal = journal.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(journal.entry(first).unwrap(), large(first));
                let end = journal.state().next_index().unwrap();
                assert_eq!(journal.entries(first..end, u64::MAX).unwrap(), (first..end).map(large).collect::<Vec<_>>());
            }
        }));
    }
    {
        let disk = disk.clone();
        threads.push(thread::spawn(move || (0..4).for_each(|_| _ = disk.pass_time())));
    }
    for index in 5..=6 {
        journal.append(&[large(index)]).unwrap();
        assert_eq!(journal.entry(index).unwrap(), large(index));
    }
    join(threads);
    // A journal that somebody has used is watched until it is idle: then nobody watches any more.
    disk.queue_tasks(true);
    let looks = (0..20).take_while(|_| disk.pass_time() + disk.run_tasks() > 0).count();
    assert!(looks < 20, "watched for ever");
    journal.close().unwrap();
    assert_eq!(log(&reopen(&disk)), (1..=6).map(large).collect::<Vec<_>>());
}

#[test]
fn memory_may_be_given_up_under_readers_and_a_writer() {
    check(500, read_while_memory_is_given_up);
}
