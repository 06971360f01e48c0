//! What the clients saw, and whether a single copy of the data could have shown it to them.
//!
//! Each key is judged by itself, by `porcupine_rs`. A write of unknown outcome may take effect at any time after it was
//! asked for, or never: it returns at the end of time. A read of unknown outcome says nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::state_machine::State;

/// How long the search for an order of one key's operations may take. Without an answer by then the run has failed.
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// Names a write: no two have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Stamp {
    pub client: u64,
    pub sequence: u64,
}

impl Stamp {
    /// The value that this write writes: long enough that it matters to a disk, and all of it tells whose it is.
    pub fn value(self) -> String {
        let Stamp { client, sequence } = self;
        format!("{client}.{sequence}: {}", format!("client {client} wrote this as its number {sequence}. ").repeat(3))
    }

    /// The write that wrote this value; `None` for one that nobody ever wrote.
    fn of(value: &str) -> Option<Stamp> {
        let (client, rest) = value.split_once('.')?;
        let (sequence, _) = rest.split_once(':')?;
        let stamp = Stamp { client: client.parse().ok()?, sequence: sequence.parse().ok()? };
        (stamp.value() == value).then_some(stamp)
    }

    /// The write that a value was read of. What nobody wrote is put down to a client that there is not, so that no
    /// order of the calls explains it.
    pub fn read(value: &str) -> Stamp {
        Stamp::of(value).unwrap_or(Stamp { client: u64::MAX, sequence: u64::MAX })
    }
}

/// What was asked for, and, of a read, what was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Write(Stamp),
    Read(Option<Stamp>),
}

/// One call of a client's. Times are nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub key: u64,
    pub action: Action,
    pub called: u64,
    /// `None` for a write whose outcome nobody knows.
    pub returned: Option<u64>,
}

/// One key, as the checker knows it: what was last written.
#[derive(Clone)]
struct Register;

impl Model for Register {
    type State = Option<Stamp>;
    type Op = Action;
    type Metadata = ();

    fn init() -> Option<Stamp> {
        None
    }

    fn step(state: &Option<Stamp>, action: &Action) -> (bool, Option<Stamp>) {
        match *action {
            Action::Write(stamp) => (true, Some(stamp)),
            Action::Read(found) => (found == *state, *state),
        }
    }
}

/// What is wrong with a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    NotLinearizable {
        key: u64,
        calls: usize,
    },
    Undecided {
        key: u64,
        calls: usize,
    },
    /// An acknowledged write that a node's state machine has not applied.
    Lost {
        stamp: Stamp,
        node: u64,
    },
    /// A read that contradicts the history was planted, and accepted.
    Blind {
        key: u64,
    },
    /// No key had two writes one after the other: nothing could be planted, and little was checked.
    Nothing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotLinearizable { key, calls } => write!(f, "the {calls} calls of key {key} are not linearizable"),
            Fault::Undecided { key, calls } => {
                write!(f, "no verdict on the {calls} calls of key {key} within {} s", SEARCH_MAX.as_secs())
            }
            Fault::Lost { stamp: Stamp { client, sequence }, node } => {
                write!(f, "node {node} lost write {sequence} of client {client}, which was acknowledged")
            }
            Fault::Blind { key } => write!(f, "the checker accepted a stale read that was planted in key {key}"),
            Fault::Nothing => write!(f, "no key had two writes one after the other: nothing was checked"),
        }
    }
}

/// All calls of one round.
#[derive(Default)]
pub struct History {
    keys: BTreeMap<u64, Vec<Call>>,
}

impl History {
    pub fn add(&mut self, calls: impl IntoIterator<Item = Call>) {
        calls.into_iter().for_each(|call| self.keys.entry(call.key).or_default().push(call));
    }

