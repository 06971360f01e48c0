//! What damage costs: which entries are lost, and where the chain goes on behind it.

use std::path::Path;

use super::recovery::Walk;
use crate::error::{Damage, DamageKind, DamagedRange};
use crate::meta::{Accepted, Mark};
use crate::segment::fold::Fold;
use crate::segment::format::{BatchHeader, ENTRY_BYTES, Kind};
use crate::segment::index::{Run, Slot};
use crate::segment::recover::AtEnd;
use crate::segment::window::{Contradiction, Part};
use crate::segment::{self, Segment};

/// Where a chain goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resume {
    pub(crate) sequence: u64,
    pub(crate) offset: u32,
    pub(crate) chain: u32,
}

/// Damage at one place, assessed.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) sequence: u64,
    offset: u32,
    first: u64,
    end: Option<u64>,
    /// Whether entries behind `end` may be lost, too, and so many that the range has no end.
    is_open: bool,
    /// Whether the log may have gone on behind what is known of it.
    open_ended: bool,
    resume: Option<Resume>,
    why: DamageKind,
    what: What,
    /// The most entries that the file can have held.
    count_max: u64,
}

/// What is lost.
#[derive(Debug)]
enum What {
    /// Entries of a batch whose header is right.
    Payloads { header: BatchHeader, parts: Vec<Part>, end: u32 },
    /// A batch with its header, or several.
    Range,
    /// Batches that void ones stand in the place of.
    Void,
    /// A whole file.
    File,
    /// An index only: every entry it speaks of is there.
    Index,
}

/// The next place where the log is known again.
struct FarSide {
    sequence: u64,
    resume: Resume,
    /// The next index there.
    index: u64,
    /// The offset of the latest replacing batch before it, and the lowest first index.
    replacing: u32,
    base: u64,
}

impl FarSide {
    fn at_batch(sequence: u64, batch: &BatchHeader) -> FarSide {
        let resume = Resume { sequence, offset: batch.offset, chain: batch.chain };
        FarSide { sequence, resume, index: batch.first_index, replacing: batch.replacing, base: batch.base }
    }

    /// Without a batch, the mark in `meta` stands in for one.
    fn at_mark(walk: &Walk<'_>) -> FarSide {
        let Mark { sequence, offset, chain, next, base, replacing, .. } = walk.source.meta.mark;
        FarSide { sequence, resume: Resume { sequence, offset, chain }, index: next, replacing, base }
    }

    /// The first entry that may be lost between where `walk` stands in `segment` and here.
    fn first_lost(&self, segment: &Segment, walk: &Walk<'_>) -> u64 {
        let (offset, at) = (walk.fold.end, walk.fold.run.end());
        // The latest replacing batch may be among what is lost: older versions of its entries must not come back.
        let first = if self.replacing >= offset { self.base.min(at) } else { at };
        // A log that was empty may begin anywhere: no lower than the lost bytes can have held.
        let end = if self.sequence == segment.sequence { self.resume.offset } else { segment.data_end() };
        let held = u64::from(end.saturating_sub(offset)) / ENTRY_BYTES as u64;
        let lowest = self.index.saturating_sub(held).min(walk.fold.log_first.unwrap_or(u64::MAX));
        first.max(lowest)
    }

    /// The entries that are lost between where `walk` stands in `segment` and here, half-open.
    fn lost_before(&self, segment: &Segment, walk: &Walk<'_>) -> (u64, u64) {
        let first = self.first_lost(segment, walk);
        match stand_in(walk, segment.sequence) {
            // Nothing was written there since it was accepted.
            Some(known) if known.resume == (self.sequence, self.resume.offset) => (known.first, known.end),
            // What void batches stand in the place of stays lost, whatever is lost behind it.
            Some(known) if known.void => (first.min(known.first), self.index),
            _ => (first, self.index),
        }
    }

    /// The first entry that may be lost where batches that the walk took in were void: any of this file.
    fn first_void(&self, walk: &Walk<'_>) -> u64 {
        // What they superseded in earlier files is lost as well, where that is more than what the void ones did.
        let base = if self.base < walk.fold.base { self.base } else { u64::MAX };
        walk.fold.run.first.min(base)
    }
}

/// The accepted loss of what followed where `walk` stands, in the file with this sequence. A later file that goes on right
/// from here is the one that an open began when it accepted that. In an empty log its first entry may have any index: that
/// makes the loss no greater, nor does it bring back what the lost file may have superseded.
pub(super) fn stand_in<'a>(walk: &'a Walk<'_>, sequence: u64) -> Option<&'a Accepted> {
    walk.accepted.iter().find(|known| (known.sequence, known.offset) == (sequence, walk.fold.end))
}

