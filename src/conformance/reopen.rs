//! Closing or killing the store at every step, and opening it again.

use super::bad_input::{bad_appends, refuse};
use super::calls::{Call, Contents, answer, entries, value_text};
use super::case::{Case, Cases, Store, Verdict};
use super::contract::histories;
use super::histories::sound_history;
use super::report::{Group, Promise};
use crate::entry::Position;
use crate::memory::MemoryStore;

/// How many drawn histories there are, and how many calls each has.
const HISTORIES: u64 = 6;
const CALLS: usize = 30;

pub(super) fn cases<S: Store>() -> Cases<S> {
    Cases {
        group: Group::Reopen,
        cases: vec![
            ("closed after every call", Promise::AcknowledgedIsDurable, closed),
            ("a truncated tail stays away", Promise::NothingElseAppears, truncated),
            ("all was purged", Promise::PurgedTermIsKnown, all_purged),
            ("a lazy value is written at the latest at close", Promise::AcknowledgedIsDurable, lazy),
            ("a refused call leaves nothing behind", Promise::RefusedChangesNothing, refused),
            ("drawn calls, right and wrong ones, closed in between", Promise::AcknowledgedIsDurable, drawn),
        ],
    }
}

/// Of a store that lives on a simulated disk.
pub(super) fn killed_cases<S: Store>() -> Cases<S> {
    let killed: super::case::Run<S> = killed;
    Cases { group: Group::Reopen, cases: vec![("killed after every call", Promise::AcknowledgedIsDurable, killed)] }
}

fn again<S: Store>(case: &mut Case<'_, S>, store: S) -> Verdict<S> {
    drop(store);
    case.open()
}

/// Makes the calls of a history, and looks at the store behind each.
pub(super) fn follow<S: Store>(
    case: &mut Case<'_, S>,
    seed: u64,
    mut look: impl FnMut(&mut Case<'_, S>, S, &Contents, &str) -> Verdict<S>,
) -> Verdict {
    case.elsewhere();
    let (mut store, model) = (case.open()?, MemoryStore::new());
    let mut made = Vec::new();
    for call in sound_history(seed, CALLS) {
        let expected = answer(&model, &call);
        made.push(format!("{call:?}"));
        let done = made.join("; ");
        let seen = answer(&store, &call);
        if seen != expected {
            return case.fail(call.promise(&expected), &done, &expected, seen);
        }
        store = look(case, store, &Contents::of(&model).unwrap_or_default(), &done)?;
    }
    Ok(())
}

fn closed<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    (0..HISTORIES).try_for_each(|seed| {
        follow(case, seed, |case, store, expected, done| {
            let store = again(case, store)?;
            let found = case.contents(&store, done)?;
            case.judge(&found, std::slice::from_ref(expected), &format!("{done}; close"))?;
            let state = store.state();
            case.equal(Promise::AcknowledgedIsDurable, &format!("{done}; close"), &state.last, &state.durable)?;
            Ok(store)
        })
    })
}

fn killed<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    (0..HISTORIES).try_for_each(|seed| {
        follow(case, seed, |case, store, expected, done| {
            let done = format!("{done}; kill");
            let next = case.site.disk.after_process_kill();
            let found = case.open_at(&next, &done)?;
            let found = case.contents(&found, &done)?;
            case.judge(&found, std::slice::from_ref(expected), &done)?;
            Ok(store)
        })
    })
}

fn truncated<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 1..=9", store.append(&entries(1, &[1; 9])))?;
    for first_removed in [8, 4, 1] {
        case.done(&format!("truncate_tail({first_removed})"), store.truncate_tail(first_removed))?;
    }
    let store = again(case, store)?;
    let found = case.contents(&store, "all was truncated; close")?;
    case.judge(&found, &[Contents::default()], "append 1..=9; truncate_tail(8), (4), (1); close")?;
    // Whatever was there before does not shine through what is shorter.
    case.done("append 1..=3", store.append(&entries(1, &[2; 3])))?;
    case.done("truncate_tail(3)", store.truncate_tail(3))?;
    let store = again(case, store)?;
    let expected = Contents { entries: entries(1, &[2; 2]), ..Contents::default() };
    let found = case.contents(&store, "append 1..=3 once more; truncate_tail(3); close")?;
    case.judge(&found, &[expected], "append 1..=3 once more; truncate_tail(3); close")
}

fn all_purged<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let mut store = case.open()?;
    case.done("append 1..=5", store.append(&entries(1, &[1, 1, 2, 2, 3])))?;
    for position in [Position::new(5, 3), Position::new(70, 4)] {
        case.done(&format!("truncate_head({position})"), store.truncate_head(position))?;
        store = again(case, store)?;
        let done = format!("truncate_head({position}); close");
        let state = store.state();
        let seen = (state.purged, state.last, state.first_index());
        case.equal(Promise::PurgedTermIsKnown, &done, &(Some(position), Some(position), None), &seen)?;
        case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(position.index), &super::calls::term(position.term))?;
    }
    Ok(())
}

fn lazy<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("set vote", store.set(b"vote", b"me"))?;
    case.done("set_lazy name", store.set_lazy(b"name", b"17"))?;
    let store = again(case, store)?;
    case.call(Promise::AcknowledgedIsDurable, &store, &Call::Get("name"), &value_text(Some(b"17")))?;
    case.call(Promise::VotesAreKept, &store, &Call::Get("vote"), &value_text(Some(b"me")))
}

fn refused<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 1..=5", store.append(&entries(1, &[5; 5])))?;
    let before = case.contents(&store, "append 1..=5")?;
    refuse(case, &store, [bad_appends(Call::Append), bad_appends(Call::ReplaceTail)].concat())?;
    let store = again(case, store)?;
    let after = case.contents(&store, "refused appends; close")?;
    if after == before {
        return Ok(());
    }
    case.fail(Promise::RefusedChangesNothing, "refused appends; close", &format!("{before}"), format!("{after}"))
}

fn drawn<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    histories(case, 1000, Some(8))
}
