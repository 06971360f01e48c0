//! The cases that etcd and raft-rs hold their in-memory storages to, as a table.
//!
//! Both begin with the terms 3, 4, 5 at the same indexes. To etcd, entry 3 is a dummy that stands for what was compacted: a
//! log purged at 3. To raft-rs it is an entry like the others. Compacting keeps the index in raft-rs and removes it in
//! etcd; here a truncation names what it removes. Their size limits count encoded entries, ours payload. What is below the
//! log they skip or panic at; here it is an error, and adapters skip.
//!
//! Where one of the two storages is itself wrong, the case says so; the case then asks for what its trait promises.

use super::calls::{Call, at, done, entries, entry, listed, term};
use super::case::{Case, Cases, Store, Verdict, error_text};
use super::report::{Group, Promise};
use crate::entry::Position;
use crate::error::Error;

/// The cases.
pub(super) fn cases<S: Store>() -> Cases<S> {
    Cases {
        group: Group::Contract,
        cases: vec![
            ("MemStorage: term", Promise::ReadsAreExact, terms),
            ("MemStorage: term at the purged edge, compacted at each index", Promise::PurgedTermIsKnown, compactions),
            ("MemStorage: a log of which all was compacted", Promise::PurgedTermIsKnown, compacted_whole),
            ("MemStorage: entries are half-open", Promise::ReadsAreExact, ranges),
            ("MemStorage: an empty range of an empty log", Promise::ReadsAreExact, empty_ranges),
            ("MemStorage: size limits", Promise::ReadsAreExact, size_limits),
            ("MemStorage: first and last index", Promise::WritesTakeEffect, first_and_last),
            ("MemStorage: append", Promise::WritesTakeEffect, appends),
            ("MemStorage: append to a compacted log", Promise::RefusedChangesNothing, appends_below),
            ("MemStorage: apply a snapshot", Promise::WritesTakeEffect, snapshots),
        ],
    }
}

fn before_first(index: u64, first: u64) -> String {
    error_text(&Error::BeforeFirst { index, first })
}

fn after_last(index: u64, next: u64) -> String {
    error_text(&Error::AfterLast { index, next })
}

/// Terms 3, 4, … from index 3 on; where `purged`, entry 3 is a dummy.
fn begin<S: Store>(case: &mut Case<'_, S>, terms: &[u64], purged: bool) -> Verdict<S> {
    case.elsewhere();
    let store = case.open()?;
    case.done("append from index 3 on", store.append(&entries(3, terms)))?;
    if purged {
        case.done("truncate_head(index 3 term 3)", store.truncate_head(Position::new(3, 3)))?;
    }
    Ok(store)
}

fn terms<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    for purged in [true, false] {
        let store = begin(case, &[3, 4, 5], purged)?;
        let rows = [
            (2, before_first(2, if purged { 4 } else { 3 }), Promise::ReadsAreExact),
            // The dummy has no payload any more, but its term is what the next append is compared with.
            (3, term(3), if purged { Promise::PurgedTermIsKnown } else { Promise::ReadsAreExact }),
            (4, term(4), Promise::ReadsAreExact),
            (5, term(5), Promise::ReadsAreExact),
            (6, after_last(6, 6), Promise::ReadsAreExact),
            // etcd's MemoryStorage is wrong here: `Term` compares the distance from its first entry as an `int`, in which
            // one of 2^63 and more is negative, so it passes for small and the slice is indexed far out of its bounds.
            (u64::MAX, after_last(u64::MAX, 6), Promise::ReadsAreExact),
        ];
        for (index, expected, promise) in rows {
            case.call(promise, &store, &Call::Term(index), &expected)?;
        }
    }
    Ok(())
}

fn compactions<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    // The last index removed, and what is then the first one left. Already compacted ones are no error and no step back.
    for (removed, first) in [(2, 3), (3, 4), (4, 5), (5, 6)] {
        let store = begin(case, &[3, 4, 5], false)?;
        // MemStorage is wrong here, the first of two: `compact` drops the entries and keeps no term for the last of them,
        // so `term(first_index() - 1)` is `Compacted`, although `Storage` says that it must be answered. Instead the place
        // of the last snapshot still has a term, however far behind the log it lies by then.
        case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(Position::new(removed, removed)), &done(()))?;
        case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(removed), &term(removed))?;
        let below = removed - 1;
        case.call(Promise::ReadsAreExact, &store, &Call::Term(below), &before_first(below, first))?;
        case.call(Promise::ReadsAreExact, &store, &Call::Entry(removed), &before_first(removed, first))?;
        let rest: Vec<u64> = (first..=5).collect();
        case.call(Promise::ReadsAreExact, &store, &Call::Entries(first, 6, 100), &listed(&entries(first, &rest)))?;
        for old in [Position::new(removed, removed), Position::new(below, below.min(removed))] {
            case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(old), &done(()))?;
        }
        let purged = store.state().purged;
        case.equal(
            Promise::WritesTakeEffect,
            "older head truncations",
            &Some(Position::new(removed, removed)),
            &purged,
        )?;
    }
    Ok(())
}

