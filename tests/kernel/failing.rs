//! Calls that fail: each sync, write and read of a history once, by `strace`'s hand.
//!
//! The calls are not made when they are said to fail, so this proves what the journal does about an error that the real
//! kernel reports; what a failed sync leaves on a disk is the simulated one's part.

use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use raft_journal::{Error, Journal, LogStore, OpenOptions};

use crate::common::entry;
use crate::history::{FIRST_LIFE, Model, SECOND_LIFE, Step, read, take};
use crate::trace::{self, Call};
use crate::{Skipped, in_role, run, this_test, trial};

/// The child's role, before the name of what it does.
pub const ROLE: &str = "failing";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("failing::a_sync_that_fails_is_final", || sweep("fdatasync", &["EIO", "ENOSPC", "EDQUOT", "EINTR"])),
        trial("failing::a_directory_that_cannot_be_synced_is_told", || sweep("fsync", &["EIO", "EINTR"])),
        trial("failing::a_write_that_fails_is_final", || sweep("pwrite64", &["EIO"])),
        trial("failing::a_write_without_space_leaves_nothing", || sweep("pwrite64", NO_SPACE)),
        trial("failing::a_file_without_space_leaves_nothing", || sweep("fallocate", NO_SPACE)),
        trial("failing::a_file_that_cannot_be_named_is_told", || sweep("/^rename", &["EIO"])),
        trial("failing::a_read_that_fails_names_its_place_and_may_be_tried_again", || sweep("pread64", &["EIO"])),
        trial("failing::interrupted_reads_and_writes_go_on", interrupted_calls_go_on),
    ]
}

/// The kernel's words for no space: file system, quota, file-size limit.
const NO_SPACE: &[&str] = &["ENOSPC", "EDQUOT", "EFBIG"];

/// What calls were made to fail, and how.
#[derive(Clone, Copy)]
struct Injected {
    call: &'static str,
    error: &'static str,
}

impl Injected {
    fn is_no_space(self) -> bool {
        NO_SPACE.contains(&self.error)
    }

    /// Whether nobody can know what the disk holds after it, in a file that the log is in.
    fn is_final(self) -> bool {
        self.call == "fdatasync" || (self.call == "pwrite64" && !self.is_no_space())
    }
}

/// The lives of a child: which steps, and behind which others.
struct Life {
    name: &'static str,
    before: &'static [Step],
    steps: &'static [Step],
}

const LIVES: [Life; 2] = [
    Life { name: "first", before: &[], steps: FIRST_LIFE },
    Life { name: "second", before: FIRST_LIFE, steps: SECOND_LIFE },
];

fn open(dir: &Path) -> Result<Journal, Error> {
    OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512).tail_cache_bytes(0).open(dir)
}

/// How a step ended, as the child says it: `NUMBER ok`, or `NUMBER KIND OP PATH`.
#[derive(Clone, PartialEq, Debug)]
struct Said {
    /// Of a step; of what comes after all steps when opening or reading.
    step: String,
    /// None when it was acknowledged.
    failure: Option<Failure>,
}

#[derive(Clone, PartialEq, Debug)]
struct Failure {
    poisoned: bool,
    /// What was tried; `no-space` where that is the error.
    op: String,
    path: PathBuf,
}

fn say(step: &str, error: Option<&Error>) {
    let line = match error {
        None => format!("{step} ok"),
        Some(error) => {
            let (kind, cause) = match error {
                Error::Poisoned { cause } => ("poisoned", &**cause),
                error => ("plain", error),
            };
            let (op, path) = match cause {
                Error::Io { op, path, .. } => (*op, path),
                Error::NoSpace { path, .. } => ("no-space", path),
                other => panic!("{step}: {other:?}"),
            };
            let text = error.to_string();
            assert!(text.contains(op) || op == "no-space", "{text}");
            assert!(text.contains(&path.display().to_string()), "{text}");
            format!("{step} {kind} {op} {}", path.display())
        }
    };
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the parent listens");
}

fn heard(said: &str) -> Vec<Said> {
    let parse = |line: &str| {
        let (step, rest) = line.split_once(' ')?;
        let step = step.to_owned();
        if rest == "ok" {
            return Some(Said { step, failure: None });
        }
        let (kind, rest) = rest.split_once(' ')?;
        let (op, path) = rest.split_once(' ')?;
        let failure = Failure { poisoned: kind == "poisoned", op: op.to_owned(), path: path.into() };
        Some(Said { step, failure: Some(failure) })
    };
    said.lines().map(|line| parse(line).unwrap_or_else(|| panic!("the child said {line}"))).collect()
}

