//! Three openraft nodes on journals of their own, under traffic and accidents; then the question whether anything that
//! was acknowledged is lost, and whether the clients could tell the cluster from a single copy of the data.
//!
//! ```text
//! cargo run --release --example cluster --features openraft-09 -- [--minutes 10] [DIRECTORY]
//! cargo run --release --example cluster --features openraft-09 -- --power-cut [--minutes 10]
//! cargo run --release --example cluster --features openraft-09 -- --throughput
//! ```
//!
//! The nodes are processes: this program starts itself three times more. They are killed, alone and together, cut off
//! from each other, outrun until they need a snapshot, and their disks fill up. A kill proves in what order things are
//! written, not that they are durable: with `--power-cut` the nodes run in this process, on simulated disks that lose power,
//! and `--without-syncs` beside it leaves the syncs out, which must show. `--throughput` measures a cluster on journals beside one on stores in memory.

mod clients;
mod cluster;
mod history;
mod nemesis;
mod node;
#[path = "../../tests/common/pass_on.rs"]
mod pass_on;
mod power_cut;
mod processes;
mod report;
mod rpc;
mod server;
mod state_machine;
#[cfg(test)]
mod state_machine_tests;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};
use fastrand::Rng;

use cluster::{Cluster, Plan, Site};
use nemesis::Accident;
use power_cut::Disks;
use processes::{Processes, Role};
use report::Progress;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

/// How many nodes there are; their numbers start at 1.
const NODES: u64 = 3;

/// Three openraft nodes under traffic and accidents, and what is lost in them: nothing.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Begins no new round after so many minutes.
    #[arg(long, default_value_t = 0.0)]
    minutes: f64,
    /// What the accidents and the traffic are drawn from; without it, from the clock. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many clients write and read at the same time.
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// Runs the nodes in this process, on simulated disks that lose power.
    #[arg(long)]
    power_cut: bool,
    /// Leaves out every sync, so that the run must fail.
    #[arg(long, requires = "power_cut")]
    without_syncs: bool,
    /// Measures writes a second on journals, and on stores in memory.
    #[arg(long, conflicts_with = "power_cut")]
    throughput: bool,
    /// Where the nodes keep their files; without it, a temporary directory.
    directory: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// What the program starts its nodes as.
    #[command(hide = true)]
    Node(Role),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if let Some(Task::Node(role)) = arguments.task.take() {
        return role.play().await;
    }
    if arguments.throughput {
        let temporary = tempfile::tempdir()?;
        let dir = arguments.directory.as_deref().unwrap_or(temporary.path());
        return throughput::run(dir).await.map(|()| ExitCode::SUCCESS);
    }
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = arguments.seed.unwrap_or_else(clock);
    println!("{} clients; seed {seed}", arguments.clients);
    let rng = Rng::with_seed(seed);
    let ok = if arguments.power_cut { power_cuts(&arguments, rng).await } else { kills(&arguments, rng).await? };
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run with processes.
async fn kills(arguments: &Arguments, rng: Rng) -> Result<bool> {
    let temporary = tempfile::tempdir()?;
    let dir = arguments.directory.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    println!("three nodes, each a process of its own, in {}", dir.display());
    let calm_max = Duration::from_millis(1200);
    let ok = run(Processes::new(&dir)?, plan(arguments, calm_max), rng, "nodes killed").await;
    if !ok {
        // What a failure left is worth a look.
        _ = temporary.keep();
        println!("their directories are kept in {}", dir.display());
    }
    Ok(ok)
}

/// The run on simulated disks.
async fn power_cuts(arguments: &Arguments, mut rng: Rng) -> bool {
    let syncs = if arguments.without_syncs { "whose syncs are left out" } else { "which lose power" };
    println!("three nodes in this process, on simulated disks {syncs}");
    let disks = Disks::new(!arguments.without_syncs, &mut rng);
    let mut plan = plan(arguments, Duration::from_millis(300));
    if arguments.without_syncs {
        // Nodes that have lost everything find no leader: it need not take long to say so.
        plan.patience = Duration::from_secs(10);
    }
    run(disks, plan, rng, "nodes without power").await
}

fn plan(arguments: &Arguments, calm_max: Duration) -> Plan {
    Plan {
        duration: Duration::try_from_secs_f64(arguments.minutes * 60.0).unwrap_or_default(),
        clients: arguments.clients,
        keys: 64,
        deck: Accident::ALL_KINDS.to_vec(),
        calm_max,
        patience: Duration::from_secs(30),
    }
}

/// Runs a cluster and tells how it went; whether it went well.
async fn run(site: impl Site, plan: Plan, rng: Rng, struck: &str) -> bool {
    let progress = Progress::begin(plan.duration);
    let mut cluster = Cluster::new(site, plan, rng, progress);
    let outcome = cluster.run().await;
    print!("{}", cluster.tally.table(struck));
    let failure = outcome.err().map(|error| error.to_string());
    match failure.or_else(|| cluster.tally.missing().map(str::to_owned)) {
        None => {
            println!("nothing lost, state machines and logs agree, every key's history is linearizable");
            true
        }
        Some(why) => {
            println!("FAILED: {why}");
            false
        }
    }
}
