//! LZ4 blocks behind their raw length.

use byteorder::{ByteOrder, LittleEndian};

/// The raw length stands before the block, 32 bits little-endian.
const RAW_LEN_BYTES: usize = 4;
/// LZ4 spends at least one byte on 255 bytes of output: no honest block says more.
const RATIO_MAX: usize = 255;

/// The compressed form of `data`, or nothing when it would not be smaller.
pub(crate) fn compress(data: &[u8]) -> Option<Vec<u8>> {
    let raw_len = u32::try_from(data.len()).ok()?;
    let mut stored = vec![0; RAW_LEN_BYTES + lz4_flex::block::get_maximum_output_size(data.len())];
    let (head, block) = stored.split_at_mut(RAW_LEN_BYTES);
    LittleEndian::write_u32(head, raw_len);
    let block_len = lz4_flex::block::compress_into(data, block).ok()?;
    stored.truncate(RAW_LEN_BYTES + block_len);
    (stored.len() < data.len()).then_some(stored)
}

/// What `stored` was made of; nothing when it is no block of [`compress`]. Allocates no more than the block can
/// honestly hold.
pub(crate) fn decompress(stored: &[u8]) -> Option<Vec<u8>> {
    let (head, block) = stored.split_at_checked(RAW_LEN_BYTES)?;
    let raw_len = usize::try_from(LittleEndian::read_u32(head)).ok()?;
    if raw_len > block.len().saturating_mul(RATIO_MAX) {
        return None;
    }
    let raw = lz4_flex::block::decompress(block, raw_len).ok()?;
    (raw.len() == raw_len).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::{compress, decompress};

    #[test]
    fn compressible_bytes_come_back_and_others_are_left_alone() {
        let text = b"words words words words words words words words".repeat(40);
        let stored = compress(&text).expect("repetition compresses");
        assert!(stored.len() < text.len());
        assert_eq!(decompress(&stored), Some(text));
        assert_eq!(compress(b"short"), None);
    }

    #[test]
    fn a_length_that_no_block_can_hold_is_refused_before_memory_is_taken() {
        assert_eq!(decompress(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3]), None);
        assert_eq!(decompress(&[1, 0]), None);
    }
}
