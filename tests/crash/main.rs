//! Crashes, simulated: a journal and a plain model run the same history, power is lost anywhere, and what is found
//! again must be what was acknowledged plus at most a prefix of what was in flight.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pass_on.rs"]
mod pass_on;

mod base;
mod explore;
mod generate;
mod history;
mod hunt;
mod lies;
mod model;

use std::sync::Arc;

use common::seeded;
use explore::{Seen, quietly};
use generate::{ALIGNED, COMPRESSED, PLAIN};
use history::{Run, Wrap};
use lies::{Liar, Lie};
use model::{Op, Shape};
use proptest::prelude::*;
use raft_journal::io::sim::{Fault, OperationKind, SimFs, Survival};
use std::io::ErrorKind;

/// A history with everything in it: appends of one and many entries, waited for and not, replacements within and below
/// the active segment, truncations at both ends and beyond, snapshots, votes, rotations, reopens.
fn scripted() -> Vec<Op> {
    use Op::*;
    vec![
        Vote { value: 1 },
        Append { count: 1, bytes: 30 },
        AppendPending { count: 3, bytes: 200 },
        AppendPending { count: 1, bytes: 900 },
        Vote { value: 2 },
        Append { count: 20, bytes: 100 },
        ReplacePending { back: 4, count: 2, bytes: 50 },
        Replace { back: 3, count: 1, bytes: 50 },
        Append { count: 9, bytes: 400 },
        Repair { back: 2 },
        CommitLazily { value: 9 },
        TruncateTail { back: 3 },
        Append { count: 12, bytes: 300 },
        AppendPending { count: 2, bytes: 10 },
        Idle,
        TruncateTail { back: 20 },
        Append { count: 5, bytes: 10 },
        TruncateHead { keep: 12 },
        Append { count: 16, bytes: 450 },
        Repair { back: 1 },
        Repair { back: 11 },
        VoteAndTruncate { value: 3, keep: 4 },
        Append { count: 14, bytes: 500 },
        Reopen,
        Append { count: 2, bytes: 700 },
        TruncateHead { keep: 0 },
        Append { count: 3, bytes: 20 },
        Overrule,
        Append { count: 2, bytes: 20 },
        Snapshot { beyond: 7 },
        AppendPending { count: 4, bytes: 20 },
        Replace { back: 4, count: 6, bytes: 1000 },
        Reopen,
        AppendPending { count: 2, bytes: 80 },
        Kill,
        Forget,
        Append { count: 1, bytes: 0 },
    ]
}

/// Every kind of journal.
fn shapes() -> Vec<Shape> {
    let encrypted = cfg!(feature = "encryption").then_some(Shape { encrypted: true, ..PLAIN });
    [PLAIN, COMPRESSED, ALIGNED].into_iter().chain(encrypted).collect()
}

/// The scripted history; of a journal that is encrypted, with its log written anew from time to time.
fn scripted_for(shape: Shape) -> Vec<Op> {
    let mut ops = scripted();
    if shape.encrypted {
        (5..30).rev().step_by(8).for_each(|at| ops.insert(at, Op::Rewrite));
    }
    ops
}

/// Runs `ops` once for every operation of the disk, losing power right there, and returns the count of crashes.
fn sweep(ops: &[Op], shape: Shape, survivals: &[Survival]) -> usize {
    sweep_on(SimFs::new, ops, shape, survivals)
}

fn sweep_on(disk: fn() -> SimFs, ops: &[Op], shape: Shape, survivals: &[Survival]) -> usize {
    let whole = {
        let mut run = Run::new(disk(), shape);
        run.run(ops);
        run.first_crash_at
    };
    let mut crashes = 0;
    for &survival in survivals {
        for cut in 0..whole {
            let fs = disk();
            fs.cut_power_at(cut);
            let mut run = Run::new(fs, shape);
            run.survival = survival;
            run.run(ops);
            crashes += run.crashes;
        }
    }
    crashes
}

fn survivals(seed: u64) -> Vec<Survival> {
    let mut all = vec![Survival::Nothing, Survival::Everything];
    all.extend((0..2).flat_map(|i| [Survival::Random(seed + i), Survival::OldOrNew(seed + 10 + i)]));
    all
}

#[test]
fn power_lost_at_every_operation_loses_nothing_that_was_acknowledged() {
    let crashes = sweep(&scripted(), PLAIN, &survivals(1));
    assert!(crashes > 1000, "{crashes} crashes");
}

#[test]
fn power_lost_at_every_operation_of_a_compressed_journal_loses_nothing() {
    sweep(&scripted(), COMPRESSED, &survivals(100));
}

