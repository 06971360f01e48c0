//! The command line, and how much work there is.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::child::Child;

/// Runs the bare disk, raft-journal and its peers in turn on the same work, and prints what they took.
#[derive(Parser, Debug)]
#[command(name = "versus", args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What the program asks of itself, in a process of its own
    #[command(subcommand)]
    pub child: Option<Child>,
    #[command(flatten)]
    pub options: Options,
}

/// What to run, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Contestants, by name: all unless given. Without `floor` there are no ratios
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Workloads: W1 to W9 unless given; also `growth` and `journals`
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub workload: Vec<String>,
    /// Rounds that count, after one that warms up
    #[arg(long, default_value = "7", default_value_if("quick", "true", "2"))]
    pub rounds: usize,
    /// Little work, to see that everything runs: the figures mean nothing
    #[arg(long)]
    pub quick: bool,
    /// Where the logs are written: a directory on the disk that is meant
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Entries of W5 to W9, 1 KiB each [default: 1048576]
    #[arg(long)]
    pub entries: Option<u64>,
    /// Where every round's figures are written, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the ratios are drawn, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// How much work a round is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// W1: durable appends in a round that are timed.
    pub appends: u64,
    /// W1: durable appends into files of 1 MiB. Some 3,000 fill one.
    pub appends_small_files: u64,
    /// W2: durable batches.
    pub batches: u64,
    /// W3 and W5: how long threads run beside each other, ms.
    pub shared_ms: u64,
    /// W4: groups of 4 batches that are not durable.
    pub unsynced_groups: u64,
    /// W5 to W9: entries in the log.
    pub entries: u64,
    /// W5: random reads.
    pub reads: u64,
    /// W8: truncations of the newest ten, and durable appends that they are held against.
    pub truncations: u64,
    /// `growth`: entries, step by step.
    pub growth: Vec<u64>,
    /// `journals`: how many, step by step.
    pub journals: Vec<u64>,
}

impl Plan {
    /// What the options ask for.
    pub fn new(options: &Options) -> Plan {
        let plan = if options.quick {
            Plan {
                appends: 100,
                appends_small_files: 7000,
                batches: 20,
                shared_ms: 100,
                unsynced_groups: 32,
                entries: 20_000,
                reads: 2000,
                truncations: 5,
                growth: vec![10_000, 100_000],
                journals: vec![1, 10, 100],
            }
        } else {
            Plan {
                appends: 4000,
                appends_small_files: 24_000,
                batches: 500,
                shared_ms: 1000,
                unsynced_groups: 1024,
                entries: 1 << 20,
                reads: 50_000,
                truncations: 100,
                growth: vec![10_000, 100_000, 1_000_000, 10_000_000],
                journals: vec![1, 10, 100, 1000],
            }
        };
        Plan { entries: options.entries.unwrap_or(plan.entries), ..plan }
    }
}
