//! Power lost at every operation that changes the disk, and syncs that fail.

use std::io::ErrorKind;
use std::sync::Arc;

use super::calls::{Call, Contents, answer, entries, entry, is_refusal};
use super::case::{Case, Cases, Store, Verdict};
use super::concurrency::Told;
use super::histories::{sound_call, sound_history};
use super::reopen::follow;
use super::report::{Group, Promise};
use crate::entry::Position;
use crate::error::Result;
use crate::io::sim::{Fault, Kinds, OperationKind, Random, SimFs, Survival};
use crate::memory::MemoryStore;
use crate::stable_store::Changes;

/// How many drawn histories lose power at each of their moments.
const HISTORIES: u64 = 8;
/// How many of the combinations of new and old are visited at each moment, and how many mixtures are drawn besides.
const STATES_MAX: usize = 16;
const DRAWN: u64 = 3;
/// How many crash loops there are, and how many crashes each has.
const LOOPS: u64 = 100;
const CRASHES: u64 = 5;
/// How many mixtures are drawn of what is in flight.
const IN_FLIGHT: u64 = 120;

pub(super) fn cases<S: Store>() -> Cases<S> {
    let acknowledged = Promise::AcknowledgedIsDurable;
    Cases {
        group: Group::PowerCut,
        cases: vec![
            ("at every operation of a history", acknowledged, every_moment),
            ("under a store that runs on", acknowledged, under_way),
            ("with appends in flight", Promise::WholeOrAbsent, appends_in_flight),
            ("with a replacement in flight", Promise::WholeOrAbsent, replacement_in_flight),
            ("behind a commit that is a barrier", acknowledged, barrier),
            ("a lazy value and the next commit", Promise::VotesAreKept, lazy),
            ("again and again", Promise::NothingElseAppears, crash_loops),
            ("a sync of an append fails", Promise::FailedSyncIsFinal, failed_append),
            ("a sync of a vote fails", Promise::FailedSyncIsFinal, failed_vote),
        ],
    }
}

/// What power lost at one moment may leave: some of all combinations of new and old, and some with damage.
fn states(moment: &SimFs, seed: u64) -> impl Iterator<Item = SimFs> {
    let drawn = (0..DRAWN).map(move |at| moment.after_power_cut(Survival::Random(seed * DRAWN + at)));
    moment.crash_states(Kinds::OldOrNew).take(STATES_MAX).chain(drawn)
}

/// Opens what a crash left and holds it against what it may be; then loses power again, with nothing surviving that was
/// not synced: what was found once is there for good. Returns what was found.
fn check<S: Store>(case: &mut Case<'_, S>, state: &SimFs, possible: &[Contents], done: &str) -> Verdict<Contents> {
    let store = case.open_at(state, done)?;
    let found = case.contents(&store, done)?;
    case.judge(&found, possible, done)?;
    let (last, durable) = (store.state().last, store.state().durable);
    case.equal(Promise::AcknowledgedIsDurable, &format!("{done}; open"), &last, &durable)?;
    let later = state.after_power_cut(Survival::Nothing);
    drop(store);
    let done = format!("{done}; open; power cut");
    let store = case.open_at(&later, &done)?;
    let again = case.contents(&store, &done)?;
    case.judge(&again, std::slice::from_ref(&found), &done)?;
    Ok(found)
}

/// Goes on with what a crash left: an append, and a power cut behind it.
fn go_on<S: Store>(case: &mut Case<'_, S>, state: &SimFs, found: &Contents, done: &str) -> Verdict {
    let store = case.open_at(state, done)?;
    let end = store.state().last.unwrap_or(Position::new(0, 1));
    let added = entry(end.index + 1, end.term, 400);
    case.done(&format!("{done}; append"), store.append(std::slice::from_ref(&added)))?;
    let mut expected = found.clone();
    expected.entries.push(added);
    let done = format!("{done}; append; power cut");
    let store = case.open_at(&state.after_power_cut(Survival::Nothing), &done)?;
    let seen = case.contents(&store, &done)?;
    case.judge(&seen, &[expected], &done)
}

fn every_moment<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    (0..HISTORIES).try_for_each(|seed| {
        case.site.disk = SimFs::with_seed(seed);
        case.site.disk.record(true);
        let (mut before, mut count) = (Contents::default(), 0);
        follow(case, seed + 100, |case, store, after, done| {
            let possible = [before.clone(), after.clone()];
            for moment in case.site.disk.take_recorded() {
                for state in states(&moment, count) {
                    let done = format!("{done}; power cut in the last call");
                    let found = check(case, &state, &possible, &done)?;
                    count += 1;
                    if count % 5 == 0 {
                        go_on(case, &state, &found, &done)?;
                    }
                }
            }
            before = after.clone();
            Ok(store)
        })
    })
}

