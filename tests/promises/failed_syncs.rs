//! Promise 5: after a failed sync, what counts is what the disk holds.

use std::io::ErrorKind;

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Error, LogStore, StableStore};

use crate::common::{Disk, entries, entry, log};
use crate::history::Model;

#[test]
fn recovery_after_a_failed_sync_reads_the_disk_and_not_the_page_cache() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    assert!(matches!(journal.append(&entries(4..=6, 1)), Err(Error::Poisoned { .. })));
    let next = disk.killed();
    let (name, at) = next.find(&entry(4, 1, 300).data);
    let on_disk = next.sim().read_synced(next.path(&name)).unwrap();
    assert!(on_disk[at..at + 300].iter().all(|&byte| byte == 0), "the cache shows what the disk does not hold");
    let journal = next.open();
    assert_eq!(log(&journal), entries(1..=3, 1));
    journal.append(&entries(4..=4, 2)).unwrap();
    let cut = next.after_power_cut(Survival::Nothing);
    assert_eq!(log(&cut.open()), [entries(1..=3, 1), entries(4..=4, 2)].concat());
}

// Promise 5, for whatever part of it a failed sync did write.
#[test]
fn what_a_failed_sync_left_is_whole_or_gone_and_stays_so() {
    for seed in 0..100 {
        let disk = Disk::simulated();
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"vote", 1).unwrap();
        disk.sim().set_failed_syncs_leave(Survival::Random(seed));
        disk.sim().inject(Fault::new(OperationKind::Sync, ErrorKind::Other));
        if seed % 2 == 0 {
            assert!(matches!(journal.append(&entries(4..=6, 1)), Err(Error::Poisoned { .. })));
        } else {
            assert!(matches!(journal.set_u64(b"vote", 2), Err(Error::Poisoned { .. })));
        }
        let next = disk.killed();
        let found = Model::of(&next.open());
        let log = &found.log.entries;
        assert!([entries(1..=3, 1), entries(1..=6, 1)].contains(log), "seed {seed}: {log:?}");
        assert!([Some(1), Some(2)].contains(&found.vote), "seed {seed}");
        let cut = next.after_power_cut(Survival::Nothing);
        assert_eq!(Model::of(&cut.open()), found, "seed {seed}: what was found once is there for good");
    }
}
