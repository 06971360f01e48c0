//! Calls, their answers as text, what a store holds, and which promise is broken by what it holds.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::case::{Store, error_text};
use super::report::Promise;
use crate::entry::{Entry, Position};
use crate::error::Result;
use crate::log_store::LogStore as _;
use crate::memory::MemoryStore;
use crate::stable_store::{Changes, StableStore as _};

/// The keys that cases write durably.
pub(super) const KEYS: [&str; 4] = ["term", "vote", "name", "extra"];

/// A call of a store.
#[derive(Clone)]
pub(super) enum Call {
    Append(Vec<Entry>),
    ReplaceTail(Vec<Entry>),
    TruncateTail(u64),
    TruncateHead(Position),
    Commit(Changes),
    SetLazy(&'static str, Vec<u8>),
    Term(u64),
    Entry(u64),
    /// From, to, and the most bytes.
    Entries(u64, u64, u64),
    Get(&'static str),
    GetU64(&'static str),
}

impl Call {
    /// Sets one key.
    pub(super) fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Call {
        Call::Commit(Changes::new().set(key, value))
    }

    /// The promise that a wrong answer breaks.
    pub(super) fn promise(&self, expected: &str) -> Promise {
        match self {
            Call::Term(_) | Call::Entry(_) | Call::Entries(..) | Call::Get(_) | Call::GetU64(_) => {
                Promise::ReadsAreExact
            }
            _ if is_refusal(expected) => Promise::RefusedChangesNothing,
            _ => Promise::WritesTakeEffect,
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Append(entries) => write!(f, "append {}", runs(entries)),
            Call::ReplaceTail(entries) => write!(f, "replace_tail {}", runs(entries)),
            Call::TruncateTail(index) => write!(f, "truncate_tail({index})"),
            Call::TruncateHead(position) => write!(f, "truncate_head({position})"),
            Call::Commit(changes) => {
                let keys = changes.pairs().iter().map(|(key, value)| {
                    let verb = if value.is_some() { "set" } else { "remove" };
                    format!("{verb} {}", short(key))
                });
                let head = changes.head().map(|position| format!("truncate_head({position})"));
                write!(f, "commit [{}]", keys.chain(head).collect::<Vec<_>>().join(", "))
            }
            Call::SetLazy(key, _) => write!(f, "set_lazy {key}"),
            Call::Term(index) => write!(f, "term({index})"),
            Call::Entry(index) => write!(f, "entry({index})"),
            Call::Entries(start, end, bytes_max) => write!(f, "entries({start}..{end}, {bytes_max})"),
            Call::Get(key) => write!(f, "get {key}"),
            Call::GetU64(key) => write!(f, "get_u64 {key}"),
        }
    }
}

/// Bytes as messages show them.
fn short(bytes: &[u8]) -> String {
    match (std::str::from_utf8(bytes), <[u8; 8]>::try_from(bytes)) {
        (Ok(text), _) if bytes.len() <= 40 && !text.contains(char::is_control) => text.to_owned(),
        (_, Ok(number)) => u64::from_le_bytes(number).to_string(),
        _ => format!("{} bytes", bytes.len()),
    }
}

/// What a store answers, errors with their fields.
pub(super) fn answer<S: Store>(store: &S, call: &Call) -> String {
    let result = match call {
        Call::Append(entries) => store.append(entries).map(at),
        Call::ReplaceTail(entries) => store.replace_tail(entries).map(at),
        Call::TruncateTail(index) => store.truncate_tail(*index).map(done),
        Call::TruncateHead(position) => store.truncate_head(*position).map(done),
        Call::Commit(changes) => store.commit(changes).map(done),
        Call::SetLazy(key, value) => store.set_lazy(key.as_bytes(), value).map(done),
        Call::Term(index) => store.term(*index).map(term),
        Call::Entry(index) => store.entry(*index).map(|entry| listed(&[entry])),
        Call::Entries(start, end, bytes_max) => store.entries(*start..*end, *bytes_max).map(|found| listed(&found)),
        Call::Get(key) => store.get(key.as_bytes()).map(|value| value_text(value.as_deref())),
        Call::GetU64(key) => store.get_u64(key.as_bytes()).map(|value| format!("{value:?}")),
    };
    result.unwrap_or_else(|error| error_text(&error))
}

/// Whether the answer of a write is an error: those that refuse are structs, and nothing that a write answers is.
pub(super) fn is_refusal(answer: &str) -> bool {
    answer.contains('{')
}

/// The answer of a write that says where the log ends.
pub(super) fn at(position: Position) -> String {
    position.to_string()
}

/// The answer of a write that says nothing.
pub(super) fn done((): ()) -> String {
    "done".to_owned()
}

pub(super) fn term(term: u64) -> String {
    format!("term {term}")
}

/// The answer of a read of entries.
pub(super) fn listed(entries: &[Entry]) -> String {
    let list = entries.iter().map(|entry| format!("{}/{} {:?}", entry.index, entry.term, short(&entry.data)));
    format!("[{}]", list.collect::<Vec<_>>().join(", "))
}

pub(super) fn value_text(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{:?}", short(value)))
}

/// An entry whose payload is its own, `bytes` long.
pub(super) fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let own = format!("{index}/{term} ");
    let data: Vec<u8> = own.bytes().cycle().take(bytes).collect();
    Entry::new(index, term, data)
}

/// Entries from `first` on with these terms, 10 bytes each.
pub(super) fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    (first..).zip(terms).map(|(index, &term)| entry(index, term, 10)).collect()
}

/// Consecutive entries of one term as one piece of text each.
fn runs(entries: &[Entry]) -> String {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some((_, last, term)) if *term == entry.term && last.checked_add(1) == Some(entry.index) => *last += 1,
            _ => runs.push((entry.index, entry.index, entry.term)),
        }
    }
    let text = runs.iter().map(|(first, last, term)| match first == last {
        true => format!("{first} of term {term}"),
        false => format!("{first}..={last} of term {term}"),
    });
    format!("[{}]", text.collect::<Vec<_>>().join(", "))
}

