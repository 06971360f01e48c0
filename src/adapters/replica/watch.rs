//! Telling those who wait that the committed position has moved.

use std::sync::Arc;
use std::time::Duration;

use super::State;
use crate::journal::monitor::Monitor;

/// What a [`Watch`] saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    /// The committed position is this one now.
    Moved(u64),
    /// It has not moved in that time.
    TimedOut,
    /// The log was closed, and will not move any more.
    Closed,
}

/// Waits for the committed position to move. Each watch goes at its own pace; what moved meanwhile is told in one.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Monitor<State>>,
    seen: Option<u64>,
}

impl Watch {
    pub(super) fn new(state: Arc<Monitor<State>>, seen: Option<u64>) -> Self {
        Watch { state, seen }
    }

    /// The committed position that this watch has told of last.
    pub fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// Blocks until the committed position is beyond what this watch has seen, until the log is closed, or for `timeout`.
    /// What was committed before it was closed is told first.
    ///
    /// On a thread of a simulated schedule, time is simulated, too.
    pub fn wait(&mut self, timeout: Duration) -> Watched {
        let seen = self.seen;
        let mut state = self.state.lock();
        let ready = move |state: &State| state.committed > seen || state.closed;
        self.state.wait_until(&mut state, "the committed position to move", timeout, ready);
        match state.committed {
            Some(committed) if state.committed > seen => {
                self.seen = Some(committed);
                Watched::Moved(committed)
            }
            _ if state.closed => Watched::Closed,
            _ => Watched::TimedOut,
        }
    }
}
