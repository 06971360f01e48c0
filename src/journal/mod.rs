//! The journal: the only floor that knows both `meta` and segments.

mod append;
mod cache;
mod catch_up;
mod checkpoint;
mod commit;
mod damage;
mod evidence;
#[cfg(feature = "metrics")]
mod export;
mod housekeeping;
mod idle;
mod inspect;
pub(crate) mod monitor;
mod moved;
mod open;
mod options;
mod read;
mod recognize;
mod recovery;
mod repair;
mod repairs;
mod report;
#[cfg(feature = "encryption")]
mod rewrite;
mod shown;
mod stable;
mod tail;
mod trace;
mod verify;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, Position};
use crate::error::{Damage, Error, JournalId, Result};
use crate::io::{Fs, Tasks};
use crate::log_store::{LogState, LogStore};
use crate::meta::State;
use crate::pending::{Durability, Pending};
use crate::stable_store::{Changes, StableStore};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, RwLock};
use append::{Tail, Writer};
use cache::IndexCache;
pub use checkpoint::Checkpoint;
use commit::Group;
use housekeeping::Files;
use idle::Idle;
pub use inspect::{SegmentInfo, SegmentRole};
use monitor::IoLock;
pub use options::{Compression, OnDamage, OpenOptions};
pub use report::{RecoveryReport, Suspect, TornTail};
use shown::SharedView;
use stable::Meta;
pub use verify::{Fault, FaultCause, FaultPart, VerifyOptions, VerifyProgress, VerifyReport};
pub use watch::LastVerify;
use watch::Watch;

/// A Raft node's journal: its log ([`LogStore`]) and its small state ([`StableStore`]) in one directory.
///
/// Cheap to clone; all clones are the same journal, usable from any thread. Dropping the last one closes it, quietly;
/// [`close`](Journal::close) does the same and shows errors. Both wait for the disk: not on a thread that must not block, such
/// as a worker of an asynchronous runtime.
///
/// ```
/// use raft_journal::{Entry, Journal, LogStore, Position, StableStore};
///
/// # fn main() -> Result<(), raft_journal::Error> {
/// # let temporary = tempfile::tempdir().expect("a temporary directory");
/// # let dir = temporary.path().join("node-1");
/// let journal = Journal::open(&dir)?;
/// journal.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y")])?; // durable when it returns
/// journal.set_u64(b"term", 2)?;
/// journal.replace_tail(&[Entry::new(2, 2, "set z")])?; // a new leader contradicts entry 2: one write, one sync
/// assert_eq!(journal.entry(2)?.data, "set z");
/// journal.truncate_head(Position::new(1, 1))?; // a snapshot covers entry 1
/// assert_eq!(journal.term(1)?, 1); // its term stays known
/// journal.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Journal(Arc<Handle>);

/// What the clones of a journal share; background work holds only the core, so that dropping the last clone closes.
#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to hear of errors: what was acknowledged is durable, and the next open recovers the rest.
        let _ = self.core.close();
    }
}

/// The journal itself.
///
/// Locks are taken in this order: repairing, writer, meta, view, then any one of the others. (That of the view has those of its
/// copies inside, all of them where they are changed; that of the index cache may have one segment's tables inside.) Only the
/// first three are held during I/O.
struct Core {
    options: OpenOptions,
    fs: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
    dir: PathBuf,
    journal_id: JournalId,
    life: u32,
    report: RecoveryReport,
    writer: IoLock<Writer>,
    /// None in a journal that was opened read-only.
    meta: IoLock<Option<Meta>>,
    /// What `meta` said when a read-only open looked at it; none in a journal that was opened for writing.
    looked_at: Option<State>,
    view: SharedView,
    /// The pairs as `get` sees them, lazy ones included.
    pairs: RwLock<BTreeMap<Bytes, Bytes>>,
    /// The changes of a commit under way.
    coming: Mutex<Option<Changes>>,
    committed_generation: AtomicU64,
    group: Arc<Group>,
    files: Files,
    idle: Idle,
    /// Up to which ticket a sync is under way that was begun because too much is not durable; 0 if there is none.
    catching_up: Arc<AtomicU64>,
    index_cache: IndexCache,
    /// Damage that reads have met, by index.
    met: Mutex<BTreeMap<u64, Damage>>,
    /// Held by the repair under way.
    repairing: IoLock<()>,
    watch: Arc<Watch>,
    /// No write begins any more.
    closing: AtomicBool,
    closed: AtomicBool,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Journal {
    /// Opens the journal in `dir` with the default options, recovering it from whatever the last process left; makes a
    /// new one in a directory that is empty or does not exist yet (its parent must).
    ///
    /// # Errors
    ///
    /// See [`OpenOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Journal> {
        OpenOptions::new().open(dir)
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core().report
    }

