//! Entries encrypted, each for its place: journal, segment, life and offset, index and term. And the terms that a seal
//! lists.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes, BytesMut};

use super::format::{
    ENCRYPTED_BYTES, ENCRYPTED_LIFE_AT, ENCRYPTED_RANDOM_AT, ENCRYPTED_TEXT_AT, ENTRY_BYTES, ENTRY_LEN_AT,
    ENTRY_TERM_AT, TERM_BYTES, read_u32, read_u64,
};
use crate::error::KeyFault;
use crate::keys::{Cipher, NONCE_BYTES, Secret};
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::sync::RwLock;

/// So many lives' keys are kept beside the first one's: hardly any file sees so many.
const LIVES_KEPT: usize = 16;

/// The keys of one segment file: one for each life that wrote into it.
#[derive(Debug)]
pub(crate) struct SegmentCipher {
    secret: Secret,
    sequence: u64,
    salt: u64,
    /// Whether the terms are encrypted too: in all files but an earlier version's.
    hides_terms: bool,
    /// The key of the life that was asked for first, most often the only one: read without a lock.
    first: OnceLock<(u32, Cipher)>,
    others: RwLock<Vec<(u32, Arc<Cipher>)>>,
}

impl SegmentCipher {
    pub(crate) fn new(secret: Secret, sequence: u64, salt: u64, hides_terms: bool) -> SegmentCipher {
        SegmentCipher { secret, sequence, salt, hides_terms, first: OnceLock::new(), others: RwLock::new(Vec::new()) }
    }

    fn derive(&self, life: u32) -> Result<Cipher, KeyFault> {
        #[cfg(mutate)]
        let life = if mutate::is(Mutation::KeyWithoutLife) { 0 } else { life };
        let (sequence, salt) = (self.sequence.to_le_bytes(), self.salt.to_le_bytes());
        // Each form has its own keys: what nothing authenticates, the flag in the header, must not say how a text is read.
        let purpose: &[u8] =
            if self.hides_terms { b"raft-journal segment with terms" } else { b"raft-journal segment" };
        self.secret.cipher(&[purpose, &sequence, &salt, &life.to_le_bytes()])
    }

    /// Does something with the key of a life.
    fn with<T>(&self, life: u32, run: impl FnOnce(&Cipher) -> Result<T, KeyFault>) -> Result<T, KeyFault> {
        let (first, cipher) = match self.first.get() {
            Some(first) => first,
            None => {
                let cipher = self.derive(life)?;
                self.first.get_or_init(|| (life, cipher))
            }
        };
        if *first == life {
            return run(cipher);
        }
        let known = self.others.read().iter().find(|(other, _)| *other == life).map(|(_, cipher)| Arc::clone(cipher));
        if let Some(cipher) = known {
            return run(&cipher);
        }
        let cipher = Arc::new(self.derive(life)?);
        let mut others = self.others.write();
        if others.len() >= LIVES_KEPT {
            others.remove(0);
        }
        others.push((life, Arc::clone(&cipher)));
        drop(others);
        run(&cipher)
    }

