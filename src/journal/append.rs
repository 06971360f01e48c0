//! Appending and replacing: one write, published to readers, synced by whoever waits for it.

use std::sync::Arc;

use bytes::Bytes;

use super::Core;
use super::commit::Written;
use super::tail::TailCache;
use super::view::{Sealed, TermAt, View};
use super::{trace, watch};
use crate::entry::{Entry, Position};
use crate::error::{Error, Result};
use crate::io;
use crate::meta::ChainStart;
#[cfg(mutate)]
use crate::mutate::{self, Mutation};
use crate::segment::Segment;
use crate::segment::format::{BATCH_BYTES, BatchHeader, ENTRY_BYTES, Kind, Trailer};
use crate::segment::index::{self, Slot};
use crate::segment::writer::{self, Compression};

/// What only the writer touches; its lock is the writer lock.
#[derive(Default)]
pub(crate) struct Writer {
    /// The batch that is being written. Where the tail cache is to have its entries, it gets the buffer itself.
    buffer: Vec<u8>,
    /// Term and slot of each of its entries.
    slots: Vec<(u64, Slot)>,
    /// A buffer that the tail cache gave up, for the next batch.
    given_up: Option<Bytes>,
    /// The buffer of the last seal, for the next one: memory that is new to the process costs more than what is put there.
    seal: Vec<u8>,
}

/// More than this is not kept from one batch to the next, or from one file, bytes.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// How a write treats the log's tail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// Continue it.
    Keep,
    /// Drop it from the first index on.
    Replace,
}

impl Writer {
    /// Forgets the last batch, and gives up what only a huge one needed.
    fn reset(&mut self) {
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            *self = Writer::default();
        }
        self.buffer.clear();
        self.slots.clear();
    }

    /// An empty buffer with room for so many bytes, and not for many more. One that the tail cache gave up is used again,
    /// unless a reader still has something of it.
    fn room(&mut self, bytes: usize) -> Vec<u8> {
        let mut given_up = self.given_up.take().and_then(|given_up| given_up.try_into_mut().ok()).unwrap_or_default();
        given_up.clear();
        let given_up = Vec::from(given_up);
        if is_about(given_up.capacity(), bytes) { given_up } else { Vec::with_capacity(bytes) }
    }

    /// The payloads of the batch for the tail cache: where they were stored as they are, in the buffer that was written.
    fn payloads(&mut self, entries: &[Entry], is_plain: bool) -> Payloads {
        if is_plain {
            return Payloads {
                buffer: std::mem::take(&mut self.buffer),
                at: BATCH_BYTES + ENTRY_BYTES,
                gap: ENTRY_BYTES,
            };
        }
        let mut buffer = self.room(entries.iter().map(|entry| entry.data.len()).sum());
        entries.iter().for_each(|entry| buffer.extend_from_slice(&entry.data));
        Payloads { buffer, at: 0, gap: 0 }
    }
}

/// Whether a buffer has room for so many bytes, and not for many more.
fn is_about(capacity: usize, bytes: usize) -> bool {
    (bytes..=2 * bytes).contains(&capacity)
}

/// The payloads of a batch, in one buffer.
struct Payloads {
    buffer: Vec<u8>,
    /// Where the first one begins.
    at: usize,
    /// What lies between one and the next.
    gap: usize,
}

impl Payloads {
    /// Puts them into the cache, which may give up a buffer.
    fn keep(self, entries: &[Entry], cache: &mut TailCache) -> Option<Bytes> {
        let first_index = entries.first()?.index;
        let Payloads { buffer, mut at, gap } = self;
        let capacity = buffer.capacity();
        let parts = entries.iter().map(|entry| {
            let place = at..at + entry.data.len();
            at = place.end + gap;
            (entry.term, place)
        });
        cache.push(first_index, Bytes::from(buffer), capacity, parts)
    }
}

impl Core {
    /// Appends, or replaces the tail by, at least one entry. Returns its ticket in the group sync.
    pub(super) fn write_entries(self: &Arc<Self>, entries: &[Entry], tail: Tail) -> Result<u64> {
        let ticket = {
            let mut writer = self.writer.lock();
            self.check_writable()?;
            self.check_entries(entries, tail)?;
            let first_index = entries.first().map_or(0, |entry| entry.index);
            #[cfg(mutate)]
            if mutate::is(Mutation::ReplacementSplit) && tail == Tail::Replace {
                self.write_batch(&mut writer, first_index, &[])?;
            }
            self.write_batch(&mut writer, first_index, entries)?
        };
        self.watch_for_idleness();
        self.housekeep_soon();
        self.catch_up(ticket);
        Ok(ticket)
    }

