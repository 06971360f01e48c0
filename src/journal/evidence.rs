//! What stands where a segment's batches end: the evidence for and against its having been acknowledged, and what is made
//! of it.

use std::sync::Arc;

use super::damage::{Loss, Resume, stand_in};
use super::options::OnDamage;
use super::recovery::{Next, Walk};
use super::report::TornTail;
use super::view::View;
use crate::error::{DamageKind, Result};
use crate::meta::{Accepted, MetaStore};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::format::BatchHeader;
use crate::segment::recover::{self, AtEnd, Evidence, FileState, Lives, Verdict};
use crate::segment::window::{Contradiction, Window};
use crate::segment::{self, Opened, Segment};

/// What lies behind the place where a segment's batches end.
pub(super) enum Behind {
    /// Nothing: the log goes on right there.
    Nothing,
    /// More of the chain, behind something that is lost.
    Resume(Resume),
    /// Something lost, and nothing that could be followed: the log goes on in a new file.
    NewSegment,
}

/// What authenticates beyond the end of the chain, in the same file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beyond {
    first: Option<BatchHeader>,
    mark: (u64, u32),
    end: u32,
}

impl Beyond {
    /// Whether a batch that is not of an earlier life begins within this one: this one was cut, or refused by a full disk, and
    /// written over, but for what never reached the disk.
    fn is_over(&self, header: &BatchHeader, align: u32) -> bool {
        let end = header.end(align);
        self.first.is_some_and(|y| y.life >= header.life && end.is_none_or(|end| y.offset < end))
    }
}

