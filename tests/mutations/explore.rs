//! Looking for a state of the disk in which a journal breaks its promises.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use raft_journal::io::Fs;
use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};

use crate::damage;
use crate::generate::{ALIGNED, COMPRESSED, PLAIN, Random};
use crate::history::{Run, Wrap};
use crate::model::{Op, Shape};
use crate::recorder::{Recorder, Seen, found};

/// What happens to the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Faults {
    /// The power is cut, once and over and over, or the process is killed.
    Power,
    /// A sync fails, and the pages are clean all the same.
    FailedSyncs,
    /// Reads and writes transfer less than they were asked for.
    ShortTransfers,
    /// The disk is full, in the middle of a write, too.
    FullDisk,
    /// Bytes, sectors and files are damaged at rest.
    Damage,
    /// The power is cut while damaged entries are put back, and later.
    Repairs,
    /// The power is cut behind a checkpoint, which must stay what it was.
    Checkpoints,
    /// The power is cut, or the disk is full, and somebody looks at everything that is encrypted.
    Nonces,
}

impl Faults {
    pub const ALL: [Faults; 8] = [
        Faults::Power,
        Faults::FailedSyncs,
        Faults::ShortTransfers,
        Faults::FullDisk,
        Faults::Damage,
        Faults::Repairs,
        Faults::Checkpoints,
        Faults::Nonces,
    ];

    /// Whether this build can have them.
    pub fn are_built(self) -> bool {
        self != Faults::Nonces || cfg!(feature = "encryption")
    }

    /// Within how many states a bug must be found; as many are looked at where there is none.
    pub fn states_max(self) -> u64 {
        match self {
            Faults::Power => 30_000,
            Faults::Damage => 6000,
            Faults::FailedSyncs | Faults::ShortTransfers | Faults::FullDisk => 2000,
            Faults::Repairs | Faults::Checkpoints | Faults::Nonces => 2000,
        }
    }
}

/// What an exploration came to.
pub struct Outcome {
    /// Disks that were opened and judged.
    pub states: u64,
    pub failure: Option<String>,
}

thread_local! {
    /// A panic is expected: it is an answer.
    pub static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Looks until the oracle fails, or `budget` states have been seen. `wrap` puts something between journals and disks.
pub fn explore(faults: Faults, seed: u64, wrap: &Wrap, budget: u64) -> Outcome {
    QUIET.set(true);
    let mut outcome = Outcome { states: 0, failure: None };
    let mut random = Random::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| match faults {
        Faults::Damage => look_at_damage(wrap, budget, &mut random, &mut outcome.states),
        _ => look_at_histories(faults, wrap, budget, &mut random, &mut outcome.states),
    }));
    outcome.failure = result.err().map(|payload| message(&*payload));
    outcome.states = outcome.states.max(1);
    QUIET.set(false);
    outcome
}

fn look_at_damage(wrap: &Wrap, budget: u64, random: &mut Random, states: &mut u64) {
    let images = damage::images(wrap);
    while *states < budget {
        *states += 1;
        damage::damage_and_judge(&images, wrap, random);
    }
}

fn look_at_histories(faults: Faults, wrap: &Wrap, budget: u64, random: &mut Random, states: &mut u64) {
    let mut cuts: BTreeMap<u64, Cuts> = BTreeMap::new();
    while *states < budget {
        let history = match faults {
            Faults::Repairs => repairs(random),
            Faults::Checkpoints => shared(random),
            Faults::Nonces => encrypted(random),
            _ => history(random),
        };
        let fs = SimFs::with_seed(random.bits());
        fs.queue_tasks(history.queued);
        // The first time, nothing happens: where something can happen is not known yet.
        if let Some(cuts) = cuts.get(&history.kind) {
            plan(faults, &fs, cuts, random);
        }
        let mut run = Run::new(fs.clone(), history.shape);
        run.wrap = Arc::clone(wrap);
        run.survival = survival(random);
        run.faulty = matches!(faults, Faults::FailedSyncs | Faults::FullDisk | Faults::Nonces);
        let watched = (faults == Faults::Nonces).then(|| watch(&mut run));
        let result = catch_unwind(AssertUnwindSafe(|| {
            run.run(&history.ops);
            run.check_copy(&run.fs, &run.copies);
            let broken = watched.map_or(Vec::new(), |seen| found(&seen).broken);
            assert!(broken.is_empty(), "{broken:?}");
        }));
        *states += run.crashes.max(1) as u64;
        cuts.entry(history.kind).or_insert_with(|| Cuts::of(&fs, opening(history.shape)..run.first_crash_at));
        // A bug may show again when the journal closes.
        _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
        if let Err(payload) = result {
            resume_unwind(payload);
        }
    }
}

/// Lets somebody look at everything that a run encrypts.
fn watch(run: &mut Run) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noting = Arc::clone(&seen);
    run.wrap = Arc::new(move |fs| -> Arc<dyn Fs> { Arc::new(Recorder(fs, Arc::clone(&noting))) });
    seen
}

