//! raft-log: Databend's.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::chunked_wal;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Config, RaftLog, Types};

use crate::contestant::{Ability, Append, Contestant, Log, Tuning, When};

const TERM: u64 = 1;

/// raft-log 0.4.
pub struct DatabendRaftLog;

impl Contestant for DatabendRaftLog {
    fn name(&self) -> &'static str {
        "raft-log"
    }

    fn setting(&self) -> &'static str {
        "0.4.6. `flush(true, …)` and waiting for its callback; no lingering before a sync (the default adds 1 ms to a \
         lone append), but 10 µs in W3, where without it every append gets a sync of its own; files of 64 MiB; its cache of the newest \
         100,000 payloads as it is"
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
        let dir = dir.to_str().context("a directory whose name is no UTF-8")?;
        let linger = if tuning.many_threads { Duration::from_micros(10) } else { Duration::ZERO };
        let wal = chunked_wal::Config {
            chunk_max_size: Some(64 << 20),
            flush_batch_wait: Some(linger),
            ..chunked_wal::Config::new(dir)
        };
        let log = RaftLog::open(Arc::new(Config { wal, ..Config::new(dir) }))?;
        Ok(Box::new(RaftLogLog { log: RwLock::new(log) }))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct LogTypes;

impl Types for LogTypes {
    /// Term and index.
    type LogId = (u64, u64);
    type LogPayload = Payload;
    type Vote = u64;
    type Callback = SyncSender<io::Result<()>>;
    type UserData = ();

    fn log_index(log_id: &(u64, u64)) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// A payload that is cheap to clone.
#[derive(Clone, Debug)]
struct Payload(Bytes);

impl Encode for Payload {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let len = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        writer.write_all(&len.to_be_bytes())?;
        writer.write_all(&self.0)?;
        Ok(size_of_val(&len) + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut reader: R) -> io::Result<Payload> {
        let mut len = [0; 4];
        reader.read_exact(&mut len)?;
        let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
        reader.read_exact(&mut bytes)?;
        Ok(Payload(bytes.into()))
    }
}

struct RaftLogLog {
    log: RwLock<RaftLog<LogTypes>>,
}

impl RaftLogLog {
    fn write(&self) -> RwLockWriteGuard<'_, RaftLog<LogTypes>> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change, and waits, without the lock, until it is durable.
    fn durably(&self, change: impl FnOnce(&mut RaftLog<LogTypes>) -> Result<()>) -> Result<()> {
        let done = {
            let mut log = self.write();
            change(&mut log)?;
            begin_flush(&mut log)?
        };
        Ok(done.recv()??)
    }
}

fn begin_flush(log: &mut RaftLog<LogTypes>) -> Result<Receiver<io::Result<()>>> {
    let (sender, receiver) = sync_channel(1);
    log.flush(true, Some(sender))?;
    Ok(receiver)
}

impl Log for RaftLogLog {
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        let entries = (first_index..).zip(payloads).map(|(index, data)| ((TERM, index), Payload(data)));
        let mut entries: Vec<((u64, u64), Payload)> = entries.collect();
        Ok(Box::new(move || {
            let entries = std::mem::take(&mut entries);
            if when == When::Durable {
                return self.durably(|log| Ok(log.append(entries).map(drop)?));
            }
            let mut log = self.write();
            log.append(entries)?;
            // To the operating system, without a sync.
            Ok(log.flush(false, None)?)
        }))
    }

    fn append_shared(&self, _thread: usize, payload: &Bytes) -> Result<()> {
        self.durably(|log| {
            let index = log.log_state().last().map_or(1, |&(_, last)| last + 1);
            log.append([((TERM, index), Payload(payload.clone()))])?;
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.durably(|_| Ok(()))
    }

    fn read(&self, index: u64) -> Result<usize> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let entry = log.read(index, index + 1).next().with_context(|| format!("no entry {index}"))??;
        Ok(black_box(entry).1.0.len())
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for entry in log.read(range.start, range.end) {
            bytes += black_box(entry?).1.0.len() as u64;
        }
        Ok(bytes)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.durably(|log| Ok(log.truncate(first_removed).map(drop)?))
    }

    fn truncate_head(&self, last_removed: u64) -> Result<()> {
        self.durably(|log| Ok(log.purge((TERM, last_removed)).map(drop)?))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
