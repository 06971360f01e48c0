//! What power loss, or a failed sync, leaves of changes that no sync has covered.

use std::ops::Range;

use super::contents::Contents;
use super::inode::{Change, Inode, Unsynced, Write};
use super::random::Random;

/// What a disk writes whole, bytes: parts of a write that lie in different sectors have different fates.
pub const SECTOR_BYTES: usize = 512;

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

/// Draws fates.
pub(super) struct Fates {
    survival: Survival,
    random: Random,
}

impl Fates {
    /// `salt` keeps apart the draws of several events under one seed.
    pub(super) fn new(survival: Survival, salt: u64) -> Self {
        let seed = match survival {
            Survival::Nothing | Survival::Everything => 0,
            Survival::Random(seed) | Survival::OldOrNew(seed) => seed,
        };
        let mut random = Random::new(seed);
        let random = Random::new(random.bits() ^ salt);
        Self { survival, random }
    }

    /// Whether an unsynced change of a name survives.
    pub(super) fn name(&mut self) -> bool {
        match self.survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Random(_) | Survival::OldOrNew(_) => self.random.coin(),
        }
    }

    /// How many of `count` successive sizes survive.
    fn sizes(&mut self, count: usize) -> usize {
        match self.survival {
            Survival::Nothing => 0,
            Survival::Everything => count,
            Survival::Random(_) | Survival::OldOrNew(_) => match self.random.below(4) {
                0 => 0,
                1 => self.random.below(count + 1),
                _ => count,
            },
        }
    }

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
pub(super) fn resolve(inode: &Inode, count: usize, fates: &mut Fates) -> (Contents, usize) {
    let mut contents = inode.disk.clone();
    let mut len = contents.len();
    let changes = inode.unsynced.get(..count).unwrap_or_default();
    let sizes = fates.sizes(changes.len());
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

/// Puts what survives of a write; nothing outside the bytes written changes.
fn tear(contents: &mut Contents, write: &Write, past: &Past<'_>, fates: &mut Fates) {
    let sectors = pieces(write);
    let pattern = fates.pattern(sectors.len());
    for (sector, piece) in sectors.into_iter().enumerate() {
        let at = write.offset + piece.start as u64;
        let bytes = write.bytes.get(piece).unwrap_or_default();
        match fates.fate(&pattern, sector) {
            Fate::New => contents.put(bytes, at),
            Fate::Old => {}
            Fate::Zero => contents.put(&vec![0; bytes.len()], at),
            Fate::Garbage => {
                let mut garbage = vec![0; bytes.len()];
                fates.random.fill(&mut garbage);
                contents.put(&garbage, at);
            }
            Fate::Stale => past.put_stale(contents, at..at + bytes.len() as u64, &mut fates.random),
        }
    }
}

/// The parts of a write, one for each sector that it touches.
fn pieces(write: &Write) -> Vec<Range<usize>> {
    let first_bytes = SECTOR_BYTES - (write.offset % SECTOR_BYTES as u64) as usize;
    let mut pieces = Vec::with_capacity(write.bytes.len() / SECTOR_BYTES + 2);
    let mut start = 0;
    let mut end = first_bytes;
    while start < write.bytes.len() {
        pieces.push(start..end.min(write.bytes.len()));
        start = end;
        end += SECTOR_BYTES;
    }
    pieces
}

/// The writes that came before one: where stale bytes come from, never the future.
struct Past<'a> {
    synced: &'a [Write],
    unsynced: &'a [Unsynced],
}

impl Past<'_> {
    /// Puts what one earlier write left in a range, where it wrote there.
    fn put_stale(&self, contents: &mut Contents, range: Range<u64>, random: &mut Random) {
        let unsynced = self.unsynced.iter().filter_map(|unsynced| match &unsynced.change {
            Change::Write(write) => Some(write),
            Change::Cut(_) | Change::Grow => None,
        });
        let met: Vec<_> = self
            .synced
            .iter()
            .chain(unsynced)
            .filter(|write| write.offset < range.end && range.start < write.end())
            .collect();
        if let Some(write) = met.get(random.below(met.len())) {
            let start = range.start.max(write.offset);
            let end = range.end.min(write.end());
            let place = (start - write.offset) as usize..(end - write.offset) as usize;
            contents.put(write.bytes.get(place).unwrap_or_default(), start);
        }
    }
}
