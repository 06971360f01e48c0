//! Random calls on a replica's log and on a plain model of one, which must answer alike.

use std::collections::BTreeMap;

use proptest::prelude::*;
use raft_journal::adapters::replica::{PositionName, ReplicaError, ReplicaLog};
use raft_journal::{Changes, LogStore, Position};

use crate::common::{Disk, LogModel, entries};
use crate::open;

/// A call with numbers as they come.
#[derive(Clone, Debug)]
pub enum Call {
    Append {
        first: u64,
        count: u64,
        term: u64,
    },
    /// Right behind the log's end.
    Continue {
        count: u64,
        newer: bool,
    },
    Commit(u64),
    Acknowledge(usize, u64),
    Register(usize),
    Unregister(usize),
    TruncateHead(u64),
    Compact,
    Install(Position),
    Reopen,
}

pub fn call() -> impl Strategy<Value = Call> {
    let index = || 0..30u64;
    prop_oneof![
        3 => (index(), 1..4u64, 0..6u64).prop_map(|(first, count, term)| Call::Append { first, count, term }),
        5 => (1..5u64, any::<bool>()).prop_map(|(count, newer)| Call::Continue { count, newer }),
        5 => index().prop_map(Call::Commit),
        6 => (0..4usize, index()).prop_map(|(who, index)| Call::Acknowledge(who, index)),
        2 => (2..4usize).prop_map(Call::Register),
        1 => (2..4usize).prop_map(Call::Unregister),
        2 => index().prop_map(Call::TruncateHead),
        2 => Just(Call::Compact),
        1 => (index(), 0..6u64).prop_map(|(index, term)| Call::Install(Position { index, term })),
        1 => Just(Call::Reopen),
    ]
}

fn name(who: usize) -> PositionName {
    match who {
        0 => PositionName::Applied,
        1 => PositionName::Snapshotted,
        _ => PositionName::consumer(consumer(who)),
    }
}

fn consumer(who: usize) -> &'static str {
    ["", "", "index", "mirror"][who]
}

/// What a replica's log must be.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Model {
    pub log: LogModel,
    pub committed: Option<u64>,
    pub positions: BTreeMap<PositionName, Option<u64>>,
}

impl Model {
    pub fn new() -> Model {
        Model { positions: [(name(0), None), (name(1), None)].into(), ..Model::default() }
    }

    pub fn of(log: &ReplicaLog) -> Model {
        Model {
            log: LogModel::of(log.journal()),
            committed: log.committed(),
            positions: log.positions().into_iter().collect(),
        }
    }

    pub fn low_water_mark(&self) -> Option<u64> {
        self.positions.values().copied().min().flatten()
    }

    fn next(&self) -> u64 {
        self.log.last().map_or(0, |last| last.index + 1)
    }

    /// Makes the call; whether it is one that can be done.
    pub fn perform(&mut self, call: &Call) -> bool {
        match call {
            Call::Append { first, count, term } => self.append(*first, *count, *term),
            Call::Continue { count, newer } => {
                let term = self.log.last().map_or(1, |last| last.term) + u64::from(*newer);
                self.append(self.next().max(1), *count, term)
            }
            Call::Commit(index) => {
                let good = self.committed.is_none_or(|committed| committed <= *index) && *index < self.next();
                if good {
                    self.committed = Some(*index);
                }
                good
            }
            Call::Acknowledge(who, index) => {
                let committed = self.committed;
                let Some(position) = self.positions.get_mut(&name(*who)) else { return false };
                let good = *position <= Some(*index) && Some(*index) <= committed;
                if good {
                    *position = Some(*index);
                }
                good
            }
            Call::Register(who) => {
                let start = self.log.purged.map(|purged| purged.index);
                self.positions.entry(name(*who)).or_insert(start);
                true
            }
            Call::Unregister(who) => self.positions.remove(&name(*who)).is_some(),
            Call::TruncateHead(index) => self.truncate(*index),
            Call::Compact => self.low_water_mark().is_none_or(|mark| self.truncate(mark)),
            Call::Install(position) => self.install(*position),
            Call::Reopen => true,
        }
    }