#[cfg(feature = "encryption")]
#[test]
fn power_lost_at_every_operation_of_an_encrypted_journal_loses_nothing() {
    sweep(&scripted(), Shape { encrypted: true, ..PLAIN }, &survivals(400)[..3]);
    let shape = Shape { encrypted: true, ..COMPRESSED };
    sweep(&scripted_for(shape), shape, &survivals(500));
}

#[test]
fn power_lost_at_every_operation_of_an_aligned_journal_loses_nothing() {
    sweep(&scripted(), ALIGNED, &survivals(200)[..3]);
}

#[test]
fn power_lost_at_every_operation_around_a_file_that_is_used_anew_loses_nothing() {
    use Op::*;
    let disk = || {
        let disk = SimFs::new();
        disk.queue_tasks(true);
        disk
    };
    let each = [
        AppendPending { count: 2, bytes: 700 },
        ReplacePending { back: 1, count: 3, bytes: 500 },
        Replace { back: 8, count: 2, bytes: 900 },
        TruncateTail { back: 1 },
        TruncateTail { back: 5 },
        TruncateHead { keep: 1 },
        TruncateHead { keep: 0 },
        Snapshot { beyond: 4 },
        Overrule,
        VoteInTerm { value: 3 },
        VoteAndTruncate { value: 4, keep: 2 },
        CommitLazily { value: 5 },
        Checkpoint,
        Housekeep,
        Reopen,
        Kill,
    ];
    for op in each {
        let fill = || Append { count: 2, bytes: 1000 };
        let mut ops = vec![fill(), fill(), fill(), fill(), TruncateHead { keep: 2 }, fill(), Housekeep];
        ops.extend([op.clone(), fill(), fill(), op.clone(), fill()]);
        let mut run = Run::new(disk(), PLAIN);
        run.run(&ops);
        assert_eq!(run.done.get("files used anew"), Some(&1), "{op:?}");
        sweep_on(disk, &ops, PLAIN, &survivals(600));
    }
}

/// A disk with sectors of 4096 bytes, all of which a torn write may spoil.
fn spoiling_disk() -> SimFs {
    let disk = SimFs::new();
    disk.set_sector_bytes(4096);
    disk.set_damages_whole_sectors(true);
    disk
}

#[test]
fn whole_sectors_spoiled_at_every_operation_cost_an_aligned_journal_nothing() {
    let survivals: Vec<Survival> = (300..308).map(Survival::Random).collect();
    sweep_on(spoiling_disk, &scripted(), ALIGNED, &survivals);
    for seed in 0..200 {
        let mut run = Run::new(spoiling_disk(), ALIGNED);
        run.run(&torn_behind_what_was_acknowledged(seed));
    }
}

#[test]
fn whole_sectors_that_are_spoiled_cost_a_journal_that_is_not_aligned() {
    let caught = (0..20).any(|seed| {
        let run = || Run::new(spoiling_disk(), PLAIN).run(&torn_behind_what_was_acknowledged(seed));
        std::panic::catch_unwind(run).is_err()
    });
    assert!(caught, "nobody noticed that batches share sectors");
}

fn torn_behind_what_was_acknowledged(seed: u64) -> Vec<Op> {
    let step = |number: u64| {
        let crash = Op::Crash { seed: seed * 100 + number };
        [Op::Append { count: 2, bytes: 100 }, Op::Vote { value: 1 }, Op::AppendPending { count: 2, bytes: 900 }, crash]
    };
    (0..6).flat_map(step).collect()
}

#[test]
fn crash_loops_over_the_same_place_mix_no_lives() {
    // Entries of the same indexes and sizes, written over what a cut left of the last ones, torn again and again: a
    // header of one life over entries of another must never pass. Half of them with the same bytes each time.
    for seed in 0..300u64 {
        let shape = if seed % 5 == 0 { COMPRESSED } else { PLAIN };
        let shape = Shape { repeats: seed % 2 == 0, ..shape };
        let mut run = Run::new(SimFs::with_seed(seed), shape);
        run.survival = Survival::Random(seed);
        let crash = |number: u64| [Op::AppendPending { count: 3, bytes: 700 }, Op::Crash { seed: seed * 100 + number }];
        let ops: Vec<Op> = [Op::Append { count: 1, bytes: 10 }].into_iter().chain((0..8).flat_map(crash)).collect();
        run.run(&ops);
    }
}

