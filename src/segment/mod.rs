//! One segment file: its bytes, and how they are written, read and recovered. Knows nothing of `meta`.

pub(crate) mod cipher;
pub(crate) mod fold;
pub mod format;
pub(crate) mod index;
pub(crate) mod places;
pub(crate) mod reader;
pub(crate) mod recover;
pub(crate) mod repair;
pub(crate) mod rewind;
pub(crate) mod window;
pub(crate) mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::crc::Salted;
use crate::error::{Error, JournalId, KeyFault, Result};
use crate::io::{self, File, Fs, Mode};
use crate::keys::{Keys, Secret};
use cipher::SegmentCipher;
use format::{
    ALIGN_BYTES, ALIGN_BYTES_ALIGNED, BATCH_BYTES, EDGE_BYTES, FLAG_ALIGNED, FLAG_TERMS_ENCRYPTED, HEADER_BYTES,
    Header, HeaderFault, KEY_RECORD_BYTES,
};
use index::Terms;

const SUFFIX: &str = ".seg";
/// What a file is called while it is being prepared: no recovery ever reads it.
const UNFINISHED_SUFFIX: &str = ".tmp";
/// What is written at a time where a file is filled. The page cache keeps a file in pieces like these, and a write looks at every
/// block of the piece that it falls into: smaller ones make short writes cheaper, larger ones reads and long writes.
static ZEROES: [u8; 256 << 10] = [0; 256 << 10];

/// Those bits of a salt that say in which life the file was made, or recycled.
const MADE_IN_BITS: u64 = 0xffff;

/// The salt of a file that is made in this life.
pub(crate) fn salt_made_in(life: u32, entropy: u64) -> u64 {
    entropy & !MADE_IN_BITS | u64::from(life) & MADE_IN_BITS
}

/// The name of the segment file with this sequence.
pub(crate) fn file_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// What a file is called while it is being prepared.
pub(crate) fn unfinished_name(name: &str) -> String {
    format!("{name}{UNFINISHED_SUFFIX}")
}

/// The sequence in a segment file's name.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    sequence_in(name.strip_suffix(SUFFIX)?)
}

fn sequence_in(digits: &str) -> Option<u64> {
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Whether a name is of a segment, or a repair file, that was being prepared.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED_SUFFIX) && any_sequence_of(name).is_some()
}

/// The sequence in the name of a segment or a repair file, finished or not.
pub(crate) fn any_sequence_of(name: &str) -> Option<u64> {
    let name = name.strip_suffix(UNFINISHED_SUFFIX).unwrap_or(name);
    sequence_of(name).or_else(|| repair::sequence_of(name))
}

/// Writes zeros over a part of a file. Written, not only reserved: a sync over unwritten extents has to write metadata too.
pub(crate) fn write_zeroes(file: &dyn File, path: &Path, part: Range<u64>) -> Result<()> {
    for offset in part.clone().step_by(ZEROES.len()) {
        let len = (part.end - offset).min(ZEROES.len() as u64);
        io::write_all_at(file, &ZEROES[..len as usize], offset)
            .map_err(|(_, error)| Error::io("write", path, Some(offset), error))?;
    }
    Ok(())
}

/// An open segment file. Its bytes are only ever added to, so readers need no lock; they keep it from being removed
/// or recycled by holding it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) salt_value: u64,
    pub(crate) salt: Salted,
    pub(crate) size_bytes: u32,
    pub(crate) align: u32,
    /// The id of the key that its entries are encrypted with; 0 for none.
    pub(crate) key_id: u32,
    /// Whether the terms are encrypted with them: in every encrypted file but an earlier version's.
    pub(crate) hides_terms: bool,
    /// What encrypts and decrypts them.
    pub(crate) cipher: Option<Arc<SegmentCipher>>,
    /// Why it cannot be read with the keys that were given.
    pub(crate) key_fault: Option<KeyFault>,
    /// The first copy of its header could not be read when it was opened; the one at its end served.
    pub(crate) is_headed_by_twin: bool,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// What a new segment is to be.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) sequence: u64,
    pub(crate) size_bytes: u32,
    pub(crate) salt: u64,
    pub(crate) journal_id: JournalId,
    pub(crate) aligned: bool,
    /// The key that its entries are to be encrypted with: its id, and what this journal makes of it.
    pub(crate) key: Option<(u32, Secret)>,
}

