//! What each call takes of memory, counted by the allocator: exact, on every machine.
//!
//! The disk's own memory is left out; background work runs on the calling thread, when it is told to.

#[path = "common/memory_disk.rs"]
mod memory_disk;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::Arc;

use memory_disk::MemoryDisk;
use raft_journal::{Changes, Entry, Journal, LogStore, OpenOptions, Position, StableStore};

/// The system's allocator, and a count for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a thread has asked the allocator for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    /// Pieces of memory, new ones and ones that have grown.
    allocations: u64,
    /// Bytes held now.
    held: i64,
    /// The most that were held since somebody last asked.
    held_max: i64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { allocations: 0, held: 0, held_max: 0 }) };
    /// How many times over the disk is at work: its memory is not counted.
    static ASIDE: Cell<u32> = const { Cell::new(0) };
}

fn count(allocations: u64, held: i64) {
    if ASIDE.get() > 0 {
        return;
    }
    let mut counts = COUNTS.get();
    counts.allocations += allocations;
    counts.held += held;
    counts.held_max = counts.held_max.max(counts.held);
    COUNTS.set(counts);
}

// SAFETY: every call is handed on as it came to the system's allocator, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promises are the ones that are needed.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(1, bytes as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

fn aside(begins: bool) {
    ASIDE.set(if begins { ASIDE.get() + 1 } else { ASIDE.get() - 1 });
}

impl Sub for Counts {
    type Output = Counts;

    fn sub(self, before: Counts) -> Counts {
        Counts {
            allocations: self.allocations - before.allocations,
            held: self.held - before.held,
            held_max: self.held_max - before.held,
        }
    }
}

/// What a call takes, and what it keeps; its result is dropped behind that.
fn cost<T>(call: impl FnOnce() -> T) -> Counts {
    let mut before = COUNTS.get();
    before.held_max = before.held;
    COUNTS.set(before);
    let result = call();
    let after = COUNTS.get();
    drop(result);
    after - before
}

fn allocations<T>(call: impl FnOnce() -> T) -> u64 {
    cost(call).allocations
}

fn disk() -> MemoryDisk {
    MemoryDisk::new(aside)
}

fn options(disk: &MemoryDisk) -> OpenOptions {
    OpenOptions::new().file_system(Arc::new(disk.clone()))
}

fn entries(first: u64, count: usize, bytes: usize) -> Vec<Entry> {
    (first..).take(count).map(|index| Entry::new(index, 1, vec![index as u8; bytes])).collect()
}

/// A journal of 1,100 entries of 100 bytes, with room behind it: its slots will not grow soon, and its tail cache holds
/// all of them.
fn warm(options: &OpenOptions, dir: &str) -> Journal {
    let journal = options.open(dir).unwrap();
    for first in (1..1100).step_by(100) {
        journal.append(&entries(first, 100, 100)).unwrap();
    }
    // Once each, so that what is kept from call to call is there.
    journal.replace_tail(&entries(1100, 1, 20_000)).unwrap();
    journal.truncate_tail(1100).unwrap();
    journal.append(&entries(1100, 1, 100)).unwrap();
    journal
}

// Guards: the pages of old files' indexes, thousands of them, were freed within the call, while readers waited.
#[test]
fn a_head_truncation_leaves_what_is_in_memory_of_old_files_to_the_background() {
    let disk = disk();
    let journal = options(&disk).segment_bytes(64 << 10).tail_cache_bytes(0).open("/journal").unwrap();
    for first in (1..10_000).step_by(100) {
        // Of lengths that follow no rule: what is kept of the indexes is a number for each.
        let of = |index: u64| Entry::new(index, 1, vec![1; (index * index % 23) as usize]);
        journal.append(&(first..first + 100).map(of).collect::<Vec<_>>()).unwrap();
        disk.run_jobs();
    }
    (1..=9000).for_each(|index| drop(journal.entry(index).unwrap()));
    journal.truncate_head(Position::new(10, 1)).unwrap();
    let call = cost(|| journal.truncate_head(Position::new(9000, 1)).unwrap());
    let job = cost(|| disk.run_jobs());
    assert!(call.held > -4096 && job.held < -32_000, "{call:?}, {job:?}");
}

