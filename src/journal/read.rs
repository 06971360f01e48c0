//! Reads: place under a lock, I/O without one, every byte verified.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Core;
use super::repairs::{Known, Site};
use super::view::{Place, SealedFile, Slots, Spot, TermAt};
use crate::entry::Entry;
use crate::error::{Damage, DamageKind, DamagedRange, Error, Result};
use crate::io;
use crate::meta::Accepted;
use crate::segment::Segment;
use crate::segment::fold::Fold;
use crate::segment::format::{BATCH_BYTES, ENTRY_BYTES, PAGE_SLOTS};
use crate::segment::index::{self, IndexId, Page, Slot};
use crate::segment::places::GUESS_BYTES;
use crate::segment::reader;
use crate::segment::recover::{self, Lives, Seen, Stop};
use crate::segment::rewind::Unproven;
use crate::segment::window::Window;

/// How many entries are placed under the lock at a time.
const PLACED_MAX: usize = PAGE_SLOTS;
/// The most bytes that one read asks for before it knows how long the entry is.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Entries that follow one another in a segment.
struct Located<'a> {
    segment: &'a Segment,
    slots: &'a [Slot],
    /// Where the last one ends at the latest, in most cases.
    limit: u32,
    /// The file, if it is a sealed one.
    file: Option<&'a SealedFile>,
    /// Whether the slots have their checks. Without them, reading ends in front of the first entry that cannot be read.
    has_checks: bool,
}

impl Located<'_> {
    /// An entry cannot be read: in this file, what is read from now on has its check.
    fn doubt(&self) {
        self.file.iter().for_each(|file| file.pages.doubt());
    }
}

/// Entries as they are gathered, and how many bytes more may come.
struct Gathered {
    entries: Vec<Entry>,
    bytes_left: u64,
    full: bool,
    /// Whether what was to come next is of the log no more.
    overtaken: bool,
}

impl Gathered {
    fn new(bytes_max: u64) -> Gathered {
        Gathered { entries: Vec::new(), bytes_left: bytes_max, full: false, overtaken: false }
    }

    /// Takes an entry as [`push`](Gathered::push) does, or notes that there is none any more.
    fn take(&mut self, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.push(entry),
            None => (self.full, self.overtaken) = (true, true),
        }
    }

    /// Takes an entry if the budget allows, the first one always.
    fn push(&mut self, entry: Entry) {
        let bytes = entry.data.len() as u64;
        if self.entries.is_empty() || bytes <= self.bytes_left {
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.entries.push(entry);
        } else {
            self.full = true;
        }
    }
}

impl SealedFile {
    /// Whether an entry has the term that is known of it. Of one index, Raft has no two entries of one term.
    fn may_have(&self, entry: &Entry) -> bool {
        let term = self.terms.as_ref().and_then(|terms| terms.at(entry.index));
        term.is_none_or(|term| term == entry.term)
    }

    /// A page of its slots; nothing where the seal does not have it whole.
    pub(super) fn read_page(&self, number: u32) -> Result<Option<Page>> {
        let &Slots::Sealed { offset, life, summary_bytes, count, .. } = &self.slots else { return Ok(None) };
        let (at, len) = index::page_span(summary_bytes, count, number);
        let at = u64::from(offset) + BATCH_BYTES as u64 + at;
        let bytes = read(&self.segment, at, len)?;
        Ok(Page::parse(&self.segment.salt, IndexId { offset, life }, number, bytes))
    }

    /// Where an entry stands, and about where it ends, by its seal and without the checksum of the page: for files where what
    /// checks out is the entry that belongs there.
    fn place_in_seal(&self, number: u32, at: usize) -> Option<(u32, u32)> {
        let &Slots::Sealed { offset, summary_bytes, count, .. } = &self.slots else { return None };
        let (page, page_bytes) = index::page_span(summary_bytes, count, number);
        let span = Page::two_slots(at, page_bytes)?;
        let from = u64::from(offset) + BATCH_BYTES as u64 + page + span.start as u64;
        let bytes = read(&self.segment, from, span.len()).ok()?;
        let mut slots = index::slots_of(&bytes);
        let slot = slots.next().filter(|slot| !slot.is_lost())?;
        // Of a page's last one, where it ends is a guess.
        let limit = slots.next().map_or_else(|| slot.offset.saturating_add(GUESS_BYTES), |next| next.offset);
        let is_possible = slot.offset < limit && slot.offset < self.data_end;
        is_possible.then_some((slot.offset, limit.min(self.data_end)))
    }

