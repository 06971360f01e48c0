//! A segment's bytes as a scan walks over them: what stands at a place, as far as checksums tell.

use super::Segment;
use super::format::{
    BATCH_BYTES, BatchHeader, ENTRY_BYTES, EntryHeader, Kind, SLOT_BYTES, SUMMARY_BYTES, TRAILER_BYTES, Trailer,
    announces, entry_check,
};
use super::index::{self, IndexId, Slot, Summary};
use super::reader;
use super::recover::Lives;
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
    bytes: Vec<u8>,
    /// What is decrypted to see whether it is authentic.
    scratch: Vec<u8>,
    /// How much the next read takes at least.
    ahead: usize,
    patch: Option<PatchSource<'a>>,
    /// Where something was lost, and accepted, and where the chain goes on behind it.
    lost: Vec<(u32, u32)>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        let (bytes, scratch, ahead) = (Vec::new(), Vec::new(), WINDOW_BYTES_MIN);
        Window { segment, start: 0, bytes, scratch, ahead, patch: None, lost: Vec::new() }
    }

    /// One in which entries that were put back mend the batches that they were lost from.
    pub(crate) fn patched(segment: &'a Segment, patch: PatchSource<'a>) -> Self {
        Window { patch: Some(patch), ..Window::new(segment) }
    }

    /// One that knows of losses in its file: from each, up to where the chain goes on.
    pub(crate) fn with_lost(self, lost: Vec<(u32, u32)>) -> Self {
        Window { lost, ..self }
    }

    pub(crate) fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// Whether a batch is not what stood where something was lost, and accepted: it would end where the chain goes on, and
    /// nothing would stand there that continues another one, be it a batch or `meta`'s mark. Where the chain goes on right
    /// there, what was lost is only how it came there.
    pub(crate) fn is_void(&mut self, header: &BatchHeader, lives: Lives) -> Result<bool> {
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
    fn at(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let held = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = held.filter(|skip| skip + len <= self.bytes.len()) {
            return Ok(&self.bytes[skip..skip + len]);
        }
        // Where it goes on from what was read before, more of the same is likely.
        let end = self.start + self.bytes.len() as u64;
        let goes_on = !self.bytes.is_empty() && (self.start..=end).contains(&offset);
        self.ahead = if goes_on { (self.ahead * 4).min(WINDOW_BYTES_MAX) } else { WINDOW_BYTES_MIN };
        self.bytes.clear();
        self.start = offset;
        let room = usize::try_from(u64::from(self.segment.size_bytes).saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len.max(self.ahead).min(room);
        self.bytes.reserve_exact(wanted);
        io::read_up_to(&*self.segment.file, &mut self.bytes, wanted, offset)
            .map_err(|error| Error::io("read", &self.segment.path, Some(offset), error))?;
        Ok(&self.bytes[..len.min(self.bytes.len())])
    }

    /// The batch header at `offset`, if one checks out there and its batch would fit.
    pub(crate) fn header(&mut self, offset: u32) -> Result<Option<BatchHeader>> {
        let segment = self.segment;
        let bytes = self.at(u64::from(offset), BATCH_BYTES)?;
        let header = BatchHeader::parse(&segment.salt, bytes, offset);
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
            let entry = match self.entry_at(at, index, end - at)? {
                Standing { check: Some(check), bytes: Some(bytes), term: Ok(term) } => Some((term, check, bytes)),
                // What was put there has a length of its own, under a right checksum; what stood there before is not known to
                // have had another.
                Standing { check, bytes: Some(bytes), term: Err(DamageKind::NotAuthentic) } => {
                    patch(index, check)?.map(|(term, check, _)| (term, check, bytes))
                }
                Standing { check, .. } => patch(index, check)?,
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
        let salt = &self.segment.salt;
        let mut at = u64::from(header.offset) + BATCH_BYTES as u64;
        let end = at + u64::from(header.body_bytes);
        let (mut found, mut whole) = (Vec::new(), true);
        for number in 0..u64::from(header.count) {
            let standing = self.entry_at(at, header.first_index.wrapping_add(number), end - at)?;
            let Standing { check: Some(check), bytes: Some(bytes), term } = standing else {
                return Ok(Body::Broken(None));
            };
            whole &= term.is_ok();
            let (term, fault) = (term.unwrap_or_default(), term.err());
            found.push(Part { term, slot: Slot { offset: at as u32, check }, fault });
            at += bytes as u64;
        }
        let checks = found.iter().map(|part| part.slot.check);
        #[cfg(mutate)]
        if mutate::is(Mutation::HalfBatch) && !whole {
            let right = found.iter().take_while(|part| part.fault.is_none());
            return Ok(Body::Entries(right.map(|part| (part.term, part.slot)).collect()));
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
        Ok(Body::Entries(found.into_iter().map(|part| (part.term, part.slot)).collect()))
    }

    /// What stands where an entry of this index would, in at most `room` bytes.
    fn entry_at(&mut self, at: u64, index: u64, room: u64) -> Result<Standing> {
        let segment = self.segment;
        let head = self.at(at, ENTRY_BYTES)?;
        let check = EntryHeader::parse(head).map(|header| header.check);
        let announced = reader::announced_bytes(head).filter(|&bytes| bytes as u64 <= room);
        let fault = Err(DamageKind::Checksum);
        let Some(bytes) = announced else { return Ok(Standing { check, bytes: None, term: fault }) };
        let mut scratch = std::mem::take(&mut self.scratch);
        let stored = self.at(at, bytes)?;
        let is_right = Some(entry_check(&segment.salt, index, stored)) == check;
        let term = if is_right { reader::term_of(segment, index, at as u32, stored, &mut scratch) } else { fault };
        self.scratch = scratch;
        Ok(Standing { check, bytes: Some(bytes), term })
    }

    fn index(&mut self, header: &BatchHeader) -> Result<Body> {
        let segment = self.segment;
        let body = self.at(u64::from(header.offset) + BATCH_BYTES as u64, header.body_bytes as usize)?;
        let id = IndexId { offset: header.offset, life: header.life };
        let parsed = index::parse_body(&segment.salt, segment.terms(), id, body, header.body_check);
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
        Ok(Trailer::parse(&segment.salt, bytes).filter(|trailer| trailer.sequence == segment.sequence))
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
        let announced = Summary::announced_bytes(self.at(at, SUMMARY_BYTES)?, segment.hides_terms);
        let Some(bytes) = announced.filter(|&bytes| bytes <= bytes_max as usize) else { return Ok(None) };
        Ok(Summary::parse(&segment.salt, segment.terms(), offset, self.at(at, bytes)?))
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

/// What stands where an entry would.
struct Standing {
    /// What it says that its checksum is.
    check: Option<u32>,
    /// Its length, if that is possible.
    bytes: Option<usize>,
    /// Its term, if it checks out; else why not, and nobody knows it.
    term: std::result::Result<u64, DamageKind>,
}

/// An entry of a batch, where all of the batch's entry headers are what it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Where nothing is wrong with it.
    pub(crate) term: u64,
    pub(crate) slot: Slot,
    pub(crate) fault: Option<DamageKind>,
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
    /// Bytes that the header does not mean. Where all entry headers still are what it means, they are here.
    Broken(Option<Vec<Part>>),
}

/// What continues another batch than the one that ends there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contradiction {
    /// `meta`'s mark.
    Mark,
    Batch(BatchHeader),
}
