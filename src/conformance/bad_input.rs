//! Calls that must be refused, with the error that the trait names, and change nothing.

use super::calls::{Call, Contents, entries, entry};
use super::case::{Case, Cases, Store, Verdict, error_text};
use super::report::{Group, Promise};
use crate::entry::{Entry, Position};
use crate::error::Error;
use crate::stable_store::{Changes, KEY_BYTES_MAX, VALUE_BYTES_MAX};

pub(super) fn cases<S: Store>() -> Cases<S> {
    let refused = Promise::RefusedChangesNothing;
    Cases {
        group: Group::BadInput,
        cases: vec![
            ("appends that no log could take", refused, appends),
            ("replacements that no log could take", refused, replacements),
            ("truncations of what is not there", refused, truncations),
            ("below the purged position", refused, purged),
            ("reads of what is not there", Promise::ReadsAreExact, reads),
            ("the index behind which nothing could follow", refused, overflow),
            ("small state that is too large, or no number", refused, small_state),
            ("a commit of which one part cannot be done", refused, commits),
        ],
    }
}

/// Makes calls that must be refused; after each of them the store must hold what it held.
pub(super) fn refuse<S: Store>(case: &mut Case<'_, S>, store: &S, rows: Vec<(Call, Error)>) -> Verdict {
    let (before, state) = (case.contents(store, "before the refused calls")?, store.state());
    for (call, error) in rows {
        let expected = error_text(&error);
        case.call(call.promise(&expected), store, &call, &expected)?;
        let done = format!("{call:?}, which was refused");
        let after: Contents = case.contents(store, &done)?;
        if after != before {
            return case.fail(Promise::RefusedChangesNothing, &done, &format!("{before}"), format!("{after}"));
        }
        case.equal(Promise::RefusedChangesNothing, &done, &state, &store.state())?;
    }
    Ok(())
}

/// A store with entries 1 to 5 of term 5.
fn begin<S: Store>(case: &mut Case<'_, S>) -> Verdict<S> {
    let store = case.open()?;
    case.done("append 1..=5", store.append(&entries(1, &[5; 5])))?;
    case.done("set vote", store.set(b"vote", b"me"))?;
    Ok(store)
}

/// The calls that must be refused for a batch that is appended to the log, whatever it ends with.
pub(super) fn bad_appends(append: impl Fn(Vec<Entry>) -> Call) -> Vec<(Call, Error)> {
    let pair = |second: (u64, u64)| vec![entry(6, 6, 9), entry(second.0, second.1, 9)];
    vec![
        (append(entries(7, &[5])), Error::Gap { expected: 6, found: 7 }),
        (append(pair((8, 6))), Error::Gap { expected: 7, found: 8 }),
        (append(pair((6, 6))), Error::Overlap { last: 6, found: 6 }),
        (append(pair((2, 6))), Error::Overlap { last: 6, found: 2 }),
        (append(entries(6, &[4])), Error::TermFell { index: 6, previous: 5, found: 4 }),
        (append(pair((7, 5))), Error::TermFell { index: 7, previous: 6, found: 5 }),
    ]
}

fn appends<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    let mut rows = bad_appends(Call::Append);
    rows.extend([0, 1, 5].map(|found| (Call::Append(entries(found, &[5])), Error::Overlap { last: 5, found })));
    refuse(case, &store, rows)?;
    // A log that a snapshot has emptied goes on right behind it, in its term or a later one.
    case.done("truncate_head(index 9 term 7)", store.truncate_head(Position::new(9, 7)))?;
    let rows = vec![
        (Call::Append(entries(11, &[7])), Error::Gap { expected: 10, found: 11 }),
        (Call::Append(entries(6, &[7])), Error::Overlap { last: 9, found: 6 }),
        (Call::Append(entries(10, &[6])), Error::TermFell { index: 10, previous: 7, found: 6 }),
    ];
    refuse(case, &store, rows)
}

fn replacements<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    let mut rows = bad_appends(Call::ReplaceTail);
    rows.push((Call::ReplaceTail(entries(3, &[4])), Error::TermFell { index: 3, previous: 5, found: 4 }));
    rows.push((Call::ReplaceTail(vec![entry(3, 6, 9), entry(5, 6, 9)]), Error::Gap { expected: 4, found: 5 }));
    refuse(case, &store, rows)
}

