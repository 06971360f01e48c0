//! Three openraft nodes in one process, each on a journal of its own, through a life with accidents.
//!
//! ```text
//! cargo run --release --example cluster --features openraft-09 [DIRECTORY]
//! ```
//!
//! Clients write 10,000 commands. Meanwhile the leader is killed and comes back from its directory; another node is
//! away for so long that the others have purged what it misses, and gets a snapshot. In the end the logs (as far as
//! they overlap) and the state machines of all three must agree, byte for byte, read back from the closed journals.

mod clients;
mod network;
mod node;
mod plug;
mod state_machine;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use openraft_09 as openraft;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use openraft::BasicNode;
use raft_journal::{Journal, LogStore, RecoveryReport};

use clients::{CLIENTS, Traffic};
use network::Network;
use node::Node;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

const COMMANDS: u64 = 10_000;
/// How long a step of the cluster may take, before this run counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the whole run may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The whole run.
struct Cluster {
    dir: PathBuf,
    nodes: BTreeMap<u64, Node>,
    network: Network,
    bar: ProgressBar,
}

#[tokio::main]
async fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} commands, {rate}, {elapsed}")?
        .with_key("rate", |state: &ProgressState, text: &mut dyn Write| _ = write!(text, "{:.0}/s", state.per_sec()));
    let bar = ProgressBar::new(COMMANDS).with_style(style);
    let mut cluster = Cluster { dir, nodes: BTreeMap::new(), network: Network::default(), bar };

    tokio::time::timeout(DEADLINE, cluster.run()).await??;
    cluster.check().await
}

