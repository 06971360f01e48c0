//! A journal at rest that has been through everything, and what it must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use raft_journal::io::sim::SimFs;
use raft_journal::{Compression, Entry, Journal, LogStore, OnDamage, OpenOptions, Position, StableStore};

use crate::common::{Disk, LogModel};

/// How a journal stores its log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Form {
    Plain,
    Compressed,
    /// Each batch in 4 KiB blocks of its own.
    Aligned,
    /// Each entry encrypted, and the small state.
    #[cfg(feature = "encryption")]
    Encrypted,
}

pub const FORMS: &[Form] = &[
    Form::Plain,
    Form::Compressed,
    Form::Aligned,
    #[cfg(feature = "encryption")]
    Form::Encrypted,
];

/// What a journal did last, before it was closed or its process killed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Last {
    Closed,
    Append,
    ReplaceTail,
    TruncateTail,
    Set,
    Reopen,
    /// Lost entries were put back; then it was closed.
    Healed,
    /// Lost entries were put back.
    Repair,
}

pub const LASTS: [Last; 8] = [
    Last::Closed,
    Last::Append,
    Last::ReplaceTail,
    Last::TruncateTail,
    Last::Set,
    Last::Reopen,
    Last::Healed,
    Last::Repair,
];

/// What a journal must hold.
#[derive(Clone, Default)]
pub struct Model {
    pub log: LogModel,
    pub vote: Vec<u8>,
    pub term: u64,
}

/// What a group that nothing but the next one vouches for put on the disk, and what the journal held before it.
struct Group {
    before: Model,
    place: Stretch,
}

/// Bytes of a file.
#[derive(Clone)]
struct Stretch {
    path: PathBuf,
    bytes: Range<usize>,
}

impl Stretch {
    fn is_hit(&self, path: &Path, bytes: &Range<usize>) -> bool {
        self.path == path && self.bytes.start < bytes.end && self.bytes.end > bytes.start
    }
}

/// A journal on a disk at rest, and what it held.
pub struct Subject {
    pub form: Form,
    pub disk: Disk,
    /// Every file with its bytes.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub held: Model,
    /// The newest first.
    groups: Vec<Group>,
    /// Where the bytes of each entry stand, in all of its versions.
    places: Vec<(Stretch, u64)>,
    /// Where the body of each batch of entries stands, and their indexes.
    bodies: Vec<(Stretch, Range<u64>)>,
    /// Where the rest of all batches stands.
    frames: Vec<Stretch>,
}

impl Form {
    pub fn options(self, disk: &Disk) -> OpenOptions {
        let options = disk.options().meta_bytes_max(256);
        match self {
            Form::Plain => options,
            Form::Compressed => options.compression(Compression::Lz4 { threshold_bytes: 64 }),
            Form::Aligned => options.align_4k(true).segment_bytes(32 << 10),
            #[cfg(feature = "encryption")]
            Form::Encrypted => {
                options.encryption(std::sync::Arc::new(raft_journal::KeyRing::new(1, raft_journal::Key::new([7; 32]))))
            }
        }
    }

    /// Where a segment's first batch stands.
    fn data_start(self) -> usize {
        if self == Form::Aligned { 4096 } else { 512 }
    }

    /// An entry of 230 bytes, of which LZ4 takes some.
    pub fn entry(self, index: u64, term: u64) -> Entry {
        let mut data = format!("<entry {index} of term {term}>").into_bytes();
        if self == Form::Compressed {
            data.extend(noise(index << 8 | term).take(120));
        }
        data.resize(230, b'.');
        Entry::new(index, term, data)
    }
}

/// Bytes that no compression shortens (xorshift64).
pub fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// Applies a step to the journal and to its model.
struct Script {
    form: Form,
    journal: Journal,
    model: Model,
}

impl Script {
    fn batch(&self, first: u64, count: u64, term: u64) -> Vec<Entry> {
        (first..first + count).map(|index| self.form.entry(index, term)).collect()
    }

    fn append(&mut self, first: u64, count: u64, term: u64) {
        let batch = self.batch(first, count, term);
        self.journal.append(&batch).unwrap();
        self.model.log.append(&batch);
    }

    fn replace_tail(&mut self, first: u64, count: u64, term: u64) {
        let batch = self.batch(first, count, term);
        self.journal.replace_tail(&batch).unwrap();
        self.model.log.replace_tail(&batch);
    }

    fn truncate_tail(&mut self, first_removed: u64) {
        self.journal.truncate_tail(first_removed).unwrap();
        self.model.log.truncate_tail(first_removed);
    }

    fn truncate_head(&mut self, position: Position) {
        self.journal.truncate_head(position).unwrap();
        self.model.log.truncate_head(position);
    }

