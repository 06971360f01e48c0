//! Payloads: half random bytes, half words, so that LZ4 makes three quarters of them.

use bytes::Bytes;

/// How much is made in advance.
const POOL_BYTES: usize = 4 << 20;
/// The largest payload.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// Copies from a pool, each from another place than the one before: a payload that has just come is in the processor's
/// caches, in memory of its own.
pub struct Payloads {
    pool: Vec<u8>,
    at: usize,
}

impl Payloads {
    /// The same payloads in every run.
    pub fn new() -> Payloads {
        Payloads { pool: pool(POOL_BYTES + PAYLOAD_BYTES_MAX), at: 0 }
    }

    /// The next payload.
    pub fn next(&mut self, bytes: usize) -> Bytes {
        let at = self.at;
        self.at = (at + bytes) % POOL_BYTES;
        Bytes::copy_from_slice(&self.pool[at..at + bytes.min(PAYLOAD_BYTES_MAX)])
    }

    /// The next payloads.
    pub fn batch(&mut self, count: usize, bytes: usize) -> Vec<Bytes> {
        (0..count).map(|_| self.next(bytes)).collect()
    }
}

fn pool(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    let words = [b"leader ", b"follow ", b"entry  ", b"commit "];
    let mut out = Vec::with_capacity(bytes + 16);
    while out.len() < bytes {
        out.extend_from_slice(&random.next().to_le_bytes());
        out.extend_from_slice(words[(random.next() % 4) as usize]);
        out.push(b' ');
    }
    out.truncate(bytes);
    out
}

/// Numbers that look random: Marsaglia's xorshift.
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 1 to `most`.
    pub fn index(&mut self, most: u64) -> u64 {
        1 + self.next() % most.max(1)
    }
}
