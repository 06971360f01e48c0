//! What the fuzz targets share: beginnings, edits, right checksums over wrong contents, and what must hold of whatever
//! opens.

pub mod checks;
pub mod edits;
pub mod journals;
pub mod plan;
pub mod properties;

use std::collections::BTreeMap;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The name of the segment file with this sequence.
pub fn segment_name(sequence: u64) -> String {
    format!("{sequence:020}.seg")
}

/// The sequence in a segment's name.
pub fn sequence_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.parse().ok()
}

/// The `len` bytes at `at`; none where the bytes end before.
pub fn piece(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// The number at `at`, as far as the bytes go.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(piece(bytes, at, 4)?.try_into().ok()?))
}

/// The number at `at`, as far as the bytes go.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(piece(bytes, at, 8)?.try_into().ok()?))
}

/// Overwrites what is at `at`, where there is so much.
pub fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    let end = at.saturating_add(with.len());
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(with);
    }
}
