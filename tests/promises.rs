//! The eight promises of the design, and what a `Pending` promises.

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use common::{Disk, append_each, entries, entry, log, names_file, on_both, unsalted_check};
use raft_journal::io::sim::{Fault, OperationKind, Survival};
use raft_journal::{
    Changes, DamageKind, Entry, Error, Journal, LogStore, OnDamage, Pending, Position, Result, StableStore,
};

// A history, and what it may leave

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    ReplaceTail(Vec<Entry>),
    TruncateTail(u64),
    TruncateHead(Position),
    Vote(u64),
    /// A snapshot with the vote that goes with it, in one commit.
    Install(Position, u64),
    Reopen,
}

/// What a journal must hold.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    purged: Option<Position>,
    entries: BTreeMap<u64, Entry>,
    vote: Option<u64>,
}

impl Model {
    fn of(journal: &Journal) -> Model {
        let entries = log(journal).into_iter().map(|entry| (entry.index, entry)).collect();
        Model { purged: journal.state().purged, entries, vote: journal.get_u64(b"vote").unwrap() }
    }

    fn after(&self, step: &Step) -> Model {
        let mut model = self.clone();
        match step {
            Step::Append(batch) | Step::ReplaceTail(batch) => {
                model.entries.split_off(&batch[0].index);
                model.entries.extend(batch.iter().map(|entry| (entry.index, entry.clone())));
            }
            Step::TruncateTail(first_removed) => _ = model.entries.split_off(first_removed),
            Step::TruncateHead(position) => model.truncate_head(*position),
            Step::Vote(vote) => model.vote = Some(*vote),
            Step::Install(position, vote) => {
                model.truncate_head(*position);
                model.vote = Some(*vote);
            }
            Step::Reopen => {}
        }
        model
    }

    fn truncate_head(&mut self, position: Position) {
        let matches = self.entries.get(&position.index).is_some_and(|entry| entry.term == position.term);
        let kept = self.entries.split_off(&(position.index + 1));
        self.entries = if matches { kept } else { BTreeMap::new() };
        self.purged = Some(position);
    }
}

fn perform(disk: &Disk, journal: &mut Journal, step: &Step) -> Result<()> {
    match step {
        Step::Append(batch) => journal.append(batch).map(drop),
        Step::ReplaceTail(batch) => journal.replace_tail(batch).map(drop),
        Step::TruncateTail(first_removed) => journal.truncate_tail(*first_removed),
        Step::TruncateHead(position) => journal.truncate_head(*position),
        Step::Vote(vote) => journal.set_u64(b"vote", *vote),
        Step::Install(position, vote) => {
            journal.commit(&Changes::new().set_u64("vote", *vote).truncate_head(*position))
        }
        Step::Reopen => {
            journal.close()?;
            *journal = disk.try_open()?;
            Ok(())
        }
    }
}

/// Everything that a follower goes through, over several segments and lives.
fn history() -> Vec<Step> {
    let append = |indexes, term| Step::Append(entries(indexes, term));
    vec![
        Step::Vote(1),
        append(1..=4, 1),
        append(5..=12, 1),
        Step::ReplaceTail(entries(9..=11, 2)),
        append(12..=20, 2),
        Step::TruncateTail(17),
        Step::Vote(3),
        append(17..=25, 3),
        Step::TruncateHead(Position::new(6, 1)),
        Step::Reopen,
        Step::ReplaceTail(entries(14..=30, 4)),
        append(31..=40, 4),
        Step::TruncateHead(Position::new(33, 4)),
        append(41..=60, 4),
        Step::TruncateTail(36),
        append(36..=37, 5),
        Step::Install(Position::new(100, 6), 7),
        append(101..=115, 7),
        Step::Reopen,
        Step::TruncateTail(110),
        Step::Install(Position::new(105, 8), 9),
        append(106..=107, 9),
    ]
}

/// Runs the history until it fails, which it may only for want of power; what was acknowledged, and what was under way.
fn run(disk: &Disk) -> (Model, Option<Step>) {
    let mut acknowledged = Model::default();
    let Ok(mut journal) = disk.try_open() else { return (acknowledged, None) };
    for step in history() {
        if perform(disk, &mut journal, &step).is_err() {
            assert!(disk.sim().is_power_off(), "{step:?}");
            return (acknowledged, Some(step));
        }
        acknowledged = acknowledged.after(&step);
    }
    (acknowledged, None)
}

