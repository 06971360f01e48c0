//! One simulated file: what reads see, what the disk holds, and what lies between.

use std::ops::Range;
use std::sync::Arc;

use super::contents::{Contents, PAGE_BYTES, pages_of};
use super::survival::{self, Fates};

/// How many writes of a file's past are kept for stale bytes to come from.
const HISTORY_MAX: usize = 64;

/// Bytes that were written somewhere.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) offset: u64,
    pub(super) bytes: Arc<[u8]>,
    /// What it took the place of on the disk when it was synced, zeros beyond the end; `None` until it is, and for
    /// good where it was given up.
    before: Option<Arc<[u8]>>,
}

impl Write {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// What a change does to the bytes; its effect on the size is in [`Unsynced`].
#[derive(Clone)]
pub(super) enum Change {
    Write(Write),
    /// The file was cut at this offset.
    Cut(u64),
    /// Only the size changed.
    Grow,
}

/// A change that no sync has covered.
#[derive(Clone)]
pub(super) struct Unsynced {
    /// When the operation was issued that made it, so that a sync knows which ones it began after.
    issued: u64,
    /// Only the size is left: a failed sync gave up the bytes.
    given_up: bool,
    pub(super) change: Change,
    /// The file's size after it.
    pub(super) len_after: u64,
}

/// A file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// As the page cache shows it.
    pub(super) cache: Contents,
    /// As the disk holds it.
    pub(super) disk: Contents,
    /// What separates the two, oldest first; less what a failed sync gave up.
    pub(super) unsynced: Vec<Unsynced>,
    /// Earlier writes that were synced or given up, oldest first.
    pub(super) history: Arc<Vec<Write>>,
    /// Pages that have room on the disk.
    allocated: Vec<bool>,
    /// When the operation was issued that changes the file now.
    pub(super) now: u64,
    /// Open handles.
    pub(super) handles: usize,
    /// Whether a directory names it now.
    pub(super) named: bool,
}

impl Inode {
    /// A new file.
    pub(super) fn empty() -> Self {
        Self { named: true, ..Self::default() }
    }

    /// A file at rest.
    pub(super) fn settled(contents: Contents, history: Arc<Vec<Write>>, allocated: Vec<bool>) -> Self {
        let mut inode = Self { cache: contents.clone(), disk: contents, history, allocated, ..Self::default() };
        inode.allocated.truncate(inode.cache.len().div_ceil(PAGE_BYTES as u64) as usize);
        // A cut that did not survive brings its pages back.
        for page in 0..inode.cache.page_count() {
            if inode.cache.has_page(page) {
                inode.allocate(page);
            }
        }
        inode.named = true;
        inode
    }

    /// What this file is after power loss.
    pub(super) fn after_power_cut(&self, fates: &mut Fates<'_>) -> Self {
        if self.unsynced.is_empty() {
            return Self::settled(self.disk.clone(), Arc::clone(&self.history), self.allocated.clone());
        }
        let (contents, _) = survival::resolve(self, self.unsynced.len(), fates);
        let mut history = Arc::clone(&self.history);
        remember(&mut history, &self.unsynced);
        Self::settled(contents, history, self.allocated.clone())
    }

    fn note(&mut self, change: Change) {
        let len_after = self.cache.len();
        self.unsynced.push(Unsynced { issued: self.now, given_up: false, change, len_after });
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.cache.write(bytes, offset);
        self.note(Change::Write(Write { offset, bytes: bytes.into(), before: None }));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let before = self.cache.len();
        self.cache.set_len(len);
        if len < before {
            self.allocated.truncate(len.div_ceil(PAGE_BYTES as u64) as usize);
            self.note(Change::Cut(len));
        } else if len > before {
            self.note(Change::Grow);
        }
    }

    /// How many unsynced changes were issued before.
    fn changes_before(&self, issued: u64) -> usize {
        self.unsynced.partition_point(|unsynced| unsynced.issued < issued)
    }

    /// When the operations were issued that a sync which is issued now would make durable.
    pub(super) fn uncovered(&self, now: u64) -> impl Iterator<Item = u64> {
        let changes = self.unsynced.iter().take(self.changes_before(now));
        changes.filter(|unsynced| !unsynced.given_up).map(|unsynced| unsynced.issued)
    }

    /// Makes the changes that were issued before a sync durable.
    pub(super) fn sync(&mut self, issued: u64) {
        let count = self.changes_before(issued);
        let mut synced: Vec<_> = self.unsynced.drain(..count).collect();
        for unsynced in &mut synced {
            match &mut unsynced.change {
                Change::Write(write) => {
                    write.before = Some(self.disk.held_in(write.offset..write.end()));
                    self.disk.put(&write.bytes, write.offset);
                }
                Change::Cut(len) => self.disk.clear_from(*len),
                Change::Grow => {}
            }
        }
        if let Some(last) = synced.last() {
            self.disk.set_len(last.len_after);
        }
        remember(&mut self.history, &synced);
    }

    /// Gives up the writes that were issued before a sync: their pages become clean, whatever reached the disk. Sizes that did not
    /// are left for the next sync.
    pub(super) fn fail_sync(&mut self, issued: u64, fates: &mut Fates<'_>) {
        let count = self.changes_before(issued);
        let (disk, sizes) = survival::resolve(self, count, fates);
        self.disk = disk;
        let lost: Vec<_> = self.unsynced.drain(..count).collect();
        remember(&mut self.history, &lost);
        let sizes_left = lost.into_iter().skip(sizes).map(|mut unsynced| {
            if matches!(unsynced.change, Change::Write(_)) {
                (unsynced.change, unsynced.given_up) = (Change::Grow, true);
            }
            unsynced
        });
        self.unsynced.splice(..0, sizes_left);
    }

