//! Bytes in, bytes out: checksums and compression.

pub(crate) mod crc;
pub(crate) mod lz4;
