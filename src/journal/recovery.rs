//! Recovery: the chain of segments, followed from where `meta` says it starts to where it ends.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::Resume;
use super::evidence::{Behind, Beyond};
use super::options::OnDamage;
use super::repairs::Repairs;
use super::report::RecoveryReport;
use super::view::{Sealed, View};
use crate::error::{Damage, DamageKind, DamagedRange, Error, Result};
use crate::io::{Fs, Mode};
use crate::keys::Keys;
use crate::meta::{Accepted, ChainStart, State};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::fold::Fold;
use crate::segment::format::{BatchHeader, VERSION};
use crate::segment::index::Summary;
use crate::segment::recover::{self, FileState, Lives, Seen, Stop};
use crate::segment::rewind::Unproven;
use crate::segment::window::Window;
use crate::segment::{self, Opened, Segment};

/// What recovery works on.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) dir: &'a Path,
    pub(crate) meta: &'a State,
    pub(crate) start: ChainStart,
    pub(crate) on_damage: OnDamage,
    pub(crate) mode: Mode,
    /// Whether `meta` is the newest there was, and says that nothing was written behind its mark.
    pub(crate) is_closed: bool,
    pub(crate) repairs: &'a Repairs,
    /// What opens the files of an encrypted journal.
    pub(crate) keys: Option<&'a Keys>,
}

/// What recovery found.
pub(crate) struct Recovered {
    pub(crate) sealed: VecDeque<Sealed>,
    /// The segment that the log goes on in; none when only a new one can be that.
    pub(crate) active: Option<Arc<Segment>>,
    pub(crate) active_start: ChainStart,
    pub(crate) fold: Fold,
    pub(crate) index_batch: (u32, u32),
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) report: RecoveryReport,
    /// Whole files that the chain does not reach: each a spare, to use or to remove.
    pub(crate) spares: Vec<Arc<Segment>>,
    /// Files that an interrupted recycling left.
    pub(crate) leftover: Vec<PathBuf>,
    /// The highest sequence that anything names, there or missing: a new file must come behind it.
    pub(crate) highest: u64,
}

/// What is looked at of a sealed file: its header and where its first batch begins; its trailer.
const ENDS_BYTES: u64 = 8 << 10;

/// A walk along the chain.
pub(super) struct Walk<'a> {
    pub(super) source: Source<'a>,
    /// The sequences of all files from the chain's start on.
    pub(super) sequences: Vec<u64>,
    pub(super) opened: BTreeMap<u64, Opened>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) start: ChainStart,
    pub(super) fold: Fold,
    /// How the segment that is being followed was scanned.
    unproven: Unproven,
    /// What was found beyond the end of the last segment, from which place and life on.
    pub(super) searched: Option<((u32, u32), Beyond)>,
    /// The last place where a loss was met.
    pub(super) lost_at: Option<(u64, u32)>,
    /// Where the chain goes on behind it.
    pub(super) resumed_at: Option<(u64, u32)>,
    index_batch: (u32, u32),
    pub(super) accepted: Vec<Accepted>,
    pub(super) seen: Seen,
    pub(super) report: RecoveryReport,
    /// The highest sequence that the chain asked for.
    highest: u64,
}

/// What follows a segment.
pub(super) enum Next {
    /// Another one, with this salt.
    Successor(u64, Option<u64>),
    /// Nothing: the log goes on here.
    End(Arc<Segment>),
    /// Nothing, and the log cannot go on here.
    NewSegment,
}

/// Follows the chain. Changes nothing on the disk.
pub(crate) fn recover(source: Source<'_>) -> Result<Recovered> {
    let mut walk = Walk::new(source)?;
    walk.look_ahead();
    let active = walk.walk()?;
    if source.mode == Mode::Read || !walk.settle(active.as_deref())? {
        return walk.finish(active);
    }
    let again = active.as_ref().map_or(Ok(false), |active| walk.walk_again(active))?;
    if again {
        return walk.finish(active);
    }
    let mut walk = Walk::new(source)?;
    let active = walk.walk()?;
    walk.finish(active)
}

/// The sequences of all files from the chain's start on, rising.
fn list(source: Source<'_>) -> Result<Vec<u64>> {
    let names = source.fs.list(source.dir).map_err(|error| Error::io("list", source.dir, None, error))?;
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence_of(name)).collect();
    sequences.retain(|&sequence| sequence >= source.start.sequence);
    sequences.sort_unstable();
    Ok(sequences)
}