    /// Drops the log from `first_removed` on. Returns the ticket, or nothing when there is nothing to drop: what was dropped
    /// before may not be durable yet.
    pub(super) fn write_truncation(self: &Arc<Self>, first_removed: u64) -> Result<Option<u64>> {
        let ticket = {
            let mut writer = self.writer.lock();
            self.check_writable()?;
            if !self.check_truncation(first_removed)? {
                return Ok(None);
            }
            self.write_batch(&mut writer, first_removed, &[])?
        };
        self.watch_for_idleness();
        self.housekeep_soon();
        Ok(Some(ticket))
    }

    fn check_truncation(&self, first_removed: u64) -> Result<bool> {
        let view = self.view.read();
        let next = view.next();
        match (view.purged, view.first()) {
            _ if first_removed == u64::MAX => Err(Error::IndexOverflow { index: first_removed }),
            (Some(purged), _) if first_removed <= purged.index => Err(Error::Purged { index: first_removed, purged }),
            // An empty log that was never purged has no end to be beyond.
            (None, None) => Ok(false),
            _ if first_removed > next => Err(Error::TruncateBeyondEnd { index: first_removed, next }),
            _ => Ok(first_removed < next),
        }
    }

    fn check_entries(&self, entries: &[Entry], tail: Tail) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.check_start(first.index, tail)?;
        let mut previous = self.position_before(first.index)?.map_or(0, |before| before.term);
        let mut expected = first.index;
        for entry in entries {
            let &Entry { index, term, ref data } = entry;
            let (bytes, bytes_max) = (data.len() as u64, self.options.entry_bytes_max);
            match () {
                () if index == u64::MAX => return Err(Error::IndexOverflow { index }),
                () if index > expected => return Err(Error::Gap { expected, found: index }),
                () if index < expected => return Err(Error::Overlap { last: expected - 1, found: index }),
                () if term < previous => return Err(Error::TermFell { index, previous, found: term }),
                () if bytes > bytes_max => return Err(Error::EntryTooLarge { index, bytes, bytes_max }),
                () => (previous, expected) = (term, index + 1),
            }
        }
        Ok(())
    }

    fn check_start(&self, index: u64, tail: Tail) -> Result<()> {
        let view = self.view.read();
        if view.fold.takes_any() {
            return Ok(());
        }
        let next = view.next();
        match (tail, view.purged) {
            (_, _) if index == u64::MAX => Err(Error::IndexOverflow { index }),
            (_, _) if index > next => Err(Error::Gap { expected: next, found: index }),
            (Tail::Keep, _) if index < next => Err(Error::Overlap { last: next - 1, found: index }),
            (Tail::Replace, Some(purged)) if index <= purged.index => Err(Error::Purged { index, purged }),
            (Tail::Keep | Tail::Replace, _) => Ok(()),
        }
    }

    /// The position of the entry before `index`, or the purged one, where there is such. The writer lock is held.
    pub(super) fn position_before(&self, index: u64) -> Result<Option<Position>> {
        let known = {
            let view = self.view.read();
            if view.last.is_some_and(|last| last.index < index) {
                return Ok(view.last);
            }
            if view.first().is_none_or(|first| index <= first) {
                return Ok(view.purged);
            }
            view.term(index - 1)
        };
        let index = index - 1;
        match known {
            TermAt::Known(term) => Ok(Some(Position { index, term })),
            TermAt::InEntry => match self.read_entry(index) {
                Ok(entry) => Ok(Some(entry.position())),
                // A lost entry's term is unknown: nothing can be held against it.
                Err(Error::Damaged(_)) => Ok(Some(Position { index, term: 0 })),
                Err(error) => Err(error),
            },
        }
    }

    pub(super) fn write_batch(&self, writer: &mut Writer, first_index: u64, entries: &[Entry]) -> Result<u64> {
        let before = self.position_before(first_index)?;
        let is_encrypted = self.options.keys.is_some();
        let body_bytes = writer::body_bytes_max(entries, is_encrypted);
        if !self.fits(first_index, entries, body_bytes) {
            self.rotate(writer, entries, body_bytes)?;
        }
        let (segment, header) = self.next_header(Kind::Entries, Some(first_index));
        writer.reset();
        let (compression, random) = (self.options.compression, self.random_for(&segment));
        let bytes = BATCH_BYTES + body_bytes as usize + segment.align as usize;
        let is_plain = compression == Compression::None && segment.cipher.is_none();
        let is_kept =
            !entries.is_empty() && TailCache::bytes_of(2 * bytes, entries.len()) <= self.options.tail_cache_bytes;
        if is_kept && is_plain && !is_about(writer.buffer.capacity(), bytes) {
            writer.buffer = writer.room(bytes);
        }
        let Writer { buffer, slots, .. } = writer;
        let header = writer::encode_entries(&segment, header, entries, compression, random, buffer, slots)
            .map_err(|fault| segment.key_error(fault))?;
        #[cfg(mutate)]
        if mutate::is(Mutation::TailTruncationInMemory) && entries.is_empty() {
            let mut view = self.view.write();
            view.tail.truncate(first_index);
            view.fold.replace_from(first_index, 0);
            view.last = before;
            return Ok(self.group.wrote(view.written(), Some(before)));
        }
        let bytes = &writer.buffer;
        self.write_or_undo(&segment, bytes, header.offset, |written| self.supersede(&segment, bytes, written))?;
        let payloads = is_kept.then(|| writer.payloads(entries, is_plain));
        let mut view = self.view.write();
        let replaced = first_index < view.next();
        view.publish(&header, &writer.slots, entries.last().map(Entry::position).or(before));
        match payloads {
            Some(payloads) => writer.given_up = payloads.keep(entries, &mut view.tail),
            // A batch that is too large: the cache has the end of the log, or nothing.
            None if !entries.is_empty() => view.tail.truncate(0),
            None => {}
        }
        let payload_bytes = body_bytes - entries.len() as u64 * writer::overhead_bytes(is_encrypted);
        self.count(entries.len() as u64, payload_bytes, u64::from(view.fold.end - header.offset));
        #[cfg(mutate)]
        if mutate::is(Mutation::ChainNotRewound) && entries.is_empty() {
            view.fold.chain = header.chain;
        }
        #[cfg(mutate)]
        if mutate::is(Mutation::MiddleUnlinked) {
            let (gone, kept): (Vec<_>, _) =
                view.sealed.change().drain(..).partition(|sealed| sealed.live_end <= sealed.first);
            *view.sealed.change() = kept.into();
            self.retire(gone.into_iter().map(|sealed| Arc::clone(&sealed.segment)));
        }
        // Under the view's lock, so that nobody sees the one without the other.
        let ticket = self.group.wrote(view.written(), replaced.then_some(before));
        drop(view);
        if replaced {
            self.watch.replaced_from(first_index);
        }
        Ok(ticket)
    }

    /// Counts a batch that has been written. The writer lock is held.
    fn count(&self, entries: u64, payload_bytes: u64, bytes_written: u64) {
        let watch = &self.watch;
        watch::bump(&watch.appends, u64::from(entries > 0));
        watch::bump(&watch.entries, entries);
        watch::bump(&watch.bytes, payload_bytes);
        watch::bump(&watch.bytes_written, bytes_written);
        watch.found_room(true);
    }

    /// What the nonces of one batch have beside their offsets. Drawn for each batch that is encoded: where a write found no
    /// space, the next batch goes to the same offsets, in the same life, and a copy of these files may be written to
    /// elsewhere.
    fn random_for(&self, segment: &Segment) -> u64 {
        #[cfg(mutate)]
        if mutate::is(Mutation::NonceRepeated) || mutate::is(Mutation::KeyWithoutLife) {
            return 0;
        }
        if segment.cipher.is_some() { self.fs.entropy() } else { 0 }
    }

    /// Whether a batch fits the active segment and leaves room for its seal.
    fn fits(&self, first_index: u64, entries: &[Entry], body_bytes: u64) -> bool {
        let view = self.view.read();
        let run = &view.fold.run;
        let kept = usize::try_from(first_index.saturating_sub(run.first)).unwrap_or(usize::MAX).min(run.slots.len());
        let (slots, runs) = (kept + entries.len(), run.terms.len() + term_runs(entries));
        let batch = (BATCH_BYTES as u64 + body_bytes).next_multiple_of(u64::from(view.active.align));
        seal_fits(&view.active, u64::from(view.fold.end) + batch, slots, runs)
    }

    /// The header of the batch that comes next, and the segment it goes to. Without a first index it replaces nothing.
    fn next_header(&self, kind: Kind, first_index: Option<u64>) -> (Arc<Segment>, BatchHeader) {
        let (_, mark) = self.group.durable();
        let view = self.view.read();
        let fold = &view.fold;
        #[cfg(mutate)]
        let mark = if mutate::is(Mutation::MarkBeforeSync) { view.mark() } else { mark };
        let header = BatchHeader {
            kind,
            count: 0,
            body_bytes: 0,
            body_check: 0,
            offset: fold.end,
            first_index: first_index.unwrap_or(fold.run.end()),
            chain: fold.chain,
            life: self.life,
            meta_generation: self.durable_generation(),
            mark: mark.place(),
            replacing: fold.carried.1,
            base: fold.carried.0,
            check: 0,
        };
        #[cfg(mutate)]
        let header = match mutate::is(Mutation::LivesAlike) {
            true => BatchHeader { life: 1, meta_generation: 0, ..header },
            false => header,
        };
        (Arc::clone(&view.active), header)
    }

    /// Writes what no later write of this life begins at: a trailer, or a close's index.
    fn write(&self, segment: &Segment, bytes: &[u8], offset: u32) -> Result<()> {
        self.write_or_undo(segment, bytes, offset, |written| self.void(segment, written, offset))
    }

    /// Writes at an offset of the active segment that nothing was adopted at. A full disk leaves the beginning of a batch,
    /// which `undo` takes back, durably: the bytes that are missing may be there already, the zeros of a padding or what an
    /// earlier life wrote, and an append that was refused would come back whole. Any other failure leaves who knows what.
    fn write_or_undo(
        &self,
        segment: &Segment,
        bytes: &[u8],
        offset: u32,
        undo: impl FnOnce(usize) -> bool,
    ) -> Result<()> {
        io::write_all_at(&*segment.file, bytes, u64::from(offset)).map_err(|(written, error)| {
            let full = io::is_no_space(&error);
            let error = Error::io("write", &segment.path, Some(u64::from(offset)), error);
            if full && (written == 0 || undo(written)) { error } else { self.group.poison(error) }
        })
    }

    /// Makes what was written void by zeros.
    fn void(&self, segment: &Segment, written: usize, offset: u32) -> bool {
        let settled = self.view.read().written();
        io::write_all_at(&*segment.file, &vec![0; written], u64::from(offset)).is_ok()
            && self.group.sync_and_settle(segment, settled).is_ok()
    }

    /// Makes what was written of a batch void: by an empty batch in its place, which changes nothing. Behind zeros the next
    /// batch would begin at the same place, and where power fails during its sync a sector may show what it held before: the
    /// batch that was refused. The writer lock is held.
    fn supersede(&self, segment: &Segment, refused: &[u8], written: usize) -> bool {
        let (_, header) = self.next_header(Kind::Entries, None);
        let (mut bytes, mut slots) = (Vec::new(), Vec::new());
        // No entry, nothing to encrypt.
        let empty = writer::encode_entries(segment, header, &[], Compression::None, 0, &mut bytes, &mut slots);
        let Ok(header) = empty else { return false };
        // Zeros are enough where what is there of the refused header is not all of it.
        let is_short = !is_completed(segment, refused, written, header.offset);
        if !self.leaves_room(&header) {
            return is_short && self.void(segment, written, header.offset);
        }
        // Its padding needs no room that the batch did not get either.
        bytes.truncate(BATCH_BYTES);
        bytes.resize(written.max(BATCH_BYTES), 0);
        if let Err((more, error)) = io::write_all_at(&*segment.file, &bytes, u64::from(header.offset)) {
            // Where not even a header was written there may be no room for one.
            let is_short = is_short && io::is_no_space(&error) && !is_completed(segment, &bytes, more, header.offset);
            return is_short && self.void(segment, written.max(more), header.offset);
        }
        let settled = {
            let mut view = self.view.write();
            let last = view.last;
            view.publish(&header, &slots, last);
            self.group.wrote(view.written(), None);
            view.written()
        };
        self.group.sync_and_settle(segment, settled).is_ok()
    }

    /// Whether the seal of all that the active segment holds still fits behind this batch.
    fn leaves_room(&self, batch: &BatchHeader) -> bool {
        let view = self.view.read();
        let run = &view.fold.run;
        let end = batch.end(view.active.align);
        end.is_some_and(|end| seal_fits(&view.active, u64::from(end), run.slots.len(), run.terms.len()))
    }

    /// Seals the active segment, durably, and goes on in the next one, which has room for a batch like this.
    pub(super) fn rotate(&self, writer: &mut Writer, entries: &[Entry], body_bytes: u64) -> Result<()> {
        let (aligned, is_encrypted) = (self.options.aligned, self.options.keys.is_some());
        let size_min = Segment::size_for(aligned, is_encrypted, body_bytes, entries.len(), term_runs(entries));
        let sequence = self.view.read().active.sequence;
        let _span = trace::rotate(&self.dir, sequence);
        let successor = self.take_successor(size_min)?;
        match self.seal(writer, &successor) {
            Ok(()) => Ok(()),
            Err(error) => {
                // After a failed write or sync the seal may be on the disk all the same: the file that it names must
                // stay, and a spare may be removed.
                if self.group.check().is_ok() {
                    self.give_back(successor);
                }
                Err(error)
            }
        }
    }

    fn seal(&self, writer: &mut Writer, next: &Arc<Segment>) -> Result<()> {
        let (segment, header) = self.next_header(Kind::Seal, None);
        let random = self.random_for(&segment);
        let mut buffer = std::mem::take(&mut writer.seal);
        buffer.clear();
        let header = {
            let view = self.view.read();
            let named = (next.sequence, next.salt_value);
            writer::encode_index(&segment, header, &view.fold, named, random, &mut buffer)
        }
        .map_err(|fault| segment.key_error(fault))?;
        if header.end(segment.align).is_none_or(|end| end > segment.data_end()) {
            // Only accepted damage can have made so many slots: never over the trailer.
            return Err(Error::BatchTooLarge { bytes: bytes_of(&header), bytes_max: u64::from(segment.size_bytes) });
        }
        let trailer = Trailer { seal_offset: header.offset, seal_check: header.check, sequence: segment.sequence };
        #[cfg(mutate)]
        if mutate::is(Mutation::SuccessorBeforeSeal) {
            self.group.sync_all()?;
        }
        #[cfg(mutate)]
        if mutate::is(Mutation::SealLeftOut) && self.view.read().fold.replacing != 0 {
            buffer.clear();
        }
        // The trailer first: where space runs out in between, no whole seal is left that a recovery would follow.
        self.write(&segment, &trailer.encode(&segment.salt), segment.data_end())?;
        let bytes = &buffer;
        self.write_or_undo(&segment, bytes, header.offset, |written| self.supersede(&segment, bytes, written))?;
        if buffer.capacity() <= BUFFER_KEPT_BYTES {
            writer.seal = buffer;
        }
        let (sealed, fold, settled) = {
            let view = self.view.read();
            let end = header.end(segment.align).unwrap_or(u32::MAX);
            let fold = view.fold.sealed_by(&header, end, next.data_start());
            let settled = view.written_in(next, &fold);
            (Sealed::written(&view, &header), fold, settled)
        };
        // The successor is written to only once the seal that names it is durable: a chain without holes.
        self.group.sync_and_settle(&segment, settled)?;
        let mut view = self.view.write();
        view.sealed.change().push_back(sealed);
        view.active_start = ChainStart {
            sequence: next.sequence,
            salt: next.salt_value,
            offset: fold.end,
            chain: fold.chain,
            base: fold.base,
        };
        view.rotations += 1;
        view.active = Arc::clone(next);
        let mut before = std::mem::replace(&mut view.fold, fold);
        if before.run.slots.capacity() * size_of::<Slot>() <= BUFFER_KEPT_BYTES {
            view.fold.run.slots = std::mem::take(&mut before.run.slots);
            view.fold.run.slots.clear();
        }
        view.index_batch = (0, 0);
        drop(view);
        // What is freed is large: readers need not wait for that.
        drop(before);
        Ok(())
    }

    /// Writes the index batch of a clean close, where it fits beside the seal that comes later.
    pub(super) fn write_index(&self, writer: &mut Writer) -> Result<()> {
        let (segment, header) = self.next_header(Kind::Index, None);
        let random = self.random_for(&segment);
        writer.reset();
        let header = {
            let view = self.view.read();
            let bytes = segment.index_bytes(view.fold.run.slots.len(), view.fold.run.terms.len());
            let is_there = view.index_batch.0 != 0 && view.index_batch.1 == view.fold.end;
            let is_empty = view.fold.end == view.active_start.offset;
            if is_there || is_empty || u64::from(view.fold.end) + 2 * bytes > u64::from(segment.data_end()) {
                return Ok(());
            }
            writer::encode_index(&segment, header, &view.fold, (0, 0), random, &mut writer.buffer)
        }
        .map_err(|fault| segment.key_error(fault))?;
        self.write(&segment, &writer.buffer, header.offset)?;
        let end = header.end(segment.align).unwrap_or(u32::MAX);
        let written = {
            let mut view = self.view.write();
            view.fold.apply(&header, end, &[]);
            view.index_batch = (header.offset, end);
            view.written()
        };
        self.group.wrote(written, None);
        Ok(())
    }
}

