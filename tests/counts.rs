//! What each call costs, counted by the simulated disk.

mod common;
#[path = "common/pass_on.rs"]
mod pass_on;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Disk, append_each, append_until_a_spare_is_due, entries, entry, log};
use pass_on::pass_on;
use raft_journal::io::sim::{Counts, Survival};
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Changes, Compression, Health, Journal, LogStore, Position, StableStore};

/// What a call asked of the disk.
fn cost<T>(disk: &Disk, call: impl FnOnce() -> T) -> Counts {
    let before = disk.sim().counts();
    call();
    disk.sim().counts() - before
}

/// Writes and syncs alone: nothing is made, removed, renamed, locked or read.
fn writing(writes: u64, syncs: u64, counts: Counts) {
    let expected = Counts { writes, syncs, bytes_written: counts.bytes_written, ..Counts::default() };
    assert_eq!(counts, expected);
}

/// A journal whose active segment has room, and no need of a spare.
fn young() -> (Disk, Journal) {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=9, 1)).unwrap();
    (disk, journal)
}

#[test]
fn an_append_is_one_write_and_one_sync() {
    let (disk, journal) = young();
    writing(1, 1, cost(&disk, || journal.append(&entries(10..=10, 1)).unwrap()));
    writing(1, 1, cost(&disk, || journal.append(&entries(11..=40, 1)).unwrap()));
    let journal = {
        journal.close().unwrap();
        disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap()
    };
    writing(1, 1, cost(&disk, || journal.append(&entries(41..=41, 1)).unwrap()));
}

#[test]
fn a_compressed_and_an_aligned_append_are_one_write_and_one_sync_too() {
    let disk = Disk::simulated();
    let options = disk.options().segment_bytes(64 << 10).compression(Compression::Lz4 { threshold_bytes: 100 });
    let journal = options.align_4k(true).open(&disk.dir).unwrap();
    journal.append(&entries(1..=1, 1)).unwrap();
    let counts = cost(&disk, || journal.append(&entries(2..=4, 1)).unwrap());
    writing(1, 1, counts);
    assert_eq!(counts.bytes_written, 4096);
    assert_eq!(log(&journal), entries(1..=4, 1));
}

#[test]
fn an_append_that_nobody_waits_for_is_one_write_and_no_sync() {
    let (disk, journal) = young();
    let mut pending = Vec::new();
    writing(1, 0, cost(&disk, || pending.push(journal.append_pending(&entries(10..=12, 1)).unwrap())));
    writing(1, 0, cost(&disk, || pending.push(journal.append_pending(&entries(13..=13, 1)).unwrap())));
    writing(0, 1, cost(&disk, || pending.into_iter().rev().for_each(|pending| _ = pending.wait().unwrap())));
    writing(0, 0, cost(&disk, || journal.sync().unwrap()));
}

#[test]
fn replacing_the_tail_is_one_write_and_one_sync() {
    let (disk, journal) = young();
    writing(1, 1, cost(&disk, || journal.replace_tail(&entries(5..=12, 2)).unwrap()));
    writing(1, 1, cost(&disk, || journal.replace_tail(&entries(1..=1, 3)).unwrap()));
}

#[test]
fn truncating_the_tail_is_one_write_and_one_sync() {
    let (disk, journal) = young();
    writing(1, 1, cost(&disk, || journal.truncate_tail(5).unwrap()));
    writing(0, 0, cost(&disk, || journal.truncate_tail(5).unwrap()));
}

#[test]
fn replacing_and_truncating_across_segments_costs_no_more() {
    let disk = Disk::simulated();
    let journal = disk.open();
    // Less than half a segment is written, so that no spare is due.
    append_each(&journal, &entries(1..=36, 1));
    assert!(disk.segments().len() >= 3);
    writing(1, 1, cost(&disk, || journal.truncate_tail(30).unwrap()));
    writing(1, 1, cost(&disk, || journal.replace_tail(&entries(10..=11, 2)).unwrap()));
}

