//! Entries encrypted, each for its place: journal, segment, life and offset, index and term.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes, BytesMut};

use super::format::{
    ENCRYPTED_BYTES, ENCRYPTED_LIFE_AT, ENCRYPTED_RANDOM_AT, ENCRYPTED_TEXT_AT, ENTRY_BYTES, ENTRY_LEN_AT, read_u32,
    read_u64,
};
use crate::error::KeyFault;
use crate::keys::{Cipher, NONCE_BYTES, Secret};
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
        let life = read_u32(&stored, ENCRYPTED_LIFE_AT).ok_or(KeyFault::NotAuthentic)?;
        let random = read_u64(&stored, ENCRYPTED_RANDOM_AT).ok_or(KeyFault::NotAuthentic)?;
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
