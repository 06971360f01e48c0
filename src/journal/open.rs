//! Opening: a fresh directory, an existing journal, or a look at one that others write.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::append::Writer;
use super::cache::IndexCache;
use super::checkpoint::MARKER_NAME;
use super::commit::Group;
use super::housekeeping::Files;
use super::idle::Idle;
use super::monitor::IoLock;
use super::recovery::{self, Recovered, Source};
use super::repairs::Repairs;
use super::shown::SharedView;
use super::stable::Meta;
use super::tail::TailCache;
use super::view::{Sealed, View};
use super::watch::Watch;
use super::{Core, Handle, Journal, OnDamage, OpenOptions, RecoveryReport, Suspect, trace};
use crate::error::{Error, JournalId, Result};
use crate::io::{Fs, Mode, PathKind};
use crate::keys::Keys;
use crate::meta::{self, Accepted, ChainStart, Health, Loaded, MetaStore, State};
use crate::segment::fold::Fold;
use crate::segment::window::Window;
use crate::segment::{self, Opened, Recipe, Segment};
use crate::stable_store::Changes;
use crate::sync::{AtomicBool, AtomicU64, Mutex, RwLock};

pub(super) const LOCK_NAME: &str = "LOCK";
/// How often a read-only open looks again when a live writer changed the files under it.
const READ_ONLY_TRIES: usize = 8;

/// No journal ever makes so many files: behind this one, numbers could run out while it is in use.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// What a directory is.
enum Survey {
    Fresh,
    Existing,
}

pub(super) fn open(options: &OpenOptions, dir: &Path) -> Result<Journal> {
    let _span = trace::open(dir);
    if options.read_only {
        return open_read_only(options, dir);
    }
    let fs = &*options.file_system;
    // Looked at before anything is made: what is no journal stays as it is.
    survey(fs, dir)?;
    fs.create_dir(dir).map_err(|error| Error::io("create", dir, None, error))?;
    let lock_path = dir.join(LOCK_NAME);
    let lock = fs.lock(&lock_path).map_err(|error| Error::io("lock", &lock_path, None, error))?;
    let Some(lock) = lock else { return Err(Error::Locked { path: lock_path }) };
    // Again, now that nobody else can change it.
    let (loaded, created) = match survey(fs, dir)? {
        Survey::Existing => {
            // What is found here may be a name that power loss could still forget.
            fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, None, error))?;
            let loaded = MetaStore::open(fs, dir, Mode::Write, options.keys.as_ref())?;
            if loaded.state.start.is_none() {
                // Its first open was cut short, perhaps before the directory's own name was synced.
                sync_parent(fs, dir)?;
            }
            (loaded, false)
        }
        Survey::Fresh => (create(options, dir)?, true),
    };
    let core = start(options, dir, loaded, created)?;
    *core.lock.lock() = Some(lock);
    core.housekeep_soon();
    core.scrub();
    Ok(Journal(Arc::new(Handle { core })))
}

fn survey(fs: &dyn Fs, dir: &Path) -> Result<Survey> {
    let not_a_journal = |why: String| Error::NotAJournal { dir: dir.to_path_buf(), why };
    match fs.kind(dir).map_err(|error| Error::io("look at", dir, None, error))? {
        PathKind::Missing => return Ok(Survey::Fresh),
        PathKind::File => return Err(not_a_journal("it is a file".into())),
        PathKind::Directory => {}
    }
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, None, error))?;
    if names.iter().any(|name| name == meta::FILE_NAME) {
        return Ok(Survey::Existing);
    }
    if names.iter().any(|name| name == MARKER_NAME) {
        return Err(Error::UnfinishedCheckpoint { dir: dir.to_path_buf() });
    }
    if let Some(first) = recovery::lowest_segment(&names) {
        return Err(Error::SegmentsWithoutMeta { dir: dir.to_path_buf(), first_segment: first.clone() });
    }
    let ours = [LOCK_NAME, meta::UNFINISHED_NAME];
    match names.iter().find(|name| !ours.contains(&name.as_str())) {
        Some(other) => Err(not_a_journal(format!("it holds `{other}` and no `meta`"))),
        None => Ok(Survey::Fresh),
    }
}

