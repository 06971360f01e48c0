//! Checkpoints: a copy of the journal as it was at one moment, made while it is in use.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::view::Slots;
use super::{Core, Journal};
use crate::entry::Position;
use crate::error::{Error, Result, TargetFault};
use crate::io::{self, File, Mode, PathKind};
use crate::keys::Keys;
use crate::meta::format::pairs_bytes;
use crate::meta::{self, MetaStore, State};
use crate::segment::format::{BatchHeader, HEADER_BYTES, Header, Kind};
use crate::segment::repair::{self, RepairFile};
use crate::segment::window::Window;
use crate::segment::{self, Opened, Segment};

/// A file in each checkpoint, until it is opened for writing: without `meta` beside it, the checkpoint is not finished.
pub(super) const MARKER_NAME: &str = "CHECKPOINT";
/// What is copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What [`Journal::checkpoint`] made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The newest entry that is in it, or the purged position of an empty log.
    pub last: Option<Position>,
    /// The segment files that it has.
    pub segments: usize,
    /// Those of them that were there, from an older checkpoint or one that was not finished.
    pub kept: usize,
    /// Those that are the journal's own files under one more name: of those that lie before the last commit.
    pub linked: usize,
    /// Those that share the blocks of the journal's files.
    pub cloned: usize,
    /// Those that were copied, byte by byte; the newest one always is.
    pub copied: usize,
    /// What was copied, bytes.
    pub copied_bytes: u64,
    /// Files of an older checkpoint that the log has left behind since.
    pub removed: usize,
}

/// The moment that a checkpoint is of: fixed before anything is copied.
struct Cut {
    /// What its `meta` will say.
    state: State,
    /// The segments up to the durable mark, which is in the last of them.
    pieces: Vec<Piece>,
    last: Option<Position>,
}

impl Cut {
    /// How many segment files there are.
    fn segments(&self) -> usize {
        self.pieces.iter().filter(|piece| !matches!(piece.extent, Extent::Repair)).count()
    }
}

/// A segment file as far as a checkpoint takes it.
struct Piece {
    /// Holding it keeps the file from being removed or recycled.
    segment: Arc<Segment>,
    extent: Extent,
    /// Whether the mark in `meta` lies behind the file, so that no open can take it for the newest one and write to it.
    /// Without such a mark only the seal says that the file is full: where that goes bad, and nothing was written behind
    /// it yet, nothing tells a seal from a torn batch, and the log goes on in the file.
    is_final: bool,
}

impl Piece {
    /// The file's name, there as here.
    fn name(&self) -> String {
        match self.extent {
            Extent::Repair => repair::file_name(self.segment.sequence),
            Extent::Sealed(_) | Extent::Whole | Extent::Tail(_) => segment::file_name(self.segment.sequence),
        }
    }
}

/// How much of a segment file a checkpoint takes.
#[derive(Clone, Copy)]
enum Extent {
    /// All of a file that is never written to again, with its seal at this offset.
    Sealed(u32),
    /// All of a file that is never written to again, and whose seal cannot be read.
    Whole,
    /// All of a repair file: never written to again either.
    Repair,
    /// The newest file, up to the mark.
    Tail(u32),
}

/// A directory that takes a checkpoint.
struct Target<'a> {
    core: &'a Core,
    dir: &'a Path,
    made: Checkpoint,
}

