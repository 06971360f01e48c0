//! Damage at rest, byte by byte and sector by sector: never a wrong byte, never a silent cut.
//!
//! For every place of every file of a small journal: either nothing is lost, or the open refuses with a typed error,
//! or reading the entries that are lost gives one; only the last acknowledged group of a journal that was not closed
//! may be missing, and then the report says `suspect`.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Disk, LogModel, append_each, entries, entry, log};
use raft_journal::io::sim::SimFs;
use raft_journal::{Damage, Entry, Error, Journal, LogStore, OnDamage, Position, StableStore};

/// What a journal must hold.
#[derive(Clone, Default)]
struct Model {
    log: LogModel,
    vote: Vec<u8>,
    term: u64,
}

/// What a journal did last, before it was closed or its process killed.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Closed,
    Append,
    ReplaceTail,
    TruncateTail,
    Set,
    Reopen,
}

/// A journal on a disk at rest, what it held, and what it held before each group that nothing later on the disk
/// vouches for; the newest first.
struct Subject {
    disk: Disk,
    held: Model,
    before: Vec<Model>,
    /// The most entries that damage in one place may spoil.
    entries_max: usize,
}

fn open(disk: &Disk, on_damage: OnDamage) -> Result<Journal, Error> {
    disk.options().meta_bytes_max(256).on_damage(on_damage).open(&disk.dir)
}

/// Consecutive entries of the size that all of a subject's have.
fn batch(first: u64, count: u64, term: u64) -> Vec<Entry> {
    (first..first + count).map(|index| entry(index, term, 230)).collect()
}

/// Applies a step to the journal and to its model.
struct Script {
    journal: Journal,
    model: Model,
}

impl Script {
    fn append(&mut self, first: u64, count: u64, term: u64) {
        let batch = batch(first, count, term);
        self.journal.append(&batch).unwrap();
        self.model.log.append(&batch);
    }

    fn replace_tail(&mut self, first: u64, count: u64, term: u64) {
        let batch = batch(first, count, term);
        self.journal.replace_tail(&batch).unwrap();
        self.model.log.replace_tail(&batch);
    }

    fn truncate_tail(&mut self, first_removed: u64) {
        self.journal.truncate_tail(first_removed).unwrap();
        self.model.log.truncate_tail(first_removed);
    }

    fn truncate_head(&mut self, position: Position) {
        self.journal.truncate_head(position).unwrap();
        self.model.log.truncate_head(position);
    }

    fn vote(&mut self, vote: &str, term: u64) {
        self.journal.set(b"vote", vote.as_bytes()).unwrap();
        self.journal.set_u64(b"term", term).unwrap();
        (self.model.vote, self.model.term) = (vote.into(), term);
    }
}

/// Four segments, two lives, a replaced and a truncated tail, a truncated head, votes.
fn subject(last: Last) -> Subject {
    let disk = Disk::of(SimFs::with_seed(3));
    let journal = open(&disk, OnDamage::Refuse).unwrap();
    let mut script = Script { journal, model: Model::default() };
    script.vote("me", 1);
    (0..9).for_each(|batch| script.append(1 + batch * 3, 3, 1));
    script.replace_tail(20, 5, 2);
    (0..4).for_each(|batch| script.append(25 + batch * 4, 4, 2));
    script.truncate_head(Position::new(5, 1));
    script.journal.close().unwrap();
    script.journal = open(&disk, OnDamage::Refuse).unwrap();
    script.vote("you", 3);
    (0..8).for_each(|batch| script.append(41 + batch * 3, 3, 3));
    script.truncate_tail(60);
    (0..4).for_each(|batch| script.append(60 + batch, 1, 4));
    script.vote("them", 5);
    let voted = script.model.clone();
    script.append(64, 2, 5);
    let mut before = vec![script.model.clone(), voted];
    match last {
        Last::Closed => script.journal.close().unwrap(),
        Last::Append => script.append(66, 2, 5),
        Last::ReplaceTail => script.replace_tail(63, 2, 6),
        Last::TruncateTail => script.truncate_tail(64),
        Last::Set => script.vote("her", 7),
        Last::Reopen => {
            script.journal.close().unwrap();
            script.journal = open(&disk, OnDamage::Refuse).unwrap();
        }
    }
    let rest = disk.killed();
    if matches!(last, Last::Closed | Last::Set | Last::Reopen) {
        before.clear();
    }
    Subject { disk: rest, held: script.model, before, entries_max: 0 }
}

/// Why a journal is not what it must be; the text is the same for all places with the same cause.
type Verdict = Result<(), String>;

fn is_in(index: u64, damage: &Damage) -> bool {
    index >= damage.indexes.first && damage.indexes.end.is_none_or(|end| index < end)
}

