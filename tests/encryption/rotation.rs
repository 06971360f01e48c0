//! Keys that change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use raft_journal::{Error, Key, KeyFault, KeyProvider, KeyRing, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};
use crate::{closed, fault, key, open, ring};

/// Every key there is, one of them current.
struct Turning(AtomicU32);

impl KeyProvider for Turning {
    fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn key(&self, id: u32) -> Option<Key> {
        Some(key(id as u8))
    }
}

/// Key 1, and a current one that comes later.
struct Late(AtomicU32);

impl KeyProvider for Late {
    fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn key(&self, id: u32) -> Option<Key> {
        (id == 1).then(|| key(1))
    }
}

/// Key 1, asked once too often.
struct Panicking(AtomicU32);

impl KeyProvider for Panicking {
    fn current(&self) -> u32 {
        1
    }

    fn key(&self, id: u32) -> Option<Key> {
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
        assert_ne!(before, Ok(1), "a provider that panics");
        (id == 1).then(|| key(1))
    }
}

fn both(current: u32) -> KeyRing {
    KeyRing::new(current, key(current as u8)).with(3 - current, key(3 - current as u8))
}

#[test]
fn new_files_take_the_current_key_and_old_ones_stay_readable() {
    on_both(|disk| {
        let (one, two) = (entries(1..=60, 1), entries(61..=120, 2));
        let journal = open(disk, ring(1)).unwrap();
        append_each(&journal, &one);
        journal.set(b"vote", b"me").unwrap();
        let before = journal.segments_by_key();
        assert_eq!(before.keys().copied().collect::<Vec<_>>(), [1]);
        journal.close().unwrap();
        let journal = open(disk, both(2)).unwrap();
        append_each(&journal, &two);
        assert_eq!(log(&journal), [one, two].concat());
        let count = journal.segments_by_key();
        assert!(count[&1] <= before[&1] && count[&2] > 2, "{count:?}");
        journal.close().unwrap();
        // The old key is still needed, and so is the new one.
        let first = disk.chain()[0].clone();
        assert_eq!(fault(open(disk, ring(2))), (1, KeyFault::Unknown, first.clone()));
        assert_eq!(fault(open(disk, ring(2).with(1, key(9)))), (1, KeyFault::Wrong, first));
        assert_eq!(fault(open(disk, ring(1))), (2, KeyFault::Unknown, "meta".to_owned()));
        // Until no file is left that it opens.
        let journal = open(disk, both(2)).unwrap();
        journal.truncate_head(Position::new(100, 2)).unwrap();
        assert_eq!(journal.segments_by_key().keys().copied().collect::<Vec<_>>(), [2]);
        journal.close().unwrap();
        let journal = open(disk, ring(2)).unwrap();
        assert_eq!(log(&journal), entries(101..=120, 2));
        assert_eq!(journal.get(b"vote").unwrap().unwrap(), "me");
    });
}

#[test]
fn a_key_that_changes_while_the_journal_is_open_is_taken_by_the_next_file() {
    let disk = Disk::simulated();
    let keys = Arc::new(Turning(AtomicU32::new(1)));
    let journal = disk.options().encryption(Arc::clone(&keys) as _).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=40, 1));
    // Half way through a file its successor is there, made under the key of then.
    let before = journal.segments_by_key()[&1];
    keys.0.store(2, Ordering::Relaxed);
    append_each(&journal, &entries(41..=100, 1));
    let count = journal.segments_by_key();
    assert_eq!((count[&1], count.len()), (before, 2), "{count:?}");
    journal.set(b"vote", b"me").unwrap();
    journal.close().unwrap();
    assert_eq!(log(&open(&disk, both(2)).unwrap()), entries(1..=100, 1));
}

#[test]
fn what_was_rewritten_needs_the_current_key_alone() {
    on_both(|disk| {
        for (purged, emptied) in [(None, false), (Some(30), false), (Some(70), true)] {
            let disk = disk.beside(&format!("journal-{purged:?}"));
            let journal = open(&disk, ring(1)).unwrap();
            append_each(&journal, &entries(3..=70, 1));
            purged.iter().for_each(|&index| journal.truncate_head(Position::new(index, 1)).unwrap());
            journal.set(b"vote", b"me").unwrap();
            journal.close().unwrap();
            let kept = if emptied { Vec::new() } else { entries(purged.map_or(3, |index| index + 1)..=70, 1) };

            let journal = open(&disk, both(2)).unwrap();
            let state = journal.state();
            journal.rewrite().unwrap();
            assert_eq!((journal.state(), log(&journal)), (state, kept.clone()));
            assert_eq!(journal.segments_by_key(), BTreeMap::from([(2, 1)]));
            let killed = disk.killed();
            assert_eq!(log(&open(&killed, ring(2)).unwrap()), kept);

            append_each(&journal, &entries(71..=80, 2));
            journal.truncate_tail(79).unwrap();
            journal.close().unwrap();
            let journal = open(&disk, ring(2)).unwrap();
            assert_eq!(log(&journal), [kept, entries(71..=78, 2)].concat());
            assert_eq!(journal.get(b"vote").unwrap().unwrap(), "me");
            assert_eq!(journal.state().purged, purged.map(|index| Position::new(index, 1)));
            assert!(journal.recovery_report().damaged.is_empty());
        }
    });
}