impl Journal {
    /// Copies the journal into `dir` as it is now, while appends, truncations and votes go on: its log up to an entry
    /// that is durable, and its small state. [`open`](Journal::open) then opens the copy like any journal.
    ///
    /// `dir` is an empty directory, one that does not exist yet (its parent must), or one that holds an older checkpoint
    /// of this journal. Of an older one, sealed segments that are there are not copied again. While it is brought forward
    /// it cannot be opened; whoever cannot do without it for that long takes two directories in turn.
    ///
    /// Sealed segments are given a second name where both directories are on one file system that has hard links, so
    /// that they take no time and no room. The journal never writes to such a file again, and unlinks it in the end
    /// instead of using it anew. Elsewhere they share blocks, where the file system can, or are copied; so are, on any file
    /// system, those that were sealed since the last commit ([`set`](crate::StableStore::set), a head truncation, half a
    /// second without a write): damage could still make the journal write to them. The newest segment is copied. Head
    /// truncation meanwhile removes nothing that is still to be copied. The copy is synced, and
    /// becomes a journal with the last file that is written, `meta`: a checkpoint that was interrupted does not open
    /// ([`Error::UnfinishedCheckpoint`]), and is finished by another one into the same directory.
    ///
    /// Nothing is verified on the way: what is damaged here is damaged there.
    ///
    /// The copy has the same [id](Journal::id). What was acknowledged after it, votes too, it has never heard of: a node
    /// must not go on under its old identity from a checkpoint that is older than its last vote.
    ///
    /// On a handle that was opened read-only nothing is linked: files are cloned where the file system can, else copied. The
    /// copy is of what was there when the handle was opened; if the journal's writer has recycled a file since, the answer
    /// is [`Error::Overtaken`]. What that writer had not synced may be in the copy.
    ///
    /// ```
    /// use raft_journal::{Entry, Journal, LogStore};
    ///
    /// # fn main() -> Result<(), raft_journal::Error> {
    /// # let temporary = tempfile::tempdir().expect("a temporary directory");
    /// # let (dir, backup) = (temporary.path().join("node-1"), temporary.path().join("backup"));
    /// let journal = Journal::open(&dir)?;
    /// journal.append(&[Entry::new(1, 1, "set x")])?;
    /// journal.checkpoint(&backup)?;
    /// journal.append(&[Entry::new(2, 1, "set y")])?; // comes too late
    /// let copy = Journal::open(&backup)?;
    /// assert_eq!(copy.state().last_index(), Some(1));
    /// # copy.close()?;
    /// # journal.close()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::CheckpointTarget`], [`Error::NotAJournal`] and [`Error::Locked`] when the directory cannot take it, which
    /// is then as it was, and [`Error::Key`] where the current key is missing; [`Error::Poisoned`], [`Error::NoSpace`] and
    /// [`Error::Io`]; [`Error::Closed`], also when the journal is closed meanwhile; [`Error::Overtaken`].
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<Checkpoint> {
        let core = self.core();
        core.group.refuse_in_callback("checkpoint")?;
        core.check_open()?;
        let pin = core.files.pin()?;
        let made = core.checkpoint(dir.as_ref());
        drop(pin);
        core.housekeep_soon();
        made
    }
}

impl Core {
    fn checkpoint(&self, dir: &Path) -> Result<Checkpoint> {
        // The copy's `meta` needs it: asked for before anything is given up.
        self.options.current_key(&self.dir, self.journal_id)?;
        let mut target = Target { core: self, dir, made: Checkpoint::default() };
        // Looked at before anything is made: what cannot take it stays as it is.
        let kind = target.kind()?;
        if kind == PathKind::Directory {
            target.check()?;
        } else {
            self.fs.create_dir(dir).map_err(|error| Error::io("create", dir, None, error))?;
        }
        let lock_path = dir.join(super::open::LOCK_NAME);
        let lock = self.fs.lock(&lock_path).map_err(|error| Error::io("lock", &lock_path, None, error))?;
        let Some(_lock) = lock else { return Err(Error::Locked { path: lock_path }) };
        // Again, now that nobody else can change it.
        let older = target.check()?;
        let cut = self.cut()?;
        if self.looked_at.is_some() && target.is_source()? {
            // Which a handle that only reads does not lock: nothing of it is touched.
            return match older {
                Some(older) if is_same(&older, &cut.state) => {
                    let segments = cut.segments();
                    Ok(Checkpoint { last: cut.last, segments, kept: segments, ..target.made })
                }
                _ => Err(target.refuse(TargetFault::Newer)),
            };
        }
        if older.is_some_and(|older| !is_older(&older, &cut.state)) {
            return Err(target.refuse(TargetFault::Newer));
        }
        target.begin()?;
        super::open::sync_parent(&*self.fs, dir)?;
        let wanted = self.wanted(&cut)?;
        target.remove_others(&wanted)?;
        for piece in &cut.pieces {
            target.place(piece)?;
        }
        for name in wanted.iter().filter(|wanted| cut.pieces.iter().all(|piece| piece.name() != **wanted)) {
            target.place_remains(name)?;
        }
        target.sync_names()?;
        // Only now: with `meta` the copy is whole.
        let segments = cut.segments();
        // A handle that only reads may have been opened with a bound that is too small for what is there.
        let bytes_max = self.options.meta_bytes_max.max(pairs_bytes(&cut.state.pairs));
        // Up to the generation that the journal has: a copy that a misdirected write brings to the journal's own `meta` must not
        // pass for a newer one.
        let state = State { generation: cut.state.generation.saturating_sub(1), ..cut.state };
        MetaStore::create(&*self.fs, dir, state, bytes_max, self.options.keys.clone())?;
        Ok(Checkpoint { last: cut.last, segments, ..target.made })
    }

