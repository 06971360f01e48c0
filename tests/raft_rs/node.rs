//! One follower, driven by what a leader would send it, and what its log store must hold after each `Ready`.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{Config, RawNode, Ready, Storage};
use raft_journal::adapters::raft_rs::{Backend, LogStore, Result};
use raft_journal::{Pending, Position};

use super::{entries, hard_state, log, snapshot, voters};

/// Something that happens to the follower.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Node 3 asks for its vote.
    Vote { term: u64 },
    /// Node 2 leads, and sends entries `first..end` of its term behind one of term `before`.
    Append { term: u64, before: u64, first: u64, end: u64, commit: u64 },
    /// Node 2 sends a snapshot.
    Snapshot { term: u64, index: u64 },
    /// Node 2 sends a snapshot and, before the follower got round to it, what comes behind: one `Ready` brings both.
    Both { term: u64, index: u64, end: u64, commit: u64 },
    /// The application forgets what was applied.
    Compact(u64),
}

/// A life in which every kind of `Ready` comes, with rotations, replaced tails and installed snapshots.
pub const HISTORY: [Step; 20] = [
    Step::Vote { term: 1 },
    Step::Append { term: 1, before: 0, first: 1, end: 4, commit: 0 },
    Step::Append { term: 1, before: 1, first: 4, end: 60, commit: 3 },
    Step::Append { term: 1, before: 1, first: 60, end: 60, commit: 20 },
    Step::Compact(15),
    Step::Vote { term: 2 },
    Step::Append { term: 2, before: 1, first: 40, end: 42, commit: 20 },
    Step::Append { term: 2, before: 2, first: 42, end: 110, commit: 41 },
    Step::Vote { term: 3 },
    Step::Compact(41),
    Step::Append { term: 4, before: 2, first: 60, end: 61, commit: 41 },
    Step::Append { term: 4, before: 4, first: 61, end: 61, commit: 60 },
    Step::Snapshot { term: 5, index: 200 },
    Step::Append { term: 5, before: 5, first: 201, end: 203, commit: 200 },
    Step::Vote { term: 6 },
    Step::Append { term: 7, before: 5, first: 202, end: 204, commit: 203 },
    Step::Compact(204),
    Step::Append { term: 7, before: 7, first: 204, end: 250, commit: 230 },
    Step::Snapshot { term: 8, index: 400 },
    Step::Both { term: 9, index: 500, end: 540, commit: 520 },
];

/// What a log store must hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    pub hard_state: HardState,
    pub conf_state: ConfState,
    pub purged: Position,
    pub log: Vec<Entry>,
}

impl Model {
    pub fn new() -> Model {
        let purged = Position::default();
        Model { hard_state: HardState::default(), conf_state: voters(), purged, log: Vec::new() }
    }

    /// A store may have been told of a newer commit index than power loss leaves it with.
    pub fn is(&self, found: &Model) -> bool {
        let commit = found.hard_state.commit;
        let last = found.log.last().map_or(found.purged.index, |entry| entry.index);
        let vote = |model: &Model| (model.hard_state.term, model.hard_state.vote);
        let rest = (&self.conf_state, self.purged, &self.log) == (&found.conf_state, found.purged, &found.log);
        rest && vote(self) == vote(found) && (found.purged.index..=last).contains(&commit)
    }

    /// The states that a store goes through while it takes a `Ready`; the last one is what the `Ready` makes.
    fn after(&self, ready: &Ready) -> Vec<Model> {
        let (mut states, mut next) = (Vec::new(), self.clone());
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            next = next.purged_at(Position::new(metadata.index, metadata.term), false);
            next.conf_state = metadata.get_conf_state().clone();
            next.hard_state = ready.hs().cloned().unwrap_or(next.hard_state);
            states.push(next.clone());
        }
        for entry in ready.entries() {
            // A prefix of what was in flight may be there, and the replaced tail goes with the first of it.
            next.log.retain(|before| before.index < entry.index);
            next.log.push(entry.clone());
            states.push(next.clone());
        }
        if let Some(hard_state) = ready.hs() {
            next.hard_state = hard_state.clone();
            states.push(next);
        }
        states
    }

    fn purged_at(mut self, position: Position, keeps: bool) -> Model {
        self.log.retain(|entry| keeps && entry.index > position.index);
        self.purged = position;
        self.hard_state.commit = self.hard_state.commit.max(position.index);
        self
    }

    pub fn found<S: Backend>(store: &LogStore<S>) -> Model {
        let purged = store.store().state().purged.unwrap_or_default();
        Model { hard_state: store.hard_state(), conf_state: store.conf_state(), purged, log: log(store) }
    }
}

/// A follower, and the states of its store from the last one that was acknowledged on.
pub struct Follower<S: Backend> {
    pub node: RawNode<LogStore<S>>,
    pub store: LogStore<S>,
    pub states: Vec<Model>,
    /// What is not durable yet: the `Ready`'s number, and how many states there are up to it.
    waiting: VecDeque<(u64, usize, Pending)>,
}

impl<S: Backend> Follower<S> {
    pub fn start(store: LogStore<S>) -> Follower<S> {
        let states = vec![Model::found(&store)];
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let config = Config { applied: states[0].purged.index, ..Config::new(1) };
        let node = RawNode::new(&config, store.clone(), &logger).unwrap();
        Follower { node, store, states, waiting: VecDeque::new() }
    }