#[test]
fn a_provider_without_its_current_key_fails_what_needs_it_and_nothing_else() {
    let disk = Disk::simulated();
    let keys = Arc::new(Late(AtomicU32::new(1)));
    let journal = disk.options().encryption(Arc::clone(&keys) as _).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=5, 1));
    journal.set(b"vote", b"me").unwrap();
    keys.0.store(2, Ordering::Relaxed);
    assert_eq!(fault(journal.set(b"vote", b"you")).1, KeyFault::Unknown);
    let failed = (6..=100).map(|index| journal.append(&entries(index..=index, 1))).find(|result| result.is_err());
    assert_eq!(fault(failed.unwrap()).1, KeyFault::Unknown);
    let next = journal.state().next_index().unwrap();
    assert!(next > 10, "there was room in the file for more");
    keys.0.store(1, Ordering::Relaxed);
    assert_eq!(journal.get(b"vote").unwrap().unwrap(), "me");
    append_each(&journal, &entries(next..=next + 20, 1));
    journal.set(b"vote", b"them").unwrap();
    journal.close().unwrap();
    let journal = open(&disk, ring(1)).unwrap();
    assert_eq!(log(&journal), entries(1..=next + 20, 1));
    let counts: BTreeMap<u32, usize> = journal.segments_by_key();
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1]);
}

// Guards: without the current key a checkpoint failed when the older one in its place was gone, and an open of a checkpoint when
// it was none any more.
#[test]
fn without_its_current_key_a_checkpoint_stays_what_it_was() {
    on_both(|disk| {
        let keys = Arc::new(Late(AtomicU32::new(1)));
        let of = |disk: &Disk| disk.options().encryption(Arc::clone(&keys) as _);
        let journal = of(disk).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=50, 1));
        let copy = disk.beside("copy");
        journal.checkpoint(&copy.dir).unwrap();
        append_each(&journal, &entries(51..=60, 1));
        keys.0.store(2, Ordering::Relaxed);
        let before = copy.contents();
        assert_eq!(fault(journal.checkpoint(&copy.dir)).1, KeyFault::Unknown);
        assert_eq!(fault(of(&copy).open(&copy.dir)).1, KeyFault::Unknown);
        assert!(copy.contents() == before);
        let fresh = disk.beside("fresh");
        assert_eq!(fault(journal.checkpoint(&fresh.dir)).1, KeyFault::Unknown);
        keys.0.store(1, Ordering::Relaxed);
        assert!(journal.checkpoint(&copy.dir).unwrap().kept > 0);
        assert_eq!(log(&open(&copy, ring(1)).unwrap()), entries(1..=60, 1));
    });
}

#[test]
fn a_log_with_a_lost_entry_is_not_rewritten() {
    let disk = closed(&entries(1..=60, 1));
    // The end of the first file's first entry: its tag.
    let name = disk.chain()[0].clone();
    disk.flip(&name, 512 + 72 + 20 + 300 + 28 - 1);
    let journal = open(&disk, both(2)).unwrap();
    let before = journal.segments_by_key();
    assert!(matches!(journal.rewrite(), Err(Error::Damaged(damage)) if damage.indexes.contains(1)));
    assert_eq!(journal.segments_by_key(), before);
    assert_eq!(journal.entries(2..61, u64::MAX).unwrap(), entries(2..=60, 1));
    journal.truncate_head(Position::new(1, 1)).unwrap();
    journal.rewrite().unwrap();
    journal.close().unwrap();
    assert_eq!(log(&open(&disk, ring(2)).unwrap()), entries(2..=60, 1));
}

// Guards: a file that a panic kept from being made was waited for by everybody who came later.
#[test]
fn a_provider_that_panics_strands_nobody() {
    for at in 1..12 {
        let disk = Disk::simulated();
        let keys = Arc::new(Panicking(AtomicU32::new(0)));
        let journal = disk.options().encryption(Arc::clone(&keys) as _).open(&disk.dir).unwrap();
        keys.0.store(at, Ordering::Relaxed);
        let mut panics = 0;
        while journal.state().last_index() < Some(200) {
            let next = journal.state().next_index().unwrap_or(1);
            let append = || journal.append(&entries(next..=next + 4, 1)).unwrap();
            panics += u32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(append)).is_err());
        }
        assert_eq!(panics, u32::from(keys.0.load(Ordering::Relaxed) == 0), "{at}");
        journal.close().unwrap();
        let journal = open(&disk, ring(1)).unwrap();
        let held = log(&journal);
        assert_eq!(held, entries(1..=held.len() as u64, 1));
    }
}
