//! Promises 1 and 2: acknowledged means durable, and nothing else appears.

use raft_journal::io::sim::Survival;
use raft_journal::{LogStore, Position};

use crate::common::{Disk, append_each, entries, entry, log, on_both};
use crate::history::{Model, check_crashed, history, perform, run};

// Promise 1: acknowledged means durable. Promise 2: nothing else appears.
#[test]
fn every_power_cut_of_a_history_leaves_what_was_acknowledged_and_nothing_else_but_the_step_under_way() {
    let mut cuts = 0;
    loop {
        let disk = Disk::simulated();
        disk.sim().cut_power_at(cuts);
        let (acknowledged, under_way) = run(&disk);
        if !disk.sim().is_power_off() {
            break;
        }
        let mut possible = vec![acknowledged.clone()];
        possible.extend(under_way.iter().map(|step| acknowledged.after(step)));
        let survivals = [Survival::Nothing, Survival::Everything, Survival::OldOrNew(cuts)];
        for survival in survivals.into_iter().chain((0..4).map(|seed| Survival::Random(cuts * 4 + seed))) {
            let crashed = disk.after_power_cut(survival);
            check_crashed(&crashed, &possible, &format!("cut at {cuts}, {survival:?}, in {under_way:?}"));
        }
        cuts += 1;
    }
    assert!(cuts > 100, "{cuts}");
}

// Promises 1 and 2, when the power goes again while the journal recovers.
#[test]
fn a_crash_inside_recovery_is_just_another_crash() {
    for cut in 0.. {
        let disk = Disk::simulated();
        disk.sim().cut_power_at(cut);
        let (acknowledged, under_way) = run(&disk);
        if !disk.sim().is_power_off() {
            break;
        }
        let mut possible = vec![acknowledged.clone()];
        possible.extend(under_way.iter().map(|step| acknowledged.after(step)));
        for second in 0.. {
            let crashed = disk.after_power_cut(Survival::Random(cut));
            crashed.sim().cut_power_at(second);
            let opened = crashed.try_open();
            if !crashed.sim().is_power_off() {
                opened.unwrap();
                break;
            }
            let again = crashed.after_power_cut(Survival::Random(second));
            check_crashed(&again, &possible, &format!("cuts at {cut} and {second}, in {under_way:?}"));
        }
    }
}

// Promise 1.
#[test]
fn what_was_acknowledged_is_there_after_every_step_and_kill() {
    on_both(|disk| {
        let mut journal = disk.open();
        let mut model = Model::default();
        for step in history() {
            perform(disk, &mut journal, &step).unwrap();
            model = model.after(&step);
            assert_eq!(Model::of(&journal), model, "{step:?}");
            assert_eq!(journal.state().durable, journal.state().last, "{step:?}");
            assert_eq!(Model::of(&disk.killed().open()), model, "{step:?}");
        }
        drop(journal);
        let journal = disk.open();
        assert_eq!(Model::of(&journal), model);
        assert!(journal.recovery_report().clean, "dropping the last handle closes");
    });
}

// Promise 2.
#[test]
fn an_append_in_flight_is_absent_or_whole_after_a_power_cut() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    let _pending = journal.append_pending(&entries(4..=9, 1)).unwrap();
    let _pending = journal.append_pending(&entries(10..=12, 2)).unwrap();
    let states = [entries(1..=3, 1), entries(1..=9, 1), [entries(1..=9, 1), entries(10..=12, 2)].concat()];
    let mut found = [0; 3];
    for seed in 0..300 {
        let left = log(&disk.after_power_cut(Survival::Random(seed)).open());
        found[states.iter().position(|state| *state == left).expect("neither absent nor whole")] += 1;
    }
    assert!(found.iter().all(|&count| count > 0), "{found:?}");
}

// Promise 2.
#[test]
fn a_tail_in_replacement_is_the_old_one_or_the_new_one_after_a_power_cut() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=9, 1));
    let _pending = journal.replace_tail_pending(&entries(5..=7, 2)).unwrap();
    let states = [entries(1..=9, 1), [entries(1..=4, 1), entries(5..=7, 2)].concat()];
    let mut found = [0; 2];
    for seed in 0..300 {
        let left = log(&disk.after_power_cut(Survival::Random(seed)).open());
        found[states.iter().position(|state| *state == left).expect("neither the old tail nor the new one")] += 1;
    }
    assert!(found.iter().all(|&count| count > 0), "{found:?}");
}

// Promise 2.
#[test]
fn a_truncated_tail_never_comes_back() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=40, 1));
    journal.truncate_tail(5).unwrap();
    let _pending = journal.append_pending(&entries(5..=6, 2)).unwrap();
    for seed in 0..100 {
        let mut cut = disk.after_power_cut(Survival::Random(seed));
        for term in 3..6 {
            let journal = cut.open();
            assert_eq!(journal.entries(1..5, u64::MAX).unwrap(), entries(1..=4, 1));
            let tail = log(&journal).split_off(4);
            assert!(tail.iter().all(|entry| entry.term > 1), "seed {seed}: {:?}", journal.state());
            let next = journal.state().next_index().unwrap();
            let _pending = journal.append_pending(&[entry(next, term, 100)]).unwrap();
            let left = cut.after_power_cut(Survival::Random(seed + term));
            drop(journal);
            cut = left;
        }
    }
}

// Promise 2.
#[test]
fn removed_and_recycled_segments_never_come_back() {
    on_both(|disk| {
        let journal = disk.open();
        let mut last = 0;
        for round in 1..=12 {
            append_each(&journal, &entries(last + 1..=last + 25, round));
            last += 25;
            journal.truncate_head(Position::new(last - 3, round)).unwrap();
            assert_eq!(log(&disk.killed().open()), entries(last - 2..=last, round));
        }
        journal.close().unwrap();
        let journal = disk.open();
        assert_eq!(log(&journal), entries(last - 2..=last, 12));
        journal.close().unwrap();
        assert!(disk.segments().len() <= 5, "removed segments stay: {:?}", disk.segments());
    });
}
