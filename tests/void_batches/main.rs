//! Damage at rest beside what earlier lives left behind: batches that a recovery cut, and losses that were healed, are
//! no evidence of anything that came later.

#[path = "../common/mod.rs"]
mod common;
mod losses;
mod shown;

use std::io::ErrorKind;

use common::{DATA_AT, Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, log};
use raft_journal::io::sim::{Fault, Kinds, OperationKind};
use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, OnDamage, Position, StableStore};

/// Where the header of the batch stands whose first entry has this payload, and a byte of it that says something.
fn spoil_header(disk: &Disk, payload: &[u8]) {
    let (name, at) = disk.find(payload);
    disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
}

fn spoil_payload(disk: &Disk, payload: &[u8]) {
    let (name, at) = disk.find(payload);
    disk.flip(&name, at + 50);
}

/// A batch of one entry as it stands in its file, to be shown again where the write over it never happened.
struct Shown {
    name: String,
    at: std::ops::Range<usize>,
    bytes: Vec<u8>,
}

impl Shown {
    fn of(disk: &Disk, entry: &Entry) -> Shown {
        let (name, at) = disk.find(&entry.data);
        Shown::within(disk, name, at - FIRST_PAYLOAD_AT..at + entry.data.len())
    }

    fn within(disk: &Disk, name: String, at: std::ops::Range<usize>) -> Shown {
        let bytes = disk.bytes(&name)[at.clone()].to_vec();
        Shown { name, at, bytes }
    }

    fn on(&self, disk: &Disk) {
        let mut bytes = disk.bytes(&self.name);
        bytes[self.at.clone()].copy_from_slice(&self.bytes);
        disk.put(&self.name, &bytes);
    }
}

/// The disk of a journal of entries 1 and 2, the second one torn, and how that one's batch stood.
fn cut_after_one() -> (Disk, Shown) {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&[entry(1, 1, 50)]).unwrap();
    drop(journal.append_pending(&[entry(2, 1, 300)]).unwrap());
    let disk = disk.killed();
    let shown = Shown::of(&disk, &entry(2, 1, 300));
    spoil_payload(&disk, &entry(2, 1, 300).data);
    (disk, shown)
}

/// The disk of a journal of two files whose last batch, of `bytes` of payload, is torn; how that one stood, and its index.
fn cut_in_a_second_file(bytes: usize) -> (Disk, Shown, u64) {
    let disk = Disk::simulated();
    let journal = disk.open();
    let mut next = 1;
    while disk.chain().len() < 2 {
        journal.append(&[entry(next, 1, 300)]).unwrap();
        next += 1;
    }
    let cut = entry(next, 1, bytes);
    drop(journal.append_pending(std::slice::from_ref(&cut)).unwrap());
    let disk = disk.killed();
    let shown = Shown::of(&disk, &cut);
    spoil_payload(&disk, &cut.data);
    (disk, shown, next)
}

/// What an open says that refuses damage: the indexes of the loss.
fn refused(disk: &Disk) -> (u64, Option<u64>) {
    match disk.try_open() {
        Err(Error::Damaged(damage)) => {
            assert_eq!(damage.why, DamageKind::Checksum, "{damage}");
            (damage.indexes.first, damage.indexes.end)
        }
        opened => panic!("{:?}", opened.map(|journal| (log(&journal), journal.recovery_report().clone()))),
    }
}

/// What only a walk along the batches sees, life after life: the journal is killed each time. Each open must do without
/// accepting anything; returns the last one's disk.
fn opens_for_lives(mut disk: Disk, lives: usize, judge: impl Fn(&Journal)) -> Disk {
    for _ in 0..lives {
        let journal = disk.open();
        judge(&journal);
        disk = disk.killed();
    }
    disk
}

fn is_damaged(journal: &Journal, index: u64) -> bool {
    matches!(journal.entry(index), Err(Error::Damaged(_)))
}

/// A journal of entry 1 that lost power behind two batches which nobody waited for: the first of them is torn, so both are
/// cut, but the second is on the disk.
fn cut_before(second: impl Fn(&Journal)) -> Disk {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&[entry(1, 1, 50)]).unwrap();
    drop(journal.append_pending(&[entry(2, 1, 3000)]).unwrap());
    second(&journal);
    let disk = disk.killed();
    spoil_payload(&disk, &entry(2, 1, 3000).data);
    let journal = disk.open();
    assert_eq!(log(&journal), [entry(1, 1, 50)]);
    assert!(journal.recovery_report().torn.is_some());
    disk.killed()
}

/// A journal in which entries from 2 on were cut, each a batch, other ones were acknowledged in their place, one by one, and a
/// further life began; of the write of the first of these, what covered the bytes of those never happened.
fn cut_shown_again(cut: &[Entry], acknowledged: &[Entry], go_on: impl Fn(&Journal)) -> Disk {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&[entry(1, 1, 50)]).unwrap();
    cut.iter().for_each(|entry| drop(journal.append_pending(std::slice::from_ref(entry)).unwrap()));
    let disk = disk.killed();
    let (name, first) = disk.find(&cut[0].data);
    let (_, last) = disk.find(&cut[cut.len() - 1].data);
    let end = last + cut[cut.len() - 1].data.len();
    let at = first - FIRST_PAYLOAD_AT..end.min(first + acknowledged[0].data.len());
    let shown = Shown::within(&disk, name, at);
    spoil_payload(&disk, &cut[0].data);
    let journal = disk.open();
    assert_eq!(log(&journal), [entry(1, 1, 50)]);
    acknowledged.iter().for_each(|entry| _ = journal.append(std::slice::from_ref(entry)).unwrap());
    let disk = disk.killed();
    let journal = disk.open();
    go_on(&journal);
    let disk = disk.killed();
    shown.on(&disk);
    disk
}
