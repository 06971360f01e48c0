//! Stores with a bug each, as real ones have had it: the suite must reject each of them, for the promise that it breaks.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_journal::conformance::{self, Group, Promise, Report};
use raft_journal::{
    Changes, Durability, Entry, Error, Journal, LogState, LogStore, MemoryStore, OpenOptions, Pending, Position,
    Result, StableStore,
};

/// A store over another one, with each call to be replaced by a broken one.
macro_rules! store {
    ($name:ident over $below:ty { $($field:ident: $type:ty),* } $(log { $($log:item)* })? $(stable { $($stable:item)* })?) => {
        struct $name {
            below: $below,
            $($field: $type),*
        }
        impl Forward for $name {
            type Below = $below;
            fn below(&self) -> &$below {
                &self.below
            }
            $($($log)*)?
            $($($stable)*)?
        }
        store!(@traits $name);
    };
    (@traits $name:ident) => {
        impl LogStore for $name {
            fn state(&self) -> LogState {
                self.forward_state()
            }
            fn term(&self, index: u64) -> Result<u64> {
                self.forward_term(index)
            }
            fn entry(&self, index: u64) -> Result<Entry> {
                self.below().entry(index)
            }
            fn entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
                self.forward_entries(range, bytes_max)
            }
            fn append_pending(&self, entries: &[Entry]) -> Result<Pending> {
                self.forward_append(entries)
            }
            fn replace_tail_pending(&self, entries: &[Entry]) -> Result<Pending> {
                self.forward_replace(entries)
            }
            fn truncate_tail(&self, first_removed: u64) -> Result<()> {
                self.forward_truncate_tail(first_removed)
            }
            fn truncate_head(&self, position: Position) -> Result<()> {
                self.forward_commit(&Changes::new().truncate_head(position))
            }
            fn sync(&self) -> Result<()> {
                self.below().sync()
            }
        }
        impl StableStore for $name {
            fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
                self.below().get(key)
            }
            fn commit(&self, changes: &Changes) -> Result<()> {
                self.forward_commit(changes)
            }
            fn set_lazy(&self, key: &[u8], value: &[u8]) -> Result<()> {
                self.below().set_lazy(key, value)
            }
        }
    };
}

/// What a broken store does where it is not broken.
trait Forward {
    type Below: LogStore + StableStore;
    fn below(&self) -> &Self::Below;
    fn forward_state(&self) -> LogState {
        self.below().state()
    }
    fn forward_term(&self, index: u64) -> Result<u64> {
        self.below().term(index)
    }
    fn forward_entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
        self.below().entries(range, bytes_max)
    }
    fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
        self.below().append_pending(entries)
    }
    fn forward_replace(&self, entries: &[Entry]) -> Result<Pending> {
        self.below().replace_tail_pending(entries)
    }
    fn forward_truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.below().truncate_tail(first_removed)
    }
    fn forward_commit(&self, changes: &Changes) -> Result<()> {
        self.below().commit(changes)
    }
}

/// Runs the whole suite on a store over journals.
fn on_any_disk<S: LogStore + StableStore + 'static>(over: impl Fn(Journal) -> S) -> Report {
    conformance::on_any_disk(|disk, dir| {
        OpenOptions::new().segment_bytes(8 << 10).file_system(disk).open(dir).map(&over)
    })
}

fn rejected(report: &Report, group: Group, promise: Promise) {
    println!("{report}");
    let found = report.failures().iter().any(|failure| (failure.group, failure.promise) == (group, promise));
    assert!(found, "not rejected in {group} for: {promise}\n{report}");
    let failed: u64 = report.tallies().iter().map(|tally| tally.failed).sum();
    assert_eq!(failed, report.failures().len() as u64);
}

/// As `rejected`, and no other promise counts as broken.
fn rejected_for_this_alone(report: &Report, group: Group, promise: Promise) {
    rejected(report, group, promise);
    assert_eq!(report.broken(), [promise], "{report}");
}

store! {
    AcknowledgesBeforeTheSync over Journal {}
    log {
        fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
            self.below.append_pending(entries).map(|pending| Pending::ready(pending.position()))
        }
    }
}

#[test]
fn a_store_that_acknowledges_before_the_sync_is_rejected() {
    let report = on_any_disk(|below| AcknowledgesBeforeTheSync { below });
    rejected(&report, Group::PowerCut, Promise::AcknowledgedIsDurable);
    // An open store, and one that is closed in order, cannot be told from a good one.
    assert!(report.failures().iter().all(|failure| failure.promise != Promise::NothingElseAppears), "{report}");
}

