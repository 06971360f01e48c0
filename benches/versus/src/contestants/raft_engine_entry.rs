//! A Raft entry as raft-engine wants it: a protobuf message with the fields that raft-rs uses, written by hand so that
//! no protobuf compiler is needed.

use std::any::Any;
use std::sync::LazyLock;

use protobuf::reflect::MessageDescriptor;
use protobuf::rt::value_size;
use protobuf::wire_format::WireType;
use protobuf::{CachedSize, Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields};

const TERM_FIELD: u32 = 2;
const INDEX_FIELD: u32 = 3;
const DATA_FIELD: u32 = 4;

/// An entry.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entry {
    term: u64,
    /// Where it stands in the log.
    pub index: u64,
    /// Its payload.
    pub data: Vec<u8>,
    unknown: UnknownFields,
    size: CachedSize,
}

impl Entry {
    /// An entry of term 1.
    pub fn new(index: u64, data: &[u8]) -> Entry {
        Entry { term: 1, index, data: data.to_vec(), ..Entry::default() }
    }
}

impl Clear for Entry {
    fn clear(&mut self) {
        *self = Entry::default();
    }
}

impl Message for Entry {
    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("only reflection and messages with required fields ask for it")
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, stream: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !stream.eof()? {
            let (field, wire_type) = stream.read_tag_unpack()?;
            match (field, wire_type) {
                (TERM_FIELD, WireType::WireTypeVarint) => self.term = stream.read_uint64()?,
                (INDEX_FIELD, WireType::WireTypeVarint) => self.index = stream.read_uint64()?,
                (DATA_FIELD, WireType::WireTypeLengthDelimited) => self.data = stream.read_bytes()?,
                _ => stream.skip_field(wire_type)?,
            }
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, stream: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        stream.write_uint64(TERM_FIELD, self.term)?;
        stream.write_uint64(INDEX_FIELD, self.index)?;
        stream.write_bytes(DATA_FIELD, &self.data)
    }

    fn compute_size(&self) -> u32 {
        let size = value_size(TERM_FIELD, self.term, WireType::WireTypeVarint)
            + value_size(INDEX_FIELD, self.index, WireType::WireTypeVarint)
            + protobuf::rt::bytes_size(DATA_FIELD, &self.data);
        self.size.set(size);
        size
    }

    fn get_cached_size(&self) -> u32 {
        self.size.get()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> Entry {
        Entry::default()
    }

    fn default_instance() -> &'static Entry {
        static DEFAULT: LazyLock<Entry> = LazyLock::new(Entry::default);
        &DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_its_encoding() -> ProtobufResult<()> {
        let entry = Entry::new(300, b"payload");
        let bytes = entry.write_to_bytes()?;
        assert_eq!(Entry::parse_from_bytes(&bytes)?, entry);
        Ok(())
    }
}