    /// Those of these indexes that its seal says are lost.
    pub(super) fn sealed_as_lost(&self, indexes: Range<u64>) -> Result<Vec<u64>> {
        let (mut lost, mut index) = (Vec::new(), indexes.start.max(self.first));
        let end = indexes.end.min(self.end());
        while index < end {
            let at = (index - self.first) as usize;
            let page_end = (index - (at % PAGE_SLOTS) as u64).saturating_add(PAGE_SLOTS as u64);
            if let Some(page) = self.read_page((at / PAGE_SLOTS) as u32)? {
                let its = page.slots().skip(at % PAGE_SLOTS).zip(index..end);
                lost.extend(its.filter(|(slot, _)| slot.is_lost()).map(|(_, index)| index));
            }
            index = page_end;
        }
        Ok(lost)
    }
}

impl Core {
    pub(super) fn read_term(&self, index: u64) -> Result<u64> {
        let term = {
            let view = self.view.read();
            if let Some(purged) = view.purged.filter(|purged| purged.index == index) {
                return Ok(purged.term);
            }
            view.check_index(index)?;
            view.term(index)
        };
        match term {
            TermAt::Known(term) => Ok(term),
            TermAt::InEntry => self.read_entry(index).map(|entry| entry.term),
        }
    }

    pub(super) fn read_entry(&self, index: u64) -> Result<Entry> {
        if let Some(copy) = self.view.copy_for(index)
            && let Some(file) = copy.at(index)
        {
            self.watch.reads.cache_misses(1);
            let read = self.read_sealed(file, index);
            return read.or_else(|(known, error)| self.mended_entry(index, Site::In(&file.segment, known), error));
        }
        let spot = {
            let view = self.view.read();
            view.check_index(index)?;
            if let Some(entry) = view.tail.get(index) {
                self.watch.reads.cache_hits(1);
                return Ok(entry);
            }
            view.spot(index)
        };
        self.watch.reads.cache_misses(1);
        let (site, error) = match &spot {
            Spot::Active(segment, slot, limit) => match read_slot(segment, *slot, *limit, index) {
                Ok(entry) => return Ok(entry),
                Err(error) => (Site::In(segment, Known::of(*slot)), error),
            },
            Spot::Sealed(file) => match self.read_sealed(file, index) {
                Ok(entry) => return Ok(entry),
                Err((known, error)) => (Site::In(&file.segment, known), error),
            },
            Spot::Lost(active) => (Site::Nowhere, self.lost(active, index)),
        };
        self.mended_entry(index, site, error)
    }

    /// As `mended`; where the entry is of the log no more, the one that is there now.
    fn mended_entry(&self, index: u64, site: Site<'_>, error: Error) -> Result<Entry> {
        match self.mended(index, site, error)? {
            Some(entry) => Ok(entry),
            None => self.read_entry(index),
        }
    }

    /// One entry of a sealed segment; or why not, and what is known of its slot.
    pub(super) fn read_sealed(&self, file: &Arc<SealedFile>, index: u64) -> Result<Entry, (Known, Error)> {
        let at = usize::try_from(index - file.first).unwrap_or(usize::MAX);
        if let Some((offset, limit)) = self.place(file, at / PAGE_SLOTS, at % PAGE_SLOTS) {
            // What cannot be read is looked at once more, as its slot has it.
            let read = read_at(&file.segment, (offset, None), limit, index);
            if let Some(entry) = read.ok().filter(|entry| file.may_have(entry)) {
                return Ok(entry);
            }
            file.pages.doubt();
        }
        let (slot, limit) = self.sealed_slot(file, index).map_err(|error| (Known::Nothing, error))?;
        read_slot(&file.segment, slot, limit, index).map_err(|error| {
            file.pages.doubt();
            (Known::of(slot), error)
        })
    }