#[test]
fn a_set_is_one_sync_over_two_copies() {
    let (disk, journal) = young();
    writing(2, 1, cost(&disk, || journal.set(b"vote", b"me").unwrap()));
    writing(2, 1, cost(&disk, || journal.remove(b"vote").unwrap()));
    let changes = Changes::new().set("vote", "you").set_u64("term", 7).remove("old");
    writing(2, 1, cost(&disk, || journal.commit(&changes).unwrap()));
    writing(0, 0, cost(&disk, || journal.commit(&Changes::new()).unwrap()));
    writing(0, 0, cost(&disk, || journal.set_lazy(b"committed", b"1").unwrap()));
    // A barrier: what was appended before comes first.
    let _pending = journal.append_pending(&entries(10..=10, 1)).unwrap();
    writing(2, 2, cost(&disk, || journal.set(b"vote", b"me").unwrap()));
}

#[test]
fn truncating_the_head_is_one_commit() {
    let (disk, journal) = young();
    writing(2, 1, cost(&disk, || journal.truncate_head(Position::new(4, 1)).unwrap()));
    writing(0, 0, cost(&disk, || journal.truncate_head(Position::new(4, 1)).unwrap()));
    writing(0, 0, cost(&disk, || journal.truncate_head(Position::new(2, 1)).unwrap()));
    writing(2, 1, cost(&disk, || journal.truncate_head(Position::new(100, 1)).unwrap()));
    let changes = Changes::new().set("vote", "you").truncate_head(Position::new(200, 2));
    writing(2, 1, cost(&disk, || journal.commit(&changes).unwrap()));
}

#[test]
fn removing_truncated_segments_costs_no_sync_and_no_write() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=36, 1));
    let removed = disk.segments().len() as u64 - 1;
    let counts = cost(&disk, || journal.truncate_head(Position::new(35, 1)).unwrap());
    let bytes_written = counts.bytes_written;
    assert_eq!(counts, Counts { writes: 2, syncs: 1, removes: removed, bytes_written, ..Counts::default() });
}

// Guards: the thread that removes files took the processor of the one that had truncated and woken it.
#[test]
fn truncated_segments_are_removed_a_moment_after_the_truncation() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    let (segments, now) = (disk.segments().len(), disk.sim().tasks().now());
    disk.sim().queue_tasks(true);
    journal.truncate_head(Position::new(50, 1)).unwrap();
    assert_eq!((disk.segments().len(), disk.sim().tasks().now()), (segments, now));
    disk.sim().run_tasks();
    assert!(disk.segments().len() < segments);
    assert!(disk.sim().tasks().now() > now, "nobody waited for the truncation to return");
}

#[test]
fn a_rotation_with_the_spare_ready_is_one_more_sync() {
    let disk = Disk::simulated();
    let journal = disk.open();
    disk.sim().queue_tasks(true);
    let mut bytes = Vec::new();
    for index in 1..=100 {
        disk.sim().run_tasks();
        let counts = cost(&disk, || journal.append(&entries(index..=index, 1)).unwrap());
        match counts.syncs {
            1 => writing(1, 1, counts),
            // The seal and its trailer, synced before the successor is written to.
            _ => {
                writing(3, 2, counts);
                bytes.push(counts.bytes_written);
            }
        }
    }
    // With the append's own 392 bytes.
    assert_eq!(bytes, [692; 6]);
}

#[test]
fn a_spare_is_two_syncs_off_the_append_path() {
    let disk = Disk::simulated();
    let journal = disk.open();
    disk.sim().queue_tasks(true);
    append_until_a_spare_is_due(&disk, &journal);
    let counts = cost(&disk, || disk.sim().run_tasks());
    assert_eq!((counts.syncs, counts.dir_syncs, counts.creates, counts.renames), (1, 1, 1, 1));
}

#[test]
fn a_point_read_is_one_read_and_a_cached_one_none() {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    append_each(&disk.open(), &all);
    let journal = disk.open();
    let reads = |counts: Counts| {
        assert_eq!(counts, Counts { reads: counts.reads, bytes_read: counts.bytes_read, ..Counts::default() });
        counts.reads
    };
    for index in [1, 20, 60] {
        // A sealed segment's index is read once, page by page.
        journal.entry(index).unwrap();
        assert_eq!(reads(cost(&disk, || assert_eq!(journal.entry(index).unwrap(), entry(index, 1, 300)))), 1);
    }
    let last = entry(61, 1, 300);
    journal.append(std::slice::from_ref(&last)).unwrap();
    assert_eq!(reads(cost(&disk, || assert_eq!(journal.entry(61).unwrap(), last))), 0);
    (1..=61).for_each(|index| assert_eq!(reads(cost(&disk, || assert_eq!(journal.term(index).unwrap(), 1))), 0));
    assert_eq!(reads(cost(&disk, || _ = journal.state())), 0);
}