/// Opens what a crash left; it must be one of the possible states, and the journal must go on from there.
fn check_crashed(disk: &Disk, possible: &[Model], how: &str) {
    let journal = disk.try_open().unwrap_or_else(|error| panic!("{how}: {error}"));
    let found = Model::of(&journal);
    assert!(possible.contains(&found), "{how}: {:?} of {:?}", journal.state(), possible.last());
    assert_eq!(journal.state().durable, journal.state().last, "{how}");
    let next = journal.state().next_index().unwrap_or(1);
    let added = Step::Append(vec![entry(next, 50, 300)]);
    let expected = found.after(&added);
    perform(disk, &mut journal.clone(), &added).unwrap();
    assert_eq!(Model::of(&journal), expected, "{how}");
    drop(journal);
    assert_eq!(Model::of(&disk.open()), expected, "{how}");
}

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
            let crashed = Disk::of(disk.sim().after_power_cut(survival));
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
            let crashed = Disk::of(disk.sim().after_power_cut(Survival::Random(cut)));
            crashed.sim().cut_power_at(second);
            let opened = crashed.try_open();
            if !crashed.sim().is_power_off() {
                opened.unwrap();
                break;
            }
            let again = Disk::of(crashed.sim().after_power_cut(Survival::Random(second)));
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
        let left = log(&Disk::of(disk.sim().after_power_cut(Survival::Random(seed))).open());
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
        let left = log(&Disk::of(disk.sim().after_power_cut(Survival::Random(seed))).open());
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
        let mut cut = Disk::of(disk.sim().after_power_cut(Survival::Random(seed)));
        for term in 3..6 {
            let journal = cut.open();
            assert_eq!(journal.entries(1..5, u64::MAX).unwrap(), entries(1..=4, 1));
            let tail = log(&journal).split_off(4);
            assert!(tail.iter().all(|entry| entry.term > 1), "seed {seed}: {:?}", journal.state());
            let next = journal.state().next_index().unwrap();
            let _pending = journal.append_pending(&[entry(next, term, 100)]).unwrap();
            let left = cut.sim().after_power_cut(Survival::Random(seed + term));
            drop(journal);
            cut = Disk::of(left);
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

// Promise 3.
#[test]
fn a_torn_tail_is_cut_and_reported() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.append_pending(&entries(4..=6, 1)).unwrap().on_durable(Box::new(drop));
        let torn = disk.killed();
        let (name, at) = torn.find(&entry(6, 1, 300).data);
        torn.flip(&name, at + 299);
        let (_, header) = torn.find(&entry(4, 1, 300).data);
        let opened = torn.open();
        assert_eq!(log(&opened), entries(1..=3, 1));
        let report = opened.recovery_report();
        let cut = report.torn.as_ref().unwrap();
        assert_eq!((&cut.path, cut.offset), (&torn.path(&name), header as u64 - 92));
        assert_eq!((cut.indexes, cut.bytes), (Some((4, 7)), Some((72 + 3 * 320u64).next_multiple_of(8))));
        assert!(!report.clean && report.suspect.is_some(), "{report:?}");
        opened.append(&entries(4..=4, 2)).unwrap();
        opened.close().unwrap();
        drop(opened);
        let report = torn.open().recovery_report().clone();
        assert!(report.clean && report.suspect.is_none(), "{report:?}");
    });
}

// Promise 3, the other way round: nothing is reported that did not happen.
#[test]
fn what_was_cut_once_is_not_reported_as_torn_after_a_clean_close() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.append_pending(&entries(4..=6, 1)).unwrap().on_durable(Box::new(drop));
        let torn = disk.killed();
        let (name, at) = torn.find(&entry(6, 1, 300).data);
        torn.flip(&name, at + 299);
        let journal = torn.open();
        assert!(journal.recovery_report().torn.is_some());
        // Shorter than what was cut: the rest of it still stands behind.
        journal.append(&entries(4..=4, 2)).unwrap();
        journal.close().unwrap();
        drop(journal);
        let journal = torn.open();
        assert_eq!((journal.recovery_report().clean, &journal.recovery_report().torn), (true, &None));
    });
}

// Promise 3.
#[test]
fn damaged_bytes_are_never_cut_and_cost_only_what_they_held() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=4, 1));
        journal.append(&entries(5..=7, 1)).unwrap();
        append_each(&journal, &entries(8..=10, 1));
        let damaged = disk.killed();
        let (name, at) = damaged.find(&entry(6, 1, 300).data);
        damaged.flip(&name, at + 50);
        let (_, batch) = damaged.find(&entry(5, 1, 300).data);
        let files = damaged.contents();
        let error = damaged.try_open().unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error:?}") };
        assert_eq!((&damage.path, damage.why), (&damaged.path(&name), DamageKind::Checksum));
        assert_eq!(damage.offset, batch as u64 - 92, "the batch");
        assert_eq!((damage.indexes.first, damage.indexes.end), (6, Some(7)), "and the entry in it");
        let text = error.to_string();
        assert!(
            names_file(&error, &damage.path) && text.contains("entry 6 is lost") && text.contains("leader"),
            "{text}"
        );
        assert!(damaged.contents() == files, "a refused open changes nothing");

        let accepted = damaged.options().on_damage(OnDamage::Accept).open(&damaged.dir).unwrap();
        let expect = |journal: &Journal, last| {
            assert_eq!(journal.state().last, Some(Position::new(last, 1)));
            assert_eq!(journal.entries(1..6, u64::MAX).unwrap(), entries(1..=5, 1));
            assert_eq!(journal.entries(7..last + 1, u64::MAX).unwrap(), entries(7..=last, 1));
            assert!(matches!(journal.entry(6), Err(Error::Damaged(_))));
            assert!(matches!(journal.entries(6..8, 1), Err(Error::Damaged(_))));
            assert!(matches!(journal.term(6), Err(Error::Damaged(_)) | Ok(1)));
            assert_eq!(journal.recovery_report().damaged.len(), 1);
        };
        expect(&accepted, 10);
        append_each(&accepted, &entries(11..=12, 1));
        // The next open reports and does not refuse.
        let killed = damaged.killed();
        expect(&killed.open(), 12);
        // The tail can be replaced across the hole, which ends it.
        let journal = killed.open();
        journal.replace_tail(&entries(6..=8, 2)).unwrap();
        drop(journal);
        assert_eq!(log(&killed.open()), [entries(1..=5, 1), entries(6..=8, 2)].concat());
    });
}

