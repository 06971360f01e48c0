//! A repair that power loss, or a failing disk, interrupts: nothing of it, or all of it.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{Entry, Error, FaultCause, Journal, LogStore, OnDamage, Position, StableStore, VerifyOptions};

use crate::common::{Disk, FIRST_PAYLOAD_AT, append_each, entries, log};

/// Places where a journal is damaged.
const PLACES: [&str; 4] = ["payload, sealed", "payload, active", "header, active", "file"];

/// What the journals of this page hold, from entry 4 on.
fn held() -> Vec<Entry> {
    [entries(1..=30, 1), entries(31..=60, 2)].concat()
}

/// A journal on a disk of its own that is damaged in one place, and the entries that this cost.
fn wounded(place: &str) -> (Disk, Vec<Entry>) {
    let held = held();
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &held[..57]);
    journal.truncate_head(Position::new(3, 1)).unwrap();
    journal.append(&held[57..]).unwrap();
    // A commit proves all that came before it.
    journal.set_u64(b"term", 2).unwrap();
    let disk = disk.after_power_cut(Survival::Nothing);
    let flip = |index: u64, by: isize| {
        let (name, at) = disk.find(&held[index as usize - 1].data);
        disk.flip(&name, at.checked_add_signed(by).unwrap());
    };
    let lost = match place {
        "payload, sealed" => {
            flip(9, 50);
            flip(10, 50);
            9..=10
        }
        "payload, active" => {
            flip(59, 50);
            59..=59
        }
        "header, active" => {
            flip(58, 30 - FIRST_PAYLOAD_AT as isize);
            58..=60
        }
        _ => {
            let names = disk.chain();
            disk.remove(&names[names.len() - 2]);
            4..=40
        }
    };
    (disk, held.into_iter().filter(|entry| lost.contains(&entry.index)).collect())
}

fn open(disk: &Disk) -> Journal {
    // Nothing in memory: what is read is on the disk.
    disk.options().on_damage(OnDamage::Accept).tail_cache_bytes(0).open(&disk.dir).unwrap()
}

/// Reads all that must be there, right or damaged; says how many entries are damaged.
fn read(journal: &Journal) -> usize {
    let held = held();
    let next = journal.state().next_index().unwrap();
    let damaged = |index: &u64| match journal.entry(*index) {
        Ok(found) => {
            assert_eq!(found, held[*index as usize - 1], "a wrong entry {index}");
            false
        }
        Err(Error::Damaged(_)) => true,
        Err(error) => panic!("entry {index}: {error}"),
    };
    (4..next).filter(damaged).count()
}

/// What is left is put back, and everything is there.
fn heal(disk: &Disk, journal: &Journal) {
    for damage in journal.damaged() {
        let fetched: Vec<Entry> = held().into_iter().filter(|entry| damage.indexes.contains(entry.index)).collect();
        journal.repair(&fetched).unwrap();
    }
    assert_whole(journal);
    disk.stopped().iter().for_each(|stopped| assert_whole(&stopped.open()));
}

fn assert_whole(journal: &Journal) {
    assert_eq!(journal.damaged(), []);
    assert_eq!(journal.state().last, Some(Position::new(60, 2)));
    assert!(log(journal) == held()[3..], "not what it was: {:?}", journal.state());
}

#[test]
fn every_power_cut_of_a_repair_leaves_it_undone_or_done() {
    let mut cuts = 0;
    for place in PLACES {
        let (mut before, mut after) = (0, 0);
        for cut in 0.. {
            let (disk, lost) = wounded(place);
            let journal = open(&disk);
            let damaged = read(&journal);
            assert!(damaged >= lost.len(), "{place}: {damaged}");
            let lost: Vec<Entry> = lost.into_iter().filter(|entry| journal.entry(entry.index).is_err()).collect();
            disk.sim().cut_power_at(disk.sim().mutations() + cut);
            let result = journal.repair(&lost);
            let done = result.is_ok();
            if !disk.sim().is_power_off() {
                result.unwrap();
                disk.sim().cut_power();
            }
            let survivals = [Survival::Nothing, Survival::Everything, Survival::OldOrNew(cut)];
            for survival in survivals.into_iter().chain((0..6).map(|seed| Survival::Random(cut * 6 + seed))) {
                let crashed = disk.after_power_cut(survival);
                let reopened = open(&crashed);
                let found = read(&reopened);
                let undone = !done && found == damaged;
                assert!(
                    undone || found == damaged - lost.len(),
                    "{place}, cut {cut}, {survival:?}: {found} of {damaged}"
                );
                before += usize::from(undone);
                after += usize::from(!undone);
                heal(&crashed, &reopened);
                // A file that was not named is gone, its room is given back.
                let files = crashed.names().iter().filter(|name| name.ends_with(".rep")).count();
                assert!(files <= 2, "{:?}", crashed.names());
            }
            cuts += 1;
            if done {
                break;
            }
        }
        assert!(before > 0 && after > 0, "{place}: {before} undone, {after} done");
    }
    assert!(cuts > 30, "{cuts}");
}

