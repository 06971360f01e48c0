//! Batches into bytes: one buffer, one write.

use byteorder::{ByteOrder, LittleEndian};
use bytes::BufMut;

use super::fold::Fold;
use super::format::{BATCH_BYTES, BatchHeader, ENTRY_BYTES, ENTRY_FLAG_LZ4, EntryHeader, put_entry_check};
use super::index::{self, IndexId, Slot};
use crate::codec::{crc::Salted, lz4};
use crate::entry::Entry;

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

/// The most bytes that the entries' body takes in a file: compression only ever makes it smaller.
pub(crate) fn body_bytes_max(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| (ENTRY_BYTES + entry.data.len()) as u64).sum()
}

/// Encodes a batch of entries into the empty `buffer`, padded to `align`, and puts term and slot of each into the empty
/// `slots`. Returns the header with its count, body and check fields filled in.
pub(crate) fn encode_entries(
    salt: &Salted,
    header: BatchHeader,
    entries: &[Entry],
    compression: Compression,
    align: u32,
    buffer: &mut Vec<u8>,
    slots: &mut Vec<(u64, Slot)>,
) -> BatchHeader {
    buffer.reserve(BATCH_BYTES + body_bytes_max(entries) as usize + align as usize);
    encode_each(salt, header, entries.iter().map(|entry| (entry, compression)), align, buffer, slots)
}

/// The same, where each entry is compressed or not as it says itself.
pub(crate) fn encode_each<'a>(
    salt: &Salted,
    mut header: BatchHeader,
    entries: impl ExactSizeIterator<Item = (&'a Entry, Compression)>,
    align: u32,
    buffer: &mut Vec<u8>,
    slots: &mut Vec<(u64, Slot)>,
) -> BatchHeader {
    let count = entries.len();
    buffer.put_bytes(0, BATCH_BYTES);
    slots.reserve(count);
    for (entry, compression) in entries {
        let offset = header.offset + buffer.len() as u32;
        slots.push((entry.term, Slot { offset, check: put_entry(salt, entry, compression, buffer) }));
    }
    header.count = count as u32;
    header.body_bytes = (buffer.len() - BATCH_BYTES) as u32;
    header.body_check = index::check_of_checks(salt, slots.iter().map(|(_, slot)| slot.check));
    finish(salt, &mut header, align, buffer);
    header
}

fn put_entry(salt: &Salted, entry: &Entry, compression: Compression, buffer: &mut Vec<u8>) -> u32 {
    let compressed = match compression {
        Compression::Lz4 { threshold_bytes } if entry.data.len() >= threshold_bytes => lz4::compress(&entry.data),
        Compression::Lz4 { .. } | Compression::None => None,
    };
    let flags = if compressed.is_some() { ENTRY_FLAG_LZ4 } else { 0 };
    let stored = compressed.as_deref().unwrap_or(&entry.data);
    let start = buffer.len();
    buffer.put_slice(&EntryHeader { check: 0, stored_bytes: stored.len() as u32, flags, term: entry.term }.encode());
    buffer.put_slice(stored);
    // Over what has just been copied: it is in the nearest cache.
    put_entry_check(salt, entry.index, &mut buffer[start..])
}

/// How the entry must be stored to have this check in a file with this salt; nothing if neither way gives it.
pub(crate) fn stored_as(salt: &Salted, entry: &Entry, check: u32) -> Option<Compression> {
    let ways = [Compression::None, Compression::Lz4 { threshold_bytes: 0 }];
    ways.into_iter().find(|&way| put_entry(salt, entry, way, &mut Vec::new()) == check)
}

/// Encodes a seal or index batch into the empty `buffer`.
pub(crate) fn encode_index(
    salt: &Salted,
    mut header: BatchHeader,
    fold: &Fold,
    successor: (u64, u64),
    align: u32,
    buffer: &mut Vec<u8>,
) -> BatchHeader {
    let id = IndexId { offset: header.offset, life: header.life };
    let (body, body_check) = index::encode(salt, id, fold, successor);
    buffer.put_bytes(0, BATCH_BYTES);
    buffer.put_slice(&body);
    header.count = fold.run.slots.len() as u32;
    header.body_bytes = body.len() as u32;
    header.body_check = body_check;
    finish(salt, &mut header, align, buffer);
    header
}

fn finish(salt: &Salted, header: &mut BatchHeader, align: u32, buffer: &mut Vec<u8>) {
    header.check = header.encode(salt, &mut buffer[..BATCH_BYTES]);
    debug_assert_eq!(LittleEndian::read_u32(&buffer[..]), header.check);
    let padded = buffer.len().next_multiple_of(align as usize);
    buffer.put_bytes(0, padded - buffer.len());
}