impl<'a> Walk<'a> {
    fn new(source: Source<'a>) -> Result<Walk<'a>> {
        let start = source.start;
        Ok(Walk {
            source,
            sequences: list(source)?,
            opened: BTreeMap::new(),
            sealed: VecDeque::new(),
            start,
            // Lenient as an unpurged log is: a hole that was legal in a log that was empty then stays legal, whatever
            // was purged since.
            fold: Fold::start(start.offset, start.base, start.chain, false),
            unproven: Unproven::default(),
            searched: None,
            lost_at: None,
            resumed_at: None,
            index_batch: (0, 0),
            accepted: source.meta.accepted.clone(),
            seen: Seen::default(),
            report: RecoveryReport::default(),
            highest: start.sequence.max(source.meta.mark.sequence),
        })
    }

    /// Has what the walk reads of the sealed files fetched from the disk at the same time: after a power cut nothing is
    /// cached, and one after the other takes several times as long. Not of the file that `meta`'s mark stands in, nor of
    /// later ones: what no mark proves is dropped from the cache before it is read for good.
    fn look_ahead(&self) {
        let Source { fs, dir, meta, .. } = self.source;
        for &sequence in self.sequences.iter().take_while(|&&sequence| sequence < meta.mark.sequence) {
            fs.will_read(&dir.join(segment::file_name(sequence)), ENDS_BYTES);
        }
    }

    /// Follows the chain to its end: the segment that the log goes on in, if any.
    fn walk(&mut self) -> Result<Option<Arc<Segment>>> {
        let mut wanted = (self.start.sequence, Some(self.start.salt));
        let active = loop {
            self.highest = self.highest.max(wanted.0);
            let next = match self.open_in_chain(wanted.0, wanted.1)? {
                // A file in which the chain cannot stand where it is said to is not the one that is meant.
                Ok(segment) if !segment.has_place(self.fold.end) => self.lost_file(wanted.0, FileState::HeaderLost)?,
                Ok(segment) => self.follow(&segment)?,
                Err(state) => self.lost_file(wanted.0, state)?,
            };
            match next {
                Next::Successor(sequence, salt) => wanted = (sequence, salt),
                Next::End(segment) => break Some(segment),
                Next::NewSegment => break None,
            }
        };
        self.check_meta()?;
        Ok(active)
    }

    /// How far a sync is known to have returned.
    fn proven(&self) -> (u64, u32) {
        self.seen.mark.max(self.source.meta.mark.place())
    }

    /// Brings what no mark proves from the disk: after a failed sync the page cache shows bytes that the disk does not
    /// hold. `false` when there is nothing to bring.
    fn settle(&self, active: Option<&Segment>) -> Result<bool> {
        let (sequence, offset) = self.proven();
        if active.is_some_and(|active| (active.sequence, self.fold.end) <= (sequence, offset)) {
            return Ok(false);
        }
        let sealed = self.sealed.iter().map(|sealed| (&*sealed.segment, u64::from(sealed.segment.size_bytes)));
        // Beyond the end nothing is adopted: what is evidence there was written, be it on the disk or not.
        let active = active.map(|active| (active, u64::from(self.fold.end) + 1));
        for (segment, to) in sealed.chain(active).filter(|(segment, _)| segment.sequence >= sequence) {
            let from = if segment.sequence == sequence { u64::from(offset) } else { 0 };
            segment.file.sync_data().map_err(|error| Error::io("sync", &segment.path, None, error))?;
            let dropped = segment.file.drop_cache(from..to.max(from));
            dropped.map_err(|error| Error::io("read", &segment.path, Some(from), error))?;
        }
        Ok(true)
    }

    /// Follows the end of the chain once more, from where a mark proves it. `false` where that takes a walk along all
    /// of it.
    fn walk_again(&mut self, active: &Arc<Segment>) -> Result<bool> {
        let (sequence, offset) = self.proven();
        let steps = std::mem::take(&mut self.unproven);
        let fold = std::mem::replace(&mut self.fold, Fold::start(0, 0, 0, false));
        if sequence != active.sequence || !self.report.damaged.is_empty() {
            return Ok(false);
        }
        let Some((fold, seen)) = steps.rewind(fold, offset) else { return Ok(false) };
        (self.fold, self.seen) = (fold, seen);
        self.report.torn = None;
        let repairs = self.source.repairs;
        let patch = |index, check| repairs.patch(active, index, check);
        let mut window = Window::patched(active, &patch).with_lost(Accepted::within(&self.accepted, active.sequence));
        let ends = matches!(self.follow_batches(active, &mut window)?, Next::End(_));
        self.check_meta()?;
        Ok(ends && self.report.damaged.is_empty())
    }

    /// Any batch that knows more of `meta` than `meta` itself says that a vote may be lost.
    pub(super) fn check_meta(&self) -> Result<()> {
        let (meta, seen) = (self.source.meta, &self.seen);
        if !self.meta_is_behind() {
            return Ok(());
        }
        let (_, sequence, offset) = seen.generation;
        Err(Error::MetaOutdated {
            path: self.source.dir.join(crate::meta::FILE_NAME),
            found_generation: meta.generation,
            found_life: meta.life,
            generation: seen.generation.0,
            life: seen.life.0,
            witness: self.source.dir.join(segment::file_name(sequence)),
            offset: u64::from(offset),
        })
    }

    pub(super) fn meta_is_behind(&self) -> bool {
        self.seen.generation.0 > self.source.meta.generation || self.seen.life.0 > self.source.meta.life
    }

    /// Opens a file, or hands out what opening it gave before.
    pub(super) fn open(&mut self, sequence: u64) -> Result<&Opened> {
        if !self.opened.contains_key(&sequence) {
            let Source { fs, dir, meta, mode, keys, .. } = self.source;
            let opened = Segment::open(fs, dir, sequence, meta.journal_id, mode, keys)?;
            self.opened.insert(sequence, opened);
        }
        // Just inserted, if it was not there.
        Ok(self.opened.entry(sequence).or_insert(Opened::Unreadable))
    }

    /// A file that the chain needs: its segment, or how it is lost.
    fn open_in_chain(&mut self, sequence: u64, salt: Option<u64>) -> Result<Result<Arc<Segment>, FileState>> {
        if self.sequences.binary_search(&sequence).is_err() {
            // Beside a live writer the log may have gone on since.
            if self.source.mode == Mode::Read {
                self.sequences = list(self.source)?;
            }
            if self.sequences.binary_search(&sequence).is_err() {
                return Ok(Err(FileState::Missing));
            }
        }
        let path = self.source.dir.join(segment::file_name(sequence));
        let expected = self.source.meta.journal_id;
        Ok(match self.open(sequence)? {
            Opened::Whole(segment) if salt.is_none_or(|salt| salt == segment.salt_value) => {
                segment.check_key()?;
                Ok(Arc::clone(segment))
            }
            Opened::Whole(_) | Opened::Misnamed => Err(FileState::Misplaced),
            Opened::Unreadable => Err(FileState::HeaderLost),
            Opened::Short => Err(FileState::Short),
            &Opened::Foreign(found) => return Err(Error::ForeignFile { path, expected, found }),
            &Opened::Newer(found) => return Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
        })
    }

    /// Takes in one segment.
    fn follow(&mut self, segment: &Arc<Segment>) -> Result<Next> {
        let repairs = self.source.repairs;
        let patch = |index, check| repairs.patch(segment, index, check);
        let mut window = Window::patched(segment, &patch).with_lost(Accepted::within(&self.accepted, segment.sequence));
        if let Some((seal, summary)) = self.proven_seal(&mut window)? {
            return self.take_sealed(segment, &seal, &summary);
        }
        self.unproven.clear();
        self.searched = None;
        let mark = self.source.meta.mark;
        let is_void = self.accepted.iter().any(|lost| lost.spans((segment.sequence, mark.index)));
        let is_there = mark.sequence == segment.sequence && mark.index >= self.fold.end && mark.index != 0;
        if is_there && !is_void && segment.vouches_for_terms() {
            if recover::load_index(&mut window, &mut self.fold, mark.index, &mut self.seen)? {
                self.index_batch = (mark.index, self.fold.end);
            } else {
                self.report.reindexed.push(segment.path.clone());
            }
        }
        self.follow_batches(segment, &mut window)
    }

    /// Takes in a segment from where the fold stands, batch by batch.
    fn follow_batches(&mut self, segment: &Arc<Segment>, window: &mut Window<'_>) -> Result<Next> {
        let lives = self.lives_in(segment);
        loop {
            match recover::scan(window, &mut self.fold, lives, &mut self.seen, &mut self.unproven)? {
                Stop::Sealed(seal, summary) => {
                    self.report.reindexed.push(segment.path.clone());
                    return self.take_sealed(segment, &seal, &summary);
                }
                Stop::End(at_end) => match self.at_end(segment, window, at_end, lives)? {
                    Behind::Resume(resume) if resume.sequence == segment.sequence => {
                        self.unproven.clear();
                        self.fold.skip_to(resume.chain, resume.offset);
                    }
                    Behind::Resume(resume) => {
                        self.leave(segment);
                        return Ok(self.enter(resume));
                    }
                    Behind::NewSegment => {
                        self.leave(segment);
                        return Ok(Next::NewSegment);
                    }
                    Behind::Nothing => return Ok(Next::End(Arc::clone(segment))),
                },
            }
        }
    }

    pub(super) fn lives_in(&self, segment: &Segment) -> Lives {
        let meta = self.source.meta;
        let place_in = |(sequence, offset): (u64, u32)| match sequence.cmp(&segment.sequence) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => offset,
            std::cmp::Ordering::Greater => u32::MAX,
        };
        let (mark, begin) = (place_in(meta.mark.place()), meta.begin.map_or(u32::MAX, place_in));
        Lives { meta: meta.life, mark, chain: meta.mark.chain, begin }
    }