/// Compares the log with a model, entry by entry: all that is not told to be lost must be there. What is told at
/// `open` is in `damaged`; what only reading finds are at most `entries_max`.
fn compare(journal: &Journal, model: &Model, entries_max: usize, damaged: &[&Damage]) -> Verdict {
    let state = journal.state();
    if state.purged != model.log.purged {
        return Err(format!("purged {:?}, not {:?}", state.purged, model.log.purged));
    }
    let mut found_by_reading = Vec::new();
    for expected in &model.log.entries {
        let index = expected.index;
        match journal.entry(index) {
            Ok(entry) if entry == *expected => {
                if journal.term(index).ok() != Some(expected.term) {
                    return Err(format!("term({index}) is {:?}", journal.term(index)));
                }
            }
            Ok(entry) => return Err(format!("a wrong entry: {} instead of {}", entry.position(), expected.position())),
            Err(Error::Damaged(_)) if damaged.iter().any(|damage| is_in(index, damage)) => {}
            Err(Error::Damaged(damage)) => found_by_reading.push(format!("{index}: {damage}")),
            Err(_) if damaged.iter().any(|damage| is_in(index, damage) && damage.indexes.end.is_none()) => {}
            Err(error) => return Err(format!("silently lost: {error}")),
        }
    }
    if found_by_reading.len() > entries_max {
        return Err(format!("{} entries cannot be read: {}", found_by_reading.len(), found_by_reading[0]));
    }
    let end = model.log.entries.last().map_or(0, |last| last.index + 1);
    if damaged.is_empty() && state.last_index().map(|last| last + 1) != Some(end) {
        return Err(format!("the log ends at {:?}, not before {end}", state.last));
    }
    match (end..end + 5).find(|&index| journal.entry(index).is_ok()) {
        Some(index) => Err(format!("an entry that never was: {index}")),
        None => Ok(()),
    }
}

fn compare_votes(journal: &Journal, model: &Model) -> Verdict {
    let found = (journal.get(b"vote").unwrap().unwrap_or_default(), journal.get_u64(b"term").unwrap().unwrap_or(0));
    if found == (model.vote.clone().into(), model.term) {
        return Ok(());
    }
    match journal.recovery_report().suspect {
        Some(suspect) if suspect.vote => Ok(()),
        suspect => Err(format!("a vote is lost: {found:?}, and the report says {suspect:?}")),
    }
}

/// What opens without being told to accept anything.
fn check_opened(journal: &Journal, subject: &Subject) -> Verdict {
    compare_votes(journal, &subject.held)?;
    let report = journal.recovery_report();
    let told: Vec<&Damage> = report.damaged.iter().map(|damage| &**damage).collect();
    let result = compare(journal, &subject.held, subject.entries_max, &told);
    if result.is_ok() || report.suspect.is_none() {
        return result;
    }
    let is_before = |model: &Model| compare(journal, model, subject.entries_max, &told).is_ok();
    // A single byte spoils a single group.
    let groups = if subject.entries_max > 1 { 2 } else { 1 };
    if subject.before.iter().take(groups).any(is_before) { Ok(()) } else { result }
}

/// What does not open: the error must be of damage, nothing may have changed, and accepting it must lose no more than
/// it says.
fn check_refused(disk: &Disk, subject: &Subject, error: &Error, files: &BTreeMap<String, Vec<u8>>) -> Verdict {
    if disk.contents() != *files {
        return Err(format!("files changed in spite of: {error}"));
    }
    match error {
        Error::Damaged(_) => {}
        // Lost votes are never accepted.
        Error::MetaUnreadable { .. } | Error::MetaOutdated { .. } => return Ok(()),
        other => return Err(format!("not an error of damage: {other}")),
    }
    let journal = open(disk, OnDamage::Accept).map_err(|error| format!("cannot be accepted: {error}"))?;
    let report = journal.recovery_report().clone();
    let told: Vec<&Damage> = report.damaged.iter().map(|damage| &**damage).collect();
    if told.is_empty() && report.reindexed.is_empty() {
        return Err("the damage that was accepted is not reported".into());
    }
    compare_votes(&journal, &subject.held)?;
    compare(&journal, &subject.held, subject.entries_max, &told).map_err(|why| format!("accepted: {why}"))?;
    go_on(disk, journal, subject, &told)
}