fn count_max(segment: &Segment) -> u64 {
    u64::from(segment.size_bytes) / ENTRY_BYTES as u64
}

impl Loss {
    /// At the end of what can be followed in `segment`, where `next` is the next batch that authenticates, in this
    /// file or a later one.
    pub(super) fn in_file(
        walk: &Walk<'_>,
        segment: &Segment,
        at_end: AtEnd,
        next: Option<(u64, BatchHeader)>,
        why: DamageKind,
    ) -> Loss {
        if let AtEnd::Torn(header, parts) = at_end {
            return Self::of_batch(segment, header, parts, why);
        }
        let (sequence, offset, at) = (segment.sequence, walk.fold.end, walk.fold.run.end());
        let far = next.map_or_else(|| FarSide::at_mark(walk), |(found, y)| FarSide::at_batch(found, &y));
        let is_next = far.sequence != sequence && !walk.has_between(sequence, far.sequence);
        let is_start = walk.data_start_of(far.sequence) == Some(far.resume.offset);
        let goes_on = is_start && far.sequence != sequence && far.resume.chain == walk.fold.chain;
        let known = stand_in(walk, sequence);
        let begun = known.filter(|known| goes_on && known.first < known.end);
        // The batch that the next file began with was torn, and cut: what was lost before it is what it was.
        let is_known = known.is_some_and(|known| {
            known.resume == (far.sequence, far.resume.offset) && known.first > walk.first_behind_purged()
        });
        let what = match () {
            () if far.sequence == sequence => What::Range,
            // The file that an open began when it accepted the loss of what followed here.
            () if begun.is_some() => What::File,
            // The chain value there is the one here: an index was lost, and no entry.
            () if goes_on => What::Index,
            // A file's first batch carries what its predecessor came to.
            () if is_next && is_start && (next.is_some() || is_known) => What::Range,
            () => What::File,
        };
        let (first, end) = match what {
            What::Range | What::Void => far.lost_before(segment, walk),
            What::File => (walk.first_behind_purged(), begun.map_or(far.index, |known| known.end)),
            What::Index | What::Payloads { .. } => (at, at),
        };
        let end = end.max(first);
        let resume = (far.sequence == sequence || walk.is_whole(far.sequence)).then_some(far.resume);
        // The entries before it take slots, too.
        let kept = first.saturating_sub(walk.fold.run.first).min(walk.fold.run.slots.len() as u64);
        let count_max = count_max(segment).saturating_sub(kept);
        let open_ended = (next.is_none() || resume.is_none()) && !walk.source.is_closed;
        Loss { sequence, offset, first, end: Some(end), is_open: false, open_ended, resume, why, what, count_max }
    }

    /// Of what void batches stand in the place of, up to where `walk` stands: there the log goes on from another batch than
    /// the last one. How far back they reach, nobody knows.
    pub(super) fn of_void(walk: &Walk<'_>, segment: &Segment, found: Contradiction, why: DamageKind) -> Loss {
        let (sequence, offset) = (segment.sequence, walk.fold.last);
        let far = match found {
            Contradiction::Mark => FarSide::at_mark(walk),
            Contradiction::Batch(next) => FarSide::at_batch(sequence, &next),
        };
        let first = far.first_void(walk);
        let open_ended = matches!(found, Contradiction::Mark) && !walk.source.is_closed;
        let (end, resume, count_max) = (Some(far.index.max(first)), Some(far.resume), count_max(segment));
        Loss { sequence, offset, first, end, is_open: false, open_ended, resume, why, what: What::Void, count_max }
    }

    /// Whether batches were lost, and no entry as it seems.
    pub(super) fn seems_empty(&self) -> bool {
        matches!(self.what, What::Range) && self.end == Some(self.first)
    }

    /// The same where the last batch may have been void.
    pub(super) fn doubted(self, walk: &Walk<'_>, next: Option<(u64, BatchHeader)>) -> Loss {
        let far = next.map_or_else(|| FarSide::at_mark(walk), |(found, y)| FarSide::at_batch(found, &y));
        let first = far.first_void(walk).min(self.first);
        let count_max = self.count_max.saturating_add(self.first - first);
        Loss { offset: walk.fold.last, first, what: What::Void, count_max, ..self }
    }

