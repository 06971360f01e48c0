//! How a journal says that it is: each row of `Health`, as it comes and as it goes.

mod common;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use common::{Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, on_both};
use raft_journal::io::sim::{Fault, OperationKind, Schedule, SimFs};
use raft_journal::io::{Fs, Lane};
use raft_journal::{
    Error, Health, Journal, LogStore, OnDamage, OpenOptions, Position, StableStore, VerifyOptions, VerifyProgress,
};

const SECOND: Duration = Duration::from_secs(1);

fn options(disk: &Disk) -> OpenOptions {
    disk.options().nearly_full_bytes(0)
}

fn open(disk: &Disk) -> Journal {
    options(disk).open(&disk.dir).unwrap()
}

fn verify(journal: &Journal) {
    journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn a_journal_without_trouble_is_healthy() {
    on_both(|disk| {
        let journal = open(disk);
        append_each(&journal, &entries(1..=60, 1));
        journal.set(b"vote", b"me").unwrap();
        verify(&journal);
        // A caller's mistake is none of the disk's.
        journal.append(&entries(90..=90, 1)).unwrap_err();
        journal.entry(70).unwrap_err();
        assert!(journal.health().is_healthy(), "{}", journal.health());
        let stats = journal.stats();
        assert!(journal.last_error().is_none() && stats.last_error.is_none() && stats.errors == 0);
        let beside = options(disk).read_only(true).open(&disk.dir).unwrap();
        assert!(beside.health().is_healthy());
    });
}

#[test]
fn a_sync_in_flight_is_stalled_with_its_age_and_healthy_when_it_returns() {
    let disk = Disk::simulated();
    let journal = options(&disk).stalled_after(2 * SECOND).slow_sync_after(SECOND).open(&disk.dir).unwrap();
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        let appender = scope.spawn(|| journal.append(&entries(1..=1, 1)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        assert!(journal.health().is_healthy(), "not yet");
        disk.sim().advance_clock(SECOND);
        assert!(journal.health().is_healthy(), "not yet");
        disk.sim().advance_clock(SECOND);
        assert!(matches!(journal.health(), Health::Stalled { age } if age == 2 * SECOND), "{}", journal.health());
        disk.sim().advance_clock(SECOND);
        assert!(matches!(journal.health(), Health::Stalled { age } if age == 3 * SECOND), "{}", journal.health());
        drop(hold);
        appender.join().unwrap();
    });
    assert!(journal.health().is_healthy(), "{}", journal.health());
    let stats = journal.stats();
    assert_eq!((stats.syncs, stats.slow_syncs), (1, 1));
    // To within a quarter.
    assert_eq!(stats.sync_micros.quantile(1.0), Some(3_000_000));
    assert_eq!((stats.sync_micros.max(), stats.append_micros.max()), (3_000_000, 3_000_000));
}

#[test]
fn a_commit_of_meta_in_flight_is_stalled_too() {
    let disk = Disk::simulated();
    let journal = open(&disk);
    let commits = journal.stats().commits;
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        let voter = scope.spawn(|| journal.set(b"vote", b"me").unwrap());
        disk.sim().wait_for_held_syncs(1);
        disk.sim().advance_clock(5 * SECOND);
        assert!(matches!(journal.health(), Health::Stalled { age } if age == 5 * SECOND), "{}", journal.health());
        drop(hold);
        voter.join().unwrap();
    });
    assert!(journal.health().is_healthy());
    let stats = journal.stats();
    assert_eq!((stats.commits, stats.commit_micros.max()), (commits + 1, 5_000_000));
}

#[test]
fn an_append_that_waits_for_its_next_file_is_stalled_too() {
    let disk = Disk::simulated();
    let journal = open(&disk);
    // Larger than the file that is prepared: the append has to make another one.
    let large = [raft_journal::Entry::new(1, 1, vec![7; 20 << 10])];
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        let appender = scope.spawn(|| journal.append(&large).unwrap());
        disk.sim().wait_for_held_syncs(1);
        assert_eq!(journal.stats().syncs, 0);
        disk.sim().advance_clock(4 * SECOND);
        assert!(matches!(journal.health(), Health::Stalled { age } if age == 4 * SECOND), "{}", journal.health());
        drop(hold);
        appender.join().unwrap();
    });
    assert!(journal.health().is_healthy(), "{}", journal.health());
    assert_eq!(journal.stats().rotations, 1);
}

