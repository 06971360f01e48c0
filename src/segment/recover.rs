//! What a segment file still says after a crash: batches taken in one by one, and the verdict where they end.

use super::fold::Fold;
use super::format::{BatchHeader, Kind};
use super::index::Summary;
use super::rewind::Unproven;
use super::window::{Body, Part, Window};
use crate::error::{DamageKind, Result};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};

/// What is known about a file before it is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lives {
    /// `meta`'s life: no batch is of a later one unless `meta` is damaged.
    pub(crate) meta: u32,
    /// Where `meta`'s mark stands in this file: 0 when it is in an earlier one, `u32::MAX` in a later one. From it on,
    /// only batches of `meta`'s life count.
    pub(crate) mark: u32,
    /// The chain value at the mark.
    pub(crate) chain: u32,
    /// Where that life began in this file, as `mark`; `u32::MAX` also where nobody knows. From there on, too.
    pub(crate) begin: u32,
}

impl Lives {
    /// The smallest life that counts at `offset`, behind a batch of life `before`.
    pub(crate) fn least_at(&self, offset: u32, before: u32) -> u32 {
        #[cfg(mutate)]
        if mutate::is(Mutation::NoLifeCheck) || mutate::is(Mutation::LivesAlike) {
            return 0;
        }
        if offset >= self.mark.min(self.begin) { self.meta.max(before) } else { before }
    }

    /// Whether the mark stands in this file behind a seal that ends at `end`, or there and says otherwise.
    fn go_on_behind(&self, seal: &BatchHeader, end: u32) -> bool {
        (end..u32::MAX).contains(&self.mark) && (self.mark, self.chain) != (end, seal.check)
    }

    /// Whether a batch counts, behind one of life `before`: it is not of an earlier life than counts there, nor on both
    /// sides of the mark or of the life's beginning, where a batch ended. Where a write never happened, what an earlier life
    /// left may show again.
    pub(crate) fn admit(&self, header: &BatchHeader, align: u32, before: u32) -> bool {
        let spans = |at: u32| header.offset < at && header.end(align).is_none_or(|end| end > at);
        header.life >= self.least_at(header.offset, before) && !spans(self.mark) && !spans(self.begin)
    }
}

/// The newest things that batches say about the rest of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    /// The greatest durable mark.
    pub(crate) mark: (u64, u32),
    /// The newest generation and life, each with the sequence and offset of the batch that names it.
    pub(crate) generation: (u64, u64, u32),
    /// See `generation`.
    pub(crate) life: (u32, u64, u32),
}

impl Seen {
    pub(crate) fn note(&mut self, sequence: u64, header: &BatchHeader) {
        self.mark = self.mark.max(header.mark);
        self.generation = self.generation.max((header.meta_generation, sequence, header.offset));
        self.life = self.life.max((header.life, sequence, header.offset));
    }
}

/// Where a scan stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// At a seal, which the fold has taken in.
    Sealed(BatchHeader, Summary),
    /// At the fold's end, where no batch goes on.
    End(AtEnd),
}

/// What stands where a scan ended.
#[derive(Debug)]
pub(crate) enum AtEnd {
    /// Nothing that could be a batch of this chain.
    Nothing,
    /// A header that continues the chain, over a body that does not check out.
    Torn(BatchHeader, Option<Vec<Part>>),
}

impl AtEnd {
    /// Whether an entry stands there whose checksum is right, and that is not authentic: somebody put it there.
    pub(crate) fn is_forged(&self) -> bool {
        let is_forged = |part: &Part| part.fault == Some(DamageKind::NotAuthentic);
        matches!(self, AtEnd::Torn(_, Some(parts)) if parts.iter().any(is_forged))
    }
}