    /// What encrypts one batch. `random` is drawn anew for each batch that is tried, written or not.
    pub(crate) fn batch(&self, life: u32, random: u64) -> BatchCipher<'_> {
        BatchCipher { cipher: self, life, random }
    }

    /// Where in an entry that begins which is encrypted: its prefix, its text, its tag.
    pub(crate) fn begins_at(&self) -> usize {
        if self.hides_terms { ENTRY_TERM_AT } else { ENTRY_BYTES }
    }

    /// The term of an entry, and its payload as it was stored before it was encrypted.
    pub(crate) fn decrypt_entry(&self, index: u64, offset: u32, entry: Bytes) -> Result<(u64, Bytes), KeyFault> {
        let mut entry = owned(entry);
        let (term, payload) = self.open_entry(index, offset, &mut entry)?;
        entry.truncate(payload.end);
        entry.advance(payload.start);
        Ok((term, entry.freeze()))
    }

    /// Decrypts an entry in place, if it is authentic: its term, and where in it the payload stands.
    pub(crate) fn open_entry(
        &self,
        index: u64,
        offset: u32,
        entry: &mut [u8],
    ) -> Result<(u64, Range<usize>), KeyFault> {
        let at = self.begins_at();
        let shown = read_u64(entry, ENTRY_TERM_AT);
        let (head, stored) = entry.split_at_mut_checked(at).ok_or(KeyFault::NotAuthentic)?;
        let known = Known::of_entry(index, head.get(ENTRY_LEN_AT..).unwrap_or_default());
        let text = self.open(offset, known.bytes(), stored)?;
        let term = if self.hides_terms { stored.get(text.clone()).and_then(|text| read_u64(text, 0)) } else { shown };
        let payload = text.start + if self.hides_terms { TERM_BYTES } else { 0 }..text.end;
        Ok((term.ok_or(KeyFault::NotAuthentic)?, at + payload.start..at + payload.end))
    }

    /// What a prefix, a text and its tag hold, which belong at `offset` and with what is `known`.
    pub(crate) fn decrypt(&self, offset: u32, known: &[u8], stored: Bytes) -> Result<Bytes, KeyFault> {
        let mut stored = owned(stored);
        let text = self.open(offset, known, &mut stored)?;
        Ok(stored.freeze().slice(text))
    }

    /// The same in its place: where in it the text stands.
    fn open(&self, offset: u32, known: &[u8], stored: &mut [u8]) -> Result<Range<usize>, KeyFault> {
        let Prefix { life, random } = Prefix::parse(stored).ok_or(KeyFault::NotAuthentic)?;
        let text_bytes = stored.len().checked_sub(ENCRYPTED_BYTES).ok_or(KeyFault::NotAuthentic)?;
        let text = &mut stored[ENCRYPTED_TEXT_AT..];
        self.with(life, |cipher| cipher.decrypt(nonce(offset, random), known, text))?;
        Ok(ENCRYPTED_TEXT_AT..ENCRYPTED_TEXT_AT + text_bytes)
    }
}

/// These bytes to write to: themselves, where they are nobody else's.
fn owned(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

/// What stands before a ciphertext, and makes its key and its nonce with where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prefix {
    pub(crate) life: u32,
    pub(crate) random: u64,
}

impl Prefix {
    pub(crate) fn parse(stored: &[u8]) -> Option<Prefix> {
        Some(Prefix { life: read_u32(stored, ENCRYPTED_LIFE_AT)?, random: read_u64(stored, ENCRYPTED_RANDOM_AT)? })
    }
}

/// Encrypts what one batch holds.
#[derive(Clone, Copy)]
pub(crate) struct BatchCipher<'a> {
    cipher: &'a SegmentCipher,
    life: u32,
    random: u64,
}

impl BatchCipher<'_> {
    /// Puts an entry's term and payload behind what stands before its term, which begins at `start` of the buffer and will
    /// stand at `offset` of the file.
    pub(crate) fn put_entry(
        &self,
        (index, term): (u64, u64),
        offset: u32,
        payload: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), KeyFault> {
        let hides_terms = self.cipher.hides_terms;
        let term = term.to_le_bytes();
        if !hides_terms {
            buffer.extend_from_slice(&term);
        }
        let known = Known::of_entry(index, buffer.get(start + ENTRY_LEN_AT..).unwrap_or_default());
        self.put(offset, known.bytes(), buffer, |buffer| {
            if hides_terms {
                buffer.extend_from_slice(&term);
            }
            buffer.extend_from_slice(payload);
        })
    }

    /// Puts a prefix, the text that `write` puts, encrypted, and its tag. All of it belongs at `offset` and with what is
    /// `known`.
    pub(crate) fn put(
        &self,
        offset: u32,
        known: &[u8],
        buffer: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), KeyFault> {
        buffer.extend_from_slice(&self.life.to_le_bytes());
        buffer.extend_from_slice(&self.random.to_le_bytes());
        let text = buffer.len();
        write(buffer);
        let nonce = nonce(offset, self.random);
        let tag = self.cipher.with(self.life, |cipher| cipher.encrypt(nonce, known, &mut buffer[text..]))?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }
}

/// What is authenticated with an entry beside what its key and nonce are made of: the index, and what its header shows,
/// but for the checksum.
struct Known {
    bytes: [u8; Known::BYTES_MAX],
    len: usize,
}

impl Known {
    const BYTES_MAX: usize = 8 + ENTRY_BYTES - ENTRY_LEN_AT;

