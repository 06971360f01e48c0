//! Healing: which entries are damaged, and putting them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::repairs::{Known, Piece, Repairs, Site};
use super::stable::Meta;
use super::view::Spot;
use super::{Core, Journal, RecoveryReport};
use crate::entry::Entry;
use crate::error::{Damage, DamagedRange, Error, RepairFault, Result};
use crate::meta::{Accepted, REPAIRED_MAX, Repaired};
use crate::segment::Recipe;
use crate::segment::repair::{self, Patch, RepairFile};
use crate::stable_store::Changes;

/// How many damaged entries that reads have met are remembered.
const MET_MAX: usize = 1024;

/// An entry that may be put back: how it is to be stored, and what it then stands for.
struct Planned {
    patch: Patch,
    sequence: u64,
    place: u32,
    /// Whether its check is known, and was right.
    is_proven: bool,
}

impl Journal {
    /// The entries that are in the log and cannot be read, as far as anything has met them: those whose loss was accepted
    /// when the journal was opened, then or earlier, and those that a read, or the last pass of [`verify`](Journal::verify) or
    /// of a [scrub](crate::OpenOptions::scrub), has found damaged since. Each range comes with the file, the offset and the
    /// reason, and with the term where that is known. In order of the indexes.
    ///
    /// Each is looked at again, so this reads from the disk; what has been [repaired](Journal::repair), truncated or
    /// replaced meanwhile is not told any more. A read meets damage when it asks for the entry itself: sealed segments
    /// are not read through when a journal is opened. Of what reads have met, the first 1024 entries are remembered, and as
    /// many more of what a pass has found are named at a time: once they are put back, ask again. Both are known in memory
    /// alone.
    pub fn damaged(&self) -> Vec<Damage> {
        self.core().damaged(self.core().watch.found_by_pass())
    }

    /// Puts damaged entries back, as a peer has them: they are read as before from now on, and
    /// [`damaged`](Journal::damaged) does not tell them any more. Durable when it returns; a crash meanwhile leaves all
    /// of them as they were, or all of them repaired.
    ///
    /// The entries must be consecutive, and each must be damaged. Where the damage left the entry's checksum or its term
    /// known, the entry must have just these; where it left neither, its term must fit between those of its neighbours.
    /// Such an entry must be the one that was committed at its index: take it from the leader. In an encrypted journal the
    /// checksum may prove nothing where the bytes beside it are damaged too; then the term counts.
    ///
    /// Appends and reads go on meanwhile. A file of the segments' is never changed: the entries go to a file of their
    /// own, which stays until the head is truncated past them.
    ///
    /// ```
    /// use raft_journal::{Entry, Journal, LogStore, OnDamage, OpenOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let temporary = tempfile::tempdir()?;
    /// # let (ours, theirs) = (temporary.path().join("node-1"), temporary.path().join("node-2"));
    /// let log = [Entry::new(1, 1, "set x"), Entry::new(2, 1, "set y"), Entry::new(3, 2, "set z")];
    /// let (journal, peer) = (Journal::open(&ours)?, Journal::open(&theirs)?);
    /// journal.append(&log)?;
    /// peer.append(&log)?;
    /// journal.close()?;
    /// # let file = std::fs::read_dir(&ours)?.filter_map(Result::ok).map(|entry| entry.path());
    /// # let file = file.filter(|path| path.extension().is_some_and(|is| is == "seg")).min().expect("a segment");
    /// # let mut bytes = std::fs::read(&file)?;
    /// # let at = bytes.windows(5).position(|bytes| bytes == b"set y").expect("the entry");
    /// # bytes[at] = b'?';
    /// # std::fs::write(&file, bytes)?;
    ///
    /// // Meanwhile a byte of entry 2 goes bad.
    /// let journal = OpenOptions::new().on_damage(OnDamage::Accept).open(&ours)?;
    /// assert!(journal.entry(2).is_err());
    /// for damage in journal.damaged() {
    ///     let end = damage.indexes.end.unwrap_or(u64::MAX);
    ///     let fetched = peer.entries(damage.indexes.first..end, u64::MAX)?; // over the network, from the leader
    ///     journal.repair(&fetched)?;
    /// }
    /// assert!(journal.damaged().is_empty());
    /// assert_eq!(journal.entries(1..4, u64::MAX)?, log);
    /// # journal.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotDamaged`], [`Error::RepairRefused`], [`Error::RepairsFull`], [`Error::BeforeFirst`],
    /// [`Error::AfterLast`] and [`Error::NoSpace`]: nothing was written. [`Error::Io`]: nothing was repaired.
    /// [`Error::BatchTooLarge`], [`Error::Key`], [`Error::Poisoned`], [`Error::Closed`], [`Error::ReadOnly`] and
    /// [`Error::BlockingCallInCallback`] as for appends.
    pub fn repair(&self, entries: &[Entry]) -> Result<()> {
        self.core().group.refuse_in_callback("repair")?;
        self.core().check_writable()?;
        if entries.is_empty() {
            return Ok(());
        }
        // A close waits for it: the next owner of the directory gives his files the same names.
        let pin = self.core().files.pin()?;
        let repaired = self.core().repair(entries);
        if let (Ok(()), Some(first), Some(last)) = (&repaired, entries.first(), entries.last()) {
            let indexes = DamagedRange { first: first.index, end: Some(last.index + 1) };
            let still_lost = self.core().damaged(Vec::new()).into_iter().map(|damage| damage.indexes).collect();
            self.core().watch.mended(indexes, still_lost);
        }
        drop(pin);
        self.core().housekeep_soon();
        repaired
    }
}

