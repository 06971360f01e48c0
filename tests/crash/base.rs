//! A tail that is truncated to exactly where the active segment begins: to its base, again and again.
//!
//! Random histories hardly ever hit that index.

use raft_journal::SegmentRole;
use raft_journal::io::sim::{Kinds, SimFs};

use crate::explore::{Class, Explorer, OLD_OR_NEW_UNITS_MAX, Seen, Tally};
use crate::generate::{History, Trouble};
use crate::history::Run;
use crate::hunt;
use crate::model::{Op, Shape};
use crate::shapes;

/// How many entries the active segment holds behind these steps, and its number among the files.
fn in_active_segment(shape: Shape, ops: &[Op]) -> (u8, u64) {
    let mut run = Run::new(SimFs::new(), shape);
    run.open();
    ops.iter().for_each(|op| run.take(op));
    let beside = run.options_on(&run.fs).read_only(true).open(&run.dir).unwrap();
    let segments = beside.segments().unwrap();
    let active = segments.iter().find(|segment| segment.role == SegmentRole::Active).unwrap();
    ((active.indexes.end - active.indexes.start) as u8, active.sequence)
}

fn with(ops: &[Op], op: Op) -> Vec<Op> {
    [ops, &[op]].concat()
}

/// Appends until the log has rotated once: the batch that did not fit stands alone in the active segment.
fn rotate(shape: Shape) -> Vec<Op> {
    let mut ops = Vec::new();
    while in_active_segment(shape, &ops).1 == 1 {
        ops.push(Op::Append { count: 2, bytes: (shape.segment_bytes / 10) as u16 });
    }
    assert_eq!(in_active_segment(shape, &ops), (2, 2));
    ops
}

/// Appends, few and large entries first, until there is no room for a truncation: it goes to the next file.
fn fill(shape: Shape) -> Vec<Op> {
    let mut ops = rotate(shape);
    for bytes in (0..=1500).rev().step_by(8) {
        loop {
            let more = with(&ops, Op::Append { count: 1, bytes });
            if in_active_segment(shape, &more).1 == 3 {
                break;
            }
            ops = more;
        }
    }
    let (count, _) = in_active_segment(shape, &ops);
    assert_eq!(in_active_segment(shape, &with(&ops, Op::TruncateTail { back: count })), (0, 3));
    ops
}

/// Down to the base, something on top of it, down to it again, and something else.
fn to_the_base_again_and_again(count: u8) -> Vec<Op> {
    let append = |count| Op::Append { count, bytes: 30 };
    vec![
        Op::TruncateTail { back: count },
        append(1),
        Op::TruncateTail { back: 1 },
        Op::TruncateTail { back: 0 },
        append(2),
        Op::TruncateTail { back: 2 },
        append(3),
        Op::Vote { value: 1 },
        Op::TruncateTail { back: 3 },
        Op::Reopen,
        append(1),
        Op::TruncateTail { back: 1 },
        Op::Kill,
        append(2),
        Op::Replace { back: 2, count: 1, bytes: 30 },
    ]
}

/// The same with appends that nobody waits for: a truncation takes back what may not be durable yet.
fn to_the_base_behind_appends_in_flight(count: u8) -> Vec<Op> {
    let append = |count| Op::AppendPending { count, bytes: 30 };
    vec![
        append(1),
        Op::TruncateTail { back: count + 1 },
        append(1),
        Op::TruncateTail { back: 1 },
        append(1),
        append(1),
        Op::TruncateTail { back: 2 },
        append(2),
        Op::ReplacePending { back: 2, count: 1, bytes: 30 },
        Op::TruncateTail { back: 1 },
        append(1),
    ]
}

/// Loses power at every moment of these steps, which follow others, and visits all combinations of old and new.
fn explore(shape: Shape, queued: bool, before: &[Op], steps: &[Op]) -> Tally {
    let history = History { seed: 0, trouble: Trouble::None, shape, queued, ops: [before, steps].concat() };
    assert!(undecided_at_most(&history, before.len()) <= OLD_OR_NEW_UNITS_MAX, "there are too many to visit");
    let seen = Seen::without_end();
    let (tally, result) = Explorer::new(&seen, hunt::plain()).explore_behind(&history, before.len());
    if let Err(said) = result {
        panic!("{said}\nin {history:#?}");
    }
    tally
}

/// How many things at most are undecided when power is lost behind so many steps.
fn undecided_at_most(history: &History, steps: usize) -> usize {
    let disk = history.trouble.disk(history.seed);
    disk.queue_tasks(history.queued);
    let mut run = Run::new(disk, history.shape);
    run.recording = true;
    run.open();
    history.ops[..steps].iter().for_each(|op| run.take(op));
    run.moments.clear();
    history.ops[steps..].iter().for_each(|op| run.take(op));
    let disks = run.moments.iter().flat_map(|moments| &moments.disks);
    disks.map(|disk| disk.crash_states(Kinds::OldOrNew).units()).max().unwrap()
}

/// Explores both ways to the base, behind these steps.
fn explore_all(shapes: Vec<Shape>, before: impl Fn(Shape) -> Vec<Op>) {
    let mut all = Tally::default();
    for shape in shapes {
        let before = before(shape);
        let (count, _) = in_active_segment(shape, &before);
        for queued in [false, true] {
            all.add(&explore(shape, queued, &before, &to_the_base_again_and_again(count)));
            all.add(&explore(shape, queued, &before, &to_the_base_behind_appends_in_flight(count)));
        }
    }
    println!("{all:?}");
    assert!(all.states[Class::OldOrNew.name()] > 300 && all.rows["torn, cut"] > 300, "{all:?}");
}

/// Some small batches.
fn append_some() -> Vec<Op> {
    vec![Op::Append { count: 1, bytes: 30 }, Op::Append { count: 2, bytes: 30 }]
}

#[test]
fn power_lost_while_the_tail_is_truncated_to_the_active_segments_base_loses_nothing() {
    explore_all(shapes(), |shape| [rotate(shape), append_some()].concat());
}

#[test]
fn power_lost_while_the_tail_is_truncated_to_the_base_of_a_segment_just_rotated_to_loses_nothing() {
    explore_all(shapes(), rotate);
}

#[test]
fn power_lost_while_a_truncation_to_the_base_of_a_full_segment_goes_to_the_next_one_loses_nothing() {
    // Where entries are compressed, too many stand in a file: its index has room again when they are gone.
    explore_all(shapes().into_iter().filter(|shape| !shape.compressed).collect(), fill);
}

#[test]
fn power_lost_while_the_tail_of_a_young_log_is_truncated_to_its_beginning_loses_nothing() {
    explore_all(shapes(), |_| append_some());
}
