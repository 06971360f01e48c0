//! Files off the append path: the next segment is prepared before it is needed, removed ones are recycled or unlinked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::Monitor;
use super::view::SealedFile;
use super::{Core, append};
use crate::contained::contained;
use crate::error::{Error, Result};
use crate::io::{self, Lane, Tasks};
use crate::keys::Keys;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::{self, Recipe, Segment};

/// Segment files that are not part of the chain.
#[derive(Debug)]
pub(crate) struct Files {
    state: Monitor<State>,
}

#[derive(Debug)]
struct State {
    /// Ready to be the active segment's successor.
    spare: Option<Arc<Segment>>,
    /// The sequence of the last spare that the disk was told will be written to.
    announced: u64,
    /// Nothing refers to these any more, except readers that are still at work.
    retired: Vec<Arc<Segment>>,
    /// What was in memory of some of them: the pages of their indexes, thousands of pieces, which take longer to free than a
    /// sync does.
    indexes: Vec<Arc<SealedFile>>,
    /// What the open found that nobody needs. No file that is made has such a name.
    leftover: Vec<PathBuf>,
    /// The sequence of the next file. Only ever grows.
    next_sequence: u64,
    /// How many rotations found no spare that was ready and large enough.
    not_ready: u64,
    /// Somebody makes a file, or readies the spare.
    preparing: bool,
    /// The background job.
    job: Stage,
    /// Checkpoints that are being made.
    pins: usize,
    /// The sequences of the files that were given a second name. Never cleared of those that are gone: they are few, and
    /// sequences are never used again.
    linked: BTreeSet<u64>,
    /// The journal is closed: its files are somebody else's from now on.
    closed: bool,
}

/// How far the active segment is filled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Filled {
    Less,
    /// So far that its successor should be ready.
    Half,
    /// It goes on in its successor soon.
    Nearly,
}

/// How far a background job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    None,
    Queued,
    Running,
}

impl Files {
    pub(crate) fn new(
        tasks: Arc<dyn Tasks>,
        spare: Option<Arc<Segment>>,
        leftover: Vec<PathBuf>,
        next_sequence: u64,
    ) -> Files {
        let state = State {
            spare,
            announced: 0,
            retired: Vec::new(),
            indexes: Vec::new(),
            leftover,
            next_sequence,
            not_ready: 0,
            preparing: false,
            job: Stage::None,
            pins: 0,
            linked: BTreeSet::new(),
            closed: false,
        };
        Files { state: Monitor::new(tasks, state) }
    }

    /// Lets nobody close the journal and give up its files until the pin is dropped.
    pub(super) fn pin(&self) -> Result<Pin<'_>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.pins += 1;
        Ok(Pin(self))
    }

    /// Notes that a file gets a second name: it is never written to again, whatever becomes of that name.
    pub(super) fn note_linked(&self, sequence: u64) {
        self.state.lock().linked.insert(sequence);
    }

    /// The file that is ready to be the active segment's successor.
    pub(super) fn spare(&self) -> Option<Arc<Segment>> {
        self.state.lock().spare.clone()
    }

    /// How many rotations found no file that was ready.
    pub(super) fn not_ready(&self) -> u64 {
        self.state.lock().not_ready
    }
}

/// The disk is told that the spare will be written to when the active file has room for fewer batches than this, each as large as
/// the last one: late enough that the spare does not rest again until then, early enough that a sync ends before.
const ANNOUNCE_BATCHES: u64 = 4;

/// How long files that nobody needs are left alone: a thread that was woken to remove them may be given the processor
/// of the one that truncated the log, whose call would last until they are gone, milliseconds each.
const RETURN_FIRST: Duration = Duration::from_millis(1);

impl Core {
    /// Hands out the next segment, of at least `size_bytes_min`: the spare, or one that is made now.
    pub(super) fn take_successor(&self, size_bytes_min: u64) -> Result<Arc<Segment>> {
        let _under_way = self.watch.begins(&self.watch.file);
        let size = self.next_size(size_bytes_min)?;
        let key_id = self.options.keys.as_ref().map_or(0, Keys::current);
        // One that was made before the key changed is of no use.
        let fits = |spare: &Segment| u64::from(spare.size_bytes) >= size_bytes_min && spare.key_id == key_id;
        let mut state = self.files.state.lock();
        let is_ready = state.spare.as_ref().is_some_and(|spare| fits(spare));
        state.not_ready += u64::from(!is_ready);
        while state.preparing {
            self.files.state.wait(&mut state, "a file that is being made", |state| !state.preparing);
        }
        if let Some(spare) = state.spare.take() {
            if fits(&spare) {
                return Ok(spare);
            }
            state.retired.push(spare);
        }
        state.preparing = true;
        drop(state);
        let _preparing = Preparing(&self.files);
        self.with_room(|| self.prepare(size, false))
    }