    /// Takes a step, and sees which bytes it writes.
    fn group(&mut self, disk: &Disk, step: impl FnOnce(&mut Script)) -> Group {
        let (before, old) = (self.model.clone(), files(disk));
        step(self);
        let new = files(disk);
        let mut changed = old.iter().filter(|(path, bytes)| new[*path] != **bytes);
        let (Some((path, old)), None) = (changed.next(), changed.next()) else { panic!("a group in one file") };
        let first = (0..old.len()).find(|&at| old[at] != new[path][at]).unwrap();
        // To its end, whether or not that is what stood there before: zeros.
        let written = batches(&new[path], self.form.data_start()).into_iter().rfind(|(offset, ..)| *offset <= first);
        let (offset, _, body_bytes) = written.unwrap();
        Group { before, place: Stretch { path: path.clone(), bytes: offset..offset + 72 + body_bytes } }
    }

    /// Loses entries of the first file and of the last, and puts them back.
    fn heal(&mut self, disk: &Disk) -> Vec<u64> {
        self.journal.close().unwrap();
        let lost = vec![26, 27, 52];
        let places = places(self.form, disk);
        for index in &lost {
            // The version that counts is the last one.
            let (place, _) = places.iter().rfind(|(_, found)| found == index).unwrap();
            disk.sim().corrupt(&place.path, place.bytes.end as u64 - 4, b"lost").unwrap();
        }
        self.journal = self.form.options(disk).on_damage(OnDamage::Accept).open(&disk.dir).unwrap();
        let entries = self.model.log.entries.iter().filter(|entry| lost.contains(&entry.index));
        let entries: Vec<Entry> = entries.cloned().collect();
        entries.iter().for_each(|entry| assert!(self.journal.entry(entry.index).is_err()));
        // Neighbours together.
        entries.chunk_by(|one, next| one.index + 1 == next.index).for_each(|run| self.journal.repair(run).unwrap());
        assert_eq!(self.journal.damaged(), []);
        lost
    }

    fn vote(&mut self, vote: &str, term: u64) {
        self.journal.set(b"vote", vote.as_bytes()).unwrap();
        self.journal.set_u64(b"term", term).unwrap();
        (self.model.vote, self.model.term) = (vote.into(), term);
    }
}

impl Subject {
    /// Several segments, two lives, tails replaced over more than a segment and truncated, a head that took a file
    /// with it, votes.
    pub fn new(form: Form, last: Last) -> Subject {
        let disk = Disk::of(SimFs::with_seed(3));
        let open = || form.options(&disk).open(&disk.dir).unwrap();
        let mut script = Script { form, journal: open(), model: Model::default() };
        script.vote("me", 1);
        (0..9).for_each(|batch| script.append(1 + batch * 3, 3, 1));
        script.replace_tail(20, 5, 2);
        (0..4).for_each(|batch| script.append(25 + batch * 4, 4, 2));
        script.truncate_head(Position::new(5, 1));
        script.journal.close().unwrap();
        script.journal = open();
        script.vote("you", 3);
        (0..8).for_each(|batch| script.append(41 + batch * 3, 3, 3));
        script.replace_tail(35, 4, 4);
        script.truncate_head(Position::new(24, 2));
        (0..4).for_each(|batch| script.append(39 + batch * 4, 4, 4));
        script.truncate_tail(50);
        (0..4).for_each(|batch| script.append(50 + batch, 1, 5));
        script.vote("them", 5);
        let mut groups = vec![script.group(&disk, |script| script.append(54, 2, 6))];
        let mut healed = Vec::new();
        match last {
            Last::Closed => script.journal.close().unwrap(),
            Last::Append => groups.push(script.group(&disk, |script| script.append(56, 2, 6))),
            Last::ReplaceTail => groups.push(script.group(&disk, |script| script.replace_tail(53, 2, 7))),
            Last::TruncateTail => groups.push(script.group(&disk, |script| script.truncate_tail(54))),
            Last::Set => script.vote("her", 8),
            Last::Reopen => {
                script.journal.close().unwrap();
                script.journal = open();
            }
            Last::Healed => {
                healed = script.heal(&disk);
                script.journal.close().unwrap();
            }
            Last::Repair => healed = script.heal(&disk),
        }
        if !matches!(last, Last::Append | Last::ReplaceTail | Last::TruncateTail) {
            groups.clear();
        }
        groups.reverse();
        let rest = disk.killed();
        let places = [places(form, &rest), put_back(&rest, &healed)].concat();
        assert!(rest.segments().len() >= 3 && !rest.segments()[0].ends_with("1.seg"), "{:?}", rest.segments());
        let (bodies, frames) = bodies_and_frames(form, &rest);
        Subject { form, files: files(&rest), disk: rest, held: script.model, groups, places, bodies, frames }
    }

