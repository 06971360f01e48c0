//! Recovery: the chain of segments, followed from where `meta` says it starts to where it ends.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{Loss, Resume};
use super::options::OnDamage;
use super::report::{RecoveryReport, TornTail};
use super::view::{Sealed, View};
use crate::error::{Damage, DamageKind, DamagedRange, Error, Result};
use crate::io::{Fs, Mode};
use crate::meta::{Accepted, ChainStart, MetaStore, State};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::fold::Fold;
use crate::segment::format::{BatchHeader, VERSION};
use crate::segment::index::Summary;
use crate::segment::recover::{self, AtEnd, Evidence, FileState, Lives, Seen, Stop, Verdict, Window};
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
    pub(crate) seen: Seen,
    pub(crate) report: RecoveryReport,
    /// Whole files that the chain does not reach: each a spare, to use or to remove.
    pub(crate) spares: Vec<Arc<Segment>>,
    /// Files that an interrupted recycling left.
    pub(crate) leftover: Vec<PathBuf>,
    /// The highest sequence that anything names, there or missing: a new file must come behind it.
    pub(crate) highest: u64,
}

/// A walk along the chain.
pub(super) struct Walk<'a> {
    pub(super) source: Source<'a>,
    /// The sequences of all files from the chain's start on.
    sequences: Vec<u64>,
    opened: BTreeMap<u64, Opened>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) start: ChainStart,
    pub(super) fold: Fold,
    index_batch: (u32, u32),
    pub(super) accepted: Vec<Accepted>,
    pub(super) seen: Seen,
    pub(super) report: RecoveryReport,
    /// The highest sequence that the chain asked for.
    highest: u64,
}

/// What follows a segment.
enum Next {
    /// Another one, with this salt.
    Successor(u64, Option<u64>),
    /// Nothing: the log goes on here.
    End(Arc<Segment>),
    /// Nothing, and the log cannot go on here.
    NewSegment,
}

/// Follows the chain. Changes nothing on the disk.
pub(crate) fn recover(source: Source<'_>) -> Result<Recovered> {
    let first = Walk::new(source)?.run()?;
    if source.mode == Mode::Read || !settle(&source, &first)? {
        return Ok(first);
    }
    Walk::new(source)?.run()
}

/// Brings what no mark proves from the disk: after a failed sync the page cache shows bytes that the disk does not
/// hold. `false` when there is nothing to bring.
fn settle(source: &Source<'_>, found: &Recovered) -> Result<bool> {
    let (sequence, offset) = found.seen.mark.max(source.meta.mark.place());
    if found.active.as_ref().is_some_and(|active| (active.sequence, found.fold.end) <= (sequence, offset)) {
        return Ok(false);
    }
    let sealed = found.sealed.iter().map(|sealed| &sealed.segment);
    for segment in sealed.chain(&found.active).filter(|segment| segment.sequence >= sequence) {
        let from = if segment.sequence == sequence { u64::from(offset) } else { 0 };
        segment.file.sync_data().map_err(|error| Error::io("sync", &segment.path, None, error))?;
        segment.file.drop_cache(from).map_err(|error| Error::io("read", &segment.path, Some(from), error))?;
    }
    Ok(true)
}

impl<'a> Walk<'a> {
    fn new(source: Source<'a>) -> Result<Walk<'a>> {
        let start = source.start;
        let names = source.fs.list(source.dir).map_err(|error| Error::io("list", source.dir, None, error))?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment::sequence_of(name)).collect();
        sequences.retain(|&sequence| sequence >= start.sequence);
        sequences.sort_unstable();
        Ok(Walk {
            source,
            sequences,
            opened: BTreeMap::new(),
            sealed: VecDeque::new(),
            start,
            // Lenient as an unpurged log is: a hole that was legal in a log that was empty then stays legal, whatever
            // was purged since.
            fold: Fold::start(start.offset, start.base, start.chain, false),
            index_batch: (0, 0),
            accepted: source.meta.accepted.clone(),
            seen: Seen::default(),
            report: RecoveryReport::default(),
            highest: start.sequence.max(source.meta.mark.sequence),
        })
    }

