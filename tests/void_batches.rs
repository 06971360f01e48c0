//! Damage at rest beside what earlier lives left behind: batches that a recovery cut, and losses that were healed, are
//! no evidence of anything that came later.

mod common;

use std::io::ErrorKind;

use common::{Disk, FIRST_PAYLOAD_AT, entries, entry, log};
use raft_journal::io::sim::{Fault, Kinds, OperationKind};
use raft_journal::{DamageKind, Entry, Error, Journal, LogStore, StableStore};

/// Where the header of the batch stands whose first entry has this payload, and a byte of it that says something.
fn spoil_header(disk: &Disk, payload: &[u8]) {
    let (name, at) = disk.find(payload);
    disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
}

fn spoil_payload(disk: &Disk, payload: &[u8]) {
    let (name, at) = disk.find(payload);
    disk.flip(&name, at + 50);
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

// Guards: a batch that a recovery cut was taken for what follows a later one, acknowledged and damaged: it replaced the
// entry that was lost, which therefore seemed to be no loss.
#[test]
fn a_batch_that_was_cut_does_not_stand_behind_one_that_came_later() {
    let seconds: [fn(&Journal); 3] = [
        |journal| drop(journal.replace_tail_pending(&[entry(2, 2, 300)]).unwrap()),
        |journal| drop(journal.append_pending(&[entry(3, 1, 300)]).unwrap()),
        |journal| drop(journal.append_pending(&entries(3..=9, 1)).unwrap()),
    ];
    for second in seconds {
        for later in [1, 8] {
            let disk = cut_before(second);
            let journal = disk.open();
            let acknowledged: Vec<_> = (2..2 + later).map(|index| entry(index, 3, 200)).collect();
            journal.append(&acknowledged).unwrap();
            journal.set_u64(b"term", 3).unwrap();
            let disk = disk.killed();
            spoil_header(&disk, &acknowledged[0].data);
            assert_eq!(refused(&disk), (2, Some(2 + later)));
            let journal = disk.open_accepting();
            assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 50));
            assert_eq!(journal.state().next_index(), Some(2 + later));
            for index in 2..2 + later {
                assert!(matches!(journal.entry(index), Err(Error::Damaged(_))));
            }
            journal.repair(&acknowledged).unwrap();
            drop(journal);
            let journal = disk.killed().open();
            assert_eq!(log(&journal), [vec![entry(1, 1, 50)], acknowledged].concat());
        }
    }
}

// Guards: an append was refused for lack of space where all that was missing of it was zeros, which were there; the next
// batch went to the same place, and power failed during its sync: its sectors showed what they had held before.
#[test]
fn an_append_that_was_refused_does_not_come_back_when_the_next_one_is_torn() {
    for (aligned, bytes) in [(false, 400), (true, 400), (false, 72), (false, 30)] {
        let disk = Disk::simulated();
        let journal = disk.options().align_4k(aligned).segment_bytes(64 << 10).open(&disk.dir).unwrap();
        journal.append(&[entry(1, 1, 50)]).unwrap();
        let refused = [Entry::new(2, 1, vec![0; 600]), Entry::new(2, 1, [vec![7; 300], vec![0; 300]].concat())];
        for (number, refused) in refused.iter().enumerate() {
            disk.sim().inject(Fault::short(OperationKind::Write, bytes));
            disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).nth(1));
            assert!(matches!(journal.append(std::slice::from_ref(refused)), Err(Error::NoSpace { .. })), "{number}");
            assert_eq!(disk.sim().faults_left(), 0);
        }
        assert_eq!(log(&journal), [entry(1, 1, 50)]);
        let next = entry(2, 1, 700);
        drop(journal.append_pending(std::slice::from_ref(&next)).unwrap());
        let mut found = 0;
        for state in disk.sim().crash_states(Kinds::All).take(20_000) {
            let journal = disk.options().file_system(std::sync::Arc::new(state)).open(&disk.dir).unwrap();
            let entries = log(&journal);
            assert!(entries == [entry(1, 1, 50)] || entries == [entry(1, 1, 50), next.clone()], "{entries:?}");
            found += entries.len() - 1;
        }
        assert!(found > 0);
        journal.append(&[entry(3, 1, 10)]).unwrap();
        let journal = disk.killed().open();
        assert_eq!(log(&journal), [entry(1, 1, 50), next, entry(3, 1, 10)]);
        assert!(journal.recovery_report().damaged.is_empty());
    }
}
