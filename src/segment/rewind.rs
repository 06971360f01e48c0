//! How a scan came to where it stands, as far back as no mark proves it: to be scanned once more without all before it.

use std::collections::VecDeque;

use super::fold::Fold;
use super::format::BatchHeader;
use super::recover::Seen;

/// The batches that the newest mark does not prove yet, oldest first; and the one before them.
#[derive(Debug, Default)]
pub(crate) struct Unproven(VecDeque<Step>);

/// More are not kept: appends that nobody waits for are proved late, and scanning all once more is no error.
const STEPS_MAX: usize = 1 << 12;

/// What there was before one batch that took nothing back.
#[derive(Debug)]
struct Step {
    /// Without its run.
    fold: Fold,
    /// How many slots and runs of terms the run had.
    slots: usize,
    terms: usize,
    seen: Seen,
}

impl Unproven {
    /// Notes a batch that is about to be taken in. `seen` is what was seen before it.
    pub(crate) fn note(&mut self, fold: &Fold, header: &BatchHeader, seen: Seen) {
        if header.first_index != fold.run.end() {
            // What it takes back would have to be kept.
            return self.clear();
        }
        let (slots, terms) = (fold.run.slots.len(), fold.run.terms.len());
        self.0.push_back(Step { fold: fold.without_run(), slots, terms, seen });
        if self.0.len() > STEPS_MAX {
            self.0.pop_front();
        }
    }

    /// Forgets what a mark at this offset proves.
    pub(crate) fn prove(&mut self, offset: u32) {
        while self.0.get(1).is_some_and(|second| second.fold.end <= offset) {
            self.0.pop_front();
        }
    }

    /// Forgets everything: what comes next does not follow from it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes `fold` back to where a mark proves it, and what was seen; nothing where that is too far back.
    pub(crate) fn rewind(mut self, mut fold: Fold, mark: u32) -> Option<(Fold, Seen)> {
        self.prove(mark);
        let Step { fold: before, slots, terms, seen } = self.0.pop_front().filter(|first| first.fold.end <= mark)?;
        fold.run.shorten(slots, terms);
        Some((Fold { run: fold.run, ..before }, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::batch;
    use super::super::index::Slot;
    use super::*;

    #[test]
    fn a_fold_comes_back_as_it_was_before_any_batch_that_is_kept() {
        // (first index, terms of the entries): a replacement, then only additions.
        let batches: [(u64, &[u64]); 7] =
            [(5, &[1, 1, 2]), (7, &[2]), (8, &[3, 3]), (10, &[3, 4]), (12, &[]), (12, &[5]), (13, &[6, 6])];
        for proven in 0..batches.len() {
            let (mut fold, mut seen) = (Fold::start(512, 5, 0, true), Seen::default());
            fold.log_first = Some(1);
            let (mut unproven, mut states) = (Unproven::default(), Vec::new());
            for (at, &(first_index, terms)) in (0..).zip(&batches) {
                let header = batch(512 + 100 * at, first_index);
                states.push((fold.clone(), seen));
                unproven.note(&fold, &header, seen);
                seen.note(7, &header);
                let slot = |i: usize| Slot { offset: header.offset + i as u32, check: i as u32 };
                let entries: Vec<(u64, Slot)> = terms.iter().enumerate().map(|(i, &term)| (term, slot(i))).collect();
                fold.apply(&header, header.offset + 100, &entries);
                if at as usize >= proven {
                    unproven.prove(512 + 100 * proven as u32);
                }
            }
            let mark = 512 + 100 * proven as u32;
            let expected = (proven > 1).then(|| states[proven].clone());
            assert_eq!(unproven.rewind(fold, mark), expected, "{proven} proven");
        }
    }

    #[test]
    fn what_was_forgotten_is_not_gone_back_to() {
        let mut fold = Fold::start(512, 5, 0, true);
        let mut unproven = Unproven::default();
        for at in 0..4 {
            let header = batch(512 + 100 * at, 5);
            unproven.note(&fold, &header, Seen::default());
            fold.apply(&header, header.offset + 100, &[]);
        }
        unproven.prove(812);
        assert_eq!(Unproven::default().rewind(fold.clone(), 812), None);
        assert_eq!(unproven.rewind(fold, 711), None);
    }
}