/// Takes in batch after batch from the fold's end on, until one does not continue the chain.
pub(crate) fn scan(
    window: &mut Window<'_>,
    fold: &mut Fold,
    lives: Lives,
    seen: &mut Seen,
    unproven: &mut Unproven,
) -> Result<Stop> {
    let (align, sequence) = (window.segment().align, window.segment().sequence);
    loop {
        let at = fold.end;
        let Some(header) = window.header(at)? else { return Ok(Stop::End(AtEnd::Nothing)) };
        // A batch of an earlier life is neither a batch nor evidence: it was cut once.
        if !lives.admit(&header, align, fold.life) || window.is_void(&header, lives)? {
            return Ok(Stop::End(AtEnd::Nothing));
        }
        let before = *seen;
        seen.note(sequence, &header);
        #[cfg(mutate)]
        let header = match mutate::is(Mutation::NoSalt) {
            true => BatchHeader { chain: fold.chain, ..header },
            false => header,
        };
        if header.chain != fold.chain || !fold.accepts(header.first_index) {
            return Ok(Stop::End(AtEnd::Nothing));
        }
        let Some(end) = header.end(align) else { return Ok(Stop::End(AtEnd::Nothing)) };
        let body = window.body(&header)?;
        unproven.note(fold, &header, before);
        if seen.mark.0 == sequence {
            unproven.prove(seen.mark.1);
        }
        // The log went on in this file: the seal was void by then, and shows again.
        let goes_on = header.kind == Kind::Seal
            && (lives.go_on_behind(&header, end)
                || window.contradiction((end, header.check, header.life), lives)?.is_some());
        match body {
            Body::Entries(entries) => fold.apply(&header, end, &entries),
            Body::Index(..) if goes_on => return Ok(Stop::End(AtEnd::Nothing)),
            Body::Index(summary, _) if header.kind == Kind::Seal => {
                fold.apply(&header, end, &[]);
                return Ok(Stop::Sealed(header, summary));
            }
            Body::Index(..) => fold.apply(&header, end, &[]),
            Body::Broken(parts) => return Ok(Stop::End(AtEnd::Torn(header, parts))),
        }
    }
}

/// Takes in everything up to the end of an index batch at once, from the index itself. `false` when it is not there.
pub(crate) fn load_index(window: &mut Window<'_>, fold: &mut Fold, offset: u32, seen: &mut Seen) -> Result<bool> {
    let Some(header) = window.header(offset)?.filter(|header| header.kind == Kind::Index) else { return Ok(false) };
    let Body::Index(summary, slots) = window.body(&header)? else { return Ok(false) };
    let Some(end) = header.end(window.segment().align) else { return Ok(false) };
    seen.note(window.segment().sequence, &header);
    fold.adopt(&summary, slots);
    fold.apply(&header, end, &[]);
    Ok(true)
}

/// Everything that speaks for or against the bytes where the chain ends having been acknowledged once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Evidence {
    /// A batch names a generation, or a life, newer than `meta`'s.
    pub(crate) meta_is_behind: bool,
    /// A file of the chain is missing, or shorter than its header says.
    pub(crate) file: FileState,
    /// An entry stands there that is not authentic, under a right checksum.
    pub(crate) is_forged: bool,
    /// An authenticated batch beyond the end carries a durable mark beyond it.
    pub(crate) batch_mark_beyond: bool,
    /// The durable mark in `meta` is beyond the end.
    pub(crate) meta_mark_beyond: bool,
}

/// Whether a file of the chain is all there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileState {
    Whole,
    Short,
    Missing,
    /// Another file of the journal's stands in its place.
    Misplaced,
    HeaderLost,
}

/// What recovery makes of the evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Never acknowledged: cut, and report.
    Torn,
    /// Acknowledged once, and gone.
    Damaged(DamageKind),
    /// `meta` is older than the log knows: a vote may be lost.
    MetaOutdated,
}

