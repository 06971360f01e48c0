//! Pages of sealed segments' slots that are kept in memory, as many as fit.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::view::SealedFile;
use crate::segment::index::{Page, Slot};
use crate::sync::{Mutex, RwLock};

/// One segment's pages, by their number.
#[derive(Debug, Default)]
pub(crate) struct Pages(RwLock<Vec<Option<Page>>>);

impl Pages {
    pub(crate) fn get(&self, number: usize) -> Option<Page> {
        self.0.read().get(number)?.clone()
    }

    /// A slot, and where the next one of the same page stands; nothing if the page is not here or has no next one.
    pub(crate) fn slot_and_next(&self, number: usize, at: usize) -> Option<(Slot, Slot)> {
        let pages = self.0.read();
        let page = pages.get(number)?.as_ref()?;
        Some((page.slot(at)?, page.slot(at + 1)?))
    }

    /// Takes a page in. `false` when it is here already.
    fn insert(&self, number: usize, page: &Page) -> bool {
        let mut pages = self.0.write();
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        match pages.get_mut(number) {
            Some(place @ None) => *place = Some(page.clone()),
            Some(Some(_)) | None => return false,
        }
        true
    }

    fn remove(&self, number: usize) {
        let mut pages = self.0.write();
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
        let bytes = page.bytes();
        if bytes > bytes_max || !file.pages.insert(number, page) {
            return;
        }
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