impl Recipe {
    fn header(&self) -> Header {
        Header {
            flags: if self.aligned { FLAG_ALIGNED } else { 0 }
                | if self.key.is_some() { FLAG_TERMS_ENCRYPTED } else { 0 },
            key_id: self.key.as_ref().map_or(0, |&(id, _)| id),
            journal_id: self.journal_id,
            sequence: self.sequence,
            size_bytes: u64::from(self.size_bytes),
            salt: self.salt,
        }
    }
}

/// What a file with a segment's name turned out to be.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A segment of this journal, all there.
    Whole(Arc<Segment>),
    /// A segment of this journal, shorter than its header says.
    Short,
    /// Neither copy of the header can be read.
    Unreadable,
    /// This journal's, under another sequence's name: an interrupted recycling.
    Misnamed,
    /// Another journal's.
    Foreign(JournalId),
    /// Written by a newer version.
    Newer(u32),
}

impl Segment {
    fn new(header: &Header, size_bytes: u32, path: PathBuf, file: Arc<dyn File>, secret: Option<Secret>) -> Segment {
        let align = Self::align_for(header.flags & FLAG_ALIGNED != 0);
        let (sequence, salt_value, key_id) = (header.sequence, header.salt, header.key_id);
        let hides_terms = header.flags & FLAG_TERMS_ENCRYPTED != 0;
        let cipher = secret.map(|secret| Arc::new(SegmentCipher::new(secret, sequence, salt_value, hides_terms)));
        let (salt, key_fault, is_headed_by_twin) = (Salted::new(salt_value), None, false);
        Segment {
            sequence,
            salt_value,
            salt,
            size_bytes,
            align,
            key_id,
            hides_terms,
            cipher,
            key_fault,
            is_headed_by_twin,
            path,
            file,
        }
    }

    /// Whether all of it was written in this life, which sealed it: then no place in it was written twice, but where a full
    /// disk refused a batch, and no entry that checks out can be an earlier one that stood in its place.
    pub(crate) fn is_of(&self, life: u32) -> bool {
        self.salt_value & MADE_IN_BITS == u64::from(life) & MADE_IN_BITS
    }

    /// The same segment, through another handle on its file.
    pub(crate) fn with_file(&self, file: Arc<dyn File>) -> Segment {
        let (salt, cipher, path) = (self.salt.clone(), self.cipher.clone(), self.path.clone());
        Segment { salt, cipher, path, file, ..*self }
    }

    /// The error of a file that the keys which were given do not open.
    pub(crate) fn check_key(&self) -> Result<()> {
        self.key_fault.map_or(Ok(()), |fault| Err(self.key_error(fault)))
    }

    pub(crate) fn key_error(&self, fault: KeyFault) -> Error {
        Error::Key { path: self.path.clone(), key_id: self.key_id, fault }
    }

    /// Whether a header is this segment's.
    pub(crate) fn is_headed_by(&self, header: &Header) -> bool {
        (header.sequence, header.salt, header.key_id) == (self.sequence, self.salt_value, self.key_id)
            && header.size_bytes == u64::from(self.size_bytes)
            && (header.flags & FLAG_TERMS_ENCRYPTED != 0) == self.hides_terms
            && Self::align_for(header.flags & FLAG_ALIGNED != 0) == self.align
    }

    /// Where the two copies of the header stand.
    pub(crate) fn headers_at(&self) -> [u64; 2] {
        [0, u64::from(self.size_bytes.saturating_sub(Self::edge_bytes(self.align)))]
    }

