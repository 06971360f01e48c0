//! A process that may write no file beyond a size: the kernel says EFBIG, in the middle of a write too.
//!
//! Unlike a full file system, it can be had on every machine, refuses what a journal overwrites, and comes and goes.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use raft_journal::{Error, LogStore, OpenOptions, StableStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::entry;
use crate::full::{append_until_full, check_refused, end, next_entry, note, noted, vote};
use crate::history::Model;
use crate::{in_role, run, this_test, trial};

/// The child's role, before the name of its act.
pub const ROLE: &str = "limit";
/// Room for the first segment, of 512 KiB, and not for the second, twice as large.
const LIMIT_BYTES: u64 = 700 << 10;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("limit::a_file_that_may_not_grow_refuses_appends_and_loses_nothing", || {
            plays(&["new_file", "middle_of_a_write", "all_is_there"]);
            Ok(())
        }),
        trial("limit::a_commit_that_finds_no_room_is_final_and_loses_nothing", || {
            plays(&["commit", "commit_is_whole_or_absent"]);
            Ok(())
        }),
        trial("limit::a_journal_made_without_room_can_be_made_later", || {
            plays(&["create"]);
            Ok(())
        }),
    ]
}

/// Plays acts, each in a process of its own.
fn plays(acts: &[&str]) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    for act in acts {
        let mut command = Command::new("sh");
        // The signal that comes with the error would end the process.
        command.args(["-c", "trap '' XFSZ; exec \"$0\""]).arg(this_test());
        print!("{}", run(in_role(command, &format!("{ROLE}:{act}"), &temporary.path().join("journal"))));
    }
}

/// One of the acts, in the child.
pub fn play(dir: &Path, act: &str) {
    match act {
        "new_file" => new_file(dir),
        "middle_of_a_write" => middle_of_a_write(dir),
        "all_is_there" => assert_eq!(Model::of(&options().open(dir).unwrap()), noted(dir)),
        "commit" => commit(dir),
        "commit_is_whole_or_absent" => commit_is_whole_or_absent(dir),
        "create" => create(dir),
        _ => panic!("no act is called {act}"),
    }
}

fn options() -> OpenOptions {
    OpenOptions::new().segment_bytes(4 << 20)
}

/// Limits the size of the files that this process may write from now on.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn new_file(dir: &Path) {
    limit(Some(LIMIT_BYTES));
    let journal = options().open(dir).unwrap();
    let mut model = Model::default();
    vote(&journal, &mut model);
    append_until_full(&journal, &mut model);
    check_refused(&journal, &model);
    vote(&journal, &mut model);
    let head = model.log.entries[100].position();
    journal.truncate_head(head).unwrap();
    model.log.truncate_head(head);
    check_refused(&journal, &model);
    println!("{} entries until a second file would have been too large", model.log.last().unwrap().index);
    limit(None);
    model.log.append(&[next_entry(&model)]);
    journal.append(&model.log.entries[model.log.entries.len() - 1..]).unwrap();
    assert_eq!(Model::of(&journal), model);
    note(dir, &model);
    end(&journal);
}

/// The second file is there, and only its beginning may be written: short writes, then none.
fn middle_of_a_write(dir: &Path) {
    limit(Some(LIMIT_BYTES));
    let mut model = noted(dir);
    let journal = options().open(dir).unwrap();
    assert_eq!(Model::of(&journal), model);
    append_until_full(&journal, &mut model);
    check_refused(&journal, &model);
    vote(&journal, &mut model);
    println!("{} entries until one was cut in the middle", model.log.last().unwrap().index);
    drop(journal);
    let journal = options().open(dir).unwrap();
    assert_eq!(Model::of(&journal), model);
    check_refused(&journal, &model);
    limit(None);
    // Goes where the others' beginnings were left.
    model.log.append(&[next_entry(&model)]);
    journal.append(&model.log.entries[model.log.entries.len() - 1..]).unwrap();
    note(dir, &model);
    end(&journal);
}

fn commit(dir: &Path) {
    let journal = options().open(dir).unwrap();
    let mut model = Model::default();
    vote(&journal, &mut model);
    model.log.append(&[next_entry(&model)]);
    journal.append(&model.log.entries).unwrap();
    note(dir, &model);
    limit(Some(0));
    let error = journal.set_u64(b"vote", 2).unwrap_err();
    let Error::Poisoned { cause } = &error else { panic!("{error:?}") };
    assert!(matches!(&**cause, Error::NoSpace { path, .. } if *path == dir.join("meta")), "{cause:?}");
    limit(None);
    for result in [journal.set_u64(b"vote", 2), journal.append(&[entry(2, 1, 9)]).map(drop), journal.close()] {
        assert!(matches!(&result, Err(Error::Poisoned { .. })), "{result:?}");
    }
    end(&journal);
}

fn commit_is_whole_or_absent(dir: &Path) {
    let mut model = noted(dir);
    let contents = || {
        let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = contents();
    limit(Some(0));
    let error = options().open(dir).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { path, .. } if *path == dir.join("meta")), "{error:?}");
    assert!(contents() == before, "an open without room changes nothing");
    // Both slots, and both copies of each: no limit may leave half of a life or of a vote.
    for kibibytes in [0, 1, 10, 21, 30, 41, 50, 61, 70, 81] {
        limit(Some(kibibytes << 10));
        match options().open(dir) {
            Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{kibibytes} KiB: {error:?}"),
            Ok(journal) => match journal.set_u64(b"vote", model.vote + 1) {
                Ok(()) => model.vote += 1,
                Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{kibibytes} KiB: {error:?}"),
            },
        }
        limit(None);
        let journal = options().open(dir).unwrap();
        let found = Model::of(&journal);
        assert!([model.vote, model.vote + 1].contains(&found.vote), "{kibibytes} KiB: {found:?}");
        assert_eq!(found.log, model.log, "{kibibytes} KiB");
        model.vote = found.vote;
    }
}

fn create(dir: &Path) {
    for kibibytes in [0, 4, 19, 21, 79, 81, 511] {
        let dir = dir.with_extension(kibibytes.to_string());
        limit(Some(kibibytes << 10));
        let error = options().open(&dir).unwrap_err();
        assert!(matches!(&error, Error::NoSpace { path, .. } if path.starts_with(&dir)), "{kibibytes} KiB: {error:?}");
        limit(None);
        let mut model = Model::default();
        let journal = options().open(&dir).unwrap();
        vote(&journal, &mut model);
        model.log.append(&[next_entry(&model)]);
        journal.append(&model.log.entries).unwrap();
        drop(journal);
        assert_eq!(Model::of(&options().open(&dir).unwrap()), model);
    }
}
