//! What a journal says that it has done, held against what the simulated disk was asked for.

mod common;

use std::sync::Arc;

use common::{Disk, append_each, append_until_a_spare_is_due, entries};
use raft_journal::io::sim::{OperationKind, Survival};
use raft_journal::{Changes, Error, LogStore, Position, StableStore, Stats};

/// How many segments were left behind since the journal was opened.
fn rotations(disk: &Disk, before: &[String]) -> u64 {
    // Every file behind the active one would be a spare.
    disk.segments().iter().filter(|name| !before.contains(name)).count() as u64
}

fn numbers(stats: &Stats) -> (u64, u64, u64, u64) {
    (stats.batches, stats.syncs, stats.rotations, stats.spare_not_ready)
}

#[test]
fn a_journal_that_was_just_opened_has_done_nothing() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let idle = |stats: Stats| {
        assert_eq!(numbers(&stats), (0, 0, 0, 0), "{stats:?}");
        assert_eq!((stats.appends, stats.entries, stats.bytes, stats.bytes_written), (0, 0, 0, 0), "{stats:?}");
        assert_eq!(
            (stats.cache_hits, stats.cache_misses, stats.index_hits, stats.index_misses),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        assert_eq!(
            (stats.errors, stats.verify_passes, stats.verify_bytes, stats.verify_faults),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        assert_eq!(stats.sync_micros.count() + stats.append_micros.count() + stats.group_size.count(), 0, "{stats:?}");
        (stats.commits, stats.segments)
    };
    // It names its first segment, in the same commit that begins its life.
    assert_eq!(idle(journal.stats()), (1, 1));
    append_each(&journal, &entries(1..=60, 1));
    let segments = journal.stats().segments;
    assert!(segments > 2);
    journal.close().unwrap();
    assert_eq!(idle(disk.open_read_only().stats()), (0, segments));
    assert_eq!(idle(disk.open().stats()), (1, segments));
}

#[test]
fn appends_are_counted_with_what_they_wrote_and_how_many_a_sync_served() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=5, 1)).unwrap();
    journal.replace_tail(&entries(5..=6, 2)).unwrap();
    journal.truncate_tail(6).unwrap();
    let pending: Vec<_> = (6..=9).map(|index| journal.append_pending(&entries(index..=index, 2)).unwrap()).collect();
    pending.into_iter().rev().for_each(|pending| _ = pending.wait().unwrap());
    let stats = journal.stats();
    assert_eq!((stats.appends, stats.entries, stats.bytes), (6, 11, 11 * 300));
    // A header for each batch and each entry; 300, 20 and 72 are not all multiples of 8.
    let batch = |entries: u64| (72 + entries * 320_u64).next_multiple_of(8);
    assert_eq!(stats.bytes_written, batch(5) + batch(2) + batch(0) + 4 * batch(1));
    assert_eq!((stats.group_size.count(), stats.group_size.sum(), stats.group_size.max()), (4, 7, 4));
    assert_eq!((stats.sync_micros.count(), stats.append_micros.count()), (4, 2));
}

#[test]
fn reads_are_counted_by_where_they_were_served_from() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    journal.entry(3).unwrap();
    journal.entries(1..61, u64::MAX).unwrap();
    journal.entry(70).unwrap_err();
    let stats = journal.stats();
    assert_eq!((stats.cache_hits, stats.cache_misses, stats.index_hits + stats.index_misses), (61, 0, 0));
    journal.close().unwrap();
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    for _ in 0..3 {
        journal.entry(3).unwrap();
    }
    journal.entries(1..61, u64::MAX).unwrap();
    let stats = journal.stats();
    assert_eq!((stats.cache_hits, stats.cache_misses), (0, 63));
    // One page for each sealed segment; each is read once.
    assert_eq!(stats.index_misses, stats.segments - 1, "{stats:?}");
    assert!(stats.index_hits >= 3, "{stats:?}");
}

#[test]
fn a_range_that_ends_with_its_budget_counts_what_came_from_memory() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=9, 1));
    assert_eq!(journal.entries(1..10, 900).unwrap().len(), 3);
    assert_eq!((journal.stats().cache_hits, journal.stats().cache_misses), (3, 0));
}

