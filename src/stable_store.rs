//! The small state of a Raft node, term and vote above all, as a trait.

use bytes::Bytes;

use crate::entry::Position;
use crate::error::{Error, Result};

/// The most bytes of one value.
pub const VALUE_BYTES_MAX: usize = 4096;
/// The most bytes of one key.
pub const KEY_BYTES_MAX: usize = 255;

/// Changes that become durable together, or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "changes do nothing until they are committed"]
pub struct Changes {
    pairs: Vec<(Bytes, Option<Bytes>)>,
    truncate_head: Option<Position>,
}

impl Changes {
    /// No change yet.
    pub fn new() -> Self {
        Changes::default()
    }

    /// Sets `key` to `value`. A later change of the same key wins.
    pub fn set(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pairs.push((Bytes::copy_from_slice(key.as_ref()), Some(Bytes::copy_from_slice(value.as_ref()))));
        self
    }

    /// Sets `key` to a number, as [`StableStore::get_u64`] reads it.
    pub fn set_u64(self, key: impl AsRef<[u8]>, value: u64) -> Self {
        self.set(key, value.to_le_bytes())
    }

    /// Removes `key`.
    pub fn remove(mut self, key: impl AsRef<[u8]>) -> Self {
        self.pairs.push((Bytes::copy_from_slice(key.as_ref()), None));
        self
    }

    /// Truncates the head of the log in the same step, as [`LogStore::truncate_head`](crate::LogStore::truncate_head)
    /// does: installing a snapshot is one commit.
    pub fn truncate_head(mut self, position: Position) -> Self {
        self.truncate_head = Some(position);
        self
    }

    /// The pairs to change, in order; `None` removes.
    pub fn pairs(&self) -> &[(Bytes, Option<Bytes>)] {
        &self.pairs
    }

    /// The head truncation, if one was asked for.
    pub fn head(&self) -> Option<Position> {
        self.truncate_head
    }

    /// Checks every key and value against its bound.
    ///
    /// # Errors
    ///
    /// [`Error::ValueTooLarge`].
    pub fn check(&self) -> Result<()> {
        self.pairs.iter().try_for_each(|(key, value)| {
            check_size("key", key, key.len(), KEY_BYTES_MAX)?;
            check_size("value", key, value.as_ref().map_or(0, Bytes::len), VALUE_BYTES_MAX)
        })
    }
}

fn check_size(what: &'static str, key: &[u8], bytes: usize, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let (bytes, bytes_max) = (bytes as u64, bytes_max as u64);
    Err(Error::ValueTooLarge { what, key: key_text(key), bytes, bytes_max })
}

/// A key as errors show it.
pub(crate) fn key_text(key: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(key).into_owned();
    if let Some((cut, _)) = text.char_indices().nth(64) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// The small state of a Raft node: term, vote, and what else must never be lost or torn apart.
///
/// Values are at most 4 KiB, keys at most 255 bytes, and a store has a bound for its total. The trait is
/// object-safe.
pub trait StableStore: Send + Sync {
    /// The value of `key`, from memory.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Makes several changes durable in one commit, together with a head truncation when asked. A commit that changes
    /// something first makes all appends issued before it durable, so it is a barrier too; one without changes, or with a
    /// head truncation alone that is done already, does nothing.
    ///
    /// # Errors
    ///
    /// Nothing changes for [`Error::ValueTooLarge`], [`Error::StoreFull`] and the errors of
    /// [`LogStore::truncate_head`](crate::LogStore::truncate_head), nor for [`Error::Key`] where a key is missing. A
    /// failure of the disk, a full one included, is [`Error::Poisoned`]: the changes may or may not be there when the journal
    /// is opened next. [`Error::Closed`], [`Error::ReadOnly`], and [`Error::BlockingCallInCallback`] in a durability callback.
    fn commit(&self, changes: &Changes) -> Result<()>;

    /// Sets `key`; durable when it returns.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.commit(&Changes::new().set(key, value))
    }

    /// Sets `key` in memory; it reaches the disk with the next commit, at the latest at close, and never before the entries
    /// that were appended before it. For state that may be lost, such as Raft's commit index.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes `key`; durable when it returns.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.commit(&Changes::new().remove(key))
    }

    /// The number that [`set_u64`](Self::set_u64) stored under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::NotU64`] when the value is something else.
    fn get_u64(&self, key: &[u8]) -> Result<Option<u64>> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        let bytes =
            value.as_ref().try_into().map_err(|_| Error::NotU64 { key: key_text(key), bytes: value.len() as u64 })?;
        Ok(Some(u64::from_le_bytes(bytes)))
    }

    /// Sets `key` to a number; durable when it returns.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    fn set_u64(&self, key: &[u8], value: u64) -> Result<()> {
        self.set(key, &value.to_le_bytes())
    }
}
