//! What power loss, or a failed sync, leaves of changes that no sync has covered.

use std::ops::Range;

use super::choices::Choices;
use super::contents::Contents;
use super::inode::{Change, Inode, Unsynced, Write};
use super::random::Random;

/// What a disk writes whole at first, bytes: parts of a write that lie in different sectors have different fates. See
/// [`SimFs::set_sector_bytes`](super::SimFs::set_sector_bytes).
pub const SECTOR_BYTES: usize = 512;

/// How a disk writes.
#[derive(Clone, Copy)]
pub(super) struct Sectors {
    pub(super) bytes: usize,
    /// Whether damage goes beyond the bytes written, to all of their sector.
    pub(super) damaged_whole: bool,
}

impl Sectors {
    /// What is damaged when a write into `range`, which lies in one sector, is.
    fn around(self, range: Range<u64>) -> Range<u64> {
        if !self.damaged_whole {
            return range;
        }
        let bytes = self.bytes as u64;
        let start = range.start / bytes * bytes;
        start..start + bytes
    }
}

/// Which of the legal states a power cut leaves.
///
/// Synced bytes, sizes and names always survive. Each random choice is driven by the seed alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Nothing unsynced survives.
    Nothing,
    /// Everything unsynced survives.
    Everything,
    /// Of each write, each sector's part is new, old, zero, garbage, or what an earlier write left there; each name
    /// and each size survives or not.
    Random(u64),
    /// As `Random`, but a sector's part is only new or old.
    OldOrNew(u64),
}

/// What becomes of the part of a write that lies in one sector.
#[derive(Clone, Copy)]
enum Fate {
    New,
    Old,
    Zero,
    Garbage,
    Stale,
}

/// What becomes of one write, told sector by sector.
enum Pattern {
    All(Fate),
    /// The first fate up to a sector, then the second.
    Split(usize, Fate, Fate),
    /// All new but one sector.
    One(usize, Fate),
    Each,
}

/// Which fates a sector's part of a write may have when every legal state is visited; see
/// [`SimFs::crash_states`](super::SimFs::crash_states).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinds {
    /// New or old.
    OldOrNew,
    /// New, old, zero, garbage, or what the newest of the earlier writes left there that differs from what is there.
    All,
}

/// Decides fates.
pub(super) struct Fates<'a> {
    source: Source<'a>,
    sectors: Sectors,
}

enum Source<'a> {
    /// By a survival and its seed.
    Drawn(Survival, Random),
    /// One combination after the other.
    Chosen(Kinds, &'a mut Choices),
}

impl<'a> Fates<'a> {
    /// `salt` keeps apart the draws of several events under one seed.
    pub(super) fn new(survival: Survival, salt: u64, sectors: Sectors) -> Self {
        let seed = match survival {
            Survival::Nothing | Survival::Everything => 0,
            Survival::Random(seed) | Survival::OldOrNew(seed) => seed,
        };
        let mut random = Random::new(seed);
        Self { source: Source::Drawn(survival, Random::new(random.bits() ^ salt)), sectors }
    }

    /// The fates that the choices stand at.
    pub(super) fn chosen(kinds: Kinds, choices: &'a mut Choices, sectors: Sectors) -> Self {
        Self { source: Source::Chosen(kinds, choices), sectors }
    }

    /// Whether an unsynced change of a name survives.
    pub(super) fn name(&mut self) -> bool {
        match &mut self.source {
            Source::Chosen(_, choices) => choices.next(2) == 0,
            Source::Drawn(Survival::Nothing, _) => false,
            Source::Drawn(Survival::Everything, _) => true,
            Source::Drawn(Survival::Random(_) | Survival::OldOrNew(_), random) => random.coin(),
        }
    }

    /// How many of successive sizes survive.
    fn sizes(&mut self, disk_len: u64, changes: &[Unsynced]) -> usize {
        let count = changes.len();
        match &mut self.source {
            Source::Chosen(_, choices) => {
                // The most first, as everywhere: the first combination is that everything survived.
                let steps = size_steps(disk_len, changes);
                steps.len().checked_sub(1 + choices.next(steps.len())).and_then(|at| steps.get(at)).map_or(0, |at| *at)
            }
            Source::Drawn(Survival::Nothing, _) => 0,
            Source::Drawn(Survival::Everything, _) => count,
            Source::Drawn(Survival::Random(_) | Survival::OldOrNew(_), random) => match random.below(4) {
                0 => 0,
                1 => random.below(count + 1),
                _ => count,
            },
        }
    }
}

