//! redb: a key-value store with transactions, copy on write.

use std::hint::black_box;
use std::ops::{Range, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use crate::contestant::{Ability, Append, Contestant, Log, Tuning, When};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// redb 4.
pub struct Redb;

impl Contestant for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn setting(&self) -> &'static str {
        "4.6. `Durability::Immediate` (W4: `None`), one transaction for each batch and each read, its own cache at \
         its default, 1 GiB; no quick repair, which makes opening after a crash quick and every commit slow. Entries are values of their index"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::SmallFiles => Some("has one file"),
            Ability::ReadBeyondIndexCache => Some("has one cache for its index and its values"),
            Ability::ReopenWaited => Some("does the same whether an append was waited for or not"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, _tuning: &Tuning) -> Result<Box<dyn Log>> {
        let database = Database::create(dir.join("redb"))?;
        let log = RedbLog { database, next: AtomicU64::new(1) };
        // So that the table is there for those who read first.
        log.change(Durability::Immediate, |_| Ok(()))?;
        Ok(Box::new(log))
    }
}

type Table<'a> = redb::Table<'a, u64, &'static [u8]>;

struct RedbLog {
    database: Database,
    /// The next index of W3.
    next: AtomicU64,
}

impl RedbLog {
    fn change(&self, durability: Durability, change: impl FnOnce(&mut Table<'_>) -> Result<()>) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        change(&mut transaction.open_table(LOG)?)?;
        Ok(transaction.commit()?)
    }

    fn remove(&self, range: impl RangeBounds<u64>) -> Result<()> {
        self.change(Durability::Immediate, |table| Ok(table.retain_in(range, |_, _| false)?))
    }
}

impl Log for RedbLog {
    fn prepare<'a>(&'a self, first_index: u64, payloads: Vec<Bytes>, when: When) -> Result<Append<'a>> {
        let durability = if when == When::Durable { Durability::Immediate } else { Durability::None };
        Ok(Box::new(move || {
            self.change(durability, |table| {
                for (index, payload) in (first_index..).zip(&payloads) {
                    table.insert(index, &payload[..])?;
                }
                Ok(())
            })
        }))
    }

    fn append_shared(&self, _thread: usize, payload: &Bytes) -> Result<()> {
        // There is one writer at a time: who is in here may choose the index.
        self.change(Durability::Immediate, |table| {
            table.insert(self.next.fetch_add(1, Ordering::Relaxed), &payload[..])?;
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.change(Durability::Immediate, |_| Ok(()))
    }

    fn read(&self, index: u64) -> Result<usize> {
        let table = self.database.begin_read()?.open_table(LOG)?;
        let value = table.get(index)?.with_context(|| format!("no entry {index}"))?;
        Ok(black_box(value.value().to_vec()).len())
    }

    fn scan(&self, range: Range<u64>) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(LOG)?;
        let mut bytes = 0;
        for entry in table.range(range)? {
            bytes += black_box(entry?.1.value().to_vec()).len() as u64;
        }
        Ok(bytes)
    }

    fn truncate_tail(&self, first_removed: u64) -> Result<()> {
        self.remove(first_removed..)
    }

    fn truncate_head(&self, last_removed: u64) -> Result<()> {
        self.remove(..=last_removed)
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self.database);
        Ok(())
    }
}
