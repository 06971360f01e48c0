//! Calls and answers of an open store.

use super::calls::{Call, Contents, answer, at, done, entries, entry, listed, value_text};
use super::case::{Case, Cases, Store, Verdict};
use super::histories::drawn_history;
use super::report::{Group, Promise};
use crate::entry::Position;
use crate::log_store::{LogState, LogStore as _};
use crate::memory::MemoryStore;
use crate::stable_store::{Changes, KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// How many drawn histories there are, and how long they are.
const HISTORIES: u64 = 400;
const CALLS: usize = 50;

pub(super) fn cases<S: Store>() -> Cases<S> {
    Cases {
        group: Group::Contract,
        cases: vec![
            ("an empty log takes any first index", Promise::WritesTakeEffect, first_indexes),
            ("an empty append names the end of the log", Promise::WritesTakeEffect, empty_appends),
            ("a write is readable before it is durable", Promise::WritesTakeEffect, readable_at_once),
            ("a tail in replacement", Promise::WritesTakeEffect, replacements),
            ("truncations of either end", Promise::WritesTakeEffect, truncations),
            ("the highest index and the highest term", Promise::WritesTakeEffect, highest),
            ("small state", Promise::WritesTakeEffect, small_state),
            ("a commit with a head truncation", Promise::WritesTakeEffect, commits),
            ("drawn calls, right and wrong ones", Promise::ReadsAreExact, drawn),
        ],
    }
}

fn first_indexes<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.equal(Promise::WritesTakeEffect, "nothing yet", &LogState::default(), &store.state())?;
    for first in [0, 1, 7, 1 << 40] {
        let added = entries(first, &[2, 3]);
        let last = Position::new(first + 1, 3);
        case.call(Promise::WritesTakeEffect, &store, &Call::Append(added.clone()), &at(last))?;
        let state = LogState { purged: None, first: Some(first), last: Some(last), durable: Some(last) };
        case.equal(Promise::WritesTakeEffect, &format!("append from {first} on"), &state, &store.state())?;
        case.call(Promise::ReadsAreExact, &store, &Call::Entries(first, first + 2, 99), &listed(&added))?;
        // All of it taken back: the log has no place any more.
        case.call(Promise::WritesTakeEffect, &store, &Call::TruncateTail(first), &done(()))?;
        case.equal(Promise::WritesTakeEffect, "all was taken back", &LogState::default(), &store.state())?;
    }
    case.call(Promise::WritesTakeEffect, &store, &Call::TruncateTail(99), &done(()))
}

fn empty_appends<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    let empty = |case: &mut Case<'_, S>, end: Position| {
        case.call(Promise::WritesTakeEffect, &store, &Call::Append(Vec::new()), &at(end))?;
        case.call(Promise::WritesTakeEffect, &store, &Call::ReplaceTail(Vec::new()), &at(end))
    };
    empty(case, Position::default())?;
    case.done("append 1..=3", store.append(&entries(1, &[1, 1, 2])))?;
    empty(case, Position::new(3, 2))?;
    case.done("truncate_head(index 9 term 4)", store.truncate_head(Position::new(9, 4)))?;
    empty(case, Position::new(9, 4))
}

fn readable_at_once<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    let (first, second) = (entries(1, &[1, 1]), entries(3, &[2]));
    let pending = case.done("append_pending 1..=2", store.append_pending(&first))?;
    case.equal(Promise::WritesTakeEffect, "append_pending 1..=2", &Position::new(2, 1), &pending.position())?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(1, 3, 99), &listed(&first))?;
    let later = case.done("append_pending 3", store.append_pending(&second))?;
    case.equal(Promise::WritesTakeEffect, "append_pending 3", &Some(Position::new(3, 2)), &store.state().last)?;
    // The later one first: its sync covers both.
    let durable = case.done("waiting for entry 3", later.wait())?;
    case.equal(Promise::EachIsToldOnce, "waiting for entry 3", &Position::new(3, 2), &durable)?;
    let durable = case.done("waiting for entry 2", pending.wait())?;
    case.equal(Promise::EachIsToldOnce, "waiting for entry 2", &Position::new(2, 1), &durable)?;
    case.equal(Promise::WritesTakeEffect, "both were waited for", &store.state().last, &store.state().durable)?;
    drop(case.done("append_pending 4", store.append_pending(&entries(4, &[2])))?);
    case.done("sync", store.sync())?;
    case.equal(Promise::WritesTakeEffect, "sync", &Some(Position::new(4, 2)), &store.state().durable)
}

