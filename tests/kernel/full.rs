//! A small file system that fills up: a tmpfs of a mebibyte, mounted where only the child sees it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use raft_journal::{Error, Journal, LogStore, OpenOptions, Position, StableStore};

use crate::common::{entry, names_file};
use crate::history::Model;
use crate::{Skipped, in_role, probe, run, this_test, trial};

/// The child's role, before the name of its act.
pub const ROLE: &str = "full";
const ENTRY_BYTES: usize = 1000;
/// So many entries the files of half a log must make room for.
const GAINED: usize = 200;
const GIVE_UP: Duration = Duration::from_secs(60);

/// The acts of one play, each a process of its own.
const ACTS: &str = "fill reopen create";

pub fn trials() -> Vec<Trial> {
    vec![trial("full::a_tmpfs_that_fills_up", a_tmpfs_fills_up)]
}

fn a_tmpfs_fills_up() -> Result<(), Skipped> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path().join("mounted");
    std::fs::create_dir(&dir).expect("a directory");
    const MOUNT: &str = "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$KERNEL_TEST_DIR\"";
    let mut reasons = Vec::new();
    // With a user of its own, as anybody may where the kernel lets him; or as root.
    for unshare in ["-rm", "-m"] {
        let in_namespace = |script: &str| {
            let mut command = Command::new("unshare");
            command.args([unshare, "sh", "-c", script]).arg(this_test());
            in_role(command, ROLE, &dir)
        };
        match probe(in_namespace(MOUNT)) {
            Ok(()) => {
                let act = format!("KERNEL_TEST_ROLE={ROLE}:$act \"$0\" || exit");
                print!("{}", run(in_namespace(&format!("{MOUNT} || exit; for act in {ACTS}; do {act}; done"))));
                return Ok(());
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(format!("no tmpfs can be mounted: {}", reasons.join("; ")))
}

/// One of the acts, in the child.
pub fn play(dir: &Path, act: &str) {
    match act {
        "fill" => fill_up(dir),
        "reopen" => reopen_without_room(dir),
        "create" => create_without_room(dir),
        _ => panic!("no act is called {act}"),
    }
}

/// Ends the process as a kill would: a journal that is dropped is closed.
pub fn end(_open: &Journal) -> ! {
    std::process::exit(0)
}

fn options() -> OpenOptions {
    OpenOptions::new().segment_bytes(64 << 10).meta_bytes_max(512)
}

fn fill_up(dir: &Path) {
    let journal = options().open(dir.join("journal")).unwrap();
    let mut model = Model::default();
    vote(&journal, &mut model);
    append_until_full(&journal, &mut model);
    assert!(model.log.entries.len() > 500, "{} entries fill a mebibyte", model.log.entries.len());
    check_refused(&journal, &model);
    // A commit overwrites what it has.
    vote(&journal, &mut model);
    println!("{} entries until a tmpfs of 1 MiB was full", model.log.entries.len());
    note(dir, &model);
    end(&journal);
}

fn reopen_without_room(dir: &Path) {
    let mut model = noted(dir);
    take_all_room(dir);
    let open = || options().open(dir.join("journal")).unwrap();
    let journal = open();
    assert_eq!(Model::of(&journal), model);
    assert!(!journal.recovery_report().clean);
    check_refused(&journal, &model);
    vote(&journal, &mut model);
    // Closed in order, without room for anything; dropped, because a handle keeps its files.
    journal.close().unwrap();
    drop(journal);
    let journal = open();
    assert_eq!(Model::of(&journal), model);
    assert!(journal.recovery_report().clean);

    let middle = model.log.entries[model.log.entries.len() / 2].position();
    journal.truncate_head(middle).unwrap();
    model.log.truncate_head(middle);
    assert_eq!(Model::of(&journal), model);
    append_when_there_is_room(&journal, &mut model);
    let gained = GAINED + append_until_full(&journal, &mut model);
    check_refused(&journal, &model);
    println!("{gained} more after its head was truncated");
    drop(journal);
    assert_eq!(Model::of(&open()), model);
}

/// The files go in the background, soon after the truncation was acknowledged.
fn append_when_there_is_room(journal: &Journal, model: &mut Model) {
    let begun = Instant::now();
    for _ in 0..GAINED {
        let next = next_entry(model);
        loop {
            match journal.append(std::slice::from_ref(&next)) {
                Ok(_) => break,
                // Not a bound on how long it may take: without it, room that never comes would be a hang.
                Err(Error::NoSpace { .. }) if begun.elapsed() < GIVE_UP => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        model.log.append(&[next]);
    }
}

fn create_without_room(dir: &Path) {
    let other = dir.join("other");
    let error = options().open(&other).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { path, .. } if path.starts_with(&other)), "{error:?}");
    let error = options().open(&other).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { .. }), "again: {error:?}");
    std::fs::remove_dir_all(dir.join("journal")).unwrap();
    let mut model = Model::default();
    let journal = options().open(&other).unwrap();
    vote(&journal, &mut model);
    model.log.append(&[next_entry(&model)]);
    journal.append(&model.log.entries).unwrap();
    drop(journal);
    assert_eq!(Model::of(&options().open(&other).unwrap()), model);
}