    /// Where an entry stands, and about where it ends, if its checksum says enough: from memory, or from the seal where the
    /// page is not to be kept.
    fn place(&self, file: &SealedFile, number: usize, at: usize) -> Option<(u32, u32)> {
        if file.pages.needs_checks() {
            return None;
        }
        if let Some(place) = file.pages.place(number, at) {
            self.watch.reads.index_hit();
            return Some(place);
        }
        if file.pages.holds(number) || self.index_cache.wants(file.segment.sequence, number) {
            return None;
        }
        let place = file.place_in_seal(u32::try_from(number).ok()?, at)?;
        self.watch.reads.index_miss();
        Some(place)
    }

    pub(super) fn read_entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        let mut gathered = Gathered::new(bytes_max);
        let mut rewrites = None;
        loop {
            let index = range.start + gathered.entries.len() as u64;
            let count = usize::try_from(range.end.saturating_sub(index)).unwrap_or(usize::MAX).min(PLACED_MAX);
            let place = {
                let view = self.view.read();
                match rewrites {
                    None => view.check_range(&range)?,
                    // A tail that was replaced meanwhile, or a head that went: what was gathered before belongs
                    // together.
                    Some(before) if before != view.rewrites => return Ok(gathered.entries),
                    Some(_) => {}
                }
                rewrites = Some(view.rewrites);
                let cached = view.tail.range(index, count);
                let before = gathered.entries.len();
                gathered.entries.reserve(cached.len());
                for entry in cached {
                    gathered.push(entry);
                    if gathered.full {
                        break;
                    }
                }
                let hits = gathered.entries.len() - before;
                self.watch.reads.cache_hits(hits as u64);
                if count == 0 || gathered.full {
                    return Ok(gathered.entries);
                }
                if hits > 0 {
                    continue;
                }
                view.place(index, count)
            };
            let before = gathered.entries.len();
            let read = self.read_place(&place, index, count, &mut gathered);
            self.watch.reads.cache_misses((gathered.entries.len() - before) as u64);
            match read {
                Ok(()) if gathered.overtaken && gathered.entries.is_empty() => {
                    (gathered, rewrites) = (Gathered::new(bytes_max), None);
                }
                // An index that has fewer slots than it should: never again and again for nothing.
                Ok(()) if !gathered.full && gathered.entries.len() == before => {
                    return if before > 0 { Ok(gathered.entries) } else { Err(self.lost(&self.dir, index)) };
                }
                Ok(()) if gathered.full => return Ok(gathered.entries),
                Ok(()) => {}
                Err(_) if !gathered.entries.is_empty() => return Ok(gathered.entries),
                Err(error) => return Err(error),
            }
        }
    }

    fn read_place(&self, place: &Place, index: u64, count: usize, gathered: &mut Gathered) -> Result<()> {
        match place {
            Place::Lost(active) => {
                gathered.take(self.mended(index, Site::Nowhere, self.lost(active, index))?);
                Ok(())
            }
            Place::Active(segment, slots, limit) => self.read_slots(
                &Located { segment, slots, limit: *limit, file: None, has_checks: true },
                index,
                gathered,
            ),
            Place::Sealed(sealed) => {
                let count = count.min(usize::try_from(sealed.live_end - index).unwrap_or(usize::MAX));
                if self.read_places(sealed, index, count, gathered) {
                    return Ok(());
                }
                let (slots, limit) = match self.sealed_slots(sealed, index, count) {
                    Ok(found) => found,
                    Err(error) => {
                        let site = Site::In(&sealed.segment, Known::Nothing);
                        gathered.take(self.mended(index, site, error)?);
                        return Ok(());
                    }
                };
                let segment = &sealed.segment;
                self.read_slots(
                    &Located { segment, slots: &slots, limit, file: Some(sealed), has_checks: true },
                    index,
                    gathered,
                )
            }
        }
    }

    /// Entries of which only the places are kept in memory, up to the first that cannot be read: whether there were any.
    fn read_places(&self, sealed: &SealedFile, index: u64, count: usize, gathered: &mut Gathered) -> bool {
        let at = usize::try_from(index - sealed.first).unwrap_or(usize::MAX);
        let places = sealed.pages.places(at / PAGE_SLOTS, at % PAGE_SLOTS, count);
        let Some((places, limit)) = places else { return false };
        self.watch.reads.index_hit();
        let before = gathered.entries.len();
        let located =
            Located { segment: &sealed.segment, slots: &places, limit, file: Some(sealed), has_checks: false };
        // What could not be read is met again, with its check.
        let read = self.read_slots(&located, index, gathered);
        if read.is_err() || !gathered.full && gathered.entries.len() - before < places.len() {
            located.doubt();
        }
        read.is_ok() && gathered.full || gathered.entries.len() > before
    }

    /// The error for an entry that was in a file that is lost, located as the report has it.
    pub(super) fn lost(&self, active: &Path, index: u64) -> Error {
        let known = self.report.damaged.iter().find(|damage| damage.indexes.contains(index));
        let (path, offset) = known.map_or((active, 0), |damage| (damage.path.as_path(), damage.offset));
        let indexes = DamagedRange { first: index, end: Some(index + 1) };
        Damage { path: path.to_path_buf(), offset, indexes, term: None, why: DamageKind::Accepted }.into()
    }

    /// What was put back for the entry that `error` says is damaged; else the error, which `damaged` tells from now on.
    /// Nothing when the entry is of the log no more.
    fn mended(&self, index: u64, site: Site<'_>, error: Error) -> Result<Option<Entry>> {
        let Error::Damaged(damage) = error else { return Err(error) };
        let repairs = Arc::clone(&self.view.read().repairs);
        let error = match repairs.stand_in(index, site) {
            Ok(Some(entry)) => return Ok(Some(entry)),
            Ok(None) => {
                let is_there = {
                    let view = self.view.read();
                    view.check_index(index)?;
                    view.has_at(index, site)
                };
                // A truncation took it out meanwhile, and gave up what stood in for it.
                if !is_there {
                    return Ok(None);
                }
                let mut damage = self.located(index, site, &damage);
                if let (DamageKind::NotAuthentic, Site::In(segment, Known::Slot(slot))) = (damage.why, site) {
                    damage.why = self.moved(segment, index, slot);
                }
                damage.into()
            }
            Err(error) => error,
        };
        self.note_damage(index, site, &error);
        Err(error)
    }

    /// The slot of one entry of a sealed segment, and the offset that bounds it.
    pub(super) fn sealed_slot(&self, file: &Arc<SealedFile>, index: u64) -> Result<(Slot, u32)> {
        let at = usize::try_from(index - file.first).unwrap_or(usize::MAX);
        match file.pages.slot_and_next(at / PAGE_SLOTS, at % PAGE_SLOTS) {
            Some((slot, next)) if !next.is_lost() => {
                self.watch.reads.index_hit();
                Ok((slot, next.offset))
            }
            _ => {
                let (slots, limit) = self.sealed_slots(file, index, 1)?;
                // An index that has fewer slots than it should.
                let slot = slots.first().ok_or_else(|| self.lost(&file.segment.path, index))?;
                Ok((*slot, limit))
            }
        }
    }

    /// Slots of a sealed segment from `index` on, as many as one page has, and the offset that bounds the last one.
    pub(super) fn sealed_slots(&self, sealed: &Arc<SealedFile>, index: u64, count: usize) -> Result<(Vec<Slot>, u32)> {
        let at = usize::try_from(index - sealed.first).unwrap_or(usize::MAX);
        match &sealed.slots {
            Slots::Scanned(slots) => {
                let end = (at + count).min(slots.len());
                Ok((slots[at.min(end)..end].to_vec(), bound(slots[end..].iter().copied(), sealed.data_end)))
            }
            &Slots::Sealed { count: total, .. } => {
                let number = (at / PAGE_SLOTS) as u32;
                let page = self.page(sealed, number)?;
                let slots: Vec<Slot> = page.slots().skip(at % PAGE_SLOTS).take(count).collect();
                let end = at % PAGE_SLOTS + slots.len();
                let next_page_exists = (number as usize + 1) * PAGE_SLOTS < total as usize;
                let limit = if end >= page.slots().len() && next_page_exists {
                    match sealed.pages.place(number as usize + 1, 0) {
                        Some((offset, _)) => offset,
                        None => bound(self.page(sealed, number + 1)?.slots(), sealed.data_end),
                    }
                } else {
                    bound(page.slots().skip(end), sealed.data_end)
                };
                Ok((slots, limit))
            }
        }
    }

    /// A page of a sealed segment's slots, from the cache, its seal, or, where that is damaged, its batches.
    fn page(&self, sealed: &Arc<SealedFile>, number: u32) -> Result<Page> {
        if let Some(page) = sealed.pages.get(number as usize) {
            self.watch.reads.index_hit();
            return Ok(page);
        }
        self.watch.reads.index_miss();
        if let Some(page) = sealed.read_page(number)? {
            return Ok(self.cache_page(sealed, number as usize, page));
        }
        let slots = self.rescan(sealed)?;
        let pages = slots.chunks(PAGE_SLOTS).enumerate();
        let cached = pages.map(|(number, page)| (number, self.cache_page(sealed, number, Page::of(page))));
        Ok(cached.filter(|&(at, _)| at == number as usize).last().map(|(_, page)| page).unwrap_or_default())
    }

    fn cache_page(&self, sealed: &Arc<SealedFile>, number: usize, page: Page) -> Page {
        self.index_cache.insert(sealed, number, &page, self.options.index_cache_bytes);
        page
    }

    /// The slots of a sealed segment whose seal is damaged, from its batches.
    pub(super) fn rescan(&self, sealed: &SealedFile) -> Result<Vec<Slot>> {
        let segment = &sealed.segment;
        let start = &sealed.start;
        // Where the log was empty before is not known here: a hole that was legal then must stay so. The chain itself
        // was followed through this segment when the journal was opened, or the segment written.
        let mut fold = Fold::start(start.offset, start.base, start.chain, false);
        let lives = Lives { meta: self.life, mark: u32::MAX, chain: 0, begin: u32::MAX };
        let repairs = Arc::clone(&self.view.read().repairs);
        let patch = |index, check| repairs.patch(segment, index, check);
        let lost = Accepted::within(&repairs.accepted, segment.sequence);
        let mut window = Window::patched(segment, &patch).with_lost(lost);
        let stop = recover::scan(&mut window, &mut fold, lives, &mut Seen::default(), &mut Unproven::default())?;
        // What stands before the seal is not what it follows: a batch that was cut shows again.
        let is_other = matches!(sealed.slots, Slots::Sealed { chain, .. } if chain != fold.chain);
        match stop {
            Stop::End(at_end) if fold.end < sealed.data_end || is_other => Err(Damage {
                path: segment.path.clone(),
                offset: u64::from(fold.end),
                // What lies behind may have replaced what came before, and nothing else says which.
                indexes: DamagedRange { first: sealed.first, end: Some(sealed.end()) },
                term: None,
                why: if at_end.is_forged() { DamageKind::NotAuthentic } else { DamageKind::Checksum },
            }
            .into()),
            Stop::End(_) | Stop::Sealed(..) => Ok(fold.run.slots),
        }
    }

    fn read_slots(&self, located: &Located<'_>, first_index: u64, gathered: &mut Gathered) -> Result<()> {
        let &Located { segment, slots, limit, file, has_checks } = located;
        let mut at = 0;
        while let Some(slot) = slots.get(at).filter(|_| !gathered.full) {
            let index = first_index + at as u64;
            if slot.is_lost() {
                let error = damage(segment, slot.offset, index, DamageKind::Accepted);
                gathered.take(self.mended(index, Site::In(segment, Known::Lost), error)?);
                at += 1;
                continue;
            }
            let end_of = |at: usize| bound(slots[at + 1..].iter().copied(), limit);
            // Headers stand between payloads: a little more than the budget saves a second read.
            let wanted = gathered.bytes_left.saturating_add(gathered.bytes_left / 4).min(READ_BYTES_MAX);
            let more = (at + 1..slots.len()).take_while(|&next| {
                !slots[next].is_lost() && u64::from(end_of(next).saturating_sub(slot.offset)) <= wanted
            });
            let count = 1 + more.count();
            gathered.entries.reserve(count);
            let span = u64::from(end_of(at + count - 1).saturating_sub(slot.offset)).min(READ_BYTES_MAX);
            let bytes = Bytes::from(read(segment, u64::from(slot.offset), span as usize)?);
            for (number, slot) in slots[at..at + count].iter().enumerate() {
                // No checksum says that the slots of an index rise; where they do not, the entry does not check out.
                let skip = slot.offset.saturating_sub(slots[at].offset) as usize;
                let index = index + number as u64;
                let check = has_checks.then_some(slot.check);
                let entry = match parse(segment, index, (slot.offset, check), bytes.slice(skip.min(bytes.len())..)) {
                    Ok(entry) if has_checks || file.is_none_or(|file| file.may_have(&entry)) => Some(entry),
                    Ok(_) => return Ok(()),
                    Err(_) if !has_checks => return Ok(()),
                    Err(error) => {
                        located.doubt();
                        self.mended(index, Site::In(segment, Known::Slot(*slot)), error)?
                    }
                };
                gathered.take(entry);
                if gathered.full {
                    return Ok(());
                }
            }
            at += count;
        }
        Ok(())
    }
}

