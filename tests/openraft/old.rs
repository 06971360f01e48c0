//! The openraft 0.9 adapter: openraft's own suite, and what that suite lacks.

#![cfg(feature = "openraft-09")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft_09 as openraft;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, LogId, LogState, RaftLogReader, StorageError, Vote};
use raft_journal::adapters::openraft_09::{Backend, LogStore};
use raft_journal::io::sim::{OperationKind, SimFs, Survival};
use raft_journal::io::{File, Fs, Mode, OsFs, PathKind, Tasks};
use raft_journal::{Entry, Journal, LogStore as _, MemoryStore, OpenOptions, Position, StableStore as _};
use state_machine::{Command, StateMachine, Types};

#[allow(dead_code)]
#[path = "../examples/cluster/state_machine.rs"]
mod state_machine;

type Outcome<T = ()> = Result<T, StorageError<u64>>;
type RaftEntry = openraft::Entry<Types>;

fn log_id(term: u64, index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> RaftEntry {
    let (key, value) = (format!("key {index}"), format!("value of {index} in term {term}"));
    let command = Command { client: term, sequence: index, key, value };
    RaftEntry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) }
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<RaftEntry> {
    indexes.map(|index| entry(term, index)).collect()
}

/// Small segments, so that a short history has rotations in it.
fn open(disk: &SimFs) -> raft_journal::Result<LogStore<Types>> {
    let disk = Arc::new(disk.clone());
    OpenOptions::new().segment_bytes(8 << 10).file_system(disk).open("/journal").map(LogStore::new)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The log as a reader sees it.
async fn log<S: Backend>(store: &LogStore<Types, S>) -> Outcome<Vec<RaftEntry>> {
    store.clone().try_get_log_entries(..).await
}

// openraft's own suite.

struct Build<F>(F);

impl<F, S> StoreBuilder<Types, LogStore<Types, S>, StateMachine, tempfile::TempDir> for Build<F>
where
    F: Fn(&tempfile::TempDir) -> S + Send + Sync,
    S: Backend,
{
    async fn build(&self) -> Outcome<(tempfile::TempDir, LogStore<Types, S>, StateMachine)> {
        let dir = tempfile::tempdir().unwrap();
        let machine = StateMachine::open(dir.path()).unwrap();
        let store = LogStore::new(self.0(&dir));
        Ok((dir, store, machine))
    }
}

#[test]
fn openraft_suite_passes_on_a_directory() {
    Suite::test_all(Build(|dir: &tempfile::TempDir| Journal::open(dir.path().join("journal")).unwrap())).unwrap();
}

#[test]
fn openraft_suite_passes_on_a_simulated_disk() {
    Suite::test_all(Build(|_: &tempfile::TempDir| open(&SimFs::new()).unwrap().store().clone())).unwrap();
}

#[test]
fn openraft_suite_passes_on_a_memory_store() {
    Suite::test_all(Build(|_: &tempfile::TempDir| MemoryStore::new())).unwrap();
}

// Power cuts.

/// One call of openraft's.
#[derive(Clone, Copy, Debug)]
enum Step {
    Vote(u64),
    Append { term: u64, first: u64, count: u64 },
    Truncate(u64),
    Purge(u64, u64),
    Committed(u64, u64),
}

/// A life in which every call comes, with rotations, replaced tails and installed snapshots.
const HISTORY: [Step; 24] = [
    Step::Vote(1),
    Step::Append { term: 1, first: 0, count: 3 },
    Step::Append { term: 1, first: 3, count: 20 },
    Step::Committed(1, 20),
    Step::Vote(2),
    Step::Truncate(22),
    Step::Append { term: 2, first: 22, count: 5 },
    Step::Append { term: 2, first: 27, count: 30 },
    Step::Committed(2, 28),
    Step::Purge(2, 25),
    Step::Append { term: 2, first: 57, count: 1 },
    Step::Append { term: 3, first: 50, count: 2 },
    Step::Vote(3),
    Step::Committed(2, 29),
    Step::Truncate(40),
    Step::Truncate(30),
    Step::Append { term: 3, first: 30, count: 60 },
    Step::Purge(3, 89),
    Step::Append { term: 3, first: 80, count: 12 },
    Step::Purge(4, 200),
    Step::Append { term: 4, first: 201, count: 2 },
    Step::Vote(5),
    Step::Truncate(201),
    Step::Append { term: 5, first: 201, count: 40 },
];

/// What a log store must hold.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    log: Vec<RaftEntry>,
}

impl Model {
    fn last(&self) -> Option<LogId<u64>> {
        self.log.last().map(|entry| entry.log_id).or(self.purged)
    }

