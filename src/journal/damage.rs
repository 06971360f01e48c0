//! What damage costs: which entries are lost, and where the chain goes on behind it.

use std::path::Path;

use super::recovery::Walk;
use crate::error::{Damage, DamageKind, DamagedRange};
use crate::meta::Accepted;
use crate::segment::fold::Fold;
use crate::segment::format::{BatchHeader, Kind};
use crate::segment::index::{Slot, UNKNOWN_TERM};
use crate::segment::recover::AtEnd;
use crate::segment::{self, Segment};

/// The most entries that one damaged place in a file may be said to have held: more is no honest header.
const LOST_MAX: u64 = 16 << 20;

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
    resume: Option<Resume>,
    why: DamageKind,
    what: What,
}

/// What is lost.
#[derive(Debug)]
enum What {
    /// Entries of a batch whose header is right.
    Payloads { header: BatchHeader, parts: Vec<(u64, Slot, bool)>, end: u32 },
    /// A batch with its header, or several.
    Range,
    /// A whole file.
    File,
    /// An index only: every entry it speaks of is there.
    Index,
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
        let (sequence, offset, at) = (segment.sequence, walk.fold.end, walk.fold.run.end());
        let mark = walk.source.meta.mark;
        let loss = |first: u64, end: Option<u64>, resume, what| Loss {
            sequence,
            offset,
            first,
            end: end.map(|end| end.max(first)),
            resume,
            why,
            what,
        };
        if let AtEnd::Torn(header, parts) = at_end {
            return Self::of_batch(segment, header, parts, why);
        }
        // The header names the latest replacing batch before it: if that one is among what is lost, older versions of
        // its entries must not come back.
        let first_lost = |replacing: u32, base: u64| if replacing >= offset { base.min(at) } else { at };
        match next {
            Some((found, y)) => {
                let resume = Resume { sequence: found, offset: y.offset, chain: y.chain };
                loss(first_lost(y.replacing, y.base), Some(y.first_index), Some(resume), What::Range)
            }
            None if mark.sequence == sequence => {
                let resume = Resume { sequence, offset: mark.offset, chain: mark.chain };
                loss(first_lost(mark.replacing, mark.base), Some(mark.next), Some(resume), What::Range)
            }
            None => {
                let resume = Resume { sequence: mark.sequence, offset: mark.offset, chain: mark.chain };
                let resume = walk.is_whole(mark.sequence).then_some(resume);
                loss(walk.first_behind_purged(), Some(mark.next), resume, What::File)
            }
        }
    }

    fn of_batch(
        segment: &Segment,
        header: BatchHeader,
        parts: Option<Vec<(u64, Slot, bool)>>,
        why: DamageKind,
    ) -> Loss {
        let (sequence, offset) = (segment.sequence, header.offset);
        let end_offset = header.end(segment.align).unwrap_or(u32::MAX);
        let resume = Some(Resume { sequence, offset: end_offset, chain: header.check });
        let first = header.first_index;
        if header.kind != Kind::Entries {
            return Loss { sequence, offset, first, end: Some(first), resume, why, what: What::Index };
        }
        let unknown = || vec![(UNKNOWN_TERM, Slot::LOST, false); header.count as usize];
        let parts = parts.unwrap_or_else(unknown);
        let lost = |(at, _): (usize, &(u64, Slot, bool))| first.saturating_add(at as u64);
        let is_lost = |(_, part): &(usize, &(u64, Slot, bool))| !part.2;
        let (low, high) = (parts.iter().enumerate().find(is_lost), parts.iter().enumerate().rfind(is_lost));
        let (low, high) = (low.map_or(first, lost), high.map_or(first, |part| lost(part) + 1));
        let what = What::Payloads { header, parts, end: end_offset };
        Loss { sequence, offset, first: low, end: Some(high), resume, why, what }
    }

    /// Of a whole file: nobody knows which entries it held, or took back.
    pub(super) fn of_file(walk: &Walk<'_>, sequence: u64, later: Option<(u64, BatchHeader)>, why: DamageKind) -> Loss {
        let mark = walk.source.meta.mark;
        let first = walk.first_behind_purged();
        let at_mark = Resume { sequence: mark.sequence, offset: mark.offset, chain: mark.chain };
        let (end, resume) = match later {
            Some((found, y)) => {
                (Some(y.first_index), Some(Resume { sequence: found, offset: y.offset, chain: y.chain }))
            }
            None if walk.is_whole(mark.sequence) && mark.sequence > sequence => (Some(mark.next), Some(at_mark)),
            None => (Some(mark.next.max(walk.fold.run.end())), None),
        };
        let end = end.map(|end| end.max(first));
        Loss { sequence, offset: walk.fold.end, first, end, resume, why, what: What::File }
    }

    /// Whether this loss was accepted before.
    pub(super) fn is(&self, accepted: &Accepted) -> bool {
        (self.sequence, self.offset) == (accepted.sequence, accepted.offset)
            && self.first >= accepted.first
            && self.end.is_none_or(|end| end <= accepted.end)
    }

    /// Whether going on without it is possible at all.
    pub(super) fn is_bearable(&self) -> bool {
        match self.what {
            What::File | What::Index | What::Payloads { .. } => true,
            What::Range => self.end.is_some_and(|end| end - self.first <= LOST_MAX),
        }
    }

    pub(super) fn loses_entries(&self) -> bool {
        !matches!(self.what, What::Index) && self.end != Some(self.first)
    }

    pub(super) fn record(&self) -> Accepted {
        let Loss { sequence, offset, first, end, .. } = *self;
        Accepted { sequence, offset, first, end: end.unwrap_or(first) }
    }

    pub(super) fn damage(&self, dir: &Path) -> Damage {
        let path = dir.join(segment::file_name(self.sequence));
        let indexes = DamagedRange { first: self.first, end: self.end };
        Damage { path, offset: u64::from(self.offset), indexes, term: None, why: self.why }
    }

    /// Goes on without what is lost: readers get an error for it. Says where the chain goes on.
    pub(super) fn apply(self, fold: &mut Fold) -> Option<Resume> {
        let end = self.end.unwrap_or(self.first);
        match self.what {
            What::Index => {}
            What::Payloads { header, parts, end } => {
                let entry = |(term, slot, right)| if right { (term, slot) } else { (UNKNOWN_TERM, Slot::LOST) };
                let entries: Vec<(u64, Slot)> = parts.into_iter().map(entry).collect();
                fold.apply(&header, end, &entries);
            }
            What::Range => {
                fold.replace_from(self.first, self.offset);
                if end > self.first {
                    fold.log_first.get_or_insert(self.first);
                }
                (self.first..end).for_each(|_| fold.run.push(UNKNOWN_TERM, Slot::LOST));
            }
            What::File => {
                fold.replace_from(self.first, self.offset);
                if end > self.first {
                    fold.log_first.get_or_insert(self.first);
                }
                // Not slot by slot: a lost file may have superseded the whole log.
                fold.run.truncate(end);
                fold.run.first = end;
            }
        }
        self.resume
    }
}