    /// Makes every clean page that holds bytes of `dropped` show what the disk holds.
    pub(super) fn drop_cache(&mut self, dropped: &Range<u64>) {
        let page_count = self.cache.page_count().max(self.disk.page_count());
        let mut clean = vec![true; page_count];
        let from = usize::try_from(dropped.start / PAGE_BYTES as u64).unwrap_or(usize::MAX);
        let to = usize::try_from(dropped.end.div_ceil(PAGE_BYTES as u64)).unwrap_or(usize::MAX);
        clean.iter_mut().take(from).for_each(|page| *page = false);
        clean.iter_mut().skip(to).for_each(|page| *page = false);
        for unsynced in &self.unsynced {
            let range = match &unsynced.change {
                Change::Write(write) => write.offset..write.end(),
                Change::Cut(len) => *len..(page_count * PAGE_BYTES) as u64,
                Change::Grow => continue,
            };
            for (page, _) in pages_of(range) {
                if let Some(page) = clean.get_mut(page) {
                    *page = false;
                }
            }
        }
        for page in (0..page_count).filter(|page| clean.get(*page) == Some(&true)) {
            self.cache.take_page(&self.disk, page);
        }
    }

    /// Overwrites bytes that the disk holds; the cache shows it where it is clean.
    pub(super) fn spoil(&mut self, bytes: &[u8], offset: u64) {
        let cuts = self.unsynced.iter().filter_map(|unsynced| match unsynced.change {
            Change::Cut(at) => Some(at),
            Change::Write(_) | Change::Grow => None,
        });
        let clean_end = cuts.chain([self.cache.len()]).min().unwrap_or(0);
        for (contents, end) in [(&mut self.disk, u64::MAX), (&mut self.cache, clean_end)] {
            let there = contents.len().min(end).saturating_sub(offset).min(bytes.len() as u64) as usize;
            contents.put(bytes.get(..there).unwrap_or(bytes), offset);
        }
        let dirty = offset..offset.saturating_add(bytes.len() as u64).min(clean_end);
        for unsynced in &self.unsynced {
            if let Change::Write(write) = &unsynced.change {
                let (start, end) = (dirty.start.max(write.offset), dirty.end.min(write.end()));
                if start < end {
                    let place = (start - write.offset) as usize..(end - write.offset) as usize;
                    self.cache.put(write.bytes.get(place).unwrap_or_default(), start);
                }
            }
        }
    }

    /// How many synced writes are remembered.
    pub(super) fn writes_remembered(&self) -> usize {
        self.history.iter().filter(|write| write.before.is_some()).count()
    }

    /// Takes back the synced write that `back` others came after, but for what was written over it since; whether
    /// there is such a write.
    pub(super) fn lose_write(&mut self, back: usize) -> bool {
        let synced = self.history.iter().enumerate().rev().filter(|(_, write)| write.before.is_some());
        let Some(place) = synced.map(|(place, _)| place).nth(back) else { return false };
        self.put_back(place, 0..u64::MAX);
        Arc::make_mut(&mut self.history).remove(place);
        true
    }

    /// Puts the bytes into `range` that it held before the newest synced write to it; zeros where none is remembered.
    pub(super) fn lose_newest(&mut self, range: Range<u64>) {
        let meets = |write: &Write| write.before.is_some() && write.offset < range.end && range.start < write.end();
        match self.history.iter().rposition(meets) {
            Some(place) => self.put_back(place, range),
            None => self.spoil(&vec![0; (range.end - range.start) as usize], range.start),
        }
    }

    /// Puts what a remembered write took the place of into a range, but for what was written over it since.
    fn put_back(&mut self, place: usize, range: Range<u64>) {
        let Some((write, since)) = self.history.get(place..).and_then(<[Write]>::split_first) else { return };
        let kept = |at: u64| since.iter().any(|later| (later.offset..later.end()).contains(&at));
        let before = write.before.as_deref().unwrap_or_default();
        let byte = |at: u64| before.get((at - write.offset) as usize).copied().unwrap_or(0);
        let lost = (range.start.max(write.offset)..range.end.min(write.end())).filter(|at| !kept(*at));
        let lost: Vec<_> = lost.map(|at| (at, byte(at))).collect();
        lost.into_iter().for_each(|(at, byte)| self.spoil(&[byte], at));
    }

    /// How many pages have room on the disk.
    pub(super) fn pages_allocated(&self) -> u64 {
        self.allocated.iter().filter(|allocated| **allocated).count() as u64
    }

    pub(super) fn is_allocated(&self, page: usize) -> bool {
        self.allocated.get(page) == Some(&true)
    }

    pub(super) fn allocate(&mut self, page: usize) {
        if self.allocated.len() <= page {
            self.allocated.resize(page + 1, false);
        }
        if let Some(allocated) = self.allocated.get_mut(page) {
            *allocated = true;
        }
    }
}

fn remember(history: &mut Arc<Vec<Write>>, changes: &[Unsynced]) {
    let history = Arc::make_mut(history);
    history.extend(changes.iter().filter_map(|unsynced| match &unsynced.change {
        Change::Write(write) => Some(write.clone()),
        Change::Cut(_) | Change::Grow => None,
    }));
    let surplus = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..surplus);
}