#[cfg(feature = "encryption")]
#[test]
fn bytes_are_those_of_the_payloads_whatever_is_stored() {
    for is_encrypted in [false, true] {
        let disk = Disk::simulated();
        let options = if is_encrypted { common::encrypted(disk.options()) } else { disk.options() };
        let journal = options.open(&disk.dir).unwrap();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.truncate_tail(3).unwrap();
        assert_eq!((journal.stats().entries, journal.stats().bytes), (3, 900), "{is_encrypted}");
    }
}

#[test]
fn live_and_dead_bytes_follow_truncations_at_both_ends() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=100, 1));
    let full = journal.stats();
    // 72 and 20 bytes of headers, 300 of payload; nothing is dead but the room that alignment takes.
    assert_eq!((full.live_bytes, full.dead_bytes), (100 * 392, 0));
    journal.truncate_head(Position::new(2, 1)).unwrap();
    let purged = journal.stats();
    assert_eq!((purged.live_bytes, purged.dead_bytes), (98 * 392, 2 * 392));
    journal.truncate_head(Position::new(50, 1)).unwrap();
    let freed = journal.stats();
    assert!(freed.segments < full.segments && freed.live_bytes == 50 * 392, "{freed:?}");
    assert!(freed.dead_bytes < 8 << 10, "less than a file: {freed:?}");
    journal.truncate_tail(60).unwrap();
    let cut = journal.stats();
    assert!(cut.live_bytes.abs_diff(9 * 392) < 392 && cut.dead_bytes > 40 * 392, "{cut:?}");
    journal.truncate_head(Position::new(500, 3)).unwrap();
    assert_eq!((journal.stats().live_bytes, journal.stats().segments), (0, 1));
}

#[test]
fn each_batch_and_each_sync_of_the_log_counts_once() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=5, 1)).unwrap();
    journal.replace_tail(&entries(4..=6, 2)).unwrap();
    journal.truncate_tail(6).unwrap();
    assert_eq!(numbers(&journal.stats()), (3, 3, 0, 0));
    // Nothing to do, nothing to count.
    journal.append(&[]).unwrap();
    journal.truncate_tail(6).unwrap();
    journal.sync().unwrap();
    // Syncs of `meta` are none of the log's.
    journal.set(b"vote", b"me").unwrap();
    journal.truncate_head(Position::new(1, 1)).unwrap();
    assert_eq!(numbers(&journal.stats()), (3, 3, 0, 0));
    let pending: Vec<_> = (6..=15).map(|index| journal.append_pending(&entries(index..=index, 2)).unwrap()).collect();
    pending.into_iter().rev().for_each(|pending| _ = pending.wait().unwrap());
    assert_eq!(numbers(&journal.stats()), (13, 4, 0, 0));
    // A commit is a barrier: what was appended before is durable first.
    let _pending = journal.append_pending(&entries(16..=16, 2)).unwrap();
    journal.commit(&Changes::new().set("vote", "you")).unwrap();
    assert_eq!(numbers(&journal.stats()), (14, 5, 0, 0));
    journal.close().unwrap();
    // The index of what was appended.
    assert_eq!(numbers(&journal.stats()), (15, 6, 0, 0));
}

#[test]
fn a_failed_sync_counts_too() {
    let disk = Disk::simulated();
    let journal = disk.open();
    disk.sim().fail_next(OperationKind::Sync, std::io::ErrorKind::Other);
    journal.append(&entries(1..=1, 1)).unwrap_err();
    journal.append(&entries(2..=2, 1)).unwrap_err();
    assert_eq!(numbers(&journal.stats()), (1, 1, 0, 0));
}

#[test]
fn a_rotation_is_one_more_sync_and_finds_its_file_ready() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let before = disk.segments();
    append_each(&journal, &entries(1..=100, 1));
    let stats = journal.stats();
    assert!(stats.rotations >= 4, "{stats:?}");
    // The last one may have a spare behind it.
    assert!([0, 1].contains(&(rotations(&disk, &before) - stats.rotations)), "{stats:?}");
    assert_eq!(numbers(&stats), (100, 100 + stats.rotations, stats.rotations, 0));
}

