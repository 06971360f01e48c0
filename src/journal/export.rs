//! Numbers through the facade of the crate `metrics`.
//!
//! Times and group sizes are recorded as they come. Everything else is set from [`Stats`] and [`Health`] every half a second
//! while the journal is in use, by the job that watches for it to fall idle, and once more when it does: a number that stands
//! anyway costs the hot path nothing more. Whoever wants them at another moment calls `Journal::export_metrics`.

use std::path::Path;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

use super::{Core, Journal};
use crate::contained::contained;
use crate::stats::{Health, Stats};

/// Each counter's name, what it counts, and where it stands.
type Counted = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Counted; 18] = [
    ("raft_journal_appends_total", "Appends and replacements of the tail", |stats| stats.appends),
    ("raft_journal_entries_total", "Entries written", |stats| stats.entries),
    ("raft_journal_bytes_total", "Bytes of payloads written, before compression", |stats| stats.bytes),
    ("raft_journal_written_bytes_total", "Bytes written to segments", |stats| stats.bytes_written),
    ("raft_journal_batches_total", "Batches written", |stats| stats.batches),
    ("raft_journal_syncs_total", "Syncs of the log", |stats| stats.syncs),
    ("raft_journal_slow_syncs_total", "Syncs of the log and commits of meta that took long", |stats| stats.slow_syncs),
    ("raft_journal_commits_total", "Commits of meta", |stats| stats.commits),
    ("raft_journal_rotations_total", "Times that the log went on in its next file", |stats| stats.rotations),
    ("raft_journal_spare_not_ready_total", "Rotations that waited for their file", |stats| stats.spare_not_ready),
    ("raft_journal_held_back_total", "Appends that waited for the sync of others", |stats| stats.held_back),
    ("raft_journal_cache_hits_total", "Entries read from memory", |stats| stats.cache_hits),
    ("raft_journal_cache_misses_total", "Entries read from files", |stats| stats.cache_misses),
    ("raft_journal_index_hits_total", "Index lookups served from memory", |stats| stats.index_hits),
    ("raft_journal_index_misses_total", "Index lookups that read the index", |stats| stats.index_misses),
    ("raft_journal_errors_total", "Failures of the disk", |stats| stats.errors),
    ("raft_journal_verify_passes_total", "Passes over all files", |stats| stats.verify_passes),
    ("raft_journal_verify_bytes_total", "Bytes read for verifying", |stats| stats.verify_bytes),
];

const GAUGES: [Counted; 4] = [
    ("raft_journal_verify_faults", "Faults that the last pass found", |stats| stats.verify_faults),
    ("raft_journal_segments", "Segments that the log is in", |stats| stats.segments),
    ("raft_journal_live_bytes", "Bytes in segments that the log needs", |stats| stats.live_bytes),
    ("raft_journal_dead_bytes", "Bytes in segments that it does not", |stats| stats.dead_bytes),
];

/// The states that a journal can be in: one of them is 1, the others are 0.
const STATES: [&str; 5] = ["healthy", "nearly_full", "damaged", "stalled", "poisoned"];

const HEALTH: &str = "raft_journal_health";
const SYNC: &str = "raft_journal_sync_seconds";
const APPEND: &str = "raft_journal_append_seconds";
const COMMIT: &str = "raft_journal_commit_seconds";
const GROUP: &str = "raft_journal_group_batches";

/// What one journal reports to, labelled with its directory: the recorder that was there when it was opened.
#[derive(Debug)]
pub(crate) struct Export {
    counters: [Counter; COUNTERS.len()],
    gauges: [Gauge; GAUGES.len()],
    states: [Gauge; STATES.len()],
    sync: Histogram,
    append: Histogram,
    commit: Histogram,
    group: Histogram,
}

impl Export {
    pub(crate) fn new(dir: &Path) -> Export {
        describe();
        let dir = dir.display().to_string();
        let of = |name| metrics::histogram!(name, "dir" => dir.clone());
        Export {
            counters: COUNTERS.map(|(name, ..)| metrics::counter!(name, "dir" => dir.clone())),
            gauges: GAUGES.map(|(name, ..)| metrics::gauge!(name, "dir" => dir.clone())),
            states: STATES.map(|state| metrics::gauge!(HEALTH, "dir" => dir.clone(), "state" => state)),
            sync: of(SYNC),
            append: of(APPEND),
            commit: of(COMMIT),
            group: of(GROUP),
        }
    }

    pub(crate) fn synced(&self, took: Duration, batches: u64) {
        self.sync.record(took);
        if batches > 0 {
            self.group.record(batches as f64);
        }
    }

    pub(crate) fn appended(&self, took: Duration) {
        self.append.record(took);
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commit.record(took);
    }

    fn set(&self, stats: &Stats, health: &Health) {
        self.counters.iter().zip(COUNTERS).for_each(|(counter, (_, _, value))| counter.absolute(value(stats)));
        self.gauges.iter().zip(GAUGES).for_each(|(gauge, (_, _, value))| gauge.set(value(stats) as f64));
        let now = match health {
            Health::Healthy => "healthy",
            Health::NearlyFull { .. } => "nearly_full",
            Health::Damaged { .. } => "damaged",
            Health::Stalled { .. } => "stalled",
            Health::Poisoned { .. } => "poisoned",
        };
        self.states.iter().zip(STATES).for_each(|(gauge, state)| gauge.set(f64::from(u8::from(state == now))));
    }
}

fn describe() {
    COUNTERS.iter().for_each(|&(name, what, _)| metrics::describe_counter!(name, what));
    GAUGES.iter().for_each(|&(name, what, _)| metrics::describe_gauge!(name, what));
    metrics::describe_gauge!(HEALTH, "1 for the state that the journal is in");
    metrics::describe_histogram!(SYNC, Unit::Seconds, "How long syncs of the log took");
    metrics::describe_histogram!(APPEND, Unit::Seconds, "How long appends took until they were durable");
    metrics::describe_histogram!(COMMIT, Unit::Seconds, "How long commits of meta took");
    metrics::describe_histogram!(GROUP, Unit::Count, "How many batches a sync made durable");
}

impl Journal {
    /// Sets all counters and gauges of the recorder that was installed when the journal was opened. Called by the journal
    /// itself every half a second while it is in use, when it falls idle and when it is closed.
    ///
    /// Their names begin with `raft_journal_`, their label `dir` is the journal's directory; `docs::operations` has the list.
    /// Times and group sizes are recorded as they come.
    pub fn export_metrics(&self) {
        self.core().export_metrics();
    }
}

impl Core {
    pub(super) fn export_metrics(&self) {
        let (stats, health) = (self.stats(), self.health());
        contained(|| self.watch.export.set(&stats, &health));
    }
}