    fn run(mut self) -> Result<Recovered> {
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
        self.finish(active)
    }

    /// Any batch that knows more of `meta` than `meta` itself says that a vote may be lost.
    fn check_meta(&self) -> Result<()> {
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

    fn meta_is_behind(&self) -> bool {
        self.seen.generation.0 > self.source.meta.generation || self.seen.life.0 > self.source.meta.life
    }

    /// Opens a file, or hands out what opening it gave before.
    fn open(&mut self, sequence: u64) -> Result<&Opened> {
        if !self.opened.contains_key(&sequence) {
            let Source { fs, dir, meta, mode, .. } = self.source;
            let opened = Segment::open(fs, dir, sequence, meta.journal_id, mode)?;
            self.opened.insert(sequence, opened);
        }
        // Just inserted, if it was not there.
        Ok(self.opened.entry(sequence).or_insert(Opened::Unreadable))
    }

    /// A file that the chain needs: its segment, or how it is lost.
    fn open_in_chain(&mut self, sequence: u64, salt: Option<u64>) -> Result<Result<Arc<Segment>, FileState>> {
        if self.sequences.binary_search(&sequence).is_err() {
            return Ok(Err(FileState::Missing));
        }
        let path = self.source.dir.join(segment::file_name(sequence));
        let expected = self.source.meta.journal_id;
        Ok(match self.open(sequence)? {
            Opened::Whole(segment) if salt.is_none_or(|salt| salt == segment.salt_value) => Ok(Arc::clone(segment)),
            Opened::Whole(_) | Opened::Unreadable | Opened::Misnamed => Err(FileState::HeaderLost),
            Opened::Short => Err(FileState::Short),
            &Opened::Foreign(found) => return Err(Error::ForeignFile { path, expected, found }),
            &Opened::Newer(found) => return Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
        })
    }

    /// Takes in one segment.
    fn follow(&mut self, segment: &Arc<Segment>) -> Result<Next> {
        if let Some((seal, summary)) = self.proven_seal(segment)? {
            return self.take_sealed(segment, &seal, &summary);
        }
        let mut window = Window::new(segment);
        let mark = self.source.meta.mark;
        if mark.sequence == segment.sequence && mark.index >= self.fold.end && mark.index != 0 {
            if recover::load_index(&mut window, &mut self.fold, mark.index, &mut self.seen)? {
                self.index_batch = (mark.index, self.fold.end);
            } else {
                self.report.reindexed.push(segment.path.clone());
            }
        }
        let lives = self.lives_in(segment);
        loop {
            match recover::scan(&mut window, &mut self.fold, lives, &mut self.seen)? {
                Stop::Sealed(seal, summary) => {
                    self.report.reindexed.push(segment.path.clone());
                    return self.take_sealed(segment, &seal, &summary);
                }
                Stop::End(at_end) => match self.at_end(segment, &mut window, at_end, lives)? {
                    Behind::Resume(resume) if resume.sequence == segment.sequence => {
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

    fn lives_in(&self, segment: &Segment) -> Lives {
        let meta = self.source.meta;
        let mark = match meta.mark.sequence.cmp(&segment.sequence) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => meta.mark.offset,
            std::cmp::Ordering::Greater => u32::MAX,
        };
        Lives { meta: meta.life, mark }
    }

    /// The seal that the trailer points to, if what follows is chained to this very seal: a cut leaves stale seals and
    /// trailers behind.
    fn proven_seal(&mut self, segment: &Segment) -> Result<Option<(BatchHeader, Summary)>> {
        let Some((seal, summary)) = Window::glance(segment).trailed_seal()? else { return Ok(None) };
        let (sequence, salt) = summary.successor;
        if seal.offset < self.fold.end || seal.life < self.fold.life {
            return Ok(None);
        }
        let Ok(next) = self.open_in_chain(sequence, Some(salt))? else { return Ok(None) };
        let mark = self.source.meta.mark;
        let first = Window::glance(&next).header(next.data_start())?;
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
    fn enter(&mut self, resume: Resume) -> Next {
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

    /// Decides about the place where a segment's batches end.
    fn at_end(
        &mut self,
        segment: &Arc<Segment>,
        window: &mut Window<'_>,
        at_end: AtEnd,
        lives: Lives,
    ) -> Result<Behind> {
        let at = self.fold.end;
        let least = lives.least_at(at, self.fold.life);
        let beyond = self.headers_beyond(segment, window, least)?;
        let was_sealed = Window::glance(segment).trailer()?.is_some();
        let later = self.later_file(segment.sequence, least, was_sealed)?;
        let place = (segment.sequence, at);
        let evidence = Evidence {
            meta_is_behind: self.meta_is_behind(),
            file: FileState::Whole,
            batch_mark_beyond: beyond.mark.max(later.as_ref().map_or((0, 0), |(_, y)| y.mark)) > place,
            meta_mark_beyond: self.source.meta.mark.place() > place,
        };
        #[cfg(mutate)]
        let evidence = match at_end {
            AtEnd::Torn(..) if mutate::is(Mutation::TornTailRefused) => Evidence { meta_mark_beyond: true, ..evidence },
            AtEnd::Nothing if mutate::is(Mutation::UnreadableHeaderEnds) => {
                Evidence { batch_mark_beyond: false, meta_mark_beyond: false, ..evidence }
            }
            _ => evidence,
        };
        match recover::verdict(evidence) {
            Verdict::MetaOutdated => self.check_meta().map(|()| Behind::Nothing),
            Verdict::Torn => {
                self.report.torn = self.torn(segment, window, &at_end, &beyond)?;
                Ok(Behind::Nothing)
            }
            Verdict::Damaged(why) => {
                let same = beyond.first.map(|y| (segment.sequence, y));
                let loss = Loss::in_file(self, segment, at_end, same.or(later), why);
                Ok(self.suffer(loss)?.map_or(Behind::NewSegment, Behind::Resume))
            }
        }
    }

    /// All that authenticates beyond the end, in the same file.
    fn headers_beyond(&mut self, segment: &Segment, window: &mut Window<'_>, least: u32) -> Result<Beyond> {
        let (mut beyond, mut at) = (Beyond::default(), self.fold.end);
        while let Some(header) = window.next_header(at, least)? {
            self.seen.note(segment.sequence, &header);
            beyond.mark = beyond.mark.max(header.mark);
            beyond.first.get_or_insert(header);
            beyond.end = header.end(segment.align).unwrap_or(u32::MAX);
            at = header.offset;
        }
        Ok(beyond)
    }

    /// The lowest later file that belongs to the chain, named or not: a batch in it authenticates, and the first one was
    /// only written once its predecessor's seal was durable. Files that nothing says were in use are not looked through.
    fn later_file(&mut self, sequence: u64, least: u32, was_sealed: bool) -> Result<Option<(u64, BatchHeader)>> {
        let later: Vec<u64> = self.sequences.iter().copied().filter(|&later| later > sequence).collect();
        for later in later {
            let Opened::Whole(segment) = self.open(later)? else { continue };
            let segment = Arc::clone(segment);
            let in_use = was_sealed || self.source.meta.mark.sequence >= later;
            if let Some(first) = self.first_header(&segment, least, in_use)? {
                self.seen.note(later, &first);
                return Ok(Some((later, first)));
            }
        }
        Ok(None)
    }

    /// The first batch of a later file that authenticates: in one that was in use, if the very first is lost, too, one
    /// behind it. Where that loss was accepted, the log may have gone on in the middle of the file.
    fn first_header(&self, segment: &Segment, least: u32, in_use: bool) -> Result<Option<BatchHeader>> {
        let mut at = segment.data_start();
        let first = Window::glance(segment).header(at)?.filter(|first| first.life >= least);
        if first.is_some() || !in_use {
            return Ok(first);
        }
        let (mut window, lives) = (Window::new(segment), self.lives_in(segment));
        while let Some(header) = window.next_header(at, least)? {
            if header.life >= lives.least_at(header.offset, least) {
                return Ok(Some(header));
            }
            at = header.offset;
        }
        Ok(None)
    }

    fn torn(
        &self,
        segment: &Segment,
        window: &mut Window<'_>,
        at_end: &AtEnd,
        beyond: &Beyond,
    ) -> Result<Option<TornTail>> {
        let offset = self.fold.end;
        let found = |end: Option<u32>, indexes| TornTail {
            path: segment.path.clone(),
            offset: u64::from(offset),
            bytes: end.map(|end| u64::from(end.saturating_sub(offset))),
            indexes,
        };
        let beyond_end = beyond.first.map(|_| beyond.end);
        Ok(match at_end {
            AtEnd::Torn(header, _) => {
                let indexes = (header.first_index, header.first_index.saturating_add(u64::from(header.count)));
                Some(found(header.end(segment.align).max(beyond_end), Some(indexes)))
            }
            AtEnd::Nothing if beyond_end.is_some() => Some(found(beyond_end, None)),
            // Nothing was in flight when the journal was closed in order.
            AtEnd::Nothing if self.is_closed_at(segment, offset) => None,
            // A batch of an earlier life was cut, and reported, before.
            AtEnd::Nothing if window.is_blank(offset)? || window.header(offset)?.is_some() => None,
            AtEnd::Nothing => Some(found(None, None)),
        })
    }

    fn is_closed_at(&self, segment: &Segment, offset: u32) -> bool {
        let meta = self.source.meta;
        meta.clean && meta.mark.place() == (segment.sequence, offset)
    }

    fn lost_file(&mut self, sequence: u64, state: FileState) -> Result<Next> {
        let later = self.later_file(sequence, self.fold.life, true)?;
        let evidence = Evidence {
            meta_is_behind: self.meta_is_behind(),
            file: state,
            batch_mark_beyond: later.is_some(),
            meta_mark_beyond: self.source.meta.mark.place() > (sequence, self.fold.end),
        };
        match recover::verdict(evidence) {
            Verdict::Damaged(why) => {
                let loss = Loss::of_file(self, sequence, later, why);
                let resume = self.suffer(loss)?;
                View::supersede(&mut self.sealed, self.fold.base);
                Ok(resume.map_or(Next::NewSegment, |resume| self.enter(resume)))
            }
            Verdict::MetaOutdated | Verdict::Torn => self.check_meta().map(|()| Next::NewSegment),
        }
    }

    /// Accepts a loss, if it was accepted before or the caller does now; else it is the error that open gives.
    fn suffer(&mut self, loss: Loss) -> Result<Option<Resume>> {
        let known = self.accepted.iter().any(|accepted| loss.is(accepted));
        if !known && !loss.is_harmless() {
            let room = MetaStore::has_room_for(&self.accepted);
            if self.source.on_damage == OnDamage::Refuse || !room {
                return Err(loss.damage(self.source.dir).into());
            }
            self.accepted.push(loss.record());
        }
        if !loss.is_bearable() {
            return Err(loss.damage(self.source.dir).into());
        }
        if loss.is_harmless() {
            self.report.reindexed.push(self.source.dir.join(segment::file_name(loss.sequence)));
        } else {
            self.report.damaged.push(Arc::new(loss.accepted(self.source.dir)));
        }
        Ok(loss.apply(&mut self.fold))
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
        self.report.segments = self.sealed.len() + usize::from(active.is_some());
        Ok(Recovered {
            sealed: self.sealed,
            active,
            active_start: self.start,
            fold: self.fold,
            index_batch: self.index_batch,
            accepted: self.accepted,
            seen: self.seen,
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

/// What lies behind the place where a segment's batches end.
enum Behind {
    /// Nothing: the log goes on right there.
    Nothing,
    /// More of the chain, behind something that is lost.
    Resume(Resume),
    /// Something lost, and nothing that could be followed: the log goes on in a new file.
    NewSegment,
}

/// What authenticates beyond the end of the chain, in the same file.
#[derive(Debug, Default)]
struct Beyond {
    first: Option<BatchHeader>,
    mark: (u64, u32),
    end: u32,
}

/// Whether a directory listing has segments of a journal, and which is the lowest.
pub(crate) fn lowest_segment(names: &[String]) -> Option<&String> {
    names.iter().filter(|name| segment::sequence_of(name).is_some()).min()
}
