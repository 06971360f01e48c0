//! What readers see: which segment holds which entries. Changed under a lock that is never held during I/O.

use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::Pages;
use super::repairs::Repairs;
use super::shown::SealedFiles;
use super::tail::TailCache;
use crate::entry::Position;
use crate::error::{DamagedRange, Error, Result};
use crate::log_store::LogState;
use crate::meta::{ChainStart, Mark};
use crate::segment::Segment;
use crate::segment::fold::Fold;
use crate::segment::format::BatchHeader;
use crate::segment::index::{Run, Slot, Summary, TermRuns};

/// Term runs beyond this many are not kept in memory: the term is then read from the entry.
const TERM_RUNS_MAX: usize = 1024;

/// Where a sealed segment's slots are.
#[derive(Debug)]
pub(crate) enum Slots {
    /// In its seal, page by page; which batch the seal follows.
    Sealed { offset: u32, life: u32, chain: u32, summary_bytes: usize, count: u32 },
    /// In memory: the seal cannot be read, and the batches were scanned instead.
    Scanned(Vec<Slot>),
}

/// A segment that is not appended to any more, and how much of it is part of the log.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// One beyond its last entry that no later segment supersedes; at most `first` when none is left. (In a copy for readers, as it was
    /// when the copy was made.)
    pub(crate) live_end: u64,
    file: Arc<SealedFile>,
}

impl Deref for Sealed {
    type Target = Arc<SealedFile>;

    fn deref(&self) -> &Arc<SealedFile> {
        &self.file
    }
}

/// What never changes of a sealed segment, and the pages of its slots that are in memory.
#[derive(Debug)]
pub(crate) struct SealedFile {
    pub(crate) segment: Arc<Segment>,
    /// How a chain that starts with this segment starts.
    pub(crate) start: ChainStart,
    /// The index of its first slot.
    pub(crate) first: u64,
    /// Where its data ends: the seal, for one.
    pub(crate) data_end: u32,
    pub(crate) slots: Slots,
    pub(crate) terms: Option<TermRuns>,
    pub(crate) pages: Pages,
}

impl SealedFile {
    /// One beyond its last slot's index.
    pub(crate) fn end(&self) -> u64 {
        let count = match &self.slots {
            &Slots::Sealed { count, .. } => u64::from(count),
            Slots::Scanned(slots) => slots.len() as u64,
        };
        self.first + count
    }
}

impl Sealed {
    /// From a seal that was read or has just been written.
    pub(crate) fn new(segment: Arc<Segment>, start: ChainStart, seal: &BatchHeader, summary: &Summary) -> Sealed {
        let (runs, hides_terms) = (summary.terms.len(), segment.hides_terms);
        let is_known = runs <= TERM_RUNS_MAX && segment.vouches_for_terms();
        // A log that is emptied goes on in the same file, where nothing says that it took anything back.
        let is_whole = start.offset == segment.data_start();
        let is_written_once = is_whole && summary.replacing == 0 && segment.is_of(seal.life);
        let file = SealedFile {
            segment,
            start,
            first: summary.first,
            data_end: seal.offset,
            slots: Slots::Sealed {
                offset: seal.offset,
                life: seal.life,
                chain: seal.chain,
                summary_bytes: Summary::bytes(runs, hides_terms),
                count: summary.count,
            },
            terms: is_known.then(|| summary.terms.clone()),
            pages: Pages::new(is_written_once),
        };
        Sealed { live_end: summary.first + u64::from(summary.count), file: Arc::new(file) }
    }

    /// The file, whatever of it is part of the log.
    pub(crate) fn into_file(self) -> Arc<SealedFile> {
        self.file
    }

    /// From batches that were scanned, where the seal cannot be read.
    pub(crate) fn scanned(segment: Arc<Segment>, start: ChainStart, data_end: u32, run: Run) -> Sealed {
        let (first, live_end) = (run.first, run.end());
        let terms = (run.terms.len() <= TERM_RUNS_MAX).then_some(run.terms);
        let file = SealedFile {
            segment,
            start,
            first,
            data_end,
            slots: Slots::Scanned(run.slots),
            terms,
            pages: Pages::new(false),
        };
        Sealed { live_end, file: Arc::new(file) }
    }
}