impl Walk<'_> {
    /// Decides about the place where a segment's batches end.
    pub(super) fn at_end(
        &mut self,
        segment: &Arc<Segment>,
        window: &mut Window<'_>,
        at_end: AtEnd,
        lives: Lives,
    ) -> Result<Behind> {
        let at = self.fold.end;
        let least = lives.least_at(at, self.fold.life);
        let was_sealed = window.trailer()?.is_some();
        let later = self.later_file(segment.sequence, least, was_sealed)?;
        let beyond = self.headers_beyond(segment, window, lives, least)?;
        let (place, mark) = ((segment.sequence, at), self.source.meta.mark);
        let contradiction = window.contradiction((at, self.fold.chain, self.fold.life), lives)?;
        let is_astray = contradiction == Some(Contradiction::Mark);
        let at_end = match at_end {
            AtEnd::Torn(header, _) if is_astray || beyond.is_over(&header, segment.align) => AtEnd::Nothing,
            AtEnd::Torn(header, parts) => {
                let end = header.end(segment.align).unwrap_or(u32::MAX);
                match window.contradiction((end, header.check, header.life), lives)? {
                    Some(_) => AtEnd::Nothing,
                    None => AtEnd::Torn(header, parts),
                }
            }
            AtEnd::Nothing => AtEnd::Nothing,
        };
        let accuses = |found: Contradiction| matches!(found, Contradiction::Batch(y) if y.mark >= place);
        let evidence = Evidence {
            meta_is_behind: self.meta_is_behind(),
            file: FileState::Whole,
            is_forged: at_end.is_forged(),
            batch_mark_beyond: beyond.mark.max(later.as_ref().map_or((0, 0), |(_, y)| y.mark)) > place
                || contradiction.is_some_and(accuses),
            meta_mark_beyond: mark.place() > place || is_astray,
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
                let next = [beyond.first, later.as_ref().map(|(_, first)| *first)];
                let at_end = match at_end {
                    AtEnd::Torn(header, _) if self.may_be_void(segment, &header, next) => AtEnd::Nothing,
                    at_end => at_end,
                };
                let contradiction = contradiction.or_else(|| self.replaced_at_last(segment, &beyond));
                let loss = match contradiction.filter(|_| self.fold.last != 0) {
                    Some(contradiction) => Loss::of_void(self, segment, contradiction, why),
                    None => self.lost_behind(segment, window, (at_end, is_astray), (&beyond, later), lives, why)?,
                };
                Ok(self.suffer(loss)?.map_or(Behind::NewSegment, Behind::Resume))
            }
        }
    }

    /// Whether a batch of which only the header checks out may be one that was cut, and what was written over it lost: a later
    /// life wrote behind it, and nothing says that it continues it.
    fn may_be_void(&self, segment: &Segment, header: &BatchHeader, next: [Option<BatchHeader>; 2]) -> bool {
        let meta = self.source.meta;
        let life = next.into_iter().flatten().next().map_or(meta.life, |y| y.life);
        let mut chains = next.into_iter().flatten().map(|y| y.chain).chain([meta.mark.chain]);
        let end = header.end(segment.align).map(|end| (segment.sequence, end));
        let is_known = stand_in(self, segment.sequence).is_some_and(|known| Some(known.resume) == end);
        life > header.life && !is_known && !chains.any(|chain| chain == header.check)
    }

    /// What says that a batch took back some of the log right where the last one stands that the walk took in, which did not:
    /// that one was cut, and shows again. Of the first batch behind a loss, nobody knows what it took back.
    fn replaced_at_last(&self, segment: &Segment, beyond: &Beyond) -> Option<Contradiction> {
        let (last, mark) = (self.fold.last, self.source.meta.mark);
        if last == 0 || self.fold.replacing == last || self.resumed_at == Some((segment.sequence, last)) {
            return None;
        }
        match beyond.first {
            Some(y) => (y.replacing == last).then_some(Contradiction::Batch(y)),
            None => {
                let is_beyond = mark.sequence == segment.sequence && mark.offset > self.fold.end;
                (is_beyond && mark.replacing == last).then_some(Contradiction::Mark)
            }
        }
    }

    /// What is lost behind the place where the walk stands.
    fn lost_behind(
        &mut self,
        segment: &Segment,
        window: &mut Window<'_>,
        (at_end, is_astray): (AtEnd, bool),
        (beyond, later): (&Beyond, Option<(u64, BatchHeader)>),
        lives: Lives,
        why: DamageKind,
    ) -> Result<Loss> {
        let (sequence, mark) = (segment.sequence, self.source.meta.mark);
        let next = beyond.first.map(|y| (sequence, y)).or(later);
        let known = self.where_it_goes_on(segment, window, lives, later)?;
        let at_mark = is_astray || self.goes_on_at_mark(sequence);
        let again = self.followed_by_another(sequence)?.filter(|_| known.is_none() && !at_mark);
        // A seal that was lost cost nothing, and the mark stands at the start of the next file.
        let cost_nothing = |known: &&Accepted| at_mark && known.first == known.end && known.resume.0 != sequence;
        let again = again.or(stand_in(self, sequence).filter(cost_nothing).copied());
        Ok(match (again, at_end) {
            (Some(again), AtEnd::Nothing) => {
                let chain = if at_mark { mark.chain } else { 0 };
                Loss::again(&again, chain, self.fold.run.end(), Some(segment), why)
            }
            (_, at_end) => {
                let next = known.or(next).filter(|_| !at_mark);
                let life = next.map_or(self.source.meta.life, |(_, y)| y.life);
                let loss = Loss::in_file(self, segment, at_end, next, why);
                // That nothing was lost but an index is for the index to say, where lives lie between: the last batch may
                // have been void, and as many entries lost as it holds.
                let is_new = !self.accepted.iter().any(|known| loss.is_between_the_same(known));
                let is_doubtful = is_new && self.fold.last != 0 && loss.seems_empty() && life > self.fold.life;
                match is_doubtful && !self.has_index(window, next)? {
                    true => loss.doubted(self, next),
                    false => loss,
                }
            }
        })
    }

    /// Whether an index stands where the walk does, be its batch header right or not: what it says of itself, or, of a seal,
    /// what the trailer does and what follows it.
    fn has_index(&self, window: &mut Window<'_>, next: Option<(u64, BatchHeader)>) -> Result<bool> {
        let seal = window.trailer()?.map(|trailer| (trailer.seal_offset, trailer.seal_check));
        let is_seal = next.is_some_and(|(_, y)| seal == Some((self.fold.end, y.chain)));
        Ok(is_seal || window.index_at(self.fold.end)? == Some(self.fold.run.end()))
    }

    /// All that authenticates beyond the end, in the same file. Behind `meta`'s mark, batches of earlier lives are void,
    /// be the end before it or behind.
    fn headers_beyond(
        &mut self,
        segment: &Segment,
        window: &mut Window<'_>,
        lives: Lives,
        least: u32,
    ) -> Result<Beyond> {
        let (mut beyond, mut at) = (Beyond::default(), self.fold.end);
        if self.source.is_closed && self.is_closed_at(segment, at) {
            // No life began since: it would have begun with a newer `meta`, and its first batch stood right here. Only
            // where something unreadable does, that is worth a look.
            if window.is_blank(at)? || window.header(at)?.is_some() {
                return Ok(beyond);
            }
        }
        let start = at;
        let search = (start, least);
        if let Some((_, found)) = self.searched.as_ref().filter(|(known, _)| *known == search) {
            return Ok(*found);
        }
        // What an accepted loss reaches over is void.
        let known = stand_in(self, segment.sequence).map(|known| known.resume);
        let lost_to = known.filter(|(sequence, _)| *sequence == segment.sequence).map_or(0, |(_, offset)| offset);
        while let Some(header) = window.next_header(at, least)? {
            at = header.offset;
            let counts = lives.admit(&header, segment.align, least) && header.offset >= lost_to;
            #[cfg(mutate)]
            let counts = counts || mutate::is(Mutation::VoidIsEvidence);
            if !counts {
                continue;
            }
            self.seen.note(segment.sequence, &header);
            beyond.mark = beyond.mark.max(header.mark);
            beyond.first.get_or_insert(header);
            beyond.end = header.end(segment.align).unwrap_or(u32::MAX);
        }
        self.searched = Some((search, beyond));
        Ok(beyond)
    }

    /// The lowest later file that belongs to the chain, named or not: a batch in it authenticates, and the first one was
    /// only written once its predecessor's seal was durable. Files that nothing says were in use are not looked through, nor what an
    /// accepted loss of what follows where the walk stands reaches over: what earlier lives left there is void, and only its record
    /// says so.
    fn later_file(&mut self, sequence: u64, least: u32, was_sealed: bool) -> Result<Option<(u64, BatchHeader)>> {
        let lost_to = stand_in(self, sequence).map_or(Accepted::UNKNOWN, |known| known.resume);
        let is_later = |&later: &u64| later > sequence && later >= lost_to.0;
        let later: Vec<u64> = self.sequences.iter().copied().filter(is_later).collect();
        for later in later {
            let Opened::Whole(segment) = self.open(later)? else { continue };
            let segment = Arc::clone(segment);
            let in_use = was_sealed || self.source.meta.mark.sequence >= later;
            let from = if later == lost_to.0 { lost_to.1 } else { 0 };
            if let Some(first) = self.first_header(&segment, least, in_use, from)? {
                self.seen.note(later, &first);
                return Ok(Some((later, first)));
            }
        }
        Ok(None)
    }

    /// The first batch of a later file that authenticates: in one that was in use, if the very first is lost, too, one
    /// behind it. Where that loss was accepted, the log may have gone on in the middle of the file, at `from`: then the very first
    /// counts only if those behind it lead there.
    fn first_header(&self, segment: &Segment, least: u32, in_use: bool, from: u32) -> Result<Option<BatchHeader>> {
        let (mut window, mut at) = (Window::new(segment), segment.data_start());
        let lives = self.lives_in(segment);
        let counts = |header: &BatchHeader| lives.admit(header, segment.align, least);
        let first = window.header(at)?.filter(counts);
        if let Some(first) = first.filter(|_| from > at) {
            if leads_to(&mut window, first, segment.align, from)? {
                return Ok(Some(first));
            }
        } else if first.is_some() || !in_use {
            return Ok(first);
        }
        if let Some(known) = window.header(from)?.filter(|header| from > at && counts(header)) {
            return Ok(Some(known));
        }
        at = at.max(from);
        while let Some(header) = window.next_header(at, least)? {
            if counts(&header) {
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

    pub(super) fn lost_file(&mut self, sequence: u64, state: FileState) -> Result<Next> {
        let later = self.later_file(sequence, self.fold.life, true)?;
        let evidence = Evidence {
            meta_is_behind: self.meta_is_behind(),
            file: state,
            is_forged: false,
            batch_mark_beyond: later.is_some(),
            meta_mark_beyond: self.source.meta.mark.place() > (sequence, self.fold.end),
        };
        match recover::verdict(evidence) {
            Verdict::Damaged(why) => {
                let at_mark = self.goes_on_at_mark(sequence);
                let later = later.filter(|_| !at_mark);
                let place = later.map(|(found, y)| (found, y.offset));
                let again = self.followed_by_another(sequence)?;
                let loss = match again.filter(|known| !at_mark && place != Some(known.resume)) {
                    Some(again) => Loss::again(&again, 0, self.fold.run.end(), None, why),
                    None => Loss::of_file(self, sequence, later, why),
                };
                let resume = self.suffer(loss)?;
                View::supersede(&mut self.sealed, self.fold.base);
                Ok(resume.map_or(Next::NewSegment, |resume| self.enter(resume)))
            }
            Verdict::MetaOutdated | Verdict::Torn => self.check_meta().map(|()| Next::NewSegment),
        }
    }

    /// Whether the log goes on right at `meta`'s mark behind an accepted loss of what followed where the walk stands: what
    /// was written there since may be torn, and what authenticates behind it is not where the log goes on.
    fn goes_on_at_mark(&self, sequence: u64) -> bool {
        let (here, mark) = ((sequence, self.fold.end), self.source.meta.mark.place());
        stand_in(self, sequence).is_some_and(|known| known.resume == mark && mark != here)
    }

    /// The batch that an accepted loss of what followed where the walk stands was known to end at, if it is there: in the same
    /// file, or the first one of a later file.
    fn where_it_goes_on(
        &self,
        segment: &Segment,
        window: &mut Window<'_>,
        lives: Lives,
        later: Option<(u64, BatchHeader)>,
    ) -> Result<Option<(u64, BatchHeader)>> {
        let Some((end_sequence, offset)) = stand_in(self, segment.sequence).map(|known| known.resume) else {
            return Ok(None);
        };
        if end_sequence != segment.sequence {
            return Ok(later.filter(|(sequence, first)| (end_sequence, offset) == (*sequence, first.offset)));
        }
        let header = window.header(offset)?;
        let leads_on = |header: &BatchHeader| header.offset > self.fold.end || header.chain != self.fold.chain;
        let header = header.filter(|header| lives.admit(header, segment.align, self.fold.life) && leads_on(header));
        Ok(header.map(|header| (segment.sequence, header)))
    }

    /// The accepted loss of what followed where the walk stands, if what came right behind it was lost, and accepted, later.
    fn followed_by_another(&mut self, sequence: u64) -> Result<Option<Accepted>> {
        let Some(known) = stand_in(self, sequence).copied() else { return Ok(None) };
        let follows = |other: &Accepted| (other.sequence, other.offset) == known.resume && *other != known;
        let is_followed = self.accepted.iter().any(follows);
        Ok((is_followed && matches!(self.open(known.resume.0)?, Opened::Whole(_))).then_some(known))
    }

    /// Accepts a loss, if it was accepted before or the caller does now; else it is the error that open gives.
    fn suffer(&mut self, loss: Loss) -> Result<Option<Resume>> {
        let least = self.first_behind_purged();
        let known_at = self.accepted.iter().position(|accepted| loss.is(accepted, least));
        let known = known_at.is_some();
        let room = MetaStore::has_room_for(&self.accepted);
        if !known && !loss.is_harmless() && (self.source.on_damage == OnDamage::Refuse || !room) {
            return Err(loss.damage(self.source.dir).into());
        }
        if let Some(at) = known_at {
            // In the order of the chain: what is lost further on is what readers miss.
            self.accepted[at..].rotate_left(1);
        }
        // One that costs nothing is recorded, too, if it can be: what shows there may be void, and later lives cannot tell.
        if !known && room && (!loss.is_harmless() || loss.is_followed()) {
            // Nothing that was put back for an older one stands in for this one.
            let mut record = loss.record();
            record.open_ended |= self.accepted.iter().any(|older| loss.is_at(older) && older.open_ended);
            self.accepted.retain(|older| !loss.is_at(older));
            self.accepted.push(record);
        }
        let here = (loss.sequence, self.fold.end);
        if !loss.is_bearable() || !loss.leads_on(here, self.fold.chain, self.lost_at == Some(here)) {
            return Err(loss.damage(self.source.dir).into());
        }
        self.lost_at = Some(here);
        if loss.is_harmless() {
            self.report.reindexed.push(self.source.dir.join(segment::file_name(loss.sequence)));
        } else {
            self.report.damaged.push(Arc::new(loss.accepted(self.source.dir)));
        }
        let resume = loss.apply(&mut self.fold);
        self.resumed_at = resume.as_ref().map(|resume| (resume.sequence, resume.offset));
        Ok(resume)
    }
}

/// Whether batches follow one another, each chained to the one before, from this one to the one at `offset`.
fn leads_to(window: &mut Window<'_>, mut batch: BatchHeader, align: u32, offset: u32) -> Result<bool> {
    while let Some(end) = batch.end(align).filter(|&end| end <= offset) {
        let Some(next) = window.header(end)?.filter(|next| next.chain == batch.check) else { return Ok(false) };
        if end == offset {
            return Ok(true);
        }
        batch = next;
    }
    Ok(false)
}
