//! `--key-file`: the keys of an encrypted journal.

use std::path::PathBuf;

use clap::Args;
use raft_journal::OpenOptions;

use super::failure::Failure;

/// Where a journal's keys are.
#[derive(Args, Clone, Default)]
pub(super) struct Keys {
    /// The keys of an encrypted journal: a file with a line `ID KEY` for each, an id in decimal and 64 hexadecimal
    /// digits. Blank lines, and what follows a `#`, mean nothing
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// The key for what the command writes; the last one in the file unless given
    #[arg(long, value_name = "ID", requires = "key_file")]
    pub(super) key_id: Option<u32>,
}

/// Why a key file cannot be used. Nothing of what stands in it is ever part of a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysFault {
    #[cfg(not(feature = "encryption"))]
    #[error("this program was built without encryption: build it with `--features cli,encryption`")]
    NoEncryption,
    #[cfg(feature = "encryption")]
    #[error("{}, line {line}: {why}", path.display())]
    Line { path: PathBuf, line: usize, why: LineFault },
    #[cfg(feature = "encryption")]
    #[error("{} holds no key: write a line `ID KEY` for each", path.display())]
    Empty { path: PathBuf },
    #[cfg(feature = "encryption")]
    #[error("{} is longer than {bytes_max} bytes: no key file is", path.display())]
    TooLong { path: PathBuf, bytes_max: usize },
    #[cfg(feature = "encryption")]
    #[error("{} has no key {id}, which `--key-id` names: it has {known}", path.display())]
    NoSuchId { path: PathBuf, id: u32, known: String },
}

/// Why a line of a key file is none.
#[cfg(feature = "encryption")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum LineFault {
    #[error("it is no text: write `ID KEY`")]
    NoText,
    #[error("it has {0} words, and not two: write `ID KEY`")]
    Words(usize),
    #[error("its first word is no key id: write a number from 1 to {max}", max = u32::MAX)]
    Id,
    #[error("the key has {0} characters: write 64 hexadecimal digits")]
    Length(usize),
    #[error("the key is not hexadecimal: write 64 digits, 0 to 9 and a to f")]
    Digits,
    #[error("key {0} is there already: an id means one key")]
    Twice(u32),
}

impl Keys {
    /// How a journal with these keys is opened.
    pub(super) fn options(&self) -> Result<OpenOptions, Failure> {
        let options = OpenOptions::new();
        match (&self.key_file, self.key_id) {
            (None, _) => Ok(options),
            #[cfg(feature = "encryption")]
            (Some(path), current) => Ok(options.encryption(std::sync::Arc::new(file::read(path, current)?))),
            #[cfg(not(feature = "encryption"))]
            (Some(_), _) => Err(KeysFault::NoEncryption.into()),
        }
    }
}

#[cfg(feature = "encryption")]
mod file {
    use std::path::Path;

    use raft_journal::io::{self, Fs, Mode, OsFs};
    use raft_journal::{Error, KEY_BYTES, Key, KeyRing};
    use zeroize::Zeroizing;

    use super::super::failure::Failure;
    use super::{KeysFault, LineFault};

    /// Room for hundreds of keys. Reserved at once: a buffer that grows leaves copies of what it held in memory.
    const FILE_BYTES_MAX: usize = 64 << 10;