fn under_way<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let history = sound_history(200, 20);
    for cut in 0.. {
        case.elsewhere();
        case.site.disk = SimFs::with_seed(cut);
        case.site.disk.cut_power_at(cut);
        let (acknowledged, under_way, done) = run(case, &history)?;
        if !case.site.disk.is_power_off() {
            break;
        }
        let possible: Vec<Contents> = [acknowledged].into_iter().chain(under_way).collect();
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(cut)] {
            let state = case.site.disk.after_power_cut(survival);
            check(case, &state, &possible, &done)?;
        }
    }
    Ok(())
}

/// Makes calls until one fails for want of power: what was acknowledged, and what that one was about to make of it.
fn run<S: Store>(case: &mut Case<'_, S>, history: &[Call]) -> Verdict<(Contents, Option<Contents>, String)> {
    let model = MemoryStore::new();
    let (mut acknowledged, mut made) = (Contents::default(), vec!["power cut in the last of these".to_owned()]);
    let Some(store) = case.try_open()? else {
        return Ok((acknowledged, None, "power cut while opening".to_owned()));
    };
    for call in history {
        let expected = answer(&model, call);
        let after = Contents::of(&model).unwrap_or_default();
        made.push(format!("{call:?}"));
        let seen = answer(&store, call);
        if seen != expected {
            if case.site.disk.is_power_off() {
                return Ok((acknowledged, Some(after), made.join("; ")));
            }
            return case.fail(call.promise(&expected), &made.join("; "), &expected, seen);
        }
        acknowledged = after;
    }
    Ok((acknowledged, None, made.join("; ")))
}

/// A store whose entries are durable.
fn begin<S: Store>(case: &mut Case<'_, S>, terms: &[u64]) -> Verdict<(S, Contents)> {
    let store = case.open()?;
    case.done("append from index 1 on", store.append(&entries(1, terms)))?;
    let contents = case.contents(&store, "append from index 1 on")?;
    Ok((store, contents))
}

fn appends_in_flight<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let (store, before) = begin(case, &[1; 3])?;
    let mut possible = vec![before];
    for (first, count, term) in [(4, 6, 1), (10, 1, 1), (11, 3, 2)] {
        let batch: Vec<_> = (first..first + count).map(|index| entry(index, term, 400)).collect();
        drop(case.done("append_pending", store.append_pending(&batch))?);
        possible.push(case.contents(&store, "append_pending")?);
    }
    (0..IN_FLIGHT).try_for_each(|seed| {
        let state = case.site.disk.after_power_cut(Survival::Random(seed));
        check(case, &state, &possible, "append 1..=3; append_pending [4..=9], [10], [11..=13]; power cut").map(drop)
    })
}

fn replacement_in_flight<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let (store, before) = begin(case, &[1; 9])?;
    let batch: Vec<_> = (5..=7).map(|index| entry(index, 2, 400)).collect();
    drop(case.done("replace_tail_pending", store.replace_tail_pending(&batch))?);
    let possible = [before, case.contents(&store, "replace_tail_pending")?];
    (0..IN_FLIGHT).try_for_each(|seed| {
        let state = case.site.disk.after_power_cut(Survival::Random(seed));
        check(case, &state, &possible, "append 1..=9; replace_tail_pending 5..=7; power cut").map(drop)
    })
}

fn barrier<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let (store, _) = begin(case, &[1; 2])?;
    drop(case.done("append_pending 3", store.append_pending(&entries(3, &[1])))?);
    case.done("commit", store.commit(&Changes::new().set_u64("term", 2).set_u64("vote", 2)))?;
    let expected = [case.contents(&store, "commit")?];
    for survival in [Survival::Nothing, Survival::Random(1), Survival::Everything] {
        let state = case.site.disk.after_power_cut(survival);
        check(case, &state, &expected, "append 1..=2; append_pending 3; commit; power cut")?;
    }
    Ok(())
}

fn lazy<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let (store, _) = begin(case, &[1; 2])?;
    case.done("set vote", store.set(b"vote", b"me"))?;
    let before = case.contents(&store, "set vote")?;
    case.done("set_lazy name", store.set_lazy(b"name", b"1"))?;
    // Either it came along with something, or it did not.
    let possible = [before, case.contents(&store, "set_lazy name")?];
    for seed in 0..DRAWN {
        let state = case.site.disk.after_power_cut(Survival::Random(seed));
        check(case, &state, &possible, "set vote; set_lazy name; power cut")?;
    }
    case.done("set vote", store.set(b"vote", b"you"))?;
    let expected = [case.contents(&store, "set vote")?];
    let state = case.site.disk.after_power_cut(Survival::Nothing);
    check(case, &state, &expected, "set vote; set_lazy name; set vote; power cut").map(drop)
}

