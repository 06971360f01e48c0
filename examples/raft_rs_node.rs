//! Three raft-rs nodes in one process, each on a journal in a directory of its own.
//!
//! ```text
//! cargo run --release --example raft_rs_node --features raft-rs-prost
//! ```
//!
//! A node is one thread, which does not wait until its entries are durable: they are written, and the journal's own thread
//! says when they are. It waits where it votes, takes a snapshot or compacts, where a segment is full, and where a follower
//! needs what is no longer in memory. Keys are written while one node is away for so long that it needs a snapshot to come
//! back; in the end all three hold the same.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot};
use raft::{Config, RawNode, SnapshotStatus};
use raft_journal::Journal;
use raft_journal::adapters::raft_rs::LogStore;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
type Wires = Arc<Mutex<HashMap<u64, Sender<Event>>>>;
type Values = Arc<Mutex<BTreeMap<String, String>>>;

const TICK: Duration = Duration::from_millis(20);
/// A node takes a snapshot after so many entries, and forgets what it covers but for the newest of them.
const SNAPSHOT_EVERY: u64 = 100;
const KEPT_BEHIND: u64 = 20;

/// What a node's thread waits for.
enum Event {
    Message(Box<Message>),
    Put(String, String),
    Durable(u64, raft_journal::Result<()>),
    Stop,
}

struct Node {
    raft: RawNode<LogStore>,
    store: LogStore,
    values: Values,
    snapshot_file: PathBuf,
    snapshot_index: u64,
    /// What waits until its `Ready` is durable: the `Ready`'s number, messages, and a snapshot to be loaded.
    waiting: VecDeque<(u64, Vec<Message>, Snapshot)>,
    events: Sender<Event>,
    wires: Wires,
}

impl Node {
    /// Starts a node from what its directory holds.
    fn start(id: u64, dir: &Path, values: Values, events: Sender<Event>, wires: Wires) -> Outcome<Node> {
        fs::create_dir_all(dir)?;
        let snapshot_file = dir.join("snapshot");
        let journal = Journal::open(dir.join("journal"))?;
        let report = journal.recovery_report();
        if let Some(damage) = journal.damaged().into_iter().next() {
            return Err(raft_journal::Error::from(damage).into());
        }
        println!("node {id}: life {} of its journal, closed in order: {}", report.life, report.clean);
        let source = snapshot_file.clone();
        let store = LogStore::open(journal, id)?.with_snapshots(move |_, _| load(&source).ok());
        if !store.is_initialized() {
            store.initialize(ConfState::from((vec![1, 2, 3], vec![])))?;
        }
        // The state machine is in memory, so it starts at the newest snapshot, and raft-rs gives it the rest again.
        let snapshot = if snapshot_file.exists() { load(&snapshot_file)? } else { Snapshot::default() };
        store.resume(snapshot.get_metadata())?;
        let applied = snapshot.get_metadata().index;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&Config { applied, ..Config::new(id) }, store.clone(), &logger)?;
        *values.lock().unwrap() = values_of(&snapshot);
        let waiting = VecDeque::new();
        Ok(Node { raft, store, values, snapshot_file, snapshot_index: applied, waiting, events, wires })
    }

    fn run(mut self, inbox: &Receiver<Event>) -> Outcome {
        let mut next_tick = Instant::now() + TICK;
        loop {
            match inbox.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(self.store.store().close()?),
                // A message from before a restart, or a proposal while nobody leads: whoever sent it tries again.
                Ok(Event::Message(message)) => _ = self.raft.step(*message),
                Ok(Event::Put(key, value)) => {
                    _ = self.raft.propose(Vec::new(), format!("{key} {value}\n").into_bytes());
                }
                Ok(Event::Durable(number, result)) => result.map(|()| self.durable(number))??,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next_tick {
                next_tick += TICK;
                self.raft.tick();
            }
            while self.raft.has_ready() {
                self.ready()?;
            }
        }
    }

    /// Takes what raft-rs has ready. It is written when this returns, and durable when `durable` is called.
    fn ready(&mut self) -> Outcome {
        let mut ready = self.raft.ready();
        // A leader's messages may go out before its own disk is done, but not before its term and vote are durable.
        if ready.hs().is_none() {
            self.send(ready.take_messages());
        }
        let snapshot = ready.snapshot().clone();
        if !snapshot.is_empty() {
            // The data first: once the log begins behind it, nothing else has it.
            save(&self.snapshot_file, &snapshot)?;
        }
        let committed = ready.take_committed_entries();
        let (number, events) = (ready.number(), self.events.clone());
        let told = move |result: raft_journal::Result<_>| _ = events.send(Event::Durable(number, result.map(drop)));
        self.store.persist(&ready)?.on_durable(Box::new(told));
        // With them, `persist` returns when they are.
        self.send(ready.take_messages());
        self.waiting.push_back((number, ready.take_persisted_messages(), snapshot));
        self.raft.advance_append_async(ready);
        self.apply(&committed)
    }

    /// A `Ready` has become durable: what it has to say may be heard.
    fn durable(&mut self, number: u64) -> Outcome {
        self.raft.on_persist_ready(number);
        let count = self.waiting.partition_point(|(waiting, ..)| *waiting <= number);
        for (_, messages, snapshot) in self.waiting.drain(..count).collect::<Vec<_>>() {
            self.send(messages);
            if !snapshot.is_empty() {
                *self.values.lock().unwrap() = values_of(&snapshot);
                self.snapshot_index = snapshot.get_metadata().index;
                self.raft.advance_apply_to(self.snapshot_index);
                println!("node {}: took a snapshot of {} entries", self.raft.raft.id, self.snapshot_index);
            }
        }
        Ok(())
    }

    fn apply(&mut self, committed: &[Entry]) -> Outcome {
        let Some(last) = committed.last() else { return Ok(()) };
        for entry in committed {
            self.values.lock().unwrap().extend(lines(&entry.data));
        }
        self.raft.advance_apply_to(last.index);
        if last.index < self.snapshot_index + SNAPSHOT_EVERY {
            return Ok(());
        }
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(self.store.metadata(last.index)?);
        let values = self.values.lock().unwrap().clone();
        let data: String = values.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        snapshot.data = data.into_bytes();
        save(&self.snapshot_file, &snapshot)?;
        self.snapshot_index = last.index;
        Ok(self.store.compact(last.index - KEPT_BEHIND)?)
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let (to, is_snapshot) = (message.to, message.get_msg_type() == MessageType::MsgSnapshot);
            let wire = self.wires.lock().unwrap().get(&to).cloned();
            let sent = wire.is_some_and(|wire| wire.send(Event::Message(Box::new(message))).is_ok());
            match (sent, is_snapshot) {
                (true, true) => self.raft.report_snapshot(to, SnapshotStatus::Finish),
                (false, true) => self.raft.report_snapshot(to, SnapshotStatus::Failure),
                (false, false) => self.raft.report_unreachable(to),
                (true, false) => {}
            }
        }
    }
}