    /// The seal that the trailer points to, if what follows is chained to this very seal: a cut leaves stale seals and
    /// trailers behind.
    fn proven_seal(&mut self, window: &mut Window<'_>) -> Result<Option<(BatchHeader, Summary)>> {
        let Some((seal, summary)) = window.trailed_seal()? else { return Ok(None) };
        let (sequence, salt) = summary.successor;
        if seal.offset < self.fold.end || seal.life < self.fold.life {
            return Ok(None);
        }
        let Ok(next) = self.open_in_chain(sequence, Some(salt))? else { return Ok(None) };
        let mark = self.source.meta.mark;
        let first = Window::new(&next).header(next.data_start())?;
        let chained = first.is_some_and(|first| first.chain == seal.check && first.life >= seal.life)
            || (mark.place() == (sequence, next.data_start()) && mark.chain == seal.check);
        #[cfg(mutate)]
        let chained = chained
            || mutate::is(Mutation::TrailerOverMissingBatches)
            || (mutate::is(Mutation::TrailerUnchained) && first.is_some());
        Ok(chained.then_some((seal, summary)))
    }

    fn take_sealed(&mut self, segment: &Arc<Segment>, seal: &BatchHeader, summary: &Summary) -> Result<Next> {
        self.seen.note(segment.sequence, seal);
        self.fold.adopt(summary, Vec::new());
        self.fold.run.truncate(summary.next);
        self.fold.run.first = summary.next;
        self.fold.apply(seal, seal.end(segment.align).unwrap_or(u32::MAX), &[]);
        View::supersede(&mut self.sealed, summary.base);
        self.sealed.push_back(Sealed::new(Arc::clone(segment), self.start, seal, summary));
        let (sequence, salt) = summary.successor;
        let data_start = match self.open_in_chain(sequence, Some(salt))? {
            Ok(next) => next.data_start(),
            Err(_) => segment.data_start(),
        };
        self.fold = self.fold.successor(data_start);
        let (offset, chain, base) = (data_start, self.fold.chain, self.fold.base);
        self.start = ChainStart { sequence, salt, offset, chain, base };
        Ok(Next::Successor(sequence, Some(salt)))
    }

