//! How raft-rs's values become bytes: as the protobuf messages that they are, with either codec the same bytes.
//!
//! No message begins with a zero byte, because no field has the number 0: whatever encoding may come later starts with
//! one.

use protobuf::Message;

use super::error::{Error, Result};
use crate::entry::{Entry, Position};

pub(super) fn position(entry: &raft::eraftpb::Entry) -> Position {
    Position::new(entry.index, entry.term)
}

pub(super) fn encode(message: &impl Message, what: impl FnOnce() -> String) -> Result<Vec<u8>> {
    message.write_to_bytes().map_err(|error| Error::Encode { what: what(), why: error.to_string() })
}

pub(super) fn decode<M: Message>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<M> {
    if bytes.first() == Some(&0) {
        return Err(Error::Decode { what: what(), why: "this build does not know its encoding".to_owned() });
    }
    let mut message = M::new();
    match message.merge_from_bytes(bytes) {
        Ok(()) => Ok(message),
        Err(error) => Err(Error::Decode { what: what(), why: error.to_string() }),
    }
}

/// The name that errors know a key by.
pub(super) fn key_name(key: &[u8]) -> String {
    format!("the value of `{}`", String::from_utf8_lossy(key))
}

pub(super) fn encode_entry(entry: &raft::eraftpb::Entry) -> Result<Entry> {
    let at = position(entry);
    let data = encode(entry, || format!("the entry at {at}"))?;
    Ok(Entry::new(at.index, at.term, data))
}

pub(super) fn decode_entry(entry: &Entry) -> Result<raft::eraftpb::Entry> {
    let found = entry.position();
    let decoded: raft::eraftpb::Entry = decode(&entry.data, || format!("the entry at {found}"))?;
    match position(&decoded) {
        inside if inside == found => Ok(decoded),
        inside => Err(Error::OtherEntry { found, inside }),
    }
}