/// Makes a snapshot durable under its name: the one before it, or this one, whatever happens.
fn save(path: &Path, snapshot: &Snapshot) -> Outcome {
    let (temporary, dir) = (path.with_extension("new"), path.parent().unwrap_or(Path::new(".")));
    fs::write(&temporary, snapshot.write_to_bytes()?)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(File::open(dir)?.sync_all()?)
}

fn load(path: &Path) -> Outcome<Snapshot> {
    let mut snapshot = Snapshot::default();
    snapshot.merge_from_bytes(&fs::read(path)?)?;
    Ok(snapshot)
}

fn values_of(snapshot: &Snapshot) -> BTreeMap<String, String> {
    lines(&snapshot.data).collect()
}

fn lines(data: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(data).into_owned();
    let pairs: Vec<_> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.into(), v.into())).collect();
    pairs.into_iter()
}

/// A node's thread, from outside.
struct Handle {
    events: Sender<Event>,
    values: Values,
    thread: JoinHandle<Outcome>,
}

impl Handle {
    fn start(id: u64, dir: &Path, wires: &Wires) -> Outcome<Handle> {
        let (events, inbox) = channel();
        let values = Values::default();
        wires.lock().unwrap().insert(id, events.clone());
        let dir = dir.join(format!("node-{id}"));
        let node = Node::start(id, &dir, Arc::clone(&values), events.clone(), Arc::clone(wires))?;
        Ok(Handle { events, values, thread: thread::spawn(move || node.run(&inbox)) })
    }

    fn stop(self) -> Outcome {
        self.events.send(Event::Stop)?;
        self.thread.join().map_err(|_| "the node panicked")?
    }
}

/// Proposes keys at one of the nodes until it has applied them all.
fn put(node: &Handle, range: std::ops::Range<u64>) -> Outcome {
    let mut missing: BTreeMap<_, _> = range.map(|number| (format!("key{number}"), format!("value{number}"))).collect();
    while !missing.is_empty() {
        for (key, value) in &missing {
            node.events.send(Event::Put(key.clone(), value.clone()))?;
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) && !missing.is_empty() {
            thread::sleep(Duration::from_millis(2));
            let values = node.values.lock().unwrap();
            missing.retain(|key, value| values.get(key) != Some(value));
        }
    }
    Ok(())
}

fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    let wires = Wires::default();
    let start = |id| Handle::start(id, dir.path(), &wires);
    let (first, second, third) = (start(1)?, start(2)?, start(3)?);
    put(&first, 0..150)?;
    println!("150 keys written; node 3 goes away");
    wires.lock().unwrap().remove(&3);
    third.stop()?;
    put(&second, 150..500)?;
    println!("350 more; node 3 comes back, to a log that begins behind its own end");
    let third = start(3)?;
    put(&third, 500..510)?;
    let begun = Instant::now();
    let all = |node: &Handle| node.values.lock().unwrap().clone();
    while all(&first).len() < 510 || all(&first) != all(&second) || all(&first) != all(&third) {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("the nodes do not agree".into());
        }
        thread::sleep(TICK);
    }
    println!("all three hold the same {} keys", all(&first).len());
    [first, second, third].into_iter().try_for_each(Handle::stop)
}
