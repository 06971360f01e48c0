//! What a segment has before each entry, and before each batch.

pub const ENTRY_HEADER_BYTES: usize = 20;
pub const BATCH_HEADER_BYTES: usize = 72;