store! {
    TruncatesInMemory over MemoryStore { journal: Journal }
    log {
        fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
            let pending = self.below.append_pending(entries)?;
            // What was truncated is still there, and makes room now.
            self.journal.replace_tail(entries)?;
            Ok(pending)
        }
        fn forward_replace(&self, entries: &[Entry]) -> Result<Pending> {
            let pending = self.below.replace_tail_pending(entries)?;
            self.journal.replace_tail(entries)?;
            Ok(pending)
        }
    }
    stable {
        fn forward_commit(&self, changes: &Changes) -> Result<()> {
            self.below.commit(changes)?;
            self.journal.commit(changes)
        }
    }
}

#[test]
fn a_store_whose_truncation_is_forgotten_is_rejected() {
    let report = on_any_disk(|journal| {
        let below = MemoryStore::new();
        let state = journal.state();
        let purged = state.purged.map(|position| below.truncate_head(position));
        purged.unwrap_or(Ok(())).unwrap();
        if let (Some(first), Some(next)) = (state.first_index(), state.next_index()) {
            below.append(&journal.entries(first..next, u64::MAX).unwrap()).unwrap();
        }
        for key in ["term", "vote", "name", "extra"] {
            journal.get(key.as_bytes()).unwrap().iter().for_each(|value| below.set(key.as_bytes(), value).unwrap());
        }
        TruncatesInMemory { below, journal }
    });
    rejected(&report, Group::Reopen, Promise::NothingElseAppears);
    rejected(&report, Group::PowerCut, Promise::NothingElseAppears);
}

store! {
    VotesLazily over Journal {}
    stable {
        fn forward_commit(&self, changes: &Changes) -> Result<()> {
            let lazily = |(key, value): &(Bytes, Option<Bytes>)| match value {
                Some(value) => self.below.set_lazy(key, value),
                None => self.below.remove(key),
            };
            match changes.head() {
                Some(_) => self.below.commit(changes),
                None => changes.check().and_then(|()| changes.pairs().iter().try_for_each(lazily)),
            }
        }
    }
}

#[test]
fn a_store_that_writes_votes_lazily_is_rejected() {
    let report = on_any_disk(|below| VotesLazily { below });
    rejected(&report, Group::PowerCut, Promise::VotesAreKept);
}

store! {
    ForgetsThePurgedTerm over MemoryStore {}
    log {
        fn forward_term(&self, index: u64) -> Result<u64> {
            match self.below.state().purged {
                Some(purged) if index <= purged.index => {
                    Err(Error::BeforeFirst { index, first: self.below.state().first.unwrap_or(purged.index + 1) })
                }
                _ => self.below.term(index),
            }
        }
    }
}

#[test]
fn a_store_that_is_off_by_one_at_the_purged_edge_is_rejected() {
    let report = conformance::in_memory(|| Ok(ForgetsThePurgedTerm { below: MemoryStore::new() }));
    rejected(&report, Group::Contract, Promise::PurgedTermIsKnown);
    let failed: HashSet<&str> = report.failures().iter().map(|failure| failure.case).collect();
    assert!(failed.contains("MemStorage: term at the purged edge, compacted at each index"), "{report}");
}

store! {
    ClosedRanges over MemoryStore {}
    log {
        fn forward_entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
            let mut found = self.below.entries(range.clone(), bytes_max)?;
            if found.len() as u64 == range.end - range.start && bytes_max == u64::MAX {
                found.extend(self.below.entry(range.end));
            }
            Ok(found)
        }
    }
}

#[test]
fn a_store_with_closed_ranges_is_rejected() {
    let report = conformance::in_memory(|| Ok(ClosedRanges { below: MemoryStore::new() }));
    rejected_for_this_alone(&report, Group::Contract, Promise::ReadsAreExact);
}

store! {
    ReplacesInTwoSteps over Journal {}
    log {
        fn forward_replace(&self, entries: &[Entry]) -> Result<Pending> {
            let state = self.below.state();
            if let Some((first, last)) = entries.first().zip(state.last_index())
                && state.first_index().is_some_and(|lowest| lowest <= first.index && first.index <= last)
                && sound(&self.below, entries)
            {
                self.below.truncate_tail(first.index)?;
            }
            self.below.replace_tail_pending(entries)
        }
    }
}

/// Whether entries can take the tail's place.
fn sound(below: &Journal, entries: &[Entry]) -> bool {
    let before = entries[0].index.checked_sub(1).and_then(|index| below.term(index).ok());
    let run = entries.windows(2).all(|pair| pair[0].index + 1 == pair[1].index && pair[0].term <= pair[1].term);
    run && before.is_none_or(|term| term <= entries[0].term)
}

#[test]
fn a_store_that_truncates_and_then_appends_is_rejected() {
    let report = on_any_disk(|below| ReplacesInTwoSteps { below });
    rejected(&report, Group::PowerCut, Promise::WholeOrAbsent);
}