    fn append(&mut self, first: u64, count: u64, term: u64) -> bool {
        if self.committed.is_some_and(|committed| first <= committed) {
            return false;
        }
        // Whether it joins the log: right behind an entry, or behind what is purged, of no later term; anywhere, where the
        // log holds nothing and never did; and a log that never was purged can be replaced from below.
        let before = first.checked_sub(1).and_then(|index| {
            let entry = self.log.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term);
            entry.or(self.log.purged.filter(|purged| purged.index == index).map(|purged| purged.term))
        });
        let lowest = self.log.entries.first().map(|entry| entry.index);
        let joins = match (before, self.log.last()) {
            (Some(before), _) => before <= term,
            (None, None) => true,
            (None, Some(_)) => self.log.purged.is_none() && lowest.is_some_and(|lowest| first <= lowest),
        };
        if joins {
            self.log.truncate_tail(first);
            self.log.append(&entries(first..=first + count - 1, term));
        }
        joins
    }

    fn truncate(&mut self, index: u64) -> bool {
        if self.low_water_mark().is_none_or(|mark| mark < index) {
            return false;
        }
        let purged = self.log.purged.is_some_and(|purged| index <= purged.index);
        let below = self.log.entries.first().is_some_and(|first| index < first.index);
        if purged || below {
            return purged;
        }
        let term = self.log.entries.iter().find(|entry| entry.index == index).unwrap().term;
        self.log.truncate_head(Position { index, term });
        true
    }

    fn install(&mut self, position: Position) -> bool {
        let lowest = self.log.entries.first().map(|entry| entry.index);
        // Below a log that never was purged there is nothing that it could join, unless it begins right behind it.
        let below = self.log.purged.is_none() && lowest.is_some_and(|lowest| position.index + 1 < lowest);
        if Some(position.index) <= self.committed || below {
            return false;
        }
        let right_before = lowest == Some(position.index + 1) && position.term <= self.log.entries[0].term;
        match right_before {
            true => self.log.purged = Some(position),
            false => self.log.truncate_head(position),
        }
        self.committed = Some(position.index);
        self.positions.values_mut().for_each(|at| *at = (*at).max(Some(position.index)));
        true
    }
}

pub fn perform(log: &ReplicaLog, call: &Call) -> Result<(), ReplicaError> {
    let append = |first: u64, count: u64, term: u64| {
        log.append(&entries(first..=first + count - 1, term))?.wait().map(drop).map_err(ReplicaError::from)
    };
    match call {
        Call::Append { first, count, term } => append(*first, *count, *term),
        Call::Continue { count, newer } => {
            let (next, term) = log.last().map_or((1, 1), |last| (last.index + 1, last.term));
            append(next, *count, term + u64::from(*newer))
        }
        Call::Commit(index) => log.set_committed(*index),
        Call::Acknowledge(who, index) => log.acknowledge(&name(*who), *index),
        Call::Register(who) => log.register(consumer(*who)).map(drop),
        Call::Unregister(who) => log.unregister(consumer(*who)),
        Call::TruncateHead(index) => log.truncate_head(*index),
        Call::Compact => log.truncate_head_to_low_water_mark().map(drop),
        Call::Install(position) => log.install_snapshot(*position, Changes::new()).map(drop),
        Call::Reopen => Ok(()),
    }
}

proptest! {
    #![proptest_config(crate::common::seeded("replica", ProptestConfig { cases: 500, ..ProptestConfig::default() }))]

    #[test]
    fn a_replicas_log_is_what_a_plain_model_says(calls in prop::collection::vec(call(), 1..60)) {
        let disk = Disk::simulated();
        let (mut log, mut model) = (open(&disk), Model::new());
        log.bootstrap(Changes::new()).unwrap();
        for call in &calls {
            if matches!(call, Call::Reopen) {
                drop(log);
                log = open(&disk);
            }
            let (expected, found) = (model.perform(call), perform(&log, call));
            prop_assert_eq!(expected, found.is_ok(), "{:?} of {:?}: {:?}", call, calls, found);
            prop_assert_eq!(&Model::of(&log), &model, "after {:?} of {:?}", call, calls);
            prop_assert_eq!(log.low_water_mark(), model.low_water_mark());
            prop_assert_eq!(log.last(), model.log.last());
            prop_assert_eq!(log.journal().state().durable, log.journal().state().last);
        }
    }
}
