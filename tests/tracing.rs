//! Which spans those who trace are told of.

mod common;
#[path = "common/everything.rs"]
mod everything;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Disk, append_each, entries, log};
use everything::go_through_everything;
use raft_journal::{LogStore, StableStore};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the levels, names and fields of spans, in the order in which they began, behind a dot for each that was entered and not
/// left by then.
#[derive(Clone, Default)]
struct Spans {
    seen: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
    depth: Arc<AtomicUsize>,
}

impl Spans {
    fn see(&self, what: &Metadata<'_>, fields: &str) {
        let depth = ".".repeat(self.depth.load(Ordering::Relaxed));
        self.seen.lock().unwrap().push(format!("{depth}{} {fields}", what.level()));
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        self.see(span.metadata(), &fields.0);
        Id::from_u64(self.count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields("event".to_owned());
        event.record(&mut fields);
        self.see(event.metadata(), &fields.0);
    }

    fn enter(&self, _: &Id) {
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &Id) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn opening_recovering_rotating_and_slow_syncs_are_spans() {
    let disk = Disk::simulated();
    let spans = Spans::default();
    let seen = || std::mem::take(&mut *spans.seen.lock().unwrap());
    tracing::subscriber::with_default(spans.clone(), || {
        let journal = disk.options().slow_sync_after(Duration::from_secs(1)).open(&disk.dir).unwrap();
        assert_eq!(seen(), ["INFO raft_journal.open dir=/journal", ".INFO raft_journal.recover dir=/journal"]);
        append_each(&journal, &entries(1..=60, 1));
        let rotations = seen();
        assert_eq!(rotations.len() as u64, journal.stats().rotations);
        assert_eq!(rotations[0], "DEBUG raft_journal.rotate dir=/journal sequence=1");
        let slow = |call: &(dyn Fn() + Sync)| {
            let hold = disk.sim().hold_syncs();
            std::thread::scope(|scope| {
                let caller = scope.spawn(|| tracing::subscriber::with_default(spans.clone(), call));
                disk.sim().wait_for_held_syncs(1);
                disk.sim().advance_clock(Duration::from_secs(2));
                drop(hold);
                caller.join().unwrap();
            });
            seen()
        };
        let expected = |of| {
            let span = format!("WARN raft_journal.slow_sync dir=/journal of=\"{of}\" micros=2000000");
            [span, ".WARN event message=a sync took 2s".to_owned()]
        };
        assert_eq!(slow(&|| _ = journal.append(&entries(61..=61, 1)).unwrap()), expected("log"));
        assert_eq!(slow(&|| journal.set(b"vote", b"me").unwrap()), expected("meta"));
        assert_eq!(journal.stats().slow_syncs, 2);
        assert_eq!(spans.depth.load(Ordering::Relaxed), 0);
    });
}

/// Panics whenever it is told something.
struct Panicking(&'static str);

impl Panicking {
    fn told(&self, what: &'static str) {
        if self.0 == what {
            resume_unwind(Box::new(what));
        }
    }
}

impl Subscriber for Panicking {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.told("new span");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.told("event");
    }

    fn enter(&self, _: &Id) {
        self.told("enter");
    }

    fn exit(&self, _: &Id) {
        self.told("exit");
    }
}

// Guards: a rotation was left half done, and the next open refused the journal; a callback, and `close`, waited for ever.
#[test]
fn a_subscriber_that_panics_costs_nothing_but_what_it_was_told() {
    for what in ["new span", "event", "enter", "exit"] {
        let disk = Disk::simulated();
        tracing::subscriber::with_default(Panicking(what), || {
            let journal = disk.options().slow_sync_after(Duration::ZERO).open(&disk.dir).unwrap();
            go_through_everything(&disk, &journal);
            journal.close().unwrap();
        });
        assert_eq!(log(&disk.open()), entries(20..=60, 1), "{what}");
    }
}