#[test]
fn a_repair_in_flight_is_stalled_too() {
    let disk = Disk::simulated();
    let journal = options(&disk).tail_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=60, 1));
    let (name, at) = disk.find(&entries(5..=5, 1)[0].data);
    disk.flip(&name, at);
    journal.entry(5).unwrap_err();
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        let healer = scope.spawn(|| journal.repair(&entries(5..=5, 1)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        disk.sim().advance_clock(3 * SECOND);
        assert!(matches!(journal.health(), Health::Stalled { age } if age == 3 * SECOND), "{}", journal.health());
        drop(hold);
        healer.join().unwrap();
    });
    assert!(journal.health().is_healthy(), "{}", journal.health());
}

/// A node in a schedule steps down when its disk hangs, and comes back.
#[test]
fn a_scheduled_node_sees_the_stall_and_its_end() {
    for seed in 0..60 {
        let sim = SimFs::new();
        let disk = Disk::of(sim.clone());
        let journal = open(&disk);
        let (writer, watcher, tasks) = (journal.clone(), journal, sim.tasks());
        let hold = sim.hold_syncs();
        let append = move || assert_eq!(writer.append(&entries(1..=3, 1)).unwrap().index, 3);
        let watch = move || {
            sim.wait_for_held_syncs(1);
            assert!(watcher.health().is_healthy());
            let age = loop {
                tasks.sleep(SECOND / 4);
                if let Health::Stalled { age } = watcher.health() {
                    break age;
                }
            };
            assert!(age >= SECOND && age < 2 * SECOND, "{age:?}");
            drop(hold);
            while matches!(watcher.health(), Health::Stalled { .. }) {
                tasks.sleep(SECOND / 4);
            }
            assert!(watcher.health().is_healthy());
        };
        let schedule = Schedule::new(seed).thread("append", append).thread("watch", watch);
        schedule.run().unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
    }
}

#[test]
fn an_idle_look_does_not_wait_behind_a_sync_that_hangs() {
    let disk = Disk::simulated();
    let journal = open(&disk);
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        scope.spawn(|| journal.append(&entries(1..=1, 1)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        // Each look would commit the mark, and so wait for this very sync.
        assert!((0..4).all(|_| disk.sim().pass_time() == 1));
        drop(hold);
    });
    while disk.sim().pass_time() > 0 {}
    assert!(disk.after_power_cut(raft_journal::io::sim::Survival::Nothing).open().recovery_report().suspect.is_some());
}

#[test]
fn a_failed_sync_is_poisoned_with_its_cause() {
    let disk = Disk::simulated();
    let journal = open(&disk);
    disk.sim().fail_next(OperationKind::Sync, ErrorKind::Other);
    journal.append(&entries(1..=1, 1)).unwrap_err();
    let Health::Poisoned { cause } = journal.health() else { panic!("{}", journal.health()) };
    assert!(matches!(&*cause, Error::Io { op: "sync", .. }), "{cause}");
    assert_eq!(journal.stats().errors, 1);
    disk.sim().advance_clock(7 * SECOND);
    let last = journal.last_error().unwrap();
    assert!(matches!(last.error, Error::Io { op: "sync", .. }) && last.age == 7 * SECOND, "{last:?}");
    let last = journal.stats().last_error.unwrap();
    assert!(matches!(last.error, Error::Io { op: "sync", .. }) && last.age == 7 * SECOND, "{last:?}");
}

#[test]
fn accepted_damage_is_damaged_until_it_is_purged() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=30, 1));
    let disk = disk.killed();
    let (name, at) = disk.find(&entries(12..=12, 1)[0].data);
    disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
    let options = options(&disk).segment_bytes(64 << 10).on_damage(OnDamage::Accept);
    let journal = options.open(&disk.dir).unwrap();
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(12)), "{}", journal.health());
    journal.truncate_head(Position::new(11, 1)).unwrap();
    assert!(matches!(journal.health(), Health::Damaged { .. }));
    journal.truncate_head(Position::new(12, 1)).unwrap();
    assert!(journal.health().is_healthy(), "{}", journal.health());
}