    /// How many segments of the log, and repair files, are encrypted under each key, by its id. A key that is not current and has none here
    /// is needed by no entry any more; see [`docs::encryption`](crate::docs::encryption) on when it may go.
    #[cfg(feature = "encryption")]
    pub fn segments_by_key(&self) -> BTreeMap<u32, usize> {
        let view = self.core().view.read();
        let segments = view.sealed.iter().map(|sealed| &sealed.segment).chain([&view.active]);
        let repairs = view.repairs.files().map(|(_, file)| &file.segment);
        let files: BTreeMap<u64, u32> =
            segments.chain(repairs).map(|segment| (segment.sequence, segment.key_id)).collect();
        let mut counts = BTreeMap::new();
        files.values().for_each(|key_id| *counts.entry(*key_id).or_default() += 1);
        counts
    }

    /// The directory that the journal was opened in.
    pub fn dir(&self) -> &Path {
        &self.core().dir
    }

    /// The journal's identity, the same for as long as it exists.
    pub fn id(&self) -> JournalId {
        self.core().journal_id
    }

    /// The threads and the clock of the journal's file system, for those who build on it.
    pub fn tasks(&self) -> Arc<dyn Tasks> {
        Arc::clone(&self.core().tasks)
    }

    /// Makes everything durable, runs the callbacks that wait, marks the journal as closed in order (the next open then
    /// scans nothing, unless the newest file had no room for its index, or is an earlier version's encrypted one), and gives up the lock. Every clone answers
    /// [`Error::Closed`] afterwards, and to writes from this call on, those of callbacks too. Waits for syncs, callbacks, files that are being
    /// made or removed, repairs and checkpoints.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`], [`Error::Io`], and [`Error::Key`] where the current key is missing; the journal is closed all the
    /// same. [`Error::Closed`] when it was. [`Error::BlockingCallInCallback`] in a durability callback: it stays open.
    pub fn close(&self) -> Result<()> {
        self.core().group.refuse_in_callback("close")?;
        self.core().close()
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn durable(&self, entries: &[Entry], tail: Tail) -> Result<Position> {
        let watch = &self.core().watch;
        let begun = watch.now();
        let position = self.pending(entries, tail)?.wait()?;
        watch.appended(begun);
        Ok(position)
    }

    fn pending(&self, entries: &[Entry], tail: Tail) -> Result<Pending> {
        let core = self.core();
        core.check_writable()?;
        let Some(last) = entries.last() else {
            let end = core.view.read().end_position();
            return Ok(Pending::ready(end.unwrap_or_default()));
        };
        let ticket = core.noted(core.write_entries(entries, tail))?;
        Ok(Pending::new(last.position(), Arc::clone(&core.group) as Arc<dyn Durability>, ticket))
    }
}

impl LogStore for Journal {
    fn state(&self) -> LogState {
        let view = self.core().view.read();
        let (durable, _) = self.core().group.durable();
        view.state(durable)
    }

    fn term(&self, index: u64) -> Result<u64> {
        self.core().check_open()?;
        self.core().read_term(index)
    }

