//! raft-engine: TiKV's, many groups in one log stream.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::raft_engine_entry::Entry;
use crate::contestant::{Ability, Append, Contestant, Log, Tuning, When};

/// The group that all workloads but W3 use; in W3 each thread has its own, behind this one.
const GROUP: u64 = 1;
/// How many entries a scan asks for at a time.
const SCAN_ENTRIES: u64 = 256;
const FILE_BYTES: u64 = 64 << 20;

/// raft-engine 0.4.
pub struct RaftEngine;

impl Contestant for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn setting(&self) -> &'static str {
        "0.4.2. `sync = true`, files of 64 MiB that are recycled, for W1 to W4 three of them filled with zeros in \
         advance (its own option), no compression (with it, a batch takes 1.5 times as long, and \
         four times the processor time). It does not take concurrent \
         appends to one group: in W3 each thread has its own. It has no tail truncation: one entry is written over the \
         first that goes. Space comes back when its user asks for it, in W9 right after the truncation"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::SmallFiles => Some("does not say when it changes files"),
            Ability::ReadBeyondIndexCache => Some("keeps its whole index in memory"),
            Ability::ReopenWaited => Some("does the same whether an append was waited for or not"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
        let fresh = tuning.entries == 0;
        let config = Config {
            dir: dir.to_str().context("a directory whose name is no UTF-8")?.to_owned(),
            target_file_size: ReadableSize(FILE_BYTES),
            purge_threshold: ReadableSize(4 * FILE_BYTES),
            batch_compression_threshold: ReadableSize(0),
            // Not for a log that is opened again: the time would be that of filling files.
            prefill_for_recycle: fresh,
            prefill_limit: fresh.then_some(ReadableSize(2 * FILE_BYTES)),
            ..Config::default()
        };
        let log = EngineLog { engine: Engine::open(config)?, next: Mutex::default() };
        if fresh {
            log.leave_first_file()?;
        }
        Ok(Box::new(log))
    }
}

struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

struct EngineLog {
    engine: Engine,
    /// The next index of each group of W3.
    next: Mutex<HashMap<u64, u64>>,
}

impl EngineLog {
    /// The first file is never one of those that were filled in advance: writes until it is left for the next one.
    fn leave_first_file(&self) -> Result<()> {
        const VALUE_BYTES: usize = 1 << 20;
        for _ in 0..=FILE_BYTES / VALUE_BYTES as u64 {
            let mut batch = LogBatch::default();
            batch.put(GROUP, b"filler".to_vec(), vec![0; VALUE_BYTES])?;
            self.engine.write(&mut batch, false)?;
        }
        let mut batch = LogBatch::default();
        batch.delete(GROUP, b"filler".to_vec());
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn write_command(&self, group: u64, command: Command) -> Result<()> {
        let mut batch = LogBatch::default();
        batch.add_command(group, command);
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}

impl Log for EngineLog {
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        let entries: Vec<Entry> = (first_index..).zip(payloads).map(|(index, data)| Entry::new(index, &data)).collect();
        Ok(Box::new(move || {
            let mut batch = LogBatch::with_capacity(1);
            batch.add_entries::<Entries>(GROUP, &entries)?;
            self.engine.write(&mut batch, when == When::Durable)?;
            Ok(())
        }))
    }

    fn append_shared(&self, thread: usize, payload: &Bytes) -> Result<()> {
        let group = GROUP + 1 + thread as u64;
        let index = {
            let mut next = self.next.lock();
            let next = next.entry(group).or_insert(1);
            *next += 1;
            *next - 1
        };
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(group, &[Entry::new(index, payload)])?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    /// Its own `sync` writes an empty batch, and an empty batch returns before it syncs anything.
    fn sync(&self) -> Result<()> {
        let mut batch = LogBatch::default();
        batch.put(GROUP, b"sync".to_vec(), Vec::new())?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        let entry = self.engine.get_entry::<Entries>(GROUP, index)?.with_context(|| format!("no entry {index}"))?;
        Ok(black_box(entry).data.len())
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        let mut bytes = 0;
        for first in range.clone().step_by(SCAN_ENTRIES as usize) {
            let mut entries = Vec::new();
            let end = range.end.min(first + SCAN_ENTRIES);
            self.engine.fetch_entries_to::<Entries>(GROUP, first, end, None, &mut entries)?;
            bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            black_box(entries);
        }
        Ok(bytes)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.prepare(first_removed, vec![Bytes::from_static(b"x")], When::Durable)?()
    }

    fn truncate_head(&self, last_removed: u64) -> Result<()> {
        // As its `compact_to`, but synced.
        self.write_command(GROUP, Command::Compact { index: last_removed + 1 })
    }

    fn collect_garbage(&self) -> Result<()> {
        let groups: Vec<(u64, u64)> = {
            let next = self.next.lock();
            next.iter().map(|(&group, &next)| (group, next)).collect()
        };
        for (group, next) in groups {
            self.write_command(group, Command::Compact { index: next })?;
        }
        self.engine.purge_expired_files()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()?;
        drop(self.engine);
        Ok(())
    }
}
