//! Single calls, right and wrong ones, on both disks.

use raft_journal::adapters::replica::{InitStatus, PositionName, ReplicaError, ReplicaLog};
use raft_journal::{Changes, Error, LogStore, Position, StableStore};

use crate::common::{Disk, entries, entry, log as held, on_both};
use crate::{append, begin, open};

const APPLIED: PositionName = PositionName::Applied;
const SNAPSHOTTED: PositionName = PositionName::Snapshotted;

/// The error of a call that must write nothing.
fn refused<T: std::fmt::Debug>(disk: &Disk, call: impl FnOnce() -> Result<T, ReplicaError>) -> ReplicaError {
    let (files, mutations) = (disk.contents(), disk.sim.as_ref().map(|sim| sim.mutations()));
    let error = call().unwrap_err();
    assert_eq!(disk.sim.as_ref().map(|sim| sim.mutations()), mutations, "written in spite of: {error}");
    assert!(disk.contents() == files, "files changed in spite of: {error}");
    error
}

#[test]
fn a_log_is_unbootstrapped_until_it_is_bootstrapped() {
    on_both(|disk| {
        let log = open(disk);
        assert_eq!(log.init_status(0..0), InitStatus::Unbootstrapped);
        assert_eq!(log.init_status(4..9), InitStatus::NeedsBackfill);
        let status = InitStatus::Unbootstrapped;
        let is = |error: ReplicaError| matches!(error, ReplicaError::NotBootstrapped { status: s } if s == status);
        assert!(is(refused(disk, || log.append(&entries(1..=1, 1)).map(drop))));
        assert!(is(refused(disk, || log.set_committed(1))));
        assert!(is(refused(disk, || log.acknowledge(&APPLIED, 1))));
        assert!(is(refused(disk, || log.truncate_head(1))));
        assert!(is(refused(disk, || log.install_snapshot(Position::new(5, 1), Changes::new()))));
        log.bootstrap(Changes::new().set("membership", "1, 2, 3")).unwrap();
        assert_eq!(log.init_status(4..9), InitStatus::Bootstrapped);
        let again = refused(disk, || log.bootstrap(Changes::new()));
        assert!(matches!(again, ReplicaError::WrongStatus { call: "bootstrap", status: InitStatus::Bootstrapped }));
        drop(log);
        let log = open(disk);
        assert_eq!(log.init_status(0..0), InitStatus::Bootstrapped);
        assert_eq!(log.journal().get(b"membership").unwrap().as_deref(), Some(&b"1, 2, 3"[..]));
    });
}

#[test]
fn what_is_committed_cannot_be_changed() {
    on_both(|disk| {
        let log = begin(disk, 9);
        log.set_committed(5).unwrap();
        for index in [1, 4, 5] {
            let error = refused(disk, || log.append(&entries(index..=index, 2)).map(drop));
            assert!(matches!(error, ReplicaError::Committed { index: i, committed: 5 } if i == index), "{error:?}");
        }
        append(&log, &entries(6..=7, 2));
        assert_eq!(held(log.journal()), [entries(1..=5, 1), entries(6..=7, 2)].concat());
        append(&log, &entries(8..=8, 2));
        assert_eq!(log.append(&[]).unwrap().wait().unwrap(), Position::new(8, 2));
    });
}

#[test]
fn the_committed_position_neither_falls_nor_passes_the_log() {
    on_both(|disk| {
        let log = begin(disk, 9);
        let beyond = refused(disk, || log.set_committed(10));
        assert!(matches!(beyond, ReplicaError::CommittedBeyondLog { requested: 10, next: 10 }), "{beyond:?}");
        log.set_committed(5).unwrap();
        log.set_committed(5).unwrap();
        let fell = refused(disk, || log.set_committed(4));
        assert!(matches!(fell, ReplicaError::CommittedFell { committed: 5, requested: 4 }), "{fell:?}");
        assert_eq!(log.committed(), Some(5));
        assert_eq!(log.committed_entries(4, u64::MAX).unwrap(), entries(4..=5, 1));
        assert_eq!(log.committed_entries(4, 0).unwrap(), entries(4..=4, 1));
        assert_eq!(log.committed_entries(6, u64::MAX).unwrap(), []);
    });
}