/// One entry, whose end `limit` bounds.
pub(super) fn read_slot(segment: &Segment, slot: Slot, limit: u32, index: u64) -> Result<Entry> {
    if slot.is_lost() {
        return Err(damage(segment, slot.offset, index, DamageKind::Accepted));
    }
    read_at(segment, (slot.offset, Some(slot.check)), limit, index)
}

/// The entry at this place, with this check if it is known, whose end `limit` bounds in most cases.
fn read_at(segment: &Segment, place: (u32, Option<u32>), limit: u32, index: u64) -> Result<Entry> {
    let span = u64::from(limit.saturating_sub(place.0)).clamp(ENTRY_BYTES as u64, READ_BYTES_MAX);
    let bytes = read(segment, u64::from(place.0), span as usize)?;
    parse(segment, index, place, bytes.into())
}

/// Where the entry before `slots` ends at the latest.
pub(super) fn bound(mut slots: impl Iterator<Item = Slot>, limit: u32) -> u32 {
    slots.find(|slot| !slot.is_lost()).map_or(limit, |slot| slot.offset)
}

pub(super) fn read(segment: &Segment, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    io::read_up_to(&*segment.file, &mut bytes, len, offset)
        .map_err(|error| Error::io("read", &segment.path, Some(offset), error))?;
    Ok(bytes)
}