#[test]
fn a_crash_inside_the_open_behind_a_repair_takes_nothing_of_it_back() {
    for place in PLACES {
        for cut in 0.. {
            let (disk, _) = wounded(place);
            let journal = open(&disk);
            read(&journal);
            heal(&disk, &journal);
            let crashed = disk.after_power_cut(Survival::Random(cut));
            crashed.sim().cut_power_at(cut);
            let opened = crashed.try_open();
            if !crashed.sim().is_power_off() {
                opened.unwrap();
                break;
            }
            let again = crashed.after_power_cut(Survival::Random(cut + 7));
            let journal = again.open();
            assert_whole(&journal);
        }
    }
}

#[test]
fn a_disk_that_fails_in_a_repair_leaves_it_undone_or_the_journal_to_be_opened_again() {
    use OperationKind::{Allocate, Create, Rename, Sync, SyncDirectory, Write};
    let mut failed = 0;
    for kind in [Create, Allocate, Write, Sync, Rename, SyncDirectory] {
        for error in [ErrorKind::Other, ErrorKind::StorageFull] {
            for nth in 0.. {
                let (disk, lost) = wounded("payload, sealed");
                let journal = open(&disk);
                let damaged = read(&journal);
                disk.sim().inject(Fault::new(kind, error).nth(nth));
                let result = journal.repair(&lost);
                let struck = disk.sim().faults_left() == 0;
                disk.sim().clear_faults();
                if !struck {
                    result.unwrap();
                    break;
                }
                failed += 1;
                match result {
                    Ok(()) => panic!("{kind:?} {nth} failed and nobody noticed"),
                    Err(Error::Poisoned { .. }) => {
                        let reopened = open(&disk.killed());
                        assert!([damaged, damaged - lost.len()].contains(&read(&reopened)), "{kind:?} {nth}");
                        let crashed = disk.after_power_cut(Survival::Nothing);
                        let journal = open(&crashed);
                        read(&journal);
                        heal(&crashed, &journal);
                    }
                    Err(Error::Io { .. } | Error::NoSpace { .. }) => {
                        assert_eq!(read(&journal), damaged);
                        assert!(disk.names().iter().all(|name| !name.contains(".rep")), "{:?}", disk.names());
                        // Nothing stands in the way of another try.
                        heal(&disk, &journal);
                    }
                    Err(error) => panic!("{kind:?} {nth}: {error:?}"),
                }
            }
        }
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn a_file_that_cannot_be_read_is_not_a_damaged_one() {
    let (disk, lost) = wounded("payload, sealed");
    let journal = open(&disk);
    read(&journal);
    journal.repair(&lost).unwrap();
    disk.sim().inject(Fault::new(OperationKind::Read, ErrorKind::Other).in_path(".rep"));
    assert!(matches!(journal.entry(9), Err(Error::Io { .. })));
    assert_eq!(journal.entry(9).unwrap(), lost[0]);
    drop(journal);
    let killed = disk.killed();
    killed.sim().inject(Fault::new(OperationKind::Read, ErrorKind::Other).in_path(".rep"));
    assert!(matches!(killed.options().on_damage(OnDamage::Accept).open(&killed.dir), Err(Error::Io { .. })));
    assert_eq!(log(&killed.open()), held()[3..]);
}

// Guards: what was put back and could not be read was told as damage of the segment, or not at all.
#[test]
fn verify_tells_of_a_repair_file_that_cannot_be_read() {
    for place in ["payload, sealed", "payload, active"] {
        let (disk, lost) = wounded(place);
        let journal = open(&disk);
        read(&journal);
        journal.repair(&lost).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Read, ErrorKind::Other).in_path(".rep").always());
        let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
        let (unread, others): (Vec<_>, Vec<_>) =
            report.losses().partition(|fault| matches!(fault.cause, FaultCause::Unreadable(_)));
        let named = |entry: &Entry| unread.iter().any(|fault| fault.indexes.unwrap().contains(entry.index));
        assert!(lost.iter().all(named) && others.is_empty(), "{place}: {report:#?}");
        disk.sim().clear_faults();
        assert_eq!(log(&journal), held()[3..]);
    }
}
