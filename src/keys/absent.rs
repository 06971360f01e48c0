//! What stands in for keys in a build without the feature `encryption`: types without values, so that nothing of what
//! they do is left in it.

use std::convert::Infallible;

use crate::error::{JournalId, KeyFault};

pub(crate) const CHECK_BYTES: usize = 16;
pub(crate) const TAG_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = 12;

#[derive(Clone, Debug)]
pub(crate) struct Keys(Infallible);

#[derive(Clone, Debug)]
pub(crate) struct Secret(Infallible);

#[derive(Debug)]
pub(crate) struct Cipher(Infallible);

impl Keys {
    pub(crate) fn current(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn secret(&self, _: u32, _: JournalId) -> Result<Secret, KeyFault> {
        match self.0 {}
    }
}

impl Secret {
    pub(crate) fn check(&self) -> Result<[u8; CHECK_BYTES], KeyFault> {
        match self.0 {}
    }

    pub(crate) fn cipher(&self, _: &[&[u8]]) -> Result<Cipher, KeyFault> {
        match self.0 {}
    }
}

impl Cipher {
    pub(crate) fn encrypt(&self, _: [u8; NONCE_BYTES], _: &[u8], _: &mut [u8]) -> Result<[u8; TAG_BYTES], KeyFault> {
        match self.0 {}
    }

    pub(crate) fn decrypt(&self, _: [u8; NONCE_BYTES], _: &[u8], _: &mut [u8]) -> Result<(), KeyFault> {
        match self.0 {}
    }
}
