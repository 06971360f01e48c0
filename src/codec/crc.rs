//! CRC-32 (IEEE) seeded with a salt, so that bytes of another file, or of the same file in an earlier use, never
//! check out.

/// A checksum that has seen its salt and waits for the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Salted(crc32fast::Hasher);

impl Salted {
    pub(crate) fn new(salt: u64) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        Salted(hasher)
    }

    /// The checksum of `parts`, one behind the other.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> u32 {
        let mut hasher = self.0.clone();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }

    /// The checksum of numbers, little-endian, one behind the other.
    pub(crate) fn of_numbers(&self, numbers: impl Iterator<Item = u32>) -> u32 {
        const CHUNK_BYTES: usize = 256;
        let mut hasher = self.0.clone();
        let (mut chunk, mut filled) = ([0; CHUNK_BYTES], 0);
        for number in numbers {
            if filled == CHUNK_BYTES {
                hasher.update(&chunk);
                filled = 0;
            }
            chunk[filled..filled + 4].copy_from_slice(&number.to_le_bytes());
            filled += 4;
        }
        hasher.update(&chunk[..filled]);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::Salted;

    #[test]
    fn checksum_depends_on_salt_and_every_byte() {
        let check = Salted::new(1).of(&[b"ab", b"c"]);
        assert_eq!(check, Salted::new(1).of(&[b"abc"]));
        assert_ne!(check, Salted::new(2).of(&[b"abc"]));
        assert_ne!(check, Salted::new(1).of(&[b"abd"]));
    }

    #[test]
    fn checksum_of_numbers_is_that_of_their_bytes() {
        for count in [0, 1, 63, 64, 65, 200] {
            let numbers: Vec<u32> = (0..count).map(|number| number * 0x0101_0101).collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            assert_eq!(Salted::new(1).of_numbers(numbers.into_iter()), Salted::new(1).of(&[&bytes]), "{count}");
        }
    }

    #[test]
    fn checksum_without_salt_is_the_published_crc_32() {
        // The check value of CRC-32/ISO-HDLC over "123456789", behind eight zero bytes of salt.
        let salted = Salted::new(0).of(&[b"123456789"]);
        assert_eq!(salted, crc32fast::hash(b"\0\0\0\0\0\0\0\x00123456789"));
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }
}
