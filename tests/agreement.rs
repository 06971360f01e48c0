//! The journal and the store in memory are one contract: the same calls, right and wrong ones, get the same answers.

use std::sync::Arc;

use proptest::prelude::*;
use raft_journal::io::SimFs;
use raft_journal::{Changes, Entry, Journal, LogStore, MemoryStore, OpenOptions, Position, StableStore};

/// A call with numbers as they come: most are wrong somewhere.
#[derive(Clone, Debug)]
enum Call {
    Append { first: u64, terms: Vec<u64>, replace: bool },
    Continue { terms: Vec<u64> },
    TruncateTail { index: u64 },
    TruncateHead { position: Position },
    TruncateHeadAt { index: u64 },
    Entry { index: u64 },
    Term { index: u64 },
    Entries { start: u64, end: u64, bytes_max: u64 },
    Set { key: u8, value: Vec<u8> },
    Commit { key: u8, value: u8, position: Position },
    Get { key: u8 },
    GetU64 { key: u8 },
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    let index = || prop_oneof![12 => 0..24u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)];
    let terms = || prop::collection::vec(0..6u64, 0..5);
    let position = || (index(), 0..6u64).prop_map(|(index, term)| Position { index, term });
    prop_oneof![
        3 => (index(), terms(), any::<bool>()).prop_map(|(first, terms, replace)| Call::Append { first, terms, replace }),
        4 => terms().prop_map(|terms| Call::Continue { terms }),
        2 => index().prop_map(|index| Call::TruncateTail { index }),
        1 => position().prop_map(|position| Call::TruncateHead { position }),
        2 => index().prop_map(|index| Call::TruncateHeadAt { index }),
        2 => index().prop_map(|index| Call::Entry { index }),
        2 => index().prop_map(|index| Call::Term { index }),
        3 => (index(), index(), 0..200u64).prop_map(|(start, end, bytes_max)| Call::Entries { start, end, bytes_max }),
        1 => (0..3u8, prop::collection::vec(any::<u8>(), 0..10)).prop_map(|(key, value)| Call::Set { key, value }),
        1 => (0..3u8, any::<u8>(), position())
            .prop_map(|(key, value, position)| Call::Commit { key, value, position }),
        1 => (0..3u8).prop_map(|key| Call::Get { key }),
        1 => (0..3u8).prop_map(|key| Call::GetU64 { key }),
        1 => Just(Call::Reopen),
    ]
}

fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(at, &term): (u64, &u64)| {
        let index = first.saturating_add(at);
        Entry::new(index, term, format!("{index}/{term}").repeat(1 + index as usize % 20))
    };
    (0..).zip(terms).map(entry).collect()
}

/// What a store answers, errors in their own words.
fn answer<S: LogStore + StableStore>(store: &S, call: &Call) -> String {
    let result = match call {
        Call::Append { first, terms, replace: false } => store.append(&entries(*first, terms)).map(|p| format!("{p}")),
        Call::Append { first, terms, replace: true } => {
            store.replace_tail(&entries(*first, terms)).map(|p| format!("{p}"))
        }
        Call::Continue { terms } => {
            let next = store.state().next_index().unwrap_or(4);
            store.append(&entries(next, terms)).map(|p| format!("{p}"))
        }
        Call::TruncateTail { index } => store.truncate_tail(*index).map(|()| String::new()),
        Call::TruncateHead { position } => store.truncate_head(*position).map(|()| String::new()),
        Call::TruncateHeadAt { index } => {
            let term = store.term(*index).unwrap_or(3);
            store.truncate_head(Position { index: *index, term }).map(|()| String::new())
        }
        Call::Entry { index } => store.entry(*index).map(|entry| format!("{entry:?}")),
        Call::Term { index } => store.term(*index).map(|term| format!("{term}")),
        Call::Entries { start, end, bytes_max } => {
            store.entries(*start..*end, *bytes_max).map(|entries| format!("{entries:?}"))
        }
        Call::Set { key, value } => store.set(&[*key], value).map(|()| String::new()),
        Call::Commit { key, value, position } => {
            let changes = Changes::new().set([*key], [*value]).truncate_head(*position);
            store.commit(&changes).map(|()| String::new())
        }
        Call::Get { key } => store.get(&[*key]).map(|value| format!("{value:?}")),
        Call::GetU64 { key } => store.get_u64(&[*key]).map(|value| format!("{value:?}")),
        Call::Reopen => Ok(String::new()),
    };
    result.unwrap_or_else(|error| format!("{error:?}"))
}

fn open(fs: &SimFs) -> Journal {
    let options = OpenOptions::new().segment_bytes(8 << 10).tail_cache_bytes(500);
    options.file_system(Arc::new(fs.clone())).open("/journal").expect("opens")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn journal_and_memory_store_answer_alike(calls in prop::collection::vec(call(), 1..60)) {
        let (fs, memory) = (SimFs::new(), MemoryStore::default());
        let mut journal = open(&fs);
        for call in &calls {
            if matches!(call, Call::Reopen) {
                journal.close().expect("closes");
                journal = open(&fs);
            }
            prop_assert_eq!(answer(&journal, call), answer(&memory, call), "{:?} of {:?}", call, calls);
            prop_assert_eq!(journal.state(), memory.state(), "after {:?} of {:?}", call, calls);
        }
    }
}
