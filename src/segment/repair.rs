//! A repair file: entries that were put back, in the form of a segment with one batch, which no chain ever reaches.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::format::{BatchHeader, ENTRY_BYTES, Kind, VERSION, put_entry_check};
use super::index::Slot;
use super::recover::{Body, Window};
use super::writer::{self, Compression};
use super::{Opened, Recipe, Segment, reader, sequence_in};
use crate::codec::crc::Salted;
use crate::entry::Entry;
use crate::error::{Damage, DamageKind, DamagedRange, Error, JournalId, Result};
use crate::io::{self, Fs, Mode};

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

/// An entry to put back, and how it is to be stored.
pub(crate) type Patch = (Entry, Compression);

impl RepairFile {
    /// The length of a file for these entries, bytes.
    pub(crate) fn size_for(aligned: bool, entries: &[Patch]) -> u64 {
        let body_bytes = entries.iter().map(|(entry, _)| (ENTRY_BYTES + entry.data.len()) as u64).sum();
        Segment::size_for(aligned, body_bytes, 0, 0).next_multiple_of(4096)
    }

    /// Makes the file, durably: nothing may refer to it before. `entries` are consecutive, at least one.
    pub(crate) fn write(fs: &dyn Fs, dir: &Path, recipe: &Recipe, life: u32, entries: &[Patch]) -> Result<RepairFile> {
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
            first_index: entries.first().map_or(0, |(entry, _)| entry.index),
            chain: 0,
            life,
            meta_generation: 0,
            mark: (0, 0),
            replacing: 0,
            base: 0,
            check: 0,
        };
        let (mut buffer, mut slots) = (Vec::new(), Vec::new());
        let each = entries.iter().map(|(entry, compression)| (entry, *compression));
        let batch = writer::encode_each(&segment.salt, header, each, segment.align, &mut buffer, &mut slots);
        let written = io::write_all_at(&*segment.file, &buffer, u64::from(batch.offset))
            .map_err(|(_, error)| Error::io("write", &segment.path, Some(u64::from(batch.offset)), error))
            .and_then(|()| segment.file.sync_data().map_err(|e| Error::io("sync", &segment.path, None, e)));
        if let Err(error) = written {
            // Gives back the space of a file that nothing refers to; if that fails too, the next open does it.
            let _ = fs.remove(&segment.path);
            return Err(error);
        }
        let slots: Arc<[Slot]> = slots.into_iter().map(|(_, slot)| slot).collect();
        Ok(RepairFile { segment, batch, slots: OnceLock::from(slots) })
    }

    /// Opens the file with this sequence and salt; or says how it is lost.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        (sequence, salt): (u64, u64),
        id: JournalId,
        mode: Mode,
    ) -> Result<Result<RepairFile, DamageKind>> {
        let path = dir.join(file_name(sequence));
        let segment = match Segment::open_named(fs, path.clone(), sequence, id, mode) {
            Ok(Opened::Whole(segment)) if segment.salt_value == salt => segment,
            Ok(Opened::Whole(_) | Opened::Unreadable | Opened::Misnamed) => return Ok(Err(DamageKind::Header)),
            Ok(Opened::Short) => return Ok(Err(DamageKind::ShortFile)),
            Ok(Opened::Foreign(found)) => return Err(Error::ForeignFile { path, expected: id, found }),
            Ok(Opened::Newer(found)) => return Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
            Err(Error::Io { op: "open", source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(DamageKind::MissingFile));
            }
            Err(error) => return Err(error),
        };
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
        Ok(self.verified(index)?.1)
    }

    /// The entry at `index` and how it is stored, for another file; nothing where this build would store it otherwise.
    pub(crate) fn patch(&self, index: u64) -> Result<Option<Patch>> {
        let (slot, entry, _) = self.verified(index)?;
        let compression = writer::stored_as(&self.segment.salt, &entry, slot.check);
        Ok(compression.map(|compression| (entry, compression)))
    }

    /// The entry's bytes as they would stand in a file with another salt, and their check there.
    pub(crate) fn stored(&self, salt: &Salted, index: u64) -> Result<(Vec<u8>, u32)> {
        let mut bytes = self.verified(index)?.2.to_vec();
        let check = put_entry_check(salt, index, &mut bytes);
        Ok((bytes, check))
    }

    /// The entry, with its slot and its bytes.
    fn verified(&self, index: u64) -> Result<(Slot, Entry, Bytes)> {
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
        let entry = reader::parse_entry(&self.segment.salt, index, slot, bytes.clone()).map_err(fail)?;
        Ok((slot, entry, bytes))
    }

    fn slots(&self) -> Result<Arc<[Slot]>> {
        if let Some(slots) = self.slots.get() {
            return Ok(Arc::clone(slots));
        }
        let found: Arc<[Slot]> = match Window::new(&self.segment).body(&self.batch)? {
            Body::Entries(entries) => entries.into_iter().map(|(_, slot)| slot).collect(),
            Body::Broken(Some(parts)) => {
                parts.into_iter().map(|(_, slot, right)| if right { slot } else { Slot::LOST }).collect()
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