fn replacements<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 1..=9", store.append(&entries(1, &[1; 9])))?;
    let pending = case.done("replace_tail_pending 4..=5", store.replace_tail_pending(&entries(4, &[2, 2])))?;
    let state = store.state();
    case.equal(Promise::WritesTakeEffect, "replace_tail_pending 4..=5", &Some(Position::new(5, 2)), &state.last)?;
    let never = state.durable.is_none_or(|durable| durable.index <= 3 || durable.term == 2);
    let words = "nothing that was taken back counts as durable";
    case.holds(Promise::WritesTakeEffect, "replace_tail_pending 4..=5", words, never, &state.durable)?;
    case.done("waiting for entry 5", pending.wait())?;
    let whole = [entries(1, &[1; 3]), entries(4, &[2, 2])].concat();
    case.call(Promise::WritesTakeEffect, &store, &Call::Entries(1, 6, 999), &listed(&whole))?;
    // From below the first entry of a log that never was purged: all of it is replaced.
    case.call(Promise::WritesTakeEffect, &store, &Call::ReplaceTail(entries(0, &[3])), &at(Position::new(0, 3)))?;
    case.call(Promise::WritesTakeEffect, &store, &Call::Entries(0, 1, 99), &listed(&entries(0, &[3])))
}

fn truncations<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 1..=8", store.append(&entries(1, &[1, 1, 1, 2, 2, 2, 3, 3])))?;
    // Just past the end there is nothing to take.
    for (first_removed, last) in [(9, (8, 3)), (8, (7, 3)), (6, (5, 2))] {
        case.call(Promise::WritesTakeEffect, &store, &Call::TruncateTail(first_removed), &done(()))?;
        let last = Position::new(last.0, last.1);
        let done = format!("truncate_tail({first_removed})");
        case.equal(Promise::WritesTakeEffect, &done, &Some(last), &store.state().last)?;
        case.equal(Promise::WritesTakeEffect, &done, &Some(last), &store.state().durable)?;
    }
    // Right before the first entry, in the log, over another term than the log's, beyond its end.
    for (position, first) in [((0, 0), Some(1)), ((3, 1), Some(4)), ((4, 9), None), ((20, 9), None)] {
        let position = Position::new(position.0, position.1);
        case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(position), &done(()))?;
        let state = store.state();
        let done = format!("truncate_head({position})");
        case.equal(Promise::WritesTakeEffect, &done, &(Some(position), first), &(state.purged, state.first_index()))?;
        case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(position.index), &super::calls::term(position.term))?;
    }
    case.equal(Promise::PurgedTermIsKnown, "all was purged", &Some(Position::new(20, 9)), &store.state().last)?;
    case.call(Promise::WritesTakeEffect, &store, &Call::Append(entries(21, &[9])), &at(Position::new(21, 9)))
}

fn highest<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    let first = u64::MAX - 2;
    let added = entries(first, &[7, u64::MAX]);
    let last = Position::new(u64::MAX - 1, u64::MAX);
    case.call(Promise::WritesTakeEffect, &store, &Call::Append(added.clone()), &at(last))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(first, u64::MAX, 99), &listed(&added))?;
    case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(last), &done(()))?;
    case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(last.index), &super::calls::term(last.term))
}

