//! Batches into bytes: one buffer, one write.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};
use bytes::BufMut;

use super::Segment;
use super::cipher::BatchCipher;
use super::fold::Fold;
use super::format::{
    BATCH_BYTES, BatchHeader, ENCRYPTED_BYTES, ENTRY_BYTES, ENTRY_FLAG_ENCRYPTED, ENTRY_FLAG_LZ4, EntryHeader,
    put_entry_check,
};
use super::index::{self, IndexId, Slot};
use crate::codec::{crc::Salted, lz4};
use crate::entry::Entry;
use crate::error::KeyFault;

/// Whether and when payloads are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Payloads are stored as they are.
    #[default]
    None,
    /// LZ4 for payloads of at least this many bytes, kept only where it makes them smaller.
    Lz4 {
        /// The smallest payload that is tried, bytes.
        threshold_bytes: usize,
    },
}

/// What an entry takes in a file besides its payload, bytes.
pub(crate) fn overhead_bytes(is_encrypted: bool) -> u64 {
    (ENTRY_BYTES + if is_encrypted { ENCRYPTED_BYTES } else { 0 }) as u64
}

/// The most bytes that the entries' body takes in a file: compression only ever makes it smaller.
pub(crate) fn body_bytes_max(entries: &[Entry], is_encrypted: bool) -> u64 {
    let overhead = overhead_bytes(is_encrypted);
    entries.iter().map(|entry| overhead + entry.data.len() as u64).sum()
}

/// Encodes a batch of entries for this segment into the empty `buffer`, padded, and puts term and slot of each into the
/// empty `slots`. Returns the header with its count, body and check fields filled in. `random` is used where the segment
/// is encrypted.
pub(crate) fn encode_entries(
    segment: &Segment,
    header: BatchHeader,
    entries: &[Entry],
    compression: Compression,
    random: u64,
    buffer: &mut Vec<u8>,
    slots: &mut Vec<(u64, Slot)>,
) -> Result<BatchHeader, KeyFault> {
    let body_bytes = body_bytes_max(entries, segment.cipher.is_some());
    buffer.reserve(BATCH_BYTES + body_bytes as usize + segment.align as usize);
    encode_each(segment, header, entries.iter().map(|entry| (entry, compression)), random, buffer, slots)
}

/// The same, where each entry is compressed or not as it says itself.
pub(crate) fn encode_each<'a>(
    segment: &Segment,
    mut header: BatchHeader,
    entries: impl ExactSizeIterator<Item = (&'a Entry, Compression)>,
    random: u64,
    buffer: &mut Vec<u8>,
    slots: &mut Vec<(u64, Slot)>,
) -> Result<BatchHeader, KeyFault> {
    let (salt, cipher) = (&segment.salt, segment.cipher.as_ref().map(|cipher| cipher.batch(header.life, random)));
    let count = entries.len();
    buffer.put_bytes(0, BATCH_BYTES);
    slots.reserve(count);
    let mut check = |entry: &Entry, place: Range<usize>, buffer: &mut [u8]| {
        let offset = header.offset + place.start as u32;
        slots.push((entry.term, Slot { offset, check: put_entry_check(salt, entry.index, &mut buffer[place]) }));
    };
    // One behind: bytes that have just been copied are near once the next ones are copied, and not at once.
    let mut unchecked = None;
    for (entry, compression) in entries {
        let start = buffer.len();
        put_entry(entry, header.offset + start as u32, compression, cipher, buffer)?;
        if let Some((entry, place)) = unchecked.replace((entry, start..buffer.len())) {
            check(entry, place, buffer);
        }
    }
    if let Some((entry, place)) = unchecked {
        check(entry, place, buffer);
    }
    header.count = count as u32;
    header.body_bytes = (buffer.len() - BATCH_BYTES) as u32;
    header.body_check = index::check_of_checks(salt, slots.iter().map(|(_, slot)| slot.check));
    finish(salt, &mut header, segment.align, buffer);
    Ok(header)
}

/// The length of an entry in an encrypted segment, header included.
pub(crate) fn encrypted_bytes(entry: &Entry, compression: Compression) -> usize {
    let compressed = compress(entry, compression);
    ENTRY_BYTES + ENCRYPTED_BYTES + compressed.as_ref().map_or(entry.data.len(), Vec::len)
}

