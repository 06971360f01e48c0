//! One node: a journal, a state machine and a Raft on top of them, all in one directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft_09 as openraft;

use openraft::{Config, Raft};
use raft_journal::adapters::openraft_09::LogStore;
use raft_journal::{Journal, OpenOptions};

use super::network::Network;
use super::plug::Plug;
use super::state_machine::{StateMachine, Types};
use super::{Failure, Result};

/// A running node.
pub struct Node {
    pub id: u64,
    pub raft: Raft<Types>,
    pub journal: Journal,
    pub machine: StateMachine,
    dir: PathBuf,
    network: Network,
    plug: Plug,
}

impl Node {
    /// Starts a node from whatever its directory holds.
    pub async fn start(id: u64, parent: &Path, network: &Network) -> Result<Node> {
        let dir = parent.join(format!("node-{id}"));
        std::fs::create_dir_all(&dir)?;
        let plug = Plug::default();
        let journal = OpenOptions::new().file_system(Arc::new(plug.clone())).open(dir.join("journal"))?;
        let machine = StateMachine::open(&dir)?;
        let log_store = LogStore::<Types>::for_node(journal.clone(), &id)?;
        let raft = Raft::new(id, config()?, network.seen_by(id), log_store, machine.clone()).await?;
        network.connect(id, raft.clone());
        Ok(Node { id, raft, journal, machine, dir, network: network.clone(), plug })
    }

    /// Cuts the node off, as if its process had been killed: from this moment nothing it does leaves it, neither to
    /// the other nodes nor to its disk. Only then is what is left of it taken down.
    pub async fn kill(self) -> Result<()> {
        self.plug.pull();
        self.network.cut(self.id);
        self.raft.shutdown().await?;
        match self.journal.close() {
            Ok(()) => Err(Failure::from("a journal without a disk claims to have been closed in order")),
            Err(_) => Ok(()),
        }
    }

    /// Stops the node in order.
    pub async fn stop(self) -> Result<()> {
        self.network.cut(self.id);
        self.raft.shutdown().await?;
        Ok(self.journal.close()?)
    }

    /// The journal's directory.
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }
}

/// Timeouts with room for a slow disk; snapshots only when the program says so.
fn config() -> Result<Arc<Config>> {
    let config = Config {
        heartbeat_interval: 150,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        install_snapshot_timeout: 5000,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