#[test]
fn an_append_allocates_nothing_but_what_the_tail_cache_keeps() {
    let disk = disk();
    let small = [entries(1101, 1, 100), entries(1102, 1, 100), entries(1103, 64, 100), entries(1167, 64, 100)];
    let large = [entries(1231, 1, 2000), entries(1232, 8, 2000)];
    let journal = warm(&options(&disk), "/cached");
    let counted: Vec<u64> = small.iter().chain(&large).map(|batch| allocations(|| journal.append(batch))).collect();
    // The buffer that was written, and what shares it out; once the list of them grows.
    assert_eq!(counted, [2, 2, 2, 2, 3, 2]);

    // Once the cache is full, each batch gets the buffer of an older one.
    let journal = warm(&options(&disk).tail_cache_bytes(32 << 10), "/full");
    let batch = |number: u64| entries(1101 + 4 * number, 4, 2000);
    (0..14).map(batch).for_each(|batch| _ = journal.append(&batch).unwrap());
    let counted: Vec<u64> = (14..20).map(batch).map(|batch| allocations(|| journal.append(&batch))).collect();
    assert_eq!(counted, [1; 6], "what shares it out");
    // While a reader has some of it, it is not touched.
    let read = journal.entry(1101 + 4 * 18).unwrap();
    let counted: Vec<u64> = (20..24).map(batch).map(|batch| allocations(|| journal.append(&batch))).collect();
    assert_eq!(counted.iter().sum::<u64>(), 5, "{counted:?}");
    assert_eq!(read, batch(18)[0]);

    let journal = warm(&options(&disk).tail_cache_bytes(0), "/uncached");
    let counted: Vec<u64> = small.iter().chain(&large).map(|batch| allocations(|| journal.append(batch))).collect();
    assert_eq!(counted, [0; 6]);
    assert_eq!(allocations(|| journal.append(&[])), 0);
}

#[test]
fn a_rotation_allocates_what_the_next_file_begins_with_and_the_list_of_files() {
    let disk = disk();
    let journal = options(&disk).segment_bytes(64 << 10).tail_cache_bytes(0).open("/journal").unwrap();
    let mut counted = Vec::new();
    for batch in (0..400).map(|number| entries(1 + 10 * number, 10, 100)) {
        disk.run_jobs();
        let rotations = journal.stats().rotations;
        let allocations = allocations(|| journal.append(&batch).unwrap());
        if journal.stats().rotations > rotations {
            counted.push(allocations);
        }
    }
    // With the first one comes what stays; with the fifth, the list of sealed files grows.
    assert_eq!(counted, [8, 6, 6, 6, 7, 6, 6, 6]);
    assert_eq!(journal.stats().spare_not_ready, 0);
}

#[test]
fn an_append_that_is_waited_for_later_allocates_no_more() {
    let disk = disk();
    let journal = warm(&options(&disk).tail_cache_bytes(0), "/journal");
    let batches: Vec<Vec<Entry>> = (1101..1111).map(|index| entries(index, 1, 100)).collect();
    let mut pending = Vec::with_capacity(batches.len());
    for batch in &batches {
        assert_eq!(allocations(|| pending.push(journal.append_pending(batch).unwrap())), 0);
    }
    pending.into_iter().for_each(|pending| assert_eq!(allocations(|| pending.wait().unwrap()), 0));
    assert_eq!(allocations(|| journal.sync().unwrap()), 0);
}

#[test]
fn a_callback_is_a_piece_for_itself_and_two_for_all_that_one_sync_serves() {
    let disk = disk();
    let journal = warm(&options(&disk).tail_cache_bytes(0), "/journal");
    let mut index = 1101;
    let mut append = |count| {
        let batches: Vec<Vec<Entry>> = (index..index + count).map(|index| entries(index, 1, 100)).collect();
        index += count;
        let pending: Vec<_> = batches.iter().map(|batch| journal.append_pending(batch).unwrap()).collect();
        // The user's box is empty, and takes nothing.
        let counted = allocations(|| {
            pending.into_iter().for_each(|pending| pending.on_durable(Box::new(|result| _ = result.unwrap())));
        });
        (counted, allocations(|| disk.run_jobs()))
    };
    append(32);
    // The job that delivers; what it gathers.
    assert_eq!([append(1), append(1), append(10), append(32)], [(2, 1), (2, 1), (11, 1), (33, 1)]);
}

#[test]
fn replacing_and_truncating_the_tail_allocate_nothing_of_their_own() {
    let disk = disk();
    let journal = warm(&options(&disk), "/journal");
    let batch = entries(1095, 2, 100);
    assert_eq!(allocations(|| journal.replace_tail(&batch).unwrap()), 2, "the buffer for the tail cache");
    assert_eq!(allocations(|| journal.truncate_tail(1090).unwrap()), 1, "a buffer for the batch, which stays");
    assert_eq!(allocations(|| journal.truncate_tail(1090).unwrap()), 0);
    assert_eq!(allocations(|| journal.truncate_tail(900).unwrap()), 0);
    assert_eq!(allocations(|| journal.truncate_tail(1).unwrap()), 0);
}

