//! The raft-rs adapter: the cases of raft-rs's own storage, and what a disk adds to them.

#![cfg(feature = "raft-rs-prost")]

mod bad_input;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod encoding;
mod heal;
mod joins;
mod node;
#[path = "../common/pass_on.rs"]
mod pass_on;
mod power;
mod reads;
mod resume;
mod storage;
mod threads;

use std::ops::Range;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, Storage};
use raft_journal::adapters::raft_rs::{Backend, LogStore, Result};
use raft_journal::io::sim::SimFs;
use raft_journal::{Journal, MemoryStore, OpenOptions};

/// An entry with a payload that no other place and term has.
fn entry(index: u64, term: u64) -> Entry {
    let data = format!("<entry {index} of term {term}>").into_bytes();
    Entry { index, term, data, ..Entry::default() }
}

fn entries(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(index, term)).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

fn voters() -> ConfState {
    ConfState::from((vec![1, 2, 3], vec![]))
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (index, term);
    metadata.set_conf_state(voters());
    snapshot.data = format!("<all up to {index}>").into_bytes();
    snapshot
}

/// Small segments, so that a short history has rotations in it.
fn options(disk: &SimFs) -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10).file_system(Arc::new(disk.clone()))
}

fn open(disk: &SimFs) -> Result<LogStore> {
    LogStore::open(options(disk).open("/node")?, 1)
}

fn memory() -> LogStore<MemoryStore> {
    LogStore::open(MemoryStore::new(), 1).unwrap()
}

/// The log as raft-rs reads it.
fn log<S: Backend>(store: &LogStore<S>) -> Vec<Entry> {
    let (first, last) = (store.first_index().unwrap(), store.last_index().unwrap());
    store.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap()
}

/// Runs a test on a directory, on a simulated disk and in memory.
trait OnEach {
    fn on<S: Backend>(&self, store: S);
}

fn on_each(test: &impl OnEach) {
    let dir = tempfile::tempdir().unwrap();
    test.on(Journal::open(dir.path().join("node")).unwrap());
    test.on(options(&SimFs::new()).open("/node").unwrap());
    test.on(MemoryStore::new());
}
