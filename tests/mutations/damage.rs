//! Damage at rest: what a damaged byte may cost is the batch that it stood in, and never in silence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use raft_journal::io::sim::{OperationKind, SimFs, Survival};
use raft_journal::layout::segment::{
    BATCH_BODY_LEN_AT, BATCH_BYTES, BATCH_CHAIN_AT, BATCH_COUNT_AT, BATCH_FIRST_INDEX_AT, BATCH_KIND_AT,
};
use raft_journal::{Entry, Error, Journal, LogStore, OnDamage, OpenOptions, Position, StableStore};

use crate::common::{FIRST_PAYLOAD_AT, entry};
use crate::generate::Random;
use crate::history::Wrap;

const DIR: &str = "/journal";
const SECTOR: usize = 512;
const KEY: &[u8] = b"vote";

/// A journal at rest, and what it holds.
pub struct Image {
    fs: SimFs,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The files at an earlier time: where sectors come from that were written and never reached the disk.
    before: BTreeMap<PathBuf, Vec<u8>>,
    purged: Option<Position>,
    entries: Vec<Entry>,
    vote: u64,
    /// It was closed in order: every entry lies before a durable mark.
    is_closed: bool,
    /// Acknowledged last, with no mark behind it.
    last_group: Range<u64>,
}

/// Entries and the bytes of a file that they cannot do without.
struct Batch {
    bytes: Range<usize>,
    indexes: Range<u64>,
}

fn open(fs: &SimFs, wrap: &Wrap, on_damage: OnDamage) -> Result<Journal, Error> {
    let options = OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512).tail_cache_bytes(0);
    options.on_damage(on_damage).file_system(wrap(fs.clone())).open(DIR)
}

/// Journals to damage.
pub fn images(wrap: &Wrap) -> Vec<Image> {
    let written = || {
        let fs = SimFs::with_seed(3);
        let journal = open(&fs, wrap, OnDamage::Refuse).unwrap();
        // Each entry in a sector of its own.
        let mut batch: Vec<Entry> = (1..=5).map(|index| entry(index, 1, SECTOR - 20)).collect();
        batch[0].data.truncate(SECTOR - FIRST_PAYLOAD_AT);
        let mut entries = batch.clone();
        journal.append(&batch).unwrap();
        for index in 6..=14 {
            // Terms enough for several runs in the seal.
            entries.push(entry(index, 1 + index / 3, 260));
            journal.append(&entries[entries.len() - 1..]).unwrap();
        }
        entries.truncate(12);
        entries.push(entry(13, 9, 200));
        journal.replace_tail(&entries[12..]).unwrap();
        for index in 14..=22 {
            entries.push(entry(index, 9 + index / 4, 300));
            journal.append(&entries[entries.len() - 1..]).unwrap();
        }
        journal.set_u64(KEY, 41).unwrap();
        (fs, journal, entries)
    };
    let (fs, journal, entries) = written();
    journal.close().unwrap();
    let closed = Image::new(fs, entries, 41, true, 0..0);
    let (fs, journal, mut entries) = written();
    entries.push(entry(23, 15, 300));
    journal.append(&entries[22..]).unwrap();
    let killed = Image::new(fs.after_process_kill(), entries, 41, false, 23..24);
    vec![closed, killed, stale_seal(wrap), void_batch(wrap), replaced_loss(wrap)]
}

/// Spoils a byte of a file, counted from where this payload begins.
fn spoil(fs: &SimFs, payload: &[u8], before: usize) {
    let is_it = |(path, bytes): (PathBuf, Vec<u8>)| {
        let at = bytes.windows(payload.len()).position(|found| found == payload)?;
        path.extension().is_some_and(|end| end == "seg").then(|| (path, at - before, bytes[at - before]))
    };
    let (path, at, byte) = contents(fs).into_iter().find_map(is_it).unwrap();
    fs.corrupt(&path, at as u64, &[!byte]).unwrap();
}

/// A killed journal in which a batch stands behind the mark that a recovery cut: it had replaced an entry that was torn.
fn void_batch(wrap: &Wrap) -> Image {
    let journal = |fs: &SimFs| open(fs, wrap, OnDamage::Refuse).unwrap();
    let fs = SimFs::with_seed(7);
    let first = journal(&fs);
    first.append(&[entry(1, 1, 50)]).unwrap();
    drop(first.append_pending(&[entry(2, 1, 3000)]).unwrap());
    drop(first.replace_tail_pending(&[entry(2, 2, 300)]).unwrap());
    let fs = fs.after_process_kill();
    spoil(&fs, &entry(2, 1, 3000).data, 0);
    let second = journal(&fs);
    assert_eq!(second.state().last_index(), Some(1));
    second.append(&[entry(2, 3, 300)]).unwrap();
    second.set_u64(KEY, 41).unwrap();
    Image::new(fs.after_process_kill(), vec![entry(1, 1, 50), entry(2, 3, 300)], 41, false, 3..3)
}