impl Cluster {
    fn say(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    async fn run(&mut self) -> Result<()> {
        self.found().await?;
        self.say(&format!("{CLIENTS} clients write {} commands", HumanCount(COMMANDS)));
        let start = Instant::now();
        self.lose_and_regain_the_leader().await?;
        self.outrun_a_node().await?;
        let seconds = start.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        println!(
            "{} commands in {seconds:.1} s, accidents included: {}",
            HumanCount(COMMANDS),
            rate(COMMANDS, seconds)
        );
        Ok(())
    }

    /// Starts three nodes and makes a cluster of them.
    async fn found(&mut self) -> Result<()> {
        if self.dir.join("node-1").exists() {
            return Err(format!("{} has nodes of an earlier run: name another directory", self.dir.display()).into());
        }
        for id in 1..=3 {
            self.start(id).await?;
        }
        let members: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::new(format!("node-{id}")))).collect();
        self.node(1)?.raft.initialize(members).await?;
        let leader = self.leader().await?;
        self.say(&format!("three nodes in {}; node {leader} leads", self.dir.display()));
        Ok(())
    }

    /// 6,000 commands; the leader is killed after 2,000 and is back after 4,000.
    async fn lose_and_regain_the_leader(&mut self) -> Result<()> {
        let traffic = Traffic::start(1, 6_000, &self.network, &self.bar);
        traffic.reaches(2_000).await;
        let lost = self.leader().await?;
        let start = Instant::now();
        self.kill(lost).await?;
        let heir = self.leader().await?;
        self.say(&format!("node {heir} leads, {:.1} s later", start.elapsed().as_secs_f64()));
        traffic.reaches(4_000).await;
        self.restart(lost).await?;
        traffic.ends().await?;
        self.catch_up().await
    }

    /// 2,000 commands without one node, whose log the others then forget; 2,000 more once it is back.
    async fn outrun_a_node(&mut self) -> Result<()> {
        let leader = self.leader().await?;
        let away = leader % 3 + 1;
        self.kill(away).await?;
        Traffic::start(2, 2_000, &self.network, &self.bar).ends().await?;
        self.catch_up().await?;
        self.purge().await?;
        self.restart(away).await?;
        self.caught_up_by_snapshot(away).await?;
        let start = Instant::now();
        Traffic::start(3, 2_000, &self.network, &self.bar).ends().await?;
        let (count, seconds) = (HumanCount(2_000), start.elapsed().as_secs_f64());
        self.say(&format!("{count} commands without an accident took {seconds:.1} s: {}", rate(2_000, seconds)));
        self.catch_up().await
    }

    async fn start(&mut self, id: u64) -> Result<()> {
        let node = Node::start(id, &self.dir, &self.network).await?;
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Kills a node.
    async fn kill(&mut self, id: u64) -> Result<()> {
        let node = self.nodes.remove(&id).ok_or("no such node")?;
        let leads = if node.raft.current_leader().await == Some(id) { " (the leader)" } else { "" };
        self.say(&format!("node {id}{leads} is killed after {} commands", HumanCount(self.bar.position())));
        node.kill().await
    }

    /// Starts a killed node, and says what it found in its directory.
    async fn restart(&mut self, id: u64) -> Result<()> {
        self.start(id).await?;
        let node = self.node(id)?;
        let RecoveryReport { life, segments, torn, .. } = node.journal.recovery_report();
        let torn = torn.as_ref().map_or("nothing was torn", |_| "the write it was killed in was torn, and cut");
        let last = node.journal.state().last.unwrap_or_default();
        self.say(&format!(
            "node {id} is back from its directory, for life {life}: a log up to {last}, in {segments} segments; {torn}"
        ));
        Ok(())
    }

    fn node(&self, id: u64) -> Result<&Node> {
        self.nodes.get(&id).ok_or_else(|| format!("node {id} is not running").into())
    }

    /// The leader that the running nodes agree on, once they do.
    async fn leader(&self) -> Result<u64> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let leaders: Vec<_> = self.nodes.values().map(|node| node.raft.metrics().borrow().current_leader).collect();
            match leaders.first() {
                Some(&Some(leader))
                    if self.nodes.contains_key(&leader) && leaders.iter().all(|&other| other == Some(leader)) =>
                {
                    return Ok(leader);
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Err("the nodes found no leader".into())
    }

    /// Waits until every running node has applied all that the leader has written.
    async fn catch_up(&self) -> Result<()> {
        let leader = self.node(self.leader().await?)?;
        let last = leader.raft.metrics().borrow().last_log_index;
        for node in self.nodes.values() {
            node.raft.wait(Some(PATIENCE)).applied_index_at_least(last, "all is applied").await?;
        }
        Ok(())
    }

    /// Has every running node make a snapshot, and forget the log up to it.
    async fn purge(&self) -> Result<()> {
        let leader = self.node(self.leader().await?)?;
        let applied = leader.raft.metrics().borrow().last_applied.ok_or("nothing is applied")?;
        for node in self.nodes.values() {
            node.raft.trigger().snapshot().await?;
            node.raft.wait(Some(PATIENCE)).metrics(|seen| seen.snapshot >= Some(applied), "a snapshot").await?;
            node.raft.trigger().purge_log(applied.index).await?;
            node.raft.wait(Some(PATIENCE)).metrics(|seen| seen.purged >= Some(applied), "a purged log").await?;
        }
        self.say(&format!("the others make snapshots and forget their logs up to index {}", applied.index));
        Ok(())
    }

    async fn caught_up_by_snapshot(&self, id: u64) -> Result<()> {
        self.catch_up().await?;
        let node = self.node(id)?;
        let snapshot = node.raft.metrics().borrow().snapshot.ok_or("it caught up without a snapshot")?;
        let purged = node.journal.state().purged.ok_or("its log was not replaced by the snapshot")?;
        self.say(&format!(
            "node {id} was sent a snapshot up to index {}; its log now begins behind {purged}",
            snapshot.index
        ));
        Ok(())
    }

    /// Stops all nodes, and compares what they leave behind.
    async fn check(self) -> Result<()> {
        let mut machines = Vec::new();
        let mut dirs = Vec::new();
        for (_, node) in self.nodes {
            machines.push((node.machine.commands(), node.machine.bytes()?));
            dirs.push(node.journal_dir());
            node.stop().await?;
        }
        match machines.as_slice() {
            [first, others @ ..] if others.iter().all(|other| other == first) && first.0 == COMMANDS => {
                println!(
                    "state machines agree: {} commands, {} bytes",
                    HumanCount(first.0),
                    HumanCount(first.1.len() as u64)
                );
            }
            _ => return Err("the state machines differ".into()),
        }
        check_logs(&dirs)
    }
}

fn rate(commands: u64, seconds: f64) -> String {
    format!("{} a second", HumanCount((commands as f64 / seconds) as u64))
}

/// Opens the closed journals once more, and compares their entries as far as all of them go.
fn check_logs(dirs: &[PathBuf]) -> Result<()> {
    let journals: Vec<Journal> = dirs.iter().map(Journal::open).collect::<Result<_, _>>()?;
    let firsts = journals.iter().map(|journal| journal.state().first_index());
    let nexts = journals.iter().map(|journal| journal.state().next_index());
    let first = firsts.collect::<Option<Vec<_>>>().and_then(|firsts| firsts.into_iter().max());
    let next = nexts.collect::<Option<Vec<_>>>().and_then(|nexts| nexts.into_iter().min());
    let (first, next) = first.zip(next).filter(|(first, next)| first < next).ok_or("the logs do not overlap")?;
    let logs = journals.iter().map(|journal| read(journal, first, next)).collect::<Result<Vec<_>>>()?;
    if logs.windows(2).any(|pair| pair.first() != pair.last()) {
        return Err("the logs differ".into());
    }
    println!("logs agree: entries {first} to {}, in all three journals", next - 1);
    journals.into_iter().try_for_each(|journal| Ok(journal.close()?))
}

fn read(journal: &Journal, first: u64, next: u64) -> Result<Vec<raft_journal::Entry>> {
    let mut entries = Vec::new();
    while first + (entries.len() as u64) < next {
        entries.extend(journal.entries(first + entries.len() as u64..next, 1 << 20)?);
    }
    Ok(entries)
}
