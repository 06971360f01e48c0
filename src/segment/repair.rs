//! A repair file: entries that were put back, in the form of a segment with one batch, which no chain ever reaches.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::format::{
    BatchHeader, ENCRYPTED_BYTES, ENTRY_BYTES, ENTRY_FLAG_LZ4, EntryHeader, Kind, STOOD_BYTES, STOOD_CHECK_AT,
    STOOD_LEN_AT, VERSION, entry_check, read_u32,
};
use super::index::Slot;
use super::window::{Body, Part, Window};
use super::writer::{self, Compression};
use super::{Opened, Recipe, Segment, reader, sequence_in};
use crate::codec::crc::Salted;
use crate::entry::Entry;
use crate::error::{Damage, DamageKind, DamagedRange, Error, JournalId, Result};
use crate::io::{self, Fs, Mode};
use crate::keys::Keys;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};

const SUFFIX: &str = ".rep";

/// The name of the repair file with this sequence.
pub(crate) fn file_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// The sequence in a repair file's name.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    sequence_in(name.strip_suffix(SUFFIX)?)
}

/// A repair file whose batch header checks out.
#[derive(Debug)]
pub(crate) struct RepairFile {
    pub(crate) segment: Arc<Segment>,
    batch: BatchHeader,
    /// Where its entries stand, those lost that do not check out. Looked up when the first one is asked for.
    slots: OnceLock<Arc<[Slot]>>,
}

/// An entry to put back.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    pub(crate) entry: Entry,
    /// How it is to be stored.
    pub(crate) compression: Compression,
    /// What is known of the one that it stands for.
    pub(crate) stood: Option<Stood>,
}

/// What an entry was in its segment. An encrypted repair file keeps it: there, the bytes do not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stood {
    pub(crate) check: u32,
    /// Its length, header included.
    pub(crate) bytes: u32,
}

impl Stood {
    /// In front of the payload: zeros where nothing is known.
    fn before(stood: Option<Stood>, entry: &Entry) -> Entry {
        let Stood { check, bytes } = stood.unwrap_or(Stood { check: 0, bytes: 0 });
        let data = [&check.to_le_bytes()[..], &bytes.to_le_bytes(), &entry.data].concat();
        Entry { data: data.into(), ..*entry }
    }

    /// Takes it off again.
    fn take(data: &mut Bytes) -> Option<Option<Stood>> {
        let (check, bytes) = (read_u32(data, STOOD_CHECK_AT)?, read_u32(data, STOOD_LEN_AT)?);
        *data = data.slice(STOOD_BYTES..);
        Some((bytes != 0).then_some(Stood { check, bytes }))
    }
}

/// What stands for an entry, checked.
struct Verified {
    slot: Slot,
    entry: Entry,
    /// All of it as it is in the file.
    bytes: Bytes,
    /// What an encrypted file says.
    stood: Option<Stood>,
}

impl RepairFile {
    /// The length of a file for these entries, bytes.
    pub(crate) fn size_for(aligned: bool, patches: &[Patch], is_encrypted: bool) -> u64 {
        let head = ENTRY_BYTES + if is_encrypted { ENCRYPTED_BYTES + STOOD_BYTES } else { 0 };
        let body_bytes = patches.iter().map(|patch| (head + patch.entry.data.len()) as u64).sum();
        Segment::size_for(aligned, is_encrypted, body_bytes, 0, 0).next_multiple_of(4096)
    }