#[test]
fn a_range_within_a_segment_is_one_read() {
    let disk = Disk::simulated();
    let options = disk.options().segment_bytes(256 << 10);
    let journal = options.tail_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=200, 1));
    let counts = cost(&disk, || assert_eq!(journal.entries(1..201, u64::MAX).unwrap(), entries(1..=200, 1)));
    assert_eq!(counts.reads, 1);
    // A budget counts payload, not what stands between: the rest comes in ever smaller reads.
    let counts = cost(&disk, || assert_eq!(journal.entries(50..150, 3000).unwrap(), entries(50..=59, 1)));
    assert_eq!((counts.reads, counts.bytes_read), (3, 4312));
    let counts = cost(&disk, || assert_eq!(journal.entries(50..50, u64::MAX).unwrap(), []));
    assert_eq!(counts.reads, 0);
}

#[test]
fn a_range_over_sealed_segments_is_one_read_each() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    let journal = disk.open();
    let whole = || assert_eq!(journal.entries(1..61, u64::MAX).unwrap(), entries(1..=60, 1));
    whole();
    let segments = journal.recovery_report().segments as u64;
    assert_eq!(cost(&disk, whole).reads, segments, "the indexes are in memory by now");
}

#[test]
fn opening_a_clean_journal_makes_no_file_and_writes_one_commit() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    disk.sim().set_capacity(Some(0));
    let names = disk.names();
    let mut journal = None;
    let counts = cost(&disk, || journal = Some(disk.open()));
    assert_eq!(log(&journal.unwrap()), entries(1..=60, 1));
    assert_eq!((counts.creates, counts.renames, counts.removes), (0, 0, 0));
    assert_eq!((counts.set_lens, counts.allocates, counts.writes), (0, 0, 2));
    // Of what was found of `meta`, and of the commit that begins the new life.
    assert_eq!((counts.syncs, counts.dir_syncs), (2, 1));
    assert_eq!(disk.names(), names);
}

/// A disk that writes down which segments are opened, and which are going to be read or written to, by their sequences.
#[derive(Debug)]
struct Told {
    below: Arc<dyn Fs>,
    calls: Mutex<Vec<(&'static str, u64)>>,
    /// Who is told that a file will be written to waits for this.
    gate: Mutex<()>,
}

impl Told {
    fn over(disk: &Disk) -> Arc<Told> {
        Arc::new(Told { below: Arc::clone(&disk.fs), calls: Mutex::default(), gate: Mutex::default() })
    }

    /// The sequences of the files that will be written to, as far as that was said.
    fn announced(&self) -> Vec<u64> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(call, _)| *call == "will write").map(|call| call.1).collect()
    }

    fn note(&self, call: &'static str, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".seg"));
        self.calls.lock().unwrap().extend(name.map(|sequence| (call, sequence.parse().unwrap())));
    }
}

impl Fs for Told {
    pass_on!(below: create_dir kind list rename remove sync_dir lock entropy tasks);

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        self.note("open", path);
        self.below.open(path, mode)
    }

    fn will_read(&self, path: &Path, bytes: u64) {
        assert!(bytes >= 4096);
        self.note("will read", path);
        self.below.will_read(path, bytes);
    }

    fn will_write(&self, path: &Path) {
        self.note("will write", path);
        let _open = self.gate.lock().unwrap();
        self.below.will_write(path);
    }
}

#[test]
fn sealed_files_below_the_mark_are_fetched_together_before_one_is_opened() {
    common::on_both(|disk| {
        let options = disk.options().segment_bytes(16 << 10);
        let journal = options.open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=150, 1));
        let segments = journal.stats().segments;
        assert!(segments > 4);
        journal.close().unwrap();
        drop(journal);
        let told = Told::over(disk);
        let journal = options.clone().file_system(Arc::clone(&told) as Arc<dyn Fs>).open(&disk.dir).unwrap();
        assert_eq!(log(&journal), entries(1..=150, 1));
        let calls = told.calls.lock().unwrap();
        let (ahead, rest) = calls.split_at(calls.iter().take_while(|(call, _)| *call == "will read").count());
        // The last one is where the mark stands.
        let sequences: Vec<u64> = ahead.iter().map(|&(_, sequence)| sequence).collect();
        assert_eq!(sequences, (1..segments).collect::<Vec<_>>());
        assert!(rest.iter().all(|(call, _)| *call == "open"));
    });
}

