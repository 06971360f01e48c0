//! What a node answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft_09 as openraft;

use openraft::error::{CheckIsLeaderError, ClientWriteError, InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{BasicNode, Raft};
use tarpc::context::Context;

use super::rpc::{Book, Denied, Refusal, Route, Service, Status, Table};
use super::state_machine::{Command, StateMachine, Types};

/// One node, as its messages find it. Clones share it.
#[derive(Clone)]
pub struct Server {
    pub id: u64,
    pub book: Book,
    pub raft: Raft<Types>,
    pub machine: StateMachine,
    /// The term and the last index of the log at the start.
    pub begun_at: (u64, u64),
}

impl Server {
    /// Waits until a read finds what this node acknowledged before it was last killed.
    ///
    /// A leader that is back before anybody has noticed is leader at once. It knows less of what is committed than it
    /// did: the mark is not synced each time it moves. All it ever acknowledged is in its log, so it serves reads once
    /// it has applied what it found there. In a later term openraft itself waits for the term's first entry.
    async fn is_as_it_was(&self) -> bool {
        let (term, last) = self.begun_at;
        let wait = self.raft.wait(Some(Duration::from_secs(1)));
        let caught_up = wait.metrics(
            |seen| seen.current_term > term || seen.last_applied.map_or(0, |applied| applied.index) >= last,
            "what was acknowledged before is applied",
        );
        caught_up.await.is_ok()
    }

    fn admits(&self, route: Route) -> bool {
        self.book.admits(route, self.id)
    }

    fn check<E>(&self, route: Route) -> Result<(), Refusal<E>> {
        if self.admits(route) { Ok(()) } else { Err(Refusal::NoWay) }
    }
}

impl Service for Server {
    async fn append_entries(
        self,
        _: Context,
        route: Route,
        request: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<u64>, Refusal<RaftError<u64>>> {
        self.check(route)?;
        self.raft.append_entries(request).await.map_err(Refusal::Raft)
    }

    async fn install_snapshot(
        self,
        _: Context,
        route: Route,
        request: InstallSnapshotRequest<Types>,
    ) -> Result<InstallSnapshotResponse<u64>, Refusal<RaftError<u64, InstallSnapshotError>>> {
        self.check(route)?;
        self.raft.install_snapshot(request).await.map_err(Refusal::Raft)
    }

    async fn vote(
        self,
        _: Context,
        route: Route,
        request: VoteRequest<u64>,
    ) -> Result<VoteResponse<u64>, Refusal<RaftError<u64>>> {
        self.check(route)?;
        self.raft.vote(request).await.map_err(Refusal::Raft)
    }

    async fn write(self, _: Context, route: Route, command: Command) -> Result<(), Denied> {
        if !self.admits(route) {
            return Err(Denied::default());
        }
        match self.raft.client_write(command).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Denied { leader: forward.leader_id })
            }
            Err(_) => Err(Denied::default()),
        }
    }

    async fn read(self, _: Context, route: Route, key: String) -> Result<Option<String>, Denied> {
        if !self.admits(route) {
            return Err(Denied::default());
        }
        if !self.is_as_it_was().await {
            return Err(Denied::default());
        }
        match self.raft.ensure_linearizable().await {
            Ok(_) => Ok(self.machine.value(&key)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                Err(Denied { leader: forward.leader_id })
            }
            Err(_) => Err(Denied::default()),
        }
    }

    async fn found(self, _: Context, route: Route, members: BTreeSet<u64>) -> Result<(), String> {
        if !self.admits(route) {
            return Err("asked of another node".to_owned());
        }
        let members: BTreeMap<_, _> = members.into_iter().map(|id| (id, BasicNode::default())).collect();
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    async fn learn(self, _: Context, route: Route, table: Table) {
        if self.admits(route) {
            self.book.learn(table);
        }
    }

    async fn status(self, _: Context, route: Route) -> Option<Status> {
        let metrics = self.raft.metrics().borrow().clone();
        let running = self.admits(route) && metrics.running_state.is_ok();
        running.then(|| Status {
            leader: metrics.current_leader,
            last: metrics.last_log_index,
            applied: metrics.last_applied.map(|log_id| log_id.index),
            installed: self.machine.installed(),
        })
    }

    async fn state(self, _: Context, route: Route) -> Option<Vec<u8>> {
        if self.admits(route) { self.machine.bytes().ok() } else { None }
    }
}
