//! What nodes and clients say to each other, over TCP: tarpc carries it, as MessagePack.
//!
//! Who is where, and who is cut off from the others, stands in a table that the program hands to every node.

// The errors are openraft's, and so is their size.
#![allow(clippy::result_large_err)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openraft_09 as openraft;

use futures::{StreamExt, future};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, BasicNode};
use serde::{Deserialize, Serialize};
use tarpc::server::BaseChannel;
use tarpc::server::incoming::{Incoming, spawn_incoming};
use tarpc::{client, context, serde_transport};
use tokio::task::JoinHandle;
use tokio_serde::formats::MessagePack;

use super::server::Server;
use super::state_machine::{Command, Types};

/// The number of everybody who is no node.
pub const CLIENT: u64 = 0;

/// Which way a message goes. The port of a node that is gone may be another's by now, of another cluster even.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub struct Route {
    pub cluster: u64,
    pub from: u64,
    pub to: u64,
}

/// Why a node does not answer.
#[derive(Serialize, Deserialize, Debug)]
pub enum Refusal<E> {
    /// The message came the wrong way, or one that is cut.
    NoWay,
    /// What openraft says.
    Raft(E),
}

/// Why a client was not served. Its write may still come about.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default)]
pub struct Denied {
    /// Whom to ask instead.
    pub leader: Option<u64>,
}

/// How a node is.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Status {
    pub leader: Option<u64>,
    pub last: Option<u64>,
    pub applied: Option<u64>,
    /// Snapshots of others that it has installed since it was started.
    pub installed: u64,
}

/// Who is where, and who is cut off.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct Table {
    pub cluster: u64,
    pub addresses: BTreeMap<u64, SocketAddr>,
    /// Nodes whose links to all other nodes are cut; clients still reach them.
    pub cut_off: BTreeSet<u64>,
}

/// What a node can be asked.
#[tarpc::service]
pub trait Service {
    async fn append_entries(
        route: Route,
        request: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<u64>, Refusal<RaftError<u64>>>;
    async fn install_snapshot(
        route: Route,
        request: InstallSnapshotRequest<Types>,
    ) -> Result<InstallSnapshotResponse<u64>, Refusal<RaftError<u64, InstallSnapshotError>>>;
    async fn vote(route: Route, request: VoteRequest<u64>) -> Result<VoteResponse<u64>, Refusal<RaftError<u64>>>;

    /// Answers once the command is applied.
    async fn write(route: Route, command: Command) -> Result<(), Denied>;
    /// The value of a key, linearizable.
    async fn read(route: Route, key: String) -> Result<Option<String>, Denied>;

    /// Makes a cluster of these nodes. Asked once, of one of them.
    async fn found(route: Route, members: BTreeSet<u64>) -> Result<(), String>;
    async fn learn(route: Route, table: Table);
    async fn status(route: Route) -> Option<Status>;
    /// The whole state machine, as bytes.
    async fn state(route: Route) -> Option<Vec<u8>>;
}

/// The table as one node, or all clients, know it. Clones share it.
#[derive(Clone, Default)]
pub struct Book {
    table: Arc<Mutex<Table>>,
}

impl Book {
    pub fn new(cluster: u64) -> Book {
        let book = Book::default();
        book.lock().cluster = cluster;
        book
    }

    pub fn learn(&self, table: Table) {
        *self.lock() = table;
    }

    pub fn table(&self) -> Table {
        self.lock().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.lock());
    }

    /// Whether a message that came this way was meant for node `me`, and may come.
    pub fn admits(&self, route: Route, me: u64) -> bool {
        let table = self.lock();
        (route.cluster, route.to) == (table.cluster, me) && !table.is_cut(route.from, me)
    }

    fn way(&self, from: u64, to: u64) -> io::Result<(Route, SocketAddr)> {
        let table = self.lock();
        let route = Route { cluster: table.cluster, from, to };
        let address = table.addresses.get(&to).filter(|_| !table.is_cut(from, to));
        let no_way = || io::Error::new(io::ErrorKind::NotConnected, format!("no way from {from} to {to}"));
        address.map(|address| (route, *address)).ok_or_else(no_way)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn is_cut(&self, one: u64, other: u64) -> bool {
        one != CLIENT && other != CLIENT && (self.cut_off.contains(&one) || self.cut_off.contains(&other))
    }
}

/// A server's task, and where it listens.
pub struct Listening {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Serves a node on a port of the loopback interface that is free.
    pub async fn start(server: Server) -> io::Result<Listening> {
        let incoming = serde_transport::tcp::listen((Ipv4Addr::LOCALHOST, 0), MessagePack::default).await?;
        let address = incoming.local_addr();
        let channels = incoming.filter_map(|transport| future::ready(transport.ok()));
        let serving = channels.map(BaseChannel::with_defaults).execute(server.serve());
        Ok(Listening { address, task: tokio::spawn(spawn_incoming(serving)) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that is made when it is needed, and again when it was lost.
pub struct Way {
    from: u64,
    to: u64,
    book: Book,
    connection: Option<(SocketAddr, ServiceClient)>,
}

impl Way {
    pub fn new(book: &Book, from: u64, to: u64) -> Way {
        Way { from, to, book: book.clone(), connection: None }
    }

    /// Asks the node at the other end, and waits so long for its answer.
    pub async fn ask<T, F>(
        &mut self,
        patience: Duration,
        question: impl FnOnce(ServiceClient, context::Context, Route) -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = Result<T, client::RpcError>>,
    {
        let mut context = context::current();
        context.deadline = Instant::now() + patience;
        let asked = async {
            let (client, route) = self.client().await?;
            question(client, context, route).await.map_err(io::Error::other)
        };
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn client(&mut self) -> io::Result<(ServiceClient, Route)> {
        let (route, address) = self.book.way(self.from, self.to)?;
        match &self.connection {
            Some((known, client)) if *known == address => Ok((client.clone(), route)),
            _ => {
                let transport = serde_transport::tcp::connect(address, MessagePack::default).await?;
                let client = ServiceClient::new(client::Config::default(), transport).spawn();
                self.connection = Some((address, client.clone()));
                Ok((client, route))
            }
        }
    }
}

/// The network as one node uses it.
pub struct Links {
    pub from: u64,
    pub book: Book,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Way {
        Way::new(&self.book, self.from, target)
    }
}

type Failure<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Way {
    fn told<T, E: std::error::Error>(
        &self,
        answer: io::Result<Result<T, Refusal<RaftError<u64, E>>>>,
    ) -> Result<T, Failure<E>> {
        let unreachable = |error: AnyError| Err(RPCError::Unreachable(Unreachable::new(&error)));
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Refusal::Raft(error))) => Err(RPCError::RemoteError(RemoteError::new(self.to, error))),
            Ok(Err(Refusal::NoWay)) => unreachable(AnyError::error("no way")),
            Err(error) => unreachable(AnyError::new(&error)),
        }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        let question =
            |client: ServiceClient, context, route| async move { client.append_entries(context, route, request).await };
        let answer = self.ask(option.hard_ttl(), question).await;
        self.told(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        let question = |client: ServiceClient, context, route| async move {
            client.install_snapshot(context, route, request).await
        };
        let answer = self.ask(option.hard_ttl(), question).await;
        self.told(answer)
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Failure> {
        let question =
            |client: ServiceClient, context, route| async move { client.vote(context, route, request).await };
        let answer = self.ask(option.hard_ttl(), question).await;
        self.told(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(50)))
    }
}
