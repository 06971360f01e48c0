//! A node's life as a list of calls, and what a log store must hold after each of them.

use raft_journal::adapters::openraft_09::Backend;
use raft_journal::{Journal, MemoryStore, OpenOptions};

use super::subject::{Item, Log09, Log010, Outcome, Place, Subject, block_on, items, log};

/// One call of openraft's.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Vote(u64),
    Append { term: u64, first: u64, count: u64 },
    Truncate(u64),
    Purge(Place),
    Committed(Place),
}

/// A life in which every call comes, with rotations, replaced tails and installed snapshots.
pub const HISTORY: [Step; 24] = [
    Step::Vote(1),
    Step::Append { term: 1, first: 0, count: 3 },
    Step::Append { term: 1, first: 3, count: 20 },
    Step::Committed((1, 20)),
    Step::Vote(2),
    Step::Truncate(22),
    Step::Append { term: 2, first: 22, count: 5 },
    Step::Append { term: 2, first: 27, count: 30 },
    Step::Committed((2, 28)),
    Step::Purge((2, 25)),
    Step::Append { term: 2, first: 57, count: 1 },
    Step::Append { term: 3, first: 50, count: 2 },
    Step::Vote(3),
    Step::Committed((2, 29)),
    Step::Truncate(40),
    Step::Truncate(30),
    Step::Append { term: 3, first: 30, count: 60 },
    Step::Purge((3, 89)),
    Step::Append { term: 3, first: 80, count: 12 },
    Step::Purge((4, 200)),
    Step::Append { term: 4, first: 201, count: 2 },
    Step::Vote(5),
    Step::Truncate(201),
    Step::Append { term: 5, first: 201, count: 40 },
];

/// What a log store must hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Model {
    pub vote: Option<u64>,
    purged: Option<Place>,
    pub log: Vec<Item>,
}

impl Model {
    pub fn last(&self) -> Option<Place> {
        self.log.last().map(|&(place, _)| place).or(self.purged)
    }

    /// The states in which a power cut during this call may leave a store; the last one is what the call makes.
    pub fn after(&self, step: Step) -> Vec<Model> {
        let mut next = self.clone();
        match step {
            Step::Vote(term) => next.vote = Some(term),
            Step::Committed(_) => {}
            Step::Truncate(first) => next.log.retain(|&((_, index), _)| index < first),
            Step::Purge(upto) => {
                next.log.retain(|&((_, index), _)| index > upto.1);
                next.purged = Some(upto);
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
        let mut new = items(term, first..first + count);
        new.retain(|&((_, index), _)| self.purged.is_none_or(|(_, purged)| index > purged));
        if let Some(&((_, first), _)) = new.first() {
            next.log.retain(|&((_, index), _)| index < first);
        }
        next.log.extend(new);
        next
    }

    pub async fn found<L: Subject>(store: &mut L) -> Outcome<Model> {
        let (purged, last) = store.state().await?;
        let found = Model { vote: store.read_vote().await?, purged, log: log(store).await? };
        assert_eq!(last, found.last(), "the log state speaks of another log");
        Ok(found)
    }
}

pub async fn take<L: Subject>(store: &mut L, step: Step) -> Outcome {
    match step {
        Step::Vote(term) => store.save_vote(term).await,
        Step::Append { term, first, count } => store.append(items(term, first..first + count)).await,
        Step::Truncate(index) => store.truncate(index).await,
        Step::Purge(upto) => store.purge(upto, 1).await,
        Step::Committed(upto) => store.save_committed(upto).await,
    }
}

/// Takes every step; `next` is what the log is used through from then on.
fn lives<L: Subject>(store: L, next: impl Fn(L) -> L) {
    block_on(async {
        let mut store = store;
        let mut model = Model::default();
        for step in HISTORY {
            take(&mut store, step).await.unwrap();
            store = next(store);
            model = model.after(step).pop().unwrap();
            assert_eq!(Model::found(&mut store).await.unwrap(), model, "after {step:?}");
        }
    });
}

fn lives_in_memory<L: Subject<Store = MemoryStore>>() {
    lives(L::new(MemoryStore::new()).unwrap(), |store| store);
}

#[test]
fn whole_history_gives_what_the_model_says() {
    lives_in_memory::<Log09<_>>();
    lives_in_memory::<Log010<_>>();
}

fn lives_through_reopening<L: Subject<Store = Journal>>(close: fn(&Journal)) {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let journal = OpenOptions::new().segment_bytes(8 << 10).open(dir.path().join("journal"));
        L::for_node(journal.unwrap(), 1).unwrap()
    };
    lives(open(), |store| {
        close(store.store());
        drop(store);
        open()
    });
}

#[test]
fn log_that_is_closed_and_opened_again_after_each_call_is_as_it_was() {
    lives_through_reopening::<Log09>(|journal| journal.close().unwrap());
    lives_through_reopening::<Log010>(|journal| journal.close().unwrap());
}

#[test]
fn last_handle_that_is_dropped_after_a_call_closes_the_journal() {
    lives_through_reopening::<Log09>(|_| {});
    lives_through_reopening::<Log010>(|_| {});
}

/// A store that both an adapter and a test can look into.
pub fn entries(store: &impl Backend) -> Vec<(u64, u64)> {
    let state = store.state();
    let range = state.first_index().zip(state.next_index()).map_or(0..0, |(first, next)| first..next);
    store.entries(range, u64::MAX).unwrap().into_iter().map(|entry| (entry.term, entry.index)).collect()
}
