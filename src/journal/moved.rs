//! Where an entry comes from that was encrypted for another place.

use std::sync::Arc;

use bytes::Bytes;

use super::Core;
use super::read::{bound, read, read_announced};
use super::view::Place;
use crate::error::DamageKind;
use crate::segment::Segment;
use crate::segment::format::ENTRY_BYTES;
use crate::segment::index::Slot;

/// So many indexes are asked on either side, where no answer costs the decryption of as many entries.
const NEAR: u64 = 1000;

/// The place of an entry: its index, where it starts, and where it ends at the latest.
type Standing = (u64, u32, u32);

impl Core {
    /// What an entry is that is not authentic in its place: perhaps that of another index of this segment.
    pub(super) fn moved(&self, segment: &Segment, index: u64, slot: Slot) -> DamageKind {
        let from = self.encrypted_for(segment, index, slot);
        from.map_or(DamageKind::NotAuthentic, |from| DamageKind::Moved { from })
    }

    fn encrypted_for(&self, segment: &Segment, index: u64, slot: Slot) -> Option<u64> {
        let cipher = segment.cipher.as_ref()?;
        let header = read(segment, u64::from(slot.offset), ENTRY_BYTES).ok()?;
        let bytes = Bytes::from(read_announced(segment, slot.offset, &header).ok()??);
        let has_room = |&(_, start, end): &Standing| end.saturating_sub(start) as usize >= bytes.len();
        let is_its = |&(index, start, _): &Standing| cipher.decrypt_entry(index, start, bytes.clone()).is_ok();
        self.standing_near(segment, index).into_iter().filter(has_room).find(is_its).map(|(index, ..)| index)
    }

    /// The places of the segment's entries around one of them; fewer where an index cannot be read.
    fn standing_near(&self, segment: &Segment, index: u64) -> Vec<Standing> {
        let mut near = Vec::new();
        let first = self.view.read().first().unwrap_or(index);
        let (mut at, end) = (first.max(index.saturating_sub(NEAR)), index.saturating_add(NEAR + 1));
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX);
            let place = self.view.read().place(at, count);
            let (there, slots, limit) = match place {
                Place::Active(active, slots, limit) => (active, slots, limit),
                Place::Sealed(sealed) if sealed.segment.salt_value != segment.salt_value => {
                    at = sealed.live_end;
                    continue;
                }
                Place::Sealed(sealed) => {
                    let live = usize::try_from(sealed.live_end - at).unwrap_or(usize::MAX);
                    let Ok((slots, limit)) = self.sealed_slots(&sealed, at, count.min(live)) else { break };
                    (Arc::clone(&sealed.segment), slots, limit)
                }
                Place::Lost(_) => {
                    at += 1;
                    continue;
                }
            };
            if slots.is_empty() {
                break;
            }
            if there.salt_value == segment.salt_value {
                let standing = slots.iter().enumerate().filter(|(_, slot)| !slot.is_lost()).map(|(number, slot)| {
                    let end = bound(slots[number + 1..].iter().copied(), limit);
                    (at + number as u64, slot.offset, end)
                });
                near.extend(standing);
            }
            at += slots.len() as u64;
        }
        near
    }
}