/// How many of these tests' entries, one a batch, the first file has room for.
const FIRST_FILE_ENTRIES: u64 = 16;

#[test]
fn the_disk_is_told_once_and_shortly_before_that_a_prepared_file_will_be_written_to() {
    let disk = Disk::simulated();
    let told = Told::over(&disk);
    let journal = disk.options().file_system(Arc::clone(&told) as Arc<dyn Fs>).open(&disk.dir).unwrap();
    // Which append the disk was told behind, and which one went to the next file.
    let (mut told_at, mut rotated_at) = (Vec::new(), Vec::new());
    for index in 1..=100 {
        let before = (told.announced().len(), journal.stats().rotations);
        journal.append(&entries(index..=index, 1)).unwrap();
        told_at.extend((told.announced().len() > before.0).then_some(index));
        rotated_at.extend((journal.stats().rotations > before.1).then_some(index));
    }
    assert_eq!((rotated_at[0], rotated_at.len()), (FIRST_FILE_ENTRIES + 1, 6));
    assert_eq!(told_at, rotated_at.iter().map(|at| at - 4).collect::<Vec<_>>());
    assert_eq!(told.announced(), (2..=7).collect::<Vec<_>>());
}

#[test]
fn nobody_goes_on_to_a_prepared_file_while_the_disk_hears_of_it() {
    let disk = Disk::simulated();
    let told = Told::over(&disk);
    let options = disk.options().stalled_after(Duration::ZERO).file_system(Arc::clone(&told) as Arc<dyn Fs>);
    let journal = options.open(&disk.dir).unwrap();
    disk.sim().queue_tasks(true);
    let append = |index| drop(journal.append_pending(&entries(index..=index, 1)).unwrap());
    let next = append_until_a_spare_is_due(&disk, &journal);
    disk.sim().run_tasks();
    let told_behind = FIRST_FILE_ENTRIES - 3;
    (next..=told_behind).for_each(append);
    let shut = told.gate.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| disk.sim().run_tasks());
        while told.announced().is_empty() {
            std::thread::yield_now();
        }
        let writer = scope.spawn(|| (told_behind + 1..told_behind + 10).for_each(append));
        let is_stalled = || matches!(journal.health(), Health::Stalled { .. });
        while !is_stalled() && !writer.is_finished() {
            std::thread::yield_now();
        }
        // It stays so: who takes a file is seen so for a moment, too.
        let stays = (0..1000).all(|_| {
            std::thread::yield_now();
            is_stalled() && journal.stats().rotations == 0
        });
        drop(shut);
        writer.join().unwrap();
        assert!(stays);
    });
    assert_eq!((journal.stats().rotations, journal.stats().spare_not_ready), (1, 0));
}

#[test]
fn a_read_only_open_asks_for_nothing_that_changes_anything() {
    let disk = Disk::simulated();
    append_each(&disk.open(), &entries(1..=60, 1));
    let before = disk.sim().mutations();
    let counts = cost(&disk, || {
        let reader = disk.open_read_only();
        assert_eq!(log(&reader), entries(1..=60, 1));
        reader.close().unwrap();
    });
    assert_eq!((disk.sim().mutations() - before, counts.locks, counts.creates), (0, 0, 0));
}

#[test]
fn closing_a_journal_that_changed_nothing_is_one_commit() {
    let (disk, journal) = young();
    // The index of what was appended, and the mark behind it.
    writing(3, 2, cost(&disk, || journal.close().unwrap()));
    drop(journal);
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    writing(2, 1, cost(&disk, || journal.close().unwrap()));
    assert!(disk.after_power_cut(Survival::Nothing).open().recovery_report().clean);
}

#[test]
fn an_empty_append_asks_for_nothing() {
    let (disk, journal) = young();
    writing(0, 0, cost(&disk, || journal.append(&[]).unwrap()));
    writing(0, 0, cost(&disk, || journal.append_pending(&[]).unwrap().wait().unwrap()));
    writing(0, 0, cost(&disk, || journal.replace_tail(&[]).unwrap()));
}