    /// Makes the file, durably: nothing may refer to it before. The entries are consecutive, at least one.
    pub(crate) fn write(fs: &dyn Fs, dir: &Path, recipe: &Recipe, life: u32, patches: &[Patch]) -> Result<RepairFile> {
        let name = file_name(recipe.sequence);
        let segment = Segment::prepare_named(fs, dir, &name, recipe, None).inspect_err(|_| {
            // It may have its final name already.
            let _ = fs.remove(&dir.join(&name));
        })?;
        let header = BatchHeader {
            kind: Kind::Entries,
            count: 0,
            body_bytes: 0,
            body_check: 0,
            offset: segment.data_start(),
            first_index: patches.first().map_or(0, |patch| patch.entry.index),
            chain: 0,
            life,
            meta_generation: 0,
            mark: (0, 0),
            replacing: 0,
            base: 0,
            check: 0,
        };
        Self::fill(&segment, header, fs.entropy(), patches)
            .map(|(batch, slots)| RepairFile { segment: Arc::clone(&segment), batch, slots: OnceLock::from(slots) })
            .inspect_err(|_| {
                // Gives back the space of a file that nothing refers to; if that fails too, the next open does it.
                let _ = fs.remove(&segment.path);
            })
    }

    /// Writes the batch.
    fn fill(
        segment: &Segment,
        header: BatchHeader,
        random: u64,
        patches: &[Patch],
    ) -> Result<(BatchHeader, Arc<[Slot]>)> {
        let is_encrypted = segment.cipher.is_some();
        let stored = |patch: &Patch| match is_encrypted {
            true => Stood::before(patch.stood, &patch.entry),
            false => patch.entry.clone(),
        };
        let entries: Vec<Entry> = patches.iter().map(stored).collect();
        let each = entries.iter().zip(patches).map(|(entry, patch)| (entry, patch.compression));
        let (mut buffer, mut slots) = (Vec::new(), Vec::new());
        let batch = writer::encode_each(segment, header, each, random, &mut buffer, &mut slots)
            .map_err(|fault| segment.key_error(fault))?;
        let at = u64::from(batch.offset);
        io::write_all_at(&*segment.file, &buffer, at)
            .map_err(|(_, error)| Error::io("write", &segment.path, Some(at), error))?;
        let slots = slots.into_iter().map(|(_, slot)| slot).collect();
        #[cfg(mutate)]
        if mutate::is(Mutation::RepairUnsynced) {
            return Ok((batch, slots));
        }
        segment.file.sync_data().map_err(|error| Error::io("sync", &segment.path, None, error))?;
        Ok((batch, slots))
    }