/// Makes `meta`, naming no segment: the step that makes a directory a journal.
fn create(options: &OpenOptions, dir: &Path) -> Result<Loaded> {
    let fs = &*options.file_system;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&fs.entropy().to_le_bytes());
    id[8..].copy_from_slice(&fs.entropy().to_le_bytes());
    let (state, keys) = (State::new(JournalId(id)), options.keys.clone());
    let (store, state) = MetaStore::create(fs, dir, state, options.meta_bytes_max, keys)?;
    sync_parent(fs, dir)?;
    Ok(Loaded { store, state, health: Health::Sound })
}

/// Without this, power loss can forget the directory with everything in it.
pub(super) fn sync_parent(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    fs.sync_dir(parent).map_err(|error| Error::io("sync", parent, None, error))
}

/// What an open for writing found, before it changed anything.
struct Found {
    recovered: Option<Recovered>,
    repairs: Repairs,
    next_sequence: u64,
    report: RecoveryReport,
    outside: Outside,
    /// Nobody has opened it for writing since it was made as a checkpoint.
    is_checkpoint: bool,
}

/// Recovers the log and decides about every file. Changes nothing.
fn find(options: &OpenOptions, dir: &Path, state: &State, health: Health, mode: Mode) -> Result<Found> {
    let fs = &*options.file_system;
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, None, error))?;
    let (repairs, unmended) = Repairs::load(options, dir, state, mode)?;
    let mut recovered = recover(options, dir, (state, health), &names, mode, &repairs)?;
    let next_sequence = next_sequence(dir, state, &names, recovered.as_ref())?;
    let (bytes, bytes_max) = (meta::format::pairs_bytes(&state.pairs), options.meta_bytes_max);
    if bytes > bytes_max {
        return Err(Error::StoreFull { bytes, bytes_max });
    }
    let mut report = recovered.as_mut().map(|recovered| std::mem::take(&mut recovered.report)).unwrap_or_default();
    report.damaged.extend(unmended.into_iter().map(Arc::new));
    let mut outside = outside_chain(options, dir, state, &names, recovered.as_mut(), &mut report)?;
    outside.remove.extend(unfinished(dir, &names));
    outside.remove.extend(repairs.unnamed(dir, &names));
    report.leftover.clone_from(&outside.remove);
    let is_checkpoint = names.iter().any(|name| name == MARKER_NAME);
    Ok(Found { recovered, repairs, next_sequence, report, outside, is_checkpoint })
}

/// Recovers the log, begins a new life, and hands out the journal.
fn start(options: &OpenOptions, dir: &Path, loaded: Loaded, created: bool) -> Result<Arc<Core>> {
    let fs = &*options.file_system;
    let Loaded { mut store, mut state, health } = loaded;
    let found = find(options, dir, &state, health, Mode::Write)?;
    let Found { recovered, mut repairs, next_sequence, mut report, outside, is_checkpoint } = found;
    report.describe(&state, health, created);
    doubt(&mut state, health);
    if is_checkpoint {
        // Without the key for what is written, this open fails, and the checkpoint stays one.
        options.current_key(dir, state.journal_id)?;
        let marker = dir.join(MARKER_NAME);
        fs.remove(&marker).map_err(|error| Error::io("remove", &marker, None, error))?;
        // Without this, power loss could bring it back, and a later checkpoint would replace what is written now.
        fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, None, error))?;
    }
    if store.has_other_bound(options.meta_bytes_max) {
        state.generation += 1;
        (store, state) = MetaStore::create(fs, dir, state, options.meta_bytes_max, options.keys.clone())?;
    }
    let Outside { spare, remove } = outside;
    let (chain, accepted, next_sequence) = begin_chain(options, dir, &state, recovered, &remove, next_sequence)?;
    // Only once this life has begun: until then, an open that fails leaves everything as it was, but for what was never
    // finished.
    let files = Files::new(fs.tasks(), spare, remove, next_sequence);
    let chain_start = state.start.unwrap_or(chain.active_start);
    repairs.accept(accepted);
    let core = assemble(options, dir, Some(store), state, chain, files, (report, repairs))?;
    core.settle_end()?;
    core.begin_life(chain_start)?;
    if health != Health::Sound {
        // A commit writes one slot, both copies: another one, and no bad copy is left in either.
        core.begin_life(chain_start)?;
    }
    Ok(core)
}