// Promise 3.
#[test]
fn a_lost_batch_header_costs_the_batch_and_never_brings_older_versions_back() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=8, 1));
        journal.replace_tail(&entries(5..=6, 2)).unwrap();
        append_each(&journal, &entries(7..=9, 2));
        let damaged = disk.killed();
        let (name, at) = damaged.find(&entry(5, 2, 300).data);
        damaged.flip(&name, at - 92 + 30);
        let error = damaged.try_open().unwrap_err();
        let Error::Damaged(damage) = &error else { panic!("{error:?}") };
        assert!(damage.indexes.first <= 5 && damage.indexes.end == Some(7), "{error}");
        let journal = damaged.options().on_damage(OnDamage::Accept).open(&damaged.dir).unwrap();
        // Nobody knows how far back the lost batch reached, down to the segment's base.
        for (index, expected) in (1..).zip(entries(1..=4, 1)) {
            assert!(
                matches!(journal.entry(index), Err(Error::Damaged(_))) || journal.entry(index).unwrap() == expected
            );
        }
        (5..=6).for_each(|index| assert!(matches!(journal.entry(index), Err(Error::Damaged(_))), "{index}"));
        assert_eq!(journal.entries(7..10, u64::MAX).unwrap(), entries(7..=9, 2));
        drop(journal);
        let journal = damaged.open();
        (5..=6).for_each(|index| assert!(matches!(journal.entry(index), Err(Error::Damaged(_))), "{index}"));
        assert_eq!(journal.recovery_report().damaged.len(), 1);
    });
}

// Promise 4.
#[test]
fn one_damaged_block_of_meta_costs_nothing_and_is_healed() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        (1..=4).for_each(|term| journal.set_u64(b"vote", term).unwrap());
        let whole = disk.killed().bytes("meta");
        assert_eq!(whole.len(), 4 * 4096);
        for block in 0..4 {
            for noise in [0, 0xa5] {
                let damaged = disk.killed();
                let mut bytes = whole.clone();
                bytes[block * 4096..][..4096].fill(noise);
                damaged.put("meta", &bytes);
                let journal = damaged.open();
                assert_eq!(Model::of(&journal).vote, Some(4), "block {block}");
                assert_eq!(log(&journal), entries(1..=5, 1));
                let report = journal.recovery_report();
                assert!(report.meta_healed && report.suspect.is_none_or(|suspect| !suspect.vote), "{report:?}");
                // The slot that the next commit goes to is healed by it, so two commits heal both.
                journal.set_u64(b"other", 1).unwrap();
                journal.close().unwrap();
                let journal = damaged.open();
                assert!(!journal.recovery_report().meta_healed, "block {block} is not healed");
                assert_eq!(journal.get_u64(b"vote").unwrap(), Some(4));
            }
        }
    });
}

// Promise 4.
#[test]
fn both_slots_of_meta_unreadable_is_an_error_and_never_a_default() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        journal.set_u64(b"vote", 1).unwrap();
        journal.close().unwrap();
        let whole = disk.bytes("meta");
        let mut flipped = whole.clone();
        (0..4).for_each(|copy| flipped[copy * 4096 + 40] ^= 1);
        for bytes in [vec![0; whole.len()], flipped, Vec::new(), whole[..100].to_vec()] {
            disk.put("meta", &bytes);
            for on_damage in [OnDamage::Refuse, OnDamage::Accept] {
                let error = disk.options().on_damage(on_damage).open(&disk.dir).unwrap_err();
                assert!(
                    matches!(&error, Error::MetaUnreadable { path, .. } if *path == disk.path("meta")),
                    "{error:?}"
                );
                assert!(names_file(&error, &disk.path("meta")) && error.to_string().contains("rejoin"), "{error}");
                assert!(disk.bytes("meta") == bytes);
            }
        }
        disk.put("meta", &whole);
        assert_eq!(Model::of(&disk.open()).vote, Some(1));
    });
}

// Promise 4.
#[test]
fn a_meta_older_than_the_log_knows_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"vote", 1).unwrap();
        let old = disk.bytes("meta");
        journal.set_u64(b"vote", 2).unwrap();
        journal.append(&entries(4..=6, 1)).unwrap();
        let killed = disk.killed();
        let (name, at) = killed.find(&entry(4, 1, 300).data);
        killed.put("meta", &old);
        for on_damage in [OnDamage::Refuse, OnDamage::Accept] {
            let error = killed.options().on_damage(on_damage).open(&killed.dir).unwrap_err();
            let Error::MetaOutdated { path, found_generation, generation, witness, offset, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!((path, witness), (&killed.path("meta"), &killed.path(&name)));
            assert_eq!((*generation, *offset), (found_generation + 1, at as u64 - 92));
            assert!(error.to_string().contains("a vote may be lost"), "{error}");
        }
        assert!(killed.bytes("meta") == old);
    });
}

