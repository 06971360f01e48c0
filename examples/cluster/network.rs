//! A network within one process: calls instead of packets, and links that can be cut.

// The errors are openraft's, and so is their size.
#![allow(clippy::result_large_err)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_09 as openraft;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{BasicNode, Raft};

use super::state_machine::Types;

/// The nodes that can be reached.
#[derive(Clone, Default)]
pub struct Network {
    nodes: Arc<Mutex<BTreeMap<u64, Raft<Types>>>>,
}

impl Network {
    /// Plugs a node in.
    pub fn connect(&self, id: u64, raft: Raft<Types>) {
        self.lock().insert(id, raft);
    }

    /// Cuts a node off: nothing reaches it, nothing comes from it.
    pub fn cut(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// A node, while it can be reached.
    pub fn node(&self, id: u64) -> Option<Raft<Types>> {
        self.lock().get(&id).cloned()
    }

    /// The network as one node sees it.
    pub fn seen_by(&self, from: u64) -> Seat {
        Seat { from, network: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Raft<Types>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's place in the network.
pub struct Seat {
    from: u64,
    network: Network,
}

impl RaftNetworkFactory<Types> for Seat {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        Link { from: self.from, to: target, network: self.network.clone() }
    }
}

/// The way from one node to another.
pub struct Link {
    from: u64,
    to: u64,
    network: Network,
}

type Failure<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Link {
    fn target<E: std::error::Error>(&self) -> Result<Raft<Types>, Failure<E>> {
        match (self.network.node(self.from), self.network.node(self.to)) {
            (Some(_), Some(target)) => Ok(target),
            _ => {
                let error =
                    io::Error::new(io::ErrorKind::NotConnected, format!("no way from {} to {}", self.from, self.to));
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    fn told<T, E: std::error::Error>(&self, answer: Result<T, RaftError<u64, E>>) -> Result<T, Failure<E>> {
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.to, error)))
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        self.told(self.target()?.append_entries(request).await)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        self.told(self.target()?.install_snapshot(request).await)
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>, Failure> {
        self.told(self.target()?.vote(request).await)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(100)))
    }
}