    /// One that was accepted, of which nothing is there to tell but its record; the chain goes on with this value. `next` is
    /// the log's next index before it.
    pub(super) fn again(known: &Accepted, chain: u32, next: u64, segment: Option<&Segment>, why: DamageKind) -> Loss {
        let &Accepted { sequence, offset, first, end, resume: (to, at), .. } = known;
        let what = match () {
            () if to == sequence => What::Range,
            () if first == end && next == end => What::Index,
            () => What::File,
        };
        let resume = Some(Resume { sequence: to, offset: at, chain });
        let (end, count_max) = (Some(end.max(first)), segment.map_or(0, count_max));
        Loss { sequence, offset, first, end, is_open: false, open_ended: false, resume, why, what, count_max }
    }

    fn of_batch(segment: &Segment, header: BatchHeader, parts: Option<Vec<Part>>, why: DamageKind) -> Loss {
        let (sequence, offset) = (segment.sequence, header.offset);
        let end_offset = header.end(segment.align).unwrap_or(u32::MAX);
        let resume = Some(Resume { sequence, offset: end_offset, chain: header.check });
        let first = header.first_index;
        let (is_open, open_ended, count_max) = (false, false, count_max(segment));
        if header.kind != Kind::Entries {
            let (end, what) = (Some(first), What::Index);
            return Loss { sequence, offset, first, end, is_open, open_ended, resume, why, what, count_max };
        }
        let unknown = || vec![Part { term: 0, slot: Slot::LOST, fault: Some(why) }; header.count as usize];
        let parts = parts.unwrap_or_else(unknown);
        let lost = |(at, _): (usize, &Part)| first.saturating_add(at as u64);
        let is_lost = |(_, part): &(usize, &Part)| part.fault.is_some();
        let (low, high) = (parts.iter().enumerate().find(is_lost), parts.iter().enumerate().rfind(is_lost));
        let (low, high) = (low.map_or(first, lost), high.map_or(first, |part| lost(part) + 1));
        let what = What::Payloads { header, parts, end: end_offset };
        Loss { sequence, offset, first: low, end: Some(high), is_open, open_ended, resume, why, what, count_max }
    }

    /// Of a whole file: nobody knows which entries it held, or took back.
    pub(super) fn of_file(walk: &Walk<'_>, sequence: u64, later: Option<(u64, BatchHeader)>, why: DamageKind) -> Loss {
        let mark = walk.source.meta.mark;
        let first = walk.first_behind_purged();
        let at_mark = Resume { sequence: mark.sequence, offset: mark.offset, chain: mark.chain };
        let (end, is_open, resume) = match later {
            Some((found, y)) => {
                let begun = stand_in(walk, sequence).filter(|_| y.chain == walk.fold.chain);
                let end = begun.map_or(y.first_index, |known| known.end);
                (end, false, Some(Resume { sequence: found, offset: y.offset, chain: y.chain }))
            }
            None if walk.is_whole(mark.sequence) && mark.sequence > sequence => (mark.next, false, Some(at_mark)),
            // What the file held behind the mark, nobody knows; nothing, if the journal was closed.
            None => (mark.next.max(walk.fold.run.end()), !walk.source.is_closed, None),
        };
        let end = Some(end.max(first));
        let offset = walk.fold.end;
        let open_ended = later.is_none() && !walk.source.is_closed;
        Loss { sequence, offset, first, end, is_open, open_ended, resume, why, what: What::File, count_max: 0 }
    }

    /// Whether this loss was accepted before: it begins at the same place, costs no more of what is left of the log from
    /// `least` on, and ends where that one did. What the log went on with there may be lost, too, and have replaced what was
    /// lost then, or put back since.
    pub(super) fn is(&self, accepted: &Accepted, least: u64) -> bool {
        let resumes = [Accepted::UNKNOWN, self.resume_place()];
        #[cfg(mutate)]
        let resumes = match crate::mutate::is(crate::mutate::Mutation::LossByStartAlone) {
            true => [accepted.resume; 2],
            false => resumes,
        };
        self.is_at(accepted)
            && self.first.max(least) >= accepted.first
            && self.end.is_none_or(|end| end <= accepted.end)
            && resumes.contains(&accepted.resume)
    }

    /// Whether another loss begins at the same place.
    pub(super) fn is_at(&self, accepted: &Accepted) -> bool {
        (self.sequence, self.offset) == (accepted.sequence, accepted.offset)
    }

    /// Whether another loss begins and ends at the same places.
    pub(super) fn is_between_the_same(&self, accepted: &Accepted) -> bool {
        self.is_at(accepted) && [Accepted::UNKNOWN, self.resume_place()].contains(&accepted.resume)
    }