    /// Leaves a segment that has no seal behind.
    fn leave(&mut self, segment: &Arc<Segment>) {
        View::supersede(&mut self.sealed, self.fold.base);
        let run = std::mem::take(&mut self.fold.run);
        let next = run.end();
        self.sealed.push_back(Sealed::scanned(Arc::clone(segment), self.start, self.fold.end, run));
        self.fold.run.first = next;
    }

    /// Starts a file that no seal leads to.
    pub(super) fn enter(&mut self, resume: Resume) -> Next {
        let life = self.fold.life;
        self.fold = Fold { life, chain: resume.chain, ..self.fold.successor(resume.offset) };
        let Resume { sequence, offset, chain } = resume;
        let salt = match self.opened.get(&sequence) {
            Some(Opened::Whole(segment)) => segment.salt_value,
            _ => 0,
        };
        self.start = ChainStart { sequence, salt, offset, chain, base: self.fold.base };
        Next::Successor(sequence, None)
    }

    fn finish(mut self, active: Option<Arc<Segment>>) -> Result<Recovered> {
        View::supersede(&mut self.sealed, self.fold.base);
        if let Some(purged) = self.source.meta.purged {
            let next = purged.index + 1;
            // The chain starts right behind what was purged, unless what stood between is lost.
            let lost = (next < self.source.start.base).then_some(next);
            let first = lost.or(self.fold.log_first).filter(|_| next < self.fold.run.end());
            self.fold.log_first = first.map(|first| first.max(next));
            self.fold.purged = true;
        }
        self.check_end(active.as_deref())?;
        let reached: Vec<u64> = self.sealed.iter().map(|sealed| sealed.segment.sequence).collect();
        let active_sequence = active.as_ref().map(|active| active.sequence);
        let (mut spares, mut leftover) = (Vec::new(), Vec::new());
        for sequence in self.sequences.clone() {
            if reached.contains(&sequence) || active_sequence == Some(sequence) {
                continue;
            }
            let path = self.source.dir.join(segment::file_name(sequence));
            match self.open(sequence)? {
                Opened::Whole(segment) => spares.push(Arc::clone(segment)),
                Opened::Misnamed => leftover.push(path),
                Opened::Short | Opened::Unreadable | Opened::Foreign(_) | Opened::Newer(_) => {
                    self.report.foreign.push(path);
                }
            }
        }
        self.report_accepted();
        self.report.reindexed.dedup();
        let chain = self.sealed.iter().map(|sealed| &sealed.segment).chain(&active);
        let twins = chain.filter(|segment| segment.is_headed_by_twin).map(|segment| segment.path.clone());
        self.report.twin_headers = twins.collect();
        self.report.segments = self.sealed.len() + usize::from(active.is_some());
        Ok(Recovered {
            sealed: self.sealed,
            active,
            active_start: self.start,
            fold: self.fold,
            index_batch: self.index_batch,
            accepted: self.accepted,
            report: self.report,
            spares,
            leftover,
            highest: self.highest,
        })
    }