// Guards: what the tail cache had of a thousand appends went to a list of its own, and the list of files was made anew, memory that
// nobody had touched yet.
#[test]
fn truncating_the_tail_allocates_no_more_however_much_goes() {
    let disk = disk();
    let journal = several_files(&disk);
    for index in 2001..=3000 {
        journal.append(&entries(index, 1, 10)).unwrap();
        disk.run_jobs();
    }
    assert!(journal.stats().rotations > 3);
    journal.truncate_tail(2990).unwrap();
    assert_eq!(allocations(|| journal.truncate_tail(500).unwrap()), 1, "for the few buffers that stay in the cache");
    assert_eq!(allocations(|| journal.truncate_tail(1).unwrap()), 0);
}

/// A journal of 2,000 entries of 100 bytes in four files, with a term and a vote.
fn several_files(disk: &MemoryDisk) -> Journal {
    let journal = warm(&options(disk).segment_bytes(64 << 10), "/journal");
    journal.append(&entries(1101, 900, 100)).unwrap();
    journal.commit(&Changes::new().set_u64("term", 1).set("vote", b"node-1")).unwrap();
    disk.run_jobs();
    assert_eq!(journal.stats().rotations, 3);
    journal
}

#[test]
fn a_commit_allocates_the_state_it_leads_to_and_what_it_writes() {
    let disk = disk();
    let journal = several_files(&disk);
    // The state for which the bound is checked, the list of changes for lazy values beside them, the pairs as they are, the
    // state that is committed, and its bytes; of a new key or value, what shares it.
    for changes in [Changes::new().set_u64("term", 2).set("vote", b"node-2"), Changes::new().set_u64("term", 3)] {
        let shared = 2 * changes.pairs().len() as u64;
        assert_eq!(allocations(|| journal.commit(&changes).unwrap()), 5 + shared);
    }
    assert_eq!(allocations(|| journal.commit(&Changes::new()).unwrap()), 0);
    // The list of one change, its key and its value besides.
    assert_eq!(allocations(|| journal.set(b"vote", b"node-3").unwrap()), 3 + 5 + 2);
    assert_eq!(allocations(|| journal.set_u64(b"term", 4).unwrap()), 3 + 5 + 2);
    assert_eq!(allocations(|| journal.set_lazy(b"commit", &[7; 8]).unwrap()), 3 + 1 + 2);
    assert_eq!(allocations(|| journal.remove(b"commit").unwrap()), 2 + 5 + 1);
}

#[test]
fn a_head_truncation_allocates_what_a_commit_does_and_lists_of_files_that_go() {
    let disk = disk();
    let journal = several_files(&disk);
    let truncate = |index| {
        let now = allocations(|| journal.truncate_head(Position::new(index, 1)).unwrap());
        (now, allocations(|| disk.run_jobs()))
    };
    // Behind a commit: the list of what goes, those of files and of what is in memory of them, and that of files which readers see.
    // Within a file, the first and the newest.
    assert_eq!([truncate(10), truncate(11), truncate(11)], [(4, 0), (4, 0), (0, 0)]);
    assert_eq!(truncate(500), (4 + 5, 1));
    assert_eq!([truncate(900), truncate(1500)], [(4 + 4, 1); 2]);
    assert_eq!([truncate(1990), truncate(3000)], [(4, 0); 2], "nor where all of the log goes");
    // Together with a vote: the one commit.
    let changes = Changes::new().set("vote", b"node-2").truncate_head(Position::new(4000, 2));
    assert_eq!(allocations(|| journal.commit(&changes).unwrap()), 5 + 2);
}

#[test]
fn questions_allocate_nothing() {
    let disk = disk();
    let journal = warm(&options(&disk).segment_bytes(64 << 10), "/journal");
    assert!(journal.append(&entries(1101, 700, 100)).is_ok() && journal.stats().rotations > 0);
    journal.set(b"vote", b"me").unwrap();
    assert_eq!(allocations(|| journal.state()), 0);
    assert_eq!(allocations(|| journal.stats()), 0);
    for index in [1, 1100, 1101, 1800] {
        assert_eq!(allocations(|| journal.term(index).unwrap()), 0);
    }
    assert_eq!(allocations(|| journal.get(b"vote").unwrap()), 0);
}

#[test]
fn a_cached_read_allocates_nothing() {
    let disk = disk();
    let journal = warm(&options(&disk), "/journal");
    for index in [1, 500, 1099, 1100] {
        assert_eq!(allocations(|| journal.entry(index).unwrap()), 0);
    }
    // The list.
    assert_eq!(allocations(|| journal.entries(101..165, u64::MAX).unwrap()), 1);
}