    /// Whether it is known where the chain goes on.
    pub(super) fn is_followed(&self) -> bool {
        self.resume.is_some()
    }

    /// Whether it leads on from where the walk stands, `again` if one did before right there: what `meta` has of losses says where
    /// the chain goes on, and might say that it does so further back, or in turn with another chain value, round and round.
    pub(super) fn leads_on(&self, place: (u64, u32), chain: u32, again: bool) -> bool {
        self.resume.is_none_or(|resume| match (resume.sequence, resume.offset).cmp(&place) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => resume.chain != chain && !again,
            std::cmp::Ordering::Greater => true,
        })
    }

    fn resume_place(&self) -> (u64, u32) {
        self.resume.map_or(Accepted::UNKNOWN, |resume| (resume.sequence, resume.offset))
    }

    /// Whether going on without it is possible at all.
    pub(super) fn is_bearable(&self) -> bool {
        match self.what {
            What::File | What::Index | What::Payloads { .. } => true,
            // Each lost entry takes a slot in the file's seal, for which there must be room.
            What::Range | What::Void => self.end.is_some_and(|end| end - self.first <= self.count_max),
        }
    }

    /// Whether every entry is still there: an index was lost, or a batch that replaced nothing and held nothing.
    pub(super) fn is_harmless(&self) -> bool {
        match self.what {
            What::Index => true,
            What::Range | What::Payloads { .. } => self.end == Some(self.first),
            // Nobody knows what a file held, nor what stood where void batches do.
            What::File | What::Void => false,
        }
    }

    pub(super) fn record(&self) -> Accepted {
        let Loss { sequence, offset, first, end, .. } = *self;
        let (end, void) = (end.unwrap_or(first), matches!(self.what, What::Void));
        let open_ended = self.open_ended && !self.is_harmless();
        Accepted { sequence, offset, first, end, resume: self.resume_place(), void, open_ended }
    }

    /// What is lost, once it is accepted: up to where the log goes on.
    pub(super) fn accepted(&self, dir: &Path) -> Damage {
        let indexes = DamagedRange { first: self.first, end: self.end };
        Damage { indexes, ..self.damage(dir) }
    }

    /// What is lost.
    pub(super) fn damage(&self, dir: &Path) -> Damage {
        let path = dir.join(segment::file_name(self.sequence));
        let indexes = DamagedRange { first: self.first, end: self.end.filter(|_| !self.is_open) };
        Damage { path, offset: u64::from(self.offset), indexes, term: self.term(), why: self.why }
    }

    /// The term of what is lost, where the entries right beside it in its batch are there and have the same: terms never
    /// fall.
    fn term(&self) -> Option<u64> {
        let What::Payloads { header, parts, .. } = &self.what else { return None };
        let at = |index: u64| {
            let at = usize::try_from(index.checked_sub(header.first_index)?).ok()?;
            parts.get(at).filter(|part| part.fault.is_none()).map(|part| part.term)
        };
        let before = at(self.first.checked_sub(1)?)?;
        at(self.end?).filter(|&behind| behind == before)
    }

    /// Goes on without what is lost: readers get an error for it. Says where the chain goes on.
    pub(super) fn apply(self, fold: &mut Fold) -> Option<Resume> {
        let end = self.end.unwrap_or(self.first);
        match self.what {
            What::Index => {}
            What::Payloads { header, parts, end } => {
                let entry = |part: &Part| (part.term, if part.fault.is_none() { part.slot } else { Slot::LOST });
                let entries: Vec<(u64, Slot)> = parts.iter().map(entry).collect();
                fold.apply(&header, end, &entries);
                // The checks were proved, the terms were not: what is put back is held against the check.
                let lost = parts.iter().zip(header.first_index..).filter(|(part, _)| part.fault.is_some());
                lost.for_each(|(part, index)| fold.run.place_lost(index, part.slot));
            }
            What::Range | What::Void => {
                fold.replace_from(self.first, self.offset);
                if end > self.first {
                    fold.log_first.get_or_insert(self.first);
                }
                (self.first..end).for_each(|_| fold.run.push_lost());
            }
            What::File => {
                fold.replace_from(self.first, self.offset);
                if end > self.first {
                    fold.log_first.get_or_insert(self.first);
                }
                // Not slot by slot: a lost file may have superseded the whole log. What is left before it was purged.
                fold.run = Run { first: end, ..Run::default() };
            }
        }
        self.resume
    }
}
