//! Power lost at every operation of random histories: what is durable is there, what is lazy has at most fallen back.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use raft_journal::Changes;
use raft_journal::adapters::replica::{InitStatus, ReplicaLog};
use raft_journal::io::sim::{Kinds, Survival};

use crate::common::Disk;
use crate::model::{Call, Model, call, perform};
use crate::open;

const HISTORIES: u8 = 12;

/// A history that a seed draws.
fn history(seed: u8) -> Vec<Call> {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    proptest::collection::vec(call(), 40).new_tree(&mut runner).unwrap().current()
}

/// Holds what a crash left against what was there before and behind the call under way.
fn check(log: &ReplicaLog, before: &Model, after: &Model, how: &str) {
    let found = Model::of(log);
    assert!(found.log == before.log || found.log == after.log, "{how}: {:?} is not {:?}", found.log, after.log);
    assert!(found.committed <= before.committed.max(after.committed), "{how}: committed {:?}", found.committed);
    assert!(found.committed <= log.last().map(|last| last.index), "{how}: beyond the log");
    let purged = found.log.purged.map(|purged| purged.index);
    assert!(found.committed >= purged, "{how}: committed {:?} below what is purged", found.committed);
    let names = |model: &Model| model.positions.keys().cloned().collect::<Vec<_>>();
    assert!([names(before), names(after)].contains(&names(&found)), "{how}: {:?}", found.positions);
    for (name, position) in &found.positions {
        let newest = before.positions.get(name).max(after.positions.get(name)).copied().flatten();
        // A registration that is under way begins at what is purged.
        assert!(*position <= newest.max(purged), "{how}: {name} at {position:?}");
        assert!(purged <= *position && *position <= found.committed, "{how}: {name} at {position:?}");
    }
    assert_eq!(log.init_status(0..0), InitStatus::Bootstrapped, "{how}");
}

#[test]
fn power_lost_at_any_operation_leaves_what_was_durable_and_nothing_that_was_not_said() {
    let (mut states, mut fell_back) = (0, 0);
    for seed in 0..HISTORIES {
        let disk = Disk::simulated();
        let (mut log, mut model) = (open(&disk), Model::new());
        log.bootstrap(Changes::new()).unwrap();
        disk.sim().record(true);
        for (number, call) in history(seed).iter().enumerate() {
            let before = model.clone();
            if matches!(call, Call::Reopen) {
                drop(log);
                log = open(&disk);
            }
            let expected = model.perform(call);
            assert_eq!(perform(&log, call).is_ok(), expected, "seed {seed}, {call:?}");
            for moment in disk.sim().take_recorded() {
                let drawn = [states, states + 1].map(|draw| moment.after_power_cut(Survival::Random(draw)));
                for state in moment.crash_states(Kinds::OldOrNew).take(6).chain(drawn) {
                    let how = format!("seed {seed}, power cut in call {number}, {call:?}");
                    let left = open(&Disk::of(state));
                    check(&left, &before, &model, &how);
                    states += 1;
                    fell_back += u64::from(left.committed() < before.committed);
                }
            }
        }
    }
    assert!(states > 2000 && fell_back > 0, "{states} states, {fell_back} with an older committed position");
}

#[test]
fn power_lost_while_it_is_bootstrapped_leaves_a_log_that_is_or_can_be() {
    for cut in 0.. {
        let disk = Disk::simulated();
        disk.sim().cut_power_at(cut);
        let bootstrapped = disk.try_open().map(|journal| {
            let log = ReplicaLog::open(journal).unwrap();
            log.bootstrap(Changes::new()).is_ok()
        });
        if !disk.sim().is_power_off() {
            break;
        }
        for survival in [Survival::Nothing, Survival::Everything, Survival::Random(cut)] {
            let log = open(&disk.after_power_cut(survival));
            match log.init_status(0..0) {
                InitStatus::Unbootstrapped => {
                    assert!(!matches!(bootstrapped, Ok(true)), "cut at {cut}, {survival:?}: forgotten");
                    log.bootstrap(Changes::new()).unwrap();
                }
                status => assert_eq!(status, InitStatus::Bootstrapped),
            }
        }
    }
}