/// A killed journal that lost an entry, got it back, and replaced it.
fn replaced_loss(wrap: &Wrap) -> Image {
    let fs = SimFs::with_seed(9);
    let journal = open(&fs, wrap, OnDamage::Refuse).unwrap();
    journal.truncate_head(Position::new(7, 1)).unwrap();
    journal.append(&[entry(8, 1, 300)]).unwrap();
    journal.set_u64(KEY, 40).unwrap();
    let fs = fs.after_process_kill();
    spoil(&fs, &entry(8, 1, 300).data, FIRST_PAYLOAD_AT - BATCH_CHAIN_AT);
    let journal = open(&fs, wrap, OnDamage::Accept).unwrap();
    journal.repair(&[entry(8, 1, 300)]).unwrap();
    let entries = vec![entry(8, 2, 300), entry(9, 2, 300)];
    journal.replace_tail(&entries[..1]).unwrap();
    journal.append(&entries[1..]).unwrap();
    journal.set_u64(KEY, 41).unwrap();
    let image = Image::new(fs.after_process_kill(), entries, 41, false, 10..10);
    Image { purged: Some(Position::new(7, 1)), ..image }
}

/// A journal whose first file still has a seal that a crash made void.
fn stale_seal(wrap: &Wrap) -> Image {
    let fs = SimFs::with_seed(5);
    fs.set_failed_syncs_leave(Survival::Everything);
    let journal = open(&fs, wrap, OnDamage::Refuse).unwrap();
    let batch_bytes = (FIRST_PAYLOAD_AT + 700).next_multiple_of(8);
    let mut entries: Vec<Entry> = (1..=8).map(|index| entry(index, 1, 700)).collect();
    entries.iter().for_each(|entry| drop(journal.append_pending(std::slice::from_ref(entry)).unwrap()));
    fs.fail_next(OperationKind::Sync, std::io::ErrorKind::Other);
    // The sync of the seal fails, and the power with it: all is there but the second batch.
    assert!(journal.append(&[entry(9, 1, 700)]).is_err());
    let fs = fs.after_power_cut(Survival::Nothing);
    let first = fs.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    fs.corrupt(&first, (SECTOR + batch_bytes) as u64, &[0; BATCH_BYTES]).unwrap();
    let journal = open(&fs, wrap, OnDamage::Refuse).unwrap();
    assert_eq!(journal.state().last_index(), Some(1));
    let before = contents(&fs);
    assert_ne!(before[&first][(8 << 10) - 2 * SECTOR..][..SECTOR], [0; SECTOR], "the trailer of the void seal");
    entries.truncate(1);
    entries.extend([entry(2, 2, 3000), entry(3, 2, 4000)]);
    // The second one does not fit: a seal before the one that is void.
    entries[1..].iter().for_each(|entry| _ = journal.append(std::slice::from_ref(entry)).unwrap());
    journal.set_u64(KEY, 41).unwrap();
    journal.close().unwrap();
    Image { before, ..Image::new(fs, entries, 41, true, 0..0) }
}

fn contents(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    fs.paths().into_iter().map(|path| (path.clone(), fs.read_file(&path).unwrap())).collect()
}

/// One image, damaged in one place, and judged.
pub fn damage_and_judge(images: &[Image], wrap: &Wrap, random: &mut Random) {
    let image = &images[random.below(images.len() as u64) as usize];
    let fs = image.fs.after_process_kill();
    let lost = image.damage(&fs, random);
    let (journal, is_told) = match open(&fs, wrap, OnDamage::Refuse) {
        Ok(journal) => (journal, false),
        Err(Error::Damaged(_)) => (open(&fs, wrap, OnDamage::Accept).expect("damage can be accepted"), true),
        Err(error) => panic!("damage in one place gives {error}"),
    };
    let next = image.judge(&journal, &lost, is_told, None);
    // The log goes on behind what is lost, and what is lost stays told.
    let more = entry(next, 20, 100);
    journal.append(std::slice::from_ref(&more)).expect("a damaged log goes on");
    journal.close().expect("a damaged log is closed");
    let journal = open(&fs, wrap, OnDamage::Accept).expect("an accepted loss stays accepted");
    assert_eq!(journal.entry(next).expect("what was appended behind damage"), more);
    journal.truncate_tail(next).expect("the tail of a damaged log can be truncated");
    image.judge(&journal, &lost, is_told, Some(next));
}

impl Image {
    fn new(fs: SimFs, entries: Vec<Entry>, vote: u64, is_closed: bool, last_group: Range<u64>) -> Image {
        let files = contents(&fs);
        Image { fs, before: files.clone(), files, purged: None, entries, vote, is_closed, last_group }
    }

