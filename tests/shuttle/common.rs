//! What the scenarios share: how they are run, the disk, and what is held against a power cut.

use std::path::PathBuf;
use std::sync::Arc;

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Entry, Journal, LogStore, OpenOptions, Position, StableStore};
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, thread};

pub const DIR: &str = "/journal";

/// The file of a failing schedule, to run that one alone.
const REPLAY: &str = "SHUTTLE_REPLAY";
/// By what factor to run more schedules than usual.
const FACTOR: &str = "SHUTTLE_FACTOR";
/// Any: it makes a run the same as the last one. `SHUTTLE_RANDOM_SEED` gives another.
const SEED: u64 = 0x5eed;
/// How often PCT changes the order of the threads. Few changes suffice for most bugs.
const PCT_DEPTH: usize = 4;

/// Says how to run a failing schedule again. Shuttle has printed the name of its file.
struct HowToReplay;

impl Drop for HowToReplay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!(
                "to run that schedule alone: {REPLAY}=THE_FIRST_FILE_NAMED RUSTFLAGS='--cfg shuttle' \
                 CARGO_TARGET_DIR=target/shuttle cargo test --features sim --test shuttle -- --exact {test}"
            );
        }
    }
}

/// Runs a scenario in `schedules` orders of its threads, half of them random, half by PCT; and checks that an order
/// determines all that happens, without which no failure could be run again.
pub fn check(schedules: usize, scenario: fn()) {
    let _how = HowToReplay;
    if let Ok(path) = std::env::var(REPLAY) {
        let scheduler = ReplayScheduler::new_from_file(path).expect("a file with a schedule");
        Runner::new(scheduler, config()).run(scenario);
        return;
    }
    let factor = std::env::var(FACTOR).map_or(1, |factor| factor.parse().expect("a factor"));
    let half = (schedules * factor).div_ceil(2);
    let twice = RandomScheduler::new_from_seed(SEED, 2);
    let run = run(UncontrolledNondeterminismCheckScheduler::new(twice), scenario)
        + run(RandomScheduler::new_from_seed(SEED, half), scenario)
        + run(PctScheduler::new_from_seed(SEED, PCT_DEPTH, half), scenario);
    assert!(run >= 2 * half, "only {run} schedules were run");
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) -> usize {
    Runner::new(scheduler, config()).run(scenario)
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.failure_persistence = FailurePersistence::File(Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))));
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    config
}

/// An entry that tells which one it is, `bytes` long at least.
pub fn entry_of(index: u64, term: u64, bytes: usize) -> Entry {
    let mut data = format!("{index} of term {term}").into_bytes();
    data.resize(data.len().max(bytes), index as u8);
    Entry::new(index, term, data)
}

pub fn entry(index: u64) -> Entry {
    entry_of(index, 1, 0)
}

/// Segments as small as they may be.
pub fn options(disk: &SimFs) -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(256).file_system(Arc::new(disk.clone()))
}

/// A disk whose background work is done by threads.
pub fn disk() -> SimFs {
    let disk = SimFs::new();
    disk.threaded_tasks();
    disk
}

/// All that a journal's log holds.
pub fn log(journal: &Journal) -> Vec<Entry> {
    let state = journal.state();
    match (state.first_index(), state.last_index()) {
        (Some(first), Some(last)) => journal.entries(first..last + 1, u64::MAX).expect("the whole log"),
        _ => Vec::new(),
    }
}

/// Opens what a disk holds, without any other thread.
pub fn reopen(disk: &SimFs) -> Journal {
    disk.queue_tasks(false);
    options(disk).open(DIR).expect("a journal that opens")
}

/// What has been promised so far, each promise with the disk as power loss would have left it right then.
///
/// The locks are `std`'s, held for no longer than a push: the checks of a promise would only blur the schedule, and
/// are made when all threads are done.
#[derive(Clone, Default)]
pub struct Promises(Arc<std::sync::Mutex<Vec<(Promise, SimFs)>>>);

#[derive(Clone, Copy, Debug)]
pub enum Promise {
    /// This entry is durable.
    Entry(Position),
    /// The log begins behind this position.
    Head(Position),
    /// This vote, or a later one, is durable.
    Vote(u64),
}

impl Promises {
    /// Notes what has just been acknowledged.
    pub fn made(&self, disk: &SimFs, promise: Promise) {
        let cut = disk.after_power_cut(Survival::Nothing);
        self.0.lock().unwrap().push((promise, cut));
    }

    /// Opens every one of these disks and looks; how many.
    pub fn check(&self) -> usize {
        let made = std::mem::take(&mut *self.0.lock().unwrap());
        for (promise, cut) in &made {
            let journal = reopen(cut);
            let state = journal.state();
            let kept = match *promise {
                Promise::Entry(at) => {
                    state.purged.is_some_and(|purged| purged.index >= at.index)
                        || journal.term(at.index).is_ok_and(|term| term >= at.term)
                }
                Promise::Head(at) => state.purged.is_some_and(|purged| purged >= at),
                Promise::Vote(vote) => journal.get_u64(b"vote").expect("an open journal") >= Some(vote),
            };
            assert!(kept, "{promise:?} was acknowledged, and a power cut right then leaves {state:?}");
            for found in log(&journal) {
                assert_eq!(found, entry_of(found.index, found.term, found.data.len()), "an entry is not whole");
            }
        }
        made.len()
    }
}

/// Joins threads, whose panics are the scenario's.
pub fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("a thread that does not panic"));
}