    /// Opens the file with this sequence and salt; or says how it is lost.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        (sequence, salt): (u64, u64),
        id: JournalId,
        mode: Mode,
        keys: Option<&Keys>,
    ) -> Result<Result<RepairFile, DamageKind>> {
        let path = dir.join(file_name(sequence));
        let segment = match Segment::open_named(fs, path.clone(), sequence, id, mode, keys) {
            Ok(Opened::Whole(segment)) if segment.salt_value == salt => segment,
            Ok(Opened::Whole(_) | Opened::Unreadable | Opened::Misnamed) => return Ok(Err(DamageKind::Header)),
            Ok(Opened::Short) => return Ok(Err(DamageKind::ShortFile)),
            Ok(Opened::Foreign(found)) => return Err(Error::ForeignFile { path, expected: id, found }),
            Ok(Opened::Newer(found)) => return Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
            Err(error) if error.is_missing_file() => return Ok(Err(DamageKind::MissingFile)),
            Err(error) => return Err(error),
        };
        segment.check_key()?;
        let batch = Window::new(&segment).header(segment.data_start())?.filter(|batch| batch.kind == Kind::Entries);
        let Some(batch) = batch else { return Ok(Err(DamageKind::Checksum)) };
        Ok(Ok(RepairFile { segment, batch, slots: OnceLock::new() }))
    }

    /// Whether its batch has all of these entries.
    pub(crate) fn covers(&self, first: u64, end: u64) -> bool {
        let held = self.batch.first_index..self.batch.first_index.saturating_add(u64::from(self.batch.count));
        held.start <= first && end <= held.end
    }

    /// The entry at `index`.
    pub(crate) fn entry(&self, index: u64) -> Result<Entry> {
        Ok(self.verified(index)?.entry)
    }

    /// The entry at `index` and how it is stored, for another file; nothing where this build would store it otherwise.
    pub(crate) fn patch(&self, index: u64) -> Result<Option<Patch>> {
        let Verified { slot, entry, bytes, stood } = self.verified(index)?;
        let compression = match &self.segment.cipher {
            None => writer::stored_as(&self.segment, &entry, slot, None).map(|(compression, _)| compression),
            Some(_) => EntryHeader::parse(&bytes).map(|header| match header.flags & ENTRY_FLAG_LZ4 {
                0 => Compression::None,
                _ => Compression::Lz4 { threshold_bytes: 0 },
            }),
        };
        Ok(compression.map(|compression| Patch { entry, compression, stood }))
    }

    /// The term of the entry at `index`, and what the one that it stands for was in its segment, where that is known.
    pub(crate) fn stood(&self, salt: &Salted, index: u64) -> Result<(u64, Option<Stood>)> {
        let Verified { entry, bytes, stood, .. } = self.verified(index)?;
        let by_bytes = || Stood { check: entry_check(salt, index, &bytes), bytes: bytes.len() as u32 };
        Ok((entry.term, if self.segment.cipher.is_some() { stood } else { Some(by_bytes()) }))
    }

    fn verified(&self, index: u64) -> Result<Verified> {
        let slots = self.slots()?;
        let at = index.checked_sub(self.batch.first_index).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| slots.get(at)).copied().unwrap_or(Slot::LOST);
        let fail = |why| self.damage(index, slot, why);
        if slot.is_lost() {
            return Err(fail(DamageKind::Checksum));
        }
        let read = |len: usize| {
            let mut bytes = Vec::with_capacity(len);
            io::read_up_to(&*self.segment.file, &mut bytes, len, u64::from(slot.offset))
                .map_err(|error| Error::io("read", &self.segment.path, Some(u64::from(slot.offset)), error))?;
            Ok::<Bytes, Error>(bytes.into())
        };
        let room = self.segment.data_end().saturating_sub(slot.offset) as usize;
        let announced = reader::announced_bytes(&read(ENTRY_BYTES)?).filter(|&announced| announced <= room);
        let bytes = read(announced.ok_or_else(|| fail(DamageKind::Checksum))?)?;
        let mut entry =
            reader::parse_entry(&self.segment, index, slot.offset, Some(slot.check), bytes.clone()).map_err(fail)?;
        let stood = match &self.segment.cipher {
            None => None,
            Some(_) => Stood::take(&mut entry.data).ok_or_else(|| fail(DamageKind::NotAuthentic))?,
        };
        Ok(Verified { slot, entry, bytes, stood })
    }

    fn slots(&self) -> Result<Arc<[Slot]>> {
        if let Some(slots) = self.slots.get() {
            return Ok(Arc::clone(slots));
        }
        let found: Arc<[Slot]> = match Window::new(&self.segment).body(&self.batch)? {
            Body::Entries(entries) => entries.into_iter().map(|(_, slot)| slot).collect(),
            Body::Broken(Some(parts)) => {
                // What is not authentic says so itself when it is read.
                let is_there = |part: &Part| matches!(part.fault, None | Some(DamageKind::NotAuthentic));
                parts.into_iter().map(|part| if is_there(&part) { part.slot } else { Slot::LOST }).collect()
            }
            Body::Broken(None) | Body::Index(..) => Arc::new([]),
        };
        Ok(Arc::clone(self.slots.get_or_init(|| found)))
    }

    fn damage(&self, index: u64, slot: Slot, why: DamageKind) -> Error {
        let indexes = DamagedRange { first: index, end: Some(index + 1) };
        let offset = u64::from(if slot.is_lost() { self.batch.offset } else { slot.offset });
        Damage { path: self.segment.path.clone(), offset, indexes, term: None, why }.into()
    }
}
