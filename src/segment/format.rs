//! The bytes of a segment file. `src/docs/format.md` has the same tables for readers.

use byteorder::{ByteOrder, LittleEndian};

use crate::codec::crc::Salted;
use crate::error::JournalId;
use crate::keys::{CHECK_BYTES, TAG_BYTES};

/// The first bytes of every segment file.
pub const MAGIC: [u8; 8] = *b"RJSEGMNT";
/// The format version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Header flag: batches start at multiples of 4 KiB.
pub const FLAG_ALIGNED: u32 = 1;
/// Header flag, in an encrypted file: the terms are encrypted too, each with its entry, and a seal's runs of them. Files of
/// an earlier version lack it and show them.
pub const FLAG_TERMS_ENCRYPTED: u32 = 2;

// The file header. Magic, version and check keep their places in every version.
/// Offset of the magic.
pub const HEADER_MAGIC_AT: usize = 0;
/// Offset of the format version.
pub const HEADER_VERSION_AT: usize = HEADER_MAGIC_AT + 8;
/// Offset of the checksum over all other bytes of the header.
pub const HEADER_CHECK_AT: usize = HEADER_VERSION_AT + 4;
/// Offset of the flags.
pub const HEADER_FLAGS_AT: usize = HEADER_CHECK_AT + 4;
/// Offset of the encryption key's id (0: not encrypted).
pub const HEADER_KEY_ID_AT: usize = HEADER_FLAGS_AT + 4;
/// Offset of the journal's id.
pub const HEADER_JOURNAL_ID_AT: usize = HEADER_KEY_ID_AT + 4;
/// Offset of the file's sequence number.
pub const HEADER_SEQUENCE_AT: usize = HEADER_JOURNAL_ID_AT + 16;
/// Offset of the file's size, bytes.
pub const HEADER_SIZE_AT: usize = HEADER_SEQUENCE_AT + 8;
/// Offset of the salt.
pub const HEADER_SALT_AT: usize = HEADER_SIZE_AT + 8;
/// Length of the header.
pub const HEADER_BYTES: usize = HEADER_SALT_AT + 8;

// The record of the key, right behind the header in an encrypted file.
/// Offset of the checksum over the rest of the record.
pub const KEY_RECORD_CHECK_AT: usize = 0;
/// Offset of what tells this key from another one with the same id.
pub const KEY_RECORD_KEY_CHECK_AT: usize = KEY_RECORD_CHECK_AT + 4;
/// Length of the record.
pub const KEY_RECORD_BYTES: usize = KEY_RECORD_KEY_CHECK_AT + CHECK_BYTES;

// The batch header.
/// Offset of the checksum over all other bytes of the batch header; it is the chain value too.
pub const BATCH_CHECK_AT: usize = 0;
/// Offset of the checksum over the body's own checksums.
pub const BATCH_BODY_CHECK_AT: usize = BATCH_CHECK_AT + 4;
/// Offset of the kind: 1 entries, 2 seal, 3 index.
pub const BATCH_KIND_AT: usize = BATCH_BODY_CHECK_AT + 4;
/// Offset of the count of entries (or of slots).
pub const BATCH_COUNT_AT: usize = BATCH_KIND_AT + 4;
/// Offset of the body's length, bytes, without padding.
pub const BATCH_BODY_LEN_AT: usize = BATCH_COUNT_AT + 4;
/// Offset of the batch's own offset in the file.
pub const BATCH_OFFSET_AT: usize = BATCH_BODY_LEN_AT + 4;
/// Offset of the first index: the log is what it was below it, then this batch.
pub const BATCH_FIRST_INDEX_AT: usize = BATCH_OFFSET_AT + 4;
/// Offset of the previous batch's check.
pub const BATCH_CHAIN_AT: usize = BATCH_FIRST_INDEX_AT + 8;
/// Offset of the life.
pub const BATCH_LIFE_AT: usize = BATCH_CHAIN_AT + 4;
/// Offset of the newest `meta` generation whose sync has returned.
pub const BATCH_META_GENERATION_AT: usize = BATCH_LIFE_AT + 4;
/// Offset of the durable mark's segment sequence.
pub const BATCH_MARK_SEQUENCE_AT: usize = BATCH_META_GENERATION_AT + 8;
/// Offset of the durable mark's offset.
pub const BATCH_MARK_OFFSET_AT: usize = BATCH_MARK_SEQUENCE_AT + 8;
/// Offset of the offset of the latest replacing batch before this one (0: none).
pub const BATCH_REPLACING_AT: usize = BATCH_MARK_OFFSET_AT + 4;
/// Offset of the segment's base before this batch.
pub const BATCH_BASE_AT: usize = BATCH_REPLACING_AT + 4;
/// Length of the batch header.
pub const BATCH_BYTES: usize = BATCH_BASE_AT + 8;

