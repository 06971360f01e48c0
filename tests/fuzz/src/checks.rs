//! Right checksums over wrong contents: a fuzzer never finds a CRC, and what stands behind one must be fuzzed too.

use std::collections::BTreeMap;
use std::ops::Range;

use raft_journal::layout::{meta, segment as format};

use crate::{Files, piece, put, sequence_of, u32_at, u64_at};

const ENTRIES: u32 = 1;
const SEAL: u32 = 2;

/// The checksum of the format: CRC-32 over the salt and the parts.
pub fn check(salt: u64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Puts the checksum of `covered` at `at`, and returns it.
fn mend(bytes: &mut [u8], salt: u64, at: usize, covered: &[Range<usize>]) -> u32 {
    let parts: Vec<&[u8]> = covered.iter().map(|range| bytes.get(range.clone()).unwrap_or_default()).collect();
    let right = check(salt, &parts);
    put(bytes, at, &right.to_le_bytes());
    right
}

/// The chain values at the ends of batches, by place.
pub type Chain = BTreeMap<(u64, u32), u32>;

/// Where the batches of a segment file stand, by what their headers say, right or not.
pub fn batches(file: &[u8]) -> Vec<usize> {
    let Some(shape) = Shape::of(file) else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = shape.edge;
    while let Some(next) = shape.end_of(file, at) {
        found.push(at);
        at = next;
    }
    found
}

/// What a segment's header says, believed as far as the file goes.
pub struct Shape {
    pub edge: usize,
    pub data_end: usize,
    pub salt: u64,
    pub sequence: u64,
    align: usize,
}

impl Shape {
    pub fn of(file: &[u8]) -> Option<Shape> {
        let flags = u32_at(file, format::HEADER_FLAGS_AT)?;
        let (align, edge) = if flags & format::FLAG_ALIGNED != 0 { (4096, 4096) } else { (8, 512) };
        let size = u64_at(file, format::HEADER_SIZE_AT)?.min(file.len() as u64) as usize;
        let (sequence, salt) = (u64_at(file, format::HEADER_SEQUENCE_AT)?, u64_at(file, format::HEADER_SALT_AT)?);
        Some(Shape { edge, data_end: size.saturating_sub(2 * edge), salt, sequence, align })
    }

    /// Where the batch at `at` ends; none where no batch can be.
    fn end_of(&self, file: &[u8], at: usize) -> Option<usize> {
        let kind = u32_at(file, at + format::BATCH_KIND_AT)?;
        let body = u32_at(file, at + format::BATCH_BODY_LEN_AT)? as usize;
        let end = (at + format::BATCH_BYTES + body).next_multiple_of(self.align);
        ((1..=3).contains(&kind) && end <= self.data_end).then_some(end)
    }
}

/// Gives a segment file right checks from the header to the trailer. `before` is the chain value that its first batch
/// is to carry. Returns the last seal's check and the successor that it names.
pub fn mend_segment(file: &mut [u8], before: Option<u32>, chain: &mut Chain) -> Option<(u32, u64)> {
    mend_header(file, 0);
    let shape = Shape::of(file)?;
    if file.len() >= 2 * shape.edge {
        mend_header(file, file.len() - shape.edge);
    }
    let (mut at, mut previous, mut seal) = (shape.edge, before, None);
    while let Some(end) = shape.end_of(file, at) {
        if let Some(previous) = previous {
            put(file, at + format::BATCH_CHAIN_AT, &previous.to_le_bytes());
        }
        let right = mend_batch(file, shape.salt, at);
        chain.insert((shape.sequence, end as u32), right);
        previous = Some(right);
        if u32_at(file, at + format::BATCH_KIND_AT) == Some(SEAL) {
            let successor = u64_at(file, at + format::BATCH_BYTES + format::SUMMARY_SUCCESSOR_AT)?;
            mend_trailer(file, &shape, at, right);
            seal = Some((right, successor));
        }
        at = end;
    }
    // A batch that claims to go beyond the file's data gets a right header, too.
    mend_batch_header(file, shape.salt, at);
    seal
}

fn mend_header(file: &mut [u8], at: usize) {
    let covered = [at..at + format::HEADER_CHECK_AT, at + format::HEADER_FLAGS_AT..at + format::HEADER_BYTES];
    if piece(file, at, format::MAGIC.len()) == Some(&format::MAGIC) {
        mend(file, 0, at + format::HEADER_CHECK_AT, &covered);
    }
}

fn mend_trailer(file: &mut [u8], shape: &Shape, seal: usize, seal_check: u32) {
    let at = shape.data_end;
    put(file, at + format::TRAILER_SEAL_AT, &(seal as u32).to_le_bytes());
    put(file, at + format::TRAILER_SEAL_CHECK_AT, &seal_check.to_le_bytes());
    put(file, at + format::TRAILER_SEQUENCE_AT, &shape.sequence.to_le_bytes());
    let covered = at + format::TRAILER_SEAL_AT..at + format::TRAILER_BYTES;
    mend(file, shape.salt, at + format::TRAILER_CHECK_AT, &[covered]);
}

fn mend_batch(file: &mut [u8], salt: u64, at: usize) -> u32 {
    let (body, bytes) = (at + format::BATCH_BYTES, u32_at(file, at + format::BATCH_BODY_LEN_AT).unwrap_or(0) as usize);
    let count = u32_at(file, at + format::BATCH_COUNT_AT).unwrap_or(0);
    let checks = if u32_at(file, at + format::BATCH_KIND_AT) == Some(ENTRIES) {
        let first_index = u64_at(file, at + format::BATCH_FIRST_INDEX_AT).unwrap_or(0);
        mend_entries(file, salt, body..body + bytes, first_index, count)
    } else {
        let life = u32_at(file, at + format::BATCH_LIFE_AT).unwrap_or(0);
        mend_index(file, salt, body..body + bytes, at as u32, life)
    };
    let over_checks: Vec<u8> = checks.into_iter().flat_map(u32::to_le_bytes).collect();
    put(file, at + format::BATCH_BODY_CHECK_AT, &check(salt, &[&over_checks]).to_le_bytes());
    mend_batch_header(file, salt, at)
}

fn mend_batch_header(file: &mut [u8], salt: u64, at: usize) -> u32 {
    put(file, at + format::BATCH_OFFSET_AT, &(at as u32).to_le_bytes());
    mend(file, salt, at, &[at + format::BATCH_BODY_CHECK_AT..at + format::BATCH_BYTES])
}

fn mend_entries(file: &mut [u8], salt: u64, body: Range<usize>, first_index: u64, count: u32) -> Vec<u32> {
    let (mut checks, mut at) = (Vec::new(), body.start);
    for number in 0..u64::from(count) {
        let stored = u32_at(file, at + format::ENTRY_LEN_AT).unwrap_or(u32::MAX) as usize;
        let end = at + format::ENTRY_BYTES + stored;
        if end > body.end {
            break;
        }
        let index = first_index.wrapping_add(number).to_le_bytes();
        let right = check(salt, &[&index, &file[at + format::ENTRY_LEN_AT..end]]);
        put(file, at, &right.to_le_bytes());
        checks.push(right);
        at = end;
    }
    checks
}

/// Mends a whole index body that stands alone, and returns the check that its batch would carry.
pub fn mend_index_body(body: &mut [u8], salt: u64, offset: u32, life: u32) -> u32 {
    let len = body.len();
    let checks = mend_index(body, salt, 0..len, offset, life);
    let over_checks: Vec<u8> = checks.into_iter().flat_map(u32::to_le_bytes).collect();
    check(salt, &[&over_checks])
}

fn mend_index(file: &mut [u8], salt: u64, body: Range<usize>, offset: u32, life: u32) -> Vec<u32> {
    let runs = u32_at(file, body.start + format::SUMMARY_RUNS_AT).unwrap_or(0) as usize;
    let pages = body.start.saturating_add(format::SUMMARY_BYTES + runs * format::RUN_BYTES).min(body.end);
    let summary = [body.start + format::SUMMARY_CHECK_AT + 4..pages];
    let mut checks = vec![mend(file, salt, body.start, &summary)];
    for page in (pages..body.end).step_by(format::PAGE_BYTES) {
        let end = (page + format::PAGE_BYTES).min(body.end);
        for slot in (page + format::PAGE_HEAD_BYTES..end.saturating_sub(7)).step_by(format::SLOT_BYTES) {
            // The entry may have another check by now.
            let entry = u32_at(file, slot).filter(|&entry| entry != 0);
            if let Some(right) = entry.and_then(|entry| u32_at(file, entry as usize)) {
                put(file, slot + 4, &right.to_le_bytes());
            }
        }
        let head = [offset.to_le_bytes(), life.to_le_bytes()].concat();
        let right = check(salt, &[&head, file.get(page + 4..end).unwrap_or_default()]);
        put(file, page, &right.to_le_bytes());
        checks.push(right);
    }
    checks
}

/// Gives every copy in a `meta` file a right check, and the chain value that belongs to its mark.
pub fn mend_meta(file: &mut [u8], chain: &Chain) {
    let copy_bytes = file.len() / meta::COPIES;
    for copy in file.chunks_mut(copy_bytes.max(1)).take(meta::COPIES) {
        mend_copy(copy, chain);
    }
}

/// Gives one copy of `meta` a right check.
pub fn mend_copy(copy: &mut [u8], chain: &Chain) {
    let len = u32_at(copy, meta::LEN_AT).map_or(0, |len| len as usize);
    if len < meta::FLAGS_AT || len > copy.len() || !copy.starts_with(&meta::MAGIC) {
        return;
    }
    for (sequence, offset, value) in [
        (meta::MARK_SEQUENCE_AT, meta::MARK_OFFSET_AT, meta::MARK_CHAIN_AT),
        (meta::START_SEQUENCE_AT, meta::START_OFFSET_AT, meta::START_CHAIN_AT),
    ] {
        let place = u64_at(copy, sequence).zip(u32_at(copy, offset));
        if let Some(right) = place.and_then(|place| chain.get(&place)) {
            put(copy, value, &right.to_le_bytes());
        }
    }
    mend(copy, 0, meta::CHECK_AT, &[0..meta::CHECK_AT, meta::LEN_AT..len]);
}

/// Gives a whole directory right checks: the chain from file to file, and `meta`'s place in it.
pub fn mend_files(files: &mut Files) {
    let (mut chain, mut seal) = (Chain::new(), None);
    let segments: Vec<String> = files.keys().filter(|name| sequence_of(name).is_some()).cloned().collect();
    for name in segments {
        let Some(file) = files.get_mut(&name) else { continue };
        let before = seal.filter(|&(_, successor)| sequence_of(&name) == Some(successor)).map(|(check, _)| check);
        if let (Some(before), Some(shape)) = (before, Shape::of(file)) {
            chain.insert((shape.sequence, shape.edge as u32), before);
        }
        seal = mend_segment(file, before, &mut chain);
    }
    if let Some(file) = files.get_mut("meta") {
        mend_meta(file, &chain);
    }
}
