//! What was put back for damaged entries: which repair file stands in for which place.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::options::{OnDamage, OpenOptions};
use super::view::{Sealed, SealedFile, Spot, View};
use crate::entry::Entry;
use crate::error::{Damage, DamageKind, DamagedRange, Error, JournalId, Result};
use crate::io::Mode;
use crate::meta::{Accepted, Repaired, State};
use crate::segment::format::{BatchHeader, Kind, PAGE_SLOTS};
use crate::segment::index::Slot;
use crate::segment::repair::{self, Patch, RepairFile, Stood};
use crate::segment::window::{Body, Window};
use crate::segment::{self, Opened, Segment};

/// Where a damaged entry stands.
#[derive(Clone, Copy)]
pub(crate) enum Site<'a> {
    /// In a segment, with what is known of its slot.
    In(&'a Segment, Known),
    /// In no segment: the file that held it is lost.
    Nowhere,
}

/// What is known of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Slot(Slot),
    /// That its entry is lost, and the loss accepted.
    Lost,
    /// Nothing: the page that has it cannot be read. Its segment is sealed.
    Nothing,
}

impl Known {
    pub(crate) fn of(slot: Slot) -> Known {
        if slot.is_lost() { Known::Lost } else { Known::Slot(slot) }
    }
}

/// All repairs, and the accepted losses that some of them end.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// As `meta` has them.
    pub(crate) accepted: Vec<Accepted>,
    /// Oldest first.
    list: Vec<(Repaired, Arc<RepairFile>)>,
}

impl Repairs {
    /// Opens the files that `meta` names. What of them is lost is an error, or left out and reported.
    pub(crate) fn load(options: &OpenOptions, dir: &Path, state: &State, mode: Mode) -> Result<(Repairs, Vec<Damage>)> {
        let (fs, keys) = (&*options.file_system, options.keys.as_ref());
        let (mut list, mut lost) = (Vec::new(), Vec::new());
        let mut opened = BTreeMap::new();
        for record in &state.repaired {
            let named = (record.file, record.salt);
            let file = match opened.remove(&named) {
                Some(file) => file,
                None => RepairFile::open(fs, dir, named, state.journal_id, mode, keys)?.map(Arc::new),
            };
            opened.insert(named, file.clone());
            let is_whole = |file: &Arc<RepairFile>| file.covers(record.first, record.end);
            match file.and_then(|file| is_whole(&file).then_some(file).ok_or(DamageKind::Checksum)) {
                Ok(file) => list.push((*record, file)),
                Err(why) => {
                    let indexes = DamagedRange { first: record.first, end: Some(record.end) };
                    let path = dir.join(repair::file_name(record.file));
                    let damage = Damage { path, offset: 0, indexes, term: None, why };
                    if options.on_damage == OnDamage::Refuse {
                        return Err(damage.into());
                    }
                    lost.push(damage);
                }
            }
        }
        Ok((Repairs { accepted: state.accepted.clone(), list }, lost))
    }

    /// Takes in the losses that are accepted now. What was put back for another loss at the place of a new one goes: what is
    /// lost there now may have replaced it.
    pub(crate) fn accept(&mut self, accepted: Vec<Accepted>) {
        let is_new = |lost: &&Accepted| !self.accepted.contains(lost);
        let places: Vec<(u64, u32)> = accepted.iter().filter(is_new).map(|lost| (lost.sequence, lost.offset)).collect();
        self.list.retain(|(record, _)| !places.contains(&(record.sequence, record.place)));
        self.accepted = accepted;
    }

    /// Repair files that a crash kept from being named, or a finished head truncation from being removed.
    pub(crate) fn unnamed(&self, dir: &Path, names: &[String]) -> Vec<PathBuf> {
        let is_named = |sequence| self.list.iter().any(|(record, _)| record.file == sequence);
        let unnamed = names.iter().filter(|name| repair::sequence_of(name).is_some_and(|found| !is_named(found)));
        unnamed.map(|name| dir.join(name)).collect()
    }