/// The log as readers see it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) purged: Option<Position>,
    /// The newest entry; `None` in an empty log.
    pub(crate) last: Option<Position>,
    /// Sealed segments in chain order.
    pub(crate) sealed: SealedFiles,
    pub(crate) active: Arc<Segment>,
    pub(crate) active_start: ChainStart,
    pub(crate) fold: Fold,
    /// How long the last batch is that was written; 0 if that was before this open.
    pub(crate) last_batch_bytes: u32,
    /// The index batch of a clean close in the active segment: its offset and its end; zeroes for none.
    pub(crate) index_batch: (u32, u32),
    /// Indexes of which some are lost, and the loss accepted: their terms stand in the entries alone, if anywhere.
    pub(crate) lost: Vec<DamagedRange>,
    /// What was put back for damaged entries.
    pub(crate) repairs: Arc<Repairs>,
    /// Counts the times that entries were taken out of the log, at either end.
    pub(crate) rewrites: u64,
    /// Counts the times that the log went on in its next file.
    pub(crate) rotations: u64,
    pub(crate) tail: TailCache,
}

/// Where an entry's term is known from.
pub(crate) enum TermAt {
    Known(u64),
    /// Only the entry itself says.
    InEntry,
}

/// The place of one or more entries.
pub(crate) enum Place {
    Sealed(Sealed),
    /// In the active segment: the slots asked for, and the offset at which the entry behind them cannot start before.
    Active(Arc<Segment>, Vec<Slot>, u32),
    /// Nowhere: the file that held it was lost, and the loss accepted.
    Lost(PathBuf),
}

/// The place of one entry.
pub(crate) enum Spot {
    Sealed(Arc<SealedFile>),
    /// In the active segment: its slot, and the offset at which the entry behind it cannot start before.
    Active(Arc<Segment>, Slot, u32),
    /// As [`Place::Lost`].
    Lost(PathBuf),
}

impl View {
    /// The index that the next append takes (any, in an empty log that was never purged).
    pub(crate) fn next(&self) -> u64 {
        self.fold.run.end()
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.fold.log_first
    }

    /// The newest entry, or the purged position in an empty log.
    pub(crate) fn end_position(&self) -> Option<Position> {
        self.last.or(self.purged)
    }

    pub(crate) fn state(&self, durable: Option<Position>) -> LogState {
        LogState {
            purged: self.purged,
            first: self.first(),
            last: self.end_position(),
            durable: durable.max(self.purged),
        }
    }