    /// Fixes what the checkpoint holds: everything that is durable now.
    fn cut(&self) -> Result<Cut> {
        // No commit may come in between: what `meta` says, and where the log stands, belong together. Appends go on.
        let meta = self.meta.lock();
        self.check_open()?;
        let pairs = || self.pairs.read().clone();
        // What of the chain lies before this sequence is never written to again.
        let (state, last, committed) = match (&*meta, &self.looked_at) {
            (Some(meta), _) => {
                // Before the sync: a lazy value that comes later may speak of entries that this sync does not cover.
                let pairs = pairs();
                self.group.sync_all()?;
                let (last, mark) = self.group.cut();
                let committed = meta.state.mark.sequence;
                // A newest vote that may be lost is so in the copy, too.
                let clean = !meta.state.suspect;
                (State { mark, pairs, clean, ..meta.state.clone() }, last, committed)
            }
            (None, Some(state)) => {
                let view = self.view.read();
                (State { mark: view.mark(), pairs: pairs(), ..state.clone() }, view.end_position(), 0)
            }
            (None, None) => return Err(Error::Closed),
        };
        let mark = state.mark;
        // A rotation settles the mark before it shows the segment that the mark is in.
        while self.view.read().active.sequence < mark.sequence {
            self.tasks.pause();
        }
        let view = self.view.read();
        let sealed = view.sealed.iter().map(|sealed| {
            let extent = match sealed.slots {
                Slots::Sealed { offset, .. } => Extent::Sealed(offset),
                Slots::Scanned(_) => Extent::Whole,
            };
            (&sealed.segment, extent)
        });
        let chain = sealed.chain([(&view.active, Extent::Whole)]);
        let pieces = chain.filter(|(segment, _)| segment.sequence <= mark.sequence).map(|(segment, extent)| {
            let is_tail = segment.sequence == mark.sequence;
            let extent = if is_tail { Extent::Tail(mark.offset) } else { extent };
            Piece { segment: Arc::clone(segment), extent, is_final: segment.sequence < committed }
        });
        let repair = |segment: &Arc<Segment>| {
            let segment = Arc::clone(segment);
            Piece { segment, extent: Extent::Repair, is_final: self.looked_at.is_none() }
        };
        let repairs = view.repairs.files().map(|(_, file)| repair(&file.segment));
        let mut pieces: Vec<Piece> = pieces.chain(repairs).collect();
        // Several repairs may be in one file.
        let mut names = BTreeSet::new();
        pieces.retain(|piece| names.insert(piece.name()));
        Ok(Cut { pieces, state, last })
    }

    /// The names of the files that belong into the copy: where something was lost, also what remains of the files that the
    /// log cannot use, so that the copy tells the same.
    fn wanted(&self, cut: &Cut) -> Result<BTreeSet<String>> {
        let mut wanted: BTreeSet<String> = cut.pieces.iter().map(Piece::name).collect();
        if let (false, Some(start)) = (cut.state.accepted.is_empty(), cut.state.start) {
            let names = self.fs.list(&self.dir).map_err(|error| Error::io("list", &self.dir, None, error))?;
            let chain = start.sequence..=cut.state.mark.sequence;
            let in_chain = |name: &String| segment::sequence_of(name).is_some_and(|found| chain.contains(&found));
            wanted.extend(names.into_iter().filter(in_chain));
        }
        Ok(wanted)
    }
}