    /// The keys in a file.
    pub(super) fn read(path: &Path, current: Option<u32>) -> Result<KeyRing, Failure> {
        let file = OsFs.open(path, Mode::Read).map_err(|error| Error::io("open", path, None, error))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        let read = io::read_up_to(&*file, &mut bytes, FILE_BYTES_MAX + 1, 0);
        if read.map_err(|error| Error::io("read", path, None, error))? > FILE_BYTES_MAX {
            return Err(KeysFault::TooLong { path: path.to_path_buf(), bytes_max: FILE_BYTES_MAX }.into());
        }
        let keys = parse(&bytes).map_err(|(line, why)| KeysFault::Line { path: path.to_path_buf(), line, why })?;
        let Some((last, key)) = keys.last() else { return Err(KeysFault::Empty { path: path.to_path_buf() }.into()) };
        let (id, key) = match current {
            None => (*last, key),
            Some(id) => {
                let found = keys.iter().find(|(known, _)| *known == id);
                let known = || keys.iter().map(|(known, _)| known.to_string()).collect::<Vec<_>>().join(", ");
                let missing = || KeysFault::NoSuchId { path: path.to_path_buf(), id, known: known() };
                (id, found.map(|(_, key)| key).ok_or_else(missing)?)
            }
        };
        Ok(keys.iter().fold(KeyRing::new(id, key.clone()), |ring, (id, key)| ring.with(*id, key.clone())))
    }

    /// The keys by their ids, in the file's order; of what is none, the line and the reason.
    pub(super) fn parse(bytes: &[u8]) -> Result<Vec<(u32, Key)>, (usize, LineFault)> {
        let mut keys: Vec<(u32, Key)> = Vec::new();
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            let Some((id, key)) = parse_line(line).map_err(|why| (number, why))? else { continue };
            if keys.iter().any(|(known, _)| *known == id) {
                return Err((number, LineFault::Twice(id)));
            }
            keys.push((id, key));
        }
        Ok(keys)
    }

    /// A key and its id; none in a line that says nothing.
    fn parse_line(line: &[u8]) -> Result<Option<(u32, Key)>, LineFault> {
        let said = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let text = std::str::from_utf8(said).map_err(|_| LineFault::NoText)?;
        let mut words = text.split_whitespace();
        let (id, digits) = match (words.next(), words.next(), words.count()) {
            (None, ..) => return Ok(None),
            (Some(_), None, _) => return Err(LineFault::Words(1)),
            (Some(id), Some(digits), 0) => (id, digits),
            (Some(_), Some(_), more) => return Err(LineFault::Words(2 + more)),
        };
        let id = id.parse().ok().filter(|&id| id != 0).ok_or(LineFault::Id)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if digits.len() != 2 * KEY_BYTES {
            return Err(LineFault::Length(digits.chars().count()));
        }
        hex::decode_to_slice(digits, &mut key[..]).map_err(|_| LineFault::Digits)?;
        Ok(Some((id, Key::new(*key))))
    }

    #[cfg(test)]
    mod tests {
        use super::{LineFault, parse};

        #[test]
        fn a_line_is_a_key_or_says_nothing_or_is_refused_by_its_number() {
            let (a, b) = ("0a".repeat(32), "FF".repeat(32));
            let text = format!("# keys\r\n\n  7\t{a}  # the old one\n#8 {a}\n 9 {b}\r\n");
            let ids = |text: &[u8]| parse(text).map(|keys| keys.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
            assert_eq!(ids(text.as_bytes()), Ok(vec![7, 9]));
            assert_eq!(ids(b""), Ok(vec![]));
            let refused = [
                (format!("7 {a}\n8"), 2, LineFault::Words(1)),
                (format!("\n7 {a} {b}"), 2, LineFault::Words(3)),
                (format!("0 {a}"), 1, LineFault::Id),
                (format!("-1 {a}"), 1, LineFault::Id),
                (format!("4294967296 {a}"), 1, LineFault::Id),
                (format!("{a} 7"), 1, LineFault::Id),
                (format!("7 {}", &a[1..]), 1, LineFault::Length(63)),
                (format!("7 {a}0"), 1, LineFault::Length(65)),
                (format!("7 {}xy", &a[2..]), 1, LineFault::Digits),
                (format!("7 {a}\n8 {b}\n7 {b}"), 3, LineFault::Twice(7)),
            ];
            for (text, line, why) in refused {
                assert_eq!(ids(text.as_bytes()), Err((line, why)), "{text}");
            }
            assert_eq!(ids(b"7 \xff"), Err((1, LineFault::NoText)));
        }
    }
}