#[test]
fn damage_is_over_once_the_tail_is_replaced() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Met {
        AtOpen,
        ByReader,
        ByPass,
    }
    let damaged = |met: Met| {
        let disk = Disk::simulated();
        let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=30, 1));
        let disk = disk.killed();
        let (name, at) = disk.find(&entries(12..=12, 1)[0].data);
        let options = options(&disk).segment_bytes(64 << 10).tail_cache_bytes(0).on_damage(OnDamage::Accept);
        if met == Met::AtOpen {
            disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
            let journal = options.open(&disk.dir).unwrap();
            return (disk, journal);
        }
        let journal = options.open(&disk.dir).unwrap();
        disk.flip(&name, at);
        match met {
            Met::ByPass => verify(&journal),
            _ => _ = journal.entry(12).unwrap_err(),
        }
        (disk, journal)
    };
    for met in [Met::AtOpen, Met::ByReader, Met::ByPass] {
        for first in [12, 5] {
            let (disk, journal) = damaged(met);
            let is_damaged = || matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(12));
            assert!(is_damaged(), "{met:?}: {}", journal.health());
            journal.replace_tail(&entries(13..=13, 2)).unwrap();
            assert!(is_damaged(), "{met:?}: {}", journal.health());
            journal.truncate_tail(first).unwrap();
            journal.append(&entries(first..=20, 3)).unwrap();
            assert!(journal.health().is_healthy(), "{met:?}: {}", journal.health());
            journal.close().unwrap();
            let journal = options(&disk).open(&disk.dir).unwrap();
            assert_eq!(journal.entry(12).unwrap().term, 3);
            assert!(journal.health().is_healthy(), "{met:?}: {}", journal.health());
        }
    }
}

#[test]
fn damage_that_a_reader_or_a_pass_meets_is_damaged_until_a_pass_finds_none() {
    on_both(|disk| {
        let journal = options(disk).tail_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=60, 1));
        let (name, at) = disk.find(&entries(20..=20, 1)[0].data);
        disk.flip(&name, at);
        assert!(journal.health().is_healthy(), "nobody has met it");
        journal.entry(20).unwrap_err();
        assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(20)));
        assert!(matches!(journal.last_error().unwrap().error, Error::Damaged(_)));
        verify(&journal);
        assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(20)));
        let last = journal.last_verify().unwrap();
        assert!(last.report.complete && last.report.losses().count() == 1);
        assert_eq!((journal.stats().verify_passes, journal.stats().verify_faults), (1, 1));
        disk.flip(&name, at);
        verify(&journal);
        assert!(journal.health().is_healthy(), "{}", journal.health());
        assert_eq!((journal.stats().verify_passes, journal.stats().verify_faults), (2, 0));
    });
}

#[test]
fn damage_is_over_once_it_is_put_back() {
    let disk = Disk::simulated();
    let held = entries(1..=60, 1);
    let journal = open(&disk);
    append_each(&journal, &held);
    let disk = disk.killed();
    let spoil = |index: usize| {
        let (name, at) = disk.find(&held[index - 1].data);
        disk.flip(&name, at + 20);
    };
    // What was in use last is read when it is opened, the rest when somebody reads.
    spoil(58);
    let journal = options(&disk).on_damage(OnDamage::Accept).open(&disk.dir).unwrap();
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(58)), "{}", journal.health());
    journal.repair(&held[57..58]).unwrap();
    assert!(journal.health().is_healthy(), "{}", journal.health());
    spoil(5);
    journal.entry(5).unwrap_err();
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(5)));
    journal.repair(&held[4..5]).unwrap();
    assert!(journal.health().is_healthy(), "{}", journal.health());
    spoil(7);
    verify(&journal);
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(7)));
    // Nobody has read it.
    let named: Vec<_> = journal.damaged().iter().map(|damage| (damage.indexes.first, damage.indexes.end)).collect();
    assert_eq!(named, [(7, Some(8))]);
    journal.repair(&held[6..7]).unwrap();
    assert!(journal.health().is_healthy(), "{}", journal.health());
    // One that is purged does not hide the next one.
    spoil(9);
    spoil(20);
    journal.entry(9).unwrap_err();
    journal.truncate_head(Position::new(10, 1)).unwrap();
    journal.entry(20).unwrap_err();
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(20)));
    journal.repair(&held[19..20]).unwrap();
    journal.close().unwrap();
    assert!(open(&disk).health().is_healthy());
}