/// The counts of changes between which it makes a difference to the size how many of them survived.
fn size_steps(disk_len: u64, changes: &[Unsynced]) -> Vec<usize> {
    let mut len = disk_len;
    let mut steps = vec![0];
    for (place, unsynced) in changes.iter().enumerate() {
        if unsynced.len_after != len || matches!(unsynced.change, Change::Cut(_)) {
            steps.push(place + 1);
        }
        len = unsynced.len_after;
    }
    steps
}

/// Draws the fates of the parts of one write.
struct Drawing<'a> {
    survival: Survival,
    random: &'a mut Random,
}

impl Drawing<'_> {
    /// Any fate but `New`.
    fn loss(&mut self) -> Fate {
        if matches!(self.survival, Survival::OldOrNew(_)) {
            return Fate::Old;
        }
        match self.random.below(5) {
            0 | 1 => Fate::Old,
            2 => Fate::Zero,
            3 => Fate::Garbage,
            _ => Fate::Stale,
        }
    }

    /// Few kinds of patterns, because independent sectors alone would never leave a long write whole, or cut in two.
    fn pattern(&mut self, sectors: usize) -> Pattern {
        match self.survival {
            Survival::Nothing => return Pattern::All(Fate::Old),
            Survival::Everything => return Pattern::All(Fate::New),
            Survival::Random(_) | Survival::OldOrNew(_) => {}
        }
        match self.random.below(6) {
            0 => Pattern::All(Fate::New),
            1 => Pattern::All(self.loss()),
            2 => Pattern::Split(self.random.below(sectors), Fate::New, self.loss()),
            3 => Pattern::Split(self.random.below(sectors), self.loss(), Fate::New),
            4 => Pattern::One(self.random.below(sectors), self.loss()),
            _ => Pattern::Each,
        }
    }

    fn fate(&mut self, pattern: &Pattern, sector: usize) -> Fate {
        match *pattern {
            Pattern::All(fate) => fate,
            Pattern::Split(at, first, _) if sector < at => first,
            Pattern::Split(_, _, second) => second,
            Pattern::One(at, fate) if sector == at => fate,
            Pattern::One(..) => Fate::New,
            Pattern::Each if self.random.coin() => Fate::New,
            Pattern::Each => self.loss(),
        }
    }
}

/// What the disk holds when the first `count` unsynced changes of a file were under way; and how many of their sizes
/// survived.
pub(super) fn resolve(inode: &Inode, count: usize, fates: &mut Fates<'_>) -> (Contents, usize) {
    let mut contents = inode.disk.clone();
    let mut len = contents.len();
    let changes = inode.unsynced.get(..count).unwrap_or_default();
    let sizes = fates.sizes(len, changes);
    for (place, unsynced) in changes.iter().enumerate() {
        match &unsynced.change {
            Change::Write(write) => {
                let before = changes.get(..place).unwrap_or_default();
                tear(&mut contents, write, &Past { synced: &inode.history, unsynced: before }, fates);
            }
            Change::Cut(at) if place < sizes => contents.clear_from(*at),
            Change::Cut(_) | Change::Grow => {}
        }
        if place < sizes {
            len = unsynced.len_after;
        }
    }
    contents.set_len(len);
    (contents, sizes)
}

/// Puts what survives of a write; nothing outside the bytes written changes, unless whole sectors are damaged.
fn tear(contents: &mut Contents, write: &Write, past: &Past<'_>, fates: &mut Fates<'_>) {
    let sectors = fates.sectors;
    let (survival, random) = match &mut fates.source {
        Source::Chosen(kinds, choices) => return tear_as_chosen(contents, write, past, sectors, (*kinds, choices)),
        Source::Drawn(survival, random) => (*survival, random),
    };
    let pieces = pieces(write, sectors.bytes);
    let mut drawing = Drawing { survival, random };
    let pattern = drawing.pattern(pieces.len());
    for (sector, piece) in pieces.into_iter().enumerate() {
        let at = write.offset + piece.start as u64;
        let bytes = write.bytes.get(piece).unwrap_or_default();
        let damaged = sectors.around(at..at + bytes.len() as u64);
        let damaged_bytes = (damaged.end - damaged.start) as usize;
        match drawing.fate(&pattern, sector) {
            Fate::New => contents.put(bytes, at),
            Fate::Old => {}
            Fate::Zero => contents.put(&vec![0; damaged_bytes], damaged.start),
            Fate::Garbage => contents.put(&garbage(damaged.start, damaged_bytes), damaged.start),
            Fate::Stale => {
                let met = past.met(damaged.clone());
                if let Some(write) = met.get(drawing.random.below(met.len())) {
                    put_part(contents, write, damaged);
                }
            }
        }
    }
}

