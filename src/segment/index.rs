//! Where each entry of a segment stands, and under which term: in memory while the segment is active, and as the body
//! of its seal (or of the index batch that a clean close writes) afterwards.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};
use bytes::Bytes;

use super::cipher::{BatchCipher, SegmentCipher};
use super::fold::Fold;
use super::format::{
    ENCRYPTED_BYTES, PAGE_BYTES, PAGE_HEAD_BYTES, PAGE_SLOTS, RUN_BYTES, SLOT_BYTES, SUMMARY_BASE_AT, SUMMARY_BYTES,
    SUMMARY_CHECK_AT, SUMMARY_COUNT_AT, SUMMARY_FIRST_AT, SUMMARY_NEXT_AT, SUMMARY_REPLACING_AT, SUMMARY_RUNS_AT,
    SUMMARY_SUCCESSOR_AT, SUMMARY_SUCCESSOR_SALT_AT, read_u32, read_u64,
};
use crate::codec::crc::Salted;
use crate::error::KeyFault;

/// Where an entry stands, and its checksum: an entry is the one we mean only if it has this check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) offset: u32,
    pub(crate) check: u32,
}

impl Slot {
    /// The slot of an entry whose loss was accepted. Offset 0 is the file's header.
    pub(crate) const LOST: Slot = Slot { offset: 0, check: 0 };

    pub(crate) fn is_lost(self) -> bool {
        self.offset == 0
    }
}

/// Terms by run: `(first index, term)`, both rising.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TermRuns(Vec<(u64, u64)>);

impl TermRuns {
    pub(crate) fn push(&mut self, index: u64, term: u64) {
        if self.0.last().is_none_or(|&(_, last)| last != term) {
            self.0.push((index, term));
        }
    }

    /// Forgets the terms of the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        let kept = self.0.partition_point(|&(first, _)| first < index);
        self.0.truncate(kept);
    }

    /// The term at `index`, which the caller knows to be covered; of an entry that is lost, at most its
    /// predecessor's, if any.
    pub(crate) fn at(&self, index: u64) -> Option<u64> {
        let run = self.0.partition_point(|&(first, _)| first <= index).checked_sub(1)?;
        self.0.get(run).map(|&(_, term)| term)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The contiguous entries of one segment that are part of the log as this segment ends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) slots: Vec<Slot>,
    pub(crate) terms: TermRuns,
}

impl Run {
    /// One beyond the last index.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Forgets the entries from `index` on; a run that loses all of them starts at `index`.
    pub(crate) fn truncate(&mut self, index: u64) {
        let kept = index.saturating_sub(self.first);
        self.slots.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.terms.truncate(index);
        if self.slots.is_empty() {
            self.first = index;
            self.terms = TermRuns::default();
        }
    }

    /// Goes back to fewer slots and runs of terms, which it began with.
    pub(crate) fn shorten(&mut self, slots: usize, terms: usize) {
        self.slots.truncate(slots);
        self.terms.0.truncate(terms);
    }

    pub(crate) fn push(&mut self, term: u64, slot: Slot) {
        self.terms.push(self.end(), term);
        self.slots.push(slot);
    }

    /// Adds the place of an entry that is lost. Nobody knows its term; a run of terms that it lies in is not split, so
    /// that the room which was kept for the seal still suffices.
    pub(crate) fn push_lost(&mut self) {
        #[cfg(mutate)]
        if crate::mutate::is(crate::mutate::Mutation::LostEntriesLeftOut) {
            return;
        }
        self.slots.push(Slot::LOST);
    }

    /// Says where an entry that is lost stood, and what its check was.
    pub(crate) fn place_lost(&mut self, index: u64, slot: Slot) {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.slots.get_mut(at)) {
            *place = slot;
        }
    }
}

/// How a file has its runs of terms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Terms<'a> {
    Shown,
    /// Encrypted; without a key they cannot be read, and so no index.
    Hidden(Option<&'a SegmentCipher>),
}

impl Terms<'_> {
    fn are_hidden(self) -> bool {
        matches!(self, Terms::Hidden(_))
    }

    /// The runs as they were before they were encrypted. `fixed` is what stands before them, but for its checksum.
    fn decrypt(self, offset: u32, fixed: &[u8], stored: &[u8]) -> Option<Bytes> {
        let stored = Bytes::copy_from_slice(stored);
        match self {
            Terms::Shown => Some(stored),
            Terms::Hidden(cipher) => cipher?.decrypt(offset, fixed, stored).ok(),
        }
    }
}

