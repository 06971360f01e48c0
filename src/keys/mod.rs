//! Keys, and all that is done with them: what is derived, encrypted and decrypted. Feature `encryption`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use crate::error::{JournalId, KeyFault};

/// Length of a key, bytes.
pub const KEY_BYTES: usize = 32;
/// Length of what tells one key from another without giving it away, bytes.
pub(crate) const CHECK_BYTES: usize = 16;
/// Length of the tag behind each ciphertext, bytes.
pub(crate) const TAG_BYTES: usize = 16;
/// Length of a nonce, bytes.
pub(crate) const NONCE_BYTES: usize = 12;

/// A 256-bit key. Overwritten with zeros when it is dropped, and shown by no `Debug`.
///
/// It must be random: from a key management service or the operating system's generator, never from a password.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// A key from its bytes. Copies of them that the caller keeps are the caller's to overwrite.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Key {
        Key(Zeroizing::new(bytes))
    }
}

impl From<[u8; KEY_BYTES]> for Key {
    fn from(bytes: [u8; KEY_BYTES]) -> Key {
        Key::new(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Where a journal gets its keys from: each has an id, which stands in the files, and one of them is current.
///
/// Asked when a journal is opened, when a segment is made, and at each commit of the small state; never for an append or
/// a read. It must not call the journal, and it is asked with the journal's locks held: while it waits for a key service,
/// appends and votes do. Have the keys at hand.
pub trait KeyProvider: Send + Sync {
    /// The id of the key for what is written from now on. Never 0, which says in the files that they are not encrypted.
    fn current(&self) -> u32;

    /// The key with this id; `None` if there is none. The same id always means the same key.
    fn key(&self, id: u32) -> Option<Key>;
}

/// Keys that are in memory.
///
/// ```
/// use raft_journal::{Key, KeyProvider, KeyRing};
///
/// // Key 2 is current, key 1 still opens what was written under it.
/// let keys = KeyRing::new(2, Key::new([7; 32])).with(1, Key::new([9; 32]));
/// assert_eq!((keys.current(), keys.key(1).is_some(), keys.key(3).is_some()), (2, true, false));
/// ```
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: u32,
    keys: BTreeMap<u32, Key>,
}

impl KeyRing {
    /// A ring whose one key is the current one.
    pub fn new(current: u32, key: Key) -> KeyRing {
        KeyRing { current, keys: BTreeMap::from([(current, key)]) }
    }

    /// The ring with one more key, which is not the current one unless it replaces that one.
    #[must_use]
    pub fn with(mut self, id: u32, key: Key) -> KeyRing {
        self.keys.insert(id, key);
        self
    }
}

impl KeyProvider for KeyRing {
    fn current(&self) -> u32 {
        self.current
    }

    fn key(&self, id: u32) -> Option<Key> {
        self.keys.get(&id).cloned()
    }
}

/// The keys of a journal.
#[derive(Clone)]
pub(crate) struct Keys(Arc<dyn KeyProvider>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    pub(crate) fn new(provider: Arc<dyn KeyProvider>) -> Keys {
        Keys(provider)
    }

    pub(crate) fn current(&self) -> u32 {
        self.0.current()
    }

    /// What a journal's keys are derived from under the key with this id.
    pub(crate) fn secret(&self, id: u32, journal: JournalId) -> Result<Secret, KeyFault> {
        let key = self.0.key(id).filter(|_| id != 0).ok_or(KeyFault::Unknown)?;
        Ok(Secret(hkdf::Salt::new(hkdf::HKDF_SHA256, &journal.0).extract(&key.0[..])))
    }
}

/// A journal's part of a key: HKDF-SHA256, extracted with the journal's id as the salt. Overwritten when it is dropped.
#[derive(Clone)]
pub(crate) struct Secret(hkdf::Prk);

impl Drop for Secret {
    fn drop(&mut self) {
        overwrite(&mut self.0, hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &[0; KEY_BYTES]));
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The length of what is derived to be compared.
struct CheckBytes;

impl hkdf::KeyType for CheckBytes {
    fn len(&self) -> usize {
        CHECK_BYTES
    }
}

impl Secret {
    /// What tells this key from another one with the same id.
    pub(crate) fn check(&self) -> Result<[u8; CHECK_BYTES], KeyFault> {
        let mut check = [0; CHECK_BYTES];
        let derived = self.0.expand(&[b"raft-journal key check"], CheckBytes);
        derived.and_then(|derived| derived.fill(&mut check)).map_err(|_| KeyFault::Refused)?;
        Ok(check)
    }

    /// The key for what `purpose` names: no two purposes have the same one.
    pub(crate) fn cipher(&self, purpose: &[&[u8]]) -> Result<Cipher, KeyFault> {
        let derived = self.0.expand(purpose, &aead::AES_256_GCM).map_err(|_| KeyFault::Refused)?;
        Ok(Cipher(LessSafeKey::new(UnboundKey::from(derived))))
    }
}

/// AES-256-GCM under one key. Overwritten when it is dropped.
pub(crate) struct Cipher(LessSafeKey);

impl Drop for Cipher {
    fn drop(&mut self) {
        if let Ok(nothing) = UnboundKey::new(&aead::AES_256_GCM, &[0; KEY_BYTES]) {
            overwrite(&mut self.0, LessSafeKey::new(nothing));
        }
    }
}

/// Puts what is nobody's secret in the place of what is. The library that made both leaves its keys where they were when
/// they are dropped; one that is made of zeros has the same shape, and so covers all of the other.
fn overwrite<T>(secret: &mut T, nothing: T) {
    *secret = nothing;
    // What nobody reads any more would not have to be written.
    std::hint::black_box(secret);
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// Encrypts in place, and gives the tag over that and `known`. No nonce twice: see `src/docs/encryption.md`.
    pub(crate) fn encrypt(
        &self,
        nonce: [u8; NONCE_BYTES],
        known: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], KeyFault> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(known), text).map_err(|_| KeyFault::Refused)?;
        tag.as_ref().try_into().map_err(|_| KeyFault::Refused)
    }

    /// Decrypts in place what the tag at its end vouches for.
    pub(crate) fn decrypt(&self, nonce: [u8; NONCE_BYTES], known: &[u8], text: &mut [u8]) -> Result<(), KeyFault> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(known), text).map(drop).map_err(|_| KeyFault::NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: u8, journal: u8) -> Secret {
        let keys = Keys::new(Arc::new(KeyRing::new(1, Key::new([key; KEY_BYTES]))));
        keys.secret(1, JournalId([journal; 16])).expect("a key that is there")
    }