/// Leaves not a page.
fn take_all_room(dir: &Path) {
    let mut filler = std::fs::File::create(dir.join("filler")).unwrap();
    let error = loop {
        if let Err(error) = filler.write_all(&[b'.'; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

pub fn vote(journal: &Journal, model: &mut Model) {
    model.vote += 1;
    journal.set_u64(b"vote", model.vote).unwrap();
}

pub fn next_entry(model: &Model) -> raft_journal::Entry {
    let last = model.log.last().unwrap_or(Position::new(0, 1));
    entry(last.index + 1, last.term, ENTRY_BYTES)
}

/// Appends entry by entry until there is no room; how many there was room for.
pub fn append_until_full(journal: &Journal, model: &mut Model) -> usize {
    let mut count = 0;
    loop {
        let next = next_entry(model);
        match journal.append(std::slice::from_ref(&next)) {
            Ok(position) => assert_eq!(position, next.position()),
            Err(error) => {
                let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
                assert!(path.starts_with(journal.dir()) && names_file(&error, path), "{error}");
                return count;
            }
        }
        model.log.append(&[next]);
        count += 1;
    }
}

/// What finds no room leaves everything as it was, however often it is tried.
pub fn check_refused(journal: &Journal, model: &Model) {
    let state = journal.state();
    let (next, last) = (next_entry(model), model.log.entries.last().unwrap().clone());
    let replacement = [entry(last.index, last.term + 1, ENTRY_BYTES), entry(last.index + 1, last.term + 1, 9)];
    for _ in 0..2 {
        let results = [journal.append(std::slice::from_ref(&next)), journal.replace_tail(&replacement)];
        assert!(results.iter().all(|result| matches!(result, Err(Error::NoSpace { .. }))), "{results:?}");
        assert_eq!(journal.state(), state);
        assert!(matches!(journal.entry(next.index), Err(Error::AfterLast { .. })));
        assert_eq!(Model::of(journal), *model);
    }
}

/// Tells the next act what it must find: outside of what is full.
pub fn note(dir: &Path, model: &Model) {
    let first = model.log.purged.map_or(0, |purged| purged.index);
    let text = format!("{first} {} {}", model.log.last().unwrap().index, model.vote);
    std::fs::write(note_path(dir), text).unwrap();
}

pub fn noted(dir: &Path) -> Model {
    let text = std::fs::read_to_string(note_path(dir)).unwrap();
    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    let [purged, last, vote] = numbers[..] else { panic!("{text}") };
    let mut model = Model { vote, ..Model::default() };
    model.log.purged = (purged > 0).then_some(Position::new(purged, 1));
    while model.log.last().is_none_or(|found| found.index < last) {
        model.log.append(&[next_entry(&model)]);
    }
    model
}

fn note_path(dir: &Path) -> PathBuf {
    dir.with_extension("note")
}