fn truncations<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = case.open()?;
    case.done("append 5..=7", store.append(&entries(5, &[5; 3])))?;
    let rows = vec![
        (Call::TruncateTail(9), Error::TruncateBeyondEnd { index: 9, next: 8 }),
        // A log that never was purged: only the position right before its first entry joins it.
        (Call::TruncateHead(Position::new(3, 5)), Error::BeforeFirst { index: 3, first: 5 }),
    ];
    refuse(case, &store, rows)?;
    let purged = Position::new(12, 8);
    case.done("truncate_head(index 12 term 8)", store.truncate_head(purged))?;
    refuse(case, &store, vec![(Call::TruncateTail(14), Error::TruncateBeyondEnd { index: 14, next: 13 })])
}

fn purged<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    let purged = Position::new(3, 5);
    case.done("truncate_head(index 3 term 5)", store.truncate_head(purged))?;
    let mut rows = Vec::new();
    for index in [0, 2, 3] {
        rows.push((Call::TruncateTail(index), Error::Purged { index, purged }));
        rows.push((Call::ReplaceTail(entries(index, &[6])), Error::Purged { index, purged }));
    }
    for requested in [Position::new(3, 4), Position::new(3, 6), Position::new(2, 6)] {
        rows.push((Call::TruncateHead(requested), Error::PurgedTermDiffers { purged, requested }));
    }
    refuse(case, &store, rows)
}

fn reads<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    case.done("truncate_head(index 2 term 5)", store.truncate_head(Position::new(2, 5)))?;
    let before = |index| Error::BeforeFirst { index, first: 3 };
    let after = |index| Error::AfterLast { index, next: 6 };
    let mut rows = vec![
        (Call::Entries(2, 4, 99), before(2)),
        (Call::Entries(2, 2, 99), before(2)),
        (Call::Entries(3, 7, 99), after(6)),
        (Call::Entries(7, 7, 99), after(7)),
        (Call::Entries(5, 4, 99), Error::BackwardRange { range: std::ops::Range { start: 5, end: 4 } }),
        (Call::Term(1), before(1)),
        (Call::Term(6), after(6)),
    ];
    rows.extend([0, 1, 2].map(|index| (Call::Entry(index), before(index))));
    rows.extend([6, 7, u64::MAX].map(|index| (Call::Entry(index), after(index))));
    refuse(case, &store, rows)
}

fn overflow<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let index = u64::MAX;
    let store = case.open()?;
    let overflow = || Error::IndexOverflow { index };
    let last = vec![entry(index, 1, 9)];
    let head = Position::new(index, 1);
    let rows = vec![
        (Call::Append(last.clone()), overflow()),
        (Call::ReplaceTail(last.clone()), overflow()),
        (Call::TruncateTail(index), overflow()),
        (Call::TruncateHead(head), overflow()),
        (Call::Commit(Changes::new().set("vote", "me").truncate_head(head)), overflow()),
    ];
    refuse(case, &store, rows)?;
    case.done("append the index before it", store.append(&[entry(index - 1, 1, 9)]))?;
    refuse(case, &store, vec![(Call::Append(last), overflow())])
}

fn small_state<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    let too_large = |what, key: &str, bytes: usize, bytes_max: usize| Error::ValueTooLarge {
        what,
        key: crate::stable_store::key_text(key.as_bytes()),
        bytes: bytes as u64,
        bytes_max: bytes_max as u64,
    };
    let (key, value) = ("k".repeat(KEY_BYTES_MAX + 1), vec![0; VALUE_BYTES_MAX + 1]);
    let rows = vec![
        (Call::set(&key, "x"), too_large("key", &key, key.len(), KEY_BYTES_MAX)),
        (Call::set("vote", &value), too_large("value", "vote", value.len(), VALUE_BYTES_MAX)),
        (Call::SetLazy("vote", value.clone()), too_large("value", "vote", value.len(), VALUE_BYTES_MAX)),
        (Call::GetU64("vote"), Error::NotU64 { key: "vote".to_owned(), bytes: 2 }),
    ];
    refuse(case, &store, rows)
}

fn commits<S: Store>(case: &mut Case<'_, S>) -> Verdict {
    let store = begin(case)?;
    let purged = Position::new(3, 5);
    case.done("truncate_head(index 3 term 5)", store.truncate_head(purged))?;
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let too_large = Error::ValueTooLarge {
        what: "value",
        key: "name".to_owned(),
        bytes: value.len() as u64,
        bytes_max: VALUE_BYTES_MAX as u64,
    };
    let requested = Position::new(3, 4);
    let rows = vec![
        (Call::Commit(Changes::new().set("vote", "you").set("name", &value)), too_large.clone()),
        (Call::Commit(Changes::new().set("name", &value).truncate_head(Position::new(4, 5))), too_large),
        (
            Call::Commit(Changes::new().remove("vote").truncate_head(requested)),
            Error::PurgedTermDiffers { purged, requested },
        ),
    ];
    refuse(case, &store, rows)
}
