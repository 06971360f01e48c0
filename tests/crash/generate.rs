//! Random histories, each from its seed alone.

use std::io::ErrorKind;

use crate::common::is_encrypted;
use crate::model::{Op, Shape};
use raft_journal::io::sim::{OperationKind, SimFs, Survival};

pub const PLAIN: Shape =
    Shape { segment_bytes: 8 << 10, compressed: false, aligned: false, repeats: false, encrypted: false };
pub const COMPRESSED: Shape =
    Shape { segment_bytes: 12 << 10, compressed: true, aligned: false, repeats: false, encrypted: false };
pub const ALIGNED: Shape =
    Shape { segment_bytes: 64 << 10, compressed: false, aligned: true, repeats: false, encrypted: false };

/// Draws numbers (splitmix64).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    fn byte_below(&mut self, bound: u64) -> u8 {
        self.below(bound) as u8
    }
}

/// What befalls a history besides power cuts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Power cuts and kills in the middle, and the same entries sent again after each.
    CrashLoop,
    /// Reads, writes, syncs and all the rest fail here and there, or are short.
    Faults,
    /// A torn write spoils the whole 4096-byte sectors around it; the journal is aligned to them.
    WholeSectors,
}

impl Trouble {
    pub const ALL: [Trouble; 4] = [Trouble::None, Trouble::CrashLoop, Trouble::Faults, Trouble::WholeSectors];

    pub fn name(self) -> &'static str {
        match self {
            Trouble::None => "none",
            Trouble::CrashLoop => "crash loops, entries sent again",
            Trouble::Faults => "a disk that fails",
            Trouble::WholeSectors => "4096-byte sectors spoiled whole",
        }
    }

    /// A new disk that gives this trouble.
    pub fn disk(self, seed: u64) -> SimFs {
        // The same identities and salts for each: what differs is the history.
        let disk = SimFs::new();
        disk.set_log(false);
        match self {
            Trouble::None | Trouble::CrashLoop => {}
            Trouble::Faults => disk.set_failed_syncs_leave(Survival::Random(seed)),
            Trouble::WholeSectors => {
                disk.set_sector_bytes(4096);
                disk.set_damages_whole_sectors(true);
            }
        }
        disk
    }
}

/// A history.
#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub trouble: Trouble,
    pub shape: Shape,
    /// Work in the background waits until a step says so.
    pub queued: bool,
    pub ops: Vec<Op>,
}

/// The history that belongs to a seed.
pub fn history(seed: u64, trouble: Trouble) -> History {
    let mut random = Random::new(seed.wrapping_mul(Trouble::ALL.len() as u64).wrapping_add(trouble as u64));
    let shape = match random.below(8) {
        _ if trouble == Trouble::WholeSectors => Shape { segment_bytes: 32 << 10, ..ALIGNED },
        0 => ALIGNED,
        1 | 2 => COMPRESSED,
        _ => PLAIN,
    };
    let encrypted = is_encrypted(seed);
    let shape = Shape { repeats: trouble == Trouble::CrashLoop, encrypted, ..shape };
    let mut queued = random.below(3) == 0;
    let mut ops = Vec::new();
    // Half of the histories begin close to a rotation, so that it falls among the steps that count.
    if random.below(2) == 0 {
        let bytes = if shape.aligned { 6000 } else { 800 };
        ops.push(Op::Append { count: 4 + random.byte_below(4), bytes });
    }
    for _ in 0..3 + random.below(8) {
        ops.push(step(&mut random));
        match trouble {
            Trouble::CrashLoop if random.below(2) == 0 => ops.push(crash(&mut random)),
            Trouble::Faults if random.below(3) == 0 => ops.push(fault(&mut random)),
            Trouble::Faults if random.below(8) == 0 => ops.extend(refused_half_way(&mut random)),
            _ => {}
        }
    }
    if encrypted {
        let repair = Op::Repair { back: random.byte_below(4) };
        ops.insert(ops.len() / 2, if seed % 16 == 5 { Op::Rewrite } else { repair });
    }
    if trouble == Trouble::CrashLoop && random.below(2) == 0 {
        insert(&mut random, &mut ops, sent_again);
    }
    // What is compressed fills no file.
    if !shape.compressed && random.below(4) == 0 {
        queued = true;
        insert(&mut random, &mut ops, |random| recycled(random, shape));
    }
    History { seed, trouble, shape, queued, ops }
}