// The entry header.
/// Offset of the checksum over the index, the rest of the entry header, and the stored payload.
pub const ENTRY_CHECK_AT: usize = 0;
/// Offset of the stored payload's length, bytes.
pub const ENTRY_LEN_AT: usize = ENTRY_CHECK_AT + 4;
/// Offset of the entry's flags.
pub const ENTRY_FLAGS_AT: usize = ENTRY_LEN_AT + 4;
/// Offset of the term; where terms are encrypted, of what they are encrypted in.
pub const ENTRY_TERM_AT: usize = ENTRY_FLAGS_AT + 4;
/// Length of the entry header, the term included.
pub const ENTRY_BYTES: usize = ENTRY_TERM_AT + TERM_BYTES;
/// Length of a term.
pub const TERM_BYTES: usize = 8;
/// Entry flag: the payload is an LZ4 block behind its raw length.
pub const ENTRY_FLAG_LZ4: u32 = 1;
/// Entry flag: the payload, compressed or not, is encrypted.
pub const ENTRY_FLAG_ENCRYPTED: u32 = 2;

// What is encrypted in a segment, as it is stored: an entry's payload, with its term or without, or a seal's runs of terms.
/// Offset of the life whose key it is encrypted with.
pub const ENCRYPTED_LIFE_AT: usize = 0;
/// Offset of the random part of the nonce.
pub const ENCRYPTED_RANDOM_AT: usize = ENCRYPTED_LIFE_AT + 4;
/// Offset of the ciphertext, which the tag follows.
pub const ENCRYPTED_TEXT_AT: usize = ENCRYPTED_RANDOM_AT + 8;
/// Length of what is stored beside the ciphertext.
pub const ENCRYPTED_BYTES: usize = ENCRYPTED_TEXT_AT + TAG_BYTES;

// What stands before each payload of an encrypted repair file, encrypted with it.
/// Offset of the check that the entry has in its segment.
pub const STOOD_CHECK_AT: usize = 0;
/// Offset of its length there, header included (0: neither is known).
pub const STOOD_LEN_AT: usize = STOOD_CHECK_AT + 4;
/// Length of both.
pub const STOOD_BYTES: usize = STOOD_LEN_AT + 4;

// The body of a seal or index batch: a summary, the runs of terms, the pages of slots.
/// Offset of the checksum over the rest of the summary and the runs.
pub const SUMMARY_CHECK_AT: usize = 0;
/// Offset of the count of term runs.
pub const SUMMARY_RUNS_AT: usize = SUMMARY_CHECK_AT + 4;
/// Offset of the count of slots.
pub const SUMMARY_COUNT_AT: usize = SUMMARY_RUNS_AT + 4;
/// Offset of the offset of the segment's latest replacing batch (0: none).
pub const SUMMARY_REPLACING_AT: usize = SUMMARY_COUNT_AT + 4;
/// Offset of the segment's base.
pub const SUMMARY_BASE_AT: usize = SUMMARY_REPLACING_AT + 4;
/// Offset of the first slot's index.
pub const SUMMARY_FIRST_AT: usize = SUMMARY_BASE_AT + 8;
/// Offset of the log's next index.
pub const SUMMARY_NEXT_AT: usize = SUMMARY_FIRST_AT + 8;
/// Offset of the successor's sequence (0 in an index batch).
pub const SUMMARY_SUCCESSOR_AT: usize = SUMMARY_NEXT_AT + 8;
/// Offset of the successor's salt.
pub const SUMMARY_SUCCESSOR_SALT_AT: usize = SUMMARY_SUCCESSOR_AT + 8;
/// Length of the summary.
pub const SUMMARY_BYTES: usize = SUMMARY_SUCCESSOR_SALT_AT + 8;
/// Length of a term run: its first index and its term.
pub const RUN_BYTES: usize = 16;
/// Length of a slot: an entry's offset (0: lost) and its check.
pub const SLOT_BYTES: usize = 8;
/// Length of a page's head: its checksum and its number.
pub const PAGE_HEAD_BYTES: usize = 8;
/// Length of a full page of slots.
pub const PAGE_BYTES: usize = 4096;
/// Slots in a full page.
pub const PAGE_SLOTS: usize = (PAGE_BYTES - PAGE_HEAD_BYTES) / SLOT_BYTES;