    /// The states in which a power cut during this call may leave a store; the last one is what the call makes.
    fn after(&self, step: Step) -> Vec<Model> {
        let mut next = self.clone();
        match step {
            Step::Vote(term) => next.vote = Some(Vote::new(term, 1)),
            Step::Committed(..) => {}
            Step::Truncate(first) => next.log.retain(|entry| entry.log_id.index < first),
            Step::Purge(term, index) => {
                next.log.retain(|entry| entry.log_id.index > index);
                next.purged = Some(log_id(term, index));
            }
            Step::Append { term, first, count } => {
                // A prefix of what was in flight may be there.
                return (1..=count).map(|count| self.appended(term, first, count)).collect();
            }
        }
        vec![next]
    }

    fn appended(&self, term: u64, first: u64, count: u64) -> Model {
        let mut next = self.clone();
        let new = entries(term, first..first + count).into_iter();
        let new: Vec<_> =
            new.filter(|entry| self.purged.is_none_or(|purged| entry.log_id.index > purged.index)).collect();
        if let Some(first) = new.first().map(|entry| entry.log_id.index) {
            next.log.retain(|entry| entry.log_id.index < first);
        }
        next.log.extend(new);
        next
    }

    async fn found<S: Backend>(store: &mut LogStore<Types, S>) -> Outcome<Model> {
        let state = store.get_log_state().await?;
        let found = Model { vote: store.read_vote().await?, purged: state.last_purged_log_id, log: log(store).await? };
        assert_eq!(state.last_log_id, found.last(), "the log state speaks of another log");
        Ok(found)
    }
}

async fn take<S: Backend>(store: &mut LogStore<Types, S>, step: Step) -> Outcome {
    match step {
        Step::Vote(term) => store.save_vote(&Vote::new(term, 1)).await,
        Step::Append { term, first, count } => store.blocking_append(entries(term, first..first + count)).await,
        Step::Truncate(index) => store.truncate(log_id(1, index)).await,
        Step::Purge(term, index) => store.purge(log_id(term, index)).await,
        Step::Committed(term, index) => store.save_committed(Some(log_id(term, index))).await,
    }
}

/// Takes the whole history, as far as the disk goes: the last acknowledged state, and those that may be found.
async fn live(disk: &SimFs) -> (Model, Vec<Model>, Vec<LogId<u64>>) {
    let mut model = Model::default();
    let mut committed = Vec::new();
    let Ok(mut store) = open(disk) else { return (model.clone(), vec![model], committed) };
    for step in HISTORY {
        let after = model.after(step);
        if let Step::Committed(term, index) = step {
            committed.push(log_id(term, index));
        }
        if take(&mut store, step).await.is_err() {
            let mut possible = vec![model.clone()];
            possible.extend(after);
            return (model, possible, committed);
        }
        model = after.last().cloned().unwrap();
    }
    (model.clone(), vec![model], committed)
}

#[test]
fn whole_history_gives_what_the_model_says() {
    runtime().block_on(async {
        let mut store = LogStore::<Types, _>::new(MemoryStore::new());
        let mut model = Model::default();
        for step in HISTORY {
            take(&mut store, step).await.unwrap();
            model = model.after(step).pop().unwrap();
            assert_eq!(Model::found(&mut store).await.unwrap(), model, "after {step:?}");
        }
    });
}

#[test]
fn power_cut_anywhere_leaves_what_was_acknowledged_and_at_most_what_was_in_flight() {
    runtime().block_on(async {
        for cut in 0.. {
            let disk = SimFs::new();
            disk.cut_power_at(cut);
            let (acknowledged, possible, committed) = live(&disk).await;
            let ended = !disk.is_power_off();
            let random = (0..32).map(|seed| Survival::Random(cut << 8 | seed));
            for survival in random.chain([Survival::Nothing, Survival::Everything]) {
                let mut store = open(&disk.after_power_cut(survival)).unwrap();
                let found = Model::found(&mut store).await.unwrap();
                assert!(possible.contains(&found), "cut at {cut}, {survival:?}: {acknowledged:#?} became {found:#?}");
                let mark = store.read_committed().await.unwrap();
                assert!(mark.is_none_or(|mark| committed.contains(&mark) && mark.index <= found.last().unwrap().index));
                // The store goes on where it is.
                let next = found.last().map_or(0, |last| last.index + 1);
                store.blocking_append([entry(9, next)]).await.unwrap();
                assert_eq!(log(&store).await.unwrap().pop(), Some(entry(9, next)));
            }
            if ended {
                assert!(cut > 100, "the history has only {cut} places to cut");
                return;
            }
        }
    });
}

