//! What a journal counts and measures, and how it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::verify::VerifyReport;
use super::{Core, Journal};
#[cfg(feature = "metrics")]
use crate::contained::contained;
use crate::error::{DamagedRange, Error, Result};
use crate::histogram::Recorder;
use crate::io::Tasks;
use crate::stats::{Health, LastError, Stats};
use crate::tally::Reads;

/// Counters and times. Never the model checker's atomics: no order of threads depends on them.
#[derive(Debug)]
pub(crate) struct Watch {
    tasks: Arc<dyn Tasks>,
    dir: PathBuf,
    slow_sync_after: Duration,
    pub(crate) appends: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    /// Appends that waited for the sync of others, because too much was not durable.
    pub(crate) held_back: AtomicU64,
    slow_syncs: AtomicU64,
    commits: AtomicU64,
    pub(crate) reads: Reads,
    errors: AtomicU64,
    verify_passes: AtomicU64,
    verify_bytes: AtomicU64,
    /// The last attempt to write or to prepare a file found no room.
    is_full: AtomicBool,
    /// The commit that is under way.
    commit: Since,
    /// The file that a rotation waits for.
    pub(crate) file: Since,
    /// The file of a repair that is being written.
    pub(crate) repair: Since,
    group_size: Recorder,
    sync_micros: Recorder,
    append_micros: Recorder,
    commit_micros: Recorder,
    /// What happens seldom. The standard library's lock: it is never held while anything waits.
    seldom: std::sync::Mutex<Seldom>,
    #[cfg(feature = "metrics")]
    pub(super) export: super::export::Export,
}

#[derive(Debug, Default)]
struct Seldom {
    error: Option<(Duration, Error)>,
    /// What an open gave up, and was not put back since.
    given_up: Vec<DamagedRange>,
    /// What a reader met last, and when; no pass has seen it whole since, and nobody put it back.
    damaged: Option<Met>,
    /// What was put back or replaced since the last pass began, as far as it may have found that lost; in no order.
    mended: Vec<DamagedRange>,
    /// What was put back since the pass began that is under way.
    mended_meanwhile: Vec<DamagedRange>,
    pass: Option<(Duration, Arc<VerifyReport>)>,
}

/// What a reader met, and when.
pub(crate) type Met = (Duration, DamagedRange);

/// Whether all of a range is in another one.
fn is_within(range: &DamagedRange, other: &DamagedRange) -> bool {
    range.first >= other.first && other.end.is_none_or(|end| range.end.is_some_and(|mine| mine <= end))
}

/// Takes a range in, in one piece with those that it touches.
fn join(ranges: &mut Vec<DamagedRange>, new: DamagedRange) {
    let end_of = |range: &DamagedRange| range.end.unwrap_or(u64::MAX);
    let mut joined = new;
    ranges.retain(|range| {
        let is_apart = end_of(range) < joined.first || end_of(&joined) < range.first;
        if !is_apart {
            let end = range.end.zip(joined.end).map(|(one, other)| one.max(other));
            joined = DamagedRange { first: range.first.min(joined.first), end };
        }
        is_apart
    });
    ranges.push(joined);
}

/// A pass over all files that came to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastVerify {
    /// What it found.
    pub report: Arc<VerifyReport>,
    /// How long ago it ended.
    pub age: Duration,
}

/// Adds to a counter that only one thread changes at a time: under the writer's lock, it need not be one step.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Adds to a counter that threads share.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// When something began of which there is one at a time, in nanoseconds and one more; 0 while it is not under way.
#[derive(Debug, Default)]
pub(crate) struct Since(AtomicU64);

impl Since {
    fn age(&self, now: Duration) -> Option<Duration> {
        let since = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_nanos(since)))
    }
}