    /// Makes a file; where there is no room for it, once more when that is gone which nobody needs any more.
    pub(super) fn with_room<T>(&self, make: impl Fn() -> Result<T>) -> Result<T> {
        match make() {
            Err(Error::NoSpace { .. }) if self.gives_back_room() => make(),
            result => result,
        }
    }

    /// Removes what nobody needs and no reader holds, or waits for the job that does. `false` if there was nothing.
    fn gives_back_room(&self) -> bool {
        // What refers to a file keeps it.
        let indexes = std::mem::take(&mut self.files.state.lock().indexes);
        drop(indexes);
        let mut state = self.files.state.lock();
        let unused = state.take_all_unused();
        let had_some = !unused.is_empty();
        if had_some {
            drop(state);
            self.remove(unused);
            state = self.files.state.lock();
        }
        let is_under_way = state.job == Stage::Running;
        while state.job == Stage::Running {
            self.files.state.wait(&mut state, "files that are being removed", |state| state.job != Stage::Running);
        }
        had_some || is_under_way
    }

    /// Takes back a successor that could not be used.
    pub(super) fn give_back(&self, successor: Arc<Segment>) {
        let mut state = self.files.state.lock();
        match state.spare {
            Some(_) => state.retired.push(successor),
            None => state.spare = Some(successor),
        }
    }

    /// The size of the next segment: the configured growth, or more for a huge batch.
    fn next_size(&self, size_bytes_min: u64) -> Result<u32> {
        let active = self.view.read().active.size_bytes;
        let usual = u64::from(self.options.next_segment_bytes(Some(active)));
        u32::try_from(usual.max(size_bytes_min.next_multiple_of(4096)))
            .map_err(|_| Error::BatchTooLarge { bytes: size_bytes_min, bytes_max: u64::from(u32::MAX) })
    }

    /// Makes a segment file, recycling a retired one of the same size where that is allowed.
    fn prepare(&self, size_bytes: u32, recycle: bool) -> Result<Arc<Segment>> {
        let salt = segment::salt_made_in(self.life, self.fs.entropy());
        let (journal_id, aligned) = (self.journal_id, self.options.aligned);
        // Asked first: without a key, no file is taken.
        let key = self.options.current_key(&self.dir, journal_id)?;
        let (sequence, recycled) = {
            let mut state = self.files.state.lock();
            let sequence = state.next_sequence;
            state.next_sequence += 1;
            let recycled = if recycle { state.take_recyclable(size_bytes) } else { None };
            (sequence, recycled)
        };
        let recycled = recycled.filter(|old| self.is_ours_alone(old));
        let recipe = Recipe { sequence, size_bytes, salt, journal_id, aligned, key };
        #[cfg(mutate)]
        let recipe = match &recycled {
            Some(old) if mutate::is(Mutation::NoSalt) => Recipe { salt: old.salt_value, ..recipe },
            _ => recipe,
        };
        let result = Segment::prepare(&*self.fs, &self.dir, &recipe, recycled.as_ref().map(|old| old.path.as_path()));
        result.map_err(|error| self.mind_names(error))
    }

    /// A directory whose sync failed may forget the names of files that the log is in: that poisons. A file that cannot be
    /// synced is given up, because nothing refers to it; so is one whose directory could not be opened to be synced.
    pub(super) fn mind_names(&self, error: Error) -> Error {
        match &error {
            Error::Io { source, .. } if io::is_out_of_files(source) => error,
            Error::Io { op: "sync", path, .. } | Error::NoSpace { path, .. } if *path == self.dir => {
                self.group.poison(error)
            }
            _ => error,
        }
    }

    /// A sequence for a new file.
    pub(super) fn next_sequence(&self) -> u64 {
        let mut state = self.files.state.lock();
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        sequence
    }

    /// Whether a file that nothing here refers to has no second name either, such as an earlier process's checkpoint gave
    /// it. One that has is left to its other owner.
    fn is_ours_alone(&self, old: &Segment) -> bool {
        #[cfg(mutate)]
        if mutate::is(Mutation::LinkedRecycled) {
            return true;
        }
        let alone = self.fs.links(&old.path).is_ok_and(|links| links == 1);
        if !alone {
            // A name that stays is removed behind the next open.
            let _ = self.fs.remove(&old.path);
        }
        alone
    }