// The trailer.
/// Offset of the trailer's checksum.
pub const TRAILER_CHECK_AT: usize = 0;
/// Offset of the seal's offset.
pub const TRAILER_SEAL_AT: usize = TRAILER_CHECK_AT + 4;
/// Offset of the seal's check.
pub const TRAILER_SEAL_CHECK_AT: usize = TRAILER_SEAL_AT + 4;
/// Offset of the file's sequence.
pub const TRAILER_SEQUENCE_AT: usize = TRAILER_SEAL_CHECK_AT + 4;
/// Length of the trailer.
pub const TRAILER_BYTES: usize = TRAILER_SEQUENCE_AT + 8;

/// The unit in which batches are aligned.
pub const ALIGN_BYTES: u32 = 8;
/// The unit in an aligned file, and the length of its header and trailer pages.
pub const ALIGN_BYTES_ALIGNED: u32 = 4096;
/// The length of header and trailer pages in a file that is not aligned.
pub const EDGE_BYTES: u32 = 512;

const _: () = assert!(HEADER_BYTES == 64 && HEADER_BYTES <= EDGE_BYTES as usize);
const _: () = assert!(HEADER_BYTES + KEY_RECORD_BYTES <= EDGE_BYTES as usize);
const _: () = assert!(BATCH_BYTES == 72 && BATCH_BYTES.is_multiple_of(ALIGN_BYTES as usize));
const _: () = assert!(ENTRY_BYTES == 20);
const _: () = assert!(SUMMARY_BYTES == 56 && SUMMARY_BYTES.is_multiple_of(ALIGN_BYTES as usize));
const _: () = assert!(PAGE_HEAD_BYTES + PAGE_SLOTS * SLOT_BYTES == PAGE_BYTES);
const _: () = assert!(TRAILER_BYTES <= EDGE_BYTES as usize);

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?).map(LittleEndian::read_u32)
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?).map(LittleEndian::read_u64)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    LittleEndian::write_u32(&mut bytes[at..at + 4], value);
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    LittleEndian::write_u64(&mut bytes[at..at + 8], value);
}

/// The identity of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) flags: u32,
    pub(crate) key_id: u32,
    pub(crate) journal_id: JournalId,
    pub(crate) sequence: u64,
    pub(crate) size_bytes: u64,
    pub(crate) salt: u64,
}