fn compacted_whole<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case, &[3, 4, 5], false)?;
    case.done("truncate_head(index 5 term 5)", store.truncate_head(Position::new(5, 5)))?;
    // MemStorage is wrong here, the second of two: `compact(last_index() + 1)` is allowed, and leaves no entry to tell where
    // the log is. `first_index` and `last_index` fall back to the last snapshot, here to 1 and 0; the next entry, 6, is
    // a panic ("raft logs should be continuous"), and entry 1 would be taken a second time.
    let state = store.state();
    let seen = (state.first_index(), state.last, state.next_index());
    case.equal(Promise::PurgedTermIsKnown, "all was compacted", &(None, Some(Position::new(5, 5)), Some(6)), &seen)?;
    case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(5), &term(5))?;
    let again = Call::Append(entries(1, &[9]));
    case.call(Promise::RefusedChangesNothing, &store, &again, &error_text(&Error::Overlap { last: 5, found: 1 }))?;
    case.call(Promise::WritesTakeEffect, &store, &Call::Append(entries(6, &[6])), &at(Position::new(6, 6)))?;
    case.call(Promise::PurgedTermIsKnown, &store, &Call::Term(5), &term(5))
}

fn ranges<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let most = u64::MAX;
    for purged in [true, false] {
        let store = begin(case, &[3, 4, 5, 6], purged)?;
        let first = if purged { 4 } else { 3 };
        let third = if purged { before_first(3, 4) } else { listed(&entries(3, &[3])) };
        let rows = [
            (2, 6, before_first(2, first)),
            (3, 4, third),
            (4, 5, listed(&entries(4, &[4]))),
            (4, 6, listed(&entries(4, &[4, 5]))),
            (4, 7, listed(&entries(4, &[4, 5, 6]))),
            (4, 4, listed(&[])),
            (7, 7, listed(&[])),
            // Both storages panic beyond the end.
            (4, 8, after_last(7, 7)),
            (8, 8, after_last(8, 7)),
        ];
        for (start, end, expected) in rows {
            case.call(Promise::ReadsAreExact, &store, &Call::Entries(start, end, most), &expected)?;
        }
    }
    Ok(())
}

fn empty_ranges<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    // Where the log holds no entry, MemStorage indexes its first one and panics, and etcd's answers `ErrUnavailable`, for a
    // range that asks for nothing: of a log with entries both answer with none.
    let store = case.open()?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(0, 0, 100), &listed(&[]))?;
    case.done("truncate_head(index 4 term 4)", store.truncate_head(Position::new(4, 4)))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(5, 5, 100), &listed(&[]))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(5, 6, 100), &after_last(5, 5))?;
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(4, 5, 100), &before_first(4, 5))
}

fn size_limits<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    let log: Vec<_> = (4..=6).map(|index| entry(index, index, 11 * index as usize)).collect();
    case.done("append", store.append(&log))?;
    let mut budget = 0;
    for (count, next) in log.iter().enumerate() {
        budget += next.data.len() as u64;
        // One byte too few for one more, just enough, and one byte to spare; the first entry comes whatever the limit.
        for (limit, fits) in [(budget - 1, count.max(1)), (budget, count + 1), (budget + 1, count + 1)] {
            let expected = listed(log.get(..fits).unwrap_or_default());
            case.call(Promise::ReadsAreExact, &store, &Call::Entries(4, 7, limit), &expected)?;
        }
    }
    for limit in [0, 1] {
        let expected = listed(log.get(..1).unwrap_or_default());
        case.call(Promise::ReadsAreExact, &store, &Call::Entries(4, 7, limit), &expected)?;
    }
    case.call(Promise::ReadsAreExact, &store, &Call::Entries(4, 7, u64::MAX), &listed(&log))
}

fn first_and_last<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case, &[3, 4, 5], false)?;
    let ends = |store: &S| (store.state().first_index(), store.state().last_index());
    case.equal(Promise::WritesTakeEffect, "append 3..=5", &(Some(3), Some(5)), &ends(&store))?;
    case.done("append 6", store.append(&entries(6, &[5])))?;
    case.equal(Promise::WritesTakeEffect, "append 6", &(Some(3), Some(6)), &ends(&store))?;
    case.done("truncate_head(index 3 term 3)", store.truncate_head(Position::new(3, 3)))?;
    case.equal(Promise::WritesTakeEffect, "truncate_head(index 3 term 3)", &(Some(4), Some(6)), &ends(&store))
}