/// While it is under way.
#[must_use]
pub(crate) struct UnderWay<'a>(&'a Since);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Watch {
    pub(crate) fn new(tasks: Arc<dyn Tasks>, slow_sync_after: Duration, dir: &Path) -> Arc<Watch> {
        let zero = || AtomicU64::new(0);
        Arc::new(Watch {
            tasks,
            dir: dir.to_path_buf(),
            slow_sync_after,
            appends: zero(),
            entries: zero(),
            bytes: zero(),
            bytes_written: zero(),
            held_back: zero(),
            slow_syncs: zero(),
            commits: zero(),
            reads: Reads::default(),
            errors: zero(),
            verify_passes: zero(),
            verify_bytes: zero(),
            is_full: AtomicBool::new(false),
            commit: Since::default(),
            file: Since::default(),
            repair: Since::default(),
            group_size: Recorder::new(),
            sync_micros: Recorder::new(),
            append_micros: Recorder::new(),
            commit_micros: Recorder::new(),
            seldom: std::sync::Mutex::default(),
            #[cfg(feature = "metrics")]
            export: super::export::Export::new(dir),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.tasks.now()
    }

    fn since(&self, begun: Duration) -> Duration {
        self.now().saturating_sub(begun)
    }

    fn seldom(&self) -> std::sync::MutexGuard<'_, Seldom> {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something begins which a caller waits for, until what this returns is dropped.
    pub(crate) fn begins<'a>(&self, what: &'a Since) -> UnderWay<'a> {
        let nanos = u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX);
        what.0.store(nanos.saturating_add(1), Ordering::Relaxed);
        UnderWay(what)
    }

    /// How long what is under way has been so, the longest of it.
    fn age_under_way(&self) -> Option<Duration> {
        let now = self.now();
        [&self.commit, &self.file, &self.repair].into_iter().filter_map(|what| what.age(now)).max()
    }

    /// Notes a sync that took long: of what.
    fn took(&self, time: Duration, what: &'static str) {
        if time >= self.slow_sync_after {
            add(&self.slow_syncs, 1);
            super::trace::slow_sync(&self.dir, time, what);
        }
    }

    /// Notes a sync of the log that has ended, and how many batches it made durable.
    pub(crate) fn synced(&self, begun: Duration, batches: u64, failure: Option<&Error>) {
        let took = self.since(begun);
        self.sync_micros.record(micros(took));
        if batches > 0 && failure.is_none() {
            self.group_size.record(batches);
        }
        self.took(took, "log");
        if let Some(error) = failure {
            self.note(error);
        }
        #[cfg(feature = "metrics")]
        contained(|| self.export.synced(took, if failure.is_none() { batches } else { 0 }));
    }

    /// Notes an append that is durable.
    pub(crate) fn appended(&self, begun: Duration) {
        let took = self.since(begun);
        self.append_micros.record(micros(took));
        #[cfg(feature = "metrics")]
        contained(|| self.export.appended(took));
    }

    /// Notes a commit of `meta` from its beginning to its end.
    pub(crate) fn commit<T>(&self, commit: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = self.now();
        let under_way = self.begins(&self.commit);
        let result = commit();
        drop(under_way);
        let took = self.since(begun);
        add(&self.commits, 1);
        self.commit_micros.record(micros(took));
        self.took(took, "meta");
        #[cfg(feature = "metrics")]
        contained(|| self.export.committed(took));
        result
    }

    /// Notes whether there was room.
    pub(crate) fn found_room(&self, found: bool) {
        // Looked at first: it hardly ever changes.
        if self.is_full.load(Ordering::Relaxed) == found {
            self.is_full.store(!found, Ordering::Relaxed);
        }
    }

    /// Notes a failure of the disk's; others are the caller's.
    #[cold]
    pub(crate) fn note(&self, error: &Error) {
        let is_of_disk = matches!(error, Error::Io { .. } | Error::NoSpace { .. } | Error::Damaged(_));
        if !is_of_disk {
            return;
        }
        if error.is_no_space() {
            self.found_room(false);
        }
        add(&self.errors, 1);
        let now = self.now();
        let mut seldom = self.seldom();
        if let Error::Damaged(damage) = error {
            seldom.damaged = Some((now, damage.indexes));
        }
        seldom.error = Some((now, error.clone()));
    }

    /// Notes a pass over all files that came to its end.
    /// `met` is what readers had met when it began.
    pub(crate) fn passed(&self, report: Arc<VerifyReport>, met: Option<Met>) {
        add(&self.verify_passes, 1);
        let now = self.now();
        let mut seldom = self.seldom();
        // What readers met before it was somewhere: if nothing is lost now, it was replaced, purged or mended.
        seldom.damaged = seldom.damaged.filter(|_| seldom.damaged != met);
        seldom.mended = std::mem::take(&mut seldom.mended_meanwhile);
        seldom.pass = Some((now, report));
    }

    pub(crate) fn verified(&self, bytes: u64) {
        add(&self.verify_bytes, bytes);
    }

    /// Notes that a pass begins; what a reader met last, if no pass has seen it whole since.
    pub(crate) fn begins_pass(&self) -> Option<Met> {
        let mut seldom = self.seldom();
        seldom.mended_meanwhile.clear();
        seldom.damaged
    }

    /// Notes what an open gave up.
    pub(crate) fn gave_up(&self, ranges: Vec<DamagedRange>) {
        self.seldom().given_up = ranges;
    }

    /// Notes that entries were put back, and what is still lost of that which an open gave up.
    pub(crate) fn mended(&self, entries: DamagedRange, still_lost: Vec<DamagedRange>) {
        let mut seldom = self.seldom();
        seldom.given_up = still_lost;
        seldom.damaged = seldom.damaged.filter(|(_, range)| !is_within(range, &entries));
        join(&mut seldom.mended, entries);
        join(&mut seldom.mended_meanwhile, entries);
    }

    /// Notes that the log goes on with other entries from this index on: what was lost of the old ones is missed no more.
    pub(crate) fn replaced_from(&self, first: u64) {
        let mut seldom = self.seldom();
        let gone = DamagedRange { first, end: None };
        seldom.given_up.retain(|range| !is_within(range, &gone));
        for range in seldom.given_up.iter_mut().filter(|range| range.end.is_none_or(|end| end > first)) {
            range.end = Some(first);
        }
        seldom.damaged = seldom.damaged.filter(|(_, range)| !is_within(range, &gone));
        let pass = seldom.pass.as_ref().map(|(_, report)| Arc::clone(report));
        let mut found = pass.iter().flat_map(|report| report.losses()).filter_map(|fault| fault.indexes);
        if found.any(|range| is_within(&range, &gone)) {
            join(&mut seldom.mended, gone);
        }
    }

    /// The losses that the last pass found, but for those that were put back or replaced since.
    pub(crate) fn found_by_pass(&self) -> Vec<DamagedRange> {
        let seldom = self.seldom();
        let pass = seldom.pass.iter().flat_map(|(_, report)| report.losses()).filter_map(|fault| fault.indexes);
        pass.filter(|range| !seldom.mended.iter().any(|mended| is_within(range, mended))).collect()
    }

    /// The first losses that are known and still in the log.
    fn losses(&self, is_live: impl Fn(&DamagedRange) -> bool) -> Option<DamagedRange> {
        let pass = self.found_by_pass();
        let seldom = self.seldom();
        let met = seldom.damaged.map(|(_, range)| range);
        let given_up = seldom.given_up.iter().copied();
        given_up.chain(pass).chain(met).filter(is_live).min_by_key(|range| range.first)
    }

    fn last_error(&self) -> Option<LastError> {
        let (at, error) = self.seldom().error.clone()?;
        Some(LastError { error, age: self.since(at) })
    }

    fn count(&self, stats: &mut Stats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.appends = read(&self.appends);
        stats.entries = read(&self.entries);
        stats.bytes = read(&self.bytes);
        stats.bytes_written = read(&self.bytes_written);
        stats.held_back = read(&self.held_back);
        stats.slow_syncs = read(&self.slow_syncs);
        stats.commits = read(&self.commits);
        let reads = self.reads.sum();
        stats.cache_hits = reads.cache_hits;
        stats.cache_misses = reads.cache_misses;
        stats.index_hits = reads.index_hits;
        stats.index_misses = reads.index_misses;
        stats.errors = read(&self.errors);
        stats.last_error = self.last_error();
        stats.verify_passes = read(&self.verify_passes);
        stats.verify_bytes = read(&self.verify_bytes);
        stats.verify_faults = self.seldom().pass.as_ref().map_or(0, |(_, report)| report.faults.len() as u64);
        stats.group_size = self.group_size.snapshot();
        stats.sync_micros = self.sync_micros.snapshot();
        stats.append_micros = self.append_micros.snapshot();
        stats.commit_micros = self.commit_micros.snapshot();
    }
}