#[test]
fn a_stored_committed_position_beyond_the_log_is_an_error() {
    on_both(|disk| {
        drop(begin(disk, 3));
        let journal = disk.open();
        journal.set_u64(b"replica.committed", 7).unwrap();
        // Of a clone: dropping the last handle would close the journal, which writes.
        let error = refused(disk, || ReplicaLog::open(journal.clone()));
        assert!(matches!(error, ReplicaError::CommittedBeyondLog { requested: 7, next: 4 }), "{error:?}");
    });
}

#[test]
fn a_value_that_another_program_wrote_is_an_error() {
    on_both(|disk| {
        drop(begin(disk, 3));
        let journal = disk.open();
        journal.set(b"replica.positions", b"?").unwrap();
        let error = refused(disk, || ReplicaLog::open(journal.clone()));
        assert!(matches!(error, ReplicaError::Undecodable { key: "replica.positions", .. }), "{error:?}");
    });
}

#[test]
fn the_lowest_position_holds_the_head() {
    on_both(|disk| {
        let log = begin(disk, 9);
        log.set_committed(8).unwrap();
        assert_eq!(log.low_water_mark(), None, "nobody has said anything yet");
        let error = refused(disk, || log.truncate_head(1));
        assert!(matches!(error, ReplicaError::Held { index: 1, position: None, .. }), "{error:?}");
        log.acknowledge(&APPLIED, 7).unwrap();
        log.acknowledge(&SNAPSHOTTED, 6).unwrap();
        assert_eq!(log.register("index").unwrap(), None);
        assert_eq!(log.low_water_mark(), None);
        let index = PositionName::consumer("index");
        log.acknowledge(&index, 4).unwrap();
        assert_eq!(log.low_water_mark(), Some(4));
        let error = refused(disk, || log.truncate_head(5));
        let ReplicaError::Held { index: 5, name, position: Some(4) } = &error else { panic!("{error:?}") };
        assert!(*name == index && error.to_string().contains("consumer \"index\" is at 4"), "{error}");
        log.truncate_head(3).unwrap();
        log.truncate_head(2).unwrap();
        assert_eq!(log.truncate_head_to_low_water_mark().unwrap(), Some(4));
        assert_eq!((log.term(4).unwrap(), log.journal().state().first_index()), (1, Some(5)));
        assert_eq!(log.register("late").unwrap(), Some(4), "it begins at what is left");
        assert_eq!(log.register("late").unwrap(), Some(4), "and stays where it is");
        log.unregister("index").unwrap();
        log.unregister("late").unwrap();
        assert_eq!(log.truncate_head_to_low_water_mark().unwrap(), Some(6));
    });
}

#[test]
fn positions_go_forward_up_to_what_is_committed() {
    on_both(|disk| {
        let log = begin(disk, 9);
        log.set_committed(5).unwrap();
        log.acknowledge(&APPLIED, 3).unwrap();
        log.acknowledge(&APPLIED, 3).unwrap();
        let fell = refused(disk, || log.acknowledge(&APPLIED, 2));
        assert!(matches!(fell, ReplicaError::PositionFell { position: 3, requested: 2, .. }), "{fell:?}");
        let beyond = refused(disk, || log.acknowledge(&SNAPSHOTTED, 6));
        assert!(matches!(beyond, ReplicaError::PositionBeyondCommitted { committed: Some(5), requested: 6, .. }));
        let unknown = refused(disk, || log.acknowledge(&PositionName::consumer("nobody"), 1));
        assert!(matches!(&unknown, ReplicaError::UnknownConsumer { name } if name == "nobody"), "{unknown:?}");
        assert!(matches!(refused(disk, || log.unregister("nobody")), ReplicaError::UnknownConsumer { .. }));
        for name in ["", &"n".repeat(65)] {
            assert!(matches!(refused(disk, || log.register(name)), ReplicaError::ConsumerName { .. }));
        }
        assert_eq!(log.position(&APPLIED).unwrap(), Some(3));
    });
}