fn appends<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    // Where the entries start, their terms, and the terms of the whole log from 3 on behind it.
    let rows: [(u64, &[u64], &[u64]); 8] = [
        // Overlaps with what is there already.
        (3, &[3, 4, 5], &[3, 4, 5]),
        (4, &[4, 5], &[3, 4, 5]),
        // Conflicts.
        (3, &[3, 6, 6], &[3, 6, 6]),
        (4, &[5], &[3, 5]),
        // Extends, with and without an overlap.
        (3, &[3, 4, 5, 5], &[3, 4, 5, 5]),
        (5, &[5, 5, 7], &[3, 4, 5, 5, 7]),
        (6, &[6], &[3, 4, 5, 6]),
        // Overlaps with a part of what is there: what follows goes, because it is the caller who says where the log ends.
        (3, &[3, 4], &[3, 4]),
    ];
    for (first, terms, whole) in rows {
        let store = begin(case, &[3, 4, 5], false)?;
        let added = entries(first, terms);
        let end = Position::new(2 + whole.len() as u64, whole.last().copied().unwrap_or(0));
        let call = Call::ReplaceTail(added);
        case.call(Promise::WritesTakeEffect, &store, &call, &at(end))?;
        let expected = listed(&entries(3, whole));
        case.call(Promise::WritesTakeEffect, &store, &Call::Entries(3, end.index + 1, u64::MAX), &expected)?;
    }
    let store = begin(case, &[3, 4, 5], false)?;
    let gap = error_text(&Error::Gap { expected: 6, found: 7 });
    case.call(Promise::RefusedChangesNothing, &store, &Call::ReplaceTail(entries(7, &[6])), &gap)?;
    case.call(Promise::RefusedChangesNothing, &store, &Call::Append(entries(7, &[6])), &gap)
}

fn appends_below<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case, &[3, 4, 5], true)?;
    let purged = Position::new(3, 3);
    for (first, terms) in [(1, &[1, 2][..]), (2, &[3, 3, 5]), (3, &[3, 4, 5])] {
        let refused = error_text(&Error::Purged { index: first, purged });
        case.call(Promise::RefusedChangesNothing, &store, &Call::ReplaceTail(entries(first, terms)), &refused)?;
        case.call(Promise::RefusedChangesNothing, &store, &Call::Entries(4, 6, 99), &listed(&entries(4, &[4, 5])))?;
    }
    // What is left of the second one when its purged part is skipped.
    case.call(Promise::WritesTakeEffect, &store, &Call::ReplaceTail(entries(4, &[5])), &at(Position::new(4, 5)))
}

fn snapshots<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    // Before there is a log, the position of a snapshot that only brings a configuration.
    let store = case.open()?;
    case.done("truncate_head(index 0 term 0)", store.truncate_head(Position::new(0, 0)))?;
    case.equal(Promise::WritesTakeEffect, "a snapshot at index 0", &Some(1), &store.state().next_index())?;
    case.done("truncate_head(index 4 term 4)", store.truncate_head(Position::new(4, 4)))?;
    // Out of date: no step back. The same one again is no error here.
    let purged = Position::new(4, 4);
    for old in [Position::new(3, 3), Position::new(4, 4), Position::new(0, 0)] {
        case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(old), &done(()))?;
        case.equal(Promise::WritesTakeEffect, "a snapshot out of date", &Some(purged), &store.state().purged)?;
    }
    for requested in [Position::new(4, 5), Position::new(3, 5)] {
        let refused = error_text(&Error::PurgedTermDiffers { purged, requested });
        case.call(Promise::RefusedChangesNothing, &store, &Call::TruncateHead(requested), &refused)?;
    }
    // etcd's MemoryStorage is wrong here: `ApplySnapshot` compares with the last snapshot and not with what was compacted,
    // so behind a compaction an older snapshot is taken, and the log goes back.
    case.done("append 5..=7", store.append(&entries(5, &[5, 5, 6])))?;
    case.done("truncate_head(index 6 term 5)", store.truncate_head(Position::new(6, 5)))?;
    case.call(Promise::WritesTakeEffect, &store, &Call::TruncateHead(Position::new(5, 5)), &done(()))?;
    let seen = (store.state().purged, store.state().last_index());
    case.equal(Promise::WritesTakeEffect, "a snapshot below the log", &(Some(Position::new(6, 5)), Some(7)), &seen)
}