    pub fn keys(&self) -> Vec<u64> {
        self.keys.keys().copied().collect()
    }

    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.keys.values().flatten()
    }

    /// Everything that is wrong with it, the checker's own blindness included.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<_> = self.keys.iter().filter_map(|(key, calls)| fault(*key, calls)).collect();
        match self.planted() {
            None => faults.push(Fault::Nothing),
            Some((key, calls)) if fault(key, &calls).is_none() => faults.push(Fault::Blind { key }),
            Some(_) => {}
        }
        faults
    }

    /// The faults in words, and the calls that led to the first one.
    pub fn evidence(&self, faults: &[Fault]) -> String {
        let mut text = faults.iter().take(10).map(|fault| fault.to_string()).collect::<Vec<_>>().join("; ");
        let key = faults.iter().find_map(|fault| match fault {
            Fault::NotLinearizable { key, .. } => Some(key),
            _ => None,
        });
        let calls = key.and_then(|key| self.keys.get(key)).map(|calls| first_contradiction(calls)).unwrap_or_default();
        calls.iter().for_each(|call| text.push_str(&format!("\n  {call:?}")));
        text
    }

    /// The calls of one key with a stale read behind them: it finds what was overwritten for certain. Of all keys, one
    /// with few writes of unknown outcome, which make a search for what does not exist long.
    fn planted(&self) -> Option<(u64, Vec<Call>)> {
        let unknown = |calls: &[Call]| calls.iter().filter(|call| call.returned.is_none()).count();
        let stale = self.keys.iter().filter_map(|(key, calls)| stale_read(*key, calls).map(|read| (key, calls, read)));
        let (key, calls, read) = stale.min_by_key(|(_, calls, _)| unknown(calls))?;
        Some((*key, calls.iter().copied().chain([read]).collect()))
    }

    /// The acknowledged writes that a node's state does not know of.
    pub fn lost(&self, node: u64, state: &State) -> Vec<Fault> {
        let acknowledged = self.calls().filter(|call| call.returned.is_some());
        let writes = acknowledged.filter_map(|call| match call.action {
            Action::Write(stamp) => Some(stamp),
            Action::Read(_) => None,
        });
        let lost = writes.filter(|stamp| !state.has_applied(stamp.client, stamp.sequence));
        lost.map(|stamp| Fault::Lost { stamp, node }).collect()
    }
}

/// A read, after everything else, of a write that another one followed.
fn stale_read(key: u64, calls: &[Call]) -> Option<Call> {
    let write = |call: &Call| match (call.action, call.returned) {
        (Action::Write(stamp), Some(returned)) => Some((stamp, call.called, returned)),
        _ => None,
    };
    let writes: Vec<_> = calls.iter().filter_map(write).collect();
    let (stamp, _, returned) = writes.iter().min_by_key(|(_, _, returned)| *returned)?;
    writes.iter().find(|(_, called, _)| called > returned)?;
    let end = calls.iter().map(|call| call.returned.unwrap_or(call.called)).max()?;
    Some(Call { key, action: Action::Read(Some(*stamp)), called: end + 1, returned: Some(end + 2) })
}

/// The last few of the calls up to the moment at which they became impossible to explain, in order.
fn first_contradiction(calls: &[Call]) -> Vec<Call> {
    let mut ends: Vec<_> = calls.iter().filter_map(|call| call.returned).collect();
    ends.sort_unstable();
    let explained = ends.partition_point(|end| fault(0, &until(calls, *end)).is_none());
    let mut calls = ends.get(explained).map_or_else(Vec::new, |end| until(calls, *end));
    calls.sort_by_key(|call| call.called);
    calls.split_off(calls.len().saturating_sub(12))
}

/// What was known at a moment: a write that had not returned by then is of unknown outcome, a read says nothing.
fn until(calls: &[Call], end: u64) -> Vec<Call> {
    let known = |call: &Call| match (call.returned, call.action) {
        (Some(returned), _) if returned <= end => Some(*call),
        (_, Action::Write(_)) => Some(Call { returned: None, ..*call }),
        (_, Action::Read(_)) => None,
    };
    calls.iter().filter(|call| call.called <= end).filter_map(known).collect()
}