/// How many mutations it takes to make a journal.
fn opening(shape: Shape) -> u64 {
    let fs = SimFs::new();
    let mut run = Run::new(fs.clone(), shape);
    // A bug may show here; it is the histories' task to find it.
    _ = catch_unwind(AssertUnwindSafe(|| run.run(&[])));
    run.first_crash_at
}

/// Where the power can be lost in a kind of history.
struct Cuts {
    /// The mutations behind those that made the journal.
    mutations: Range<u64>,
    /// Those of them that are syncs: most is at stake there.
    syncs: Vec<u64>,
}

impl Cuts {
    fn of(fs: &SimFs, mutations: Range<u64>) -> Cuts {
        let operations = fs.operations();
        let syncs = operations.iter().filter(|operation| operation.kind == OperationKind::Sync);
        let syncs = syncs.map(|sync| sync.mutations_before).filter(|at| mutations.contains(at)).collect();
        Cuts { mutations, syncs }
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    text.to_owned()
}

/// What a journal is asked to do.
struct History {
    kind: u64,
    ops: Vec<Op>,
    shape: Shape,
    /// Work in the background waits until a step says so.
    queued: bool,
}

fn survival(random: &mut Random) -> Survival {
    let seed = random.bits();
    match random.below(6) {
        0 => Survival::Nothing,
        1 => Survival::Everything,
        2 | 3 => Survival::OldOrNew(seed),
        _ => Survival::Random(seed),
    }
}

/// Plans what happens to the disk.
fn plan(faults: Faults, fs: &SimFs, cuts: &Cuts, random: &mut Random) {
    match faults {
        Faults::Nonces => {
            let faults = random.pick(&[Faults::Power, Faults::FullDisk]);
            plan(faults, fs, cuts, random);
        }
        Faults::Power | Faults::Repairs | Faults::Checkpoints => match random.below(8) {
            0 => fs.cut_power_at(random.below(cuts.mutations.start)),
            1 => {}
            2 | 3 => fs.cut_power_at(cuts.mutations.start + random.below(cuts.mutations.clone().count() as u64)),
            _ if cuts.syncs.is_empty() => {}
            _ => fs.cut_power_at(random.pick(&cuts.syncs)),
        },
        Faults::FailedSyncs => {
            fs.fail_at(OperationKind::Sync, 2 + random.below(20), ErrorKind::Other);
            fs.set_failed_syncs_leave(survival(random));
        }
        Faults::ShortTransfers => {
            fs.inject(Fault::short(OperationKind::Write, random.pick(&[10, 100, 1000])).always());
            fs.inject(Fault::short(OperationKind::Read, random.pick(&[30, 300, 3000])).always());
        }
        Faults::FullDisk => {
            for _ in 0..3 {
                // A write stops in the middle; what would go on with it finds no space.
                let (skip, written) = (3 + random.below(20), random.below(1500) as usize);
                fs.inject(Fault::short(OperationKind::Write, written.max(1)).in_path(".seg").nth(skip));
                fs.inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).in_path(".seg").nth(skip));
            }
        }
        Faults::Damage => {}
    }
}

/// How many kinds of history there are; the last ones are random steps.
const KINDS: u64 = 13;

fn history(random: &mut Random) -> History {
    use Op::*;
    let kind = random.below(KINDS);
    let mut crash = || Crash { seed: random.bits() };
    let crashes = [crash(), crash(), crash(), crash(), crash()];
    let one = |bytes| AppendPending { count: 1, bytes };
    // The same steps, and a crash, again and again.
    let again = |ops: &[Op]| -> Vec<Op> {
        let rounds = crashes.iter().flat_map(|crash| ops.iter().cloned().chain([crash.clone()]));
        [Append { count: 1, bytes: 10 }].into_iter().chain(rounds).collect()
    };
    let mut history = History { kind, ops: Vec::new(), shape: PLAIN, queued: false };
    history.ops = match kind {
        0 => votes(),
        // Nobody waits: a rotation's sync covers batches and seal alike.
        1 => (0..11).map(|_| one(700)).collect(),
        2 => truncations(),
        3 => replacements(),
        4 => {
            history.queued = true;
            recycled()
        }
        // What a crash took is sent again, and less of it.
        5 => {
            history.shape.repeats = true;
            again(&[one(300), one(300), crashes[0].clone(), Append { count: 1, bytes: 300 }])
        }
        6 => again(&[one(30), one(30), crashes[0].clone(), one(30)]),
        7 => again(&[AppendPending { count: 3, bytes: 700 }, one(300)]),
        8 => {
            history.shape = ALIGNED;
            again(&[AppendBySectors])
        }
        9 => heads(),
        _ => {
            history.shape = random.pick(&[PLAIN, PLAIN, COMPRESSED, ALIGNED]);
            (history.shape.repeats, history.queued) = (random.below(4) == 0, random.below(3) == 0);
            (0..4 + random.below(16)).map(|_| op(random)).collect()
        }
    };
    history
}