    /// Whether both copies of the header are there, as in every file that was prepared to its end. In one whose recycling
    /// was cut short, the first may be another sequence's.
    pub(crate) fn is_headed_twice(&self) -> Result<bool> {
        for at in self.headers_at() {
            let mut bytes = Vec::with_capacity(HEADER_BYTES + KEY_RECORD_BYTES);
            io::read_up_to(&*self.file, &mut bytes, HEADER_BYTES + KEY_RECORD_BYTES, at)
                .map_err(|error| Error::io("read", &self.path, Some(at), error))?;
            let is_its = Header::parse(&bytes).is_ok_and(|header| self.is_headed_by(&header));
            let record = bytes.get(HEADER_BYTES..).unwrap_or_default();
            if !is_its || self.key_id != 0 && format::parse_key_record(&self.salt, record).is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The unit in which a new file's batches are aligned.
    pub(crate) fn align_for(aligned: bool) -> u32 {
        if aligned { ALIGN_BYTES_ALIGNED } else { ALIGN_BYTES }
    }

    /// The length of the header page, and of the trailer's and the header copy's.
    pub(crate) fn edge_bytes(align: u32) -> u32 {
        EDGE_BYTES.max(align)
    }

    /// Where the first batch starts.
    pub(crate) fn data_start(&self) -> u32 {
        Self::edge_bytes(self.align)
    }

    /// Where batches end and the trailer page starts.
    pub(crate) fn data_end(&self) -> u32 {
        self.size_bytes.saturating_sub(2 * Self::edge_bytes(self.align))
    }

    /// Whether a batch can start, or the log can end, at this offset.
    pub(crate) fn has_place(&self, offset: u32) -> bool {
        (self.data_start()..=self.data_end()).contains(&offset) && offset.is_multiple_of(self.align)
    }

    /// Where the trailer stands.
    pub(crate) fn trailer_at(&self) -> u64 {
        u64::from(self.data_end())
    }

    /// The size that a new file must have for a batch with this body and the seal of so many slots and runs.
    pub(crate) fn size_for(aligned: bool, is_encrypted: bool, body_bytes: u64, slots: usize, runs: usize) -> u64 {
        let align = u64::from(Self::align_for(aligned));
        let batch = (BATCH_BYTES as u64 + body_bytes).next_multiple_of(align);
        let seal = (BATCH_BYTES as u64 + index::body_bytes(slots, runs, is_encrypted)).next_multiple_of(align);
        3 * u64::from(Self::edge_bytes(align as u32)) + batch + seal
    }

    /// The length of a seal or index batch of so many slots and runs in this file, with its padding.
    pub(crate) fn index_bytes(&self, slots: usize, runs: usize) -> u64 {
        let body_bytes = index::body_bytes(slots, runs, self.hides_terms);
        (BATCH_BYTES as u64 + body_bytes).next_multiple_of(u64::from(self.align))
    }

    /// Whether what an index says of terms is as authentic as its entries. In encrypted files of an earlier version it is
    /// not: there, and where somebody has made a file look like one, terms are asked of the entries alone.
    pub(crate) fn vouches_for_terms(&self) -> bool {
        self.key_id == 0 || self.hides_terms
    }

    /// How it has its seal's runs of terms.
    pub(crate) fn terms(&self) -> Terms<'_> {
        if self.hides_terms { Terms::Hidden(self.cipher.as_deref()) } else { Terms::Shown }
    }

    /// Makes a new segment file: zero-filled (or recycled from a file of the same size that nothing needs any more),
    /// header written, synced, and only then under its final name, whose directory is synced. Until this returns,
    /// nothing may refer to the file.
    pub(crate) fn prepare(fs: &dyn Fs, dir: &Path, recipe: &Recipe, recycled: Option<&Path>) -> Result<Arc<Segment>> {
        Self::prepare_named(fs, dir, &file_name(recipe.sequence), recipe, recycled)
    }

    /// The same under a name of another kind.
    fn prepare_named(
        fs: &dyn Fs,
        dir: &Path,
        name: &str,
        recipe: &Recipe,
        recycled: Option<&Path>,
    ) -> Result<Arc<Segment>> {
        let path = dir.join(name);
        let unfinished = dir.join(unfinished_name(name));
        let source = recycled.unwrap_or(&unfinished);
        let mode = if recycled.is_some() { Mode::Write } else { Mode::Create };
        let file = fs.open(source, mode).map_err(|error| Error::io("open", source, None, error))?;
        let result = Self::fill(&*file, source, recipe, recycled.is_none()).and_then(|()| {
            fs.rename(source, &path).map_err(|error| Error::io("rename", source, None, error))?;
            fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, None, error))
        });
        if let Err(error) = result {
            // Gives back the space of a file that nothing refers to, be it renamed or not; if that fails too, the next open
            // does it.
            for name in [source, &path] {
                let _ = fs.remove(name);
            }
            return Err(error);
        }
        let secret = recipe.key.as_ref().map(|(_, secret)| secret.clone());
        Ok(Arc::new(Segment::new(&recipe.header(), recipe.size_bytes, path, file, secret)))
    }

    fn fill(file: &dyn File, path: &Path, recipe: &Recipe, zero: bool) -> Result<()> {
        let size = u64::from(recipe.size_bytes);
        let write = |bytes: &[u8], offset: u64| {
            io::write_all_at(file, bytes, offset).map_err(|(_, error)| Error::io("write", path, Some(offset), error))
        };
        if zero {
            file.allocate(size).map_err(|error| Error::io("allocate", path, None, error))?;
            write_zeroes(file, path, 0..size)?;
        }
        let mut header = recipe.header().encode().to_vec();
        if let Some((key_id, secret)) = &recipe.key {
            let refused = |fault| Error::Key { path: path.to_path_buf(), key_id: *key_id, fault };
            let key_check = secret.check().map_err(refused)?;
            header.extend(format::encode_key_record(&Salted::new(recipe.salt), key_check));
        }
        write(&header, 0)?;
        write(&header, size - u64::from(Self::edge_bytes(Self::align_for(recipe.aligned))))?;
        file.sync_data().map_err(|error| Error::io("sync", path, None, error))
    }

    /// Opens the file with this sequence and reads its identity, from the second copy of the header if need be.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        sequence: u64,
        id: JournalId,
        mode: Mode,
        keys: Option<&Keys>,
    ) -> Result<Opened> {
        Self::open_named(fs, dir.join(file_name(sequence)), sequence, id, mode, keys)
    }

    /// The same under a name of another kind.
    fn open_named(
        fs: &dyn Fs,
        path: PathBuf,
        sequence: u64,
        id: JournalId,
        mode: Mode,
        keys: Option<&Keys>,
    ) -> Result<Opened> {
        let file = fs.open(&path, mode).map_err(|error| Error::io("open", &path, None, error))?;
        let len = file.len().map_err(|error| Error::io("size", &path, None, error))?;
        let (mut newer, mut foreign, mut misnamed) = (None, None, false);
        let edges = [EDGE_BYTES, ALIGN_BYTES_ALIGNED].map(|edge| len.checked_sub(u64::from(edge)));
        for at in [Some(0)].into_iter().chain(edges).flatten() {
            let mut bytes = Vec::with_capacity(HEADER_BYTES);
            io::read_up_to(&*file, &mut bytes, HEADER_BYTES, at)
                .map_err(|error| Error::io("read", &path, Some(at), error))?;
            match Header::parse(&bytes) {
                // Perhaps a misdirected write, and the other copy is ours.
                Ok(header) if header.journal_id != id => foreign = Some(header.journal_id),
                Ok(header) if header.sequence == sequence => {
                    let whole = |size| {
                        let segment = Segment::new(&header, size, path, file, None);
                        Segment { is_headed_by_twin: at > 0, ..segment }
                    };
                    return Self::sized(&header, len, whole, keys);
                }
                // Perhaps an old copy, in a file that was recycled with other edges.
                Ok(_) => misnamed = true,
                Err(HeaderFault::Unreadable) => {}
                Err(HeaderFault::Version(found)) => newer = Some(found),
            }
        }
        Ok(match (foreign, newer) {
            (Some(found), _) => Opened::Foreign(found),
            (None, Some(version)) => Opened::Newer(version),
            (None, None) if misnamed => Opened::Misnamed,
            (None, None) => Opened::Unreadable,
        })
    }

    fn sized(header: &Header, len: u64, whole: impl FnOnce(u32) -> Segment, keys: Option<&Keys>) -> Result<Opened> {
        // Shorter than its own edges, it is none of ours.
        let edges = 3 * Self::edge_bytes(Self::align_for(header.flags & FLAG_ALIGNED != 0));
        Ok(match u32::try_from(header.size_bytes) {
            Ok(size) if size < edges => Opened::Unreadable,
            Ok(size) if len >= header.size_bytes => {
                let mut segment = whole(size);
                segment.unlock(header.journal_id, keys)?;
                Opened::Whole(Arc::new(segment))
            }
            Ok(_) => Opened::Short,
            Err(_) => Opened::Unreadable,
        })
    }

    /// Finds the key. What is wrong with it is an error only where the entries are needed.
    fn unlock(&mut self, journal_id: JournalId, keys: Option<&Keys>) -> Result<()> {
        let found = match keys {
            None if self.key_id == 0 => return Ok(()),
            None => Err(KeyFault::NoKeys),
            Some(_) if self.key_id == 0 => Err(KeyFault::NotEncrypted),
            Some(keys) => keys.secret(self.key_id, journal_id),
        };
        let copies = [0, u64::from(self.size_bytes.saturating_sub(Self::edge_bytes(self.align)))];
        let mut written = None;
        for at in copies.map(|copy| copy + HEADER_BYTES as u64).into_iter().filter(|_| found.is_ok()) {
            let mut bytes = Vec::with_capacity(KEY_RECORD_BYTES);
            io::read_up_to(&*self.file, &mut bytes, KEY_RECORD_BYTES, at)
                .map_err(|error| Error::io("read", &self.path, Some(at), error))?;
            written = written.or_else(|| format::parse_key_record(&self.salt, &bytes));
        }
        // Where no copy of the record is left, the entries themselves tell.
        let checked = found.and_then(|secret| match written {
            Some(written) if secret.check()? != written => Err(KeyFault::Wrong),
            Some(_) | None => Ok(secret),
        });
        match checked {
            Ok(secret) => {
                let cipher = SegmentCipher::new(secret, self.sequence, self.salt_value, self.hides_terms);
                self.cipher = Some(Arc::new(cipher));
            }
            Err(fault) => self.key_fault = Some(fault),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{file_name, is_unfinished, repair, sequence_of};

    #[test]
    fn only_names_that_we_give_are_segments() {
        assert_eq!(file_name(7), "00000000000000000007.seg");
        assert_eq!(sequence_of(&file_name(7)), Some(7));
        assert_eq!(sequence_of(&file_name(u64::MAX)), Some(u64::MAX));
        for name in ["7.seg", "0000000000000000000x.seg", "99999999999999999999.seg", "meta", "00000000000000000007"] {
            assert_eq!(sequence_of(name), None, "{name}");
        }
        assert_eq!(repair::sequence_of(&repair::file_name(7)), Some(7));
        assert_eq!((sequence_of(&repair::file_name(7)), repair::sequence_of(&file_name(7))), (None, None));
        for name in ["00000000000000000007.seg.tmp", "00000000000000000007.rep.tmp"] {
            assert!(is_unfinished(name), "{name}");
        }
        assert!(!is_unfinished("notes.seg.tmp") && !is_unfinished("00000000000000000007.tmp"));
    }
}