    fn entry(&self, index: u64) -> Result<Entry> {
        self.core().check_open()?;
        let entry = self.core().noted(self.core().read_entry(index));
        self.core().note_read();
        entry
    }

    fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        self.core().check_open()?;
        let entries = self.core().noted(self.core().read_entries(range, bytes_max));
        self.core().note_read();
        entries
    }

    fn append(&self, entries: &[Entry]) -> Result<Position> {
        self.core().group.refuse_in_callback("append")?;
        self.durable(entries, Tail::Keep)
    }

    fn append_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.pending(entries, Tail::Keep)
    }

    fn replace_tail(&self, entries: &[Entry]) -> Result<Position> {
        self.core().group.refuse_in_callback("replace_tail")?;
        self.durable(entries, Tail::Replace)
    }

    fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending> {
        self.pending(entries, Tail::Replace)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        let core = self.core();
        core.group.refuse_in_callback("truncate_tail")?;
        core.check_writable()?;
        match core.noted(core.write_truncation(first_removed))? {
            Some(ticket) => core.group.wait(ticket),
            // Somebody else's removal may still be in flight.
            None => core.group.sync_all(),
        }
    }

    fn truncate_head(&self, position: Position) -> Result<()> {
        self.core().commit(&Changes::new().truncate_head(position))
    }

    fn sync(&self) -> Result<()> {
        self.core().group.refuse_in_callback("sync")?;
        self.core().check_writable()?;
        self.core().group.sync_all()
    }

    fn sync_pending(&self) -> Result<Pending> {
        let core = self.core();
        core.check_writable()?;
        let end = core.view.read().end_position().unwrap_or_default();
        Ok(Pending::new(end, Arc::clone(&core.group) as Arc<dyn Durability>, core.group.newest_ticket()))
    }
}

impl StableStore for Journal {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.core().check_open()?;
        Ok(self.core().get(key))
    }

    fn commit(&self, changes: &Changes) -> Result<()> {
        self.core().commit(changes)
    }

    fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.core().set_lazy(key, value)
    }
}

impl Core {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        if self.options.read_only {
            return Err(self.read_only_error());
        }
        self.group.check()
    }

    fn read_only_error(&self) -> Error {
        Error::ReadOnly { dir: self.dir.clone() }
    }

    /// The newest generation of `meta` whose sync has returned.
    fn durable_generation(&self) -> u64 {
        self.committed_generation.load(Ordering::Acquire)
    }

    /// Locks `meta`, unless the journal was closed meanwhile.
    fn meta_for_writing(&self) -> Result<MutexGuard<'_, Option<Meta>>> {
        let meta = self.meta.lock();
        self.check_writable()?;
        Ok(meta)
    }

    fn close(self: &Arc<Self>) -> Result<()> {
        self.check_open()?;
        // Callbacks first: each gets the answer to its own write, not that the journal is closed. No write may follow from them,
        // for then this might never end.
        self.closing.store(true, Ordering::Release);
        let synced = self.group.sync_all();
        self.group.drain_callbacks();
        let result = {
            let mut writer = self.writer.lock();
            let mut meta = self.meta.lock();
            if self.closed.swap(true, Ordering::AcqRel) {
                return Err(Error::Closed);
            }
            match meta.take() {
                Some(mut meta) => synced.and_then(|()| self.close_clean(&mut writer, &mut meta)),
                None => Ok(()),
            }
        };
        self.group.drain_callbacks();
        self.end_housekeeping();
        #[cfg(feature = "metrics")]
        self.export_metrics();
        drop(self.lock.lock().take());
        result
    }

    fn close_clean(&self, writer: &mut Writer, meta: &mut Meta) -> Result<()> {
        self.group.check()?;
        match self.write_index(writer) {
            // Without an index the next open scans: no reason not to close.
            Ok(()) | Err(Error::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        self.commit_state(meta, &Changes::new(), |state| state.clean = true)
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("dir", &self.dir).field("journal_id", &self.journal_id).finish_non_exhaustive()
    }
}
