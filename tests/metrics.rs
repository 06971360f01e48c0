//! What a recorder of the crate `metrics` is told.

mod common;
#[path = "common/everything.rs"]
mod everything;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{Disk, append_each, entries, log};
use everything::go_through_everything;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use raft_journal::io::sim::OperationKind;
use raft_journal::{Journal, LogStore, StableStore};

/// Keeps each counter, the bits of each gauge, and how many samples each histogram had, by its name and its state.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, sample: f64) {
        assert!(sample >= 0.0);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Numbers {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: BTreeMap<_, _> = key.labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!(labels["dir"], "/journal");
        let state = labels.get("state").map(|state| format!(" {state}"));
        let name = format!("{}{}", key.name(), state.unwrap_or_default());
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn number(&self, name: &str) -> u64 {
        self.0.lock().unwrap()[name].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.number(name))
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples(self.of(key))))
    }
}

fn open(disk: &Disk) -> (Journal, Numbers) {
    let numbers = Numbers::default();
    let journal = with_local_recorder(&numbers, || disk.options().nearly_full_bytes(0).open(&disk.dir));
    (journal.unwrap(), numbers)
}

#[test]
fn what_stats_and_health_say_is_exported_while_the_journal_is_used_and_when_it_is_closed() {
    let disk = Disk::simulated();
    let (journal, exported) = open(&disk);
    append_each(&journal, &entries(1..=60, 1));
    journal.set(b"vote", b"me").unwrap();
    journal.entry(3).unwrap();
    // Half a second.
    assert!(disk.sim().pass_time() > 0);
    let stats = journal.stats();
    for (name, value) in [
        ("raft_journal_appends_total", 60),
        ("raft_journal_entries_total", 60),
        ("raft_journal_bytes_total", 60 * 300),
        ("raft_journal_written_bytes_total", stats.bytes_written),
        ("raft_journal_batches_total", 60),
        ("raft_journal_syncs_total", stats.syncs),
        ("raft_journal_rotations_total", stats.rotations),
        ("raft_journal_cache_hits_total", 1),
        ("raft_journal_sync_seconds", stats.syncs),
        ("raft_journal_append_seconds", 60),
        ("raft_journal_commit_seconds", stats.commits),
        ("raft_journal_group_batches", stats.group_size.count()),
    ] {
        assert_eq!(exported.number(name), value, "{name}");
    }
    for (name, value) in [
        ("raft_journal_segments", stats.segments as f64),
        ("raft_journal_live_bytes", stats.live_bytes as f64),
        ("raft_journal_dead_bytes", stats.dead_bytes as f64),
        ("raft_journal_health healthy", 1.0),
        ("raft_journal_health poisoned", 0.0),
    ] {
        assert!((exported.gauge(name) - value).abs() < 0.5, "{name}");
    }
    assert_eq!(exported.0.lock().unwrap().len(), 18 + 4 + 5 + 4);
    append_each(&journal, &entries(61..=61, 1));
    journal.close().unwrap();
    assert_eq!(exported.number("raft_journal_appends_total"), 61);
}

/// The page for operators names each metric, by the end of its name, and no other one.
#[test]
fn the_metrics_of_the_page_are_those_that_are_exported() {
    let page = include_str!("../src/docs/operations.md");
    let heading = "| number | unit | alarm on | metric, `raft_journal_…` |\n|---|---|---|---|\n";
    let rows = page.split_once(heading).unwrap().1.lines().map_while(|line| line.strip_suffix(" |"));
    let last = rows.map(|row| row.rsplit_once(" | ").unwrap().1.split(", "));
    let named: BTreeSet<String> =
        last.flatten().map(|name| format!("raft_journal_{}", name.trim_matches('`'))).collect();
    let (journal, exported) = open(&Disk::simulated());
    journal.export_metrics();
    let names = exported.0.lock().unwrap();
    let told: BTreeSet<String> = names.keys().map(|name| name.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(named, told);
}

#[test]
fn a_journal_that_is_poisoned_is_exported_as_that() {
    let disk = Disk::simulated();
    let (journal, exported) = open(&disk);
    disk.sim().fail_next(OperationKind::Sync, std::io::ErrorKind::Other);
    journal.append(&entries(1..=1, 1)).unwrap_err();
    journal.export_metrics();
    assert!(exported.gauge("raft_journal_health poisoned") > 0.5);
    assert!(exported.gauge("raft_journal_health healthy") < 0.5);
    assert_eq!(exported.number("raft_journal_errors_total"), 1);
}

/// Panics whenever it is told something.
struct Panicking;

impl CounterFn for Panicking {
    fn increment(&self, _: u64) {
        resume_unwind(Box::new("told of a counter"));
    }

    fn absolute(&self, _: u64) {
        resume_unwind(Box::new("told of a counter"));
    }
}

impl HistogramFn for Panicking {
    fn record(&self, _: f64) {
        resume_unwind(Box::new("told of a time"));
    }
}

impl Recorder for Panicking {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Panicking))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Panicking))
    }
}

// Guards: a rotation, or a commit, was left half done, and the next open refused the journal; a callback, and `close`, waited for
// ever.
#[test]
fn a_recorder_that_panics_costs_nothing_but_what_it_was_told() {
    let disk = Disk::simulated();
    let journal = with_local_recorder(&Panicking, || disk.options().open(&disk.dir)).unwrap();
    go_through_everything(&disk, &journal);
    journal.export_metrics();
    journal.close().unwrap();
    assert_eq!(log(&disk.open()), entries(20..=60, 1));
}