impl Core {
    /// What a read that failed says, as exactly as it is known.
    pub(super) fn located(&self, index: u64, site: Site<'_>, damage: &Damage) -> Damage {
        let view = self.view.read();
        match site {
            Site::In(segment, Known::Slot(slot)) => {
                let is_there = view.has_at(index, Site::In(segment, Known::Slot(slot)));
                Damage { term: view.known_term(index).filter(|_| is_there), ..damage.clone() }
            }
            Site::In(segment, Known::Lost) => {
                let owner = view.repairs.owner(index, Some(segment.sequence));
                Damage { offset: owner.map_or(damage.offset, |lost| u64::from(lost.offset)), ..damage.clone() }
            }
            Site::In(_, Known::Nothing) | Site::Nowhere => damage.clone(),
        }
    }

    /// Remembers damage that a read has met. What was accepted is known anyway.
    pub(super) fn note_damage(&self, index: u64, site: Site<'_>, error: &Error) {
        let is_news = matches!(site, Site::In(_, Known::Slot(_) | Known::Nothing));
        let Error::Damaged(damage) = error else { return };
        let mut met = self.met.lock();
        if met.contains_key(&index) || is_news && met.len() < MET_MAX {
            met.insert(index, Damage::clone(damage));
        }
    }

    /// What is lost now of what was accepted, of what reads have met, and of `others`.
    pub(super) fn damaged(&self, others: Vec<DamagedRange>) -> Vec<Damage> {
        let mut found = BTreeMap::new();
        let accepted = self.view.read().repairs.accepted.clone();
        accepted.iter().for_each(|lost| self.look_through(lost, &mut found));
        let met: Vec<u64> = self.met.lock().keys().copied().collect();
        for index in met {
            match self.look_at(index) {
                Some(damage) => insert(&mut found, damage),
                None => _ = self.met.lock().remove(&index),
            }
        }
        self.look_among(others, &mut found);
        let mut joined: Vec<Damage> = Vec::new();
        for damage in found.into_values() {
            match joined.last_mut().filter(|last| joins(last, &damage)) {
                Some(last) => last.indexes.end = damage.indexes.end,
                None => joined.push(damage),
            }
        }
        let view = self.view.read();
        for damage in joined.iter_mut().filter(|damage| damage.term.is_none()) {
            damage.term = view.term_around(&damage.indexes);
        }
        joined
    }

    /// What is damaged of these ranges, each looked at once: no more than so many, but for those of which no index says where
    /// they stand.
    fn look_among(&self, mut ranges: Vec<DamagedRange>, found: &mut BTreeMap<u64, Damage>) {
        ranges.sort_unstable_by_key(|range| range.first);
        let (mut at, next) = {
            let view = self.view.read();
            (view.first().unwrap_or(view.next()), view.next())
        };
        let mut left = MET_MAX;
        for range in ranges {
            at = at.max(range.first);
            while at < range.end.unwrap_or(next).min(next) && left > 0 {
                let before = found.range(..=at).next_back().map(|(_, damage)| damage.indexes);
                if let Some(known) = before.filter(|known| known.contains(at)) {
                    at = known.end.unwrap_or(next);
                    continue;
                }
                let first = at;
                at += 1;
                if let Err(Error::Damaged(damage)) = self.read_entry(first) {
                    left -= 1;
                    at = self.end_of_loss(first, &damage);
                    let indexes = DamagedRange { first, end: Some(at) };
                    found.insert(first, Damage { indexes, ..Damage::clone(&damage) });
                }
            }
        }
    }