/// The entry at the start of `bytes`; reads on where the entry turns out longer than what was asked for.
fn parse(segment: &Segment, index: u64, (offset, check): (u32, Option<u32>), bytes: Bytes) -> Result<Entry> {
    let fail = |why| damage(segment, offset, index, why);
    let is_longer = reader::announced_bytes(&bytes).is_some_and(|announced| announced > bytes.len());
    let bytes = if is_longer {
        read_announced(segment, offset, &bytes)?.ok_or_else(|| fail(DamageKind::Checksum))?.into()
    } else {
        bytes
    };
    reader::parse_entry(segment, index, offset, check, bytes).map_err(fail)
}

/// An entry with its header, which `bytes` begin with, as long as that says; nothing where this is too long. No checksum has
/// seen the length: it must not reach beyond the file's data.
pub(super) fn read_announced(segment: &Segment, offset: u32, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let room = segment.data_end().saturating_sub(offset) as usize;
    match reader::announced_bytes(bytes).filter(|&announced| announced <= room) {
        Some(announced) => read(segment, u64::from(offset), announced).map(Some),
        None => Ok(None),
    }
}

fn damage(segment: &Segment, offset: u32, index: u64, why: DamageKind) -> Error {
    let indexes = DamagedRange { first: index, end: Some(index + 1) };
    Damage { path: segment.path.clone(), offset: u64::from(offset), indexes, term: None, why }.into()
}
