//! Pages of sealed segments' slots that are kept in memory, as many as fit.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use super::view::SealedFile;
use crate::segment::format::PAGE_SLOTS;
use crate::segment::index::{Page, Slot};
use crate::segment::places::Places;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use crate::tally::{self, LINES};

/// A page of slots as it is kept in memory.
#[derive(Clone, Debug)]
enum Held {
    /// The offsets alone, where the checks are not needed.
    Places(Places),
    Slots(Page),
}

/// What keeping a page takes besides: itself with its counts of users, and its turn to leave.
const HELD_BYTES: usize = size_of::<Held>() + 2 * size_of::<usize>() + size_of::<Turn>();

impl Held {
    fn bytes(&self) -> usize {
        match self {
            Held::Places(places) => HELD_BYTES + places.bytes(),
            Held::Slots(page) => HELD_BYTES + page.bytes(),
        }
    }
}

/// Pages by their number. Each group of threads has a table of its own, in a line of its own of the processor's cache, so that
/// readers do not wait for each other; all are alike.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Table(Mutex<Vec<Option<Arc<Held>>>>);

/// One segment's pages, by their number.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Nothing until a page is kept.
    tables: OnceLock<Box<[Table; LINES]>>,
    /// Whether entries of this segment are read by their checks alone.
    needs_checks: AtomicBool,
}

impl Pages {
    /// `is_written_once`: an entry of the segment that checks out is the one that belongs there, also if its check is not known.
    pub(crate) fn new(is_written_once: bool) -> Pages {
        Pages { tables: OnceLock::new(), needs_checks: AtomicBool::new(!is_written_once) }
    }

    /// Something in the segment could not be read: from now on, only what the checks speak for is.
    pub(crate) fn doubt(&self) {
        self.needs_checks.store(true, Ordering::Relaxed);
    }

    pub(crate) fn needs_checks(&self) -> bool {
        self.needs_checks.load(Ordering::Relaxed)
    }

    /// What `look` finds in a page, if anything is kept of it.
    fn look<R>(&self, number: usize, look: impl FnOnce(&Held) -> Option<R>) -> Option<R> {
        let table = self.tables.get()?.get(tally::line())?.0.lock();
        table.get(number)?.as_deref().and_then(look)
    }

    /// Whether anything is kept of a page.
    pub(crate) fn holds(&self, number: usize) -> bool {
        self.look(number, |_| Some(())).is_some()
    }

    /// A page, if all of it is kept.
    pub(crate) fn get(&self, number: usize) -> Option<Page> {
        self.look(number, |held| match held {
            Held::Slots(page) => Some(page.clone()),
            Held::Places(_) => None,
        })
    }

    /// Where an entry of a page stands, and about where it ends, if that alone is kept of the page.
    pub(crate) fn place(&self, number: usize, at: usize) -> Option<(u32, u32)> {
        if self.needs_checks() {
            return None;
        }
        self.look(number, |held| match held {
            Held::Places(places) => places.place(at),
            Held::Slots(_) => None,
        })
    }

    /// The same of some that follow one another, as many as the page has, as slots without their checks; and about where the
    /// last one ends.
    pub(crate) fn places(&self, number: usize, at: usize, count: usize) -> Option<(Vec<Slot>, u32)> {
        if self.needs_checks() {
            return None;
        }
        self.look(number, |held| {
            let Held::Places(places) = held else { return None };
            let slots = places.slots(at, count);
            let (_, limit) = places.place(at + slots.len().checked_sub(1)?)?;
            Some((slots, limit))
        })
    }

    /// A slot, and where the next one of the same page stands; nothing if the page is not here or has no next one.
    pub(crate) fn slot_and_next(&self, number: usize, at: usize) -> Option<(Slot, Slot)> {
        self.look(number, |held| {
            let Held::Slots(page) = held else { return None };
            Some((page.slot(at)?, page.slot(at + 1)?))
        })
    }