    /// Takes a step; nothing that it writes is waited for.
    pub fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Compact(index) => {
                // A commit makes all that was written before it durable, so there is nothing older to be found.
                self.wait()?;
                let position = Position::new(index - 1, self.node.raft.raft_log.term(index - 1).unwrap());
                let before = self.states.last().unwrap().clone();
                self.states.push(before.purged_at(position, true));
                self.store.compact(index)?;
                self.states.drain(..1);
            }
            Step::Both { term, index, end, commit } => {
                self.node.step(message(Step::Snapshot { term, index })).unwrap();
                let behind = Step::Append { term, before: term, first: index + 1, end, commit };
                self.node.step(message(behind)).unwrap();
            }
            step => self.node.step(message(step)).unwrap(),
        }
        while self.node.has_ready() {
            let ready = self.node.ready();
            self.states.extend(self.states.last().unwrap().after(&ready));
            let pending = self.store.persist(&ready)?;
            self.waiting.push_back((ready.number(), self.states.len(), pending));
            self.node.advance_append_async(ready);
        }
        Ok(())
    }

    /// Waits for all that was written: from here on it is acknowledged.
    pub fn wait(&mut self) -> Result<()> {
        let all = self.states.len();
        while let Some((number, count, pending)) = self.waiting.pop_front() {
            pending.wait()?;
            self.states.drain(..self.states.len() - (all - count) - 1);
            self.node.on_persist_ready(number);
        }
        // Not before all is durable: a snapshot counts as applied as soon as raft-rs has handed it out.
        self.node.advance_apply();
        Ok(())
    }
}

/// What the node gets in a step.
pub fn message(step: Step) -> Message {
    let mut message = Message { to: 1, from: 2, ..Message::default() };
    match step {
        Step::Vote { term } => {
            message.set_msg_type(MessageType::MsgRequestVote);
            (message.from, message.term, message.index, message.log_term) = (3, term, 1 << 20, term);
        }
        Step::Append { term, before, first, end, commit } => {
            message.set_msg_type(MessageType::MsgAppend);
            (message.term, message.index, message.log_term, message.commit) = (term, first - 1, before, commit);
            message.entries = entries(term, first..end);
        }
        Step::Snapshot { term, index } => {
            message.set_msg_type(MessageType::MsgSnapshot);
            message.term = term;
            message.set_snapshot(snapshot(index, term));
        }
        Step::Compact(_) | Step::Both { .. } => {}
    }
    message
}

/// Takes the whole history, and waits for the disk after every so many steps, as far as the disk goes.
pub fn live<S: Backend>(follower: &mut Follower<S>, waits_after: usize) -> Result<()> {
    for (number, step) in HISTORY.into_iter().enumerate() {
        follower.take(step)?;
        if (number + 1).is_multiple_of(waits_after) {
            follower.wait()?;
        }
    }
    follower.wait()
}

#[test]
fn whole_history_gives_what_the_model_says() {
    let store = super::memory();
    store.initialize(voters()).unwrap();
    let mut follower = Follower::start(store);
    let mut kinds = [0; 3];
    for step in HISTORY {
        let before = follower.node.raft.raft_log.last_index();
        follower.take(step).unwrap();
        follower.wait().unwrap();
        let found = Model::found(&follower.store);
        assert_eq!(follower.states, std::slice::from_ref(&found), "after {step:?}");
        kinds[0] += usize::from(found.log.last().is_some_and(|entry| entry.index < before));
        kinds[1] += usize::from(found.purged.index > before);
        kinds[2] += usize::from(found.hard_state.vote == 3);
    }
    // Replaced tails, installed snapshots, votes: or the history proves little.
    assert!(kinds[0] >= 2 && kinds[1] >= 3 && kinds[2] >= 4, "{kinds:?}");
    assert_eq!(follower.store.hard_state(), hard_state(9, 0, 520));
}

#[test]
fn snapshot_of_a_ready_carries_the_configuration() {
    let store = super::memory();
    let mut follower = Follower::start(store);
    // A node that joins knows nobody; the leader's snapshot says who there is.
    let mut joining: Snapshot = snapshot(9, 2);
    joining.mut_metadata().set_conf_state(ConfState::from((vec![1, 2], vec![3])));
    let mut message = message(Step::Snapshot { term: 2, index: 9 });
    message.set_snapshot(joining.clone());
    assert!(!follower.store.is_initialized());
    follower.node.step(message).unwrap();
    let ready = follower.node.ready();
    follower.store.persist(&ready).unwrap().wait().unwrap();
    follower.node.advance(ready);
    assert!(follower.store.is_initialized());
    assert_eq!(&follower.store.conf_state(), joining.get_metadata().get_conf_state());
    assert_eq!(follower.store.metadata(9).unwrap(), *joining.get_metadata());
}

#[test]
fn snapshot_that_was_asked_for_replaces_a_log_that_holds_its_last_entry() {
    let store = super::memory();
    store.initialize(voters()).unwrap();
    let mut follower = Follower::start(store.clone());
    follower.take(Step::Append { term: 1, before: 0, first: 1, end: 20, commit: 19 }).unwrap();
    follower.wait().unwrap();
    follower.node.request_snapshot().unwrap();
    let asked = follower.node.raft.msgs.pop().unwrap();
    assert_eq!((asked.to, asked.request_snapshot), (2, 19));
    for (index, first) in [(19, 20), (30, 31)] {
        if index == 30 {
            // Once more, and by now others have gone on.
            follower.take(Step::Append { term: 1, before: 1, first: 20, end: 22, commit: 20 }).unwrap();
            follower.wait().unwrap();
            follower.node.request_snapshot().unwrap();
        }
        follower.take(Step::Snapshot { term: 1, index }).unwrap();
        follower.wait().unwrap();
        assert_eq!((store.first_index(), store.last_index()), (Ok(first), Ok(index)));
        assert_eq!(store.hard_state().commit, index);
    }
    follower.take(Step::Append { term: 1, before: 1, first: 31, end: 33, commit: 32 }).unwrap();
    follower.wait().unwrap();
    assert_eq!(log(&store), entries(1, 31..33));
}