/// Has the state say itself that a newer one may be lost: until a life has begun nothing else does, nor in a checkpoint.
fn doubt(state: &mut State, health: Health) {
    state.suspect |= health == Health::SlotLost;
    // A copy of elsewhere may say so.
    state.clean &= health != Health::SlotLost;
}

/// The sequence of the next file: behind every one that is there, and every one that anything names.
fn next_sequence(dir: &Path, state: &State, names: &[String], recovered: Option<&Recovered>) -> Result<u64> {
    let there = names.iter().filter_map(|name| {
        // Of what was never finished, only a number that a file can get.
        segment::any_sequence_of(name).filter(|&number| number < SEQUENCE_MAX || !segment::is_unfinished(name))
    });
    let mending = state.repaired.iter().map(|repaired| repaired.file.max(repaired.sequence));
    let lost = state.accepted.iter().map(|accepted| accepted.sequence);
    let highest =
        there.chain(mending).chain(lost).chain(recovered.map(|recovered| recovered.highest)).max().unwrap_or(0);
    (highest < SEQUENCE_MAX).then(|| highest + 1).ok_or_else(|| {
        let why = format!("no segment can follow `{}`, which is not one of ours", segment::file_name(highest));
        Error::NotAJournal { dir: dir.to_path_buf(), why }
    })
}

fn recover(
    options: &OpenOptions,
    dir: &Path,
    (state, health): (&State, Health),
    names: &[String],
    mode: Mode,
    repairs: &Repairs,
) -> Result<Option<Recovered>> {
    let _span = trace::recover(dir);
    let fs = &*options.file_system;
    match state.start {
        Some(start) => {
            let on_damage = options.on_damage;
            let is_closed = state.clean && health != Health::SlotLost;
            recovery::recover(Source {
                fs,
                dir,
                meta: state,
                start,
                on_damage,
                mode,
                is_closed,
                repairs,
                keys: options.keys.as_ref(),
            })
            .map(Some)
        }
        None => check_unnamed(options, dir, names, state).map(|()| None),
    }
}

/// A journal whose first segment was never named holds no batch of its own: one that does has lost its `meta`.
fn check_unnamed(options: &OpenOptions, dir: &Path, names: &[String], state: &State) -> Result<()> {
    for sequence in names.iter().filter_map(|name| segment::sequence_of(name)) {
        let Opened::Whole(segment) = open_segment(options, dir, sequence, state)? else { continue };
        let (mut window, start) = (Window::new(&segment), segment.data_start());
        let first = window.header(start)?;
        if let Some(header) = first.map_or_else(|| window.next_header(start, 0), |first| Ok(Some(first)))? {
            return Err(Error::MetaOutdated {
                path: dir.join(meta::FILE_NAME),
                found_generation: state.generation,
                found_life: state.life,
                generation: header.meta_generation,
                life: header.life,
                witness: segment.path.clone(),
                offset: u64::from(header.offset),
            });
        }
    }
    Ok(())
}

/// Looks at a file outside the chain.
fn open_segment(options: &OpenOptions, dir: &Path, sequence: u64, state: &State) -> Result<Opened> {
    Segment::open(&*options.file_system, dir, sequence, state.journal_id, Mode::Read, options.keys.as_ref())
}

/// The log's segments, ready to go on.
struct Chain {
    sealed: VecDeque<Sealed>,
    active: Arc<Segment>,
    active_start: ChainStart,
    fold: Fold,
    index_batch: (u32, u32),
}

