//! okaywal: a write-ahead log, which stands before something else that keeps the data.

use std::hint::black_box;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use okaywal::{Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader, WriteAheadLog};
use parking_lot::Mutex;

use crate::contestant::{Ability, Append, Contestant, Log, Tuning, When};

/// The size of a file where nothing is loaded.
const FILE_BYTES: u64 = 64 << 20;

/// okaywal 0.3.
pub struct OkayWal;

impl Contestant for OkayWal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn setting(&self) -> &'static str {
        "0.3.1. An entry of its own for each batch, a chunk for each of ours; files filled with zeros in advance, 64 MiB, \
         for a loaded log one that holds all, because a file's content is given up at a checkpoint; a buffer of 64 KiB. \
         Where an entry stands is for its user to know: a vector of positions, which recovery makes again"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::SmallFiles => Some("does not say when it changes files"),
            Ability::Unsynced => Some("syncs every entry"),
            Ability::ReadBeyondIndexCache => Some("has no index: its user's is in memory"),
            Ability::TruncateTail => Some("cannot drop the newest entries"),
            Ability::TruncateHead => Some("cannot drop a part of a file's entries"),
            Ability::ReopenWaited => Some("does the same whether an append was waited for or not"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, tuning: &Tuning) -> Result<Box<dyn Log>> {
        // A chunk's head and checksum, and a share of an entry's.
        const CHUNK_BYTES: u64 = 16;
        const CHECKPOINT_ROOM: u64 = 256 << 20;
        let loaded = tuning.entries * (tuning.entry_bytes as u64 + CHUNK_BYTES);
        let file_bytes = FILE_BYTES.max(loaded);
        let positions = Arc::new(Mutex::new(Positions { first_index: 1, of: Vec::new() }));
        let wal = Configuration::default_for(dir)
            .preallocate_bytes(u32::try_from(file_bytes).context("more entries than a file of okaywal's takes")?)
            // A loaded log must not be given up, whatever is appended while it is measured.
            .checkpoint_after_bytes(if loaded > 0 { file_bytes + CHECKPOINT_ROOM } else { file_bytes })
            .buffer_bytes(64 << 10)
            .open(Manager { positions: Arc::clone(&positions) })?;
        Ok(Box::new(WalLog { wal, positions }))
    }
}

/// Where the entries are.
#[derive(Debug)]
struct Positions {
    first_index: u64,
    of: Vec<LogPosition>,
}

#[derive(Debug)]
struct Manager {
    positions: Arc<Mutex<Positions>>,
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut found = Vec::new();
        loop {
            match entry.read_chunk()? {
                ReadChunkResult::Chunk(mut chunk) => {
                    found.push(chunk.log_position());
                    chunk.read_all()?;
                    // Nothing else checks what is recovered.
                    if !chunk.check_crc()? {
                        return Err(io::Error::other("a chunk's checksum"));
                    }
                }
                ReadChunkResult::EndOfEntry => break,
                ReadChunkResult::AbortedEntry => return Ok(()),
            }
        }
        self.positions.lock().of.extend(found);
        Ok(())
    }

    fn checkpoint_to(&mut self, _last: EntryId, _entries: &mut SegmentReader, _wal: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct WalLog {
    wal: WriteAheadLog,
    positions: Arc<Mutex<Positions>>,
}

impl WalLog {
    fn append(&self, payloads: &[Bytes]) -> Result<()> {
        let mut entry = self.wal.begin_entry()?;
        let mut positions = Vec::with_capacity(payloads.len());
        for payload in payloads {
            positions.push(entry.write_chunk(payload)?.position);
        }
        // Before the commit, which lets the next writer in.
        self.positions.lock().of.append(&mut positions);
        entry.commit()?;
        Ok(())
    }
}

impl Log for WalLog {
    fn prepare<'a>(&'a self, _first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        ensure!(when == When::Durable, "okaywal syncs every entry");
        Ok(Box::new(move || self.append(&payloads)))
    }

    fn append_shared(&self, _thread: usize, payload: &Bytes) -> Result<()> {
        self.append(std::slice::from_ref(payload))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn read(&self, index: u64) -> Result<usize> {
        let position = {
            let positions = self.positions.lock();
            let at = index.checked_sub(positions.first_index).context("an entry that went")?;
            *positions.of.get(at as usize).with_context(|| format!("no entry {index}"))?
        };
        let mut chunk = self.wal.read_at(position)?;
        let mut data = Vec::with_capacity(chunk.chunk_length() as usize);
        chunk.read_to_end(&mut data)?;
        ensure!(chunk.crc_is_valid()?, "the checksum of entry {index}");
        Ok(black_box(data).len())
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        range.map(|index| Ok(self.read(index)? as u64)).sum()
    }

    fn truncate_tail(&self, _first_removed: u64) -> Result<()> {
        bail!("okaywal truncates no tail")
    }

    fn truncate_head(&self, _last_removed: u64) -> Result<()> {
        bail!("okaywal truncates no head")
    }

    fn forget_all(&self, last: u64) -> Result<()> {
        self.wal.checkpoint_active()?;
        *self.positions.lock() = Positions { first_index: last + 1, of: Vec::new() };
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.wal.shutdown()?)
    }
}