/// Appends behind accepted damage, closes, and opens again: reported, not refused, and nothing more is lost.
fn go_on(disk: &Disk, journal: Journal, subject: &Subject, told: &[&Damage]) -> Verdict {
    let next = journal.state().next_index().unwrap();
    let added = entry(next, 9, 230);
    journal.append(std::slice::from_ref(&added)).map_err(|error| format!("cannot append after: {error}"))?;
    let mut model = subject.held.clone();
    model.log.replace_tail(&[added]);
    compare(&journal, &model, subject.entries_max, told).map_err(|why| format!("after an append: {why}"))?;
    let killed = disk.killed();
    journal.close().map_err(|error| format!("cannot close after: {error}"))?;
    drop(journal);
    for (how, disk) in [("killed", &killed), ("closed", disk)] {
        let journal = open(disk, OnDamage::Refuse).map_err(|error| format!("{how}, then refused again: {error}"))?;
        compare(&journal, &model, subject.entries_max, told).map_err(|why| format!("{how}, then opened: {why}"))?;
        if !told.is_empty() && journal.recovery_report().damaged.is_empty() {
            return Err(format!("{how}, then opened: accepted damage is not reported"));
        }
    }
    Ok(())
}

fn check(disk: &Disk, subject: &Subject) -> Verdict {
    let files = disk.contents();
    match open(disk, OnDamage::Refuse) {
        Ok(journal) => check_opened(&journal, subject),
        Err(error) => check_refused(disk, subject, &error, &files),
    }
}