// Promise 4.
#[test]
fn a_meta_of_an_earlier_life_than_the_log_knows_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.close().unwrap();
        let old = disk.bytes("meta");
        let journal = disk.open();
        journal.append(&entries(4..=6, 1)).unwrap();
        let killed = disk.killed();
        killed.put("meta", &old);
        let error = killed.try_open().unwrap_err();
        let Error::MetaOutdated { found_life, life, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found_life, *life), (1, 2));
    });
}

// Promise 4.
#[test]
fn a_lost_slot_of_meta_is_an_error_where_the_log_knows_of_it_and_suspect_where_nothing_does() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        (1..=4).for_each(|vote| journal.set_u64(b"vote", vote).unwrap());
        let lose_newest = |disk: &Disk| {
            let mut bytes = disk.bytes("meta");
            let generation = |copy: usize| u64::from_le_bytes(bytes[copy * 4096 + 24..][..8].try_into().unwrap());
            let newest = if generation(0) > generation(2) { 0 } else { 2 };
            bytes[newest * 4096..][..2 * 4096].fill(0);
            disk.put("meta", &bytes);
        };
        let unwitnessed = disk.killed();
        lose_newest(&unwitnessed);
        let opened = unwitnessed.open();
        assert_eq!(opened.get_u64(b"vote").unwrap(), Some(3));
        assert!(opened.recovery_report().suspect.is_some_and(|suspect| suspect.vote));
        journal.append(&entries(4..=4, 1)).unwrap();
        let witnessed = disk.killed();
        lose_newest(&witnessed);
        assert!(matches!(witnessed.try_open(), Err(Error::MetaOutdated { .. })));
    });
}

// Promise 5.
#[test]
fn recovery_after_a_failed_sync_reads_the_disk_and_not_the_page_cache() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    assert!(matches!(journal.append(&entries(4..=6, 1)), Err(Error::Poisoned { .. })));
    let next = Disk::of(disk.sim().after_process_kill());
    let (name, at) = next.find(&entry(4, 1, 300).data);
    let on_disk = next.sim().read_synced(next.path(&name)).unwrap();
    assert!(on_disk[at..at + 300].iter().all(|&byte| byte == 0), "the cache shows what the disk does not hold");
    let journal = next.open();
    assert_eq!(log(&journal), entries(1..=3, 1));
    journal.append(&entries(4..=4, 2)).unwrap();
    let cut = Disk::of(next.sim().after_power_cut(Survival::Nothing));
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
        let next = Disk::of(disk.sim().after_process_kill());
        let found = Model::of(&next.open());
        let (log, vote): (Vec<Entry>, _) = (found.entries.values().cloned().collect(), found.vote);
        assert!([entries(1..=3, 1), entries(1..=6, 1)].contains(&log), "seed {seed}: {log:?}");
        assert!([Some(1), Some(2)].contains(&vote), "seed {seed}");
        let cut = Disk::of(next.sim().after_power_cut(Survival::Nothing));
        assert_eq!(Model::of(&cut.open()), found, "seed {seed}: what was found once is there for good");
    }
}

/// Every kind of read.
fn read_everything(journal: &Journal, last: u64) {
    assert_eq!(journal.entry(1).unwrap(), entry(1, 1, 300));
    assert_eq!(journal.entry(last).unwrap(), entry(last, 1, 300));
    assert_eq!(journal.entries(1..last + 1, u64::MAX).unwrap(), entries(1..=last, 1));
    assert_eq!(journal.term(last).unwrap(), 1);
    assert_eq!(journal.state().last, Some(Position::new(last, 1)));
    assert_eq!(journal.get_u64(b"vote").unwrap(), Some(1));
    assert!(journal.entry(last + 1).is_err());
}

// Promise 6.
#[test]
fn reads_do_not_wait_for_a_sync_that_hangs() {
    for cache_bytes in [0, 1 << 20] {
        let disk = Disk::simulated();
        disk.sim().threaded_tasks();
        // One file that is not half full: no other sync is under way.
        let options = disk.options().segment_bytes(64 << 10).tail_cache_bytes(cache_bytes);
        let journal = options.open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=40, 1));
        journal.set_u64(b"vote", 1).unwrap();
        let while_held = |call: &(dyn Fn() + Sync), last| {
            std::thread::scope(|scope| {
                let hold = disk.sim().hold_syncs();
                let caller = scope.spawn(call);
                disk.sim().wait_for_held_syncs(1);
                read_everything(&journal, last);
                assert!(!caller.is_finished(), "the call does not wait for the disk");
                drop(hold);
            });
        };
        while_held(&|| _ = journal.append(&entries(41..=41, 1)).unwrap(), 41);
        while_held(&|| journal.truncate_tail(41).unwrap(), 40);
        while_held(&|| journal.set_u64(b"other", 1).unwrap(), 40);
        let _pending = journal.append_pending(&entries(41..=41, 1)).unwrap();
        while_held(&|| journal.sync().unwrap(), 41);
    }
}

