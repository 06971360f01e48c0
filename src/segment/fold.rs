//! The log as the batches so far say it is: each replaces what was there from its first index on.

use super::format::{BatchHeader, Kind};
use super::index::{Run, Slot, Summary};

/// The state behind a batch: what the next batch must continue. The writer and recovery share it, so that what is
/// written and what is found again follow one rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fold {
    /// The entries that stand in this segment. Its end is the log's next index, entries or not.
    pub(crate) run: Run,
    /// The lowest first index of this segment's batches: it supersedes earlier segments from here on.
    pub(crate) base: u64,
    /// The offset of this segment's latest replacing batch; 0 for none.
    pub(crate) replacing: u32,
    /// The base and latest replacing offset that the next batch header carries: the predecessor's for the first one.
    pub(crate) carried: (u64, u32),
    /// The last batch's check.
    pub(crate) chain: u32,
    /// Where the next batch goes.
    pub(crate) end: u32,
    /// Where the last batch begins that was taken in, if it ends there; else 0.
    pub(crate) last: u32,
    /// The last batch's life.
    pub(crate) life: u32,
    /// The log's oldest entry, in whatever segment.
    pub(crate) log_first: Option<u64>,
    /// Whether anything was ever purged.
    pub(crate) purged: bool,
}

impl Fold {
    /// Where a chain starts: at `end` of a file, with `base` as the next index.
    pub(crate) fn start(end: u32, base: u64, chain: u32, purged: bool) -> Fold {
        Fold {
            run: Run { first: base, ..Run::default() },
            base,
            replacing: 0,
            carried: (base, 0),
            chain,
            end,
            last: 0,
            life: 0,
            log_first: None,
            purged,
        }
    }

    /// The state at the start of the segment that follows this one, which is sealed now.
    pub(crate) fn successor(&self, data_start: u32) -> Fold {
        let next = self.run.end();
        Fold {
            carried: (self.base, self.replacing),
            life: self.life,
            log_first: self.log_first,
            ..Fold::start(data_start, next, self.chain, self.purged)
        }
    }

    /// The same once a batch with this header, which ends at `end`, seals this one.
    pub(crate) fn sealed_by(&self, seal: &BatchHeader, end: u32, data_start: u32) -> Fold {
        // Of the entries, only where they end matters from here on.
        let mut sealed = self.without_run();
        sealed.run.first = self.run.end();
        sealed.apply(seal, end, &[]);
        sealed.successor(data_start)
    }

    /// All but the run.
    pub(crate) fn without_run(&self) -> Fold {
        let &Fold { base, replacing, carried, chain, end, last, life, log_first, purged, .. } = self;
        Fold { run: Run::default(), base, replacing, carried, chain, end, last, life, log_first, purged }
    }

    /// Whether a batch may start at this index: no hole, except in a log that is empty and was never purged.
    pub(crate) fn accepts(&self, first_index: u64) -> bool {
        first_index <= self.run.end() || self.takes_any()
    }

    /// Whether the log is empty and was never purged.
    pub(crate) fn takes_any(&self) -> bool {
        !self.purged && self.log_first.is_none()
    }

    /// Adds a batch that was read whole, or has just been written. `end` is where it ends.
    pub(crate) fn apply(&mut self, header: &BatchHeader, end: u32, entries: &[(u64, Slot)]) {
        if header.kind == Kind::Entries {
            self.replace_from(header.first_index, header.offset);
            if !entries.is_empty() {
                self.log_first.get_or_insert(header.first_index);
            }
            for &(term, slot) in entries {
                if slot.is_lost() { self.run.push_lost() } else { self.run.push(term, slot) }
            }
        }
        self.skip_to(header.check, end);
        (self.last, self.life) = (header.offset, header.life);
    }

    /// Takes in at once what an index says of all batches before it. Without its slots for a segment that is sealed.
    pub(crate) fn adopt(&mut self, summary: &Summary, slots: Vec<Slot>) {
        self.base = summary.base;
        self.replacing = summary.replacing;
        if self.log_first.is_some_and(|first| summary.base <= first) {
            self.log_first = None;
        }
        if summary.count > 0 {
            self.log_first.get_or_insert(summary.first);
        }
        self.run = Run { first: summary.first, slots, terms: summary.terms.clone() };
    }