/// Whether nobody wrote to a checkpoint since a handle saw it in this state.
fn is_same(older: &State, state: &State) -> bool {
    let what = |state: &State| (state.life, state.generation, state.mark.place());
    what(older) == what(state)
}

/// Whether a checkpoint may be brought forward to a state.
fn is_older(older: &State, state: &State) -> bool {
    older.life <= state.life && older.mark.place() <= state.mark.place() && older.generation <= state.generation
}

impl Target<'_> {
    fn kind(&self) -> Result<PathKind> {
        let kind = self.core.fs.kind(self.dir).map_err(|error| Error::io("look at", self.dir, None, error))?;
        match kind {
            PathKind::File => Err(Error::NotAJournal { dir: self.dir.to_path_buf(), why: "it is a file".into() }),
            kind => Ok(kind),
        }
    }

    fn keys(&self) -> Option<&Keys> {
        self.core.options.keys.as_ref()
    }

    fn refuse(&self, why: TargetFault) -> Error {
        Error::CheckpointTarget { dir: self.dir.to_path_buf(), why }
    }

    fn names(&self) -> Result<Vec<String>> {
        self.core.fs.list(self.dir).map_err(|error| Error::io("list", self.dir, None, error))
    }

    /// Whether the directory can take a checkpoint; the older one that it holds, if that is whole.
    fn check(&self) -> Result<Option<State>> {
        let (names, expected) = (self.names()?, self.core.journal_id);
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        if !has(MARKER_NAME) {
            return match names.iter().find(|name| *name != super::open::LOCK_NAME) {
                Some(_) if has(meta::FILE_NAME) => Err(self.refuse(TargetFault::InUse)),
                Some(found) => Err(self.refuse(TargetFault::NotEmpty { found: found.clone() })),
                None => Ok(None),
            };
        }
        for sequence in names.iter().filter_map(|name| segment::sequence_of(name)) {
            match Segment::open(&*self.core.fs, self.dir, sequence, expected, Mode::Read, self.keys())? {
                Opened::Foreign(found) => return Err(self.refuse(TargetFault::OtherJournal { found })),
                Opened::Newer(found) => {
                    let path = self.dir.join(segment::file_name(sequence));
                    return Err(Error::UnsupportedVersion { path, found, supported: segment::format::VERSION });
                }
                Opened::Whole(_) | Opened::Short | Opened::Misnamed | Opened::Unreadable => {}
            }
        }
        if !has(meta::FILE_NAME) {
            return Ok(None);
        }
        let older = MetaStore::open(&*self.core.fs, self.dir, Mode::Read, self.keys())?.state;
        if older.journal_id != expected {
            return Err(self.refuse(TargetFault::OtherJournal { found: older.journal_id }));
        }
        Ok(Some(older))
    }

    /// Marks the directory as a checkpoint that is not finished.
    fn begin(&self) -> Result<()> {
        let (fs, marker, meta) = (&*self.core.fs, self.dir.join(MARKER_NAME), self.dir.join(meta::FILE_NAME));
        let names = self.names()?;
        if !names.iter().any(|name| name == MARKER_NAME) {
            fs.open(&marker, Mode::Create).map_err(|error| Error::io("create", &marker, None, error))?;
        }
        // The marker first: files that nobody knows what they are would be in the way of the next attempt.
        self.sync_names()?;
        if names.iter().any(|name| name == meta::FILE_NAME) {
            fs.remove(&meta).map_err(|error| Error::io("remove", &meta, None, error))?;
            // Without this, power loss could bring an old `meta` back over files that are newer.
            self.sync_names()?;
        }
        Ok(())
    }

    /// Removes files that belong to an older checkpoint, or to one that was not finished.
    fn remove_others(&mut self, wanted: &BTreeSet<String>) -> Result<()> {
        for name in self.names()? {
            let is_ours = segment::sequence_of(&name).or_else(|| repair::sequence_of(&name)).is_some();
            let is_old = is_ours && !wanted.contains(&name);
            if is_old || segment::is_unfinished(&name) {
                let path = self.dir.join(&name);
                self.core.fs.remove(&path).map_err(|error| Error::io("remove", &path, None, error))?;
                self.made.removed += usize::from(is_old);
            }
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        self.core.fs.sync_dir(self.dir).map_err(|error| Error::io("sync", self.dir, None, error))
    }

    /// Brings a segment of the log into the directory, if it is not there.
    fn place(&mut self, piece: &Piece) -> Result<()> {
        self.core.check_open()?;
        let segment = &*piece.segment;
        let size = u64::from(segment.size_bytes);
        if let Extent::Tail(end) = piece.extent {
            // The second copy of the header, behind the trailer page.
            let second = u64::from(segment.data_end()) + u64::from(segment.data_start());
            return self.copy_tail(segment, u64::from(end)..second);
        }
        if self.has(piece)? {
            self.made.kept += 1;
            return Ok(());
        }
        let (name, path) = (piece.name(), self.dir.join(piece.name()));
        if piece.is_final {
            // An older file of that name would be in the way; without `meta` nobody misses it.
            let _ = self.core.fs.remove(&path);
            self.core.files.note_linked(segment.sequence);
            if self.core.fs.link(&segment.path, &path).is_ok() {
                self.made.linked += 1;
                return Ok(());
            }
        }
        if self.clone_whole(segment, &name)? {
            return Ok(());
        }
        match self.seal(segment, piece.extent)?.and_then(|seal| seal.end(segment.align)) {
            Some(end) => self.copy(segment, &name, &[0..u64::from(end), u64::from(segment.data_end())..size]),
            None => self.copy(segment, &name, std::slice::from_ref(&(0..size))),
        }
    }

    /// Whether the directory is the one that is copied: a checkpoint itself.
    fn is_source(&self) -> Result<bool> {
        let is_same = self.core.fs.is_same_dir(self.dir, &self.core.dir);
        is_same.map_err(|error| Error::io("look at", self.dir, None, error))
    }

    /// Whether the file is there already: the same one, and sealed with the same seal.
    fn has(&self, piece: &Piece) -> Result<bool> {
        let (ours, core) = (&*piece.segment, self.core);
        if let Extent::Repair = piece.extent {
            let named = (ours.sequence, ours.salt_value);
            return Ok(RepairFile::open(&*core.fs, self.dir, named, core.journal_id, Mode::Read, self.keys())?.is_ok());
        }
        let Some(seal) = self.seal(ours, piece.extent)? else { return Ok(false) };
        let theirs = match Segment::open(&*core.fs, self.dir, ours.sequence, core.journal_id, Mode::Read, self.keys()) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            theirs => theirs?,
        };
        let Opened::Whole(theirs) = theirs else { return Ok(false) };
        let alike = theirs.salt_value == ours.salt_value && theirs.size_bytes == ours.size_bytes;
        Ok(alike && self.seal(&theirs, piece.extent)? == Some(seal))
    }

    fn seal(&self, segment: &Segment, extent: Extent) -> Result<Option<BatchHeader>> {
        match extent {
            Extent::Sealed(offset) => {
                Ok(Window::new(segment).header(offset)?.filter(|header| header.kind == Kind::Seal))
            }
            Extent::Whole | Extent::Tail(_) | Extent::Repair => Ok(None),
        }
    }

    /// Lets a file share the blocks of a segment; `false` where that cannot be.
    fn clone_whole(&mut self, segment: &Segment, name: &str) -> Result<bool> {
        let unfinished = self.dir.join(segment::unfinished_name(name));
        if self.core.fs.reflink(&segment.path, &unfinished).is_err() {
            return Ok(false);
        }
        let file = self.core.fs.open(&unfinished, Mode::Write);
        let file = file.map_err(|error| Error::io("open", &unfinished, None, error))?;
        self.finish(&*file, name)?;
        self.check_identity(segment)?;
        self.made.cloned += 1;
        Ok(true)
    }

    /// Copies the newest segment, with zeros in a part of it: written ones, as in any file that is appended to.
    fn copy_tail(&mut self, segment: &Segment, zeros: Range<u64>) -> Result<()> {
        let (name, size) = (segment::file_name(segment.sequence), u64::from(segment.size_bytes));
        let file = self.create(&name, size)?;
        self.copy_part(&*segment.file, &segment.path, &*file, 0..zeros.start)?;
        segment::write_zeroes(&*file, &self.dir.join(segment::unfinished_name(&name)), zeros.clone())?;
        self.copy_part(&*segment.file, &segment.path, &*file, zeros.end..size)?;
        self.check_identity(segment)?;
        self.finish(&*file, &name)?;
        self.made.copied += 1;
        Ok(())
    }

    /// Copies parts of a segment that is never written to again; what lies between them reads as zeros.
    fn copy(&mut self, segment: &Segment, name: &str, parts: &[Range<u64>]) -> Result<()> {
        let file = self.create(name, u64::from(segment.size_bytes))?;
        for part in parts {
            self.copy_part(&*segment.file, &segment.path, &*file, part.clone())?;
        }
        self.check_identity(segment)?;
        self.finish(&*file, name)?;
        self.made.copied += 1;
        Ok(())
    }

    /// Copies what remains of a file that the log cannot use, if it is still there.
    fn place_remains(&mut self, name: &str) -> Result<()> {
        let path = self.core.dir.join(name);
        let source = match self.core.fs.open(&path, Mode::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            source => source.map_err(|error| Error::io("open", &path, None, error))?,
        };
        let len = source.len().map_err(|error| Error::io("size", &path, None, error))?;
        let file = self.create(name, len)?;
        self.copy_part(&*source, &path, &*file, 0..len)?;
        self.finish(&*file, name)
    }

    fn create(&self, name: &str, len: u64) -> Result<Arc<dyn File>> {
        let path = self.dir.join(segment::unfinished_name(name));
        let file = self.core.fs.open(&path, Mode::Create).map_err(|error| Error::io("create", &path, None, error))?;
        file.set_len(len).map_err(|error| Error::io("size", &path, None, error))?;
        Ok(file)
    }

    fn copy_part(&mut self, from: &dyn File, path: &Path, to: &dyn File, part: Range<u64>) -> Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        let mut at = part.start;
        while at < part.end {
            self.core.check_open()?;
            let len = usize::try_from(part.end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            bytes.clear();
            let read = io::read_up_to(from, &mut bytes, len, at);
            match read.map_err(|error| Error::io("read", path, Some(at), error))? {
                0 => break,
                count => {
                    io::write_all_at(to, &bytes, at)
                        .map_err(|(_, error)| Error::io("write", self.dir, Some(at), error))?;
                    at += count as u64;
                    self.made.copied_bytes += count as u64;
                }
            }
        }
        Ok(())
    }

    /// Makes a file durable, and only then gives it its name.
    fn finish(&self, file: &dyn File, name: &str) -> Result<()> {
        let (unfinished, path) = (self.dir.join(segment::unfinished_name(name)), self.dir.join(name));
        file.sync_data().map_err(|error| Error::io("sync", &unfinished, None, error))?;
        self.core.fs.rename(&unfinished, &path).map_err(|error| Error::io("rename", &unfinished, None, error))
    }

    /// Beside another process that writes: whether the file was still the same one when it had been read. Its header is
    /// the first that changes when it is recycled.
    fn check_identity(&self, segment: &Segment) -> Result<()> {
        let [first, twin] = segment.headers_at();
        let at = if segment.is_headed_by_twin { twin } else { first };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        io::read_up_to(&*segment.file, &mut bytes, HEADER_BYTES, at)
            .map_err(|error| Error::io("read", &segment.path, Some(at), error))?;
        match Header::parse(&bytes) {
            Ok(header) if header.salt != segment.salt_value => Err(Error::Overtaken { path: segment.path.clone() }),
            // A damaged header is damage, there as here.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