// Promise 6, where the sync is a rotation's, under the writer's lock.
#[test]
fn reads_do_not_wait_for_a_rotation_that_hangs() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    let journal = disk.options().tail_cache_bytes(0).index_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=20, 1));
    journal.set_u64(b"vote", 1).unwrap();
    // Larger than what is left in the file.
    let large = entry(21, 1, 7000);
    std::thread::scope(|scope| {
        let hold = disk.sim().hold_syncs();
        let writer = scope.spawn(|| journal.append(std::slice::from_ref(&large)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        read_everything(&journal, 20);
        assert!(!writer.is_finished());
        drop(hold);
    });
    assert_eq!(journal.entry(21).unwrap(), large);
}

// Promise 6: never bytes that a truncation could take back under a reader.
#[test]
fn readers_beside_a_writer_see_one_log_or_the_other() {
    on_both(|disk| {
        if let Some(sim) = &disk.sim {
            sim.threaded_tasks();
        }
        let journal = disk.options().tail_cache_bytes(2000).index_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=30, 1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let read = || {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) || reads == 0 {
                    let state = journal.state();
                    let (Some(first), Some(next)) = (state.first_index(), state.next_index()) else { continue };
                    match journal.entries(first..next, u64::MAX) {
                        Ok(found) => {
                            let terms = found.windows(2).all(|pair| pair[0].term <= pair[1].term);
                            let whole = found.iter().all(|e| *e == entry(e.index, e.term, 300));
                            let row = found.iter().zip(first..).all(|(e, index)| e.index == index);
                            assert!(terms && whole && row, "{state:?}");
                        }
                        // The log moved on since `state`.
                        Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    match journal.entry(first) {
                        Ok(found) => assert_eq!(found, entry(found.index, found.term, 300)),
                        Err(Error::BeforeFirst { .. } | Error::AfterLast { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    reads += 1;
                }
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            for round in 0..60 {
                let (term, next) = (round + 2, journal.state().next_index().unwrap());
                journal.replace_tail(&entries(next - 3..=next + 4, term)).unwrap();
                if round % 4 == 3 {
                    let position = Position::new(next - 10, journal.term(next - 10).unwrap());
                    journal.truncate_head(position).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
    });
}

// Promise 7.
#[test]
fn caches_of_no_bytes_still_read_right() {
    on_both(|disk| {
        let options = disk.options().tail_cache_bytes(0).index_cache_bytes(0);
        let journal = options.open(&disk.dir).unwrap();
        let all = [entries(1..=50, 1), entries(51..=100, 2)].concat();
        append_each(&journal, &all);
        let check = |journal: &Journal| {
            for expected in &all {
                assert_eq!(journal.entry(expected.index).unwrap(), *expected);
                assert_eq!(journal.term(expected.index).unwrap(), expected.term);
            }
            assert_eq!(journal.entries(1..101, u64::MAX).unwrap(), all);
            assert_eq!(journal.entries(30..90, 300 * 10).unwrap(), all[29..39]);
        };
        check(&journal);
        journal.close().unwrap();
        check(&options.open(&disk.dir).unwrap());
    });
}

// Promise 7: what does not fit the caches is not in memory, so it is read.
#[test]
fn only_as_much_of_the_tail_as_was_asked_for_is_kept_in_memory() {
    let disk = Disk::simulated();
    let journal = disk.options().tail_cache_bytes(4000).index_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=200, 1));
    let reads_of = |index| {
        let before = disk.sim().counts().reads;
        assert_eq!(journal.entry(index).unwrap(), entry(index, 1, 300));
        disk.sim().counts().reads - before
    };
    let cached: Vec<u64> = (1..=200).filter(|&index| reads_of(index) == 0).collect();
    assert!(!cached.is_empty() && cached.len() <= 13, "{cached:?}");
    assert_eq!(cached.last(), Some(&200));
    (1..=180).for_each(|index| assert!(reads_of(index) > 0, "{index} is read a second time from memory"));
}

// Promise 8.
#[test]
fn unknown_and_unreadable_are_not_damage_even_for_those_who_accept_damage() {
    on_both(|disk| {
        let other = disk.beside("other");
        append_each(&disk.open(), &entries(1..=40, 1));
        append_each(&other.open(), &entries(1..=40, 1));
        let whole = disk.contents();
        let accept = disk.options().on_damage(OnDamage::Accept);
        let refused = |is: &dyn Fn(&Error) -> bool| {
            let files = disk.contents();
            let error = accept.open(&disk.dir).unwrap_err();
            assert!(is(&error), "{error:?}");
            assert!(disk.contents() == files, "{error}");
        };
        let name = disk.segments()[1].clone();
        disk.put(&name, &other.bytes(&name));
        refused(&|error| matches!(error, Error::ForeignFile { .. }));
        let mut newer = whole[&name].clone();
        let copy = newer.len() - 512;
        for at in [0, copy] {
            newer[at + 8] = 2;
            let check = unsalted_check(&[&newer[at..at + 12], &newer[at + 16..at + 64]]);
            newer[at + 12..at + 16].copy_from_slice(&check.to_le_bytes());
        }
        disk.put(&name, &newer);
        refused(&|error| matches!(error, Error::UnsupportedVersion { found: 2, .. }));
        disk.put(&name, &whole[&name]);
        if let Some(sim) = &disk.sim {
            sim.inject(Fault::new(OperationKind::Read, ErrorKind::Other).in_path(&name));
            refused(&|error| matches!(error, Error::Io { op: "read", .. }));
            sim.clear_faults();
        }
        assert_eq!(log(&accept.open(&disk.dir).unwrap()), entries(1..=40, 1));
    });
}

// Pending

#[test]
fn one_sync_answers_all_who_wait() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let pending: Vec<Pending> =
        (1..=5).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    assert_eq!((journal.state().last, journal.state().durable), (Some(Position::new(5, 1)), None));
    assert_eq!(log(&journal), entries(1..=5, 1), "readable before it is durable");
    let before = disk.sim().counts().syncs;
    for (index, pending) in (1..6).zip(pending).collect::<Vec<_>>().into_iter().rev() {
        assert_eq!(pending.position(), Position::new(index, 1));
        assert_eq!(pending.wait().unwrap(), Position::new(index, 1));
    }
    assert_eq!(disk.sim().counts().syncs - before, 1);
    assert_eq!(journal.state().durable, Some(Position::new(5, 1)));
}

#[test]
fn callbacks_come_once_each_and_in_order_whatever_order_they_were_given_in() {
    let disk = Disk::simulated();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    let mut pending: Vec<Pending> =
        (1..=6).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
    let told = Arc::new(Mutex::new(Vec::new()));
    while !pending.is_empty() {
        let told = Arc::clone(&told);
        let at = pending.len() / 2;
        pending.remove(at).on_durable(Box::new(move |result| told.lock().unwrap().push(result.unwrap().index)));
    }
    assert_eq!(*told.lock().unwrap(), [0; 0], "not before the sync");
    disk.sim().run_tasks();
    assert_eq!(*told.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
    journal.sync().unwrap();
    journal.close().unwrap();
    disk.sim().run_tasks();
    assert_eq!(told.lock().unwrap().len(), 6);
}

/// Runs `inside` in a durability callback of the journal and hands out what it returns.
fn in_callback<T: Send + 'static>(journal: &Journal, inside: impl FnOnce() -> T + Send + 'static) -> T {
    let next = journal.state().next_index().unwrap_or(1);
    let (sender, receiver) = mpsc::channel();
    let pending = journal.append_pending(&entries(next..=next, 1)).unwrap();
    pending.on_durable(Box::new(move |result| {
        result.unwrap();
        sender.send(inside()).unwrap();
    }));
    receiver.recv().unwrap()
}

#[test]
fn a_panic_in_a_callback_strands_nobody() {
    on_both(|disk| {
        let journal = disk.open();
        let (sender, receiver) = mpsc::channel();
        for index in 1..=4 {
            let sender = sender.clone();
            journal.append_pending(&entries(index..=index, 1)).unwrap().on_durable(Box::new(move |result| {
                sender.send(result.unwrap().index).unwrap();
                assert!(index != 2, "planned");
            }));
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        append_each(&journal, &entries(5..=5, 1));
        journal.close().unwrap();
    });
}

#[test]
fn a_callback_may_append_and_read() {
    on_both(|disk| {
        let journal = disk.open();
        let (clone, (sender, receiver)) = (journal.clone(), mpsc::channel());
        let found = in_callback(&journal, move || {
            clone.append_pending(&entries(2..=2, 1)).unwrap().on_durable(Box::new(move |result| {
                sender.send(result.unwrap()).unwrap();
            }));
            clone.set_lazy(b"committed", b"1").unwrap();
            log(&clone)
        });
        assert_eq!(found, entries(1..=2, 1));
        assert_eq!(receiver.recv().unwrap(), Position::new(2, 1));
        assert_eq!(journal.get(b"committed").unwrap().as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn a_call_that_would_wait_inside_a_callback_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        let clone = journal.clone();
        let results = in_callback(&journal, move || {
            let pending = clone.append_pending(&entries(2..=2, 1)).unwrap();
            [
                ("wait", pending.wait().map(drop)),
                ("append", clone.append(&entries(3..=3, 1)).map(drop)),
                ("replace_tail", clone.replace_tail(&entries(1..=1, 1)).map(drop)),
                ("truncate_tail", clone.truncate_tail(1)),
                ("commit", clone.truncate_head(Position::new(1, 1))),
                ("commit", clone.set(b"vote", b"me")),
                ("sync", clone.sync()),
                ("close", clone.close()),
            ]
        });
        for (expected, result) in results {
            let Err(Error::BlockingCallInCallback { call }) = result else { panic!("{expected}: {result:?}") };
            assert!(call.ends_with(expected), "{call} is not {expected}");
        }
        assert_eq!(log(&journal), entries(1..=2, 1));
        journal.append(&entries(3..=3, 1)).unwrap();
        // Another journal's calls are none of this one's.
        let other = disk.beside("other").open();
        in_callback(&journal, move || append_each(&other, &entries(1..=3, 1)));
    });
}

#[test]
fn a_pending_write_can_be_awaited() {
    on_both(|disk| {
        if let Some(sim) = &disk.sim {
            sim.threaded_tasks();
        }
        let journal = disk.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
            assert_eq!(pending.await.unwrap(), Position::new(3, 1));
            assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
            let (first, second) = (entries(4..=4, 1), entries(5..=5, 1));
            let pair = (journal.append_pending(&first).unwrap(), journal.append_pending(&second).unwrap());
            let (first, second) = tokio::join!(pair.0, pair.1);
            assert_eq!((first.unwrap().index, second.unwrap().index), (4, 5));
            assert_eq!(journal.append_pending(&[]).unwrap().await.unwrap(), Position::new(5, 1));
        });
    });
}

#[test]
fn an_awaited_write_is_told_of_a_failed_sync() {
    let disk = Disk::simulated();
    disk.sim().threaded_tasks();
    let journal = disk.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    assert!(matches!(runtime.block_on(pending), Err(Error::Poisoned { .. })));
}

#[test]
fn callbacks_run_before_the_journal_answers_closed() {
    on_both(|disk| {
        if let Some(sim) = &disk.sim {
            sim.queue_tasks(true);
        }
        let journal = disk.open();
        let told = Arc::new(Mutex::new(Vec::new()));
        for index in 1..=3 {
            let (told, clone) = (Arc::clone(&told), journal.clone());
            journal.append_pending(&entries(index..=index, 1)).unwrap().on_durable(Box::new(move |result| {
                told.lock().unwrap().push((result.unwrap().index, clone.entry(1).is_ok()));
            }));
        }
        journal.close().unwrap();
        assert_eq!(*told.lock().unwrap(), [(1, true), (2, true), (3, true)]);
        assert!(matches!(journal.entry(1), Err(Error::Closed)));
        let report = disk.open().recovery_report().clone();
        assert!(report.clean);
    });
}

#[test]
fn dropping_the_last_handle_inside_a_callback_closes_without_hanging() {
    on_both(|disk| {
        if let Some(sim) = &disk.sim {
            sim.threaded_tasks();
        }
        let journal = disk.open();
        let pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
        let ((go, gone), (sender, receiver)) = (mpsc::channel(), mpsc::channel());
        let clone = journal.clone();
        pending.on_durable(Box::new(move |result| {
            gone.recv().unwrap();
            drop(clone);
            sender.send(result.unwrap()).unwrap();
        }));
        drop(journal);
        go.send(()).unwrap();
        assert_eq!(receiver.recv().unwrap(), Position::new(3, 1));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=3, 1));
        assert!(journal.recovery_report().clean);
    });
}

#[test]
fn a_dropped_pending_write_is_still_made_durable_by_the_next_sync() {
    let disk = Disk::simulated();
    let journal = disk.open();
    drop(journal.append_pending(&entries(1..=3, 1)).unwrap());
    assert_eq!(log(&Disk::of(disk.sim().after_power_cut(Survival::Nothing)).open()), []);
    journal.sync().unwrap();
    assert_eq!(log(&Disk::of(disk.sim().after_power_cut(Survival::Nothing)).open()), entries(1..=3, 1));
}

#[test]
fn the_durable_position_drops_when_a_replacement_is_published_and_comes_back() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=9, 1)).unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(9, 1)));
        let pending = journal.replace_tail_pending(&entries(4..=20, 2)).unwrap();
        assert_eq!(journal.state().last, Some(Position::new(20, 2)));
        assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
        let later = journal.append_pending(&entries(21..=21, 2)).unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
        pending.wait().unwrap();
        assert!(journal.state().durable >= Some(Position::new(20, 2)));
        later.wait().unwrap();
        assert_eq!(journal.state().durable, journal.state().last);
        let pending = journal.replace_tail_pending(&entries(1..=1, 3)).unwrap();
        assert_eq!(journal.state().durable, None);
        pending.wait().unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(1, 3)));
    });
}