/// The decision. A read that failed never gets here: it stops the recovery as an I/O error.
pub(crate) fn verdict(evidence: Evidence) -> Verdict {
    let Evidence { meta_is_behind, file, is_forged, batch_mark_beyond, meta_mark_beyond } = evidence;
    match (meta_is_behind, file, is_forged, batch_mark_beyond, meta_mark_beyond) {
        (true, _, _, _, _) => Verdict::MetaOutdated,
        (false, FileState::Missing, _, _, _) => Verdict::Damaged(DamageKind::MissingFile),
        (false, FileState::Short, _, _, _) => Verdict::Damaged(DamageKind::ShortFile),
        (false, FileState::Misplaced, _, _, _) => Verdict::Damaged(DamageKind::Misplaced),
        (false, FileState::HeaderLost, _, _, _) => Verdict::Damaged(DamageKind::Header),
        (false, FileState::Whole, true, _, _) => Verdict::Damaged(DamageKind::NotAuthentic),
        (false, FileState::Whole, false, true, true | false) => Verdict::Damaged(DamageKind::Checksum),
        (false, FileState::Whole, false, false, true) => Verdict::Damaged(DamageKind::Checksum),
        (false, FileState::Whole, false, false, false) => Verdict::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::Damaged;
    use super::*;
    use crate::segment::format::BATCH_BYTES;

    /// What a row of the table in the page on crash safety asks for, how its verdict begins there, and what it is here.
    type Row = (fn(&Evidence) -> bool, &'static str, Verdict);

    /// The rows, in their order, but for the first: a read that failed is no evidence.
    const ROWS: [Row; 9] = [
        (|evidence| evidence.meta_is_behind, "`MetaOutdated`", Verdict::MetaOutdated),
        (|evidence| evidence.file == FileState::Missing, "damaged: `MissingFile`", Damaged(DamageKind::MissingFile)),
        (|evidence| evidence.file == FileState::Short, "damaged: `ShortFile`", Damaged(DamageKind::ShortFile)),
        (|evidence| evidence.file == FileState::Misplaced, "damaged: `Misplaced`", Damaged(DamageKind::Misplaced)),
        (|evidence| evidence.file == FileState::HeaderLost, "damaged: `Header`", Damaged(DamageKind::Header)),
        (|evidence| evidence.is_forged, "damaged: `NotAuthentic`", Damaged(DamageKind::NotAuthentic)),
        (|evidence| evidence.batch_mark_beyond, "damaged: `Checksum`", Damaged(DamageKind::Checksum)),
        (|evidence| evidence.meta_mark_beyond, "damaged: `Checksum`", Damaged(DamageKind::Checksum)),
        (|_| true, "torn", Verdict::Torn),
    ];

    #[test]
    fn the_verdict_is_that_of_the_first_row_that_applies_for_every_combination_of_evidence() {
        let mut met = [0; ROWS.len()];
        use FileState::{HeaderLost, Misplaced, Missing, Short, Whole};
        for file in [Whole, Short, Missing, Misplaced, HeaderLost] {
            for bits in 0..16 {
                let [meta_is_behind, is_forged, batch_mark_beyond, meta_mark_beyond] =
                    [1, 2, 4, 8].map(|bit| bits & bit != 0);
                let evidence = Evidence { meta_is_behind, file, is_forged, batch_mark_beyond, meta_mark_beyond };
                let row = ROWS.iter().position(|(applies, ..)| applies(&evidence)).unwrap();
                assert_eq!(verdict(evidence), ROWS[row].2, "{evidence:?}");
                met[row] += 1;
            }
        }
        assert_eq!(met, [40, 8, 8, 8, 8, 4, 2, 1, 1]);
    }

    #[test]
    fn a_batch_counts_by_its_life_and_lies_on_one_side_of_the_mark_and_of_the_lifes_beginning() {
        let batch = |offset, body_bytes, life| {
            let header = crate::segment::fold::tests::batch(offset, 1);
            BatchHeader { body_bytes, life, ..header }
        };
        let lives = Lives { meta: 5, mark: 4096, chain: 0, begin: 2048 };
        let admitted = |offset, bytes: u32, life| lives.admit(&batch(offset, bytes - BATCH_BYTES as u32, life), 8, 3);
        // Before the life began: not below the life of the batch before.
        assert_eq!([2, 3, 4, 5].map(|life| admitted(1024, 512, life)), [false, true, true, true]);
        // From there on: of this life alone, before the mark and behind it.
        assert_eq!([1024, 2048, 3000, 4096, 8192].map(|at| admitted(at, 512, 4)), [true, false, false, false, false]);
        assert_eq!([2048, 3000, 4096, 8192].map(|at| admitted(at, 512, 5)), [true; 4]);
        // Up to the place, not across it.
        assert_eq!([1024, 1032].map(|bytes| admitted(1024, bytes, 4)), [true, false]);
        assert_eq!([1096, 1104].map(|bytes| admitted(3000, bytes, 5)), [true, false]);
        let unknown = Lives { begin: u32::MAX, ..lives };
        assert!(unknown.admit(&batch(3000, 0, 4), 8, 3) && !unknown.admit(&batch(4096, 0, 4), 8, 3));
    }

    #[test]
    fn the_rows_are_those_of_the_page() {
        let page = include_str!("../docs/crash_safety.md");
        let table = page.split_once("| evidence | verdict |\n|---|---|\n").unwrap().1;
        let verdicts: Vec<&str> = table
            .lines()
            .map_while(|line| line.strip_prefix("| ")?.split_once(" | "))
            .map(|(_, verdict)| verdict)
            .collect();
        assert_eq!(verdicts.len(), 1 + ROWS.len(), "{verdicts:#?}");
        assert!(verdicts[0].starts_with("`Io`"));
        for (found, (_, begins, _)) in verdicts[1..].iter().zip(ROWS) {
            assert!(found.starts_with(begins), "{found}, not {begins}");
        }
    }
}