fn crash_loops<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    (0..LOOPS).try_for_each(|seed| {
        let mut random = Random::new(seed);
        case.elsewhere();
        case.site.disk = SimFs::with_seed(seed);
        let mut possible = vec![Contents::default()];
        let mut made = Vec::new();
        for crash in 0..CRASHES {
            let store = case.open()?;
            let found = case.contents(&store, &made.join("; "))?;
            case.judge(&found, &possible, &made.join("; "))?;
            let model = found.model();
            for _ in 0..3 {
                let call = sound_call(&mut random, &model);
                let expected = answer(&model, &call);
                if !is_refusal(&expected) {
                    made.push(format!("{call:?}"));
                    case.call(Promise::WritesTakeEffect, &store, &call, &expected)?;
                }
            }
            possible = vec![case.contents(&store, &made.join("; "))?];
            let end = store.state().last.unwrap_or(Position::new(0, 1));
            let next = entry(end.index + 1, end.term + 1, 700);
            drop(case.done("append_pending", store.append_pending(&[next]))?);
            possible.push(case.contents(&store, "append_pending")?);
            made.push("append_pending; power cut".to_owned());
            let left = case.site.disk.after_power_cut(Survival::Random(seed * CRASHES + crash));
            drop(store);
            case.site.disk = left;
        }
        Ok(())
    })
}

/// Makes a call of which a sync fails: it, whoever waits, and all later writes get an error, and reads go on.
/// `votes` are those that may be there afterwards.
fn fail_sync<S: Store>(
    case: &mut Case<'_, S>,
    leaves: Survival,
    votes: &[u64],
    call: &dyn Fn(&S) -> Result<()>,
) -> Verdict {
    case.elsewhere();
    let disk = SimFs::new();
    case.site.disk = disk.clone();
    let (store, before) = begin(case, &[1; 3])?;
    case.done("set vote", store.set_u64(b"vote", 1))?;
    let before = Contents { values: case.contents(&store, "set vote")?.values, ..before };
    disk.set_failed_syncs_leave(leaves);
    disk.inject(Fault::new(OperationKind::Sync, ErrorKind::Other));
    let told = Arc::new(Told::default());
    let pending = case.done("append_pending 4", store.append_pending(&entries(4, &[1])))?;
    let failed = call(&store);
    let tell = Arc::clone(&told);
    pending.on_durable(Box::new(move |result| tell.tell(4, result.is_ok())));
    let broken = Promise::FailedSyncIsFinal;
    case.holds(broken, "a call whose sync fails", "an error", failed.is_err(), &failed)?;
    let later = store.append(&entries(5, &[1]));
    case.holds(broken, "the next append", "an error", later.is_err(), &later)?;
    let later = store.set_u64(b"vote", 9);
    case.holds(broken, "the next vote", "an error", later.is_err(), &later)?;
    let later = store.sync();
    case.holds(broken, "the next sync", "an error", later.is_err(), &later)?;
    let read = store.entries(1..4, u64::MAX).map_err(|error| super::case::error_text(&error));
    case.equal(broken, "a read behind it", &Ok(before.entries.clone()), &read)?;
    case.equal(broken, "who waited for append_pending 4", &vec![(4, false)], &told.wait(1))?;
    // What counts is what the disk holds, not what the page cache shows.
    let mut possible = Vec::new();
    for (last, vote) in [false, true].into_iter().flat_map(|last| votes.iter().map(move |vote| (last, vote))) {
        let mut contents = before.clone();
        contents.entries.extend(entries(4, &[1]).into_iter().filter(|_| last));
        contents.values.insert("vote", vote.to_le_bytes().to_vec().into());
        possible.push(contents);
    }
    let next = disk.after_process_kill();
    drop(store);
    check(case, &next, &possible, "a sync failed; kill").map(drop)
}

fn failed_append<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let leaves = [Survival::Nothing, Survival::Random(1), Survival::Random(2), Survival::Everything];
    leaves.into_iter().try_for_each(|leaves| fail_sync(case, leaves, &[1], &|store| store.sync()))
}

fn failed_vote<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let leaves = [Survival::Nothing, Survival::Random(1), Survival::Random(2), Survival::Everything];
    leaves.into_iter().try_for_each(|leaves| fail_sync(case, leaves, &[1, 2], &|store| store.set_u64(b"vote", 2)))
}
