//! Clients that write: each sends one command at a time, to whom it takes for the leader, until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_09 as openraft;

use indicatif::ProgressBar;
use openraft::error::{ClientWriteError, RaftError};
use tokio::task::JoinSet;

use super::Result;
use super::network::Network;
use super::state_machine::Command;

/// How many clients write at the same time.
pub const CLIENTS: u64 = 64;
const NODES: u64 = 3;

/// The traffic of one stretch of the run.
pub struct Traffic {
    clients: JoinSet<()>,
    bar: ProgressBar,
}

impl Traffic {
    /// Starts [`CLIENTS`] clients which together write `commands` commands.
    pub fn start(stretch: u64, commands: u64, network: &Network, bar: &ProgressBar) -> Traffic {
        let left = Arc::new(AtomicU64::new(commands));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client { id: stretch * CLIENTS + number, leader: 1, network: network.clone() };
            clients.spawn(client.run(Arc::clone(&left), bar.clone()));
        }
        Traffic { clients, bar: bar.clone() }
    }

    /// Waits until so many commands of the whole run are answered.
    pub async fn reaches(&self, commands: u64) {
        while self.bar.position() < commands {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until every client is done.
    pub async fn ends(mut self) -> Result<()> {
        while let Some(client) = self.clients.join_next().await {
            client?;
        }
        Ok(())
    }
}

struct Client {
    id: u64,
    leader: u64,
    network: Network,
}

impl Client {
    async fn run(mut self, left: Arc<AtomicU64>, bar: ProgressBar) {
        let take_one = |left: u64| left.checked_sub(1);
        let mut sequence = 0;
        while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            sequence += 1;
            self.write(sequence).await;
            bar.inc(1);
        }
    }

    async fn write(&mut self, sequence: u64) {
        let key = format!("key-{}", (self.id * 31 + sequence) % 1000);
        let value = format!("client {} wrote this as its command number {sequence}. ", self.id).repeat(3);
        let command = Command { client: self.id, sequence, key, value };
        while !self.send(command.clone()).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a command once; when that fails, picks the node to try next.
    async fn send(&mut self, command: Command) -> bool {
        let next = self.leader % NODES + 1;
        let Some(node) = self.network.node(self.leader) else {
            self.leader = next;
            return false;
        };
        match node.client_write(command).await {
            Ok(_) => true,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                self.leader = forward.leader_id.unwrap_or(next);
                false
            }
            Err(_) => {
                self.leader = next;
                false
            }
        }
    }
}