#[test]
fn a_read_from_a_file_allocates_the_payload_and_what_shares_it() {
    let disk = disk();
    let sealed = options(&disk).segment_bytes(64 << 10).tail_cache_bytes(0);
    drop(warm(&options(&disk).segment_bytes(64 << 20).tail_cache_bytes(0), "/active"));
    let active = options(&disk).tail_cache_bytes(0).open("/active").unwrap();
    let journal = sealed.open("/sealed").unwrap();
    (1..=40).for_each(|first| _ = journal.append(&entries(100 * first - 99, 100, 100)).unwrap());
    assert!(journal.stats().rotations > 3);
    for journal in [active, journal] {
        journal.entry(1).unwrap();
        let cost = cost(|| journal.entry(50).unwrap());
        // 20 bytes of header stand before the payload.
        assert_eq!((cost.allocations, cost.held, cost.held_max), (1, 120, 120));
        // The last of its batch: what was read goes on behind it.
        assert_eq!(allocations(|| journal.entry(100).unwrap()), 2);
        // The places, the list, what was read, and what shares it.
        assert_eq!(allocations(|| journal.entries(1..65, u64::MAX).unwrap()), 4);
    }
}

/// What a journal holds that has done all that one can do, and nobody uses any more.
fn use_and_leave(journal: &Journal, disk: &MemoryDisk) {
    for first in (1..3000).step_by(64) {
        journal.append(&entries(first, 64, 1024)).unwrap();
        disk.run_jobs();
    }
    (0..20).for_each(|key| journal.set(format!("key {key}").as_bytes(), b"value").unwrap());
    journal.entries(1..1000, u64::MAX).unwrap();
    journal.truncate_head(Position::new(500, 1)).unwrap();
    disk.run_jobs();
}

#[test]
fn an_idle_journal_keeps_at_most_64_kib() {
    const JOURNALS: i64 = 50;
    const KEPT_MAX: i64 = 64 << 10;
    let disk = disk();
    let options = options(&disk);
    let dirs: Vec<String> = (0..JOURNALS).map(|number| format!("/{number}")).collect();
    let mut journals = Vec::with_capacity(dirs.len());
    let before = COUNTS.get().held;
    let held = || (COUNTS.get().held - before) / JOURNALS;
    dirs.iter().for_each(|dir| journals.push(options.open(dir).unwrap()));
    let opened = held();
    // Most of it counts how long things take, or stands apart for each group of threads.
    assert!(opened < KEPT_MAX / 6, "{opened} bytes");
    journals.iter().for_each(|journal| use_and_leave(journal, &disk));
    let used = held();
    assert!(used > 1 << 20, "{used} bytes: where is the tail cache?");
    while disk.pass_time() > 0 {}
    let idle = held();
    println!("{opened} bytes when opened, {used} when used, {idle} when idle");
    assert!(idle < KEPT_MAX, "{idle} bytes");
    // They are in order, and take what they need again.
    for journal in &journals {
        assert_eq!(journal.entries(501..600, u64::MAX).unwrap().len(), 99);
        journal.append(&entries(journal.state().next_index().unwrap(), 1, 100)).unwrap();
    }
}

/// Opens a journal of twelve sealed segments, with nothing in the active one: how many entries, how many bytes it holds
/// then, and the most that it held on the way.
fn opening(payload_bytes: usize) -> (u64, i64, i64) {
    let disk = disk();
    let options = options(&disk).segment_bytes(256 << 10);
    let journal = options.open("/journal").unwrap();
    let (mut next, mut count) = (1, 0);
    while journal.stats().rotations < 12 {
        let batch = entries(next, (16 << 10) / (payload_bytes + 20), payload_bytes);
        count = batch.len();
        next = journal.append(&batch).unwrap().index + 1;
        disk.run_jobs();
    }
    // The batch that made the log rotate.
    let end = next - count as u64;
    journal.truncate_tail(end).unwrap();
    journal.close().unwrap();
    drop((journal, options));
    let mut opened = None;
    let cost = cost(|| opened = Some(self::options(&disk).segment_bytes(256 << 10).open("/journal").unwrap()));
    assert!(opened.unwrap().recovery_report().clean);
    (end, cost.held, cost.held_max)
}

#[test]
fn what_opening_takes_does_not_grow_with_the_entries_of_sealed_segments() {
    let (few, held_few, most_few) = opening(4096);
    let (many, held_many, most_many) = opening(16);
    println!("{few} entries: {held_few} bytes, at most {most_few}; {many} entries: {held_many}, at most {most_many}");
    assert!(many > 50 * few);
    assert_eq!(held_few, held_many);
    assert!(most_few.max(most_many) < 1 << 20);
}