#[test]
fn vote_is_there_after_a_power_cut_right_behind_it() {
    runtime().block_on(async {
        let mut disk = SimFs::new();
        for term in 1..20 {
            let mut store = open(&disk).unwrap();
            store.save_vote(&Vote::new(term, 1)).await.unwrap();
            disk = disk.after_power_cut(Survival::Random(term));
            assert_eq!(open(&disk).unwrap().read_vote().await.unwrap(), Some(Vote::new(term, 1)));
        }
    });
}

#[test]
fn truncated_tail_never_comes_back() {
    runtime().block_on(async {
        let mut disk = SimFs::new();
        for seed in 0..20 {
            let mut store = open(&disk).unwrap();
            let next = log(&store).await.unwrap().len() as u64;
            store.blocking_append(entries(1, next..next + 10)).await.unwrap();
            store.truncate(log_id(1, next + 4)).await.unwrap();
            disk = disk.after_power_cut(Survival::Random(seed));
            assert_eq!(log(&open(&disk).unwrap()).await.unwrap(), entries(1, 0..next + 4));
        }
    });
}

#[test]
fn failed_sync_is_told_to_openraft_and_no_vote_is_claimed() {
    runtime().block_on(async {
        let disk = SimFs::new();
        let mut store = open(&disk).unwrap();
        store.blocking_append(entries(1, 0..3)).await.unwrap();
        disk.fail_next(OperationKind::Sync, io::ErrorKind::Other);
        let error = store.save_vote(&Vote::new(2, 1)).await.unwrap_err().to_string();
        assert!(error.contains("Write Vote"), "{error}");
        let error = store.blocking_append(entries(1, 3..4)).await.unwrap_err().to_string();
        assert!(error.contains("Write Logs"), "{error}");
        assert_eq!(log(&store).await.unwrap(), entries(1, 0..3));
        let mut store = open(&disk.after_power_cut(Survival::Nothing)).unwrap();
        assert_eq!(store.read_vote().await.unwrap(), None);
    });
}

// openraft's rules.

#[test]
fn entries_below_the_purged_position_are_skipped() {
    runtime().block_on(async {
        let mut store = LogStore::<Types, _>::new(MemoryStore::new());
        store.purge(log_id(2, 10)).await.unwrap();
        store.blocking_append(entries(2, 5..9)).await.unwrap();
        assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(log_id(2, 10)));
        store.blocking_append(entries(2, 9..13)).await.unwrap();
        assert_eq!(log(&store).await.unwrap(), entries(2, 11..13));
        store.purge(log_id(1, 7)).await.unwrap();
        let expected = LogState { last_purged_log_id: Some(log_id(2, 10)), last_log_id: Some(log_id(2, 12)) };
        assert_eq!(store.get_log_state().await.unwrap(), expected);
    });
}

#[test]
fn entries_for_followers_start_where_asked_or_not_at_all() {
    runtime().block_on(async {
        let mut store = LogStore::<Types, _>::new(MemoryStore::new());
        let mut large = entry(1, 4);
        large.payload =
            EntryPayload::Normal(Command { value: "x".repeat(3 << 20), client: 1, sequence: 1, key: String::new() });
        store.blocking_append([entries(1, 0..4), vec![large], entries(1, 5..9)].concat()).await.unwrap();
        store.purge(log_id(1, 1)).await.unwrap();
        assert_eq!(store.limited_get_log_entries(1, 4).await.unwrap(), []);
        assert_eq!(store.limited_get_log_entries(9, 12).await.unwrap(), []);
        assert_eq!(store.limited_get_log_entries(2, 9).await.unwrap(), entries(1, 2..4));
        assert_eq!(store.limited_get_log_entries(4, 9).await.unwrap().len(), 1);
        assert_eq!(store.limited_get_log_entries(5, 99).await.unwrap(), entries(1, 5..9));
        assert_eq!(store.try_get_log_entries(..).await.unwrap().len(), 7);
        assert_eq!(store.try_get_log_entries(..=5).await.unwrap().len(), 4);
    });
}

#[test]
fn journal_that_something_else_wrote_is_not_taken_for_a_log() {
    runtime().block_on(async {
        let memory = MemoryStore::new();
        let mut store = LogStore::<Types, _>::new(memory.clone());
        let text = |error: StorageError<u64>| error.to_string();
        memory.append(&[Entry::new(0, 1, "raw bytes")]).unwrap();
        assert!(text(log(&store).await.unwrap_err()).contains("something else wrote it"));
        store.blocking_append([entry(1, 1)]).await.unwrap();
        let copied = memory.entry(1).unwrap().data;
        memory.append(&[Entry::new(2, 1, copied)]).unwrap();
        assert!(text(store.get_log_state().await.unwrap_err()).contains("calls itself index 1"));
        memory.truncate_head(Position::new(1, 1)).unwrap();
        assert!(text(store.get_log_state().await.unwrap_err()).contains("its LogId is unknown"));
        memory.set(b"openraft.vote", &[7]).unwrap();
        assert!(text(store.read_vote().await.unwrap_err()).contains("encoding Some(7)"));
    });
}