/// The chain as it was recovered; or one that goes on in a new file: a fresh journal's first, or one behind a file
/// that is lost. `leftover` is what nobody needs.
fn begin_chain(
    options: &OpenOptions,
    dir: &Path,
    state: &State,
    recovered: Option<Recovered>,
    leftover: &[PathBuf],
    next_sequence: u64,
) -> Result<(Chain, Vec<Accepted>, u64)> {
    let (sealed, fold, mut accepted) = match recovered {
        Some(Recovered { active: Some(active), sealed, active_start, fold, index_batch, accepted, .. }) => {
            return Ok((Chain { sealed, active, active_start, fold, index_batch }, accepted, next_sequence));
        }
        Some(recovered) => (recovered.sealed, Some(recovered.fold), recovered.accepted),
        None => (VecDeque::new(), None, Vec::new()),
    };
    let fs = &*options.file_system;
    let recipe = Recipe {
        sequence: next_sequence,
        size_bytes: options.next_segment_bytes(None),
        salt: segment::salt_made_in(state.life.saturating_add(1), fs.entropy()),
        journal_id: state.journal_id,
        aligned: options.aligned,
        key: options.current_key(dir, state.journal_id)?,
    };
    // Nothing ever refers to what was never finished; it would pile up where open after open is cut short here, and may
    // have the last room.
    let is_unfinished =
        |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(segment::is_unfinished);
    leftover.iter().filter(is_unfinished).for_each(|path| _ = fs.remove(path));
    let active = Segment::prepare(fs, dir, &recipe, None)?;
    let offset = active.data_start();
    let fold = fold.map_or_else(|| Fold::start(offset, 0, 0, false), |fold| fold.successor(offset));
    let (salt, chain, base) = (recipe.salt, fold.chain, fold.base);
    let active_start = ChainStart { sequence: next_sequence, salt, offset, chain, base };
    // Where the last loss ends: known only now.
    if let Some(lost) = accepted.last_mut().filter(|lost| !state.accepted.contains(lost)) {
        lost.resume = (next_sequence, offset);
    }
    let index_batch = (0, 0);
    Ok((Chain { sealed, active, active_start, fold, index_batch }, accepted, next_sequence + 1))
}

/// Files with a segment's name that the chain does not have.
#[derive(Default)]
struct Outside {
    spare: Option<Arc<Segment>>,
    remove: Vec<PathBuf>,
}

/// Sorts the files outside the chain: one spare to use, ours to remove, others' to leave alone.
fn outside_chain(
    options: &OpenOptions,
    dir: &Path,
    state: &State,
    names: &[String],
    recovered: Option<&mut Recovered>,
    report: &mut RecoveryReport,
) -> Result<Outside> {
    let mut outside = Outside::default();
    let (mut unreached, mut active) = (Vec::new(), 0);
    if let Some(recovered) = recovered {
        outside.remove = std::mem::take(&mut recovered.leftover);
        unreached = std::mem::take(&mut recovered.spares);
        active = recovered.active.as_ref().map_or(0, |active| active.sequence);
    }
    let key_id = options.keys.as_ref().map_or(0, Keys::current);
    for segment in unreached {
        let is_blank = Window::new(&segment).header(segment.data_start())?.is_none();
        let fits = segment.align == Segment::align_for(options.aligned)
            && segment.key_id == key_id
            && segment.key_fault.is_none()
            && segment.hides_terms == options.keys.is_some()
            && segment.sequence > active
            && active != 0
            && segment.is_headed_twice()?;
        match () {
            () if is_blank && fits && outside.spare.is_none() => outside.spare = Some(segment),
            () if is_blank => outside.remove.push(segment.path.clone()),
            // It holds batches, and nothing leads to it: not ours to judge.
            () => report.foreign.push(segment.path.clone()),
        }
    }
    // What lies before the chain was truncated; in a journal that names no chain yet, nothing is part of it.
    let first = state.start.map_or(u64::MAX, |start| start.sequence);
    for sequence in names.iter().filter_map(|name| segment::sequence_of(name)).filter(|&sequence| sequence < first) {
        let path = dir.join(segment::file_name(sequence));
        match open_segment(options, dir, sequence, state) {
            Ok(Opened::Whole(_) | Opened::Short | Opened::Misnamed) => outside.remove.push(path),
            Ok(Opened::Unreadable | Opened::Foreign(_) | Opened::Newer(_)) => report.foreign.push(path),
            // Beside a writer, which removed it meanwhile.
            Err(error) if error.is_missing_file() => {}
            Err(error) => return Err(error),
        }
    }
    if !report.damaged.is_empty() {
        // What cannot be placed may be what is missing: where something is lost, nothing is removed.
        return Ok(Outside::default());
    }
    Ok(outside)
}

