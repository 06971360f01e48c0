//! Whether an entry is the one whose checksum is known.

use super::Core;
use super::read::{read, read_announced, read_slot};
use super::view::Spot;
use crate::entry::Entry;
use crate::error::DamageKind;
use crate::io;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::Segment;
use crate::segment::cipher::Prefix;
use crate::segment::format::{BATCH_BYTES, ENCRYPTED_TEXT_AT, ENTRY_BYTES};
use crate::segment::index::Slot;
use crate::segment::reader::{announced_bytes, parse_entry};
use crate::segment::repair::Stood;
use crate::segment::window::Window;
use crate::segment::writer::{self, Compression};

/// How an entry was stored where it was lost.
pub(super) struct Recognized {
    pub(super) compression: Compression,
    pub(super) stood: Stood,
    /// Whether its checksum was compared, and is the right one.
    pub(super) is_proven: bool,
}

impl Core {
    /// Holds an entry against the slot of the one that it is to stand for; nothing if it is another one.
    ///
    /// In an encrypted segment the checksum is over what the entry was encrypted to, which depends on its batch's random
    /// bits. They stand with each of the batch's entries: with this one, if they are not damaged too, and with its
    /// neighbours. Where no bits that are found give the checksum, that refutes the entry if those that stand with it are those of
    /// a neighbour of the same batch that can be read, and proves nothing otherwise: what swapped sectors brought may agree, too.
    pub(super) fn recognize(&self, segment: &Segment, entry: &Entry, slot: Slot) -> Option<Recognized> {
        let found = |(compression, bytes): (Compression, usize), is_proven| {
            let stood = Stood { check: slot.check, bytes: u32::try_from(bytes).ok()? };
            Some(Recognized { compression, stood, is_proven })
        };
        #[cfg(mutate)]
        if mutate::is(Mutation::RepairUnchecked) {
            return found((self.options.compression, ENTRY_BYTES + entry.data.len()), true);
        }
        let Some(cipher) = &segment.cipher else {
            return found(writer::stored_as(segment, entry, slot, None)?, true);
        };
        let prefix_at = |slot: Slot| self.prefix_at(segment, slot.offset.checked_add(cipher.begins_at() as u32)?);
        let own = prefix_at(slot);
        let beside = [entry.index.checked_sub(1), entry.index.checked_add(1)].map(|index| {
            let (other, limit) = self.slot_in(segment, index?)?;
            let is_readable = read_slot(segment, other, limit, index?).is_ok();
            let is_witness = is_readable && may_share_batch(segment, slot, other);
            Some((prefix_at(other)?, is_witness))
        });
        let known = own.into_iter().chain(beside.into_iter().flatten().map(|(prefix, _)| prefix));
        for prefix in known {
            let batch = cipher.batch(prefix.life, prefix.random);
            if let Some(way) = writer::stored_as(segment, entry, slot, Some(batch)) {
                return found(way, true);
            }
        }
        // Of what is not authentic, the checksum is somebody else's, and refutes nothing.
        let is_refuted = own.is_some_and(|own| beside.contains(&Some((own, true))));
        if is_refuted && !is_forged(segment, slot, entry.index) {
            return None;
        }
        let compression = self.options.compression;
        found((compression, writer::encrypted_bytes(entry, compression)), false)
    }

    /// What stands before a ciphertext, if it can be right.
    fn prefix_at(&self, segment: &Segment, offset: u32) -> Option<Prefix> {
        let mut bytes = Vec::with_capacity(ENCRYPTED_TEXT_AT);
        io::read_up_to(&*segment.file, &mut bytes, ENCRYPTED_TEXT_AT, u64::from(offset)).ok()?;
        Prefix::parse(&bytes).filter(|prefix| (1..=self.life).contains(&prefix.life))
    }

    /// The slot of the log's entry at `index`, if it stands in this segment, and the offset that bounds it.
    fn slot_in(&self, segment: &Segment, index: u64) -> Option<(Slot, u32)> {
        let spot = {
            let view = self.view.read();
            view.check_index(index).ok()?;
            view.spot(index)
        };
        let found = match spot {
            Spot::Active(active, slot, limit) if active.sequence == segment.sequence => (slot, limit),
            Spot::Sealed(file) if file.segment.sequence == segment.sequence => self.sealed_slot(&file, index).ok()?,
            Spot::Active(..) | Spot::Sealed(_) | Spot::Lost(_) => return None,
        };
        (!found.0.is_lost()).then_some(found)
    }
}

/// Whether what stands there has the checksum that it should have, and is not authentic.
fn is_forged(segment: &Segment, slot: Slot, index: u64) -> bool {
    let header = read(segment, u64::from(slot.offset), ENTRY_BYTES);
    let bytes = header.and_then(|header| read_announced(segment, slot.offset, &header)).ok().flatten();
    let parse = |bytes: Vec<u8>| parse_entry(segment, index, slot.offset, Some(slot.check), bytes.into());
    bytes.is_some_and(|bytes| parse(bytes) == Err(DamageKind::NotAuthentic))
}

/// Whether an entry may be of one batch with a neighbour that can be read: no batch header stands between.
fn may_share_batch(segment: &Segment, lost: Slot, readable: Slot) -> bool {
    if readable.offset > lost.offset {
        let header = readable.offset.checked_sub(BATCH_BYTES as u32).map(|at| Window::new(segment).header(at));
        return matches!(header, Some(Ok(None)));
    }
    let mut head = Vec::with_capacity(ENTRY_BYTES);
    let read = io::read_up_to(&*segment.file, &mut head, ENTRY_BYTES, u64::from(readable.offset));
    let bytes = read.ok().and_then(|_| announced_bytes(&head));
    bytes.is_some_and(|bytes| u64::from(readable.offset) + bytes as u64 == u64::from(lost.offset))
}
