//! Histories that a seed draws: of calls as they come, most of them wrong somewhere, and of calls that all make sense.

use super::calls::{Call, KEYS, answer, entry, is_refusal};
use crate::entry::{Entry, Position};
use crate::io::sim::Random;
use crate::log_store::LogStore;
use crate::memory::MemoryStore;
use crate::stable_store::{Changes, StableStore};

/// Draws one of some values.
fn pick<T: Copy + Default>(random: &mut Random, values: &[T]) -> T {
    values.get(random.below(values.len())).copied().unwrap_or_default()
}

fn number(random: &mut Random, bound: usize) -> u64 {
    random.below(bound) as u64
}

/// An index, mostly near the log; now and then one of the last there are.
fn any_index(random: &mut Random) -> u64 {
    match random.below(14) {
        0 => u64::MAX,
        1 => u64::MAX - 1,
        _ => number(random, 24),
    }
}

fn any_entries(random: &mut Random, first: u64) -> Vec<Entry> {
    let count = number(random, 5);
    (0..count)
        .map(|at| {
            let index = first.saturating_add(at);
            entry(index, number(random, 6), random.below(80))
        })
        .collect()
}

fn any_position(random: &mut Random) -> Position {
    Position::new(any_index(random), number(random, 6))
}

/// Calls with numbers as they come, and behind which of them the store is closed: one of so many.
pub(super) fn drawn_history(seed: u64, calls: usize, closed_each: Option<usize>) -> Vec<(Call, bool)> {
    let (mut random, model) = (Random::new(seed), MemoryStore::new());
    let draw = |_| {
        let call = any_call(&mut random, &model);
        answer(&model, &call);
        (call, closed_each.is_some_and(|each| random.below(each) == 0))
    };
    (0..calls).map(draw).collect()
}

/// A call with numbers as they come; `model` only says where the log is, so that some calls are right.
fn any_call(random: &mut Random, model: &MemoryStore) -> Call {
    let next = model.state().next_index().unwrap_or(4);
    let key = pick(random, &KEYS);
    match random.below(24) {
        0 => {
            let first = any_index(random);
            Call::Append(any_entries(random, first))
        }
        1..=2 => {
            let first = any_index(random);
            Call::ReplaceTail(any_entries(random, first))
        }
        3..=7 => Call::Append(any_entries(random, next)),
        8..=9 => Call::TruncateTail(any_index(random)),
        10 => Call::TruncateHead(any_position(random)),
        11..=12 => {
            let index = any_index(random);
            let term = model.term(index).unwrap_or(3);
            Call::TruncateHead(Position { index, term })
        }
        13..=14 => Call::Entry(any_index(random)),
        15..=16 => Call::Term(any_index(random)),
        17..=19 => Call::Entries(any_index(random), any_index(random), number(random, 200)),
        20 => Call::set(key, vec![b'v'; random.below(10)]),
        21 => {
            let changes = Changes::new().set(key, [b'a' + random.below(26) as u8]);
            Call::Commit(changes.truncate_head(any_position(random)))
        }
        22 => Call::Get(key),
        _ => Call::GetU64(key),
    }
}

/// A write that a follower makes, which succeeds where a store holds what `model` does.
pub(super) fn sound_call(random: &mut Random, model: &MemoryStore) -> Call {
    let state = model.state();
    let last = state.last.unwrap_or(Position::new(0, 1));
    let first = state.first_index().unwrap_or(last.index + 1);
    // Anywhere in the log, its end included.
    let inside = first + number(random, (last.index + 2 - first) as usize);
    let term = last.term + number(random, 2);
    let run = |random: &mut Random, from: u64, term: u64| -> Vec<Entry> {
        let count = 1 + number(random, 5);
        (from..from + count).map(|index| entry(index, term, random.below(1200))).collect()
    };
    match random.below(20) {
        0..=7 => Call::Append(run(random, last.index + 1, term)),
        8..=10 => Call::ReplaceTail(run(random, inside, last.term + 1)),
        11..=12 => Call::TruncateTail(inside),
        13..=14 if state.first_index().is_some() && inside <= last.index => {
            Call::TruncateHead(Position::new(inside, model.term(inside).unwrap_or(last.term)))
        }
        15 => {
            let position = Position::new(last.index + number(random, 30), last.term + 1);
            Call::Commit(votes(model, position.term).truncate_head(position))
        }
        16 => Call::set(pick(random, &KEYS[2..]), vec![b'x'; random.below(60)]),
        _ => Call::Commit(votes(model, term)),
    }
}

/// A vote of a term of its own, in two pairs that belong together.
fn votes(model: &MemoryStore, at_least: u64) -> Changes {
    let before = model.get_u64(b"term").ok().flatten().unwrap_or(0);
    let term = at_least.max(before + 1);
    Changes::new().set_u64("term", term).set_u64("vote", term)
}

/// Calls that make sense one after the other.
pub(super) fn sound_history(seed: u64, calls: usize) -> Vec<Call> {
    let (mut random, model) = (Random::new(seed), MemoryStore::new());
    let mut history = Vec::new();
    while history.len() < calls {
        let call = sound_call(&mut random, &model);
        let before = model.state();
        if !is_refusal(&answer(&model, &call)) && (model.state() != before || matches!(call, Call::Commit(_))) {
            history.push(call);
        }
    }
    history
}
