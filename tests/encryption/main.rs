//! Encrypted journals: what the disk shows, which keys open them, and what is made of files that were changed on purpose.

#![cfg(feature = "encryption")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pass_on.rs"]
mod pass_on;
// Histories with power cuts, and the model that they agree with.
#[allow(dead_code)]
#[path = "../crash/generate.rs"]
mod generate;
#[allow(dead_code)]
#[path = "../crash/history.rs"]
mod history;
#[allow(dead_code)]
#[path = "../crash/model.rs"]
mod model;

mod forge;
mod forged;
mod hidden;
mod keys;
mod nonces;
mod recorder;
mod repaired;
mod rotation;

use std::sync::Arc;

use common::{Disk, append_each};
use raft_journal::{Entry, Error, Journal, Key, KeyFault, KeyRing, OpenOptions, Result};

/// A key for tests.
pub fn key(number: u8) -> Key {
    Key::new([number; 32])
}

/// A ring with one key.
pub fn ring(id: u32) -> KeyRing {
    KeyRing::new(id, key(id as u8))
}

/// How an encrypted journal is opened.
pub fn options(disk: &Disk, keys: KeyRing) -> OpenOptions {
    disk.options().tail_cache_bytes(0).encryption(Arc::new(keys))
}

/// A simulated disk with a journal of these entries, an append each, that was closed in order.
pub fn closed(entries: &[Entry]) -> Disk {
    let disk = Disk::simulated();
    let journal = open(&disk, ring(1)).unwrap();
    append_each(&journal, entries);
    journal.close().unwrap();
    disk
}

pub fn open(disk: &Disk, keys: KeyRing) -> Result<Journal> {
    options(disk, keys).open(&disk.dir)
}

/// The id and the fault of an error about keys, and the name of the file.
pub fn fault<T: std::fmt::Debug>(result: Result<T>) -> (u32, KeyFault, String) {
    match result {
        Err(Error::Key { path, key_id, fault }) => {
            (key_id, fault, path.file_name().unwrap().to_str().unwrap().to_owned())
        }
        other => panic!("no error about keys: {other:?}"),
    }
}
