//! A digest of a range of entries, to hold one replica against another.

use std::fmt;
use std::ops::Range;

use twox_hash::XxHash3_128;

use crate::entry::Entry;
use crate::error::Result;
use crate::log_store::LogStore;

/// How much is read at a time, bytes.
const READ_BYTES: u64 = 1 << 20;

/// A digest of entries by index, term and data: two replicas whose entries are the same have the same one, however each
/// stores them (files, batches, compression). It says nothing of what is committed; compare ranges that are.
///
/// It is a sum, so it can be kept running: each entry that comes is [added](Self::add), one that a leader takes back is
/// [taken out](Self::remove), neighbouring ranges are [joined](Self::join), and the digest of a purged head is
/// [split off](Self::split). Nothing has to be read again for any of that.
///
/// # How sure it is
///
/// Each entry's index, term and data are hashed with XXH3 to 128 bits, and the hashes are added up modulo 2^128. Entries that
/// differ by accident (a bug, a bad disk, a lost write) have the same digest with a probability of about 2^-128, however many
/// they are. It is deliberately not the CRC-32 of the files: a change that happens to keep an entry's checksum would keep a
/// digest of the same kind, too, whatever its salt. It is **no defence against an adversary**: who may choose payloads can make
/// two logs with one digest, as with any sum of this width, were the hash ever so strong.
///
/// ```
/// use raft_journal::{Entry, LogStore, MemoryStore, RangeDigest};
///
/// # fn main() -> Result<(), raft_journal::Error> {
/// let (leader, follower) = (MemoryStore::new(), MemoryStore::new());
/// leader.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y"), Entry::new(3, 1, "set z")])?;
/// follower.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y"), Entry::new(3, 1, "set Z")])?;
///
/// let running = RangeDigest::of(&leader, 1..2)?.join(RangeDigest::of(&leader, 2..4)?);
/// assert_eq!(running, RangeDigest::of(&leader, 1..4)?);
/// assert_ne!(running, RangeDigest::of(&follower, 1..4)?);
/// assert_eq!(RangeDigest::of(&leader, 1..3)?, RangeDigest::of(&follower, 1..3)?);
/// let received = RangeDigest::from_bytes(running.to_bytes()); // as it goes over a network
/// assert_eq!(received, running);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[must_use]
pub struct RangeDigest {
    entries: u64,
    sum: u128,
}

impl RangeDigest {
    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub const BYTES: usize = 24;

    /// The digest of no entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The digest of a half-open range of a store's entries, as its readers get them.
    ///
    /// # Errors
    ///
    /// Those of [`LogStore::entries`]: the range must lie within the log, and every entry of it must be readable.
    pub fn of<S: LogStore + ?Sized>(store: &S, range: Range<u64>) -> Result<Self> {
        let (mut digest, mut next) = (Self::new(), range.start);
        // An empty or a backward range is for the store to judge.
        loop {
            let entries = store.entries(next..range.end, READ_BYTES)?;
            let Some(last) = entries.last() else { return Ok(digest) };
            next = last.index + 1;
            entries.iter().for_each(|entry| digest.add(entry));
            if next >= range.end {
                return Ok(digest);
            }
        }
    }

    /// Adds an entry that the digest does not have yet.
    pub fn add(&mut self, entry: &Entry) {
        *self = self.join(Self::of_entry(entry));
    }

    /// Takes an entry out that the digest has.
    pub fn remove(&mut self, entry: &Entry) {
        *self = self.split(Self::of_entry(entry));
    }

    /// The digest of these entries and of others, none of which is among these.
    pub fn join(self, other: RangeDigest) -> Self {
        let entries = self.entries.wrapping_add(other.entries);
        RangeDigest { entries, sum: self.sum.wrapping_add(other.sum) }
    }

    /// The digest of these entries without others, all of which are among these.
    pub fn split(self, other: RangeDigest) -> Self {
        let entries = self.entries.wrapping_sub(other.entries);
        RangeDigest { entries, sum: self.sum.wrapping_sub(other.sum) }
    }

    /// How many entries it is of.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The digest in a form that stays the same from version to version and from machine to machine.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.entries.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_le_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut entries, mut sum) = ([0; 8], [0; 16]);
        entries.copy_from_slice(&bytes[..8]);
        sum.copy_from_slice(&bytes[8..]);
        RangeDigest { entries: u64::from_le_bytes(entries), sum: u128::from_le_bytes(sum) }
    }

    fn of_entry(entry: &Entry) -> Self {
        // First the data alone, then what it comes to behind its place: nothing is copied, and no two fields run together.
        let mut head = [0; 32];
        head[..8].copy_from_slice(&entry.index.to_le_bytes());
        head[8..16].copy_from_slice(&entry.term.to_le_bytes());
        head[16..].copy_from_slice(&XxHash3_128::oneshot(&entry.data).to_le_bytes());
        RangeDigest { entries: 1, sum: XxHash3_128::oneshot(&head) }
    }
}

impl fmt::Display for RangeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} of {} entries", self.sum, self.entries)
    }
}
