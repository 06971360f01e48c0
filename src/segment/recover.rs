//! What a segment file still says after a crash: batches read one by one, and the verdict where they end.

use bytes::Bytes;

use super::Segment;
use super::fold::Fold;
use super::format::{
    BATCH_BYTES, BatchHeader, ENTRY_BYTES, EntryHeader, Kind, SLOT_BYTES, SUMMARY_BYTES, TRAILER_BYTES, Trailer,
    announces, entry_check,
};
use super::index::{self, IndexId, Slot, Summary};
use super::reader;
use super::rewind::Unproven;
use crate::error::{DamageKind, Error, Result};
use crate::io;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};

/// How much is read ahead of a scan: little at first, because most places are looked at and left.
const WINDOW_BYTES_MIN: usize = 4 << 10;
/// How much in the end, where it goes on and on.
const WINDOW_BYTES_MAX: usize = 256 << 10;
/// What is compared with zeros at a time.
const BLANK_BYTES: usize = 4 << 10;
static BLANK: [u8; BLANK_BYTES] = [0; BLANK_BYTES];

/// Looks up an entry that was put back for the one at this index of a segment, of several the one with this check: its
/// term, and its check and length there. Whether it is the one that stood there is for the caller to see.
pub(crate) type PatchSource<'a> = &'a dyn Fn(u64, Option<u32>) -> Result<Option<(u64, u32, usize)>>;