/// What an index says of its segment, apart from the slots themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) base: u64,
    pub(crate) replacing: u32,
    pub(crate) next: u64,
    pub(crate) successor: (u64, u64),
    pub(crate) terms: TermRuns,
}

impl Summary {
    /// The length of a summary with so many runs of terms, which are encrypted or not.
    pub(crate) fn bytes(runs: usize, hides_terms: bool) -> usize {
        SUMMARY_BYTES + runs.saturating_mul(RUN_BYTES) + if hides_terms { ENCRYPTED_BYTES } else { 0 }
    }

    /// The length that the fixed part announces; believed only as a length to read before `parse` checks it.
    pub(crate) fn announced_bytes(fixed: &[u8], hides_terms: bool) -> Option<usize> {
        let runs = usize::try_from(read_u32(fixed, SUMMARY_RUNS_AT)?).ok()?;
        Some(Self::bytes(runs, hides_terms))
    }

    /// Reads the summary and its runs from bytes of exactly their length. Its batch begins at `offset`.
    pub(crate) fn parse(salt: &Salted, terms: Terms<'_>, offset: u32, bytes: &[u8]) -> Option<Summary> {
        let rest = bytes.get(SUMMARY_CHECK_AT + 4..)?;
        let is_whole = Self::announced_bytes(bytes, terms.are_hidden()) == Some(bytes.len());
        if !is_whole || read_u32(bytes, SUMMARY_CHECK_AT)? != summary_check(salt, rest) {
            return None;
        }
        let (fixed, runs) = (bytes.get(SUMMARY_CHECK_AT + 4..SUMMARY_BYTES)?, bytes.get(SUMMARY_BYTES..)?);
        let runs = terms.decrypt(offset, fixed, runs)?;
        let pairs = runs.chunks_exact(RUN_BYTES);
        let terms =
            TermRuns(pairs.map(|run| (LittleEndian::read_u64(run), LittleEndian::read_u64(&run[8..]))).collect());
        let summary = Summary {
            first: read_u64(bytes, SUMMARY_FIRST_AT)?,
            count: read_u32(bytes, SUMMARY_COUNT_AT)?,
            base: read_u64(bytes, SUMMARY_BASE_AT)?,
            replacing: read_u32(bytes, SUMMARY_REPLACING_AT)?,
            next: read_u64(bytes, SUMMARY_NEXT_AT)?,
            successor: (read_u64(bytes, SUMMARY_SUCCESSOR_AT)?, read_u64(bytes, SUMMARY_SUCCESSOR_SALT_AT)?),
            terms,
        };
        summary.is_possible().then_some(summary)
    }

    /// Whether a segment can have ended like this: right checksums do not make it one that anybody wrote.
    fn is_possible(&self) -> bool {
        self.base <= self.first && self.first.checked_add(u64::from(self.count)) == Some(self.next)
    }
}

/// The checksum of a summary and its runs, from what follows it on.
fn summary_check(salt: &Salted, rest: &[u8]) -> u32 {
    #[cfg(mutate)]
    if crate::mutate::is(crate::mutate::Mutation::IndexUnchecked) {
        return 0;
    }
    salt.of(&[rest])
}

/// Identifies one index among the stale ones that a cut may have left in the same file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexId {
    pub(crate) offset: u32,
    pub(crate) life: u32,
}

impl IndexId {
    fn page_check(self, salt: &Salted, page: &[u8]) -> u32 {
        #[cfg(mutate)]
        if crate::mutate::is(crate::mutate::Mutation::IndexUnchecked) {
            return 0;
        }
        salt.of(&[&self.offset.to_le_bytes(), &self.life.to_le_bytes(), page.get(4..).unwrap_or_default()])
    }
}

/// The length of an index body, bytes.
pub(crate) fn body_bytes(slots: usize, runs: usize, hides_terms: bool) -> u64 {
    let pages = slots.div_ceil(PAGE_SLOTS);
    (Summary::bytes(runs, hides_terms) + pages * PAGE_HEAD_BYTES + slots * SLOT_BYTES) as u64
}

/// The offset of a page within an index body, and the page's length.
pub(crate) fn page_span(summary_bytes: usize, count: u32, page: u32) -> (u64, usize) {
    let before = page as usize * PAGE_SLOTS;
    let slots = (count as usize).saturating_sub(before).min(PAGE_SLOTS);
    ((summary_bytes + page as usize * PAGE_BYTES) as u64, PAGE_HEAD_BYTES + slots * SLOT_BYTES)
}