    /// `meta` never runs ahead of the log: a log that ends before what was purged has lost its end.
    fn check_end(&self, active: Option<&Segment>) -> Result<()> {
        let (first, end) = (self.fold.run.end(), self.first_behind_purged());
        if first >= end {
            return Ok(());
        }
        let sequence = active.map_or(self.highest, |active| active.sequence);
        let path = self.source.dir.join(segment::file_name(sequence));
        let indexes = DamagedRange { first, end: Some(end) };
        let offset = u64::from(self.fold.end);
        Err(Damage { path, offset, indexes, term: None, why: DamageKind::Misplaced }.into())
    }

    /// Reports what was accepted earlier and has not been met on the way: a sealed segment is not scanned.
    fn report_accepted(&mut self) {
        self.report.open_ended = self.accepted.iter().any(|accepted| accepted.open_ended);
        for accepted in self.accepted.iter().filter(|accepted| accepted.end > accepted.first) {
            let path = self.source.dir.join(segment::file_name(accepted.sequence));
            let offset = u64::from(accepted.offset);
            if self.report.damaged.iter().any(|known| known.path == path && known.offset == offset) {
                continue;
            }
            let indexes = DamagedRange { first: accepted.first, end: Some(accepted.end) };
            let damage = Damage { path, offset, indexes, term: None, why: DamageKind::Accepted };
            self.report.damaged.push(Arc::new(damage));
        }
    }

    /// The index of the first entry that a lost file may have held or superseded.
    pub(super) fn first_behind_purged(&self) -> u64 {
        self.source.meta.purged.map_or(0, |purged| purged.index + 1)
    }

    pub(super) fn is_whole(&self, sequence: u64) -> bool {
        matches!(self.opened.get(&sequence), Some(Opened::Whole(_)))
    }

    /// Where the first batch of a whole file stands.
    pub(super) fn data_start_of(&self, sequence: u64) -> Option<u32> {
        match self.opened.get(&sequence) {
            Some(Opened::Whole(segment)) => Some(segment.data_start()),
            _ => None,
        }
    }

    /// Whether files lie between two, of which nobody knows what they held.
    pub(super) fn has_between(&self, sequence: u64, later: u64) -> bool {
        self.sequences.iter().any(|&other| other > sequence && other < later)
    }
}

/// Whether a directory listing has segments of a journal, and which is the lowest.
pub(crate) fn lowest_segment(names: &[String]) -> Option<&String> {
    names.iter().filter(|name| segment::sequence_of(name).is_some()).min()
}