fn small_state<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    let value = |value: &[u8]| value_text(Some(value));
    case.call(Promise::ReadsAreExact, &store, &Call::Get("vote"), &value_text(None))?;
    case.call(Promise::ReadsAreExact, &store, &Call::GetU64("vote"), "None")?;
    // Of two changes of a key the later one wins; an empty value is one.
    let changes = Changes::new().set_u64("vote", 1).set("name", "first").set("name", "second").set("extra", "");
    case.call(Promise::WritesTakeEffect, &store, &Call::Commit(changes), &done(()))?;
    case.call(Promise::ReadsAreExact, &store, &Call::GetU64("vote"), "Some(1)")?;
    case.call(Promise::ReadsAreExact, &store, &Call::Get("name"), &value(b"second"))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Get("extra"), &value(b""))?;
    case.call(Promise::WritesTakeEffect, &store, &Call::SetLazy("name", b"lazy".to_vec()), &done(()))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Get("name"), &value(b"lazy"))?;
    let changes = Changes::new().remove("name").remove("never was");
    case.call(Promise::WritesTakeEffect, &store, &Call::Commit(changes), &done(()))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Get("name"), &value_text(None))?;
    // The bounds themselves.
    let (key, large) = ([b'k'; KEY_BYTES_MAX], [b'v'; VALUE_BYTES_MAX]);
    case.done("a set of the longest key to the longest value", store.set(&key, &large))?;
    let found = case.done("a get of the longest key", store.get(&key))?;
    case.equal(Promise::ReadsAreExact, "a get of the longest key", &Some(&large[..]), &found.as_deref())?;
    case.done("its removal", store.remove(&key))
}

fn commits<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 1..=5", store.append(&entries(1, &[1; 5])))?;
    for (position, vote) in [(Position::new(3, 1), 2), (Position::new(40, 7), 8)] {
        let changes = Changes::new().set_u64("vote", vote).truncate_head(position);
        case.call(Promise::WritesTakeEffect, &store, &Call::Commit(changes), &done(()))?;
        case.call(Promise::ReadsAreExact, &store, &Call::GetU64("vote"), &format!("{:?}", Some(vote)))?;
        case.equal(Promise::WritesTakeEffect, "the commit", &Some(position), &store.state().purged)?;
    }
    // A commit is a barrier: what was appended before it is durable.
    drop(case.done("append_pending 41", store.append_pending(&[entry(41, 7, 10)]))?);
    case.call(Promise::WritesTakeEffect, &store, &Call::set("name", "x"), &done(()))?;
    case.equal(Promise::AcknowledgedIsDurable, "a commit behind it", &store.state().last, &store.state().durable)
}

/// Makes calls of the store and of a model, which must answer alike; behind some of them, the store is closed and opened.
fn alike<S: Store>(case: &mut Case<'_, S>, calls: &[(Call, bool)]) -> Verdict {
    let model = MemoryStore::new();
    case.elsewhere();
    let mut store = case.open()?;
    let mut made = Vec::new();
    for (call, closed) in calls {
        made.push(format!("{call:?}"));
        let (expected, seen, done) = (answer(&model, call), answer(&store, call), made.join("; "));
        if seen != expected {
            return case.fail(call.promise(&expected), &done, &expected, seen);
        }
        case.equal(Promise::WritesTakeEffect, &done, &model.state(), &store.state())?;
        if *closed {
            made.push("close".to_owned());
            drop(store);
            store = case.open()?;
            let found = case.contents(&store, &done)?;
            case.judge(&found, &[Contents::of(&model).unwrap_or_default()], &done)?;
        }
    }
    let (found, done) = (case.contents(&store, "all of it")?, made.join("; "));
    case.judge(&found, &[Contents::of(&model).unwrap_or_default()], &done)
}

/// Holds drawn histories against a model. Of one that fails, calls are left out as long as it goes on to fail.
pub(super) fn histories<S: Store>(case: &mut Case<'_, S>, first_seed: u64, closed_each: Option<usize>) -> Verdict {
    // Where each write costs a sync of a real disk, fewer.
    let count = if case.site.is_real { HISTORIES / 20 } else { HISTORIES };
    (first_seed..first_seed + count).try_for_each(|seed| {
        let mut calls = drawn_history(seed, CALLS, closed_each);
        let Err(mut broken) = alike(case, &calls) else { return Ok(()) };
        for at in (0..calls.len()).rev() {
            let mut fewer = calls.clone();
            fewer.remove(at);
            if let Err(still) = alike(case, &fewer) {
                (calls, broken) = (fewer, still);
            }
        }
        Err(broken)
    })
}

fn drawn<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    histories(case, 0, None)
}