/// The same where the choices decide; only between what makes a difference.
fn tear_as_chosen(
    contents: &mut Contents,
    write: &Write,
    past: &Past<'_>,
    sectors: Sectors,
    (kinds, choices): (Kinds, &mut Choices),
) {
    let mut old = Vec::new();
    for piece in pieces(write, sectors.bytes) {
        let at = write.offset + piece.start as u64;
        let written = write.bytes.get(piece).unwrap_or_default();
        let damaged = sectors.around(at..at + written.len() as u64);
        old.resize((damaged.end - damaged.start) as usize, 0);
        contents.peek(&mut old, damaged.start);
        let place = (at - damaged.start) as usize;
        let is_new = old.get(place..place + written.len()) == Some(written);
        if kinds == Kinds::OldOrNew {
            if !is_new && choices.next(2) == 0 {
                contents.put(written, at);
            }
            continue;
        }
        let mut new = old.clone();
        if let Some(part) = new.get_mut(place..place + written.len()) {
            part.copy_from_slice(written);
        }
        let damage = [vec![0; old.len()], garbage(damaged.start, old.len())];
        let mut outcomes = vec![&new];
        let stale = past.stale(damaged.start, &old);
        for outcome in std::iter::once(&old).chain(&damage).chain(&stale) {
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
        }
        if let Some(bytes) = outcomes.get(choices.next(outcomes.len())) {
            contents.put(bytes, damaged.start);
        }
    }
}

/// Bytes that nobody wrote: the same in the same place, so that they alone make no state another.
fn garbage(offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(offset).fill(&mut bytes);
    bytes
}

/// Puts what a write left in a range.
fn put_part(contents: &mut Contents, write: &Write, range: Range<u64>) {
    let start = range.start.max(write.offset);
    let end = range.end.min(write.end());
    let place = (start - write.offset) as usize..(end - write.offset) as usize;
    contents.put(write.bytes.get(place).unwrap_or_default(), start);
}

/// The parts of a write, one for each sector that it touches.
fn pieces(write: &Write, sector_bytes: usize) -> Vec<Range<usize>> {
    let first_bytes = sector_bytes - (write.offset % sector_bytes as u64) as usize;
    let mut pieces = Vec::with_capacity(write.bytes.len() / sector_bytes + 2);
    let mut start = 0;
    let mut end = first_bytes;
    while start < write.bytes.len() {
        pieces.push(start..end.min(write.bytes.len()));
        start = end;
        end += sector_bytes;
    }
    pieces
}

/// The writes that came before one: where stale bytes come from, never the future.
struct Past<'a> {
    synced: &'a [Write],
    unsynced: &'a [Unsynced],
}

impl Past<'_> {
    /// The earlier writes that wrote in a range, oldest first.
    fn met(&self, range: Range<u64>) -> Vec<&Write> {
        let unsynced = self.unsynced.iter().filter_map(|unsynced| match &unsynced.change {
            Change::Write(write) => Some(write),
            Change::Cut(_) | Change::Grow => None,
        });
        let all = self.synced.iter().chain(unsynced);
        all.filter(|write| write.offset < range.end && range.start < write.end()).collect()
    }

    /// What the newest earlier write left from `at` on that differs from what is there.
    fn stale(&self, at: u64, there: &[u8]) -> Option<Vec<u8>> {
        let range = at..at + there.len() as u64;
        self.met(range.clone()).into_iter().rev().find_map(|write| {
            let mut bytes = there.to_vec();
            let start = range.start.max(write.offset);
            let end = range.end.min(write.end());
            let part = write.bytes.get((start - write.offset) as usize..(end - write.offset) as usize)?;
            bytes.get_mut((start - at) as usize..(end - at) as usize)?.copy_from_slice(part);
            (bytes != there).then_some(bytes)
        })
    }
}
