//! Nodes that are processes: this program, started once more for each. They are killed with SIGKILL.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use raft_journal::Journal;
use raft_journal::io::OsFs;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::cluster::{Site, node_dir};
use super::node::{Node, config, open_journal};
use super::rpc::Book;
use super::{NODES, Result};

/// Room for an election on a busy machine.
const HEARTBEAT_MS: u64 = 80;
/// How long a process may take to be up, or to stop in order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a node is given that is not to be up: up to so long.
const START_MAX: Duration = Duration::from_millis(40);
/// How long a node may take to find out that its disk is full.
const FULL_MAX: Duration = Duration::from_secs(5);
/// How long one that has room again may take to end because it had none.
const GRACE: Duration = Duration::from_millis(500);
/// The last lines of a node's complaints that are kept.
const LINES_MAX: usize = 20;
/// With this a node ends whose disk failed.
const DISK_FAILED: u8 = 3;

/// The node processes.
pub struct Processes {
    dir: PathBuf,
    nodes: BTreeMap<u64, Process>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Processes {
    pub fn new(dir: &Path) -> Result<Processes> {
        match (1..=NODES).map(|id| node_dir(dir, id)).find(|dir| dir.exists()) {
            Some(old) => Err(format!("{} is of an earlier run: name another directory", old.display()).into()),
            None => Ok(Processes { dir: dir.to_path_buf(), nodes: BTreeMap::new() }),
        }
    }

    fn spawn(&self, id: u64, book: &Book) -> Result<Process> {
        // The signal that comes with a file grown too large would end the process; an ignored one stays so.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe()?).arg("node");
        command.arg(id.to_string()).arg(book.table().cluster.to_string()).arg(&self.dir);
        Process::spawn(command)
    }

    fn node(&mut self, id: u64) -> Result<&mut Process> {
        Ok(self.nodes.get_mut(&id).ok_or("no such node is running")?)
    }
}

impl Process {
    fn spawn(mut command: Command) -> Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("the node has no input")?;
        let errors = child.stderr.take().ok_or("the node has no output for errors")?;
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&complaints);
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(line);
                if kept.len() > LINES_MAX {
                    kept.pop_front();
                }
            }
        });
        Ok(Process { child, input, complaints })
    }

    /// Where it listens: its first words.
    async fn address(&mut self) -> Result<SocketAddr> {
        let output = self.child.stdout.take().ok_or("the node has no output")?;
        let line = tokio::time::timeout(PATIENCE, BufReader::new(output).lines().next_line()).await??;
        Ok(line.ok_or("the node ended before it listened")?.parse()?)
    }

    async fn says(&self) -> String {
        // What it wrote last may still be on its way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let lines = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    async fn limit(&mut self, bytes: Option<u64>) -> Result<()> {
        let bytes = bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        Ok(self.input.write_all(format!("{bytes}\n").as_bytes()).await?)
    }
}

impl Site for Processes {
    async fn start(&mut self, id: u64, book: &Book) -> Result<SocketAddr> {
        let mut process = self.spawn(id, book)?;
        let address = process.address().await;
        let says = if address.is_err() { process.says().await } else { String::new() };
        self.nodes.insert(id, process);
        address.map_err(|error| format!("node {id} does not start: {error}; it says: {says}").into())
    }

    async fn strike(&mut self, ids: &[u64], _: &mut Rng) -> Result<()> {
        for id in ids {
            self.node(*id)?.child.start_kill()?;
        }
        for id in ids {
            let mut process = self.nodes.remove(id).ok_or("no such node is running")?;
            process.child.wait().await?;
        }
        Ok(())
    }

    async fn stumble(&mut self, id: u64, book: &Book, rng: &mut Rng) -> Result<()> {
        let mut process = self.spawn(id, book)?;
        tokio::time::sleep(START_MAX.mul_f32(rng.f32())).await;
        Ok(process.child.kill().await?)
    }

    async fn fill(&mut self, id: u64, rng: &mut Rng) -> Result<bool> {
        // No file may be written beyond so many bytes: not even `meta`, or no batch of a young segment, or no old one.
        let bytes = [0, 10 << 10, 30 << 10, 100 << 10][rng.usize(..4)];
        let process = self.node(id)?;
        process.limit(Some(bytes)).await?;
        let mut ended = tokio::time::timeout(FULL_MAX, process.child.wait()).await;
        if ended.is_err() {
            // It may be about to find out.
            process.limit(None).await?;
            ended = tokio::time::timeout(GRACE, process.child.wait()).await;
        }
        let Ok(status) = ended else { return Ok(false) };
        let status = status?;
        let process = self.nodes.remove(&id).ok_or("no such node is running")?;
        match status.code() == Some(i32::from(DISK_FAILED)) {
            true => Ok(true),
            false => Err(format!("node {id} with a full disk: {status}; it says: {}", process.says().await).into()),
        }
    }

    async fn ended(&mut self) -> Option<String> {
        for (id, process) in &mut self.nodes {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Some(format!("node {id} ended by itself: {status}; it says: {}", process.says().await));
            }
        }
        None
    }

    async fn stop(&mut self, id: u64) -> Result<()> {
        let Process { mut child, input, complaints } = self.nodes.remove(&id).ok_or("no such node is running")?;
        drop(input);
        let status = tokio::time::timeout(PATIENCE, child.wait()).await??;
        match status.success() {
            true => Ok(()),
            false => Err(format!("node {id} did not stop in order: {status}; it says: {complaints:?}").into()),
        }
    }

    fn journal(&self, id: u64) -> Result<Journal> {
        Ok(open_journal(Arc::new(OsFs), &node_dir(&self.dir, id))?)
    }
}

/// What a node process is told.
#[derive(Args)]
pub struct Role {
    id: u64,
    cluster: u64,
    dir: PathBuf,
}

impl Role {
    /// Is a node until the input ends, or the disk fails.
    pub async fn play(self) -> Result<std::process::ExitCode> {
        let book = Book::new(self.cluster);
        let dir = node_dir(&self.dir, self.id);
        let node = Node::start(self.id, Arc::new(OsFs), &dir, config(HEARTBEAT_MS)?, &book).await?;
        println!("{}", node.address());
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        loop {
            tokio::select! {
                line = lines.next_line() => match line? {
                    Some(line) => limit_files(line.parse().ok())?,
                    None => break,
                },
                why = node.fails() => {
                    eprintln!("{why}");
                    // Nothing more is to be done in order: the process could as well have been killed.
                    return Ok(std::process::ExitCode::from(DISK_FAILED));
                }
            }
        }
        node.stop().await?;
        Ok(std::process::ExitCode::SUCCESS)
    }
}

/// Limits the size that this process may write files to, bytes.
#[cfg(unix)]
fn limit_files(bytes: Option<u64>) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    Ok(setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum })?)
}

#[cfg(not(unix))]
fn limit_files(_: Option<u64>) -> Result<()> {
    Err("this system has no limit on the size of files".into())
}
