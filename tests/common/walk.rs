//! What stands in a segment file, by the layout alone.

use std::ops::Range;

use raft_journal::layout::segment as s;

use super::salted_check;

/// An entry in a file: its header and its payload, as they are stored.
pub struct Stored {
    pub index: u64,
    /// None where it is encrypted.
    pub term: Option<u64>,
    pub bytes: Range<usize>,
}

/// Whether the file's terms are encrypted.
pub fn hides_terms(file: &[u8]) -> bool {
    u32_at(file, s::HEADER_FLAGS_AT) & s::FLAG_TERMS_ENCRYPTED != 0
}

pub fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
}

/// Where each batch stands, as long as one follows the other with a header that checks out.
pub fn batches(file: &[u8]) -> Vec<usize> {
    let is_aligned = file.len() > s::HEADER_BYTES && u32_at(file, s::HEADER_FLAGS_AT) & s::FLAG_ALIGNED != 0;
    let (mut at, align) = if is_aligned { (4096, 4096) } else { (512, 8) };
    let mut found = Vec::new();
    while at + s::BATCH_BYTES <= file.len() && u32_at(file, at) == header_check(file, at) {
        found.push(at);
        at = (at + s::BATCH_BYTES + u32_at(file, at + s::BATCH_BODY_LEN_AT) as usize).next_multiple_of(align);
    }
    found
}

fn header_check(file: &[u8], at: usize) -> u32 {
    let salt = &file[s::HEADER_SALT_AT..s::HEADER_SALT_AT + 8];
    salted_check(salt, &[&file[at + s::BATCH_BODY_CHECK_AT..at + s::BATCH_BYTES]])
}

/// The entries of a batch, oldest first, as far as their lengths are possible; of an index, none.
pub fn entries_of(file: &[u8], batch: usize) -> Vec<Stored> {
    if u32_at(file, batch + s::BATCH_KIND_AT) != 1 {
        return Vec::new();
    }
    let first = u64_at(file, batch + s::BATCH_FIRST_INDEX_AT);
    let count = u64::from(u32_at(file, batch + s::BATCH_COUNT_AT));
    let (mut at, hides_terms) = (batch + s::BATCH_BYTES, hides_terms(file));
    let entry = |index| {
        let payload = at + s::ENTRY_BYTES;
        let end = (payload <= file.len()).then(|| payload + u32_at(file, at + s::ENTRY_LEN_AT) as usize)?;
        let term = (!hides_terms).then(|| u64_at(file, at + s::ENTRY_TERM_AT));
        let stored = Stored { index, term, bytes: std::mem::replace(&mut at, end)..end };
        (end <= file.len()).then_some(stored)
    };
    (first..first + count).map_while(entry).collect()
}

/// The entries of all batches, oldest first.
pub fn entries(file: &[u8]) -> Vec<Stored> {
    batches(file).into_iter().flat_map(|batch| entries_of(file, batch)).collect()
}