/// Whether the seal of so many slots and runs of terms fits into a segment behind batches that end there.
pub(super) fn seal_fits(segment: &Segment, end: u64, slots: usize, runs: usize) -> bool {
    end + segment.index_bytes(slots, runs) <= u64::from(segment.data_end())
}

/// Whether the header of a batch is whole, of which so many bytes were written: what was there before may be the rest.
fn is_completed(segment: &Segment, batch: &[u8], written: usize, offset: u32) -> bool {
    let Some(rest) = batch.get(written..BATCH_BYTES) else { return true };
    let mut there = Vec::with_capacity(rest.len());
    let read = io::read_up_to(&*segment.file, &mut there, rest.len(), u64::from(offset) + written as u64);
    read.is_err() || there == rest
}

fn bytes_of(header: &BatchHeader) -> u64 {
    BATCH_BYTES as u64 + u64::from(header.body_bytes)
}

/// How many term runs these entries begin at most.
fn term_runs(entries: &[Entry]) -> usize {
    entries.chunk_by(|a, b| a.term == b.term).count()
}

impl Sealed {
    /// The active segment of `view`, as the seal with this header leaves it.
    fn written(view: &View, seal: &BatchHeader) -> Sealed {
        let run = &view.fold.run;
        let summary = index::Summary {
            first: run.first,
            count: run.slots.len() as u32,
            base: view.fold.base,
            replacing: view.fold.replacing,
            next: run.end(),
            successor: (0, 0),
            terms: run.terms.clone(),
        };
        let sealed = Sealed::new(Arc::clone(&view.active), view.active_start, seal, &summary);
        view.repairs.doubt(&sealed);
        sealed
    }
}