/// A segment's bytes as a scan walks over them.
pub(crate) struct Window<'a> {
    segment: &'a Segment,
    start: u64,
    bytes: Bytes,
    /// How much the next read takes at least.
    ahead: usize,
    patch: Option<PatchSource<'a>>,
    /// Where something was lost, and accepted, and where the chain goes on behind it.
    lost: Vec<(u32, u32)>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Window { segment, start: 0, bytes: Bytes::new(), ahead: WINDOW_BYTES_MIN, patch: None, lost: Vec::new() }
    }

    /// One in which entries that were put back mend the batches that they were lost from.
    pub(crate) fn patched(segment: &'a Segment, patch: PatchSource<'a>) -> Self {
        Window { patch: Some(patch), ..Window::new(segment) }
    }

    /// One that knows of losses in its file: from each, up to where the chain goes on.
    pub(crate) fn with_lost(self, lost: Vec<(u32, u32)>) -> Self {
        Window { lost, ..self }
    }

    /// Whether a batch is not what stood where something was lost, and accepted: it would end where the chain goes on, and
    /// nothing would stand there that continues another one, be it a batch or `meta`'s mark. Where the chain goes on right
    /// there, what was lost is only how it came there.
    fn is_void(&mut self, header: &BatchHeader, lives: Lives) -> Result<bool> {
        let lost = self.lost.iter().find(|&&(offset, _)| offset == header.offset);
        let Some(&(_, resume)) = lost.filter(|&&(offset, resume)| offset != resume) else { return Ok(false) };
        let ends_there = header.end(self.segment.align) == Some(resume);
        Ok(!ends_there || self.contradiction((resume, header.check, header.life), lives)?.is_some())
    }

    /// What stands right at the end of a batch, of this check and life, and continues another one. Of its life, or a later one,
    /// nothing was written there before it: so the batch was void by then, and shows again.
    pub(crate) fn contradiction(
        &mut self,
        (end, check, life): (u32, u32, u32),
        lives: Lives,
    ) -> Result<Option<Contradiction>> {
        if lives.mark == end && lives.chain != check {
            return Ok(Some(Contradiction::Mark));
        }
        let counts = |header: &BatchHeader| lives.admit(header, self.segment.align, life) && header.chain != check;
        Ok(self.header(end)?.filter(counts).map(Contradiction::Batch))
    }

    /// `len` bytes from `offset`; fewer only at the end of the file.
    fn at(&mut self, offset: u64, len: usize) -> Result<Bytes> {
        let held = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = held.filter(|skip| skip + len <= self.bytes.len()) {
            return Ok(self.bytes.slice(skip..skip + len));
        }
        // Where it goes on from what was read before, more of the same is likely.
        let end = self.start + self.bytes.len() as u64;
        let goes_on = !self.bytes.is_empty() && (self.start..=end).contains(&offset);
        self.ahead = if goes_on { (self.ahead * 4).min(WINDOW_BYTES_MAX) } else { WINDOW_BYTES_MIN };
        self.bytes = Bytes::new();
        let room = usize::try_from(u64::from(self.segment.size_bytes).saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len.max(self.ahead).min(room);
        let mut bytes = Vec::with_capacity(wanted);
        io::read_up_to(&*self.segment.file, &mut bytes, wanted, offset)
            .map_err(|error| Error::io("read", &self.segment.path, Some(offset), error))?;
        self.start = offset;
        self.bytes = bytes.into();
        Ok(self.bytes.slice(..len.min(self.bytes.len())))
    }

    /// The batch header at `offset`, if one checks out there and its batch would fit.
    pub(crate) fn header(&mut self, offset: u32) -> Result<Option<BatchHeader>> {
        let segment = self.segment;
        let bytes = self.at(u64::from(offset), BATCH_BYTES)?;
        let header = BatchHeader::parse(&segment.salt, &bytes, offset);
        Ok(header
            .filter(|header| header.end(segment.align).is_some_and(|end| end <= segment.data_end()) && holds(header)))
    }

    /// Whether the bytes where a batch header would stand are all zero: nothing was ever written there.
    pub(crate) fn is_blank(&mut self, offset: u32) -> Result<bool> {
        Ok(self.at(u64::from(offset), BATCH_BYTES)?.iter().all(|&byte| byte == 0))
    }

    /// The body of a batch whose header checks out.
    pub(crate) fn body(&mut self, header: &BatchHeader) -> Result<Body> {
        match header.kind {
            Kind::Entries => self.entries(header),
            Kind::Seal | Kind::Index => self.index(header),
        }
    }

    fn entries(&mut self, header: &BatchHeader) -> Result<Body> {
        match (self.standing(header)?, self.patch) {
            (Body::Broken(parts), Some(patch)) => {
                Ok(self.mended(header, patch)?.map_or(Body::Broken(parts), Body::Entries))
            }
            (body, _) => Ok(body),
        }
    }

    /// The entries of a batch, those that do not check out from elsewhere: all of them, or nothing where the header does
    /// not mean just these.
    fn mended(&mut self, header: &BatchHeader, patch: PatchSource<'_>) -> Result<Option<Vec<(u64, Slot)>>> {
        let salt = &self.segment.salt;
        let mut at = u64::from(header.offset) + BATCH_BYTES as u64;
        let end = at + u64::from(header.body_bytes);
        let mut found = Vec::new();
        for index in (0..u64::from(header.count)).map(|number| header.first_index.wrapping_add(number)) {
            let head = self.at(at, ENTRY_BYTES)?;
            let standing = EntryHeader::parse(&head).zip(reader::announced_bytes(&head));
            let standing = match standing.filter(|&(_, bytes)| bytes as u64 <= end - at) {
                Some((entry, bytes)) => {
                    let stored = self.at(at, bytes)?;
                    let is_right = entry_check(salt, index, &stored) == entry.check;
                    is_right.then(|| (self.segment.term_of(at as u32, &stored), entry.check, bytes))
                }
                None => None,
            };
            let entry = match standing {
                Some(entry) => Some(entry),
                None => patch(index, EntryHeader::parse(&head).map(|entry| entry.check))?,
            };
            let Some((term, check, bytes)) = entry.filter(|&(_, _, bytes)| bytes as u64 <= end - at) else {
                return Ok(None);
            };
            found.push((term, Slot { offset: at as u32, check }));
            at += bytes as u64;
        }
        let checks = found.iter().map(|(_, slot)| slot.check);
        Ok((at == end && index::check_of_checks(salt, checks) == header.body_check).then_some(found))
    }

    /// The entries of a batch as they stand in the file.
    fn standing(&mut self, header: &BatchHeader) -> Result<Body> {
        let (segment, salt) = (self.segment, &self.segment.salt);
        let mut at = u64::from(header.offset) + BATCH_BYTES as u64;
        let end = at + u64::from(header.body_bytes);
        let (mut found, mut whole) = (Vec::new(), true);
        for number in 0..u64::from(header.count) {
            let head = self.at(at, ENTRY_BYTES)?;
            let entry = EntryHeader::parse(&head).zip(reader::announced_bytes(&head));
            let Some((entry, bytes)) = entry.filter(|&(_, bytes)| bytes as u64 <= end - at) else {
                return Ok(Body::Broken(None));
            };
            let (index, stored) = (header.first_index.wrapping_add(number), self.at(at, bytes)?);
            let matches = entry_check(salt, index, &stored) == entry.check;
            whole &= matches;
            // Of a damaged one, nobody knows the term.
            let term = if matches { segment.term_of(at as u32, &stored) } else { 0 };
            found.push((term, Slot { offset: at as u32, check: entry.check }, matches));
            at += bytes as u64;
        }
        let checks = found.iter().map(|(_, slot, _)| slot.check);
        #[cfg(mutate)]
        if mutate::is(Mutation::HalfBatch) && !whole {
            let right = found.iter().take_while(|(_, _, matches)| *matches);
            return Ok(Body::Entries(right.map(|&(term, slot, _)| (term, slot)).collect()));
        }
        #[cfg(mutate)]
        let header = match mutate::is(Mutation::EntriesNotCovered) {
            true => &BatchHeader { body_check: index::check_of_checks(salt, checks.clone()), ..*header },
            false => header,
        };
        if at != end || index::check_of_checks(salt, checks) != header.body_check {
            return Ok(Body::Broken(None));
        }
        if !whole {
            return Ok(Body::Broken(Some(found)));
        }
        Ok(Body::Entries(found.into_iter().map(|(term, slot, _)| (term, slot)).collect()))
    }

    fn index(&mut self, header: &BatchHeader) -> Result<Body> {
        let body = self.at(u64::from(header.offset) + BATCH_BYTES as u64, header.body_bytes as usize)?;
        let id = IndexId { offset: header.offset, life: header.life };
        let (salt, terms) = (&self.segment.salt, self.segment.terms());
        let parsed = index::parse_body(salt, terms, id, &body, header.body_check);
        let parsed = parsed.filter(|(summary, _)| self.is_of(header, summary));
        Ok(parsed.map_or(Body::Broken(None), |(summary, slots)| Body::Index(summary, slots)))
    }

    /// The next batch header beyond `offset` that checks out and is of `life_min` or a later life.
    pub(crate) fn next_header(&mut self, offset: u32, life_min: u32) -> Result<Option<BatchHeader>> {
        let mut at = offset.checked_add(self.segment.align);
        while let Some(candidate) = at.map_or(Ok(None), |at| self.next_candidate(at))? {
            if let Some(header) = self.header(candidate)?.filter(|header| header.life >= life_min) {
                return Ok(Some(header));
            }
            at = candidate.checked_add(self.segment.align);
        }
        Ok(None)
    }

    /// The next place from `at` on whose bytes say that they are a header right there: nearly all others are sorted
    /// out by this, at a few instructions each.
    fn next_candidate(&mut self, mut at: u32) -> Result<Option<u32>> {
        let align = self.segment.align;
        let Some(last) = self.segment.data_end().checked_sub(BATCH_BYTES as u32) else { return Ok(None) };
        while at <= last {
            // Only fewer at the end of the file.
            if self.at(u64::from(at), BATCH_BYTES)?.len() < BATCH_BYTES {
                break;
            }
            let held = self.bytes.get((u64::from(at) - self.start) as usize..).unwrap_or_default();
            // A header's own offset is not zero, so where all is zero none begins but at the very end.
            if held.starts_with(&BLANK) {
                at = at.saturating_add(align.max((BLANK_BYTES - BATCH_BYTES) as u32 / align * align));
                continue;
            }
            let held = &held[..held.len().min(BLANK_BYTES)];
            for bytes in
                held.windows(BATCH_BYTES).step_by(align as usize).take((last - at) as usize / align as usize + 1)
            {
                if announces(bytes, at) {
                    return Ok(Some(at));
                }
                at = at.saturating_add(align);
            }
        }
        Ok(None)
    }

    /// The trailer. Its file was sealed, or was about to be.
    pub(crate) fn trailer(&mut self) -> Result<Option<Trailer>> {
        let segment = self.segment;
        let bytes = self.at(segment.trailer_at(), TRAILER_BYTES)?;
        Ok(Trailer::parse(&segment.salt, &bytes).filter(|trailer| trailer.sequence == segment.sequence))
    }

    /// The seal that the trailer points to, as far as it is needed without its slots.
    pub(crate) fn trailed_seal(&mut self) -> Result<Option<(BatchHeader, Summary)>> {
        let Some(trailer) = self.trailer()? else { return Ok(None) };
        let header = self.header(trailer.seal_offset)?;
        let Some(header) = header.filter(|h| h.kind == Kind::Seal && h.check == trailer.seal_check) else {
            return Ok(None);
        };
        Ok(self.summary(&header)?.map(|summary| (header, summary)))
    }

    /// The log's next index as an index says it whose batch would begin at `offset`, be its header right or not.
    pub(crate) fn index_at(&mut self, offset: u32) -> Result<Option<u64>> {
        Ok(self.summary_at(offset, self.segment.size_bytes)?.map(|summary| summary.next))
    }

    /// The summary of an index whose batch would begin at `offset` and has at most so many bytes behind its header.
    fn summary_at(&mut self, offset: u32, bytes_max: u32) -> Result<Option<Summary>> {
        let (segment, at) = (self.segment, u64::from(offset) + BATCH_BYTES as u64);
        let announced = Summary::announced_bytes(&self.at(at, SUMMARY_BYTES)?, segment.hides_terms);
        let Some(bytes) = announced.filter(|&bytes| bytes <= bytes_max as usize) else { return Ok(None) };
        Ok(Summary::parse(&segment.salt, segment.terms(), offset, &self.at(at, bytes)?))
    }

    /// The summary of a seal or index batch, without its pages.
    fn summary(&mut self, header: &BatchHeader) -> Result<Option<Summary>> {
        let summary = self.summary_at(header.offset, header.body_bytes)?;
        Ok(summary.filter(|summary| {
            let (slots, runs) = (summary.count as usize, summary.terms.len());
            let body_bytes = index::body_bytes(slots, runs, self.segment.hides_terms);
            self.is_of(header, summary) && body_bytes == u64::from(header.body_bytes)
        }))
    }

    /// Whether a summary is what this header announces. A seal that does not lead on would lead round and round.
    fn is_of(&self, header: &BatchHeader, summary: &Summary) -> bool {
        let leads_on = header.kind != Kind::Seal || summary.successor.0 > self.segment.sequence;
        summary.count == header.count && leads_on
    }
}

