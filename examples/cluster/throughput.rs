//! What the journal costs a cluster: the same three nodes, on journals and on stores in memory, in turn.
//!
//! The nodes run in this process and talk over TCP. Snapshots are off: they would be the same on both.
//!
//! openraft-rocksstore 0.9 cannot take part. It implements openraft's older storage API, which is not there in a build
//! with `storage-v2`, as this crate's adapter needs; and it syncs neither entries nor votes before it says that they
//! are stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openraft_09 as openraft;

use indicatif::{HumanCount, ProgressBar};
use openraft::{Config, SnapshotPolicy};
use raft_journal::adapters::openraft_09::LogStore;
use raft_journal::{Journal, MemoryStore};
use tokio::task::JoinSet;

use super::cluster::node_dir;
use super::history::Stamp;
use super::node::{Node, config};
use super::rpc::{Book, CLIENT, ServiceClient, Way};
use super::state_machine::{Command, StateMachine};
use super::{NODES, Result};

const ROUNDS: usize = 5;
/// How long a turn takes, and how long the cluster warms up before it.
const TURN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);
const CLIENTS: [u64; 2] = [1, 64];
/// Room for an election on a busy machine.
const HEARTBEAT_MS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Store {
    Journal,
    Memory,
}

const STORES: [Store; 2] = [Store::Journal, Store::Memory];

/// Measures in turn, and prints medians.
pub async fn run(dir: &Path) -> Result<()> {
    let bar = ProgressBar::new((ROUNDS * CLIENTS.len() * STORES.len()) as u64);
    let mut rates: BTreeMap<(u64, Store), Vec<f64>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for clients in CLIENTS {
            for store in STORES {
                let dir = dir.join(format!("{round}-{clients}-{}", store as u8));
                std::fs::create_dir(&dir)?;
                rates.entry((clients, store)).or_default().push(turn(store, clients, &dir).await?);
                std::fs::remove_dir_all(&dir)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    println!("writes a second, replicated and applied: median of {ROUNDS} turns of {} s each, in turn", TURN.as_secs());
    println!("  {:>8}{:>24}{:>26}{:>8}", "clients", "journal", "memory", "ratio");
    for clients in CLIENTS {
        let [journal, memory] = STORES.map(|store| rates.remove(&(clients, store)).unwrap_or_default());
        let ratio = median(journal.iter().zip(&memory).map(|(journal, memory)| journal / memory).collect());
        println!("  {clients:>8}{:>24}{:>26}{ratio:>8.2}", spread(journal), spread(memory));
    }
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// The median, and in brackets the least and the most.
fn spread(rates: Vec<f64>) -> String {
    let count = |rate: f64| HumanCount(rate as u64);
    let (least, most) = rates.iter().fold((f64::MAX, 0f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
    format!("{} ({}–{})", count(median(rates)), count(least), count(most))
}

/// One turn, of a cluster of its own: writes a second.
async fn turn(store: Store, clients: u64, dir: &Path) -> Result<f64> {
    let config = Arc::new(Config { snapshot_policy: SnapshotPolicy::Never, ..(*config(HEARTBEAT_MS)?).clone() });
    let book = Book::new(0);
    let mut nodes = Vec::new();
    for id in 1..=NODES {
        let dir = node_dir(dir, id);
        std::fs::create_dir(&dir)?;
        let machine = StateMachine::open(&dir)?;
        let config = Arc::clone(&config);
        let node = match store {
            Store::Journal => {
                Node::start_on(id, LogStore::new(Journal::open(dir.join("journal"))?)?, machine, config, &book).await?
            }
            Store::Memory => Node::start_on(id, LogStore::new(MemoryStore::new())?, machine, config, &book).await?,
        };
        book.change(|table| _ = table.addresses.insert(id, node.address()));
        nodes.push(node);
    }
    let leader = lead(&nodes, &book).await?;
    let rate = load(&book, leader, clients).await;
    for node in nodes {
        node.stop().await?;
    }
    rate
}

/// Makes a cluster of the nodes; who leads it.
async fn lead(nodes: &[Node], book: &Book) -> Result<u64> {
    let found = |client: ServiceClient, context, route| async move {
        client.found(context, route, (1..=NODES).collect()).await
    };
    Way::new(book, CLIENT, 1).ask(PATIENCE, found).await??;
    let node = nodes.first().ok_or("no nodes")?;
    let led = node.raft.wait(Some(PATIENCE)).metrics(|seen| seen.current_leader.is_some(), "a leader").await?;
    Ok(led.current_leader.ok_or("no leader")?)
}

/// Writes with so many clients at the same time, each as fast as it is answered: writes a second.
async fn load(book: &Book, leader: u64, clients: u64) -> Result<f64> {
    let (counts, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut set = JoinSet::new();
    for client in 0..clients {
        let (counts, stopped) = (Arc::clone(&counts), Arc::clone(&stopped));
        let mut way = Way::new(book, CLIENT, leader);
        set.spawn(async move {
            let mut counted = 0u64;
            for sequence in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let counting = counts.load(Ordering::Relaxed);
                write(&mut way, Stamp { client, sequence }).await?;
                counted += u64::from(counting);
            }
            Ok::<_, super::Failure>(counted)
        });
    }
    tokio::time::sleep(WARM_UP).await;
    counts.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(TURN).await;
    stopped.store(true, Ordering::Relaxed);
    let mut written = 0;
    while let Some(counted) = set.join_next().await {
        written += counted??;
    }
    Ok(written as f64 / begun.elapsed().as_secs_f64())
}

async fn write(way: &mut Way, stamp: Stamp) -> Result<()> {
    let Stamp { client, sequence } = stamp;
    let command = Command { client, sequence, key: format!("key-{}", sequence % 1000), value: stamp.value() };
    let ask = |client: ServiceClient, context, route| async move { client.write(context, route, command).await };
    way.ask(PATIENCE, ask).await?.map_err(|denied| format!("the leader changed: {denied:?}").into())
}
