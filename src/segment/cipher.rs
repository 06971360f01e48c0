//! Entries encrypted, each for its place: journal, segment, life and offset, index and term.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes, BytesMut};

use super::format::{
    ENCRYPTED_BYTES, ENCRYPTED_LIFE_AT, ENCRYPTED_RANDOM_AT, ENCRYPTED_TEXT_AT, ENTRY_BYTES, ENTRY_LEN_AT, read_u32,
    read_u64,
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
    /// The key of the life that was asked for first, most often the only one: read without a lock.
    first: OnceLock<(u32, Cipher)>,
    others: RwLock<Vec<(u32, Arc<Cipher>)>>,
}

impl SegmentCipher {
    pub(crate) fn new(secret: Secret, sequence: u64, salt: u64) -> SegmentCipher {
        SegmentCipher { secret, sequence, salt, first: OnceLock::new(), others: RwLock::new(Vec::new()) }
    }

    fn derive(&self, life: u32) -> Result<Cipher, KeyFault> {
        #[cfg(mutate)]
        let life = if mutate::is(Mutation::KeyWithoutLife) { 0 } else { life };
        let (sequence, salt) = (self.sequence.to_le_bytes(), self.salt.to_le_bytes());
        self.secret.cipher(&[b"raft-journal segment", &sequence, &salt, &life.to_le_bytes()])
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

    /// What encrypts the entries of one batch. `random` is drawn anew for each batch that is tried, written or not.
    pub(crate) fn batch(&self, life: u32, random: u64) -> BatchCipher<'_> {
        BatchCipher { cipher: self, life, random }
    }

    /// The payload as it was stored before it was encrypted. `header` is the entry's own, `stored` what follows it.
    pub(crate) fn decrypt(&self, index: u64, offset: u32, header: &[u8], stored: Bytes) -> Result<Bytes, KeyFault> {
        let Prefix { life, random } = Prefix::parse(&stored).ok_or(KeyFault::NotAuthentic)?;
        let text_bytes = stored.len().checked_sub(ENCRYPTED_BYTES).ok_or(KeyFault::NotAuthentic)?;
        // In place where these bytes are nobody else's.
        let mut text = stored.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        text.advance(ENCRYPTED_TEXT_AT);
        let known = known(index, header);
        self.with(life, |cipher| cipher.decrypt(nonce(offset, random), &known, &mut text))?;
        text.truncate(text_bytes);
        Ok(text.freeze())
    }
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

/// Encrypts the entries of one batch.
#[derive(Clone, Copy)]
pub(crate) struct BatchCipher<'a> {
    cipher: &'a SegmentCipher,
    life: u32,
    random: u64,
}

impl BatchCipher<'_> {
    /// Puts a payload, encrypted, behind its entry's header, which begins at `start` of the buffer and will stand at
    /// `offset` of the file.
    pub(crate) fn put(
        &self,
        index: u64,
        offset: u32,
        payload: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), KeyFault> {
        let known = known(index, buffer.get(start..).unwrap_or_default());
        buffer.extend_from_slice(&self.life.to_le_bytes());
        buffer.extend_from_slice(&self.random.to_le_bytes());
        let text = buffer.len();
        buffer.extend_from_slice(payload);
        let nonce = nonce(offset, self.random);
        let tag = self.cipher.with(self.life, |cipher| cipher.encrypt(nonce, &known, &mut buffer[text..]))?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }
}

/// What is authenticated with a payload beside what its key and nonce are made of: the index, and all of the entry's
/// header but its checksum.
fn known(index: u64, header: &[u8]) -> [u8; 8 + ENTRY_BYTES - ENTRY_LEN_AT] {
    let mut known = [0; 8 + ENTRY_BYTES - ENTRY_LEN_AT];
    known[..8].copy_from_slice(&index.to_le_bytes());
    if let Some(header) = header.get(ENTRY_LEN_AT..ENTRY_BYTES) {
        known[8..].copy_from_slice(header);
    }
    known
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

    fn cipher(place: Place) -> SegmentCipher {
        let keys = Keys::new(Arc::new(KeyRing::new(1, Key::new([9; 32]))));
        let secret = keys.secret(1, JournalId([place.journal; 16])).expect("a key that is there");
        SegmentCipher::new(secret, place.sequence, place.salt)
    }

    fn header(place: Place) -> [u8; ENTRY_BYTES] {
        EntryHeader { check: 0, stored_bytes: 0, flags: 2, term: place.term }.encode()
    }

    fn encrypt(cipher: &SegmentCipher, place: Place, life: u32, text: &[u8]) -> Bytes {
        let mut buffer = header(place).to_vec();
        cipher.batch(life, 7).put(place.index, place.offset, text, &mut buffer, 0).expect("a short text");
        Bytes::from(buffer).split_off(ENTRY_BYTES)
    }

    fn decrypt(place: Place, stored: Bytes) -> Result<Bytes, KeyFault> {
        cipher(place).decrypt(place.index, place.offset, &header(place), stored)
    }

    #[test]
    fn an_entry_is_authentic_only_in_its_place() {
        let stored = encrypt(&cipher(PLACE), PLACE, 6, b"words");
        assert_eq!(decrypt(PLACE, stored.clone()).as_deref(), Ok(&b"words"[..]));
        let others = [
            Place { journal: 2, ..PLACE },
            Place { sequence: 3, ..PLACE },
            Place { salt: 4, ..PLACE },
            Place { offset: 520, ..PLACE },
            Place { index: 5, ..PLACE },
            Place { term: 6, ..PLACE },
        ];
        for other in others {
            assert_eq!(decrypt(other, stored.clone()), Err(KeyFault::NotAuthentic), "{other:?}");
        }
        for at in 0..stored.len() {
            let mut changed = stored.to_vec();
            changed[at] ^= 1;
            assert_eq!(decrypt(PLACE, changed.into()), Err(KeyFault::NotAuthentic), "byte {at}");
        }
        for len in 0..ENCRYPTED_BYTES {
            assert_eq!(decrypt(PLACE, stored.slice(..len)), Err(KeyFault::NotAuthentic), "{len} bytes");
        }
    }

    #[test]
    fn more_lives_than_are_kept_are_read_in_any_order() {
        let cipher = cipher(PLACE);
        let lives = 0..3 * LIVES_KEPT as u32;
        let stored: Vec<Bytes> = lives.clone().map(|life| encrypt(&cipher, PLACE, life, &life.to_le_bytes())).collect();
        for life in lives.clone().rev().chain(lives) {
            let text = cipher.decrypt(PLACE.index, PLACE.offset, &header(PLACE), stored[life as usize].clone());
            assert_eq!(text.as_deref(), Ok(&life.to_le_bytes()[..]));
        }
        assert!(cipher.others.read().len() <= LIVES_KEPT);
    }
}