/// Entries are damaged and put back, in the newest file and in sealed ones.
fn repairs(random: &mut Random) -> History {
    use Op::*;
    let mut back = |most| Repair { back: random.below(most) as u8 };
    let mut ops = vec![Append { count: 6, bytes: 300 }, back(5), Append { count: 9, bytes: 500 }, back(14)];
    ops.extend([back(14), Reopen, Append { count: 2, bytes: 200 }, back(16), Kill, Append { count: 1, bytes: 30 }]);
    let shape = random.pick(&[PLAIN, COMPRESSED]);
    History { kind: 0, ops, shape, queued: false }
}

/// Files that a checkpoint shares are given up, and would be used anew.
fn shared(random: &mut Random) -> History {
    use Op::*;
    let many = Append { count: 9, bytes: 500 };
    let mut ops = vec![many.clone(), many, Vote { value: 1 }, Checkpoint];
    // Whether the process still knows what it shared.
    ops.extend((random.below(2) == 0).then_some(Reopen));
    ops.extend(recycled());
    History { kind: 0, ops, shape: PLAIN, queued: true }
}

fn encrypted(random: &mut Random) -> History {
    let mut history = history(random);
    history.shape.encrypted = true;
    history
}

fn votes() -> Vec<Op> {
    use Op::*;
    vec![
        Vote { value: 1 },
        AppendPending { count: 1, bytes: 30 },
        VoteInTerm { value: 2 },
        CommitLazily { value: 3 },
        Append { count: 2, bytes: 300 },
        VoteInTerm { value: 4 },
        CommitLazily { value: 5 },
        Reopen,
        VoteInTerm { value: 6 },
        Append { count: 1, bytes: 30 },
    ]
}

fn truncations() -> Vec<Op> {
    use Op::*;
    vec![
        Append { count: 4, bytes: 300 },
        TruncateTail { back: 2 },
        Append { count: 1, bytes: 300 },
        TruncateTail { back: 1 },
        Append { count: 12, bytes: 400 },
        Append { count: 3, bytes: 400 },
        TruncateHead { keep: 6 },
        Kill,
        Append { count: 2, bytes: 400 },
        Snapshot { beyond: 3 },
        Append { count: 2, bytes: 400 },
    ]
}

fn replacements() -> Vec<Op> {
    use Op::*;
    vec![
        Append { count: 3, bytes: 200 },
        Replace { back: 2, count: 3, bytes: 300 },
        ReplacePending { back: 1, count: 2, bytes: 700 },
        Append { count: 9, bytes: 500 },
        Append { count: 9, bytes: 500 },
        Replace { back: 12, count: 2, bytes: 500 },
        Append { count: 9, bytes: 500 },
        Append { count: 4, bytes: 500 },
    ]
}

/// Each truncation takes a whole segment.
fn heads() -> Vec<Op> {
    use Op::*;
    let many = Append { count: 9, bytes: 500 };
    let truncations = [TruncateHead { keep: 3 }, VoteAndTruncate { value: 1, keep: 3 }, TruncateHead { keep: 3 }];
    [many.clone()]
        .into_iter()
        .chain(truncations.into_iter().flat_map(|truncation| [many.clone(), truncation]))
        .collect()
}

/// A file that was part of the log is used again.
fn recycled() -> Vec<Op> {
    use Op::*;
    let many = Append { count: 9, bytes: 500 };
    let round = [many.clone(), TruncateHead { keep: 2 }, Housekeep, AppendPending { count: 1, bytes: 30 }];
    [many].into_iter().chain(round.iter().chain(&round).chain(&round).cloned()).collect()
}

fn op(random: &mut Random) -> Op {
    let bytes = random.pick(&[0, 30, 300, 700, 1500, 3000]);
    let (count, back) = (random.pick(&[1, 1, 2, 4, 12]), random.below(20) as u8);
    let value = random.below(250) as u8;
    match random.below(23) {
        0..=4 => Op::Append { count, bytes },
        5..=9 => Op::AppendPending { count, bytes },
        10 => Op::Replace { back, count, bytes },
        11 => Op::ReplacePending { back, count, bytes },
        12 => Op::TruncateTail { back },
        13 => Op::TruncateHead { keep: back },
        14 => Op::VoteInTerm { value },
        15 => Op::VoteAndTruncate { value, keep: back },
        16 => Op::CommitLazily { value },
        17 => Op::Snapshot { beyond: back % 4 },
        18 => Op::Reopen,
        19 => Op::Idle,
        20 => Op::Kill,
        21 => Op::Housekeep,
        _ => Op::Crash { seed: random.bits() },
    }
}