/// Why bytes are no header of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    Unreadable,
    Version(u32),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[HEADER_MAGIC_AT..HEADER_VERSION_AT].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, HEADER_VERSION_AT, VERSION);
        put_u32(&mut bytes, HEADER_FLAGS_AT, self.flags);
        put_u32(&mut bytes, HEADER_KEY_ID_AT, self.key_id);
        bytes[HEADER_JOURNAL_ID_AT..HEADER_SEQUENCE_AT].copy_from_slice(&self.journal_id.0);
        put_u64(&mut bytes, HEADER_SEQUENCE_AT, self.sequence);
        put_u64(&mut bytes, HEADER_SIZE_AT, self.size_bytes);
        put_u64(&mut bytes, HEADER_SALT_AT, self.salt);
        let check = header_check(&bytes);
        put_u32(&mut bytes, HEADER_CHECK_AT, check);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, HeaderFault> {
        Self::parse_checked(bytes).unwrap_or(Err(HeaderFault::Unreadable))
    }

    fn parse_checked(bytes: &[u8]) -> Option<Result<Header, HeaderFault>> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if bytes[..HEADER_VERSION_AT] != MAGIC || read_u32(bytes, HEADER_CHECK_AT)? != header_check(bytes) {
            return None;
        }
        // Only now: a version is believed once its checksum has been seen.
        let version = read_u32(bytes, HEADER_VERSION_AT)?;
        if version != VERSION {
            return Some(Err(HeaderFault::Version(version)));
        }
        Some(Ok(Header {
            flags: read_u32(bytes, HEADER_FLAGS_AT)?,
            key_id: read_u32(bytes, HEADER_KEY_ID_AT)?,
            journal_id: JournalId(bytes.get(HEADER_JOURNAL_ID_AT..HEADER_SEQUENCE_AT)?.try_into().ok()?),
            sequence: read_u64(bytes, HEADER_SEQUENCE_AT)?,
            size_bytes: read_u64(bytes, HEADER_SIZE_AT)?,
            salt: read_u64(bytes, HEADER_SALT_AT)?,
        }))
    }
}

fn header_check(bytes: &[u8]) -> u32 {
    Salted::new(0).of(&[&bytes[..HEADER_CHECK_AT], &bytes[HEADER_FLAGS_AT..HEADER_BYTES]])
}

/// The record of the key: what it is called stands in the header, this tells whether it is the right one.
pub(crate) fn encode_key_record(salt: &Salted, key_check: [u8; CHECK_BYTES]) -> [u8; KEY_RECORD_BYTES] {
    let mut bytes = [0; KEY_RECORD_BYTES];
    bytes[KEY_RECORD_KEY_CHECK_AT..].copy_from_slice(&key_check);
    put_u32(&mut bytes, KEY_RECORD_CHECK_AT, salt.of(&[&key_check]));
    bytes
}

/// What a record of the key says, if it checks out.
pub(crate) fn parse_key_record(salt: &Salted, bytes: &[u8]) -> Option<[u8; CHECK_BYTES]> {
    let key_check = bytes.get(KEY_RECORD_KEY_CHECK_AT..KEY_RECORD_BYTES)?;
    let is_right = read_u32(bytes, KEY_RECORD_CHECK_AT)? == salt.of(&[key_check]);
    if is_right { key_check.try_into().ok() } else { None }
}

/// What a batch holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Entries,
    Seal,
    Index,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Kind::Entries => 1,
            Kind::Seal => 2,
            Kind::Index => 3,
        }
    }

    fn from_code(code: u32) -> Option<Kind> {
        [Kind::Entries, Kind::Seal, Kind::Index].into_iter().find(|kind| kind.code() == code)
    }
}

/// A batch header whose checksum was seen. What it says of its body is not yet proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    pub(crate) body_bytes: u32,
    pub(crate) body_check: u32,
    pub(crate) offset: u32,
    pub(crate) first_index: u64,
    pub(crate) chain: u32,
    pub(crate) life: u32,
    pub(crate) meta_generation: u64,
    pub(crate) mark: (u64, u32),
    pub(crate) replacing: u32,
    pub(crate) base: u64,
    /// The header's own checksum: the chain value that the next batch carries. Filled in by `encode` and `parse`.
    pub(crate) check: u32,
}

/// Whether bytes say that they are a batch header at this offset, which no checksum has seen yet.
pub(crate) fn announces(bytes: &[u8], offset: u32) -> bool {
    read_u32(bytes, BATCH_OFFSET_AT) == Some(offset)
}

