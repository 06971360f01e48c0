//! Pages of sealed segments' slots that are kept in memory, as many as fit.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::view::SealedFile;
use crate::segment::format::PAGE_SLOTS;
use crate::segment::index::{Page, Slot};
use crate::segment::places::Places;
use crate::sync::{AtomicBool, Mutex, Ordering, RwLock};

/// A page of slots as it is kept in memory.
#[derive(Clone, Debug)]
enum Held {
    /// The offsets alone, where the checks are not needed.
    Places(Places),
    Slots(Page),
}

/// What keeping a page takes besides: as much as its places, or more.
const HELD_BYTES: usize = 96;

impl Held {
    fn bytes(&self) -> usize {
        match self {
            Held::Places(places) => HELD_BYTES + places.bytes(),
            Held::Slots(page) => page.bytes(),
        }
    }
}

/// One segment's pages, by their number.
#[derive(Debug)]
pub(crate) struct Pages {
    held: RwLock<Vec<Option<Held>>>,
    /// Whether entries of this segment are read by their checks alone.
    needs_checks: AtomicBool,
}

impl Pages {
    /// `is_written_once`: an entry of the segment that checks out is the one that belongs there, also if its check is not known.
    pub(crate) fn new(is_written_once: bool) -> Pages {
        Pages { held: RwLock::default(), needs_checks: AtomicBool::new(!is_written_once) }
    }

    /// Something in the segment could not be read: from now on, only what the checks speak for is.
    pub(crate) fn doubt(&self) {
        self.needs_checks.store(true, Ordering::Relaxed);
    }

    fn needs_checks(&self) -> bool {
        self.needs_checks.load(Ordering::Relaxed)
    }

    /// A page, if all of it is kept.
    pub(crate) fn get(&self, number: usize) -> Option<Page> {
        match self.held.read().get(number)?.as_ref()? {
            Held::Slots(page) => Some(page.clone()),
            Held::Places(_) => None,
        }
    }

    /// Where an entry of a page stands, and about where it ends, if that alone is kept of the page.
    pub(crate) fn place(&self, number: usize, at: usize) -> Option<(u32, u32)> {
        if self.needs_checks() {
            return None;
        }
        match self.held.read().get(number)?.as_ref()? {
            Held::Places(places) => places.place(at),
            Held::Slots(_) => None,
        }
    }

    /// The same of some that follow one another, as many as the page has, as slots without their checks; and about where the
    /// last one ends.
    pub(crate) fn places(&self, number: usize, at: usize, count: usize) -> Option<(Vec<Slot>, u32)> {
        if self.needs_checks() {
            return None;
        }
        let pages = self.held.read();
        let Held::Places(places) = pages.get(number)?.as_ref()? else { return None };
        let slots = places.slots(at, count);
        let (_, limit) = places.place(at + slots.len().checked_sub(1)?)?;
        Some((slots, limit))
    }

    /// A slot, and where the next one of the same page stands; nothing if the page is not here or has no next one.
    pub(crate) fn slot_and_next(&self, number: usize, at: usize) -> Option<(Slot, Slot)> {
        let pages = self.held.read();
        let Held::Slots(page) = pages.get(number)?.as_ref()? else { return None };
        Some((page.slot(at)?, page.slot(at + 1)?))
    }

    /// Takes a page in, also where only its places are here. How many bytes that adds; nothing when it is here already.
    fn insert(&self, number: usize, page: Held) -> Option<usize> {
        let mut pages = self.held.write();
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        let place = pages.get_mut(number)?;
        let before = match (&*place, &page) {
            (None, _) => 0,
            (Some(Held::Places(places)), Held::Slots(_)) => HELD_BYTES + places.bytes(),
            (Some(_), _) => return None,
        };
        let bytes = page.bytes().saturating_sub(before);
        *place = Some(page);
        Some(bytes)
    }

    fn remove(&self, number: usize) {
        let mut pages = self.held.write();
        if let Some(page) = pages.get_mut(number) {
            *page = None;
        }
        while pages.last().is_some_and(Option::is_none) {
            pages.pop();
        }
        if pages.is_empty() {
            *pages = Vec::new();
        }
    }
}

impl SealedFile {
    /// What is kept of a page: no checks, where whatever checks out is the entry that belongs there.
    fn held(&self, number: usize, page: &Page) -> Held {
        let is_last = self.first + (number * PAGE_SLOTS + page.slots().len()) as u64 == self.end();
        let may_do = !self.pages.needs_checks();
        let places = may_do.then(|| Places::of(page, is_last.then_some(self.data_end))).flatten();
        places.map_or_else(|| Held::Slots(page.clone()), Held::Places)
    }
}

/// Which pages are in memory, of all segments: the oldest leave first.
#[derive(Debug, Default)]
pub(crate) struct IndexCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// A segment that is gone has taken its pages along.
    order: VecDeque<(Weak<SealedFile>, usize, usize)>,
    bytes: usize,
}

impl IndexCache {
    /// Keeps a page of `file`, and gives up others, so that at most `bytes_max` are kept.
    pub(crate) fn insert(&self, file: &Arc<SealedFile>, number: usize, page: &Page, bytes_max: usize) {
        let held = file.held(number, page);
        if held.bytes() > bytes_max {
            return;
        }
        let Some(bytes) = file.pages.insert(number, held) else { return };
        let mut kept = self.0.lock();
        kept.bytes += bytes;
        kept.order.push_back((Arc::downgrade(file), number, bytes));
        while kept.bytes > bytes_max {
            let Some((file, number, bytes)) = kept.order.pop_front() else { break };
            kept.bytes -= bytes;
            file.upgrade().iter().for_each(|file| file.pages.remove(number));
        }
    }

    /// Gives up all pages. Readers who bring in others meanwhile do not wait for it.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.lock());
        for (file, number, _) in kept.order {
            file.upgrade().iter().for_each(|file| file.pages.remove(number));
        }
    }
}
