//! Named positions: how far each part of a replica has come, and the lowest of them.

use std::collections::BTreeMap;
use std::fmt;

use byteorder::{ByteOrder, LittleEndian};

use super::error::{ReplicaError, Result};

/// The most bytes of a consumer's name.
const NAME_BYTES_MAX: usize = 64;

const APPLIED: u8 = 0;
const SNAPSHOTTED: u8 = 1;
const CONSUMER: u8 = 2;

/// Whose position.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PositionName {
    /// The last entry that the state machine has applied.
    Applied,
    /// The last entry that a durable snapshot covers.
    Snapshotted,
    /// The last entry that a registered reader of the log has done with.
    Consumer(String),
}

impl PositionName {
    /// A consumer's.
    pub fn consumer(name: impl Into<String>) -> Self {
        PositionName::Consumer(name.into())
    }

    /// Checks what is to become a consumer's name.
    pub(super) fn check(self) -> Result<Self> {
        match &self {
            PositionName::Consumer(name) if name.is_empty() || name.len() > NAME_BYTES_MAX => {
                Err(ReplicaError::ConsumerName { name: name.clone() })
            }
            _ => Ok(self),
        }
    }

    fn parts(&self) -> (u8, &str) {
        match self {
            PositionName::Applied => (APPLIED, ""),
            PositionName::Snapshotted => (SNAPSHOTTED, ""),
            PositionName::Consumer(name) => (CONSUMER, name),
        }
    }
}

impl fmt::Display for PositionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PositionName::Applied => f.write_str("applied"),
            PositionName::Snapshotted => f.write_str("snapshotted"),
            PositionName::Consumer(name) => write!(f, "consumer {name:?}"),
        }
    }
}

/// Positions by their names; none where nothing was acknowledged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Positions(BTreeMap<PositionName, Option<u64>>);

impl Positions {
    /// A log without consumers.
    pub(super) fn new(start: Option<u64>) -> Self {
        Positions([(PositionName::Applied, start), (PositionName::Snapshotted, start)].into())
    }

    pub(super) fn all(&self) -> &BTreeMap<PositionName, Option<u64>> {
        &self.0
    }

    pub(super) fn position(&self, name: &PositionName) -> Result<Option<u64>> {
        let unknown = || ReplicaError::UnknownConsumer { name: name.parts().1.to_owned() };
        self.0.get(name).copied().ok_or_else(unknown)
    }

    /// The lowest position, and whose it is.
    pub(super) fn lowest(&self) -> Option<(&PositionName, Option<u64>)> {
        self.0.iter().map(|(name, position)| (name, *position)).min_by_key(|(_, position)| *position)
    }

    pub(super) fn set(&mut self, name: PositionName, position: Option<u64>) {
        self.0.insert(name, position);
    }

    pub(super) fn remove(&mut self, name: &PositionName) {
        self.0.remove(name);
    }

    /// Changes all of them.
    pub(super) fn map(&mut self, change: impl Fn(Option<u64>) -> Option<u64>) {
        self.0.values_mut().for_each(|position| *position = change(*position));
    }

    /// One after the other: a kind, the length of a name and the name, whether there is a position, and that.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.0.len() as u32).to_le_bytes().to_vec();
        for (name, position) in &self.0 {
            let (kind, text) = name.parts();
            bytes.extend([kind, text.len().min(NAME_BYTES_MAX) as u8]);
            bytes.extend(text.bytes().take(NAME_BYTES_MAX));
            bytes.push(u8::from(position.is_some()));
            bytes.extend(position.unwrap_or(0).to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (count, mut bytes) = bytes.split_first_chunk().ok_or("their count is cut short")?;
        let mut positions = BTreeMap::new();
        while let [kind, len, rest @ ..] = bytes {
            let (text, rest) = rest.split_at_checked(usize::from(*len)).ok_or("a name is cut short")?;
            let (place, rest) = rest.split_at_checked(9).ok_or("a position is cut short")?;
            let text = std::str::from_utf8(text).map_err(|_| "a name is no text")?;
            let name = match *kind {
                APPLIED => PositionName::Applied,
                SNAPSHOTTED => PositionName::Snapshotted,
                CONSUMER => PositionName::consumer(text),
                _ => return Err("a kind of position that this build does not know"),
            };
            let position = match place {
                [1, index @ ..] => Some(LittleEndian::read_u64(index)),
                [0, ..] => None,
                _ => return Err("a position is neither there nor absent"),
            };
            positions.insert(name, position);
            bytes = rest;
        }
        match bytes {
            [] if positions.len() as u64 != u64::from(u32::from_le_bytes(*count)) => {
                Err("there are not as many as it says")
            }
            [] if positions.contains_key(&PositionName::Applied)
                && positions.contains_key(&PositionName::Snapshotted) =>
            {
                Ok(Positions(positions))
            }
            [] => Err("a position that is always there is missing"),
            _ => Err("a name is cut short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_every_cut_of_them_is_told() {
        let mut positions = Positions::new(None);
        positions.set(PositionName::Applied, Some(u64::MAX - 1));
        positions.set(PositionName::consumer("índice"), Some(0));
        let bytes = positions.encode();
        assert_eq!(Positions::decode(&bytes), Ok(positions));
        for len in 0..bytes.len() {
            assert!(Positions::decode(&bytes[..len]).is_err(), "{len}");
        }
        for (at, wrong) in [(0, 9), (4, 9), (6, 7)] {
            let mut bytes = bytes.clone();
            bytes[at] = wrong;
            assert!(Positions::decode(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn nothing_acknowledged_is_the_lowest_of_all() {
        let mut positions = Positions::new(Some(7));
        assert_eq!(positions.lowest(), Some((&PositionName::Applied, Some(7))));
        positions.set(PositionName::Snapshotted, Some(3));
        assert_eq!(positions.lowest(), Some((&PositionName::Snapshotted, Some(3))));
        let consumer = PositionName::consumer("index");
        positions.set(consumer.clone(), None);
        assert_eq!(positions.lowest(), Some((&consumer, None)));
    }
}