    /// Continues behind a place whose content is dealt with.
    pub(crate) fn skip_to(&mut self, chain: u32, end: u32) {
        (self.chain, self.end, self.last) = (chain, end, 0);
        self.carried = (self.base, self.replacing);
    }

    /// Drops the log from `index` on, as the batch at `offset` says.
    pub(crate) fn replace_from(&mut self, index: u64, offset: u32) {
        if index < self.run.end() {
            self.replacing = offset;
            self.base = self.base.min(index);
        }
        if self.log_first.is_some_and(|first| index <= first) {
            self.log_first = None;
        }
        if index != self.run.end() {
            self.run.truncate(index);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn batch(offset: u32, first_index: u64) -> BatchHeader {
        BatchHeader {
            kind: Kind::Entries,
            count: 0,
            body_bytes: 0,
            body_check: 0,
            offset,
            first_index,
            chain: 0,
            life: 1,
            meta_generation: 0,
            mark: (0, 0),
            replacing: 0,
            base: 0,
            check: offset,
        }
    }

    fn slots(offset: u32, count: u32) -> Vec<(u64, Slot)> {
        (0..count).map(|i| (1, Slot { offset: offset + i, check: i })).collect()
    }

    #[test]
    fn lost_entries_have_no_term_and_split_no_run() {
        let slot = |offset| Slot { offset, check: offset };
        let (lost, mut fold) = ((0, Slot::LOST), Fold::start(512, 7, 0, true));
        fold.apply(&batch(512, 7), 600, &[lost, (1, slot(1)), lost, lost, (1, slot(2)), (2, slot(4)), lost]);
        fold.apply(&batch(600, 14), 700, &[(2, slot(5)), (3, slot(6)), lost]);
        let offsets: Vec<u32> = fold.run.slots.iter().map(|slot| slot.offset).collect();
        assert_eq!(offsets, [0, 1, 0, 0, 2, 4, 0, 5, 6, 0]);
        let terms: Vec<_> = (8..17).map(|index| fold.run.terms.at(index)).collect();
        assert_eq!(terms, [1, 1, 1, 1, 2, 2, 2, 3, 3].map(Some));
        assert_eq!((fold.run.first, fold.run.end()), (7, 17));
    }

    #[test]
    fn a_replacing_batch_below_the_base_supersedes_earlier_segments() {
        let mut fold = Fold::start(512, 10, 0, true);
        fold.log_first = Some(3);
        fold.apply(&batch(512, 10), 600, &slots(512, 4));
        assert_eq!((fold.run.first, fold.run.end(), fold.base, fold.replacing), (10, 14, 10, 0));
        fold.apply(&batch(600, 7), 700, &slots(600, 2));
        assert_eq!((fold.run.first, fold.run.end(), fold.base, fold.replacing), (7, 9, 7, 600));
        assert_eq!(fold.log_first, Some(3));
        let next = fold.successor(512);
        assert_eq!((next.run.first, next.base, next.carried, next.chain), (9, 9, (7, 600), 600));
    }

    #[test]
    fn only_an_empty_log_that_was_never_purged_takes_any_index() {
        let mut fold = Fold::start(512, 0, 0, false);
        assert!(fold.accepts(70));
        fold.apply(&batch(512, 70), 600, &slots(512, 2));
        assert!(!fold.accepts(73) && fold.accepts(72) && fold.accepts(3));
        fold.apply(&batch(600, 70), 700, &[]);
        assert!(fold.accepts(90) && fold.run.slots.is_empty());
        fold.apply(&batch(700, 90), 800, &slots(700, 1));
        assert_eq!((fold.run.first, fold.run.end(), fold.log_first), (90, 91, Some(90)));
        assert!(!Fold::start(512, 5, 0, true).accepts(6));
    }
}