/// Puts steps somewhere into a history.
fn insert(random: &mut Random, ops: &mut Vec<Op>, steps: impl FnOnce(&mut Random) -> Vec<Op>) {
    let at = random.below(ops.len() as u64) as usize;
    ops.splice(at..at, steps(random));
}

/// The same entries after each of several crashes: equal bytes over what an earlier life left of them.
fn sent_again(random: &mut Random) -> Vec<Op> {
    let append = Op::AppendPending { count: 1 + random.byte_below(4), bytes: 40 + random.below(900) as u16 };
    let batches = 1 + random.below(2) as usize;
    let mut round = || {
        let mut ops = vec![append.clone(); batches];
        ops.push(crash(random));
        ops
    };
    (0..4).flat_map(|_| round()).collect()
}

/// Files are filled and given up, and while they wait for their removal the next one is made, of one of them.
fn recycled(random: &mut Random, shape: Shape) -> Vec<Op> {
    let append = Op::Append { count: 2, bytes: (shape.segment_bytes / 8) as u16 };
    let mut ops = vec![append.clone(); 4];
    ops.extend([Op::TruncateHead { keep: random.byte_below(3) }, append.clone(), Op::Housekeep]);
    ops.extend([step(random), append.clone(), append, step(random)]);
    ops
}

fn step(random: &mut Random) -> Op {
    let count = if random.below(6) == 0 { 4 + random.byte_below(6) } else { 1 + random.byte_below(3) };
    let bytes = match random.below(4) {
        0 => random.below(30) as u16,
        1 | 2 => 60 + random.below(300) as u16,
        _ => 600 + random.below(900) as u16,
    };
    let (back, keep, value) = (random.byte_below(8), random.byte_below(8), random.byte_below(4));
    match random.below(39) {
        0..=6 => Op::Append { count, bytes },
        7..=13 => Op::AppendPending { count, bytes },
        14..=16 => Op::Replace { back, count, bytes },
        17..=18 => Op::ReplacePending { back, count, bytes },
        19..=20 => Op::TruncateTail { back },
        21..=22 => Op::TruncateHead { keep },
        23 => Op::VoteAndTruncate { value, keep },
        24 => Op::Snapshot { beyond: random.byte_below(5) },
        25 => Op::Overrule,
        26..=27 => Op::Vote { value },
        28 => Op::Forget,
        29 => Op::CommitLazily { value },
        30 => Op::Sync,
        31 => Op::Idle,
        32 => Op::Kill,
        33 => Op::VoteInTerm { value },
        34 => Op::Checkpoint,
        35 => Op::Housekeep,
        36..=37 => Op::Repair { back: random.byte_below(12) },
        _ => Op::Reopen,
    }
}

fn crash(random: &mut Random) -> Op {
    match random.below(4) {
        0 => Op::CrashLater { mutations: random.byte_below(9) },
        1 => Op::Kill,
        _ => Op::Crash { seed: random.bits() },
    }
}

/// A write that stops, and one or several behind it that find no space: what is to make it void may be refused as well.
fn refused_half_way(random: &mut Random) -> Vec<Op> {
    let nth = random.byte_below(4);
    let bytes = if random.below(2) == 0 { 1 + random.below(80) } else { 1 + random.below(1200) } as u16;
    let full = |more| Op::Fail { kind: OperationKind::Write, nth: nth + more, error: ErrorKind::StorageFull };
    let stop = Op::Shorten { kind: OperationKind::Write, nth, bytes };
    std::iter::once(stop).chain((1..=1 + random.byte_below(3)).map(full)).collect()
}

fn fault(random: &mut Random) -> Op {
    use OperationKind::*;
    let kinds =
        [Open, Create, Rename, Remove, SyncDirectory, Read, Write, Write, Sync, Sync, Sync, Len, SetLen, Allocate];
    let nth = random.byte_below(6);
    match random.below(4) {
        0 => {
            let kind = if random.below(2) == 0 { Read } else { Write };
            Op::Shorten { kind, nth, bytes: 1 + random.below(600) as u16 }
        }
        1 => Op::Fail { kind: if random.below(2) == 0 { Read } else { Write }, nth, error: ErrorKind::Interrupted },
        2 => Op::Fail { kind: random.pick(&[Write, Allocate, Create]), nth, error: ErrorKind::StorageFull },
        _ => Op::Fail { kind: random.pick(&kinds), nth, error: ErrorKind::Other },
    }
}