impl BatchHeader {
    /// Writes the header into `bytes` and returns its checksum.
    pub(crate) fn encode(&self, salt: &Salted, bytes: &mut [u8]) -> u32 {
        put_u32(bytes, BATCH_BODY_CHECK_AT, self.body_check);
        put_u32(bytes, BATCH_KIND_AT, self.kind.code());
        put_u32(bytes, BATCH_COUNT_AT, self.count);
        put_u32(bytes, BATCH_BODY_LEN_AT, self.body_bytes);
        put_u32(bytes, BATCH_OFFSET_AT, self.offset);
        put_u64(bytes, BATCH_FIRST_INDEX_AT, self.first_index);
        put_u32(bytes, BATCH_CHAIN_AT, self.chain);
        put_u32(bytes, BATCH_LIFE_AT, self.life);
        put_u64(bytes, BATCH_META_GENERATION_AT, self.meta_generation);
        put_u64(bytes, BATCH_MARK_SEQUENCE_AT, self.mark.0);
        put_u32(bytes, BATCH_MARK_OFFSET_AT, self.mark.1);
        put_u32(bytes, BATCH_REPLACING_AT, self.replacing);
        put_u64(bytes, BATCH_BASE_AT, self.base);
        let check = salt.of(&[&bytes[BATCH_BODY_CHECK_AT..BATCH_BYTES]]);
        put_u32(bytes, BATCH_CHECK_AT, check);
        check
    }

    /// The header at `offset` of a file with this salt, if the bytes are one and belong there.
    pub(crate) fn parse(salt: &Salted, bytes: &[u8], offset: u32) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_BYTES)?;
        if !announces(bytes, offset) {
            return None;
        }
        let kind = Kind::from_code(read_u32(bytes, BATCH_KIND_AT)?)?;
        let check = read_u32(bytes, BATCH_CHECK_AT)?;
        let is_right = check == salt.of(&[&bytes[BATCH_BODY_CHECK_AT..]]);
        #[cfg(mutate)]
        let is_right = is_right || crate::mutate::is(crate::mutate::Mutation::LengthBeforeChecksum);
        if !is_right {
            return None;
        }
        Some(BatchHeader {
            kind,
            count: read_u32(bytes, BATCH_COUNT_AT)?,
            body_bytes: read_u32(bytes, BATCH_BODY_LEN_AT)?,
            body_check: read_u32(bytes, BATCH_BODY_CHECK_AT)?,
            offset,
            first_index: read_u64(bytes, BATCH_FIRST_INDEX_AT)?,
            chain: read_u32(bytes, BATCH_CHAIN_AT)?,
            life: read_u32(bytes, BATCH_LIFE_AT)?,
            meta_generation: read_u64(bytes, BATCH_META_GENERATION_AT)?,
            mark: (read_u64(bytes, BATCH_MARK_SEQUENCE_AT)?, read_u32(bytes, BATCH_MARK_OFFSET_AT)?),
            replacing: read_u32(bytes, BATCH_REPLACING_AT)?,
            base: read_u64(bytes, BATCH_BASE_AT)?,
            check,
        })
    }

    /// Where the batch ends, padding included; `None` when that is no offset of a file.
    pub(crate) fn end(&self, align: u32) -> Option<u32> {
        let end = self.offset.checked_add(BATCH_BYTES as u32)?.checked_add(self.body_bytes)?;
        end.checked_next_multiple_of(align)
    }
}

/// An entry header as it stands in a file, but for the term, which may be encrypted; proved only by [`entry_check`] over it
/// and all that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryHeader {
    pub(crate) check: u32,
    /// The length of what is stored behind the term; with an encrypted one, of all that is encrypted, less a term.
    pub(crate) stored_bytes: u32,
    pub(crate) flags: u32,
}

impl EntryHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Option<EntryHeader> {
        Some(EntryHeader {
            check: read_u32(bytes, ENTRY_CHECK_AT)?,
            stored_bytes: read_u32(bytes, ENTRY_LEN_AT)?,
            flags: read_u32(bytes, ENTRY_FLAGS_AT)?,
        })
    }

    /// What stands before the term.
    pub(crate) fn encode(&self) -> [u8; ENTRY_TERM_AT] {
        let mut bytes = [0; ENTRY_TERM_AT];
        put_u32(&mut bytes, ENTRY_CHECK_AT, self.check);
        put_u32(&mut bytes, ENTRY_LEN_AT, self.stored_bytes);
        put_u32(&mut bytes, ENTRY_FLAGS_AT, self.flags);
        bytes
    }

    /// The same and the term behind it.
    pub(crate) fn encode_with(&self, term: u64) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..ENTRY_TERM_AT].copy_from_slice(&self.encode());
        LittleEndian::write_u64(&mut bytes[ENTRY_TERM_AT..], term);
        bytes
    }
}