    /// Takes a page in, also where only its places are here. How many bytes that adds; nothing when it is here already.
    fn insert(&self, number: usize, page: Held) -> Option<usize> {
        let mut tables = self.tables.get_or_init(Box::default).each_ref().map(|table| table.0.lock());
        let before = match (tables.first()?.get(number).and_then(Option::as_deref), &page) {
            (None, _) => 0,
            (Some(places @ Held::Places(_)), Held::Slots(_)) => places.bytes(),
            (Some(_), _) => return None,
        };
        let bytes = page.bytes().saturating_sub(before);
        let page = Arc::new(page);
        let grown = (number + 1).saturating_sub(tables.first()?.len()) * LINES * size_of::<Option<Arc<Held>>>();
        for table in &mut tables {
            if table.len() <= number {
                table.resize(number + 1, None);
            }
            if let Some(place) = table.get_mut(number) {
                *place = Some(Arc::clone(&page));
            }
        }
        Some(bytes + grown)
    }

    fn remove(&self, number: usize) {
        let Some(tables) = self.tables.get() else { return };
        for mut table in tables.each_ref().map(|table| table.0.lock()) {
            if let Some(page) = table.get_mut(number) {
                *page = None;
            }
            let kept = table.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            table.truncate(kept);
            if kept == 0 {
                *table = Vec::new();
            }
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

/// So many pages are remembered of those that were looked into and not kept.
const REMEMBERED: usize = 64;

/// Which pages are in memory, of all segments: the oldest leave first. Once that must be, a page comes only when it is looked into
/// a second time within a while: where reads jump over more than fits, a page would leave before it is of use.
#[derive(Debug)]
pub(crate) struct IndexCache {
    kept: Mutex<Kept>,
    /// Whether a page had to leave, or to stay out.
    is_full: AtomicBool,
    /// Pages that were looked into last; 0 for none.
    looked_into: [AtomicU64; REMEMBERED],
}

/// A page that is kept: its segment, its number, and the bytes that it takes.
type Turn = (Weak<SealedFile>, usize, usize);

#[derive(Debug, Default)]
struct Kept {
    /// A segment that is gone has taken its pages along.
    order: VecDeque<Turn>,
    bytes: usize,
}

impl Default for IndexCache {
    fn default() -> Self {
        let looked_into = std::array::from_fn(|_| AtomicU64::new(0));
        IndexCache { kept: Mutex::default(), is_full: AtomicBool::new(false), looked_into }
    }
}

impl IndexCache {
    /// Whether a page that is not here is to be kept once it is read.
    pub(crate) fn wants(&self, sequence: u64, number: usize) -> bool {
        if !self.is_full.load(Ordering::Relaxed) {
            return true;
        }
        // Sequences begin with 1, and a file has fewer pages than this leaves room for.
        let page = sequence << 24 | number as u64;
        let spread = page.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let Some(place) = self.looked_into.get((spread >> 32) as usize % REMEMBERED) else { return true };
        let is_second = place.load(Ordering::Relaxed) == page;
        place.store(if is_second { 0 } else { page }, Ordering::Relaxed);
        is_second
    }

    /// Keeps a page of `file`, and gives up others, so that at most `bytes_max` are kept.
    pub(crate) fn insert(&self, file: &Arc<SealedFile>, number: usize, page: &Page, bytes_max: usize) {
        let held = file.held(number, page);
        if held.bytes() > bytes_max {
            self.is_full.store(true, Ordering::Relaxed);
            return;
        }
        let Some(bytes) = file.pages.insert(number, held) else { return };
        let mut kept = self.kept.lock();
        kept.bytes += bytes;
        kept.order.push_back((Arc::downgrade(file), number, bytes));
        while kept.bytes > bytes_max {
            self.is_full.store(true, Ordering::Relaxed);
            let Some((file, number, bytes)) = kept.order.pop_front() else { break };
            kept.bytes -= bytes;
            file.upgrade().iter().for_each(|file| file.pages.remove(number));
        }
    }

    /// Gives up all pages. Readers who bring in others meanwhile do not wait for it.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        self.is_full.store(false, Ordering::Relaxed);
        for (file, number, _) in kept.order {
            file.upgrade().iter().for_each(|file| file.pages.remove(number));
        }
    }
}
