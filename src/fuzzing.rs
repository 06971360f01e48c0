//! Doors for the fuzz targets in `tests/fuzz`: what reads bytes from a disk, without the journal around it. Part of a
//! build with `--cfg fuzzing` alone.

use std::path::Path;

use bytes::Bytes;

use crate::codec::crc::Salted;
use crate::error::{DamageKind, Error, JournalId, Result};
use crate::io::{self, Fs, Mode};
use crate::meta::{self, MetaStore};
use crate::segment::fold::Fold;
use crate::segment::format::{PAGE_SLOTS, Trailer};
use crate::segment::index::{self, IndexId, Page, Summary, Terms};
use crate::segment::reader;
use crate::segment::recover::{self, AtEnd, Lives, Seen, Stop};
use crate::segment::rewind::Unproven;
use crate::segment::window::Window;
use crate::segment::{Opened, Segment};

/// How a segment is scanned.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// The journal that the file must be of.
    pub journal_id: [u8; 16],
    /// The chain value before the first batch.
    pub chain: u32,
    /// The log's next index before it.
    pub base: u64,
    /// The life in `meta`, and where its mark stands in the file.
    pub lives: (u32, u32),
    /// The offset of an index batch that is taken in first; 0 for none.
    pub index: u32,
    /// Whether to go on behind what does not check out.
    pub goes_on: bool,
}

/// What a scan came to.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Where each stretch of batches ended.
    pub ends: Vec<u32>,
    /// How many entries the log has.
    pub entries: usize,
    /// What is wrong with those that cannot be read.
    pub unreadable: Vec<DamageKind>,
    /// Whether the trailer leads to a seal.
    pub is_trailed: bool,
}

/// Scans the file with this sequence from its first batch on; nothing when it is no segment.
///
/// # Errors
///
/// The file system's.
pub fn scan(fs: &dyn Fs, dir: &Path, sequence: u64, plan: &Scan) -> Result<Option<Scanned>> {
    let opened = Segment::open(fs, dir, sequence, JournalId(plan.journal_id), Mode::Read, None)?;
    let Opened::Whole(segment) = opened else { return Ok(None) };
    let (mut window, mut seen, mut scanned) = (Window::new(&segment), Seen::default(), Scanned::default());
    scanned.is_trailed = window.trailed_seal()?.is_some();
    let mut fold = Fold::start(segment.data_start(), plan.base, plan.chain, false);
    if plan.index != 0 {
        recover::load_index(&mut window, &mut fold, plan.index, &mut seen)?;
    }
    let lives = Lives { meta: plan.lives.0, mark: plan.lives.1, chain: 0, begin: u32::MAX };
    loop {
        let stop = recover::scan(&mut window, &mut fold, lives, &mut seen, &mut Unproven::default())?;
        scanned.ends.push(fold.end);
        let behind = match stop {
            Stop::End(AtEnd::Torn(header, _)) if plan.goes_on => {
                header.end(segment.align).map(|end| (header.check, end))
            }
            Stop::End(AtEnd::Nothing) if plan.goes_on => {
                let least = lives.least_at(fold.end, fold.life);
                window.next_header(fold.end, least)?.map(|header| (header.chain, header.offset))
            }
            Stop::Sealed(..) | Stop::End(_) => None,
        };
        match behind {
            Some((chain, end)) => fold.skip_to(chain, end),
            None => break,
        }
    }
    scanned.entries = fold.run.slots.len();
    for (slot, index) in fold.run.slots.iter().zip(fold.run.first..).filter(|(slot, _)| !slot.is_lost()) {
        let mut bytes = Vec::new();
        let room = segment.data_end().saturating_sub(slot.offset) as usize;
        io::read_up_to(&*segment.file, &mut bytes, room, u64::from(slot.offset))
            .map_err(|error| Error::io("read", &segment.path, Some(u64::from(slot.offset)), error))?;
        let read = reader::parse_entry(&segment, index, slot.offset, Some(slot.check), Bytes::from(bytes));
        scanned.unreadable.extend(read.err());
    }
    Ok(Some(scanned))
}

/// A trailer as it would be written, if these bytes are one.
pub fn rewrite_trailer(salt: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    let salt = Salted::new(salt);
    Trailer::parse(&salt, bytes).map(|trailer| trailer.encode(&salt).to_vec())
}

/// The slots of an index batch at `offset`, if this is its body: each with whether the page that holds it says the
/// same when it is read alone.
pub fn index_slots(salt: u64, offset: u32, life: u32, body: &[u8], body_check: u32) -> Option<Vec<bool>> {
    let (salt, id) = (Salted::new(salt), IndexId { offset, life });
    let (summary, slots) = index::parse_body(&salt, Terms::Shown, id, body, body_check)?;
    let page_of = |at: usize| {
        let number = (at / PAGE_SLOTS) as u32;
        let (start, len) = index::page_span(Summary::bytes(summary.terms.len(), false), summary.count, number);
        let page = body.get(start as usize..start as usize + len)?;
        Page::parse(&salt, id, number, page.to_vec())
    };
    let agrees = |(at, slot)| page_of(at).is_some_and(|page| page.slot(at % PAGE_SLOTS).as_ref() == Some(slot));
    Some(slots.iter().enumerate().map(agrees).collect())
}

/// A copy of `meta` as it would be written, if these bytes are one.
pub fn rewrite_meta(bytes: &[u8]) -> Option<Vec<u8>> {
    // One that is encrypted is written anew under another key each time.
    let plain = meta::format::parse(bytes).ok().filter(|state| state.encrypted.is_none());
    plain.map(|state| meta::format::encode(&state))
}

/// Opens the `meta` in `dir`; the generation that it adopts.
///
/// # Errors
///
/// As opening a journal.
pub fn open_meta(fs: &dyn Fs, dir: &Path) -> Result<u64> {
    MetaStore::open(fs, dir, Mode::Write, None).map(|loaded| loaded.state.generation)
}