#[test]
fn a_file_system_with_little_room_is_nearly_full() {
    let disk = Disk::simulated();
    let journal = disk.options().open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=20, 1));
    assert!(journal.health().is_healthy(), "nobody knows a bound");
    for (room, full) in [(100 << 10, false), (16 << 10, false), (12 << 10, true), (0, true)] {
        disk.sim().set_capacity(Some(disk.sim().bytes_used() + room));
        let health = journal.health();
        // Twice the segments' size.
        assert_eq!(matches!(health, Health::NearlyFull { free_bytes } if free_bytes == Some(room)), full, "{health}");
        assert_eq!(health.is_healthy(), !full);
    }
    let real = Disk::real();
    let journal = real.options().nearly_full_bytes(u64::MAX).open(&real.dir).unwrap();
    assert!(matches!(journal.health(), Health::NearlyFull { free_bytes: Some(bytes) } if bytes > 0));
    assert!(open(&real.beside("other")).health().is_healthy());
}

#[test]
fn a_file_that_could_not_be_prepared_is_nearly_full_until_one_can() {
    let disk = Disk::simulated();
    let journal = open(&disk);
    disk.sim().inject(Fault::new(OperationKind::Allocate, ErrorKind::StorageFull).always());
    let mut next = 1;
    while journal.health().is_healthy() {
        append_each(&journal, &entries(next..=next, 1));
        next += 1;
    }
    assert!(matches!(journal.health(), Health::NearlyFull { free_bytes: None }), "{}", journal.health());
    // Nobody was told: an append did not need the file yet.
    assert!(matches!(journal.last_error().unwrap().error, Error::NoSpace { .. }));
    disk.sim().clear_faults();
    append_each(&journal, &entries(next..=next + 1, 1));
    assert!(journal.health().is_healthy(), "{}", journal.health());
}

#[test]
fn a_scrub_finds_damage_by_itself_and_goes_on_until_the_journal_is_closed() {
    let disk = Disk::simulated();
    let journal = options(&disk).scrub(1 << 20, 60 * SECOND).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=60, 1));
    let pass = |wanted: u64| {
        while journal.stats().verify_passes < wanted {
            assert!(disk.sim().pass_time() > 0);
        }
    };
    pass(2);
    assert!(journal.last_verify().unwrap().report.faults.is_empty() && journal.health().is_healthy());
    assert!(journal.stats().verify_bytes > 2 * 20_000);
    let (name, at) = disk.find(&entries(20..=20, 1)[0].data);
    disk.flip(&name, at);
    pass(4);
    assert!(matches!(journal.health(), Health::Damaged { indexes } if indexes.contains(20)));
    let last = journal.last_verify().unwrap();
    assert!(last.report.losses().count() == 1 && last.age <= 120 * SECOND, "{last:#?}");
    journal.close().unwrap();
    while disk.sim().pass_time() > 0 {}
    assert_eq!(journal.stats().verify_passes, 4);
    // None that nobody asked for.
    let journal = open(&disk);
    while disk.sim().pass_time() > 0 {}
    assert!(journal.last_verify().is_none() && journal.stats().verify_bytes == 0);
}

#[test]
fn a_scrub_keeps_its_rate_and_finds_nothing_beside_writers_in_any_order() {
    for seed in 0..40 {
        let sim = SimFs::new();
        sim.set_log(false);
        let disk = Disk::of(sim.clone());
        let journal = options(&disk).scrub(20_000, SECOND).open(&disk.dir).unwrap();
        let (writer, tasks) = (journal.clone(), sim.tasks());
        let work = move || {
            for index in (1..=200).step_by(4) {
                append_each(&writer, &entries(index..=index + 3, 1));
                writer.replace_tail(&entries(index + 3..=index + 3, 1)).unwrap();
                if index > 60 && index % 20 == 1 {
                    writer.truncate_head(Position::new(index - 50, 1)).unwrap();
                }
                tasks.sleep(SECOND / 5);
            }
            let (stats, now) = (writer.stats(), tasks.now());
            assert!(stats.verify_passes > 0 && stats.verify_faults == 0, "{:#?}", writer.last_verify());
            // One step more may be under way.
            let allowed = now.as_secs_f64() * 20_000.0 + 60_000.0;
            assert!((stats.verify_bytes as f64) < allowed, "{} in {now:?}", stats.verify_bytes);
            assert!(writer.health().is_healthy(), "{}", writer.health());
            writer.close().unwrap();
        };
        drop(journal);
        let schedule = Schedule::new(seed).thread("writer", work);
        schedule.run().unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
    }
}