impl Journal {
    /// What the journal has done since it was opened, in numbers, and what it holds. Waits for no disk.
    pub fn stats(&self) -> Stats {
        self.core().stats()
    }

    /// How the journal is now. Waits for no disk, except that it asks the file system how much is free (one call, from its
    /// memory) when nothing worse is the matter. Made to be asked often: by a leader's heartbeat, or a probe.
    ///
    /// ```
    /// use raft_journal::{Health, Journal};
    ///
    /// # fn main() -> Result<(), raft_journal::Error> {
    /// # let temporary = tempfile::tempdir().expect("a temporary directory");
    /// # let journal = raft_journal::OpenOptions::new().nearly_full_bytes(0).open(temporary.path().join("node-1"))?;
    /// match journal.health() {
    ///     Health::Healthy => {}
    ///     Health::Poisoned { .. } | Health::Stalled { .. } => eprintln!("step down: {}", journal.health()),
    ///     other => eprintln!("tell somebody: {other}"),
    /// }
    /// assert!(journal.health().is_healthy());
    /// # journal.close()
    /// # }
    /// ```
    pub fn health(&self) -> Health {
        self.core().health()
    }

    /// The last failure of the disk that the journal met, in a call or in the background.
    pub fn last_error(&self) -> Option<LastError> {
        self.core().watch.last_error()
    }