    /// How far what a read of `index` has met goes without reading each: to the next entry, or, where nobody knows where
    /// anything stands, along a page of the index to what was put back.
    fn end_of_loss(&self, index: u64, met: &Damage) -> u64 {
        let (unplaced, repairs) = {
            let view = self.view.read();
            (view.unplaced(index, &met.indexes), Arc::clone(&view.repairs))
        };
        let Some((segment, end)) = unplaced else { return index + 1 };
        (index + 1..end).find(|&index| repairs.has_unplaced(&segment, index)).unwrap_or(end)
    }

    /// The damage of the log's entry at `index`, if there is such an entry and it is damaged. What cannot be read is not
    /// damaged, unless it was found to be before.
    fn look_at(&self, index: u64) -> Option<Damage> {
        match self.read_entry(index) {
            // The error may name more, of which some can be read.
            Err(Error::Damaged(damage)) => {
                let indexes = DamagedRange { first: index, end: Some(index + 1) };
                Some(Damage { indexes, ..Damage::clone(&damage) })
            }
            Ok(_) | Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => None,
            Err(_) => self.met.lock().get(&index).cloned(),
        }
    }

    /// What is still damaged of an accepted loss.
    fn look_through(&self, lost: &Accepted, found: &mut BTreeMap<u64, Damage>) {
        let mut at = lost.first;
        while at < lost.end {
            let piece = self.view.read().piece(at, lost);
            let Some(piece) = piece else { return };
            match piece {
                Piece::Elsewhere(end) => at = end,
                Piece::Lost(end) => {
                    let end = end.min(lost.end);
                    let damage = self.look_at(at);
                    let indexes = DamagedRange { first: at, end: Some(end) };
                    damage.into_iter().for_each(|damage| insert(found, Damage { indexes, ..damage }));
                    at = end;
                }
                Piece::Here => {
                    self.look_at(at).into_iter().for_each(|damage| insert(found, damage));
                    at += 1;
                }
            }
        }
    }

    fn repair(&self, entries: &[Entry]) -> Result<()> {
        let _turn = self.repairing.lock();
        self.check_writable()?;
        let mut planned = self.plan(entries)?;
        let mut kept = self.view.read().needed(0, 0);
        let ranges_max = REPAIRED_MAX;
        if kept.len() + group(&planned).len() > ranges_max {
            self.join(&mut planned, &mut kept)?;
        }
        let mut records = group(&planned);
        if kept.len() + records.len() > ranges_max {
            return Err(Error::RepairsFull { ranges_max });
        }
        let patches: Vec<Patch> = planned.into_iter().map(|planned| planned.patch).collect();
        let file = {
            let _under_way = self.watch.begins(&self.watch.repair);
            Arc::new(self.write_repair(&patches)?)
        };
        for record in &mut records {
            (record.file, record.salt) = (file.segment.sequence, file.segment.salt_value);
        }
        let result = self.commit_repair(&kept, &records, &file, entries);
        if matches!(&result, Err(error) if !matches!(error, Error::Poisoned { .. })) {
            // No `meta` names it. After a failed commit one may.
            let _ = self.fs.remove(&file.segment.path);
        }
        result
    }