#[test]
fn a_rotation_that_has_to_make_its_file_says_so() {
    let disk = Disk::simulated();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    append_each(&journal, &entries(1..=100, 1));
    let stats = journal.stats();
    assert!(stats.rotations >= 4, "{stats:?}");
    assert_eq!(stats.spare_not_ready, stats.rotations);
    // With the work in the background done in time, no more are added.
    for index in 101..=200 {
        disk.sim().run_tasks();
        append_each(&journal, &entries(index..=index, 1));
    }
    let later = journal.stats();
    assert!(later.rotations >= stats.rotations + 4, "{later:?}");
    assert_eq!(later.spare_not_ready, stats.spare_not_ready);
}

#[test]
fn a_batch_that_the_spare_is_too_small_for_finds_none_ready() {
    let disk = Disk::simulated();
    let journal = disk.open();
    journal.append(&entries(1..=15, 1)).unwrap();
    journal.append(&entries(16..=100, 1)).unwrap();
    assert_eq!(numbers(&journal.stats()), (2, 3, 1, 1));
}

#[test]
fn an_append_that_waits_for_a_file_that_is_being_made_says_so() {
    let disk = Disk::simulated();
    disk.sim().queue_tasks(true);
    let journal = disk.open();
    let next = append_until_a_spare_is_due(&disk, &journal);
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        // Whoever makes the spare is held in its sync.
        scope.spawn(|| disk.sim().run_tasks());
        disk.sim().wait_for_held_syncs(1);
        let appender = scope.spawn(|| {
            (next..=next + 20).for_each(|index| drop(journal.append_pending(&entries(index..=index, 1)).unwrap()));
        });
        // It says so while it waits, and whoever asks does not wait for it.
        while journal.stats().spare_not_ready == 0 {
            std::thread::yield_now();
        }
        assert_eq!(journal.stats().rotations, 0);
        drop(hold);
        appender.join().unwrap();
        journal.sync().unwrap();
    });
    assert!(journal.stats().rotations >= 1 && journal.stats().spare_not_ready >= 1);
}

#[test]
fn who_writes_faster_than_the_disk_syncs_waits_before_a_crash_may_take_more() {
    const BEHIND_BYTES_MAX: u64 = 20 << 20;
    common::on_both(|disk| {
        let journal = disk.options().segment_bytes(32 << 20).open(&disk.dir).unwrap();
        // No sync in the background ends by itself.
        disk.sim.iter().for_each(|sim| sim.queue_tasks(true));
        let (bytes, mut most) = (64 << 10, 0);
        // The first files are smaller, and leaving a file makes it durable.
        for index in 1..=(88 << 20) / bytes {
            drop(journal.append_pending(&[common::entry(index, 1, bytes as usize)]).unwrap());
            let durable = journal.state().durable.map_or(0, |durable| durable.index);
            most = most.max((index - durable) * bytes);
        }
        assert!(most < BEHIND_BYTES_MAX, "{most}");
        if disk.sim.is_some() {
            assert!(most > BEHIND_BYTES_MAX - 2 * bytes, "{most}: nobody waits before");
            assert_eq!(journal.stats().held_back, 2);
            let state = journal.state();
            assert!(disk.after_power_cut(Survival::Nothing).open().state().last >= state.durable);
        }
    });
}

#[test]
fn who_is_held_back_waits_for_the_sync_that_is_under_way_and_no_longer() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(32 << 20).open(&disk.dir).unwrap();
    disk.sim().queue_tasks(true);
    let append = |index| drop(journal.append_pending(&[common::entry(index, 1, 64 << 10)]).unwrap());
    // To the first file that is large.
    let mut next = 1;
    while next <= 500 {
        append(next);
        next += 1;
    }
    journal.sync().unwrap();
    disk.sim().run_tasks();
    let before = journal.stats();
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        (0..64).for_each(|more| append(next + more));
        scope.spawn(|| disk.sim().run_tasks());
        disk.sim().wait_for_held_syncs(1);
        let writer = scope.spawn(|| (64..320).for_each(|more| append(next + more)));
        while journal.stats().held_back == before.held_back {
            assert!(!writer.is_finished());
            std::thread::yield_now();
        }
        drop(hold);
        writer.join().unwrap();
    });
    let (now, state) = (journal.stats(), journal.state());
    assert_eq!((now.held_back, now.syncs, now.rotations), (before.held_back + 1, before.syncs + 1, before.rotations));
    assert_eq!(state.durable.map(|durable| durable.index), Some(next + 63));
}