/// Puts an index body over the segment that `fold` stands in behind what the buffer has; the checksum over its checksums.
/// `cipher` is there where the segment hides its terms.
pub(crate) fn encode(
    salt: &Salted,
    id: IndexId,
    fold: &Fold,
    successor: (u64, u64),
    cipher: Option<BatchCipher<'_>>,
    buffer: &mut Vec<u8>,
) -> Result<u32, KeyFault> {
    let (run, start) = (&fold.run, buffer.len());
    let mut fixed = [0; SUMMARY_BYTES];
    LittleEndian::write_u32(&mut fixed[SUMMARY_RUNS_AT..], run.terms.len() as u32);
    LittleEndian::write_u32(&mut fixed[SUMMARY_COUNT_AT..], run.slots.len() as u32);
    LittleEndian::write_u32(&mut fixed[SUMMARY_REPLACING_AT..], fold.replacing);
    LittleEndian::write_u64(&mut fixed[SUMMARY_BASE_AT..], fold.base);
    LittleEndian::write_u64(&mut fixed[SUMMARY_FIRST_AT..], run.first);
    LittleEndian::write_u64(&mut fixed[SUMMARY_NEXT_AT..], run.end());
    LittleEndian::write_u64(&mut fixed[SUMMARY_SUCCESSOR_AT..], successor.0);
    LittleEndian::write_u64(&mut fixed[SUMMARY_SUCCESSOR_SALT_AT..], successor.1);
    buffer.extend_from_slice(&fixed);
    match cipher {
        None => put_runs(buffer, &run.terms),
        Some(cipher) => {
            cipher.put(id.offset, &fixed[SUMMARY_CHECK_AT + 4..], buffer, |buffer| put_runs(buffer, &run.terms))?;
        }
    }
    let mut checks = Vec::with_capacity(1 + run.slots.len().div_ceil(PAGE_SLOTS));
    checks.push(summary_check(salt, &buffer[start + SUMMARY_CHECK_AT + 4..]));
    LittleEndian::write_u32(&mut buffer[start + SUMMARY_CHECK_AT..], checks[0]);
    for (number, slots) in run.slots.chunks(PAGE_SLOTS).enumerate() {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&(number as u32).to_le_bytes());
        put_slots(buffer, slots);
        let check = id.page_check(salt, &buffer[start..]);
        LittleEndian::write_u32(&mut buffer[start..], check);
        checks.push(check);
    }
    Ok(check_of_checks(salt, checks.into_iter()))
}

fn put_runs(buffer: &mut Vec<u8>, terms: &TermRuns) {
    for (index, term) in &terms.0 {
        buffer.extend_from_slice(&index.to_le_bytes());
        buffer.extend_from_slice(&term.to_le_bytes());
    }
}

/// The checksum over a batch's own checksums, which its header carries.
pub(crate) fn check_of_checks(salt: &Salted, checks: impl Iterator<Item = u32>) -> u32 {
    salt.of_numbers(checks)
}

/// A page of slots as it stands in the file, its checksum seen. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Page(Bytes);

impl Page {
    /// The page, if the bytes are page `number` of this index.
    pub(crate) fn parse(salt: &Salted, id: IndexId, number: u32, page: Vec<u8>) -> Option<Page> {
        Self::is(salt, id, number, &page).then(|| Page(page.into()))
    }

    fn is(salt: &Salted, id: IndexId, number: u32, page: &[u8]) -> bool {
        page.len() >= PAGE_HEAD_BYTES
            && read_u32(page, 0) == Some(id.page_check(salt, page))
            && read_u32(page, 4) == Some(number)
    }

    /// A page of slots that are known from elsewhere.
    pub(crate) fn of(slots: &[Slot]) -> Page {
        let mut page = vec![0; PAGE_HEAD_BYTES];
        put_slots(&mut page, slots);
        Page(page.into())
    }

