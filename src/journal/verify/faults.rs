//! Which entries a stretch of bytes that does not check out costs.

use std::sync::Arc;

use super::segment::Walk;
use super::{Core, Fault, FaultCause, FaultPart, cause};
use crate::error::{DamagedRange, Error, Result};
use crate::journal::read::read_slot;
use crate::journal::repairs::{self, Site};
use crate::journal::view::{Sealed, Slots, TermAt};
use crate::segment::format::PAGE_SLOTS;
use crate::segment::index::Slot;

/// An entry of the log, and where it stands.
type Standing = (u64, Slot);

/// Where a segment's entries are known from.
enum Known {
    /// It is the active one: these.
    Active(Vec<Standing>),
    Sealed(Sealed),
    /// It was purged meanwhile.
    Gone,
}

impl Core {
    /// Reports that what stands from `from` to `to` does not check out, with the entries of the log that are lost with it:
    /// they are read one by one, and some may be whole.
    pub(super) fn suspect(&self, walk: &mut Walk, from: u32, to: u32, part: FaultPart, why: FaultCause) {
        let path = walk.path().to_path_buf();
        let (lost, put_back) = match self.standing_in(walk, from, to) {
            Ok(standing) => self.unreadable(walk, &standing, to),
            // Nothing says any more where which entry stands.
            Err(indexes) => {
                let rest = indexes.map_or_else(Vec::new, |indexes| self.not_put_back(walk, indexes));
                let each = if rest.is_empty() { vec![None] } else { rest.into_iter().map(Some).collect() };
                let (part, offset, term) = (FaultPart::Entry, from.into(), None);
                let fault = |indexes| Fault { path: path.clone(), offset, part, indexes, term, cause: why.clone() };
                return walk.faults.extend(each.into_iter().map(fault));
            }
        };
        // A batch whose header is right is known by its entries, and what was put back is whole.
        if part == FaultPart::Batch || lost.is_empty() && !put_back {
            walk.faults.push(Fault { path, offset: from.into(), part, indexes: None, term: None, cause: why });
        }
        walk.faults.extend(lost);
    }

    /// What of a range nobody has put back.
    fn not_put_back(&self, walk: &Walk, range: DamagedRange) -> Vec<DamagedRange> {
        let repairs = self.repairs();
        let mut rest: Vec<DamagedRange> = Vec::new();
        let indexes = range.first..range.end.unwrap_or(range.first);
        for index in indexes.filter(|&index| !repairs.has_unplaced(walk.opened(), index)) {
            let end = Some(index + 1);
            match rest.last_mut().filter(|last| last.end == Some(index)) {
                Some(last) => last.end = end,
                None => rest.push(DamagedRange { first: index, end }),
            }
        }
        rest
    }

    /// Those entries that cannot be read, neighbours together; and whether there are others that were put back.
    fn unreadable(&self, walk: &Walk, standing: &[Standing], to: u32) -> (Vec<Fault>, bool) {
        let (mut faults, mut put_back): (Vec<Fault>, bool) = (Vec::new(), false);
        let repairs = self.repairs();
        for (number, &(index, slot)) in standing.iter().enumerate() {
            let limit = standing.get(number + 1).map_or(to, |(_, next)| next.offset);
            let Err(error) = read_slot(walk.opened(), slot, limit, index) else { continue };
            let (cause, term) = match repairs.stand_in(index, Site::In(walk.opened(), repairs::Known::of(slot))) {
                Ok(Some(_)) => {
                    put_back = true;
                    continue;
                }
                Ok(None) | Err(Error::Damaged(_)) => (cause(error), self.known_term(index)),
                // It was put back, and what cannot be read is where it is now.
                Err(unread) => (cause(unread), self.known_term(index)),
            };
            let goes_on = |last: &&mut Fault| last.indexes.and_then(|range| range.end) == Some(index);
            match faults.last_mut().filter(goes_on) {
                Some(last) => {
                    last.indexes = last.indexes.map(|range| DamagedRange { end: Some(index + 1), ..range });
                    last.term = last.term.filter(|_| last.term == term);
                }
                None => faults.push(Fault {
                    path: walk.path().to_path_buf(),
                    offset: slot.offset.into(),
                    part: FaultPart::Entry,
                    indexes: Some(DamagedRange { first: index, end: Some(index + 1) }),
                    term,
                    cause,
                }),
            }
        }
        (faults, put_back)
    }

    fn known_term(&self, index: u64) -> Option<u64> {
        match self.view.read().term(index) {
            TermAt::Known(term) => Some(term),
            TermAt::InEntry => None,
        }
    }

    /// The entries of the log that stand from `from` to `to`, in order; those left out whose loss was accepted. If nobody
    /// knows, all that the segment holds.
    fn standing_in(&self, walk: &Walk, from: u32, to: u32) -> Result<Vec<Standing>, Option<DamagedRange>> {
        let is_in = |&(_, slot): &Standing| (from..to).contains(&slot.offset);
        match self.known(walk.sequence(), |standing| is_in(standing)) {
            Known::Active(standing) => Ok(standing),
            Known::Gone => Ok(Vec::new()),
            Known::Sealed(sealed) => {
                let first = sealed.first.max(self.view.read().first().unwrap_or(u64::MAX));
                let range = DamagedRange { first, end: Some(sealed.live_end) };
                let slots = self.all_slots(&sealed).map_err(|_| (first < sealed.live_end).then_some(range))?;
                let standing = (sealed.first..sealed.live_end).zip(slots).filter(|&(index, _)| index >= first);
                Ok(standing.filter(is_in).collect())
            }
        }
    }

    fn known(&self, sequence: u64, is_in: impl Fn(&Standing) -> bool) -> Known {
        let view = self.view.read();
        if view.active.sequence == sequence {
            let first = view.first().unwrap_or(u64::MAX);
            let standing = (view.fold.run.first..).zip(view.fold.run.slots.iter().copied());
            return Known::Active(standing.filter(|standing| standing.0 >= first && is_in(standing)).collect());
        }
        let sealed = view.sealed.iter().find(|sealed| sealed.segment.sequence == sequence);
        sealed.cloned().map_or(Known::Gone, Known::Sealed)
    }

    /// All slots of a sealed segment, past the cache.
    fn all_slots(&self, sealed: &Sealed) -> Result<Vec<Slot>> {
        let file: &Arc<_> = sealed;
        match &file.slots {
            Slots::Scanned(slots) => Ok(slots.clone()),
            &Slots::Sealed { count, .. } => {
                let mut slots = Vec::new();
                for number in 0..count.div_ceil(PAGE_SLOTS as u32) {
                    match file.read_page(number)? {
                        Some(page) => slots.extend(page.slots()),
                        None => return self.rescan(file),
                    }
                }
                Ok(slots)
            }
        }
    }
}
