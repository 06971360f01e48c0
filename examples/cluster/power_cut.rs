//! Nodes in this process, on simulated disks that lose power: what was not synced is gone, or half there.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pass_on::pass_on;
use fastrand::Rng;
use raft_journal::Journal;
use raft_journal::io::sim::Survival;
use raft_journal::io::{File, Fs, Mode, SimFs};

use super::cluster::{Site, node_dir};
use super::node::{Node, config, open_journal};
use super::rpc::Book;
use super::{NODES, Result};

/// The disks are fast, so elections may be.
const HEARTBEAT_MS: u64 = 50;
/// How long a node may take to find out that its disk is full.
const FULL_MAX: Duration = Duration::from_secs(5);
/// How long power that is to fail at a certain write waits for it.
const WRITE_MAX: Duration = Duration::from_millis(30);

/// The nodes and their disks.
pub struct Disks {
    disks: BTreeMap<u64, SimFs>,
    nodes: BTreeMap<u64, Node>,
    with_syncs: bool,
}

impl Disks {
    /// Empty disks. Without syncs nobody waits for the disk, as in a store that forgets to.
    pub fn new(with_syncs: bool, rng: &mut Rng) -> Disks {
        let disk = |id| {
            let disk = SimFs::with_seed(rng.u64(..));
            disk.threaded_tasks();
            disk.set_log(false);
            (id, disk)
        };
        Disks { disks: (1..=NODES).map(disk).collect(), nodes: BTreeMap::new(), with_syncs }
    }

    fn disk(&self, id: u64) -> Result<SimFs> {
        Ok(self.disks.get(&id).ok_or("no such disk")?.clone())
    }

    fn fs(&self, id: u64) -> Result<Arc<dyn Fs>> {
        let disk = self.disk(id)?;
        Ok(if self.with_syncs { Arc::new(disk) } else { Arc::new(Unsynced(disk)) })
    }

    fn node(&mut self, id: u64) -> Result<Node> {
        Ok(self.nodes.remove(&id).ok_or("no such node is running")?)
    }
}

/// What becomes of the writes that no sync has covered.
fn survival(rng: &mut Rng) -> Survival {
    match rng.u8(..4) {
        0 => Survival::Nothing,
        1 => Survival::OldOrNew(rng.u64(..)),
        _ => Survival::Random(rng.u64(..)),
    }
}

impl Site for Disks {
    async fn start(&mut self, id: u64, book: &Book) -> Result<SocketAddr> {
        let book = Book::new(book.table().cluster);
        let dir = node_dir(Path::new("/"), id);
        let node = Node::start(id, self.fs(id)?, &dir, config(HEARTBEAT_MS)?, &book).await;
        let node = node.map_err(|error| format!("node {id} does not start: {error}"))?;
        let address = node.address();
        self.nodes.insert(id, node);
        Ok(address)
    }

    async fn strike(&mut self, ids: &[u64], rng: &mut Rng) -> Result<()> {
        // In the middle of a batch or of a commit, if one comes soon.
        let disks = ids.iter().map(|id| self.disk(*id)).collect::<Result<Vec<_>>>()?;
        disks.iter().for_each(|disk| disk.cut_power_at(disk.mutations() + rng.u64(..20)));
        let begun = Instant::now();
        while begun.elapsed() < WRITE_MAX && !disks.iter().all(SimFs::is_power_off) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        disks.iter().for_each(SimFs::cut_power);
        for (id, disk) in ids.iter().zip(disks) {
            self.node(*id)?.bury().await;
            self.disks.insert(*id, disk.after_power_cut(survival(rng)));
        }
        Ok(())
    }

    async fn stumble(&mut self, id: u64, book: &Book, rng: &mut Rng) -> Result<()> {
        let disk = self.disk(id)?;
        disk.cut_power_at(disk.mutations() + rng.u64(..10));
        match self.start(id, book).await {
            Ok(_) => self.strike(&[id], rng).await,
            Err(_) if disk.is_power_off() => {
                self.disks.insert(id, disk.after_power_cut(survival(rng)));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn fill(&mut self, id: u64, rng: &mut Rng) -> Result<bool> {
        let disk = self.disk(id)?;
        disk.set_capacity(Some(disk.bytes_used() + rng.u64(..64 << 10)));
        let node = self.node(id)?;
        let failed = tokio::time::timeout(FULL_MAX, node.fails()).await.is_ok();
        disk.set_capacity(None);
        if !failed {
            self.nodes.insert(id, node);
            return Ok(false);
        }
        node.bury().await;
        self.disks.insert(id, disk.after_process_kill());
        Ok(true)
    }

    async fn ended(&mut self) -> Option<String> {
        for (id, node) in &self.nodes {
            if let Ok(why) = tokio::time::timeout(Duration::ZERO, node.fails()).await {
                return Some(format!("node {id} ended by itself: {why}"));
            }
        }
        None
    }

    async fn stop(&mut self, id: u64) -> Result<()> {
        self.node(id)?.stop().await
    }

    fn journal(&self, id: u64) -> Result<Journal> {
        Ok(open_journal(self.fs(id)?, &node_dir(Path::new("/"), id))?)
    }
}

/// A disk on which every sync is left out.
#[derive(Debug)]
struct Unsynced(SimFs);

impl Fs for Unsynced {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(path, mode)?)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    pass_on!(0: create_dir kind list rename remove lock entropy tasks);
}

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn File>);

impl File for UnsyncedFile {
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    pass_on!(0: read_at write_at len set_len allocate drop_cache);
}

#[cfg(test)]
mod tests {
    use super::super::cluster::{Cluster, Plan};
    use super::super::nemesis::Accident;
    use super::super::report::Progress;
    use super::*;

    async fn outcome(with_syncs: bool) -> Result<()> {
        let plan = Plan {
            duration: Duration::ZERO,
            clients: 4,
            keys: 4,
            deck: vec![Accident::All; 3],
            calm_max: Duration::from_millis(100),
            // Nodes that have lost everything find no leader: it need not take long to say so.
            patience: Duration::from_secs(10),
        };
        let mut rng = Rng::with_seed(1);
        let disks = Disks::new(with_syncs, &mut rng);
        Cluster::new(disks, plan, rng, Progress::begin(Duration::ZERO)).run().await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn cluster_outlives_power_cuts_only_with_its_syncs() {
        outcome(true).await.unwrap();
        outcome(false).await.unwrap_err();
    }
}