    pub(crate) fn slots(&self) -> impl ExactSizeIterator<Item = Slot> + '_ {
        slots_of(self.0.get(PAGE_HEAD_BYTES..).unwrap_or_default())
    }

    pub(crate) fn slot(&self, at: usize) -> Option<Slot> {
        let at = PAGE_HEAD_BYTES + at * SLOT_BYTES;
        Some(Slot { offset: read_u32(&self.0, at)?, check: read_u32(&self.0, at + 4)? })
    }

    /// Where a slot and the next one stand in a page of so many bytes; of the last one, that alone.
    pub(crate) fn two_slots(at: usize, page_bytes: usize) -> Option<Range<usize>> {
        let from = PAGE_HEAD_BYTES + at * SLOT_BYTES;
        (from < page_bytes).then(|| from..(from + 2 * SLOT_BYTES).min(page_bytes))
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Slots one behind the other.
pub(crate) fn slots_of(bytes: &[u8]) -> impl ExactSizeIterator<Item = Slot> + '_ {
    let slots = bytes.chunks_exact(SLOT_BYTES);
    slots.map(|slot| Slot { offset: LittleEndian::read_u32(slot), check: LittleEndian::read_u32(&slot[4..]) })
}

fn put_slots(page: &mut Vec<u8>, slots: &[Slot]) {
    for slot in slots {
        page.extend_from_slice(&slot.offset.to_le_bytes());
        page.extend_from_slice(&slot.check.to_le_bytes());
    }
}