// Snapshots and small state

#[test]
fn a_snapshot_beyond_the_end_empties_the_log_and_the_next_append_follows_it() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        let position = Position::new(1000, 7);
        journal.truncate_head(position).unwrap();
        let check = |journal: &Journal| {
            let state = journal.state();
            assert_eq!((state.purged, state.last, state.durable), (Some(position), Some(position), Some(position)));
            assert_eq!((state.first_index(), state.last_index(), state.next_index()), (None, None, Some(1001)));
            assert_eq!(journal.term(1000).unwrap(), 7);
            assert!(matches!(journal.entry(40), Err(Error::BeforeFirst { first: 1001, .. })));
        };
        check(&journal);
        check(&disk.killed().open());
        journal.close().unwrap();
        let journal = disk.open();
        check(&journal);
        assert!(matches!(journal.append(&entries(41..=41, 7)), Err(Error::Overlap { .. })));
        assert!(matches!(journal.append(&entries(1002..=1002, 7)), Err(Error::Gap { expected: 1001, .. })));
        append_each(&journal, &entries(1001..=1040, 7));
        assert_eq!(log(&disk.killed().open()), entries(1001..=1040, 7));
    });
}

#[test]
fn a_snapshot_over_another_term_empties_the_log() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.truncate_head(Position::new(20, 2)).unwrap();
        assert_eq!(log(&journal), []);
        assert_eq!(journal.state().last, Some(Position::new(20, 2)));
        append_each(&journal, &entries(21..=25, 2));
        assert_eq!(log(&journal), entries(21..=25, 2));
        assert_eq!(log(&disk.killed().open()), entries(21..=25, 2));
        // Where the term agrees, what follows stays.
        journal.truncate_head(Position::new(23, 2)).unwrap();
        assert_eq!(log(&disk.killed().open()), entries(24..=25, 2));
    });
}

