//! A file's bytes, in pages that copies share until one of them writes.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The size of a page of the simulated page cache, bytes.
pub(super) const PAGE_BYTES: usize = 4096;

/// The largest file, bytes: beyond it, a write says `FileTooLarge`.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 36;

struct Page {
    bytes: [u8; PAGE_BYTES],
    /// Of these bytes, once somebody asked; none of zeros, which are the same as no page.
    digest: OnceLock<Option<u64>>,
}

impl Page {
    fn zero() -> Self {
        Self { bytes: [0; PAGE_BYTES], digest: OnceLock::new() }
    }

    fn digest(&self) -> Option<u64> {
        *self.digest.get_or_init(|| (self.bytes != [0; PAGE_BYTES]).then(|| digest(&self.bytes)))
    }
}

impl Clone for Page {
    /// A copy is made to be written to.
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, digest: OnceLock::new() }
    }
}

/// A digest that serves to tell states apart, nothing else: of a page it has to be made for nearly every state.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    // Any odd numbers with their ones spread well: those of splitmix64 and of its relatives.
    let mut lanes = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93_u64];
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, pair) in lanes.iter_mut().zip(words.chunks_exact(2)) {
            *lane = pair.iter().fold(*lane, |lane, word| mix(lane, u64::from_le_bytes(*word)));
        }
    }
    let mut digest = lanes.into_iter().fold(bytes.len() as u64, mix);
    for chunk in rest.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(byte, from)| *byte = *from);
        digest = mix(digest, u64::from_le_bytes(word));
    }
    digest
}

/// Mixes a number into a digest.
pub(super) fn mix(digest: u64, number: u64) -> u64 {
    let product = u128::from(digest ^ number ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db;
    (product as u64) ^ (product >> 64) as u64
}

/// Bytes and size. Missing pages are zero; what lies beyond the size is zero, too.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    len: u64,
}

/// The part of `range` that lies in each page: the page, and where in it.
pub(super) fn pages_of(range: Range<u64>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let page_bytes = PAGE_BYTES as u64;
    let pages = if range.is_empty() { 0..0 } else { range.start / page_bytes..range.end.div_ceil(page_bytes) };
    pages.map(move |page| {
        let first = page * page_bytes;
        let from = range.start.max(first) - first;
        let to = range.end.min(first + page_bytes) - first;
        (page as usize, from as usize..to as usize)
    })
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Copies what lies between `offset` and the end; how many bytes.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (buffer, _) = buffer.split_at_mut(count);
        self.peek(buffer, offset);
        count
    }

    /// Copies what lies at `offset`, zeros beyond the end.
    pub(super) fn peek(&self, buffer: &mut [u8], offset: u64) {
        let end = offset.saturating_add(buffer.len() as u64);
        let mut rest = buffer;
        for (page, place) in pages_of(offset..end) {
            let (piece, behind) = rest.split_at_mut(place.len());
            match self.pages.get(page) {
                Some(Some(page)) => piece.copy_from_slice(&page.bytes[place]),
                _ => piece.fill(0),
            }
            rest = behind;
        }
    }

    /// What was put into a range; no bytes where there is nothing but zeros.
    pub(super) fn held_in(&self, range: Range<u64>) -> Arc<[u8]> {
        let mut held = pages_of(range.clone()).filter(|(page, _)| self.has_page(*page));
        let Some((page, place)) = held.next() else { return Arc::default() };
        if let Some(Some(page)) = self.pages.get(page).filter(|_| place.len() as u64 == range.end - range.start) {
            return page.bytes[place].into();
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.peek(&mut bytes, range.start);
        bytes.into()
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes, and grows the file where needed.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.put(bytes, offset);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Writes without growing the file: [`set_len`](Self::set_len) must follow.
    pub(super) fn put(&mut self, bytes: &[u8], offset: u64) {
        let mut rest = bytes;
        for (page, place) in pages_of(offset..offset + bytes.len() as u64) {
            let (piece, behind) = rest.split_at(place.len());
            if let Some(page) = self.page(page) {
                page[place].copy_from_slice(piece);
            }
            rest = behind;
        }
    }

    /// A page to write to, this copy's own.
    fn page(&mut self, number: usize) -> Option<&mut [u8; PAGE_BYTES]> {
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        let page = pages.get_mut(number)?;
        let page = Arc::make_mut(page.get_or_insert_with(|| Arc::new(Page::zero())));
        page.digest = OnceLock::new();
        Some(&mut page.bytes)
    }

    /// Sets the size; what lies beyond it becomes zero.
    pub(super) fn set_len(&mut self, len: u64) {
        self.clear_from(len);
        self.len = len;
    }

    /// Makes everything from `offset` on zero.
    pub(super) fn clear_from(&mut self, offset: u64) {
        let whole = offset.div_ceil(PAGE_BYTES as u64) as usize;
        if self.pages.len() > whole {
            Arc::make_mut(&mut self.pages).truncate(whole);
        }
        let inside = (offset % PAGE_BYTES as u64) as usize;
        if inside > 0
            && self.has_page(whole - 1)
            && let Some(page) = self.page(whole - 1)
        {
            page[inside..].fill(0);
        }
    }

    /// Takes one page as another version of this file has it.
    pub(super) fn take_page(&mut self, other: &Self, number: usize) {
        let theirs = other.pages.get(number).cloned().flatten();
        if theirs.is_none() && !self.has_page(number) {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        if let Some(page) = pages.get_mut(number) {
            *page = theirs;
        }
    }

    pub(super) fn has_page(&self, number: usize) -> bool {
        matches!(self.pages.get(number), Some(Some(_)))
    }

    /// A digest of bytes and size: the same for the same contents, however they came to be.
    pub(super) fn digest(&self) -> u64 {
        let pages = self.pages.iter().enumerate();
        let digests = pages.filter_map(|(number, page)| Some((number, page.as_ref()?.digest()?)));
        digests.fold(self.len, |sum, (number, digest)| mix(mix(sum, number as u64), digest))
    }

    /// How many pages hold bytes, counted to the last of them.
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }
}