    #[test]
    fn keys_differ_by_key_by_journal_and_by_purpose() {
        let encrypted = |secret: Secret, purpose: &[u8]| {
            let mut text = *b"the same words";
            let cipher = secret.cipher(&[purpose]).expect("a key is derived");
            cipher.encrypt([0; NONCE_BYTES], b"", &mut text).expect("a short text");
            text
        };
        let one = encrypted(secret(1, 1), b"a");
        assert_eq!(one, encrypted(secret(1, 1), b"a"));
        for other in [(2, 1, b"a"), (1, 2, b"a"), (1, 1, b"b")] {
            assert_ne!(one, encrypted(secret(other.0, other.1), other.2), "{other:?}");
        }
        assert_eq!(secret(1, 1).check(), secret(1, 1).check());
        assert_ne!(secret(1, 1).check(), secret(2, 1).check());
        assert_ne!(secret(1, 1).check(), secret(1, 2).check());
    }

    #[test]
    fn nothing_that_was_changed_is_decrypted() {
        let cipher = secret(1, 1).cipher(&[b"a"]).expect("a key is derived");
        let mut text = b"words".to_vec();
        let tag = cipher.encrypt([3; NONCE_BYTES], b"known", &mut text).expect("a short text");
        text.extend(tag);
        let decrypt = |nonce: u8, known: &[u8], mut text: Vec<u8>| {
            cipher.decrypt([nonce; NONCE_BYTES], known, &mut text).map(|()| text[..5].to_vec())
        };
        assert_eq!(decrypt(3, b"known", text.clone()), Ok(b"words".to_vec()));
        assert_eq!(decrypt(4, b"known", text.clone()), Err(KeyFault::NotAuthentic));
        assert_eq!(decrypt(3, b"knows", text.clone()), Err(KeyFault::NotAuthentic));
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert_eq!(decrypt(3, b"known", changed), Err(KeyFault::NotAuthentic), "byte {at}");
        }
        assert_eq!(decrypt(3, b"known", Vec::new()), Err(KeyFault::NotAuthentic));
    }

    #[test]
    fn nothing_shows_a_key() {
        let ring = KeyRing::new(1, Key::new([0xab; KEY_BYTES]));
        let keys = Keys::new(Arc::new(ring.clone()));
        let secret = keys.secret(1, JournalId([0; 16])).expect("a key that is there");
        let cipher = secret.cipher(&[b"a"]).expect("a key is derived");
        let shown = format!("{ring:?} {keys:?} {secret:?} {cipher:?}");
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab"), "{shown}");
    }

    /// What two values, made with two keys, leave in memory when they are dropped, at the places that tell the keys apart.
    #[cfg(target_os = "linux")]
    fn left_of<T>(one: T, other: T) -> [Vec<u8>; 2] {
        use std::os::unix::fs::FileExt;

        let mut held = [Some(one), Some(other)].map(Box::new);
        let memory = std::fs::File::open("/proc/self/mem").expect("the memory of this process");
        let look = |held: &Option<T>| {
            let mut bytes = vec![0; size_of::<Option<T>>()];
            memory.read_exact_at(&mut bytes, std::ptr::from_ref(held).addr() as u64).expect("memory that is there");
            bytes
        };
        let [before, other] = held.each_ref().map(|held| look(held));
        let telling: Vec<usize> = (0..before.len()).filter(|&at| before[at] != other[at]).collect();
        assert!(telling.len() >= KEY_BYTES, "{telling:?}");
        held.iter_mut().for_each(|held| **held = None);
        held.each_ref().map(|held| {
            let bytes = look(held);
            telling.iter().map(|&at| bytes[at]).collect()
        })
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_dropped_leaves_no_key() {
        let [one, other] = left_of(secret(1, 1), secret(2, 1));
        assert_eq!(one, other);
        let cipher = |key| secret(key, 1).cipher(&[b"a"]).expect("a key is derived");
        let [one, other] = left_of(cipher(1), cipher(2));
        assert_eq!(one, other);
        let [one, other] = left_of(Key::new([1; KEY_BYTES]), Key::new([2; KEY_BYTES]));
        assert_eq!(one, other);
    }

    #[test]
    fn there_is_no_key_zero() {
        let keys = Keys::new(Arc::new(KeyRing::new(0, Key::new([1; KEY_BYTES]))));
        assert!(matches!(keys.secret(0, JournalId([0; 16])), Err(KeyFault::Unknown)));
    }
}