    /// Each with its file, oldest first.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Repaired, &Arc<RepairFile>)> {
        self.list.iter().map(|(record, file)| (record, file))
    }

    /// Whether the loss of the entry at `index` of a segment was accepted, put back since or not.
    pub(crate) fn has_accepted(&self, sequence: u64, index: u64) -> bool {
        self.owner(index, Some(sequence)).is_some()
    }

    /// Whether the loss of what stands at an offset of a segment was. One that cost nothing is a fault still.
    pub(crate) fn has_accepted_at(&self, sequence: u64, offset: u32) -> bool {
        let is_it = |lost: &Accepted| (lost.sequence, lost.offset) == (sequence, offset) && lost.first < lost.end;
        self.accepted.iter().any(is_it)
    }

    /// Has a sealed file be read with its checks where something was put back for it, or lost, and that accepted: what stands
    /// there may check out one day, and not be what was put back.
    pub(crate) fn doubt(&self, file: &SealedFile) {
        let sequence = file.segment.sequence;
        let is_mended = self.list.iter().any(|(record, _)| record.sequence == sequence);
        if is_mended || self.accepted.iter().any(|lost| lost.sequence == sequence) {
            file.pages.doubt();
        }
    }

    pub(crate) fn records(&self) -> Vec<Repaired> {
        self.list.iter().map(|(record, _)| *record).collect()
    }

    /// These, and more that are all in one file.
    pub(crate) fn with(&self, records: &[Repaired], file: &Arc<RepairFile>) -> Repairs {
        let added = records.iter().map(|record| (*record, Arc::clone(file)));
        Repairs { accepted: self.accepted.clone(), list: self.list.iter().cloned().chain(added).collect() }
    }

    /// Those that are among these records.
    pub(crate) fn only(&self, records: &[Repaired], accepted: &[Accepted]) -> Repairs {
        let list = self.list.iter().filter(|(record, _)| records.contains(record)).cloned().collect();
        Repairs { accepted: accepted.to_vec(), list }
    }

    /// The files here that `after` has no more.
    pub(crate) fn given_up(&self, after: &Repairs) -> Vec<Arc<Segment>> {
        let mut gone: Vec<Arc<Segment>> = Vec::new();
        for (record, file) in &self.list {
            let is_kept = after.list.iter().any(|(other, _)| other.file == record.file);
            if !is_kept && gone.iter().all(|other| other.sequence != record.file) {
                gone.push(Arc::clone(&file.segment));
            }
        }
        gone
    }

    /// The accepted loss that the lost entry at `index` belongs to: the one that was accepted last, among those of one segment
    /// where it still has a slot. One that lies before it may be newer: the file may have been lost as a whole since.
    pub(crate) fn owner(&self, index: u64, sequence: Option<u64>) -> Option<&Accepted> {
        let covers = |lost: &&Accepted| {
            (lost.first..lost.end).contains(&index) && sequence.is_none_or(|sequence| sequence == lost.sequence)
        };
        self.accepted.iter().rfind(covers)
    }

    /// Whether an entry was put back in a segment of which nobody knows where anything stands.
    pub(crate) fn has_unplaced(&self, segment: &Segment, index: u64) -> bool {
        matches!(self.stand_in(index, Site::In(segment, Known::Nothing)), Ok(Some(_)))
    }

    /// The entry that was put back for the one that stands there; nothing if there is none.
    pub(crate) fn stand_in(&self, index: u64, site: Site<'_>) -> Result<Option<Entry>> {
        let owner = match site {
            Site::In(segment, Known::Lost) => self.owner(index, Some(segment.sequence)),
            Site::In(_, Known::Slot(_) | Known::Nothing) => None,
            Site::Nowhere => self.owner(index, None),
        };
        let mut failed = None;
        for (record, file) in self.list.iter().rev().filter(|(record, _)| record.contains(index)) {
            let ends_loss = owner.is_some_and(|lost| (lost.sequence, lost.offset) == (record.sequence, record.place));
            let found = match site {
                Site::In(segment, _) if segment.sequence != record.sequence => continue,
                Site::In(segment, Known::Slot(slot)) if record.place <= Repaired::SEALED => {
                    // Of a sealed segment nothing may have been known.
                    let unknown = record.place == Repaired::SEALED;
                    let is_it = |stood: Option<Stood>| stood.map_or(unknown, |stood| stood.check == slot.check);
                    file.stood(&segment.salt, index).map(|(_, stood)| is_it(stood))
                }
                Site::In(_, Known::Lost) => Ok(record.place == Repaired::SEALED || ends_loss),
                Site::In(_, Known::Nothing) => Ok(record.place == Repaired::SEALED),
                Site::In(_, Known::Slot(_)) => Ok(false),
                Site::Nowhere => Ok(ends_loss),
            };
            match found.and_then(|is_it| if is_it { file.entry(index).map(Some) } else { Ok(None) }) {
                Ok(None) => {}
                Ok(Some(entry)) => return Ok(Some(entry)),
                // What was put back may be damaged in its turn, and put back once more.
                Err(error @ Error::Damaged(_)) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The entries of a record, to be stored in another file with others; nothing where that cannot be done.
    pub(crate) fn patches(&self, record: &Repaired) -> Result<Option<Vec<Patch>>> {
        let Some((_, file)) = self.list.iter().find(|(known, _)| known == record) else { return Ok(None) };
        match (record.first..record.end).map(|index| file.patch(index)).collect() {
            Err(Error::Damaged(_)) => Ok(None),
            patches => patches,
        }
    }

    /// An entry that may be the one that a batch of a segment had at `index`: its term, and its check and length there. Of
    /// several, the one that has this check, or else the newest.
    pub(crate) fn patch(&self, segment: &Segment, index: u64, check: Option<u32>) -> Result<Option<(u64, u32, usize)>> {
        let of_segment = |record: &Repaired| record.sequence == segment.sequence && record.place <= Repaired::SEALED;
        let mut newest = None;
        for (_, file) in self.list.iter().rev().filter(|(record, _)| of_segment(record) && record.contains(index)) {
            match file.stood(&segment.salt, index) {
                Ok((term, Some(stood))) => {
                    let found = (term, stood.check, stood.bytes as usize);
                    if check == Some(stood.check) {
                        return Ok(Some(found));
                    }
                    newest.get_or_insert(found);
                }
                Ok((_, None)) => {}
                Err(Error::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// The accepted losses that are none any more: the batch that they are about is whole with what was put back. Each with
    /// the indexes that are not found for all that: those that the segment was sealed without.
    pub(crate) fn healed(
        &self,
        options: &OpenOptions,
        dir: &Path,
        id: JournalId,
        sealed: &VecDeque<Sealed>,
    ) -> Result<Vec<(Accepted, Vec<u64>)>> {
        let (fs, keys) = (&*options.file_system, options.keys.as_ref());
        let mut healed = Vec::new();
        // What stands where batches were void tells nothing.
        for lost in self.accepted.iter().filter(|lost| !lost.void) {
            let is_of = |record: &Repaired| record.sequence == lost.sequence && record.place <= Repaired::SEALED;
            if !self.list.iter().any(|(record, _)| is_of(record)) {
                continue;
            }
            let segment = match Segment::open(fs, dir, lost.sequence, id, Mode::Read, keys) {
                Ok(Opened::Whole(segment)) => segment,
                Ok(_) => continue,
                Err(error) if error.is_missing_file() => continue,
                Err(error) => return Err(error),
            };
            let patch = |index, check| self.patch(&segment, index, check);
            let mut window = Window::patched(&segment, &patch);
            // The one batch that ends where the log goes on.
            let ends_it = |header: &BatchHeader| {
                let end = header.end(segment.align).map(|end| (lost.sequence, end));
                lost.resume == Accepted::UNKNOWN || Some(lost.resume) == end
            };
            let header = window.header(lost.offset)?.filter(|header| header.kind == Kind::Entries && ends_it(header));
            let body = header.map(|header| window.body(&header)).transpose()?;
            if matches!(body, Some(Body::Entries(_))) {
                let file = sealed.iter().find(|file| file.segment.sequence == lost.sequence);
                let unfound = file.map(|file| file.sealed_as_lost(lost.first..lost.end)).transpose()?;
                healed.push((*lost, unfound.unwrap_or_default()));
            }
        }
        Ok(healed)
    }

    /// What is left of a reported loss. `is_read` says whether the log still has a segment: of one that it has not, what was
    /// put back is not found any more.
    pub(crate) fn rest_of(
        &self,
        dir: &Path,
        damage: &Arc<Damage>,
        healed: &[(Accepted, Vec<u64>)],
        is_read: impl Fn(u64) -> bool,
    ) -> Vec<Arc<Damage>> {
        let path_of = |lost: &Accepted| -> PathBuf { dir.join(segment::file_name(lost.sequence)) };
        let is_it = |lost: &&Accepted| u64::from(lost.offset) == damage.offset && path_of(lost) == damage.path;
        let (Some(lost), Some(end)) = (self.accepted.iter().find(is_it), damage.indexes.end) else {
            return vec![Arc::clone(damage)];
        };
        let order = |sequence: u64, place: u32| {
            self.accepted.iter().position(|lost| (lost.sequence, lost.offset) == (sequence, place))
        };
        let ends_it = |record: &Repaired| match record.place {
            Repaired::BY_CHECK => false,
            Repaired::SEALED => record.sequence >= lost.sequence && is_read(record.sequence),
            // A later loss of the same entries is the one that they suffer from now.
            place => order(record.sequence, place) >= order(lost.sequence, lost.offset),
        };
        let mut ended: Vec<(u64, u64)> =
            self.list.iter().filter(|(record, _)| ends_it(record)).map(|(r, _)| (r.first, r.end)).collect();
        let healed = healed.iter().find(|(healed, _)| healed == lost);
        if let Some((_, unfound)) = healed {
            let starts = std::iter::once(lost.first).chain(unfound.iter().map(|index| index + 1));
            ended.extend(starts.zip(unfound.iter().copied().chain([lost.end])));
        }
        ended.sort_unstable();
        let (mut rest, mut at) = (Vec::new(), damage.indexes.first);
        for (first, last) in ended.into_iter().chain([(end, end)]) {
            if at < first.min(end) {
                let indexes = DamagedRange { first: at, end: Some(first.min(end)) };
                rest.push(Arc::new(Damage { indexes, ..Damage::clone(damage) }));
            }
            at = at.max(last);
        }
        // A loss of nothing that is known stays what it is.
        if damage.indexes.first >= end && healed.is_none() { vec![Arc::clone(damage)] } else { rest }
    }
}

/// What of an accepted loss lies at an index.
pub(crate) enum Piece {
    /// A segment that has not to do with it, or another loss, up to here.
    Elsewhere(u64),
    /// What no segment has, all of it in the same state up to here.
    Lost(u64),
    /// An entry of the segment that lost some.
    Here,
}

impl View {
    /// What lies at `index` of a loss; nothing where the log ends.
    pub(crate) fn piece(&self, index: u64, lost: &Accepted) -> Option<Piece> {
        let first = self.first().filter(|_| index < self.next())?;
        if index < first {
            return Some(Piece::Elsewhere(first));
        }
        if let Some(around) = self.lost_around(index) {
            let is_its = self.repairs.owner(index, None) == Some(lost);
            return Some(if is_its { Piece::Lost(around.end) } else { Piece::Elsewhere(around.end) });
        }
        let (sequence, end) = self
            .sealed_at(index)
            .map_or((self.active.sequence, self.next()), |sealed| (sealed.segment.sequence, sealed.live_end));
        Some(if sequence == lost.sequence { Piece::Here } else { Piece::Elsewhere(end) })
    }

    /// The sealed segment that has `index`, and where the entries end that share a page of its index, if what is `lost` is all of
    /// it: neither its index nor its batches say where any of them stands.
    pub(crate) fn unplaced(&self, index: u64, lost: &DamagedRange) -> Option<(Arc<Segment>, u64)> {
        let sealed = self.sealed_at(index)?;
        let is_all = lost.first == sealed.first && lost.end == Some(sealed.end());
        let page = (index - sealed.first) / PAGE_SLOTS as u64 + 1;
        let end = sealed.first.saturating_add(page * PAGE_SLOTS as u64).min(sealed.live_end);
        is_all.then(|| (Arc::clone(&sealed.segment), end))
    }

    /// Whether the entry at `index` is the one that stands there.
    pub(crate) fn has_at(&self, index: u64, site: Site<'_>) -> bool {
        match (self.spot(index), site) {
            (Spot::Sealed(file), Site::In(segment, _)) => file.segment.sequence == segment.sequence,
            (Spot::Active(active, slot, _), Site::In(segment, known)) => {
                (active.sequence, Known::of(slot)) == (segment.sequence, known)
            }
            (Spot::Lost(_), Site::Nowhere) => true,
            (Spot::Lost(_), Site::In(..)) | (Spot::Sealed(_) | Spot::Active(..), Site::Nowhere) => false,
        }
    }

    /// The indexes around this one that no segment has, and that share its fate: the same loss, put back or not.
    pub(crate) fn lost_around(&self, index: u64) -> Option<Range<u64>> {
        let gap = self.gap_at(index)?;
        let losses = self.repairs.accepted.iter().flat_map(|lost| [lost.first, lost.end]);
        let repairs = self.repairs.list.iter().flat_map(|(record, _)| [record.first, record.end]);
        let bounds: Vec<u64> = losses.chain(repairs).collect();
        let start = bounds.iter().copied().filter(|&bound| bound <= index).fold(gap.start, u64::max);
        let end = bounds.iter().copied().filter(|&bound| bound > index).fold(gap.end, u64::min);
        Some(start..end)
    }

    /// The records of repairs that are needed by a log that begins at `least` or later, and its chain in the segment with
    /// this sequence or a later one.
    pub(crate) fn needed(&self, least: u64, sequence_min: u64) -> Vec<Repaired> {
        let records = self.repairs.list.iter().map(|(record, _)| record);
        records.filter(|record| self.needs(record, least, sequence_min)).copied().collect()
    }

    /// Whether such a log needs this record.
    pub(crate) fn needs(&self, record: &Repaired, least: u64, sequence_min: u64) -> bool {
        let (first, next) = (self.first().unwrap_or(u64::MAX).max(least), self.next());
        let (start, end) = (record.first.max(first), record.end.min(next));
        let is_active = self.active.sequence == record.sequence;
        let mut of_sealed = self.sealed.iter().filter(|sealed| sealed.segment.sequence == record.sequence);
        if record.place <= Repaired::SEALED {
            // A segment that has to be scanned is whole with it alone, be its entries part of the log or not.
            return record.sequence >= sequence_min && (is_active || of_sealed.next().is_some());
        }
        let overlaps = |held: Range<u64>| start.max(held.start) < end.min(held.end);
        of_sealed.any(|sealed| overlaps(sealed.first..sealed.live_end))
            || is_active && overlaps(self.fold.run.first..self.fold.run.end())
            || start < end && self.has_gap(start..end)
    }

    /// Whether some index of the range stands in no segment.
    fn has_gap(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        while at < range.end && self.gap_at(at).is_none() {
            at = self.sealed_at(at).map_or(self.next(), |sealed| sealed.live_end);
        }
        at < range.end
    }
}