/// Files whose preparation a crash cut short: no name that anything refers to.
fn unfinished(dir: &Path, names: &[String]) -> Vec<PathBuf> {
    let ours = |name: &&String| segment::is_unfinished(name) || name.as_str() == meta::UNFINISHED_NAME;
    names.iter().filter(ours).map(|name| dir.join(name)).collect()
}

fn assemble(
    options: &OpenOptions,
    dir: &Path,
    store: Option<MetaStore>,
    mut state: State,
    chain: Chain,
    files: Files,
    (mut report, repairs): (RecoveryReport, Repairs),
) -> Result<Arc<Core>> {
    let Chain { sealed, active, active_start, fold, index_batch } = chain;
    let tail = TailCache::new(options.tail_cache_bytes);
    let purged = state.purged;
    let met = super::repair::met_at_open(&report);
    let lost = report.damaged.iter().map(|damage| damage.indexes).collect();
    sealed.iter().for_each(|sealed| repairs.doubt(sealed));
    let healed = repairs.healed(options, dir, state.journal_id, &sealed)?;
    let is_read = |sequence| active.sequence == sequence || sealed.iter().any(|it| it.segment.sequence == sequence);
    report.damaged = report.damaged.iter().flat_map(|damage| repairs.rest_of(dir, damage, &healed, is_read)).collect();
    let (last, rewrites, rotations, repairs) = (None, 0, 0, Arc::new(repairs));
    let view = View {
        purged,
        last,
        sealed: sealed.into(),
        active,
        active_start,
        fold,
        last_batch_bytes: 0,
        index_batch,
        lost,
        repairs,
        rewrites,
        rotations,
        tail,
    };
    let fs = Arc::clone(&options.file_system);
    let tasks = fs.tasks();
    let looked_at = store.is_none().then(|| state.clone());
    let watch = Watch::new(Arc::clone(&tasks), options.slow_sync_after, dir);
    Ok(Arc::new(Core {
        options: options.clone(),
        dir: dir.to_path_buf(),
        journal_id: state.journal_id,
        life: report.life,
        report,
        writer: IoLock::new(Arc::clone(&tasks), "the writer lock", Writer::default()),
        group: Group::new(Arc::clone(&tasks), Arc::clone(&watch), view.written()),
        watch,
        view: SharedView::new(view),
        pairs: RwLock::new(std::mem::take(&mut state.pairs)),
        coming: Mutex::default(),
        committed_generation: AtomicU64::new(state.generation),
        meta: IoLock::new(Arc::clone(&tasks), "the lock of `meta`", store.map(|store| Meta { store, state })),
        looked_at,
        files,
        idle: Idle::default(),
        catching_up: Arc::default(),
        index_cache: IndexCache::default(),
        met: Mutex::new(met),
        repairing: IoLock::new(Arc::clone(&tasks), "the lock of repairs", ()),
        closing: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        lock: Mutex::new(None),
        tasks,
        fs,
    }))
}

impl Core {
    /// Finds the last position, which may only stand in the entry itself, and what is lost now.
    fn settle_end(&self) -> Result<()> {
        let end = self.view.read().next();
        let has_entries = self.view.read().first().is_some();
        let last = if has_entries { self.position_before(end)? } else { None };
        {
            let mut view = self.view.write();
            view.last = last;
            self.group.settle(view.written());
        }
        if !self.report.damaged.is_empty() {
            // Looked for anew: of a loss that was accepted earlier, all may have been replaced since.
            self.watch.gave_up(self.damaged(Vec::new()).into_iter().map(|damage| damage.indexes).collect());
        }
        Ok(())
    }

    /// Commits the next life, with the mark at the end of the adopted log: from here on, what earlier lives left
    /// behind it is neither a batch nor evidence.
    fn begin_life(&self, start: ChainStart) -> Result<()> {
        let repairs = Arc::clone(&self.view.read().repairs);
        let mut meta = self.meta.lock();
        let Some(meta) = meta.as_mut() else { return Ok(()) };
        let begun = self.commit_state(meta, &Changes::new(), |state| {
            state.life = self.life;
            state.begin = Some(state.mark.place());
            // Until something else is committed: who has not been told yet, because power fails before this open is done,
            // is told by the next one.
            state.suspect = self.report.suspect.as_ref().is_some_and(|suspect| suspect.vote);
            state.start = Some(start);
            state.accepted.clone_from(&repairs.accepted);
            state.repaired = repairs.records();
        });
        begun.map_err(|error| match error {
            Error::Poisoned { cause } => Error::clone(&cause),
            error => error,
        })
    }
}