#[test]
fn a_log_may_start_at_any_index_and_start_over_elsewhere_while_it_is_empty() {
    on_both(|disk| {
        for first in [0, 1, 2, 1 << 40] {
            let disk = disk.beside(&format!("from {first}"));
            let journal = disk.open();
            append_each(&journal, &entries(first..=first + 3, 1));
            assert_eq!(journal.state().first_index(), Some(first));
            journal.truncate_tail(first).unwrap();
            assert_eq!((journal.state().first_index(), journal.state().last), (None, None));
            append_each(&journal, &entries(7..=9, 1));
            assert_eq!(log(&disk.killed().open()), entries(7..=9, 1));
        }
    });
}

#[test]
fn a_durable_set_is_a_barrier_for_the_appends_before_it() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let _pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
    journal.set_u64(b"vote", 1).unwrap();
    assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
    let journal = Disk::of(disk.sim().after_power_cut(Survival::Nothing)).open();
    assert_eq!((log(&journal), journal.get_u64(b"vote").unwrap()), (entries(1..=3, 1), Some(1)));
}

#[test]
fn a_lazy_value_is_seen_at_once_and_durable_with_the_next_commit() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let after_cut = || {
        let journal = Disk::of(disk.sim().after_power_cut(Survival::Nothing)).open();
        journal.get(b"committed").unwrap().map(|value| value.to_vec())
    };
    let before = disk.sim().counts();
    journal.set_lazy(b"committed", b"1").unwrap();
    assert_eq!(disk.sim().counts(), before, "no I/O");
    assert_eq!(journal.get(b"committed").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(after_cut(), None);
    journal.set(b"vote", b"me").unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"1"[..]));
    journal.set_lazy(b"committed", b"2").unwrap();
    journal.truncate_head(Position::new(5, 1)).unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"2"[..]));
    journal.set_lazy(b"committed", b"3").unwrap();
    journal.set_lazy(b"vote", b"nobody").unwrap();
    journal.remove(b"vote").unwrap();
    assert_eq!((after_cut().as_deref(), journal.get(b"vote").unwrap()), (Some(&b"3"[..]), None));
    journal.set_lazy(b"committed", b"4").unwrap();
    journal.close().unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"4"[..]), "at the latest at close");
}