/// The child: takes the steps of a life, says how each ended, and ends without closing.
pub fn live(dir: &Path, name: &str) {
    let life = LIVES.iter().find(|life| life.name == name).expect("a life");
    let journal = match open(dir) {
        Ok(journal) => journal,
        Err(error) => {
            say("open", Some(&error));
            std::process::exit(0);
        }
    };
    say("open", None);
    let mut model = Model::after(life.before);
    let mut is_poisoned = false;
    check_reads(&journal, std::slice::from_ref(&model));
    for (number, &step) in life.steps.iter().enumerate() {
        let mut tries_left = 2;
        while tries_left > 0 {
            tries_left -= 1;
            let result = take(&journal, step);
            say(&number.to_string(), result.as_ref().err());
            match result {
                Ok(()) => {
                    assert!(!is_poisoned, "{step:?} is acknowledged by a poisoned journal");
                    model.apply(step);
                    tries_left = 0;
                }
                Err(Error::Poisoned { .. }) => {
                    // A close that fails closes all the same.
                    if !is_poisoned && step != Step::Close {
                        check_reads(&journal, &model.possible_after(step));
                    }
                    (is_poisoned, tries_left) = (true, 0);
                }
                // Nothing of it shows, and it is a failure that comes once.
                Err(error) => {
                    let shows = matches!(step, Step::Pending(..) | Step::Callbacks(..));
                    let possible = if shows { model.possible_after(step) } else { vec![model.clone()] };
                    check_reads(&journal, &possible);
                    assert!(tries_left > 0, "{step:?}: {error}");
                }
            }
        }
        let is_last = life.steps[number + 1..].iter().all(|&step| step == Step::Close);
        if is_last && step != Step::Close && !is_poisoned {
            check_reads(&journal, std::slice::from_ref(&model));
        }
    }
    // As a kill would: a journal that is dropped is closed.
    std::process::exit(0);
}

/// Reads go on, whatever failed.
fn check_reads(journal: &Journal, possible: &[Model]) {
    let failed = Cell::new(false);
    let entries = read(journal, |error| {
        failed.set(true);
        say("read", Some(error));
    });
    let purged = journal.state().purged;
    let is_one = |model: &Model| model.log.entries == entries && model.log.purged == purged;
    assert!(possible.iter().any(is_one), "{:?} is not what it should read", journal.state());
}

/// A directory with a journal as a life finds it.
struct Fixture {
    temporary: tempfile::TempDir,
    before: Option<PathBuf>,
}

impl Fixture {
    fn of(life: &Life) -> Fixture {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let before = (!life.before.is_empty()).then(|| {
            let dir = temporary.path().join("before");
            // In a process of its own, which ends without closing.
            let said = heard(&run(in_role(std::process::Command::new(this_test()), "failing:first", &dir)));
            assert!(said.iter().all(|said| said.failure.is_none()), "{said:?}");
            dir
        });
        Fixture { temporary, before }
    }

    fn fresh(&self, name: &str) -> PathBuf {
        // As strace names it, which follows links.
        let dir = self.temporary.path().canonicalize().expect("a directory").join(name);
        if let Some(before) = &self.before {
            std::fs::create_dir(&dir).expect("a directory");
            for file in std::fs::read_dir(before).expect("a directory").map(|file| file.expect("a file")) {
                std::fs::copy(file.path(), dir.join(file.file_name())).expect("a copy");
            }
        }
        dir
    }
}

/// A child's life in which calls failed.
struct Run<'a> {
    life: &'a Life,
    dir: PathBuf,
    said: Vec<Said>,
    calls: Vec<Call>,
}