    /// Gives up segments that the chain no longer has; `meta` says so already.
    pub(super) fn retire(&self, segments: impl Iterator<Item = Arc<Segment>>) {
        self.files.state.lock().retired.extend(segments);
    }

    /// The same of sealed ones, and of what is in memory of them: neither the caller nor a reader waits until that is freed.
    pub(super) fn retire_sealed(&self, files: Vec<Arc<SealedFile>>) {
        let mut state = self.files.state.lock();
        state.retired.extend(files.iter().map(|file| Arc::clone(&file.segment)));
        state.indexes.extend(files);
    }

    /// Starts background work if there is some. Called without locks.
    pub(super) fn housekeep_soon(self: &Arc<Self>) {
        if self.options.read_only || self.is_closed() {
            return;
        }
        let filled = self.filled();
        let mut state = self.files.state.lock();
        let wants_spare = filled >= Filled::Half && state.spare.is_none() && !state.preparing;
        let wanted = wants_spare || state.to_announce(filled).is_some() || state.has_unused();
        if state.job != Stage::None || state.closed || !wanted {
            return;
        }
        state.job = Stage::Queued;
        drop(state);
        let core = Arc::clone(self);
        let job = move || {
            // A close may have taken its work over.
            if core.files.state.lock().takes_job() {
                core.housekeep();
            }
        };
        self.tasks.submit(Lane::Housekeeping, Box::new(job));
    }

    fn filled(&self) -> Filled {
        let view = self.view.read();
        let (active, fold) = (&view.active, &view.fold);
        if fold.end - active.data_start() < (active.data_end() - active.data_start()) / 2 {
            return Filled::Less;
        }
        let end = u64::from(fold.end) + ANNOUNCE_BATCHES * u64::from(view.last_batch_bytes);
        let has_room = append::seal_fits(active, end, fold.run.slots.len(), fold.run.terms.len());
        if has_room { Filled::Half } else { Filled::Nearly }
    }

    /// Tells the disk that the spare will be written to, once it will be soon. Until that is done nobody takes it: of two syncs of
    /// one file at the same time, an old kernel may tell only one that a writeback failed.
    fn announce_spare(&self) {
        let filled = self.filled();
        let spare = {
            let mut state = self.files.state.lock();
            let Some(spare) = state.announce(filled) else { return };
            state.preparing = true;
            spare
        };
        let _preparing = Preparing(&self.files);
        self.fs.will_write(&spare.path);
    }

    fn housekeep(&self) {
        let mut stranded = Stranded(Some(&self.files));
        // First: the rotation is near.
        self.announce_spare();
        // Before a spare is made, which may be one of their files.
        self.free_indexes();
        let (is_closed, leftover) = {
            let mut state = self.files.state.lock();
            (state.closed, std::mem::take(&mut state.leftover))
        };
        if !leftover.is_empty() {
            // Before a spare is made: it may need the room.
            self.tasks.sleep(RETURN_FIRST);
            self.remove(Unused { leftover, retired: Vec::new() });
        }
        if !is_closed && self.filled() >= Filled::Half && self.group.check().is_ok() {
            self.prepare_spare();
        }
        loop {
            self.free_indexes();
            let unused = {
                let mut state = self.files.state.lock();
                if !state.indexes.is_empty() {
                    continue;
                }
                let unused = state.take_all_unused();
                // Who retires a file from now on begins another job.
                state.job = if unused.is_empty() { Stage::None } else { Stage::Running };
                unused
            };
            if unused.is_empty() {
                stranded.0 = None;
                return self.files.state.notify_all();
            }
            self.tasks.sleep(RETURN_FIRST);
            self.remove(unused);
        }
    }

    /// Frees what is in memory of files that were given up: without a lock, and once whoever gave them up has returned.
    fn free_indexes(&self) {
        let indexes = std::mem::take(&mut self.files.state.lock().indexes);
        if !indexes.is_empty() {
            self.tasks.sleep(RETURN_FIRST);
        }
    }

    fn remove(&self, unused: Unused) {
        // A file that stays is removed behind the next open: its sequence is below the chain's start, or unreached.
        for path in unused.leftover {
            let _ = self.fs.remove(&path);
        }
        for segment in unused.retired {
            // It takes its room as long as it is open: to the end of this turn.
            let _ = self.fs.remove(&segment.path);
        }
    }