    /// `head` is the entry's header from the length on, with the term where that is shown.
    fn of_entry(index: u64, head: &[u8]) -> Known {
        let head = &head[..head.len().min(Self::BYTES_MAX - 8)];
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        bytes[8..8 + head.len()].copy_from_slice(head);
        Known { bytes, len: 8 + head.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn nonce(offset: u32, random: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..4].copy_from_slice(&offset.to_le_bytes());
    nonce[4..].copy_from_slice(&random.to_le_bytes());
    nonce
}

#[cfg(test)]
#[cfg(feature = "encryption")]
mod tests {
    use super::*;
    use crate::error::JournalId;
    use crate::keys::{Key, KeyRing, Keys};
    use crate::segment::format::EntryHeader;

    /// What identifies an entry's place, and the entry.
    #[derive(Clone, Copy, Debug)]
    struct Place {
        journal: u8,
        sequence: u64,
        salt: u64,
        offset: u32,
        index: u64,
        term: u64,
    }

    const PLACE: Place = Place { journal: 1, sequence: 2, salt: 3, offset: 512, index: 4, term: 5 };

    fn cipher(place: Place, hides_terms: bool) -> SegmentCipher {
        let keys = Keys::new(Arc::new(KeyRing::new(1, Key::new([9; 32]))));
        let secret = keys.secret(1, JournalId([place.journal; 16])).expect("a key that is there");
        SegmentCipher::new(secret, place.sequence, place.salt, hides_terms)
    }

    /// An entry as it stands in a file, but for its checksum.
    fn encrypt(cipher: &SegmentCipher, place: Place, life: u32, text: &[u8]) -> Bytes {
        let mut buffer = EntryHeader { check: 0, stored_bytes: 0, flags: 2 }.encode().to_vec();
        let (batch, index) = (cipher.batch(life, 7), (place.index, place.term));
        batch.put_entry(index, place.offset, text, &mut buffer, 0).expect("a short text");
        buffer.into()
    }

    fn decrypt(cipher: &SegmentCipher, place: Place, entry: Bytes) -> Result<(u64, Bytes), KeyFault> {
        cipher.decrypt_entry(place.index, place.offset, entry)
    }

    #[test]
    fn an_entry_is_authentic_only_in_its_place() {
        assert_authentic_only_in_its_place(true);
        assert_authentic_only_in_its_place(false);
    }

    fn assert_authentic_only_in_its_place(hides_terms: bool) {
        let cipher_of = |place| cipher(place, hides_terms);
        let cipher = cipher_of(PLACE);
        let entry = encrypt(&cipher, PLACE, 6, b"words");
        assert_eq!(entry.len(), ENTRY_BYTES + ENCRYPTED_BYTES + 5);
        assert_eq!(decrypt(&cipher, PLACE, entry.clone()), Ok((PLACE.term, Bytes::from("words"))));
        let shown = read_u64(&entry, ENTRY_TERM_AT) == Some(PLACE.term);
        assert_ne!(shown, hides_terms);
        let others = [
            Place { journal: 2, ..PLACE },
            Place { sequence: 3, ..PLACE },
            Place { salt: 4, ..PLACE },
            Place { offset: 520, ..PLACE },
            Place { index: 5, ..PLACE },
        ];
        for other in others {
            let decrypted = decrypt(&cipher_of(other), other, entry.clone());
            assert_eq!(decrypted, Err(KeyFault::NotAuthentic), "{other:?}");
        }
        // All but the checksum: the length, the flags, the term, the text and its tag.
        for at in ENTRY_LEN_AT..entry.len() {
            let mut changed = entry.to_vec();
            changed[at] ^= 1;
            assert_eq!(decrypt(&cipher, PLACE, changed.into()), Err(KeyFault::NotAuthentic), "byte {at}");
        }
        for len in 0..ENTRY_BYTES + ENCRYPTED_BYTES {
            assert_eq!(decrypt(&cipher, PLACE, entry.slice(..len)), Err(KeyFault::NotAuthentic), "{len} bytes");
        }
        // A file of the other form has other places for all of it.
        let other = super::SegmentCipher { hides_terms: !hides_terms, ..cipher_of(PLACE) };
        assert_eq!(decrypt(&other, PLACE, entry), Err(KeyFault::NotAuthentic));
    }

    #[test]
    fn more_lives_than_are_kept_are_read_in_any_order() {
        let cipher = cipher(PLACE, true);
        let lives = 0..3 * LIVES_KEPT as u32;
        let stored: Vec<Bytes> = lives.clone().map(|life| encrypt(&cipher, PLACE, life, &life.to_le_bytes())).collect();
        for life in lives.clone().rev().chain(lives) {
            let decrypted = decrypt(&cipher, PLACE, stored[life as usize].clone());
            assert_eq!(decrypted, Ok((PLACE.term, Bytes::copy_from_slice(&life.to_le_bytes()))));
        }
        assert!(cipher.others.read().len() <= LIVES_KEPT);
    }
}
