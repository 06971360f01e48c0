//! The pairs of `meta` and the terms in it, encrypted: each commit under a key of its own.

use std::collections::BTreeMap;

use byteorder::{ByteOrder, LittleEndian};
use bytes::{Buf, Bytes, BytesMut};

use super::State;
use super::format::{
    ENCRYPTED_KEY_CHECK_AT, ENCRYPTED_RANDOM_AT, ENCRYPTED_TEXT_AT, HIDDEN_BYTES, HIDDEN_LAST_TERM_AT,
    HIDDEN_PURGED_TERM_AT, LEN_AT, parse_pairs,
};
use crate::error::KeyFault;
use crate::keys::{CHECK_BYTES, Cipher, Keys, NONCE_BYTES, Secret, TAG_BYTES};

/// Length of what is drawn for each commit that is tried.
const RANDOM_BYTES: usize = ENCRYPTED_KEY_CHECK_AT - ENCRYPTED_RANDOM_AT;

/// What encrypts the pairs of one commit.
pub(crate) struct PairsCipher {
    pub(crate) key_id: u32,
    pub(crate) random: [u8; RANDOM_BYTES],
    pub(crate) key_check: [u8; CHECK_BYTES],
    cipher: Cipher,
}

impl PairsCipher {
    /// The key for `state` under the current one. `random` is drawn for each commit that is tried: one that failed may
    /// come again with the same generation, in the same life, and other pairs.
    pub(crate) fn new(keys: &Keys, state: &State, random: [u8; RANDOM_BYTES]) -> Result<Self, (u32, KeyFault)> {
        let key_id = keys.current();
        let derive = || {
            let secret = keys.secret(key_id, state.journal_id)?;
            let cipher = cipher(&secret, state, &random, true)?;
            Ok(PairsCipher { key_id, random, key_check: secret.check()?, cipher })
        };
        derive().map_err(|fault| (key_id, fault))
    }

    /// Encrypts in place; the tag vouches for what is `known`, too.
    pub(crate) fn encrypt(&self, known: &[u8], text: &mut [u8]) -> Result<[u8; TAG_BYTES], KeyFault> {
        self.cipher.encrypt(NONCE, known, text)
    }
}

/// Each key encrypts one text, so the nonce need not differ.
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// The key of one commit. That of a text which begins with terms is another one: what nothing authenticates, the version in
/// front of it, must not say how it is read.
fn cipher(secret: &Secret, state: &State, random: &[u8], hides_terms: bool) -> Result<Cipher, KeyFault> {
    let purpose: &[u8] = if hides_terms { b"raft-journal meta with terms" } else { b"raft-journal meta" };
    secret.cipher(&[purpose, &state.generation.to_le_bytes(), &state.life.to_le_bytes(), random])
}

/// Pairs that were read and not yet decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Encrypted {
    pub(crate) key_id: u32,
    /// How many there are.
    pub(crate) count: u32,
    /// All of the copy.
    pub(crate) content: Bytes,
    /// Where in it they begin.
    pub(crate) at: usize,
    /// Whether the state's terms stand before them.
    pub(crate) hides_terms: bool,
}

/// What was decrypted.
struct Decrypted {
    /// The last term at the mark, and the purged position's, where they were encrypted.
    terms: Option<(u64, u64)>,
    pairs: BTreeMap<Bytes, Bytes>,
}

impl Encrypted {
    fn decrypt(&self, state: &State, keys: &Keys) -> Result<Decrypted, KeyFault> {
        let secret = keys.secret(self.key_id, state.journal_id)?;
        let text_at = self.at + ENCRYPTED_TEXT_AT;
        let head = self.content.get(self.at..text_at).ok_or(KeyFault::NotAuthentic)?;
        let (random, key_check) = (&head[ENCRYPTED_RANDOM_AT..ENCRYPTED_KEY_CHECK_AT], &head[ENCRYPTED_KEY_CHECK_AT..]);
        if secret.check()? != key_check {
            return Err(KeyFault::Wrong);
        }
        let mut text = BytesMut::from(&self.content[text_at..]);
        cipher(&secret, state, random, self.hides_terms)?.decrypt(NONCE, &self.content[LEN_AT..text_at], &mut text)?;
        text.truncate(text.len().saturating_sub(TAG_BYTES));
        let terms = if self.hides_terms { Some(take_terms(&mut text).ok_or(KeyFault::NotAuthentic)?) } else { None };
        let pairs = parse_pairs(text.freeze(), self.count).ok_or(KeyFault::NotAuthentic)?;
        Ok(Decrypted { terms, pairs })
    }
}

/// The terms that a text begins with.
fn take_terms(text: &mut BytesMut) -> Option<(u64, u64)> {
    let term_at = |at: usize| text.get(at..at + 8).map(LittleEndian::read_u64);
    let terms = term_at(HIDDEN_LAST_TERM_AT).zip(term_at(HIDDEN_PURGED_TERM_AT))?;
    text.advance(HIDDEN_BYTES);
    Some(terms)
}

impl State {
    /// Decrypts the pairs and the terms. The journal is encrypted, or it is not: what the keys say must be so.
    pub(crate) fn unlock(mut self, keys: Option<&Keys>) -> Result<State, (u32, KeyFault)> {
        match (self.encrypted.take(), keys) {
            (None, None) => {}
            (None, Some(_)) => return Err((0, KeyFault::NotEncrypted)),
            (Some(encrypted), None) => return Err((encrypted.key_id, KeyFault::NoKeys)),
            (Some(encrypted), Some(keys)) => {
                let Decrypted { terms, pairs } =
                    encrypted.decrypt(&self, keys).map_err(|fault| (encrypted.key_id, fault))?;
                self.pairs = pairs;
                if let Some((last, purged)) = terms {
                    self.mark.last_term = last;
                    self.purged.iter_mut().for_each(|position| position.term = purged);
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
#[cfg(feature = "encryption")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Key, KeyRing};
    use crate::meta::format::tests::state;
    use crate::meta::format::{encode_encrypted, parse};

    #[test]
    fn an_encrypted_state_comes_back_and_shows_no_term() {
        let keys = Keys::new(Arc::new(KeyRing::new(1, Key::new([9; 32]))));
        let (last, purged) = (0x1f2e_3d4c_5b6a_7988, 0x2f2e_3d4c_5b6a_7988);
        let mut state = state(7);
        state.mark.last_term = last;
        state.purged.iter_mut().for_each(|position| position.term = purged);
        for state in [State { purged: None, ..state.clone() }, state] {
            let cipher = PairsCipher::new(&keys, &state, [3; RANDOM_BYTES]).expect("a key that is there");
            let bytes = encode_encrypted(&state, &cipher).expect("a short text");
            let shows = |term: u64| bytes.windows(8).any(|found| found == term.to_le_bytes());
            assert!(!shows(last) && !shows(purged));
            let locked = parse(&bytes).expect("a state that was just encoded");
            assert_eq!((locked.mark.last_term, locked.pairs.len()), (0, 0));
            assert_eq!(locked.unlock(Some(&keys)), Ok(state));
        }
    }
}
