//! A write that is readable and not yet durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::entry::Position;
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// What [`Pending::on_durable`] calls once the write is durable, or can never be.
pub type DurableCallback = Box<dyn FnOnce(Result<Position, Error>) + Send>;

/// How a store tells a [`Pending`] that its write is durable. Implemented by stores, not by their users.
pub trait Durability: Send + Sync {
    /// Blocks until the write with this ticket is durable, leading the sync itself where nobody does.
    ///
    /// # Errors
    ///
    /// The failure that makes durability impossible to promise.
    fn wait(&self, ticket: u64) -> Result<()>;

    /// Calls `callback` exactly once when the write with this ticket is durable or can never be: in ticket order,
    /// without locks held, on a thread of the store's.
    fn on_durable(&self, ticket: u64, callback: Box<dyn FnOnce(Result<()>) + Send>);
}

/// A write that is in the log and can be read, and whose durability is still to come.
///
/// Until one of [`wait`](Self::wait), [`on_durable`](Self::on_durable) or `.await` has answered `Ok`, power loss may
/// take the write back: a Raft node must not acknowledge it to anybody. Dropping a `Pending` takes nothing back; the
/// next sync covers the write, and nobody is told.
#[must_use = "the write is not durable until `wait`, `on_durable` or `.await` has answered"]
pub struct Pending {
    position: Position,
    state: State,
}

enum State {
    Ready(Result<()>),
    Waiting {
        source: Arc<dyn Durability>,
        ticket: u64,
    },
    /// Polled as a future: the answer comes to `shared`.
    Polled {
        source: Arc<dyn Durability>,
        ticket: u64,
        shared: Arc<Mutex<Shared>>,
    },
}

#[derive(Default)]
struct Shared {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Pending {
    /// A write of `source`'s whose durability is still to come. For those who implement a store.
    pub fn new(position: Position, source: Arc<dyn Durability>, ticket: u64) -> Self {
        Pending { position, state: State::Waiting { source, ticket } }
    }

    /// A write that is durable already, as in a store that lives in memory.
    pub fn ready(position: Position) -> Self {
        Pending { position, state: State::Ready(Ok(())) }
    }

    /// The position that becomes durable: the last entry's. An empty append has none of its own and names the end of
    /// the log (index 0, term 0 in a log that never held anything), durable or not.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Blocks until the write is durable: joins the sync that others lead, or leads one for all who wait.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] when a sync failed, [`Error::BlockingCallInCallback`] inside a durability callback of the
    /// same journal.
    pub fn wait(self) -> Result<Position> {
        let position = self.position;
        match self.state {
            State::Ready(result) => result,
            State::Waiting { source, ticket } | State::Polled { source, ticket, .. } => source.wait(ticket),
        }
        .map(|()| position)
    }

    /// Calls `callback` exactly once, when the write is durable or can never be. Callbacks run in the order of the
    /// writes, on a thread of the journal's, without locks held; a panic in one is contained. Keep it short: a few threads
    /// serve all journals of a process. Where there is nothing to wait for ([`ready`](Self::ready), as after an empty append
    /// or in a store that lives in memory), it runs within this call, on the caller's thread.
    pub fn on_durable(self, callback: DurableCallback) {
        let position = self.position;
        match self.state {
            State::Ready(result) => callback(result.map(|()| position)),
            State::Waiting { source, ticket } | State::Polled { source, ticket, .. } => {
                source.on_durable(ticket, Box::new(move |result| callback(result.map(|()| position))));
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Position>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let position = this.position;
        if let State::Waiting { source, ticket } = &this.state {
            let shared = Arc::new(Mutex::new(Shared { result: None, waker: Some(context.waker().clone()) }));
            let answer = Arc::clone(&shared);
            source.on_durable(
                *ticket,
                Box::new(move |result| {
                    let waker = {
                        let mut shared = answer.lock();
                        shared.result = Some(result);
                        shared.waker.take()
                    };
                    waker.into_iter().for_each(Waker::wake);
                }),
            );
            this.state = State::Polled { source: Arc::clone(source), ticket: *ticket, shared };
        }
        match &this.state {
            State::Ready(result) => Poll::Ready(result.clone().map(|()| position)),
            State::Polled { shared, .. } => {
                let mut shared = shared.lock();
                match &shared.result {
                    Some(result) => Poll::Ready(result.clone().map(|()| position)),
                    None => {
                        shared.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            }
            State::Waiting { .. } => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("position", &self.position).finish_non_exhaustive()
    }
}