#[test]
fn a_header_never_passes_over_entries_of_another_life() {
    // Each entry in sectors of its own, so that a torn write can leave whole entries of an earlier life, right in
    // themselves, under a header of this one.
    for seed in 0..150u64 {
        let mut run = Run::new(SimFs::with_seed(seed), ALIGNED);
        let crash = |number: u64| [Op::AppendBySectors, Op::Crash { seed: seed * 100 + number }];
        let ops: Vec<Op> = [Op::Append { count: 1, bytes: 10 }].into_iter().chain((0..8).flat_map(crash)).collect();
        run.run(&ops);
    }
}

#[test]
fn a_seal_behind_a_torn_batch_is_not_believed() {
    // Nobody waits, so a rotation's sync covers batches and seal alike, and either may survive without the other.
    let ops: Vec<Op> = (0..11).map(|_| Op::AppendPending { count: 1, bytes: 700 }).collect();
    let survivals: Vec<Survival> = (0..30).map(Survival::Random).collect();
    sweep(&ops, PLAIN, &survivals);
}

#[test]
fn short_and_interrupted_transfers_are_gone_on_with() {
    let fs = SimFs::new();
    fs.inject(Fault::short(OperationKind::Write, 1000).always());
    fs.inject(Fault::short(OperationKind::Read, 300).always());
    Run::new(fs, PLAIN).run(&scripted());
    for kind in [OperationKind::Read, OperationKind::Write] {
        for fault in [Fault::new(kind, ErrorKind::Interrupted), Fault::short(kind, 1), Fault::short(kind, 100)] {
            let calls = at_every_call(PLAIN, kind, |nth| fault.clone().nth(nth));
            assert!(calls > 50, "{calls} of {kind:?}");
        }
    }
}

/// Runs the scripted history once for each call of a kind, with a fault there; returns how many there are.
fn at_every_call(shape: Shape, kind: OperationKind, fault: impl Fn(u64) -> Fault) -> u64 {
    for nth in 0.. {
        let fs = SimFs::new();
        fs.set_failed_syncs_leave(Survival::Random(nth));
        let mut run = Run::new(fs.clone(), shape);
        run.survival = Survival::Random(nth);
        run.fault(fault(nth));
        if let Err(why) = quietly(|| run.run(&scripted_for(shape))) {
            panic!("{shape:?}, a fault at {kind:?} {nth}: {why}");
        }
        // What was closed in order meets no further faults.
        if fs.faults_left() > 0 {
            return nth;
        }
    }
    unreachable!("a history ends")
}

#[test]
fn a_fault_at_every_call_of_every_kind_loses_nothing_that_was_acknowledged() {
    use OperationKind::*;
    let kinds = [
        Open,
        Create,
        CreateDirectory,
        Kind,
        List,
        Rename,
        Link,
        Links,
        Remove,
        SyncDirectory,
        Lock,
        Read,
        Write,
        Sync,
        Len,
        SetLen,
        Allocate,
        DropCache,
    ];
    let mut met = Vec::new();
    for kind in kinds {
        let mut errors = vec![ErrorKind::Other];
        if matches!(kind, Create | Write | Sync | Allocate | SyncDirectory | Rename) {
            errors.push(ErrorKind::StorageFull);
        }
        for error in errors {
            let calls = at_every_call(PLAIN, kind, |nth| Fault::new(kind, error).nth(nth));
            met.push((kind, calls));
        }
    }
    let calls: u64 = met.iter().map(|(_, calls)| calls).sum();
    println!("{calls} faults: {met:?}");
    for kind in [Open, Create, Rename, Remove, SyncDirectory, Read, Write, Sync, Allocate] {
        assert!(met.iter().any(|&(of, calls)| of == kind && calls > 2), "{kind:?}: {met:?}");
    }
    for shape in shapes() {
        for kind in [Rename, Read, Write, Sync, Allocate] {
            let calls = at_every_call(shape, kind, |nth| Fault::new(kind, ErrorKind::Other).nth(nth));
            assert!(calls > 0, "{shape:?}: {kind:?}");
        }
    }
}

#[test]
fn a_million_states_that_power_loss_may_leave_are_recovered() {
    let classes = hunt::power_cuts(&hunt::plain());
    let caught = hunt::hunt(0..u64::MAX, &classes, &Seen::new(1_000_000, None));
    println!("{caught}");
    if let Some(failure) = caught.failures.first() {
        panic!("{failure}");
    }
    assert!(caught.distinct() >= 1_000_000);
    let done = caught.all().done;
    let mut wanted = vec!["checkpoints", "entries put back", "equal entries sent again", "files used anew"];
    if cfg!(feature = "encryption") {
        wanted.extend(["encrypted entries put back", "logs written anew"]);
    }
    assert!(wanted.iter().all(|what| done.contains_key(what)), "{done:?}");
}