    /// Spoils one place. Says which entries it may cost.
    fn damage(&self, fs: &SimFs, random: &mut Random) -> Vec<Range<u64>> {
        let files: Vec<&PathBuf> = self.files.keys().filter(|path| !path.ends_with("LOCK")).collect();
        let path = random.pick(&files);
        let bytes = &self.files[path];
        let sector = |at: usize| at / SECTOR * SECTOR..(at / SECTOR + 1) * SECTOR;
        // Something that was written: what was not says nothing.
        let at = (0..200).map(|_| random.below(bytes.len() as u64) as usize).find(|&at| bytes[at] != 0).unwrap_or(0);
        let put = |range: Range<usize>, new: &[u8]| {
            fs.corrupt(path, range.start as u64, new).unwrap();
            self.cost(path, &range)
        };
        match random.below(12) {
            0..=5 => put(at..at + 1, &[bytes[at] ^ (1 << random.below(8))]),
            6 => put(sector(at), &[0; SECTOR]),
            7 => put(sector(at), &[0xa5; SECTOR]),
            8 | 9 => {
                let other = sector(random.below(bytes.len() as u64) as usize);
                let mut lost = put(sector(at), &bytes[other.clone()]);
                lost.extend(put(other, &bytes[sector(at)]));
                lost
            }
            10 => {
                let Some(before) = self.before.get(path) else { return Vec::new() };
                let changed = (0..bytes.len()).step_by(SECTOR).filter(|&at| bytes[sector(at)] != before[sector(at)]);
                let changed: Vec<usize> = changed.collect();
                if changed.is_empty() {
                    return Vec::new();
                }
                let at = random.pick(&changed);
                put(sector(at), &before[sector(at)])
            }
            _ if path.ends_with("meta") => put(at..at + 1, &[!bytes[at]]),
            _ => {
                match random.below(2) {
                    0 => fs.remove_file_now(path).unwrap(),
                    _ => fs.truncate_file(path, at as u64).unwrap(),
                }
                // What a file held, or took back, nobody knows.
                std::iter::once(0..u64::MAX).collect()
            }
        }
    }

    /// The entries that damage in these bytes may cost.
    fn cost(&self, path: &PathBuf, range: &Range<usize>) -> Vec<Range<u64>> {
        if path.ends_with("meta") {
            return Vec::new();
        }
        let hit = |batch: &Batch| batch.bytes.start < range.end && range.start < batch.bytes.end;
        batches(&self.files[path]).into_iter().filter(hit).map(|batch| batch.indexes).collect()
    }

    /// Compares all that a journal holds; returns its next index.
    fn judge(&self, journal: &Journal, lost: &[Range<u64>], is_told: bool, known_end: Option<u64>) -> u64 {
        let (state, report) = (journal.state(), journal.recovery_report());
        assert_eq!(state.purged, self.purged);
        assert_eq!(journal.get_u64(KEY).unwrap(), Some(self.vote), "the vote");
        let end = self.entries.last().map_or(0, |last| last.index + 1);
        let next = state.next_index().expect("a log that is not empty");
        let suspect = report.suspect.is_some() && !self.is_closed;
        let is_cut = suspect && next >= self.last_group.start && next < end;
        let is_open_ended = is_told && lost.iter().any(|lost| lost.end == u64::MAX);
        assert!(known_end.is_none_or(|known| next == known), "the log ends at {next}, not at {known_end:?}");
        assert!(
            known_end.is_some() || next == end || is_cut || is_open_ended,
            "the log ends at {next}, not at {end}; {report:?}"
        );
        for wanted in self.entries.iter().take_while(|wanted| wanted.index < next) {
            let index = wanted.index;
            match journal.entry(index) {
                Ok(found) => assert_eq!(found, *wanted, "a wrong entry {index}"),
                Err(Error::Damaged(_)) => {
                    let may = lost.iter().any(|lost| lost.contains(&index));
                    assert!(may, "entry {index} is lost, and the damage is elsewhere: {lost:?}");
                    let told = report.damaged.iter().any(|damage| damage.indexes.contains(index));
                    assert!(told || !is_told || report.damaged.is_empty(), "the loss of entry {index} is not told");
                }
                Err(error) => panic!("entry {index}: {error}"),
            }
            match journal.term(index) {
                Ok(term) => assert_eq!(term, wanted.term, "a wrong term of entry {index}"),
                Err(error) => assert!(matches!(error, Error::Damaged(_)), "the term of entry {index}: {error}"),
            }
        }
        next
    }
}

/// The batches of entries in a segment's bytes, undamaged ones. A replacing batch stands for all of its segment: what it
/// took back must not come back.
fn batches(bytes: &[u8]) -> Vec<Batch> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (mut found, mut at, mut next) = (Vec::new(), SECTOR, 0);
    while at + BATCH_BYTES <= bytes.len() && (1..=3).contains(&u32_at(at + BATCH_KIND_AT)) {
        let end = (at + BATCH_BYTES + u32_at(at + BATCH_BODY_LEN_AT) as usize).next_multiple_of(8);
        if u32_at(at + BATCH_KIND_AT) == 1 {
            let first = u64_at(at + BATCH_FIRST_INDEX_AT);
            let last = first + u64::from(u32_at(at + BATCH_COUNT_AT));
            let base = found.first().map_or(first, |batch: &Batch| batch.indexes.start);
            let from = if first < next { base } else { first };
            found.push(Batch { bytes: at..end, indexes: from..last });
            next = last;
        }
        at = end;
    }
    found
}