/// What is wrong with the calls of one key.
fn fault(key: u64, calls: &[Call]) -> Option<Fault> {
    let time = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let operation = |call: &Call| Operation::<Register> {
        client_id: None,
        call_time: time(call.called),
        return_time: call.returned.map_or(i64::MAX, time),
        op: call.action,
        metadata: None,
    };
    let operations: Vec<_> = calls.iter().map(operation).collect();
    match check_operations_timeout(&operations, SEARCH_MAX) {
        CheckResult::Ok => None,
        CheckResult::Illegal => Some(Fault::NotLinearizable { key, calls: calls.len() }),
        CheckResult::Unknown => Some(Fault::Undecided { key, calls: calls.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state_machine::{Command, State};
    use super::*;

    const KEY: u64 = 7;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { client: 1, sequence }
    }

    fn write(sequence: u64, called: u64, returned: Option<u64>) -> Call {
        Call { key: KEY, action: Action::Write(stamp(sequence)), called, returned }
    }

    fn read(found: Option<u64>, called: u64, returned: u64) -> Call {
        Call { key: KEY, action: Action::Read(found.map(stamp)), called, returned: Some(returned) }
    }

    fn faults(calls: &[Call]) -> Vec<Fault> {
        let mut history = History::default();
        history.add(calls.iter().copied());
        history.faults()
    }

    /// Two writes one after the other, and reads of both.
    fn sound() -> Vec<Call> {
        let first = [read(None, 0, 5), write(1, 10, Some(20)), read(Some(1), 25, 30)];
        first.into_iter().chain([write(2, 40, Some(50)), read(Some(2), 60, 70)]).collect()
    }

    #[test]
    fn sound_history_has_no_fault() {
        assert_eq!(faults(&sound()), []);
    }

    #[test]
    fn planted_stale_read_is_rejected() {
        let mut calls = sound();
        calls.push(read(Some(1), 80, 90));
        assert_eq!(faults(&calls), [Fault::NotLinearizable { key: KEY, calls: 6 }]);
        calls.extend((10..30).map(|at| read(Some(2), at * 10, at * 10 + 5)));
        let contradiction = first_contradiction(&calls);
        assert!(contradiction.last().is_some_and(|call| call.called == 80), "{contradiction:?}");
    }

    #[test]
    fn planted_lost_write_is_rejected() {
        let mut calls = sound();
        calls.extend([write(3, 80, Some(90)), read(Some(2), 100, 110)]);
        assert_eq!(faults(&calls), [Fault::NotLinearizable { key: KEY, calls: 7 }]);
        let mut history = History::default();
        history.add(calls);
        let mut state = State::default();
        for sequence in [1, 2] {
            state.apply(Command { client: 1, sequence, key: "key".to_owned(), value: stamp(sequence).value() });
        }
        assert_eq!(history.lost(2, &state), [Fault::Lost { stamp: stamp(3), node: 2 }]);
    }

    #[test]
    fn read_of_what_nobody_wrote_is_rejected() {
        let mut calls = sound();
        calls.push(read(Some(9), 80, 90));
        assert_eq!(faults(&calls), [Fault::NotLinearizable { key: KEY, calls: 6 }]);
        let value = stamp(1).value();
        assert_eq!(Stamp::of(&value), Some(stamp(1)));
        assert_eq!(Stamp::of(&value.replacen("wrote", "wrotf", 1)), None);
    }

    #[test]
    fn write_of_unknown_outcome_may_come_late_or_never() {
        let with = |more: &[Call]| {
            let mut calls = sound();
            calls.push(write(3, 15, None));
            calls.extend(more);
            faults(&calls)
        };
        assert_eq!(with(&[]), []);
        assert_eq!(with(&[read(Some(3), 80, 90)]), []);
        // Once it has come about, it does not come about again.
        let twice = [read(Some(3), 80, 90), write(4, 100, Some(110)), read(Some(3), 120, 130)];
        assert_eq!(with(&twice), [Fault::NotLinearizable { key: KEY, calls: 9 }]);
    }

    #[test]
    fn history_in_which_nothing_can_be_planted_is_a_fault() {
        assert_eq!(faults(&[write(1, 10, Some(20)), write(2, 15, Some(30))]), [Fault::Nothing]);
        assert_eq!(faults(&[]), [Fault::Nothing]);
    }
}