/// What a store holds, all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    pub(super) purged: Option<Position>,
    pub(super) entries: Vec<Entry>,
    pub(super) values: BTreeMap<&'static str, Bytes>,
}

impl Contents {
    pub(super) fn of<S: Store>(store: &S) -> Result<Contents> {
        let state = store.state();
        let entries = match state.first_index().zip(state.next_index()) {
            Some((first, next)) => store.entries(first..next, u64::MAX)?,
            None => Vec::new(),
        };
        let mut values = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = store.get(key.as_bytes())? {
                values.insert(key, value);
            }
        }
        Ok(Contents { purged: state.purged, entries, values })
    }

    /// A store in memory that holds this.
    pub(super) fn model(&self) -> MemoryStore {
        let model = MemoryStore::new();
        let mut changes = self.values.iter().fold(Changes::new(), |changes, (key, value)| changes.set(key, value));
        if let Some(purged) = self.purged {
            changes = changes.truncate_head(purged);
        }
        // Neither is refused: this is what a store held.
        let _made = (model.commit(&changes), model.append(&self.entries));
        model
    }

    /// The promise that is broken when a store holds this and may hold one of some contents, which follow each other.
    pub(super) fn broken_promise(&self, possible: &[Contents]) -> Option<Promise> {
        if possible.contains(self) {
            return None;
        }
        self.broken_log(possible).or_else(|| {
            let kept = |key| possible.iter().any(|contents| contents.values.get(key) == self.values.get(key));
            Some(if KEYS.into_iter().all(kept) { Promise::WholeOrAbsent } else { Promise::VotesAreKept })
        })
    }

    /// As far as the log alone says it.
    fn broken_log(&self, possible: &[Contents]) -> Option<Promise> {
        if possible.iter().all(|contents| self.purged < contents.purged) {
            return Some(Promise::AcknowledgedIsDurable);
        }
        let contiguous = self.entries.windows(2).all(|pair| match pair {
            [one, next] => one.index.checked_add(1) == Some(next.index),
            _ => true,
        });
        let known = |entry| possible.iter().any(|contents| contents.entries.contains(entry));
        let purged_known = possible.iter().any(|contents| contents.purged == self.purged);
        if !contiguous || !purged_known || !self.entries.iter().all(known) {
            return Some(Promise::NothingElseAppears);
        }
        let (first, later) = possible.split_first()?;
        let everywhere = |entry: &&Entry| later.iter().all(|contents| contents.entries.contains(entry));
        let lost = first.entries.iter().filter(everywhere).any(|entry| !self.entries.contains(entry));
        lost.then_some(Promise::AcknowledgedIsDurable)
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(purged) = self.purged {
            write!(f, "purged at {purged}, ")?;
        }
        write!(f, "log {}", runs(&self.entries))?;
        self.values.iter().try_for_each(|(key, value)| write!(f, ", {key} {}", value_text(Some(value))))
    }
}