impl Run<'_> {
    fn new<'a>(life: &'a Life, dir: PathBuf, injection: &str) -> Run<'a> {
        let file = dir.with_extension("trace");
        let command = trace::injecting(&file, injection, &dir);
        let said = heard(&run(in_role(command, &format!("{ROLE}:{}", life.name), &dir)));
        let calls = trace::parse(&std::fs::read_to_string(file).expect("a trace"));
        Run { life, dir, said, calls }
    }

    fn check(&self, injected: Injected) {
        self.check_errors(injected);
        self.check_poison(injected);
        self.check_next_process();
    }

    /// What was acknowledged, and the first step that was refused for good.
    fn acknowledged(&self) -> (Model, Option<Step>) {
        let mut model = Model::after(self.life.before);
        for said in &self.said {
            let Ok(number) = said.step.parse::<usize>() else { continue };
            match &said.failure {
                None => model.apply(self.life.steps[number]),
                Some(failure) if failure.poisoned => return (model, Some(self.life.steps[number])),
                Some(_) => {}
            }
        }
        (model, None)
    }

    /// Every error names a call that failed, and every call that failed where somebody waited for it was told.
    fn check_errors(&self, injected: Injected) {
        let failures: Vec<&Failure> = self.said.iter().filter_map(|said| said.failure.as_ref()).collect();
        let failed: Vec<&Call> = self.calls.iter().filter(|call| call.is_injected).collect();
        for failure in &failures {
            let no_space = injected.is_no_space().then_some("no-space");
            let is_it = |call: &&Call| call.path == failure.path && no_space.unwrap_or(op_of(call)) == failure.op;
            assert!(failed.iter().any(is_it), "{failure:?} names none of {failed:?}");
        }
        let main = self.calls.first().map(|call| call.thread);
        for call in failed.iter().filter(|call| Some(call.thread) == main) {
            let closing = self.said.last().is_some_and(|said| said.failure.is_none() && said.step != "open");
            let is_told = failures.iter().any(|failure| failure.path == call.path);
            // A close goes without its index where there is no space for it.
            assert!(is_told || (injected.is_no_space() && closing), "{call:?} is not told");
        }
    }

    /// Behind the failure that poisoned, nothing is written, synced or acknowledged any more; a sync of what was written
    /// before it may have been under way.
    fn check_poison(&self, injected: Injected) {
        let first = self.said.iter().position(|said| said.failure.as_ref().is_some_and(|failure| failure.poisoned));
        let chain_file = |call: &Call| call.path.extension().is_none_or(|extension| extension != "tmp");
        let main = self.calls.first().map(|call| call.thread);
        let fatal = |call: &&Call| call.is_injected && Some(call.thread) == main && chain_file(call);
        let opened = self.said.iter().any(|said| said.step == "open" && said.failure.is_none());
        if let Some(call) = self.calls.iter().find(fatal).filter(|_| injected.is_final() && opened) {
            assert!(first.is_some(), "{call:?} does not poison");
        }
        let Some(first) = first else { return };
        let cause = self.said[first].failure.as_ref().expect("the failure");
        for said in self.said[first..].iter().filter(|said| said.step != "read") {
            assert_eq!(said.failure.as_ref(), Some(cause), "{said:?} behind a failure that is final");
        }
        let failed = |call: &Call| call.is_injected && call.path == cause.path;
        let at = self.calls.iter().position(failed).expect("the call that poisoned");
        let behind = self.calls[at + 1..].iter().filter(|call| call.changes_the_disk());
        // A leader on another thread may have decided to sync what was written before the write that failed.
        let mut under_way = usize::from(cause.op == "write");
        for call in behind {
            let is_own = call.thread == self.calls[at].thread;
            if !is_own && under_way > 0 && op_of(call) == "sync" && call.path == cause.path {
                under_way -= 1;
                continue;
            }
            // Another thread may have been about to make a file that nothing refers to.
            let is_shared = call.path == cause.path && cause.path != self.dir;
            assert!(!(is_own || is_shared) || !chain_file(call), "{call:?} behind a failure that is final");
        }
    }

    /// A process in which nothing fails finds what was acknowledged, and at most what was in flight; and goes on.
    fn check_next_process(&self) {
        let (model, refused) = self.acknowledged();
        let journal = open(&self.dir).unwrap_or_else(|error| panic!("{error}"));
        let found = Model::of(&journal);
        let possible = refused.map_or_else(|| vec![model.clone()], |step| model.possible_after(step));
        assert!(possible.contains(&found), "{refused:?}: {:?}, not {:?}", found, possible);
        let next = found.log.last().map_or(1, |last| last.index + 1);
        let mut model = found;
        model.log.append(&[entry(next, 20, 300)]);
        journal.append(&model.log.entries[model.log.entries.len() - 1..]).unwrap();
        journal.close().unwrap();
        assert_eq!(Model::of(&open(&self.dir).unwrap()), model, "and stays");
    }
}

/// What the journal calls an operation.
fn op_of(call: &Call) -> &str {
    match call.name.as_str() {
        "fdatasync" | "fsync" => "sync",
        "pwrite64" => "write",
        "pread64" => "read",
        "fallocate" => "allocate",
        _ => "rename",
    }
}

/// Lets each call of every life fail in turn.
fn sweep(call: &'static str, errors: &[&'static str]) -> Result<(), Skipped> {
    trace::is_possible()?;
    for life in &LIVES {
        let fixture = Fixture::of(life);
        for &error in errors {
            let mut count = 0;
            loop {
                let dir = fixture.fresh(&format!("{error}-{count}"));
                let injection = format!("inject={call}:error={error}:when={}", count + 1);
                let run = Run::new(life, dir, &injection);
                if !run.calls.iter().any(|call| call.is_injected) {
                    assert_eq!(run.acknowledged(), (Model::after(&[life.before, life.steps].concat()), None));
                    break;
                }
                let judged = std::panic::catch_unwind(|| run.check(Injected { call, error }));
                assert!(judged.is_ok(), "{} life, {injection}: {:#?}", life.name, run.said);
                count += 1;
            }
            println!("{error} from each of {count} calls of {call} in the {} life", life.name);
            assert!(count > 0, "{call} is never called");
        }
    }
    Ok(())
}

/// Every other call is interrupted: nobody notices.
fn interrupted_calls_go_on() -> Result<(), Skipped> {
    trace::is_possible()?;
    for life in &LIVES {
        let fixture = Fixture::of(life);
        for call in ["pwrite64", "pread64"] {
            let run = Run::new(life, fixture.fresh(call), &format!("inject={call}:error=EINTR:when=1+2"));
            let interrupted = run.calls.iter().filter(|call| call.is_injected).count();
            assert!(run.said.iter().all(|said| said.failure.is_none()), "{:?}", run.said);
            run.check_next_process();
            println!("EINTR from {interrupted} calls of {call} in the {} life", life.name);
            assert!(interrupted > 0, "{call} is never called");
        }
    }
    Ok(())
}