    /// The last pass over all files that came to its end since the journal was opened, by [`verify`](Self::verify) or in the
    /// background ([`OpenOptions::scrub`](crate::OpenOptions::scrub)).
    pub fn last_verify(&self) -> Option<LastVerify> {
        let watch = &self.core().watch;
        let (at, report) = watch.seldom().pass.clone()?;
        Some(LastVerify { report, age: watch.since(at) })
    }
}

impl Core {
    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats { spare_not_ready: self.files.not_ready(), ..Stats::default() };
        (stats.batches, stats.syncs) = self.group.counts();
        self.watch.count(&mut stats);
        let view = self.view.read();
        stats.rotations = view.rotations;
        stats.segments = view.sealed.len() as u64 + 1;
        (stats.live_bytes, stats.dead_bytes) = view.bytes();
        stats
    }

    pub(super) fn health(&self) -> Health {
        if let Some(cause) = self.group.poisoned_by() {
            return Health::Poisoned { cause };
        }
        let age = self.group.sync_age().max(self.watch.age_under_way());
        if let Some(age) = age.filter(|&age| age >= self.options.stalled_after) {
            return Health::Stalled { age };
        }
        if let Some(indexes) = self.first_loss() {
            return Health::Damaged { indexes };
        }
        // A file system that does not say has said so before.
        let free_bytes = self.fs.free_bytes(&self.dir).ok().flatten();
        let bound = self.options.nearly_full_bytes.unwrap_or(2 * self.options.segment_bytes);
        if self.watch.is_full.load(Ordering::Relaxed) || free_bytes.is_some_and(|free| free < bound) {
            return Health::NearlyFull { free_bytes };
        }
        Health::Healthy
    }

    /// The first entries of the log that are known to be lost.
    fn first_loss(&self) -> Option<DamagedRange> {
        let view = self.view.read();
        let (first, next) = (view.first()?, view.next());
        let is_live = |range: &DamagedRange| range.first < next && range.end.is_none_or(|end| end > first);
        self.watch.losses(is_live)
    }

    /// Notes a failure that a caller is about to be told.
    #[inline]
    pub(super) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.watch.note(error))
    }
}