// Threads.

#[test]
fn readers_see_a_whole_log_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal =
        OpenOptions::new().segment_bytes(64 << 10).tail_cache_bytes(4 << 10).open(dir.path().join("journal")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut store = LogStore::<Types>::new(journal.clone());
        let mut readers = Vec::new();
        for number in 0..3 {
            let (reader, written) = (store.get_log_reader().await, Arc::clone(&written));
            readers.push(tokio::spawn(read_until_the_end(reader, written, number)));
        }
        for first in (0..END).step_by(20) {
            store.blocking_append(entries(1, first..first + 20)).await.unwrap();
            if first % 400 == 200 {
                // Taken back, and written once more.
                store.truncate(log_id(1, first + 5)).await.unwrap();
                store.blocking_append(entries(1, first + 5..first + 20)).await.unwrap();
            }
            if first % 1000 == 500 {
                store.purge(log_id(1, first - 300)).await.unwrap();
            }
            written.store(first + 20, Ordering::SeqCst);
        }
        for reader in readers {
            reader.await.unwrap();
        }
    });
    journal.close().unwrap();
}

const END: u64 = 6000;

/// Reads here and there, and last of all the end.
async fn read_until_the_end(mut reader: LogStore<Types>, written: Arc<AtomicU64>, number: u64) {
    let mut place = number * 7;
    loop {
        let end = written.load(Ordering::SeqCst);
        place = (place * 31 + 17) % (end + 1);
        let found = match place % 2 {
            0 => reader.try_get_log_entries(place..place + 50).await.unwrap(),
            _ => reader.limited_get_log_entries(place, place + 50).await.unwrap(),
        };
        let first = found.first().map_or(place, |entry| entry.log_id.index);
        assert!(place <= first && (first == place || place.is_multiple_of(2)), "asked for {place}, got {first}");
        assert_eq!(found, entries(1, first..first + found.len() as u64));
        if end >= END {
            assert_eq!(reader.try_get_log_entries(END - 100..END).await.unwrap(), entries(1, END - 100..END));
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The operating system's files; counts the syncs that run on a worker of the runtime.
#[derive(Clone, Default, Debug)]
struct Watch {
    syncs: Arc<AtomicU64>,
    on_workers: Arc<AtomicU64>,
}

impl Watch {
    fn sync(&self) {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if std::thread::current().name() == Some("worker") {
            self.on_workers.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn File>,
    watch: Watch,
}

impl File for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.sync();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn drop_cache(&self, range: std::ops::Range<u64>) -> io::Result<bool> {
        self.file.drop_cache(range)
    }
}

impl Fs for Watch {
    fn open(&self, path: &std::path::Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(WatchedFile { file: OsFs.open(path, mode)?, watch: self.clone() }))
    }

    fn create_dir(&self, path: &std::path::Path) -> io::Result<()> {
        OsFs.create_dir(path)
    }

    fn kind(&self, path: &std::path::Path) -> io::Result<PathKind> {
        OsFs.kind(path)
    }

    fn list(&self, dir: &std::path::Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &std::path::Path) -> io::Result<()> {
        OsFs.remove(path)
    }

    fn sync_dir(&self, dir: &std::path::Path) -> io::Result<()> {
        self.sync();
        OsFs.sync_dir(dir)
    }

    fn lock(&self, path: &std::path::Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        OsFs.lock(path)
    }

    fn entropy(&self) -> u64 {
        OsFs.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        OsFs.tasks()
    }
}

#[test]
fn no_sync_runs_on_a_worker_of_the_runtime() {
    let (dir, watch) = (tempfile::tempdir().unwrap(), Watch::default());
    let options = OpenOptions::new().segment_bytes(8 << 10).file_system(Arc::new(watch.clone()));
    let journal = options.open(dir.path().join("journal")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("worker").enable_all().build().unwrap();
    let mut store = LogStore::<Types>::new(journal.clone());
    let opened = watch.syncs.load(Ordering::SeqCst);
    let lived = runtime.spawn(async move {
        for step in HISTORY {
            take(&mut store, step).await.unwrap();
        }
    });
    runtime.block_on(lived).unwrap();
    assert!(watch.syncs.load(Ordering::SeqCst) > opened + HISTORY.len() as u64, "too few syncs to prove anything");
    assert_eq!(watch.on_workers.load(Ordering::SeqCst), 0);
    journal.close().unwrap();
}