    /// The durable mark that a sync of everything up to here proves.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            sequence: self.active.sequence,
            offset: self.fold.end,
            chain: self.fold.chain,
            next: self.next(),
            last_term: self.end_position().map_or(0, |last| last.term),
            base: self.fold.base,
            replacing: self.fold.replacing,
            index: self.index_batch.0,
        }
    }

    /// Checks that an entry at `index` exists.
    pub(crate) fn check_index(&self, index: u64) -> Result<()> {
        let next = self.next();
        match self.first() {
            _ if self.purged.is_some_and(|purged| index <= purged.index) => {
                Err(Error::BeforeFirst { index, first: self.first().unwrap_or(next) })
            }
            Some(first) if index < first => Err(Error::BeforeFirst { index, first }),
            Some(_) if index < next => Ok(()),
            Some(_) => Err(Error::AfterLast { index, next }),
            None => Err(Error::AfterLast { index, next: self.end_position().map_or(0, |_| next) }),
        }
    }

    /// Checks that both ends of a half-open range lie within the log.
    pub(crate) fn check_range(&self, range: &Range<u64>) -> Result<()> {
        if range.start > range.end {
            return Err(Error::BackwardRange { range: range.clone() });
        }
        let next = if self.fold.takes_any() { 0 } else { self.next() };
        let first = self.first().unwrap_or(next);
        if range.start < first && !self.fold.takes_any() {
            return Err(Error::BeforeFirst { index: range.start, first });
        }
        if range.end > next {
            return Err(Error::AfterLast { index: range.start.max(next), next });
        }
        Ok(())
    }

    /// The term of an entry that exists.
    pub(crate) fn term(&self, index: u64) -> TermAt {
        if self.lost.iter().any(|lost| lost.contains(index)) {
            return TermAt::InEntry;
        }
        let known = match self.sealed_at(index) {
            Some(sealed) => sealed.terms.as_ref().and_then(|terms| terms.at(index)),
            None => self.fold.run.terms.at(index),
        };
        known.map_or(TermAt::InEntry, TermAt::Known)
    }

    /// The sealed segment that holds a live entry at `index`, if the active one does not.
    pub(crate) fn sealed_at(&self, index: u64) -> Option<&Sealed> {
        // Live ends never fall along the chain, so the first one beyond the index is the segment's.
        let at = self.sealed.partition_point(|sealed| sealed.live_end <= index);
        self.sealed.get(at).filter(|sealed| index >= sealed.first)
    }

    /// Where the entries from `index` on are, at most `count` of them, all in one segment.
    pub(crate) fn place(&self, index: u64, count: usize) -> Place {
        if let Some(sealed) = self.sealed_at(index) {
            return Place::Sealed(sealed.clone());
        }
        let (slots, first) = (&self.fold.run.slots, self.fold.run.first);
        if index < first || index >= self.next() {
            return Place::Lost(self.active.path.clone());
        }
        let at = usize::try_from(index - first).unwrap_or(usize::MAX).min(slots.len());
        let end = at.saturating_add(count).min(slots.len());
        let limit = slots[end..].iter().find(|slot| !slot.is_lost()).map_or(self.fold.end, |slot| slot.offset);
        Place::Active(Arc::clone(&self.active), slots[at..end].to_vec(), limit)
    }

    /// The term of an entry that exists, if it takes no look into it to know it.
    pub(crate) fn known_term(&self, index: u64) -> Option<u64> {
        match self.term(index) {
            TermAt::Known(term) => Some(term),
            TermAt::InEntry => None,
        }
    }

    /// The term of entries that are lost, where those on both sides of them have the same: terms never fall.
    pub(crate) fn term_around(&self, lost: &DamagedRange) -> Option<u64> {
        let before = self.known_term(lost.first.checked_sub(1)?)?;
        let behind = lost.end.filter(|&end| end < self.next()).and_then(|end| self.known_term(end));
        behind.filter(|&behind| behind == before)
    }

    /// Where the entry at `index` is.
    pub(crate) fn spot(&self, index: u64) -> Spot {
        if let Some(sealed) = self.sealed_at(index) {
            return Spot::Sealed(Arc::clone(sealed));
        }
        let at = index.checked_sub(self.fold.run.first).and_then(|at| usize::try_from(at).ok());
        let slots = at.and_then(|at| self.fold.run.slots.get(at..)).and_then(<[Slot]>::split_first);
        let Some((slot, behind)) = slots else { return Spot::Lost(self.active.path.clone()) };
        let limit = behind.iter().find(|slot| !slot.is_lost()).map_or(self.fold.end, |slot| slot.offset);
        Spot::Active(Arc::clone(&self.active), *slot, limit)
    }

    /// The indexes around this one of the log that stand in no segment; none if it does.
    pub(crate) fn gap_at(&self, index: u64) -> Option<Range<u64>> {
        let (run, at) = (&self.fold.run, self.sealed.partition_point(|sealed| sealed.live_end <= index));
        let holds = self.sealed.get(at).is_some_and(|sealed| index >= sealed.first);
        if holds || (run.first..run.end()).contains(&index) {
            return None;
        }
        let below = self.sealed.iter().take(at).map(|sealed| sealed.live_end).max();
        // Of some, nothing is left: where they began says nothing.
        let left = self.sealed.iter().skip(at).filter(|sealed| sealed.first < sealed.live_end);
        let behind = left.map(|sealed| sealed.first).find(|&first| first > index);
        let start = below.unwrap_or(0).max(self.first().unwrap_or(0));
        let end = behind.unwrap_or(u64::MAX).min(if run.first > index { run.first } else { u64::MAX });
        Some(start.min(index)..end.min(self.next()).max(index + 1))
    }

    /// What the log's entries take in its segments, about, and what else was written to them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let first = self.first().unwrap_or(u64::MAX);
        let share = |bytes: u32, from: u64, live_end: u64, slots: u64| {
            let live = live_end.saturating_sub(from.max(first));
            // Of a file without slots, nothing is live.
            u64::from(bytes) * live / slots.max(1)
        };
        let (mut live, mut all) = (0, 0);
        for sealed in self.sealed.iter() {
            let bytes = sealed.data_end - sealed.start.offset;
            all += u64::from(bytes);
            live += share(bytes, sealed.first, sealed.live_end, sealed.end() - sealed.first);
        }
        let (run, bytes) = (&self.fold.run, self.fold.end - self.active_start.offset);
        all += u64::from(bytes);
        live += share(bytes, run.first, run.end(), run.slots.len() as u64);
        (live, all.saturating_sub(live))
    }

    /// Lets a segment supersede the sealed ones from `base` on.
    pub(crate) fn supersede(sealed: &mut VecDeque<Sealed>, base: u64) {
        sealed.iter_mut().rev().take_while(|sealed| sealed.live_end > base).for_each(|sealed| sealed.live_end = base);
    }
}