#[test]
fn a_large_batch_waits_for_what_came_before_and_not_for_itself() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 20).open(&disk.dir).unwrap();
    disk.sim().queue_tasks(true);
    let durable_behind = |index, mebibytes: usize| {
        drop(journal.append_pending(&[common::entry(index, 1, mebibytes << 20)]).unwrap());
        (journal.state().durable.map(|durable| durable.index), journal.stats().held_back)
    };
    assert_eq!(durable_behind(1, 21), (None, 0), "nothing came before");
    journal.sync().unwrap();
    assert_eq!(durable_behind(2, 3), (Some(1), 0));
    assert_eq!(durable_behind(3, 18), (Some(3), 1), "the sync takes all that is there");
}

#[test]
fn whoever_is_held_back_by_a_sync_that_fails_is_told_by_what_comes_next() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 20).open(&disk.dir).unwrap();
    disk.sim().queue_tasks(true);
    let append = |index, mebibytes: usize| journal.append_pending(&[common::entry(index, 1, mebibytes << 20)]);
    // To the first file that is large.
    (1..=32).for_each(|index| drop(append(index, 1).unwrap()));
    journal.sync().unwrap();
    drop(append(33, 3).unwrap());
    disk.sim().fail_next(OperationKind::Sync, std::io::ErrorKind::Other);
    let pending = append(34, 18).unwrap();
    assert_eq!(journal.stats().held_back, 1);
    assert!(matches!(pending.wait(), Err(Error::Poisoned { .. })));
    assert!(matches!(append(35, 1), Err(Error::Poisoned { .. })));
    assert_eq!(journal.state().durable, Some(Position::new(32, 1)));
}

#[test]
fn a_callback_may_write_more_than_the_disk_has_synced() {
    common::on_both(|disk| {
        let journal = Arc::new(disk.options().segment_bytes(64 << 20).open(&disk.dir).unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        let its = Arc::clone(&journal);
        let callback = move |result: raft_journal::Result<Position>| {
            result.unwrap();
            let written = (2..=5).map(|index| its.append_pending(&[common::entry(index, 1, 12 << 20)]).map(drop));
            sender.send(written.collect::<raft_journal::Result<()>>()).unwrap();
        };
        journal.append_pending(&entries(1..=1, 1)).unwrap().on_durable(Box::new(callback));
        receiver.recv().unwrap().unwrap();
        journal.sync().unwrap();
        assert_eq!(journal.state().durable, Some(Position::new(5, 1)));
    });
}

#[test]
fn what_nobody_waits_for_is_synced_before_it_grows_large() {
    const FILE_BYTES: u64 = 16 << 20;
    const BEHIND_BYTES_MAX: u64 = 4 << 20;
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(FILE_BYTES).open(&disk.dir).unwrap();
    let (bytes, mut written) = (64 << 10, 0);
    while written < 5 * FILE_BYTES / 2 {
        let index = journal.state().next_index().unwrap_or(1);
        drop(journal.append_pending(&[common::entry(index, 1, bytes)]).unwrap());
        written += bytes as u64;
        let durable = journal.state().durable.map_or(0, |durable| durable.index);
        assert!((index - durable) * bytes as u64 <= BEHIND_BYTES_MAX, "{index} was written, {durable} is durable");
    }
    let state = journal.state();
    assert!(
        journal.stats().syncs < written / BEHIND_BYTES_MAX + 2 * journal.stats().rotations + 2,
        "and no more often"
    );
    let found = disk.after_power_cut(Survival::Nothing).open();
    assert!(found.state().last >= state.durable, "{:?}, {state:?}", found.state());
}