impl View {
    /// Lets readers see a batch that has been written.
    fn publish(&mut self, header: &BatchHeader, slots: &[(u64, Slot)], last: Option<Position>) {
        let end = header.end(self.active.align).unwrap_or(u32::MAX);
        self.last_batch_bytes = end - header.offset;
        self.tail.truncate(header.first_index);
        self.rewrites += u64::from(header.first_index < self.next());
        self.fold.apply(header, end, slots);
        if self.sealed.back().is_some_and(|sealed| sealed.live_end > self.fold.base) {
            self.sealed.supersede(self.fold.base);
        }
        self.last = if self.fold.log_first.is_some() { last } else { None };
    }

    /// What a sync of all that was written proves.
    pub(super) fn written(&self) -> Written {
        Written { segment: Arc::clone(&self.active), mark: self.mark(), last: self.end_position() }
    }

    /// The same at the start of the next segment.
    fn written_in(&self, next: &Arc<Segment>, fold: &crate::segment::fold::Fold) -> Written {
        let mark = crate::meta::Mark {
            sequence: next.sequence,
            offset: fold.end,
            chain: fold.chain,
            base: fold.base,
            replacing: 0,
            index: 0,
            ..self.mark()
        };
        Written { segment: Arc::clone(next), mark, last: self.end_position() }
    }
}