/// A whole index body, if it has this check.
pub(crate) fn parse_body(
    salt: &Salted,
    terms: Terms<'_>,
    id: IndexId,
    body: &[u8],
    body_check: u32,
) -> Option<(Summary, Vec<Slot>)> {
    let summary_bytes = Summary::announced_bytes(body, terms.are_hidden())?;
    let summary = Summary::parse(salt, terms, id.offset, body.get(..summary_bytes)?)?;
    if body.len() as u64 != body_bytes(summary.count as usize, summary.terms.len(), terms.are_hidden()) {
        return None;
    }
    let mut checks = vec![read_u32(body, SUMMARY_CHECK_AT)?];
    let mut slots = Vec::with_capacity(summary.count as usize);
    for (number, page) in body.get(summary_bytes..)?.chunks(PAGE_BYTES).enumerate() {
        if !Page::is(salt, id, u32::try_from(number).ok()?, page) {
            return None;
        }
        slots.extend(slots_of(page.get(PAGE_HEAD_BYTES..)?));
        checks.push(read_u32(page, 0)?);
    }
    (check_of_checks(salt, checks.into_iter()) == body_check).then_some((summary, slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(count: u64) -> Fold {
        let mut fold = Fold::start(512, 10, 0, true);
        (0..count).for_each(|i| fold.run.push(1 + i / 600, Slot { offset: 512 + i as u32, check: !(i as u32) }));
        fold
    }

    /// An index body of so many slots, and its check.
    fn encoded(salt: &Salted, id: IndexId, count: u64, successor: (u64, u64)) -> (Vec<u8>, u32) {
        let mut body = Vec::new();
        let check = encode(salt, id, &fold(count), successor, None, &mut body).expect("nothing is encrypted");
        (body, check)
    }

    #[test]
    fn an_index_of_several_pages_comes_back_whole_and_page_by_page() {
        let (salt, id) = (Salted::new(3), IndexId { offset: 4096, life: 2 });
        let run = fold(1300).run;
        let (body, check) = encoded(&salt, id, 1300, (9, 8));
        assert_eq!(body.len() as u64, body_bytes(1300, 3, false));
        let parsed = parse_body(&salt, Terms::Shown, id, &body, check);
        let (summary, slots) = parsed.expect("an index that was just made");
        assert_eq!((slots, &summary.terms), (run.slots.clone(), &run.terms));
        assert_eq!((summary.first, summary.count, summary.next, summary.successor), (10, 1300, 1310, (9, 8)));
        let (at, len) = page_span(Summary::bytes(3, false), 1300, 2);
        let page = &body[at as usize..at as usize + len];
        let parsed = Page::parse(&salt, id, 2, page.to_vec()).expect("a page that was just made");
        assert!(parsed.slots().eq(run.slots[2 * PAGE_SLOTS..].iter().copied()));
        assert!((0..parsed.slots().len()).all(|at| parsed.slot(at) == run.slots.get(2 * PAGE_SLOTS + at).copied()));
        assert_eq!(parsed.slot(parsed.slots().len()), None);
        assert!(Page::of(&run.slots).slots().eq(run.slots.iter().copied()));
        assert_eq!(Page::parse(&salt, IndexId { life: 1, ..id }, 2, page.to_vec()), None, "a stale index's page");
        assert_eq!(Page::parse(&salt, id, 1, page.to_vec()), None, "a page in another's place");
    }

    #[test]
    fn every_flipped_byte_of_an_index_is_noticed() {
        let (salt, id) = (Salted::new(3), IndexId { offset: 4096, life: 2 });
        let (mut body, check) = encoded(&salt, id, 600, (0, 0));
        // Miri takes a thousand times as long.
        for at in (0..body.len()).step_by(if cfg!(miri) { 701 } else { 1 }) {
            body[at] ^= 0x10;
            assert_eq!(parse_body(&salt, Terms::Shown, id, &body, check), None, "byte {at}");
            body[at] ^= 0x10;
        }
    }

    #[test]
    fn a_summary_that_no_segment_ends_with_is_none_in_spite_of_its_check() {
        let salt = Salted::new(3);
        let (body, _) = encoded(&salt, IndexId { offset: 4096, life: 2 }, 600, (0, 0));
        let parse = |summary: &[u8]| Summary::parse(&salt, Terms::Shown, 4096, summary);
        let summary = &body[..Summary::bytes(1, false)];
        assert!(parse(summary).is_some());
        for (at, value) in [(SUMMARY_FIRST_AT, u64::MAX), (SUMMARY_NEXT_AT, 611), (SUMMARY_BASE_AT, 11)] {
            let mut forged = summary.to_vec();
            LittleEndian::write_u64(&mut forged[at..], value);
            let check = salt.of(&[&forged[SUMMARY_CHECK_AT + 4..]]);
            LittleEndian::write_u32(&mut forged[SUMMARY_CHECK_AT..], check);
            assert_eq!(parse(&forged), None, "{value} at {at}");
        }
    }

    #[test]
    fn terms_answer_by_run_and_forget_what_was_truncated() {
        let mut run = fold(1300).run;
        assert_eq!((run.terms.at(10), run.terms.at(609), run.terms.at(610)), (Some(1), Some(1), Some(2)));
        run.truncate(610);
        assert_eq!((run.end(), run.terms.len()), (610, 1));
        run.truncate(5);
        assert_eq!((run.first, run.end(), run.terms.len()), (5, 5, 0));
    }
    #[cfg(feature = "encryption")]
    mod hidden {
        use std::sync::Arc;

        use super::*;
        use crate::error::JournalId;
        use crate::keys::{Key, KeyRing, Keys};

        fn cipher(salt: u64) -> SegmentCipher {
            let keys = Keys::new(Arc::new(KeyRing::new(1, Key::new([9; 32]))));
            let secret = keys.secret(1, JournalId([1; 16])).expect("a key that is there");
            SegmentCipher::new(secret, 2, salt, true)
        }

        #[test]
        fn an_index_with_hidden_terms_is_read_with_its_key_and_in_its_place_alone() {
            let (salt, id, cipher) = (Salted::new(3), IndexId { offset: 4096, life: 2 }, cipher(3));
            let (mut body, fold) = (Vec::new(), fold(1300));
            let check =
                encode(&salt, id, &fold, (9, 8), Some(cipher.batch(id.life, 7)), &mut body).expect("a short text");
            assert_eq!(body.len() as u64, body_bytes(1300, 3, true));
            let read = |cipher: &SegmentCipher, id, body: &[u8]| {
                parse_body(&salt, Terms::Hidden(Some(cipher)), id, body, check)
            };
            let (summary, slots) = read(&cipher, id, &body).expect("an index that was just made");
            assert_eq!((&summary.terms, slots), (&fold.run.terms, fold.run.slots.clone()));
            assert_eq!((summary.first, summary.next, summary.successor), (10, 1310, (9, 8)));
            assert_eq!(parse_body(&salt, Terms::Hidden(None), id, &body, check), None, "without a key");
            assert_eq!(parse_body(&salt, Terms::Shown, id, &body, check), None, "as if nothing were hidden");
            assert_eq!(read(&self::cipher(4), id, &body), None, "another file's");
            assert_eq!(read(&cipher, IndexId { offset: 4104, ..id }, &body), None, "from another place");
            let summary_bytes = Summary::bytes(3, true);
            for at in SUMMARY_CHECK_AT + 4..summary_bytes {
                let mut forged = body.clone();
                forged[at] ^= 0x10;
                let check = summary_check(&salt, &forged[SUMMARY_CHECK_AT + 4..summary_bytes]);
                LittleEndian::write_u32(&mut forged[SUMMARY_CHECK_AT..], check);
                let read = Summary::parse(&salt, Terms::Hidden(Some(&cipher)), id.offset, &forged[..summary_bytes]);
                assert_eq!(read, None, "byte {at}, under a right checksum");
            }
        }
    }
}