    /// Takes entries that were put back before, right beside these and for the same place, out of their own files: they
    /// go to the new one, and one record will do for all.
    fn join(&self, planned: &mut Vec<Planned>, kept: &mut Vec<Repaired>) -> Result<()> {
        let repairs = Arc::clone(&self.view.read().repairs);
        loop {
            let groups = group(planned);
            let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return Ok(()) };
            let alike = |a: &Repaired, b: &Repaired| (a.sequence, a.place) == (b.sequence, b.place);
            let below = |other: &Repaired| alike(other, first) && other.end == first.first;
            let above = |other: &Repaired| alike(other, last) && other.first == last.end;
            let at = kept.iter().position(|other| below(other) || above(other));
            let Some(record) = at.map(|at| kept.swap_remove(at)) else { return Ok(()) };
            let Some(patches) = repairs.patches(&record)? else {
                kept.push(record);
                return Ok(());
            };
            let Repaired { sequence, place, .. } = record;
            let joined = patches.into_iter().map(|patch| Planned { patch, sequence, place, is_proven: true });
            let at = if record.end == first.first { 0 } else { planned.len() };
            planned.splice(at..at, joined);
        }
    }

    fn write_repair(&self, patches: &[Patch]) -> Result<RepairFile> {
        let aligned = self.options.aligned;
        let size = RepairFile::size_for(aligned, patches, self.options.keys.is_some());
        let too_large = |_| Error::BatchTooLarge { bytes: size, bytes_max: u64::from(u32::MAX) };
        let size_bytes = u32::try_from(size).map_err(too_large)?;
        let (journal_id, key) = (self.journal_id, self.options.current_key(&self.dir, self.journal_id)?);
        self.with_room(|| {
            let (sequence, salt, key) = (self.next_sequence(), self.fs.entropy(), key.clone());
            let recipe = Recipe { sequence, size_bytes, salt, journal_id, aligned, key };
            RepairFile::write(&*self.fs, &self.dir, &recipe, self.life, patches).map_err(|error| self.mind_names(error))
        })
    }

    /// Names the file in `meta`; from then on readers find what is in it.
    fn commit_repair(
        &self,
        kept: &[Repaired],
        records: &[Repaired],
        file: &Arc<RepairFile>,
        entries: &[Entry],
    ) -> Result<()> {
        // The writer lock: the last position may become known.
        let _writer = self.writer.lock();
        let mut meta = self.meta_for_writing()?;
        let meta: &mut Meta = meta.as_mut().ok_or_else(|| self.read_only_error())?;
        // Anew: the head may have been truncated meanwhile.
        let (before, records) = {
            let view = self.view.read();
            let needed = records.iter().filter(|record| view.needs(record, 0, 0));
            (Arc::clone(&view.repairs), needed.copied().collect::<Vec<Repaired>>())
        };
        if let (true, Some(entry)) = (records.is_empty(), entries.first()) {
            // Purged, or another one's now, since it was planned.
            return self.read_entry(entry.index).and(Err(Error::NotDamaged { index: entry.index }));
        }
        let after = before.only(kept, &before.accepted).with(&records, file);
        self.commit_state(meta, &Changes::new(), |state| state.repaired = after.records())?;
        self.show_repairs(after);
        self.settle_last(entries);
        Ok(())
    }

    /// Lets readers see these repairs, and gives up files that none of them needs.
    pub(super) fn show_repairs(&self, after: Repairs) {
        let after = Arc::new(after);
        let before = std::mem::replace(&mut self.view.write().repairs, Arc::clone(&after));
        self.retire(before.given_up(&after).into_iter());
    }

    /// The last entry may have been put back: its term is known now. The writer lock is held, and everything is synced.
    fn settle_last(&self, entries: &[Entry]) {
        let Some(last) = self.view.read().last else { return };
        if entries.iter().all(|entry| entry.index != last.index) {
            return;
        }
        if let Ok(entry) = self.read_entry(last.index) {
            let mut view = self.view.write();
            view.last = Some(entry.position());
            self.group.settle(view.written());
        }
    }

    /// Holds entries against what is known of those that they are to stand for.
    fn plan(&self, entries: &[Entry]) -> Result<Vec<Planned>> {
        let repairs = Arc::clone(&self.view.read().repairs);
        let mut planned: Vec<Planned> = Vec::with_capacity(entries.len());
        for entry in entries {
            let refused = |why| Error::RepairRefused { index: entry.index, term: entry.term, why };
            if let Some(previous) = planned.last().map(|planned| &planned.patch.entry) {
                if entry.index != previous.index + 1 {
                    return Err(refused(RepairFault::Gap { expected: previous.index + 1 }));
                }
                if entry.term < previous.term {
                    return Err(refused(RepairFault::TermBelow { least: previous.term }));
                }
            }
            planned.push(self.plan_one(&repairs, entry)?);
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(planned) };
        if planned.iter().all(|planned| planned.is_proven) {
            return Ok(planned);
        }
        let (least, most) = (self.term_below(first.index)?, self.term_above(last.index)?);
        for entry in planned.iter().filter(|planned| !planned.is_proven).map(|planned| &planned.patch.entry) {
            let refused = |why| Error::RepairRefused { index: entry.index, term: entry.term, why };
            if entry.term < least {
                return Err(refused(RepairFault::TermBelow { least }));
            }
            if let Some(most) = most.filter(|&most| entry.term > most) {
                return Err(refused(RepairFault::TermAbove { most }));
            }
        }
        Ok(planned)
    }

    fn plan_one(&self, repairs: &Repairs, entry: &Entry) -> Result<Planned> {
        let index = entry.index;
        let (spot, term) = {
            let view = self.view.read();
            view.check_index(index)?;
            (view.spot(index), view.known_term(index))
        };
        let (segment, known, error, sealed) = match &spot {
            Spot::Active(segment, slot, limit) => match super::read::read_slot(segment, *slot, *limit, index) {
                Ok(_) => return Err(Error::NotDamaged { index }),
                Err(error) => (Some(segment), Known::of(*slot), error, false),
            },
            Spot::Sealed(file) => match self.read_sealed(file, index) {
                Ok(_) => return Err(Error::NotDamaged { index }),
                Err((known, error)) => (Some(&file.segment), known, error, true),
            },
            Spot::Lost(active) => (None, Known::Lost, self.lost(active, index), false),
        };
        let Error::Damaged(_) = error else { return Err(error) };
        match repairs.stand_in(index, segment.map_or(Site::Nowhere, |segment| Site::In(segment, known))) {
            Ok(Some(_)) => return Err(Error::NotDamaged { index }),
            Ok(None) | Err(Error::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let refused = |why| Error::RepairRefused { index, term: entry.term, why };
        let (mut compression, mut stood, mut is_proven) = (self.options.compression, None, false);
        if let (Some(segment), Known::Slot(slot)) = (segment, known) {
            if let Some(known) = term.filter(|&term| term != entry.term) {
                return Err(refused(RepairFault::Term { known }));
            }
            let recognized = self.recognize(segment, entry, slot).ok_or(refused(RepairFault::Checksum))?;
            (compression, stood, is_proven) = (recognized.compression, Some(recognized.stood), recognized.is_proven);
        }
        let owner = repairs.owner(index, segment.map(|segment| segment.sequence));
        let (sequence, place) = match (segment, known, owner) {
            (Some(segment), _, _) if sealed => (segment.sequence, Repaired::SEALED),
            (Some(segment), Known::Slot(_), _) => (segment.sequence, Repaired::BY_CHECK),
            (_, _, Some(lost)) => (lost.sequence, lost.offset),
            // Nothing says what was lost there.
            (_, _, None) => return Err(error),
        };
        let patch = Patch { entry: entry.clone(), compression, stood };
        Ok(Planned { patch, sequence, place, is_proven })
    }

    /// The greatest term that is known below `index`.
    pub(super) fn term_below(&self, index: u64) -> Result<u64> {
        let mut at = index;
        loop {
            let Some(before) = at.checked_sub(1) else { return Ok(0) };
            match self.read_term(before) {
                Ok(term) => return Ok(term),
                Err(Error::BeforeFirst { .. }) => return Ok(0),
                Err(Error::Damaged(_)) => {
                    at = self.view.read().lost_around(before).map_or(before, |lost| lost.start);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The smallest term that is known above `index`.
    pub(super) fn term_above(&self, index: u64) -> Result<Option<u64>> {
        let mut at = index + 1;
        loop {
            match self.read_term(at) {
                Ok(term) => return Ok(Some(term)),
                Err(Error::AfterLast { .. }) => return Ok(None),
                Err(Error::BeforeFirst { first, .. }) => at = first.max(at + 1),
                Err(Error::Damaged(_)) => {
                    at = self.view.read().lost_around(at).map_or(at + 1, |lost| lost.end);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes a damaged range in, unless it is known.
fn insert(found: &mut BTreeMap<u64, Damage>, damage: Damage) {
    let first = damage.indexes.first;
    if found.range(..=first).next_back().is_none_or(|(_, known)| !known.indexes.contains(first)) {
        found.insert(first, damage);
    }
}

/// What the repair files that were lost before this open stood for.
pub(super) fn met_at_open(report: &RecoveryReport) -> BTreeMap<u64, Damage> {
    let name = |damage: &Damage| damage.path.file_name()?.to_str().and_then(repair::sequence_of);
    let unmended = report.damaged.iter().filter(|damage| name(damage).is_some());
    let each = |damage: &Arc<Damage>| {
        let damage = Arc::clone(damage);
        (damage.indexes.first..damage.indexes.end.unwrap_or(0)).map(move |index| (index, Damage::clone(&damage)))
    };
    unmended.flat_map(each).take(MET_MAX).collect()
}

/// Whether two neighbours suffer from the same.
fn joins(last: &Damage, next: &Damage) -> bool {
    last.indexes.end == Some(next.indexes.first)
        && (&last.path, last.offset, last.term, last.why) == (&next.path, next.offset, next.term, next.why)
}

/// The records of these entries, all in a file that is still to be named.
fn group(planned: &[Planned]) -> Vec<Repaired> {
    let stands_for = |planned: &Planned| (planned.sequence, planned.place);
    let groups = planned.chunk_by(|a, b| stands_for(a) == stands_for(b));
    groups
        .filter_map(|group| {
            let (first, last) = (&group.first()?.patch.entry, &group.last()?.patch.entry);
            let (sequence, place) = group.first().map(stands_for)?;
            Some(Repaired { sequence, place, first: first.index, end: last.index + 1, file: 0, salt: 0 })
        })
        .collect()
}