#[test]
fn a_call_writes_its_payloads_and_little_beside() {
    const BATCH_BYTES: u64 = 72;
    const STORED_BYTES: u64 = 20 + 300;
    let (disk, journal) = young();
    let written = |call: &dyn Fn()| cost(&disk, call).bytes_written;
    let append = |indexes| journal.append(&entries(indexes, 1)).map(drop).unwrap();
    assert_eq!(written(&|| append(10..=10)), BATCH_BYTES + STORED_BYTES);
    assert_eq!(written(&|| append(11..=40)), BATCH_BYTES + 30 * STORED_BYTES);
    // In whole eights.
    assert_eq!(written(&|| _ = journal.append(&[entry(41, 1, 301)]).unwrap()), BATCH_BYTES + STORED_BYTES + 8);
    assert_eq!(written(&|| _ = journal.replace_tail(&entries(20..=21, 2)).unwrap()), BATCH_BYTES + 2 * STORED_BYTES);
    assert_eq!(written(&|| journal.truncate_tail(10).unwrap()), BATCH_BYTES);
    // Four copies of `meta` there are: a commit writes two.
    let empty = written(&|| journal.truncate_head(Position::new(4, 1)).unwrap());
    assert_eq!(empty, 2 * 160);
    let vote = written(&|| journal.set(b"vote", b"me").unwrap());
    assert_eq!(vote - empty, 2 * (3 + 4 + 2));
}

#[test]
fn a_read_asks_for_its_entries_and_little_beside() {
    const STORED_BYTES: u64 = 20 + 300;
    let disk = Disk::simulated();
    let open = |name: &str, segment_bytes| {
        let options = disk.options().segment_bytes(segment_bytes).tail_cache_bytes(0);
        let journal = options.open(disk.beside(name).dir).unwrap();
        (1..=20).for_each(|batch| _ = journal.append(&entries(batch * 10 - 9..=batch * 10, 1)).unwrap());
        journal
    };
    let (active, sealed) = (open("active", 256 << 10), open("sealed", 16 << 10));
    assert_eq!((active.stats().rotations, sealed.stats().rotations), (0, 4));
    for journal in [&active, &sealed] {
        let read = |call: &dyn Fn()| cost(&disk, call).bytes_read;
        let range = |first, end| assert_eq!(journal.entries(first..end, u64::MAX).unwrap().len() as u64, end - first);
        // The page of the index.
        journal.entry(1).unwrap();
        assert_eq!(read(&|| _ = journal.entry(5).unwrap()), STORED_BYTES);
        // Nothing says where the last one of a batch ends but the next one's start, a header later.
        assert_eq!(read(&|| _ = journal.entry(10).unwrap()), STORED_BYTES + 72);
        assert_eq!(read(&|| range(1, 10)), 9 * STORED_BYTES);
        assert_eq!(read(&|| range(1, 15)), 14 * STORED_BYTES + 72);
        assert_eq!(read(&|| range(5, 5)), 0);
    }
    // The page of another segment's index: 8 bytes for each entry.
    let counts = cost(&disk, || sealed.entry(45).unwrap());
    assert_eq!((counts.reads, counts.bytes_read), (2, 8 + 40 * 8 + STORED_BYTES));
}

#[test]
fn waiters_during_a_sync_share_the_next_one() {
    let (disk, journal) = young();
    disk.sim().threaded_tasks();
    let before = disk.sim().counts();
    std::thread::scope(|scope| {
        let hold = disk.sim().hold_syncs();
        let first = journal.append_pending(&entries(10..=10, 1)).unwrap();
        let mut waiters = vec![scope.spawn(|| first.wait())];
        disk.sim().wait_for_held_syncs(1);
        // All of these were written while the first sync was under way: it does not cover them.
        let pending: Vec<_> =
            (11..=30).map(|index| journal.append_pending(&entries(index..=index, 1)).unwrap()).collect();
        waiters.extend(pending.into_iter().map(|pending| scope.spawn(|| pending.wait())));
        drop(hold);
        waiters.into_iter().for_each(|waiter| _ = waiter.join().unwrap().unwrap());
    });
    let counts = disk.sim().counts() - before;
    assert_eq!((counts.writes, counts.syncs), (21, 2));
}
