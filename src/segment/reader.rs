//! Entries out of bytes, each verified.

use bytes::{Buf, Bytes};

use super::Segment;
use super::cipher::SegmentCipher;
use super::format::{
    ENTRY_BYTES, ENTRY_FLAG_ENCRYPTED, ENTRY_FLAG_LZ4, ENTRY_TERM_AT, EntryHeader, entry_check, read_u64,
};
use crate::codec::lz4;
use crate::entry::Entry;
use crate::error::DamageKind;

/// An entry's length in the file by its own header, which no checksum has seen yet: good for sizing a read.
pub(crate) fn announced_bytes(bytes: &[u8]) -> Option<usize> {
    ENTRY_BYTES.checked_add(usize::try_from(EntryHeader::parse(bytes)?.stored_bytes).ok()?)
}

/// The term of an entry whose checksum is right, if it is what this journal put there: in an encrypted segment, all of it is
/// decrypted for that, in `scratch`.
pub(crate) fn term_of(
    segment: &Segment,
    index: u64,
    offset: u32,
    entry: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<u64, DamageKind> {
    let header = EntryHeader::parse(entry).ok_or(DamageKind::Checksum)?;
    let Some(cipher) = cipher_for(segment, &header)? else {
        return read_u64(entry, ENTRY_TERM_AT).ok_or(DamageKind::Checksum);
    };
    scratch.clear();
    scratch.extend_from_slice(entry);
    cipher.open_entry(index, offset, scratch).map(|(term, _)| term).map_err(|_| DamageKind::NotAuthentic)
}

/// What decrypts an entry, if its segment is encrypted. All that such a segment holds is encrypted: what is not was put there
/// by somebody else.
fn cipher_for<'a>(segment: &'a Segment, header: &EntryHeader) -> Result<Option<&'a SegmentCipher>, DamageKind> {
    match &segment.cipher {
        None if segment.key_id == 0 => Ok(None),
        Some(cipher) if header.flags & ENTRY_FLAG_ENCRYPTED != 0 => Ok(Some(cipher)),
        None | Some(_) => Err(DamageKind::NotAuthentic),
    }
}

/// The entry that stands at `offset`, at the start of `bytes`. Its payload is what is left of them, not copied, unless
/// compressed.
///
/// Checks the entry's own checksum, and that it is the one whose `check` is known: a stale entry of the same index has a
/// right checksum too, except in a file where there can be none.
pub(crate) fn parse_entry(
    segment: &Segment,
    index: u64,
    offset: u32,
    check: Option<u32>,
    mut bytes: Bytes,
) -> Result<Entry, DamageKind> {
    let header = EntryHeader::parse(&bytes).ok_or(DamageKind::Checksum)?;
    let end = announced_bytes(&bytes).filter(|&end| end <= bytes.len()).ok_or(DamageKind::Checksum)?;
    let is_right = entry_check(&segment.salt, index, &bytes[..end]) == header.check;
    #[cfg(mutate)]
    let is_right = is_right || crate::mutate::is(crate::mutate::Mutation::ReadUnchecked);
    if !is_right {
        return Err(DamageKind::Checksum);
    }
    #[cfg(mutate)]
    let check = check.filter(|_| !crate::mutate::is(crate::mutate::Mutation::IndexNumberNotCovered));
    if check.is_some_and(|check| check != header.check) {
        return Err(DamageKind::Misplaced);
    }
    bytes.truncate(end);
    let (term, stored, flags) = match cipher_for(segment, &header)? {
        None => {
            let term = read_u64(&bytes, ENTRY_TERM_AT).ok_or(DamageKind::Checksum)?;
            bytes.advance(ENTRY_BYTES);
            (term, bytes, header.flags)
        }
        Some(cipher) => {
            let decrypted = cipher.decrypt_entry(index, offset, bytes);
            let (term, stored) = decrypted.map_err(|_| DamageKind::NotAuthentic)?;
            (term, stored, header.flags & !ENTRY_FLAG_ENCRYPTED)
        }
    };
    let data = match flags {
        0 => stored,
        ENTRY_FLAG_LZ4 => lz4::decompress(&stored).map(Bytes::from).ok_or(DamageKind::Compression)?,
        _ => return Err(DamageKind::UnknownFlags),
    };
    Ok(Entry { index, term, data })
}