#[test]
fn the_last_term_stays_known_when_all_is_purged() {
    on_both(|disk| {
        let log = begin(disk, 4);
        append(&log, &entries(5..=6, 3));
        log.set_committed(6).unwrap();
        log.acknowledge(&APPLIED, 6).unwrap();
        log.acknowledge(&SNAPSHOTTED, 6).unwrap();
        log.truncate_head_to_low_water_mark().unwrap();
        let look = |log: &ReplicaLog| {
            assert_eq!(held(log.journal()), []);
            assert_eq!((log.last(), log.term(6).unwrap()), (Some(Position::new(6, 3)), 3));
            assert!(matches!(log.term(5), Err(ReplicaError::Journal(Error::BeforeFirst { index: 5, first: 7 }))));
            assert_eq!((log.committed(), log.low_water_mark()), (Some(6), Some(6)));
        };
        look(&log);
        look(&open(&disk.killed()));
        drop(log);
        let log = open(disk);
        look(&log);
        append(&log, &[entry(7, 3, 9)]);
    });
}

#[test]
fn a_snapshot_moves_everything_up_in_one_step() {
    on_both(|disk| {
        let log = begin(disk, 6);
        log.set_committed(4).unwrap();
        log.register("behind").unwrap();
        let old = refused(disk, || log.install_snapshot(Position::new(4, 1), Changes::new()));
        assert!(matches!(old, ReplicaError::SnapshotOutOfDate { committed: 4, .. }), "{old:?}");
        let position = Position::new(40, 5);
        let behind = log.install_snapshot(position, Changes::new().set("membership", "1, 2")).unwrap();
        assert_eq!(behind, ["behind"]);
        let look = |log: &ReplicaLog| {
            assert_eq!((log.last(), log.committed(), log.low_water_mark()), (Some(position), Some(40), Some(40)));
            assert_eq!(log.journal().get(b"membership").unwrap().as_deref(), Some(&b"1, 2"[..]));
            assert!(log.positions().iter().all(|(_, at)| *at == Some(40)), "{:?}", log.positions());
        };
        look(&log);
        look(&open(&disk.killed()));
        append(&log, &entries(41..=45, 5));
        // One that agrees with the log leaves what is behind it.
        assert_eq!(log.install_snapshot(Position::new(43, 5), Changes::new()).unwrap(), ["behind"]);
        assert_eq!(held(log.journal()), entries(44..=45, 5));
    });
}

#[test]
fn changes_that_come_along_touch_nothing_of_the_module() {
    on_both(|disk| {
        let log = open(disk);
        let cases = [Changes::new().set("replica.committed", "1"), Changes::new().truncate_head(Position::new(1, 1))];
        for changes in cases {
            assert!(matches!(refused(disk, || log.bootstrap(changes)), ReplicaError::ReservedChanges));
        }
        assert_eq!(log.init_status(0..0), InitStatus::Unbootstrapped);
    });
}

#[test]
fn positions_come_back_when_the_log_is_closed_and_opened() {
    on_both(|disk| {
        let log = begin(disk, 9);
        log.register("index").unwrap();
        let pending = log.append(&[entry(10, 1, 9)]).unwrap();
        log.set_committed(10).unwrap();
        log.acknowledge(&APPLIED, 9).unwrap();
        log.acknowledge(&SNAPSHOTTED, 3).unwrap();
        let positions = log.positions();
        log.close().unwrap();
        pending.wait().unwrap();
        let log = open(disk);
        assert_eq!((log.committed(), log.positions()), (Some(10), positions));
        log.set_committed(10).unwrap();
        log.acknowledge(&PositionName::consumer("index"), 8).unwrap();
        let positions = log.positions();
        drop(log);
        assert_eq!(open(disk).positions(), positions, "dropping it closes it");
        assert!(matches!(open(disk).close(), Ok(())));
    });
}