/// The payload compressed, if it is to be, and if that makes it smaller.
fn compress(entry: &Entry, compression: Compression) -> Option<Vec<u8>> {
    match compression {
        Compression::Lz4 { threshold_bytes } if entry.data.len() >= threshold_bytes => lz4::compress(&entry.data),
        Compression::Lz4 { .. } | Compression::None => None,
    }
}

/// Puts an entry behind what the buffer has, all but its checksum.
fn put_entry(
    entry: &Entry,
    offset: u32,
    compression: Compression,
    cipher: Option<BatchCipher<'_>>,
    buffer: &mut Vec<u8>,
) -> Result<(), KeyFault> {
    match compress(entry, compression) {
        None => put_stored(entry, &entry.data, 0, offset, cipher, buffer),
        Some(compressed) => put_stored(entry, &compressed, ENTRY_FLAG_LZ4, offset, cipher, buffer),
    }
}

/// The same, of an entry whose payload is stored as `stored`, which `flags` says.
fn put_stored(
    entry: &Entry,
    stored: &[u8],
    flags: u32,
    offset: u32,
    cipher: Option<BatchCipher<'_>>,
    buffer: &mut Vec<u8>,
) -> Result<(), KeyFault> {
    let Some(cipher) = cipher else {
        let header = EntryHeader { check: 0, stored_bytes: stored.len() as u32, flags };
        buffer.extend_from_slice(&header.encode_with(entry.term));
        buffer.extend_from_slice(stored);
        return Ok(());
    };
    let (start, stored_bytes) = (buffer.len(), (stored.len() + ENCRYPTED_BYTES) as u32);
    buffer.extend_from_slice(&EntryHeader { check: 0, stored_bytes, flags: flags | ENTRY_FLAG_ENCRYPTED }.encode());
    cipher.put_entry((entry.index, entry.term), offset, stored, buffer, start)
}

/// How the entry must be stored in this segment to have the check that `slot` knows, and its length there; nothing if
/// neither way gives it. `cipher` is that of the batch, where the segment is encrypted.
pub(crate) fn stored_as(
    segment: &Segment,
    entry: &Entry,
    slot: Slot,
    cipher: Option<BatchCipher<'_>>,
) -> Option<(Compression, usize)> {
    let ways = [Compression::None, Compression::Lz4 { threshold_bytes: 0 }];
    ways.into_iter().find_map(|way| {
        let mut bytes = Vec::new();
        put_entry(entry, slot.offset, way, cipher, &mut bytes).ok()?;
        (put_entry_check(&segment.salt, entry.index, &mut bytes) == slot.check).then_some((way, bytes.len()))
    })
}

/// Encodes a seal or index batch into the empty `buffer`.
///
/// `random` is used where the segment hides its terms.
pub(crate) fn encode_index(
    segment: &Segment,
    mut header: BatchHeader,
    fold: &Fold,
    successor: (u64, u64),
    random: u64,
    buffer: &mut Vec<u8>,
) -> Result<BatchHeader, KeyFault> {
    let id = IndexId { offset: header.offset, life: header.life };
    let hidden = segment.cipher.as_ref().filter(|_| segment.hides_terms);
    buffer.reserve(segment.index_bytes(fold.run.slots.len(), fold.run.terms.len()) as usize);
    buffer.put_bytes(0, BATCH_BYTES);
    let cipher = hidden.map(|cipher| cipher.batch(header.life, random));
    header.body_check = index::encode(&segment.salt, id, fold, successor, cipher, buffer)?;
    header.count = fold.run.slots.len() as u32;
    header.body_bytes = (buffer.len() - BATCH_BYTES) as u32;
    finish(&segment.salt, &mut header, segment.align, buffer);
    Ok(header)
}

fn finish(salt: &Salted, header: &mut BatchHeader, align: u32, buffer: &mut Vec<u8>) {
    header.check = header.encode(salt, &mut buffer[..BATCH_BYTES]);
    debug_assert_eq!(LittleEndian::read_u32(&buffer[..]), header.check);
    let padded = buffer.len().next_multiple_of(align as usize);
    buffer.put_bytes(0, padded - buffer.len());
}
