//! openraft 0.9: its types, its suite, and its calls in the shape that all tests use.

use std::io::Cursor;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use openraft_09 as openraft;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{
    BasicNode, CommittedLeaderId, Entry, EntryPayload, LogId, OptionalSend, RaftLogReader, RaftSnapshotBuilder,
    Snapshot, SnapshotMeta, StorageError, StoredMembership, Vote,
};
use raft_journal::adapters::OwnerError;
use raft_journal::adapters::openraft_09::{Backend, LogStore};
use raft_journal::io::sim::SimFs;
use raft_journal::{Journal, MemoryStore};

use super::subject::{Item, Outcome, Place, Subject, open};

openraft::declare_raft_types!(pub Types: D = String, R = ());

pub type Log09<S = Journal> = LogStore<Types, S>;

fn log_id((term, index): Place) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn place(log_id: LogId<u64>) -> Place {
    (log_id.leader_id.term, log_id.index)
}

fn entry((at, text): Item) -> Entry<Types> {
    Entry { log_id: log_id(at), payload: EntryPayload::Normal(text) }
}

fn item(entry: Entry<Types>) -> Item {
    match entry.payload {
        EntryPayload::Normal(text) => (place(entry.log_id), text),
        other => panic!("{other:?} was never appended"),
    }
}

fn told<T>(answer: Result<T, StorageError<u64>>) -> Outcome<T> {
    answer.map_err(|error| error.to_string())
}

impl<S: Backend> Subject for LogStore<Types, S> {
    const NAME: &'static str = "openraft-09";
    type Store = S;

    fn new(store: S) -> Result<Self, OwnerError> {
        LogStore::new(store)
    }

    fn for_node(store: S, id: u64) -> Result<Self, OwnerError> {
        LogStore::for_node(store, &id)
    }

    fn store(&self) -> &S {
        self.store()
    }

    async fn append(&mut self, items: Vec<Item>) -> Outcome {
        told(self.blocking_append(items.into_iter().map(entry)).await)
    }

    async fn save_vote(&mut self, term: u64) -> Outcome {
        told(RaftLogStorage::save_vote(self, &Vote::new(term, 1)).await)
    }

    async fn read_vote(&mut self) -> Outcome<Option<u64>> {
        let vote = told(RaftLogStorage::read_vote(self).await)?;
        Ok(vote.map(|vote| {
            assert_eq!(vote.leader_id().voted_for(), Some(1));
            vote.leader_id().term
        }))
    }

    async fn truncate(&mut self, first_removed: u64) -> Outcome {
        told(RaftLogStorage::truncate(self, log_id((1, first_removed))).await)
    }

    async fn purge(&mut self, (term, index): Place, node: u64) -> Outcome {
        told(RaftLogStorage::purge(self, LogId::new(CommittedLeaderId::new(term, node), index)).await)
    }

    async fn save_committed(&mut self, committed: Place) -> Outcome {
        told(RaftLogStorage::save_committed(self, Some(log_id(committed))).await)
    }

    async fn read_committed(&mut self) -> Outcome<Option<Place>> {
        told(RaftLogStorage::read_committed(self).await).map(|committed| committed.map(place))
    }

    async fn state(&mut self) -> Outcome<(Option<Place>, Option<Place>)> {
        let state = told(self.get_log_state().await)?;
        Ok((state.last_purged_log_id.map(place), state.last_log_id.map(place)))
    }

    async fn read(&mut self, range: Range<u64>) -> Outcome<Vec<Item>> {
        Ok(told(self.try_get_log_entries(range).await)?.into_iter().map(item).collect())
    }

    async fn read_limited(&mut self, range: Range<u64>) -> Outcome<Vec<Item>> {
        Ok(told(self.limited_get_log_entries(range.start, range.end).await)?.into_iter().map(item).collect())
    }
}

// The suite.

/// A state machine that knows what was applied and nothing else: all that the suite asks for.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Applied>>);

#[derive(Clone, Default)]
struct Applied {
    last: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
    snapshot: Option<SnapshotMeta<u64, BasicNode>>,
}

type Answer<T> = Result<T, StorageError<u64>>;

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Answer<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>)> {
        let applied = self.0.lock().unwrap();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Answer<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.0.lock().unwrap();
        let apply = |entry: Entry<Types>| {
            applied.last = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                applied.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        };
        Ok(entries.into_iter().map(apply).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Answer<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta<u64, BasicNode>, _: Box<Cursor<Vec<u8>>>) -> Answer<()> {
        let (last, membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.0.lock().unwrap() = Applied { last, membership, snapshot: Some(meta.clone()) };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Answer<Option<Snapshot<Types>>> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: Box::default() }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Answer<Snapshot<Types>> {
        let mut applied = self.0.lock().unwrap();
        let (last_log_id, last_membership) = (applied.last, applied.membership.clone());
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id: "the only one".to_owned() };
        applied.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Box::default() })
    }
}

/// Makes stores for the suite, and counts them: each case takes one, the last one two.
struct Build<F> {
    store: F,
    built: Arc<Mutex<usize>>,
}

impl<F, S> StoreBuilder<Types, LogStore<Types, S>, Machine, tempfile::TempDir> for Build<F>
where
    F: Fn(&tempfile::TempDir) -> S + Send + Sync,
    S: Backend,
{
    async fn build(&self) -> Answer<(tempfile::TempDir, LogStore<Types, S>, Machine)> {
        *self.built.lock().unwrap() += 1;
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::new((self.store)(&dir)).unwrap();
        Ok((dir, log, Machine::default()))
    }
}

/// How many cases openraft 0.9 has.
const CASES: usize = 35;

fn passes_on<S: Backend>(store: impl Fn(&tempfile::TempDir) -> S + Send + Sync) {
    let built = Arc::default();
    Suite::test_all(Build { store, built: Arc::clone(&built) }).unwrap();
    assert_eq!(*built.lock().unwrap(), CASES + 1);
}

#[test]
fn all_35_cases_of_openraft_09_pass_on_a_directory() {
    passes_on(|dir| Journal::open(dir.path().join("journal")).unwrap());
}

#[test]
fn all_35_cases_of_openraft_09_pass_on_a_simulated_disk() {
    passes_on(|_| open::<Log09>(&SimFs::new()).unwrap().store().clone());
}

#[test]
fn all_35_cases_of_openraft_09_pass_on_a_memory_store() {
    passes_on(|_| MemoryStore::new());
}