/// The checksum that an entry's bytes, header and stored payload, must have at this index.
pub(crate) fn entry_check(salt: &Salted, index: u64, entry: &[u8]) -> u32 {
    #[cfg(mutate)]
    let index = if crate::mutate::is(crate::mutate::Mutation::IndexNumberNotCovered) { 0 } else { index };
    salt.of(&[&index.to_le_bytes(), entry.get(ENTRY_LEN_AT..).unwrap_or_default()])
}

/// Writes the checksum into an entry's bytes, the rest of which is there, and returns it.
pub(crate) fn put_entry_check(salt: &Salted, index: u64, entry: &mut [u8]) -> u32 {
    let check = entry_check(salt, index, entry);
    put_u32(entry, ENTRY_CHECK_AT, check);
    check
}

/// Where a sealed segment's seal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    pub(crate) seal_offset: u32,
    pub(crate) seal_check: u32,
    pub(crate) sequence: u64,
}

impl Trailer {
    pub(crate) fn encode(&self, salt: &Salted) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        put_u32(&mut bytes, TRAILER_SEAL_AT, self.seal_offset);
        put_u32(&mut bytes, TRAILER_SEAL_CHECK_AT, self.seal_check);
        put_u64(&mut bytes, TRAILER_SEQUENCE_AT, self.sequence);
        let check = salt.of(&[&bytes[TRAILER_SEAL_AT..]]);
        put_u32(&mut bytes, TRAILER_CHECK_AT, check);
        bytes
    }

    pub(crate) fn parse(salt: &Salted, bytes: &[u8]) -> Option<Trailer> {
        let bytes = bytes.get(..TRAILER_BYTES)?;
        (read_u32(bytes, TRAILER_CHECK_AT)? == salt.of(&[&bytes[TRAILER_SEAL_AT..]])).then_some(())?;
        Some(Trailer {
            seal_offset: read_u32(bytes, TRAILER_SEAL_AT)?,
            seal_check: read_u32(bytes, TRAILER_SEAL_CHECK_AT)?,
            sequence: read_u64(bytes, TRAILER_SEQUENCE_AT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> BatchHeader {
        BatchHeader {
            kind: Kind::Entries,
            count: 3,
            body_bytes: 100,
            body_check: 9,
            offset: 512,
            first_index: 7,
            chain: 1,
            life: 2,
            meta_generation: 3,
            mark: (4, 5),
            replacing: 6,
            base: 8,
            check: 0,
        }
    }

    #[test]
    fn every_flipped_bit_of_a_batch_header_is_noticed() {
        let salt = Salted::new(42);
        let mut bytes = [0; BATCH_BYTES];
        let check = batch().encode(&salt, &mut bytes);
        assert_eq!(BatchHeader::parse(&salt, &bytes, 512), Some(BatchHeader { check, ..batch() }));
        for bit in 0..BATCH_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::parse(&salt, &bytes, 512), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(BatchHeader::parse(&Salted::new(43), &bytes, 512), None);
        assert_eq!(BatchHeader::parse(&salt, &bytes, 520), None);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let id = JournalId([7; 16]);
        let header = Header { flags: 0, key_id: 0, journal_id: id, sequence: 1, size_bytes: 8192, salt: 5 };
        let mut bytes = header.encode();
        assert_eq!(Header::parse(&bytes), Ok(header));
        put_u32(&mut bytes, HEADER_VERSION_AT, 2);
        assert_eq!(Header::parse(&bytes), Err(HeaderFault::Unreadable), "a version without its checksum is damage");
        let check = header_check(&bytes);
        put_u32(&mut bytes, HEADER_CHECK_AT, check);
        assert_eq!(Header::parse(&bytes), Err(HeaderFault::Version(2)));
    }

    #[test]
    fn a_batch_that_would_end_beyond_any_file_has_no_end() {
        let header = BatchHeader { body_bytes: u32::MAX, ..batch() };
        assert_eq!(header.end(ALIGN_BYTES), None);
        assert_eq!(batch().end(ALIGN_BYTES), Some(512 + 72 + 104));
    }
}