store! {
    AppendsWhatItCan over MemoryStore {}
    log {
        fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
            entries.iter().try_for_each(|entry| self.below.append(std::slice::from_ref(entry)).map(drop))?;
            self.below.append_pending(&[])
        }
    }
}

#[test]
fn a_store_that_appends_half_of_what_it_refuses_is_rejected() {
    let report = conformance::in_memory(|| Ok(AppendsWhatItCan { below: MemoryStore::new() }));
    rejected(&report, Group::BadInput, Promise::RefusedChangesNothing);
}

store! {
    GoesOnBehindAFailedSync over Journal {}
    log {
        fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
            match self.below.append_pending(entries) {
                // It worked a moment ago, so it will work again.
                Err(Error::Poisoned { .. }) => {
                    Ok(Pending::ready(entries.last().map(Entry::position).unwrap_or_default()))
                }
                answer => answer,
            }
        }
    }
}

#[test]
fn a_store_that_goes_on_behind_a_failed_sync_is_rejected() {
    let report = on_any_disk(|below| GoesOnBehindAFailedSync { below });
    rejected(&report, Group::PowerCut, Promise::FailedSyncIsFinal);
}

/// Waits as it should, and forgets whoever wants to be called.
struct CallsNobody(Arc<MemoryStore>);

impl Durability for CallsNobody {
    fn wait(&self, _ticket: u64) -> Result<()> {
        self.0.sync()
    }

    fn on_durable(&self, ticket: u64, callback: Box<dyn FnOnce(Result<()>) + Send>) {
        // Each ninth one gets lost.
        if !ticket.is_multiple_of(9) {
            callback(Ok(()));
        }
    }
}

store! {
    LosesCallbacks over MemoryStore {}
    log {
        fn forward_append(&self, entries: &[Entry]) -> Result<Pending> {
            let position = self.below.append(entries)?;
            let durability = Arc::new(CallsNobody(Arc::new(self.below.clone())));
            Ok(Pending::new(position, durability, position.index))
        }
    }
}

#[test]
fn a_store_that_forgets_a_callback_is_rejected() {
    let report = conformance::in_memory(|| Ok(LosesCallbacks { below: MemoryStore::new() }));
    rejected_for_this_alone(&report, Group::Concurrency, Promise::EachIsToldOnce);
}

store! {
    ReadsInTwoSteps over MemoryStore { waits_left: AtomicU64 }
    log {
        fn forward_entries(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>> {
            let mut whole = self.below.entries(range.clone(), bytes_max)?;
            let Some(last) = whole.pop().filter(|last| !whole.is_empty() && last.index + 1 == range.end) else {
                return self.below.entries(range, bytes_max);
            };
            // Whatever is written in between is seen by all of the answer but its end. Where nobody writes, it is not waited
            // for again and again.
            let (before, begun) = (self.below.state(), Instant::now());
            while self.waits_left.load(Ordering::Relaxed) > 0 && self.below.state() == before {
                if begun.elapsed() > Duration::from_millis(5) {
                    self.waits_left.fetch_sub(1, Ordering::Relaxed);
                    break;
                }
                std::thread::yield_now();
            }
            let mut found = self.below.entries(range.start..last.index, u64::MAX)?;
            found.push(last);
            Ok(found)
        }
    }
}

#[test]
fn a_store_whose_reads_see_two_logs_is_rejected() {
    let report =
        conformance::in_memory(|| Ok(ReadsInTwoSteps { below: MemoryStore::new(), waits_left: AtomicU64::new(20) }));
    rejected_for_this_alone(&report, Group::Concurrency, Promise::ReadsSeeOneLog);
}

store! { Panics over MemoryStore {} log {
    fn forward_truncate_tail(&self, first_removed: u64) -> Result<()> {
        let next = self.below.state().next_index().unwrap_or(u64::MAX);
        assert!(first_removed <= next || first_removed == u64::MAX, "out of bounds");
        self.below.truncate_tail(first_removed)
    }
} }

#[test]
fn a_store_that_panics_is_rejected_and_the_other_cases_go_on() {
    let report = conformance::in_memory(|| Ok(Panics { below: MemoryStore::new() }));
    rejected(&report, Group::BadInput, Promise::RefusedChangesNothing);
    assert!(report.failures().iter().any(|failure| failure.seen.contains("out of bounds")), "{report}");
    let good = conformance::in_memory(|| Ok(MemoryStore::new()));
    assert_eq!(report.cases(), good.cases());
}

#[test]
fn a_store_that_does_not_open_passes_nothing() {
    let refuse = |_, _: &std::path::Path| Err::<Journal, Error>(Error::Closed);
    let report = conformance::on_any_disk(refuse);
    assert_eq!(report.broken(), [Promise::NewStoresOpen], "{report}");
    assert_eq!(report.failures().len() as u64, report.cases(), "{report}");
}
