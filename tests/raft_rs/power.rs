//! Power lost at every operation of a history.

use std::io;

use raft::Storage;
use raft_journal::Error as StoreError;
use raft_journal::adapters::raft_rs::Error;
use raft_journal::io::sim::{OperationKind, SimFs, Survival};

use super::node::{Follower, HISTORY, Model, Step, live};
use super::{entries, hard_state, open, snapshot, voters};

/// Opens a store that has its first configuration.
fn start(disk: &SimFs) -> Option<Follower<raft_journal::Journal>> {
    let store = open(disk).ok()?;
    if !store.is_initialized() {
        store.initialize(voters()).ok()?;
    }
    Some(Follower::start(store))
}

/// Loses power at each operation of the history, which waits for the disk after every so many steps.
fn cut_everywhere(waits_after: usize) {
    for cut in 0.. {
        let disk = SimFs::new();
        disk.cut_power_at(cut);
        let states = match start(&disk) {
            None => vec![Model::new()],
            Some(mut follower) => {
                let lived = live(&mut follower, waits_after);
                assert_eq!(lived.is_err(), disk.is_power_off());
                follower.states
            }
        };
        let ended = !disk.is_power_off();
        let random = (0..24).map(|seed| Survival::Random(cut << 8 | seed));
        for survival in random.chain([Survival::Nothing, Survival::Everything]) {
            let disk = disk.after_power_cut(survival);
            let mut follower = start(&disk).unwrap();
            let found = Model::found(&follower.store);
            let is_possible = states.iter().any(|state| state.is(&found));
            assert!(is_possible, "cut at {cut}, {survival:?}: {:#?} became {found:#?}", states.first());
            // The node goes on where it is.
            let (term, next) = (follower.store.hard_state().term + 2, follower.store.last_index().unwrap() + 1);
            let before = follower.store.term(next - 1).unwrap();
            let commit = follower.store.hard_state().commit;
            let step = Step::Append { term, before, first: next, end: next + 2, commit };
            follower.take(Step::Vote { term: term - 1 }).unwrap();
            follower.take(step).unwrap();
            follower.wait().unwrap();
            assert_eq!(Model::found(&follower.store).log, [found.log, entries(term, next..next + 2)].concat());
        }
        if ended {
            assert!(cut > 60, "the history has only {cut} places to cut");
            return;
        }
    }
}

#[test]
fn power_cut_anywhere_leaves_what_was_acknowledged_and_at_most_what_was_in_flight() {
    cut_everywhere(1);
}

#[test]
fn power_cut_anywhere_leaves_the_same_where_nothing_is_waited_for_at_once() {
    cut_everywhere(3);
    cut_everywhere(HISTORY.len());
}

#[test]
fn ready_costs_one_sync_unless_it_brings_a_term_or_a_snapshot() {
    let disk = SimFs::new();
    let mut follower = start(&disk).unwrap();
    let mut costs = |step| {
        let before = disk.counts();
        follower.take(step).unwrap();
        follower.wait().unwrap();
        let after = disk.counts();
        (after.writes - before.writes, after.syncs - before.syncs)
    };
    // A vote is one commit: both copies of a slot, and one sync.
    assert_eq!(costs(Step::Vote { term: 1 }), (2, 1));
    // The leader's first entries come with its vote forgotten, or its term.
    assert_eq!(costs(Step::Append { term: 2, before: 0, first: 1, end: 4, commit: 0 }), (3, 2));
    assert_eq!(costs(Step::Append { term: 2, before: 2, first: 4, end: 8, commit: 3 }), (1, 1));
    // A replaced tail is no more than that.
    assert_eq!(costs(Step::Append { term: 3, before: 2, first: 6, end: 7, commit: 3 }), (3, 2));
    assert_eq!(costs(Step::Append { term: 3, before: 3, first: 7, end: 9, commit: 6 }), (1, 1));
    // The commit index alone stays in memory.
    assert_eq!(costs(Step::Append { term: 3, before: 3, first: 9, end: 9, commit: 8 }), (0, 0));
    assert_eq!(costs(Step::Compact(8)), (2, 1));
    assert_eq!(costs(Step::Snapshot { term: 3, index: 90 }), (2, 1));
}

#[test]
fn hard_state_and_configuration_are_of_one_commit() {
    for cut in 0.. {
        let disk = SimFs::new();
        {
            let store = open(&disk).unwrap();
            store.initialize(voters()).unwrap();
            store.append(&entries(1, 1..9)).unwrap().wait().unwrap();
            store.set_hard_state(&hard_state(1, 2, 0)).unwrap();
        }
        let store = open(&disk).unwrap();
        disk.cut_power_at(disk.mutations() + cut);
        store.set_commit(8).unwrap();
        let grown = raft::eraftpb::ConfState::from((vec![1, 2, 3, 4], vec![]));
        let ended = store.set_conf_state(grown.clone()).is_ok();
        for seed in 0..32 {
            let found = open(&disk.after_power_cut(Survival::Random(seed))).unwrap();
            let is_new = found.conf_state() == grown;
            assert!(is_new || (found.conf_state() == voters() && !ended));
            assert_eq!(found.hard_state().commit, if is_new { 8 } else { 0 });
        }
        if ended {
            assert!(cut > 1);
            return;
        }
    }
}

#[test]
fn crash_between_a_snapshots_commit_and_its_tail_is_harmless() {
    // A snapshot within the log, as one that was asked for may be.
    for cut in 0.. {
        let disk = SimFs::new();
        let store = open(&disk).unwrap();
        store.initialize(voters()).unwrap();
        store.append(&entries(1, 1..9)).unwrap().wait().unwrap();
        disk.cut_power_at(disk.mutations() + cut);
        let ended = store.apply_snapshot(&snapshot(6, 1)).is_ok();
        for seed in 0..32 {
            let found = Follower::start(open(&disk.after_power_cut(Survival::Random(seed))).unwrap());
            let bounds = (found.store.first_index().unwrap(), found.store.last_index().unwrap());
            let possible: &[(u64, u64)] = if ended { &[(7, 6)] } else { &[(1, 8), (7, 8), (7, 6)] };
            assert!(possible.contains(&bounds), "cut at {cut}: {bounds:?}");
            assert_eq!(found.store.hard_state().commit, bounds.0 - 1);
        }
        if ended {
            assert!(cut > 2);
            return;
        }
    }
}

#[test]
fn failed_sync_is_told_and_claims_nothing() {
    let disk = SimFs::new();
    let mut follower = start(&disk).unwrap();
    follower.take(Step::Append { term: 1, before: 0, first: 1, end: 4, commit: 2 }).unwrap();
    follower.wait().unwrap();
    disk.fail_next(OperationKind::Sync, io::ErrorKind::Other);
    let error = follower.take(Step::Vote { term: 2 }).unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Poisoned { .. })), "{error}");
    assert_eq!(follower.store.hard_state().term, 1);
    assert!(matches!(follower.store.compact(3), Err(Error::Store(StoreError::Poisoned { .. }))));
    assert!(matches!(follower.store.append(&entries(2, 4..5)), Err(Error::Store(StoreError::Poisoned { .. }))));
    assert_eq!(super::log(&follower.store), entries(1, 1..4));
    let found = open(&disk.after_power_cut(Survival::Nothing)).unwrap();
    assert_eq!((found.hard_state().term, found.hard_state().vote), (1, 0));
}