/// Whether a body of this length can hold what the header counts: nothing is allocated for counts that it cannot. Nor
/// can there be more entries than indexes.
fn holds(header: &BatchHeader) -> bool {
    let count = u64::from(header.count);
    let (each, has_indexes) = match header.kind {
        Kind::Entries => (ENTRY_BYTES, header.first_index.checked_add(count).is_some()),
        Kind::Seal | Kind::Index => (SLOT_BYTES, true),
    };
    has_indexes && count * each as u64 <= u64::from(header.body_bytes)
}

/// A batch's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// Entries, each of which checks out.
    Entries(Vec<(u64, Slot)>),
    /// A seal's or a clean close's index, which checks out.
    Index(Summary, Vec<Slot>),
    /// Bytes that the header does not mean. Where all entry headers still are what it means, they are here, each with
    /// whether its payload checks out.
    Broken(Option<Vec<(u64, Slot, bool)>>),
}

/// What continues another batch than the one that ends there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contradiction {
    /// `meta`'s mark.
    Mark,
    Batch(BatchHeader),
}

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
    Torn(BatchHeader, Option<Vec<(u64, Slot, bool)>>),
}

/// Takes in batch after batch from the fold's end on, until one does not continue the chain.
pub(crate) fn scan(
    window: &mut Window<'_>,
    fold: &mut Fold,
    lives: Lives,
    seen: &mut Seen,
    unproven: &mut Unproven,
) -> Result<Stop> {
    let (align, sequence) = (window.segment.align, window.segment.sequence);
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
    let Some(end) = header.end(window.segment.align) else { return Ok(false) };
    seen.note(window.segment.sequence, &header);
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
    let Evidence { meta_is_behind, file, batch_mark_beyond, meta_mark_beyond } = evidence;
    match (meta_is_behind, file, batch_mark_beyond, meta_mark_beyond) {
        (true, _, _, _) => Verdict::MetaOutdated,
        (false, FileState::Missing, _, _) => Verdict::Damaged(DamageKind::MissingFile),
        (false, FileState::Short, _, _) => Verdict::Damaged(DamageKind::ShortFile),
        (false, FileState::Misplaced, _, _) => Verdict::Damaged(DamageKind::Misplaced),
        (false, FileState::HeaderLost, _, _) => Verdict::Damaged(DamageKind::Header),
        (false, FileState::Whole, true, true | false) => Verdict::Damaged(DamageKind::Checksum),
        (false, FileState::Whole, false, true) => Verdict::Damaged(DamageKind::Checksum),
        (false, FileState::Whole, false, false) => Verdict::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::Damaged;
    use super::*;

    /// What a row of the table in the page on crash safety asks for, how its verdict begins there, and what it is here.
    type Row = (fn(&Evidence) -> bool, &'static str, Verdict);

    /// The rows, in their order, but for the first: a read that failed is no evidence.
    const ROWS: [Row; 8] = [
        (|evidence| evidence.meta_is_behind, "`MetaOutdated`", Verdict::MetaOutdated),
        (|evidence| evidence.file == FileState::Missing, "damaged: `MissingFile`", Damaged(DamageKind::MissingFile)),
        (|evidence| evidence.file == FileState::Short, "damaged: `ShortFile`", Damaged(DamageKind::ShortFile)),
        (|evidence| evidence.file == FileState::Misplaced, "damaged: `Misplaced`", Damaged(DamageKind::Misplaced)),
        (|evidence| evidence.file == FileState::HeaderLost, "damaged: `Header`", Damaged(DamageKind::Header)),
        (|evidence| evidence.batch_mark_beyond, "damaged: `Checksum`", Damaged(DamageKind::Checksum)),
        (|evidence| evidence.meta_mark_beyond, "damaged: `Checksum`", Damaged(DamageKind::Checksum)),
        (|_| true, "torn", Verdict::Torn),
    ];

    #[test]
    fn the_verdict_is_that_of_the_first_row_that_applies_for_every_combination_of_evidence() {
        let mut met = [0; ROWS.len()];
        use FileState::{HeaderLost, Misplaced, Missing, Short, Whole};
        for file in [Whole, Short, Missing, Misplaced, HeaderLost] {
            for bits in 0..8 {
                let [meta_is_behind, batch_mark_beyond, meta_mark_beyond] = [1, 2, 4].map(|bit| bits & bit != 0);
                let evidence = Evidence { meta_is_behind, file, batch_mark_beyond, meta_mark_beyond };
                let row = ROWS.iter().position(|(applies, ..)| applies(&evidence)).unwrap();
                assert_eq!(verdict(evidence), ROWS[row].2, "{evidence:?}");
                met[row] += 1;
            }
        }
        assert_eq!(met, [20, 4, 4, 4, 4, 2, 1, 1]);
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