#[test]
fn a_scrub_runs_on_the_operating_systems_threads() {
    let disk = Disk::real();
    let journal = options(&disk).scrub(u64::MAX, Duration::ZERO).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=60, 1));
    while journal.stats().verify_passes < 3 {
        std::thread::yield_now();
    }
    assert!(journal.last_verify().unwrap().report.faults.is_empty());
    journal.close().unwrap();
    // The lane serves others.
    let (sender, receiver) = std::sync::mpsc::channel();
    let tasks: Arc<dyn raft_journal::io::Tasks> = disk.fs.tasks();
    tasks.submit(Lane::Housekeeping, Box::new(move || sender.send(()).unwrap()));
    receiver.recv().unwrap();
}

// Guards: what a pass had found in one piece and was put back piece by piece, or while the next pass went on, stayed damage.
#[test]
fn damage_is_over_once_all_its_pieces_are_put_back_also_while_a_pass_goes_on() {
    for meanwhile in [false, true] {
        let disk = Disk::simulated();
        let held = entries(1..=60, 1);
        let journal = options(&disk).tail_cache_bytes(0).open(&disk.dir).unwrap();
        held.chunks(6).for_each(|batch| _ = journal.append(batch).unwrap());
        // With the batch's header: they are found in one piece.
        let (name, at) = disk.find(&held[6].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        for entry in &held[6..10] {
            let (name, at) = disk.find(&entry.data);
            disk.flip(&name, at + 20);
        }
        let heal = || {
            let damaged = journal.damaged();
            assert_eq!(damaged.iter().map(|damage| damage.indexes.end.unwrap() - damage.indexes.first).sum::<u64>(), 4);
            held[6..10].iter().for_each(|entry| journal.repair(std::slice::from_ref(entry)).unwrap());
        };
        verify(&journal);
        assert!(matches!(journal.health(), Health::Damaged { .. }), "{}", journal.health());
        if meanwhile {
            let mut healed = false;
            let look = |progress: &VerifyProgress| {
                // Behind what the pass has read.
                if progress.faults > 0 && !std::mem::replace(&mut healed, true) {
                    heal();
                }
                ControlFlow::Continue(())
            };
            journal.verify(&VerifyOptions::new(), look).unwrap();
            assert!(healed);
        } else {
            heal();
        }
        assert!(journal.health().is_healthy(), "{meanwhile}: {}", journal.health());
        assert_eq!(journal.damaged(), []);
    }
}

// Guards: of a segment without index and with a bad batch, each entry was looked for in all of its batches.
#[test]
fn a_segment_of_which_nobody_knows_the_places_is_named_without_reading_it_for_each_entry() {
    let disk = Disk::simulated();
    let journal = options(&disk).segment_bytes(64 << 10).tail_cache_bytes(0).open(&disk.dir).unwrap();
    let held: Vec<_> = (1..=2000).map(|index| entry(index, 1, 60)).collect();
    held.chunks(20).for_each(|batch| _ = journal.append(batch).unwrap());
    let (name, end) = (disk.chain()[0].clone(), journal.segments().unwrap()[0].indexes.end);
    let (_, at) = disk.find(&held[300].data);
    disk.flip(&name, at - 2);
    // All of the index.
    let (_, after) = disk.find(&held[end as usize - 2].data);
    (after + 100..disk.bytes(&name).len() - 600).step_by(64).for_each(|at| disk.flip(&name, at));
    verify(&journal);
    let before = disk.sim().counts().bytes_read;
    let damaged = journal.damaged();
    let read = disk.sim().counts().bytes_read - before;
    assert!(!damaged.is_empty() && damaged.iter().all(|damage| damage.indexes.first < end), "{damaged:#?}");
    assert!(read < 20 * (64 << 10), "{read} bytes for {} ranges", damaged.len());
}
