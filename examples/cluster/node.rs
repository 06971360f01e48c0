//! One node: a journal, a state machine and a Raft on top of them, and a server that others reach them by.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft_09 as openraft;

use openraft::storage::RaftLogStorage;
use openraft::{Config, Raft, SnapshotPolicy};
use raft_journal::adapters::openraft_09::LogStore;
use raft_journal::io::{Fs, PathKind};
use raft_journal::{Journal, OpenOptions};

use super::Result;
use super::rpc::{Book, Links, Listening};
use super::server::Server;
use super::state_machine::{StateMachine, Types};

/// Small, so that a run of a few seconds has rotations in it, and files that the purges remove.
const SEGMENT_BYTES: u64 = 256 << 10;

/// A running node.
pub struct Node {
    pub raft: Raft<Types>,
    listening: Listening,
    journal: Option<Journal>,
}

impl Node {
    /// Starts a node from whatever its directory holds.
    pub async fn start(id: u64, fs: Arc<dyn Fs>, dir: &Path, config: Arc<Config>, book: &Book) -> Result<Node> {
        prepare(&*fs, dir)?;
        let journal = open_journal(Arc::clone(&fs), dir)?;
        let machine = StateMachine::open_on(fs, dir)?;
        let saving = machine.clone();
        let log_store = LogStore::for_node(journal.clone(), &id)?.purging_once_saved(move |log_id| {
            let machine = saving.clone();
            async move { machine.is_saved_up_to(log_id).await }
        });
        let mut node = Node::start_on(id, log_store, machine, config, book).await?;
        node.journal = Some(journal);
        Ok(node)
    }

    /// Starts a node on any log store.
    pub async fn start_on(
        id: u64,
        mut log_store: impl RaftLogStorage<Types>,
        machine: StateMachine,
        config: Arc<Config>,
        book: &Book,
    ) -> Result<Node> {
        let links = Links { from: id, book: book.clone() };
        let vote = log_store.read_vote().await?.unwrap_or_default();
        let last = log_store.get_log_state().await?.last_log_id;
        let begun_at = (vote.leader_id().term, last.map_or(0, |last| last.index));
        let raft = Raft::new(id, config, links, log_store, machine.clone()).await?;
        let server = Server { id, book: book.clone(), raft: raft.clone(), machine, begun_at };
        let listening = Listening::start(server).await?;
        Ok(Node { raft, listening, journal: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Waits until openraft gives up, which it does when its disk fails, and says why.
    pub async fn fails(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(error) = &metrics.borrow_and_update().running_state {
                return error.to_string();
            }
            if metrics.changed().await.is_err() {
                return "openraft is gone".to_owned();
            }
        }
    }

    /// Takes down what is left of a node whose disk is gone.
    pub async fn bury(self) {
        drop(self.listening);
        // It failed, or does now: there is no disk.
        _ = self.raft.shutdown().await;
    }

    /// Stops the node in order.
    pub async fn stop(self) -> Result<()> {
        drop(self.listening);
        self.raft.shutdown().await?;
        Ok(self.journal.map_or(Ok(()), |journal| journal.close())?)
    }
}

/// Opens a node's journal, in the node or, once that is stopped, to look at it.
pub fn open_journal(fs: Arc<dyn Fs>, dir: &Path) -> raft_journal::Result<Journal> {
    OpenOptions::new().segment_bytes(SEGMENT_BYTES).file_system(fs).open(dir.join("journal"))
}

/// Makes the node's directory, durably.
fn prepare(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    if fs.kind(dir)? == PathKind::Missing {
        fs.create_dir(dir)?;
    }
    dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))
}

/// openraft's settings: a heartbeat in so many milliseconds, and a snapshot every few hundred entries.
pub fn config(heartbeat_ms: u64) -> Result<Arc<Config>> {
    let config = Config {
        heartbeat_interval: heartbeat_ms,
        election_timeout_min: heartbeat_ms * 4,
        election_timeout_max: heartbeat_ms * 8,
        install_snapshot_timeout: u64::try_from(Duration::from_secs(2).as_millis())?,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(500),
        // Several messages a snapshot.
        snapshot_max_chunk_size: 4 << 10,
        max_in_snapshot_log_to_keep: 100,
        purge_batch_size: 100,
        replication_lag_threshold: 500,
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