    fn prepare_spare(&self) {
        {
            let mut state = self.files.state.lock();
            if state.spare.is_some() || state.preparing {
                return;
            }
            state.preparing = true;
        }
        let _preparing = Preparing(&self.files);
        // A spare that cannot be made is no failure until it is needed: the append that needs it tries again and
        // gets the error.
        let made = self.noted(self.next_size(0).and_then(|size| self.prepare(size, true))).ok();
        if let Some(made) = made {
            self.watch.found_room(true);
            let filled = self.filled();
            let mut state = self.files.state.lock();
            let spare = state.spare.replace(made);
            state.retired.extend(spare);
            if filled == Filled::Nearly {
                // What has just been made has not rested.
                state.announced = state.spare.as_ref().map_or(0, |spare| spare.sequence);
            }
        }
    }

    /// Lets no background work and no checkpoint begin any more, and waits until none is under way. What is queued may stand
    /// behind the work of another journal whose disk hangs: it is done here.
    pub(super) fn end_housekeeping(&self) {
        let is_ours = {
            let mut state = self.files.state.lock();
            state.closed = true;
            state.takes_job()
        };
        if is_ours {
            // As on the thread that it was meant for: a panic of the file system's or of a key provider's is not the closer's.
            contained(|| self.housekeep());
        }
        let mut state = self.files.state.lock();
        while state.is_at_work() {
            self.files.state.wait_for_job(&mut state, "housekeeping", |state| !state.is_at_work());
        }
    }
}

/// While it is there, somebody makes a file, or readies one: to its end, or until a key provider panics.
struct Preparing<'a>(&'a Files);

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().preparing = false;
        self.0.state.notify_all();
    }
}

/// A background job that has not come to its end: where it panics, it ends all the same.
struct Stranded<'a>(Option<&'a Files>);

impl Drop for Stranded<'_> {
    fn drop(&mut self) {
        if let Some(files) = self.0 {
            files.state.lock().job = Stage::None;
            files.state.notify_all();
        }
    }
}

/// While it is there, the journal's files are not given up.
pub(super) struct Pin<'a>(&'a Files);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.state.lock().pins -= 1;
        self.0.state.notify_all();
    }
}

/// Files to remove.
struct Unused {
    leftover: Vec<PathBuf>,
    retired: Vec<Arc<Segment>>,
}

impl Unused {
    fn is_empty(&self) -> bool {
        self.leftover.is_empty() && self.retired.is_empty()
    }
}

impl State {
    fn is_at_work(&self) -> bool {
        self.job != Stage::None || self.pins > 0
    }

    /// The spare, if the disk is to be told that it will be written to.
    fn to_announce(&self, filled: Filled) -> Option<&Arc<Segment>> {
        let is_due = filled == Filled::Nearly && !self.closed && !self.preparing;
        self.spare.as_ref().filter(|spare| is_due && spare.sequence != self.announced)
    }

    /// The same, and says it once.
    fn announce(&mut self, filled: Filled) -> Option<Arc<Segment>> {
        let spare = self.to_announce(filled).map(Arc::clone)?;
        self.announced = spare.sequence;
        Some(spare)
    }

    /// Whether a job was queued and nobody else does it: whoever asks does.
    fn takes_job(&mut self) -> bool {
        let is_queued = self.job == Stage::Queued;
        if is_queued {
            self.job = Stage::Running;
        }
        is_queued
    }

    /// A retired file of this size that may be used anew.
    fn take_recyclable(&mut self, size_bytes: u32) -> Option<Arc<Segment>> {
        let linked = std::mem::take(&mut self.linked);
        #[cfg(mutate)]
        let linked = if mutate::is(Mutation::LinkedRecycled) { BTreeSet::new() } else { linked };
        // An earlier version's encrypted file shows terms until all of it is written over.
        let is_fit = |old: &Segment| old.size_bytes == size_bytes && old.vouches_for_terms();
        let taken = self.take_unused(|old| is_fit(old) && !linked.contains(&old.sequence));
        self.linked = linked;
        taken
    }

    /// Whether some file that nobody needs has no reader left.
    fn has_unused(&self) -> bool {
        !self.leftover.is_empty()
            || !self.indexes.is_empty()
            || self.retired.iter().any(|segment| Arc::strong_count(segment) == 1)
    }

    fn take_all_unused(&mut self) -> Unused {
        let leftover = std::mem::take(&mut self.leftover);
        Unused { leftover, retired: std::iter::from_fn(|| self.take_unused(|_| true)).collect() }
    }

    fn take_unused(&mut self, accept: impl Fn(&Segment) -> bool) -> Option<Arc<Segment>> {
        let at = self.retired.iter().position(|segment| Arc::strong_count(segment) == 1 && accept(segment))?;
        Some(self.retired.swap_remove(at))
    }
}