#[test]
fn a_hunt_on_a_disk_that_does_not_sync_fails_with_a_short_history() {
    for lie in [Lie::Files, Lie::Directories] {
        let wrap: Wrap = Arc::new(move |fs| Arc::new(Liar(fs, lie)));
        let caught = hunt::hunt(0..20, &hunt::power_cuts(&wrap), &Seen::new(100_000, None));
        let failure = caught.failures.first().expect("nobody noticed");
        assert!(failure.history.steps <= 2, "{lie:?}: {failure}");
        assert!(failure.to_string().contains(&format!("--seed {} ", failure.seed)), "{failure}");
    }
}

#[test]
fn a_disk_that_does_not_sync_is_caught() {
    // The simulation must be able to fail: with the syncs taken out, acknowledged entries are lost, and it says so.
    for lie in [Lie::Files, Lie::Directories] {
        let caught = std::panic::catch_unwind(|| {
            let mut run = Run::new(SimFs::new(), PLAIN);
            run.wrap = Arc::new(move |fs| Arc::new(Liar(fs, lie)));
            run.run(&[Op::Append { count: 1, bytes: 10 }]);
        });
        assert!(caught.is_err(), "nobody noticed {lie:?}");
    }
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop_oneof![0..40u16, 100..600u16, 1000..3000u16];
    let count = || prop_oneof![4 => 1..4u8, 1 => 4..24u8];
    prop_oneof![
        6 => (count(), bytes()).prop_map(|(count, bytes)| Op::Append { count, bytes }),
        6 => (count(), bytes()).prop_map(|(count, bytes)| Op::AppendPending { count, bytes }),
        2 => (0..30u8, count(), bytes()).prop_map(|(back, count, bytes)| Op::Replace { back, count, bytes }),
        2 => (0..30u8, count(), bytes()).prop_map(|(back, count, bytes)| Op::ReplacePending { back, count, bytes }),
        2 => (0..30u8).prop_map(|back| Op::TruncateTail { back }),
        2 => (0..30u8).prop_map(|keep| Op::TruncateHead { keep }),
        1 => (0..9u8).prop_map(|beyond| Op::Snapshot { beyond }),
        1 => Just(Op::Overrule),
        2 => any::<u8>().prop_map(|value| Op::Vote { value }),
        1 => Just(Op::Forget),
        1 => (any::<u8>(), 0..30u8).prop_map(|(value, keep)| Op::VoteAndTruncate { value, keep }),
        1 => any::<u8>().prop_map(|value| Op::CommitLazily { value }),
        1 => Just(Op::Sync),
        2 => (0..30u8).prop_map(|back| Op::Repair { back }),
        1 => Just(Op::Reopen),
        1 => Just(Op::Idle),
        1 => Just(Op::Housekeep),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        2 => (0..12u8).prop_map(|mutations| Op::CrashLater { mutations }),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![3 => Just(PLAIN), 1 => Just(COMPRESSED), 1 => Just(ALIGNED)]
}

fn survival() -> impl Strategy<Value = Survival> {
    prop_oneof![
        Just(Survival::Nothing),
        Just(Survival::Everything),
        any::<u64>().prop_map(Survival::Random),
        any::<u64>().prop_map(Survival::OldOrNew),
    ]
}

/// How many random histories: as many as `CRASH_CASES` says, for those who want more.
fn cases(usual: u32) -> u32 {
    std::env::var("CRASH_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

proptest! {
    #![proptest_config(seeded("crash", ProptestConfig {
        cases: cases(500),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }))]

    #[test]
    fn random_histories_with_power_cuts_agree_with_the_model(
        ops in prop::collection::vec(op(), 1..50),
        shape in shape(),
        survival in survival(),
        queued in any::<bool>(),
    ) {
        let fs = SimFs::new();
        fs.queue_tasks(queued);
        let mut run = Run::new(fs, shape);
        run.survival = survival;
        run.run(&ops);
    }
}

proptest! {
    #![proptest_config(seeded("crash", ProptestConfig { cases: 48, ..ProptestConfig::default() }))]

    #[test]
    fn random_histories_on_a_real_directory_agree_with_the_model(
        ops in prop::collection::vec(op(), 1..40),
        shape in shape(),
    ) {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        history::run_on_real_directory(&temporary.path().join("journal"), &ops, shape);
    }
}