    /// The entries that have bytes in a stretch of a file: at most these may be lost without being told at open.
    pub fn entries_in(&self, path: &Path, bytes: &Range<usize>) -> BTreeSet<u64> {
        self.places.iter().filter(|(place, _)| place.is_hit(path, bytes)).map(|&(_, index)| index).collect()
    }

    /// The entries that bytes of a file may cost: those of their batches, and what was put back there; where what frames
    /// batches is hit, all that the file holds.
    pub fn losable(&self, path: &Path, bytes: &Range<usize>) -> BTreeSet<u64> {
        let is_framing = self.frames.iter().any(|place| place.is_hit(path, bytes));
        let hit =
            self.bodies.iter().filter(|(place, _)| place.path == path && (is_framing || place.is_hit(path, bytes)));
        hit.flat_map(|(_, indexes)| indexes.clone()).chain(self.entries_in(path, bytes)).collect()
    }

    /// Whether a version of an entry begins at this place.
    pub fn has_entry_at(&self, path: &Path, offset: u64, index: u64) -> bool {
        let begins = |place: &Stretch| place.path == path && place.bytes.start as u64 == offset;
        self.places.iter().any(|(place, found)| *found == index && begins(place))
    }

    /// What the journal held before the last group, if that one has bytes in a stretch of a file, before the one before
    /// it, if that one has some, too, and so on: only these may be missing without being told.
    pub fn held_before(&self, path: &Path, bytes: &Range<usize>) -> Vec<&Model> {
        let hit = self.groups.iter().take_while(|group| group.place.is_hit(path, bytes));
        hit.map(|group| &group.before).collect()
    }
}

/// The batches of a segment: offset, kind and length of the body.
pub fn batches(segment: &[u8], data_start: usize) -> Vec<(usize, u32, usize)> {
    let align = if data_start == 4096 { 4096 } else { 8 };
    let (mut at, mut found) = (data_start, Vec::new());
    while number(segment, at + 20) == at {
        let body_bytes = number(segment, at + 16);
        found.push((at, number(segment, at + 8) as u32, body_bytes));
        at += (72 + body_bytes).next_multiple_of(align);
    }
    found
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn files(disk: &Disk) -> BTreeMap<PathBuf, Vec<u8>> {
    let sim = disk.sim();
    sim.paths().into_iter().map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

/// Where entries stand that were put back: each anywhere in the repair files.
fn put_back(disk: &Disk, indexes: &[u64]) -> Vec<(Stretch, u64)> {
    let files = disk.names().into_iter().filter(|name| name.ends_with(".rep"));
    let place = |name: String| Stretch { path: disk.path(&name), bytes: 0..disk.bytes(&name).len() };
    let places: Vec<Stretch> = files.map(place).collect();
    assert_eq!(places.is_empty(), indexes.is_empty());
    places.iter().flat_map(|place| indexes.iter().map(|&index| (place.clone(), index))).collect()
}

fn bodies_and_frames(form: Form, disk: &Disk) -> (Vec<(Stretch, Range<u64>)>, Vec<Stretch>) {
    let (mut bodies, mut frames) = (Vec::new(), Vec::new());
    for name in disk.segments() {
        let (path, bytes) = (disk.path(&name), disk.bytes(&name));
        for (offset, kind, body_bytes) in batches(&bytes, form.data_start()) {
            let (body, end) = (offset + 72, offset + 72 + body_bytes);
            let first = u64::from_le_bytes(bytes[offset + 24..offset + 32].try_into().unwrap());
            if kind == 1 {
                let place = Stretch { path: path.clone(), bytes: body..end };
                bodies.push((place, first..first + number(&bytes, offset + 12) as u64));
            }
            frames.push(Stretch { path: path.clone(), bytes: offset..if kind == 1 { body } else { end } });
        }
    }
    (bodies, frames)
}

fn places(form: Form, disk: &Disk) -> Vec<(Stretch, u64)> {
    let mut places = Vec::new();
    for name in disk.segments() {
        let bytes = disk.bytes(&name);
        for (offset, kind, body_bytes) in batches(&bytes, form.data_start()) {
            let mut index = u64::from_le_bytes(bytes[offset + 24..offset + 32].try_into().unwrap());
            let mut at = offset + 72;
            while kind == 1 && at < offset + 72 + body_bytes {
                let end = at + 20 + number(&bytes, at + 4);
                places.push((Stretch { path: disk.path(&name), bytes: at..end }, index));
                (at, index) = (end, index + 1);
            }
        }
    }
    places
}