#[test]
fn several_changes_and_a_head_truncation_become_durable_in_one_step() {
    let commit = |journal: &Journal| {
        let changes =
            Changes::new().set_u64("vote", 2).set("name", "me").remove("old").truncate_head(Position::new(7, 1));
        journal.commit(&changes)
    };
    let prepared = || {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=9, 1));
        journal.set(b"old", b"1").unwrap();
        (disk, journal)
    };
    let look = |journal: &Journal| {
        let get = |key: &[u8]| journal.get(key).unwrap().map(|value| value.to_vec());
        (journal.get_u64(b"vote").unwrap(), get(b"name"), get(b"old"), journal.state().purged, log(journal))
    };
    let (_disk, journal) = prepared();
    let before = look(&journal);
    commit(&journal).unwrap();
    let after = look(&journal);
    assert_ne!(before, after);
    let mut seen = [0; 2];
    for cut in 0.. {
        let (disk, journal) = prepared();
        disk.sim().cut_power_at(disk.sim().mutations() + cut);
        let acknowledged = commit(&journal).is_ok();
        if !disk.sim().is_power_off() {
            break;
        }
        for seed in 0..30 {
            let found = look(&Disk::of(disk.sim().after_power_cut(Survival::Random(seed))).open());
            assert!(found == after || (found == before && !acknowledged), "cut {cut}, seed {seed}: {found:?}");
            seen[usize::from(found == after)] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

#[test]
fn a_read_only_open_beside_a_live_writer_sees_what_was_there_and_writes_nothing() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.set_u64(b"vote", 3).unwrap();
        let mutations = disk.sim.as_ref().map(|sim| sim.mutations());
        let reader = disk.options().read_only(true).open(&disk.dir).unwrap();
        assert_eq!(disk.sim.as_ref().map(|sim| sim.mutations()), mutations);
        assert_eq!(log(&reader), entries(1..=40, 1));
        assert_eq!(reader.get_u64(b"vote").unwrap(), Some(3));
        append_each(&journal, &entries(41..=60, 1));
        journal.set_u64(b"vote", 4).unwrap();
        assert_eq!((log(&reader), reader.get_u64(b"vote").unwrap()), (entries(1..=40, 1), Some(3)), "as it was");
        let later = disk.options().read_only(true).open(&disk.dir).unwrap();
        assert_eq!((log(&later), later.get_u64(b"vote").unwrap()), (entries(1..=60, 1), Some(4)));
        drop((reader, later));
        append_each(&journal, &entries(61..=62, 1));
        journal.close().unwrap();
        assert_eq!(log(&disk.open()), entries(1..=62, 1));
    });
}

#[test]
fn read_only_opens_beside_a_busy_writer_always_succeed() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut opens = 0;
                while !done.load(Ordering::Relaxed) || opens == 0 {
                    let reader = disk.options().read_only(true).open(&disk.dir).unwrap();
                    assert!(reader.state().last_index() >= Some(5));
                    opens += 1;
                }
            });
            (6..=120).for_each(|index| append_each(&journal, &entries(index..=index, 1)));
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_node_can_hold_a_journal_as_trait_objects() {
    on_both(|disk| {
        let journal = disk.open();
        let (log, state): (Arc<dyn LogStore>, Arc<dyn StableStore>) = (Arc::new(journal.clone()), Arc::new(journal));
        std::thread::spawn(move || {
            log.append(&entries(1..=3, 1)).unwrap();
            state.set_u64(b"vote", 1).unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(Model::of(&disk.open()).entries.len(), 3);
    });
}