/// Runs the check for each place that `places` makes of a file's bytes, and reports every kind of failure with the
/// first places where it shows.
fn for_all_places(last: Last, places: impl Fn(&[u8]) -> Vec<(usize, Vec<u8>)>) {
    let mut subject = subject(last);
    check(&subject.disk.killed(), &subject).unwrap();
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for path in subject.disk.sim().paths() {
        let bytes = subject.disk.sim().read_file(&path).unwrap();
        for (offset, damage) in places(&bytes) {
            let disk = subject.disk.killed();
            disk.sim().corrupt(&path, offset as u64, &damage).unwrap();
            count += 1;
            subject.entries_max = damage.len() / 230 + 2;
            if damage.len() == 1 {
                subject.entries_max = 1;
            }
            if let Err(why) = check(&disk, &subject) {
                failures.entry(kind_of(&why)).or_default().push(format!("{} at {offset}: {why}", name(&path)));
            }
        }
    }
    let total: usize = failures.values().map(Vec::len).sum();
    let shown: Vec<String> = failures
        .values()
        .map(|places| format!("{} times, first {:#?}", places.len(), &places[..places.len().min(3)]))
        .collect();
    assert!(failures.is_empty(), "{total} of {count} places fail: {}", shown.join("\n"));
    assert!(count > 10, "{count}");
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A failure without its numbers.
fn kind_of(why: &str) -> String {
    why.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Every byte; in stretches where nothing was ever written, one of 64.
fn every_byte(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let flip = |at: usize| (at, vec![bytes[at] ^ 0x55]);
    let blank = |at: usize| bytes[at / 64 * 64..(at / 64 * 64 + 64).min(bytes.len())].iter().all(|&byte| byte == 0);
    (0..bytes.len()).filter(|&at| at % 64 == 0 || !blank(at)).map(flip).collect()
}

fn every_sector(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    (0..bytes.len()).step_by(512).map(|at| (at, vec![0; 512.min(bytes.len() - at)])).collect()
}

/// As a disk that reads back noise.
fn every_block(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    (0..bytes.len()).step_by(4096).map(|at| (at, vec![0xa5; 4096.min(bytes.len() - at)])).collect()
}

/// Two neighbouring sectors at a time, which may hold a header and what its body ends with.
fn every_two_sectors(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    (0..bytes.len().saturating_sub(512)).step_by(512).map(|at| (at, vec![0x5a; 1024])).collect()
}

#[test]
fn no_flipped_byte_of_a_closed_journal_is_read_or_cuts_anything() {
    for_all_places(Last::Closed, every_byte);
}

#[test]
fn no_flipped_byte_of_a_killed_journal_is_read_or_cuts_more_than_the_last_group() {
    for_all_places(Last::Append, every_byte);
}

#[test]
fn no_lost_sector_of_a_closed_journal_is_read_or_cuts_anything() {
    for_all_places(Last::Closed, every_sector);
    for_all_places(Last::Closed, every_two_sectors);
}

#[test]
fn no_lost_sector_of_a_killed_journal_is_read_or_cuts_more_than_the_last_group() {
    for last in [Last::Append, Last::ReplaceTail, Last::TruncateTail] {
        for_all_places(last, every_sector);
        for_all_places(last, every_two_sectors);
    }
}

#[test]
fn no_lost_sector_behind_a_commit_is_read_or_cuts_anything() {
    for last in [Last::Set, Last::Reopen] {
        for_all_places(last, every_sector);
        for_all_places(last, every_two_sectors);
    }
}

#[test]
fn no_lost_block_is_read_or_cuts_more_than_the_last_group() {
    for last in [Last::Closed, Last::Append, Last::ReplaceTail, Last::TruncateTail, Last::Set, Last::Reopen] {
        for_all_places(last, every_block);
    }
}

/// The batches of a segment: offset, kind and length of the body.
fn batches(segment: &[u8]) -> Vec<(usize, u32, usize)> {
    let number = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap());
    let (mut at, mut found) = (512, Vec::new());
    while number(at + 20) as usize == at {
        let body_bytes = number(at + 16) as usize;
        found.push((at, number(at + 8), body_bytes));
        at += (72 + body_bytes).next_multiple_of(8);
    }
    found
}

const SEAL: u32 = 2;
const INDEX: u32 = 3;

/// Flips every byte of the bodies of all batches of one kind, one at a time; each must cost nothing and be reported.
fn flip_every_index_byte(kind: u32) {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let mut count = 0;
    for name in disk.segments() {
        let bytes = disk.bytes(&name);
        let bodies = batches(&bytes).into_iter().filter(|batch| batch.1 == kind);
        for at in bodies.flat_map(|(at, _, body_bytes)| at + 72..at + 72 + body_bytes) {
            let damaged = disk.killed();
            damaged.flip(&name, at);
            let journal = damaged.try_open().unwrap_or_else(|error| panic!("{name} at {at}: {error}"));
            assert_eq!(log(&journal), all, "{name} at {at}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn a_damaged_index_of_a_clean_close_costs_nothing() {
    flip_every_index_byte(INDEX);
}

#[test]
fn a_damaged_seal_costs_nothing() {
    flip_every_index_byte(SEAL);
}

#[test]
fn entries_before_an_accepted_loss_at_a_segments_end_stay_readable() {
    let disk = Disk::simulated();
    let all = entries(1..=60, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let name = disk.segments()[1].clone();
    let seal = batches(&disk.bytes(&name)).into_iter().find(|batch| batch.1 == SEAL).unwrap().0;
    disk.flip(&name, seal);
    let journal = disk.open_accepting();
    let lost: Vec<u64> = (1..=60).filter(|&index| journal.entry(index).is_err()).collect();
    assert_eq!(lost, [0; 0], "a seal holds no entries");
}

#[test]
fn accepted_damage_is_reported_by_every_later_open() {
    let disk = Disk::simulated();
    let all = entries(1..=6, 1);
    let journal = disk.open();
    append_each(&journal, &all);
    journal.close().unwrap();
    let (name, at) = disk.find(&all[2].data);
    disk.flip(&name, at);
    // An index that a clean close wrote hides what it does not need to read; without one the batches are scanned.
    let journal = disk.open();
    assert!(matches!(journal.entry(3), Err(Error::Damaged(_))));
    drop(journal);
    let last = disk.bytes(&name);
    let (index, ..) = *batches(&last).iter().find(|batch| batch.1 == INDEX).unwrap();
    disk.flip(&name, index);
    let journal = disk.open_accepting();
    let told = |journal: &Journal| {
        let damaged = journal.recovery_report().damaged.iter();
        damaged.map(|damage| (damage.path.clone(), damage.offset, damage.indexes)).collect::<Vec<_>>()
    };
    let lost = told(&journal);
    assert!(lost.iter().any(|(_, _, indexes)| indexes.first == 3 && indexes.end == Some(4)), "{lost:?}");
    journal.append(&entries(7..=7, 1)).unwrap();
    journal.close().unwrap();
    for _ in 0..2 {
        let journal = disk.open();
        assert_eq!(told(&journal), lost);
        assert!(matches!(journal.entry(3), Err(Error::Damaged(_))));
        journal.close().unwrap();
    }
    // In a sealed segment, too.
    append_each(&disk.open(), &entries(8..=40, 1));
    let journal = disk.open();
    assert_eq!(told(&journal), lost);
    journal.truncate_head(Position::new(35, 1)).unwrap();
    journal.close().unwrap();
    assert_eq!(disk.open().recovery_report().damaged, [], "forgotten with the entries");
}

/// Damage must not be found only by those who look for it in the order of the log.
#[test]
fn a_damaged_entry_of_a_sealed_segment_costs_its_neighbours_nothing() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let all = entries(1..=60, 1);
    append_each(&journal, &all);
    journal.close().unwrap();
    let (name, at) = disk.find(&all[20].data);
    disk.flip(&name, at + 100);
    let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
    let Err(Error::Damaged(damage)) = journal.entry(21) else { panic!("{:?}", journal.entry(21)) };
    assert_eq!((&damage.path, damage.offset), (&disk.path(&name), at as u64 - 20));
    assert!(is_in(21, &damage) && !is_in(20, &damage) && !is_in(22, &damage));
    assert_eq!(journal.entries(1..61, u64::MAX).unwrap(), all[..20], "a range ends before it");
    assert!(matches!(journal.entries(21..61, u64::MAX), Err(Error::Damaged(_))), "or starts with the error");
    assert_eq!(journal.entries(22..61, u64::MAX).unwrap(), all[21..]);
    assert_eq!(journal.term(21).unwrap(), 1, "the index still knows its term");
}
