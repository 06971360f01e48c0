//! openraft 0.10: its types, its suite, and its calls in the shape that all tests use.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft_010 as openraft;

use openraft::entry::RaftEntry;
use openraft::impls::{leader_id_adv, leader_id_std};
use openraft::storage::{EntryResponder, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{
    BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftLogReader, RaftSnapshotBuilder, RaftTypeConfig, Snapshot,
    SnapshotMeta, StorageError, StoredMembership, Vote,
};
use raft_journal::adapters::OwnerError;
use raft_journal::adapters::openraft_010::{Backend, LogStore, TypeConfig};
use raft_journal::io::sim::SimFs;
use raft_journal::{Journal, MemoryStore};

use super::subject::{Item, Outcome, Place, Subject, open};

openraft::declare_raft_types!(pub Types: D = String, R = ());

openraft::declare_raft_types!(
    /// The same with the leaders' ids of standard Raft, whose LogIds have a term and nothing else.
    pub Standard: D = String, R = (), LeaderId = leader_id_std::LeaderId<u64, u64>
);

pub type Log010<S = Journal> = LogStore<Types, S>;

type LeaderId = leader_id_adv::LeaderId<u64, u64>;

fn log_id((term, index): Place) -> LogId<LeaderId> {
    LogId::new(LeaderId::new(term, 1), index)
}

fn place(log_id: LogId<LeaderId>) -> Place {
    (log_id.leader_id.term, log_id.index)
}

pub fn entry((at, text): Item) -> Entry<LeaderId, EntryPayload<String, u64, BasicNode>> {
    Entry::new(log_id(at), EntryPayload::Normal(text))
}

fn item(entry: <Types as RaftTypeConfig>::Entry) -> Item {
    match entry.payload {
        EntryPayload::Normal(text) => (place(entry.log_id), text),
        other => panic!("{other:?} was never appended"),
    }
}

fn told<T>(answer: io::Result<T>) -> Outcome<T> {
    answer.map_err(|error| error.to_string())
}

impl<S: Backend> Subject for LogStore<Types, S> {
    const NAME: &'static str = "openraft-010";
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
        self.blocking_append(items.into_iter().map(entry)).await.map_err(|error| error.to_string())
    }

    async fn save_vote(&mut self, term: u64) -> Outcome {
        told(RaftLogStorage::save_vote(self, &Vote::new(term, 1)).await)
    }

    async fn read_vote(&mut self) -> Outcome<Option<u64>> {
        let vote = told(RaftLogReader::read_vote(self).await)?;
        Ok(vote.map(|vote| {
            assert_eq!(vote.leader_id.node_id, 1);
            vote.leader_id.term
        }))
    }

    async fn truncate(&mut self, first_removed: u64) -> Outcome {
        told(self.truncate_after(first_removed.checked_sub(1).map(|last| log_id((1, last)))).await)
    }

    async fn purge(&mut self, (term, index): Place, node: u64) -> Outcome {
        told(RaftLogStorage::purge(self, LogId::new(LeaderId::new(term, node), index)).await)
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

type CommittedOf<C> = <<C as RaftTypeConfig>::LeaderId as RaftLeaderId>::Committed;
type MembershipOf<C> = StoredMembership<CommittedOf<C>, u64, BasicNode>;
type MetaOf<C> = SnapshotMeta<CommittedOf<C>, u64, BasicNode>;
type SnapshotOf<C> = Snapshot<CommittedOf<C>, u64, BasicNode, ()>;

/// What the suite asks of a type config, in one word.
trait Tested: TypeConfig + RaftTypeConfig<NodeId = u64, Node = BasicNode, Term = u64, R = (), D = String> {}

impl<C: TypeConfig + RaftTypeConfig<NodeId = u64, Node = BasicNode, Term = u64, R = (), D = String>> Tested for C {}

/// A state machine that knows what was applied and nothing else: all that the suite asks for.
#[derive(Clone)]
struct Machine<C: Tested>(Arc<Mutex<Applied<C>>>);

struct Applied<C: Tested> {
    last: Option<LogId<CommittedOf<C>>>,
    membership: MembershipOf<C>,
    snapshot: Option<MetaOf<C>>,
}

impl<C: Tested> RaftStateMachine<C> for Machine<C> {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId<CommittedOf<C>>>, MembershipOf<C>)> {
        let applied = self.0.lock().unwrap();
        Ok((applied.last.clone(), applied.membership.clone()))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, _) = entry?;
            let mut applied = self.0.lock().unwrap();
            applied.last = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                applied.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &MetaOf<C>, (): ()) -> io::Result<()> {
        let (last, membership) = (meta.last_log_id.clone(), meta.last_membership.clone());
        *self.0.lock().unwrap() = Applied { last, membership, snapshot: Some(meta.clone()) };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<C>>> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

impl<C: Tested> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C>> {
        let mut applied = self.0.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: applied.last.clone(), last_membership: applied.membership.clone() };
        applied.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

/// Makes stores for the suite, and counts them: each case takes one, the last one two.
struct Build<F> {
    store: F,
    built: Arc<Mutex<usize>>,
}

impl<C, F, S> StoreBuilder<C, LogStore<C, S>, Machine<C>, tempfile::TempDir> for Build<F>
where
    C: Tested,
    F: Fn(&tempfile::TempDir) -> S + Send + Sync,
    S: Backend,
{
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore<C, S>, Machine<C>), StorageError<C>> {
        *self.built.lock().unwrap() += 1;
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::new((self.store)(&dir)).unwrap();
        let applied = Applied { last: None, membership: StoredMembership::default(), snapshot: None };
        Ok((dir, log, Machine(Arc::new(Mutex::new(applied)))))
    }
}

/// How many cases openraft 0.10.0-alpha.37 has.
const CASES: usize = 45;

fn passes_on<C: Tested, S: Backend>(store: impl Fn(&tempfile::TempDir) -> S + Send + Sync) {
    let built = Arc::default();
    let build = Build { store, built: Arc::clone(&built) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::<C, LogStore<C, S>, Machine<C>, _, _>::test_all(build)).unwrap();
    assert_eq!(*built.lock().unwrap(), CASES + 1);
}

#[test]
fn all_45_cases_of_openraft_010_pass_on_a_directory() {
    passes_on::<Types, _>(|dir| Journal::open(dir.path().join("journal")).unwrap());
}

#[test]
fn all_45_cases_of_openraft_010_pass_on_a_simulated_disk() {
    passes_on::<Types, _>(|_| open::<Log010>(&SimFs::new()).unwrap().store().clone());
}

#[test]
fn all_45_cases_of_openraft_010_pass_on_a_memory_store() {
    passes_on::<Types, _>(|_| MemoryStore::new());
}

#[test]
fn all_45_cases_of_openraft_010_pass_with_one_leader_a_term() {
    passes_on::<Standard, _>(|dir| Journal::open(dir.path().join("journal")).unwrap());
}