impl RecoveryReport {
    fn describe(&mut self, state: &State, health: Health, created: bool) {
        self.created = created;
        self.clean = state.clean && health != Health::SlotLost;
        self.life = state.life.saturating_add(1);
        #[cfg(mutate)]
        if crate::mutate::is(crate::mutate::Mutation::LifeNotRaised) {
            self.life = state.life.max(1);
        }
        self.meta_healed = health == Health::Healed;
        self.suspect =
            (!created && !self.clean).then_some(Suspect { vote: health == Health::SlotLost || state.suspect });
    }
}

/// Opens without a lock and without writing.
fn open_read_only(options: &OpenOptions, dir: &Path) -> Result<Journal> {
    let core = look_often(options, |options| look(options, dir))?;
    core.scrub();
    Ok(Journal(Arc::new(Handle { core })))
}

/// What an open for writing would find and do. Changes nothing.
pub(super) fn preview(options: &OpenOptions, dir: &Path) -> Result<RecoveryReport> {
    look_often(options, |options| foresee(options, dir))
}

/// Looks at files that a live writer may change meanwhile: what looks like damage may be the writer at work, and is
/// accepted only when it stays.
fn look_often<T>(options: &OpenOptions, look: impl Fn(&OpenOptions) -> Result<T>) -> Result<T> {
    let strict = options.clone().on_damage(OnDamage::Refuse);
    for _ in 1..READ_ONLY_TRIES {
        match look(&strict) {
            Err(Error::Damaged(_) | Error::MetaOutdated { .. } | Error::MetaUnreadable { .. } | Error::Io { .. }) => {}
            result => return result,
        }
    }
    look(options)
}

fn foresee(options: &OpenOptions, dir: &Path) -> Result<RecoveryReport> {
    let fs = &*options.file_system;
    match survey(fs, dir)? {
        Survey::Fresh => Ok(RecoveryReport { created: true, life: 1, ..RecoveryReport::default() }),
        Survey::Existing => {
            let Loaded { state, health, .. } = MetaStore::open(fs, dir, Mode::Read, options.keys.as_ref())?;
            let mut report = find(options, dir, &state, health, Mode::Read)?.report;
            report.describe(&state, health, false);
            Ok(report)
        }
    }
}

fn look(options: &OpenOptions, dir: &Path) -> Result<Arc<Core>> {
    let fs = &*options.file_system;
    let not_yet = |why: &str| Error::NotAJournal { dir: dir.to_path_buf(), why: why.into() };
    match survey(fs, dir)? {
        Survey::Fresh => return Err(not_yet("there is nothing, and a read-only open makes nothing")),
        Survey::Existing => {}
    }
    let Loaded { mut state, health, .. } = MetaStore::open(fs, dir, Mode::Read, options.keys.as_ref())?;
    doubt(&mut state, health);
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, None, error))?;
    let (mut repairs, unmended) = Repairs::load(options, dir, &state, Mode::Read)?;
    let recovered = recover(options, dir, (&state, health), &names, Mode::Read, &repairs)?;
    let Some(Recovered { active: Some(active), sealed, active_start, fold, index_batch, accepted, mut report, .. }) =
        recovered
    else {
        return Err(not_yet("the log has no segment to read from yet: open it for writing once"));
    };
    state.accepted.clone_from(&accepted);
    repairs.accept(accepted);
    // A checkpoint takes the state over: not what was put back and is lost again, which was accepted.
    state.repaired = repairs.records();
    report.describe(&state, health, false);
    report.damaged.extend(unmended.into_iter().map(Arc::new));
    report.life = state.life;
    let chain = Chain { sealed, active, active_start, fold, index_batch };
    let core =
        assemble(options, dir, None, state, chain, Files::new(fs.tasks(), None, Vec::new(), 0), (report, repairs))?;
    core.settle_end()?;
    Ok(core)
}
