//! Three raft-rs nodes in one process, each on a simulated disk, whose power is cut again and again.

#[path = "../crash/lies.rs"]
mod lies;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use lies::{Liar, Lie};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, RawNode, SnapshotStatus, StateRole};
use raft_journal::OpenOptions;
use raft_journal::adapters::raft_rs::{LogStore, Result};
use raft_journal::io::Fs;
use raft_journal::io::sim::{SimFs, Survival};

use super::voters;

/// What a run draws its luck from.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn once_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// What was applied anywhere, by index: nothing of it may ever be otherwise, or be gone.
type Applied = BTreeMap<u64, Vec<u8>>;

/// What is wrong with the nodes on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Their disks answer a sync and do not do it.
    NoSync,
    /// They take a `Ready` for durable as soon as it is written.
    NoWait,
}

/// A machine on which a node runs: what a power cut takes, and what it leaves.
struct Host {
    id: u64,
    disk: SimFs,
    fault: Fault,
    /// The application's own place: it is durable when it says so, and no matter of this test.
    snapshots: Arc<Mutex<Vec<Snapshot>>>,
    node: Option<Node>,
}

struct Node {
    raft: RawNode<LogStore>,
    store: LogStore,
    /// The state machine: what was applied, by index.
    machine: Applied,
    applied: u64,
    /// What waits until its `Ready` is durable.
    waiting: VecDeque<(u64, Vec<Message>, Snapshot)>,
    told: Arc<Mutex<VecDeque<raft_journal::Result<u64>>>>,
    waits: bool,
}

impl Host {
    fn new(id: u64, fault: Fault) -> Host {
        let disk = SimFs::with_seed(id);
        disk.queue_tasks(true);
        Host { id, disk, fault, snapshots: Arc::default(), node: None }
    }

    /// Starts the node from what its disk holds.
    fn start(&mut self) -> Result<()> {
        let fs: Arc<dyn Fs> = match self.fault {
            Fault::NoSync => Arc::new(Liar(self.disk.clone(), Lie::Files)),
            Fault::None | Fault::NoWait => Arc::new(self.disk.clone()),
        };
        let journal = OpenOptions::new().segment_bytes(8 << 10).file_system(fs).open("/node")?;
        let snapshots = Arc::clone(&self.snapshots);
        let store =
            LogStore::open(journal, self.id)?.with_snapshots(move |_, _| snapshots.lock().unwrap().last().cloned());
        if !store.is_initialized() {
            store.initialize(voters())?;
        }
        let newest = self.snapshots.lock().unwrap().last().cloned().unwrap_or_default();
        let applied = newest.get_metadata().index;
        store.resume(newest.get_metadata())?;
        let timeout = 10 + 4 * self.id as usize;
        let config = Config {
            applied,
            election_tick: 10,
            min_election_tick: timeout,
            max_election_tick: timeout + 1,
            heartbeat_tick: 2,
            max_size_per_msg: 512,
            max_inflight_msgs: 8,
            ..Config::new(self.id)
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, store.clone(), &logger).unwrap();
        let machine = machine_of(&newest);
        let (waiting, told, waits) = (VecDeque::new(), Arc::default(), self.fault != Fault::NoWait);
        self.node = Some(Node { raft, store, machine, applied, waiting, told, waits });
        Ok(())
    }

    fn cut_power(&mut self, luck: &mut Luck) {
        self.node = None;
        self.disk = self.disk.after_power_cut(Survival::Random(luck.below(u64::MAX)));
    }
}

/// The state machine that a snapshot holds.
fn machine_of(snapshot: &Snapshot) -> Applied {
    let lines = snapshot.data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let at = line.iter().position(|byte| *byte == b' ').unwrap();
            (std::str::from_utf8(&line[..at]).unwrap().parse().unwrap(), line[at + 1..].to_vec())
        })
        .collect()
}

fn data_of(machine: &Applied) -> Vec<u8> {
    machine.iter().flat_map(|(index, data)| [index.to_string().as_bytes(), b" ", data, b"\n"].concat()).collect()
}

impl Node {
    /// Does all that raft-rs has ready, and what has become durable. Messages go into `out`.
    fn run(&mut self, snapshots: &Mutex<Vec<Snapshot>>, out: &mut Vec<Message>, all: &mut Applied) -> Result<()> {
        loop {
            let told = self.told.lock().unwrap().pop_front();
            if let Some(number) = told {
                self.durable(number?, snapshots, out);
            } else if self.raft.has_ready() {
                self.ready(snapshots, out, all)?;
            } else {
                return Ok(());
            }
        }
    }

    fn ready(&mut self, snapshots: &Mutex<Vec<Snapshot>>, out: &mut Vec<Message>, all: &mut Applied) -> Result<()> {
        let mut ready = self.raft.ready();
        if ready.hs().is_none() {
            out.extend(ready.take_messages());
        }
        let snapshot = ready.snapshot().clone();
        if !snapshot.is_empty() {
            snapshots.lock().unwrap().push(snapshot.clone());
        }
        let committed = ready.take_committed_entries();
        let pending = self.store.persist(&ready)?;
        out.extend(ready.take_messages());
        let (told, number) = (Arc::clone(&self.told), ready.number());
        match self.waits {
            true => pending.on_durable(Box::new(move |result| told.lock().unwrap().push_back(result.map(|_| number)))),
            false => told.lock().unwrap().push_back(Ok(number)),
        }
        self.waiting.push_back((number, ready.take_persisted_messages(), snapshot));
        self.raft.advance_append_async(ready);
        self.apply(committed, all)
    }

    /// A `Ready` has become durable, and all before it.
    fn durable(&mut self, number: u64, snapshots: &Mutex<Vec<Snapshot>>, out: &mut Vec<Message>) {
        self.raft.on_persist_ready(number);
        let count = self.waiting.partition_point(|(waiting, ..)| *waiting <= number);
        for (_, messages, snapshot) in self.waiting.drain(..count) {
            out.extend(messages);
            if !snapshot.is_empty() {
                self.machine = machine_of(&snapshot);
                self.applied = snapshot.get_metadata().index;
                snapshots.lock().unwrap().retain(|other| other.get_metadata().index >= self.applied);
                self.raft.advance_apply_to(self.applied);
            }
        }
    }

    fn apply(&mut self, committed: Vec<Entry>, all: &mut Applied) -> Result<()> {
        for entry in committed {
            assert_eq!(entry.index, self.applied + 1, "applied out of order");
            self.applied = entry.index;
            if entry.get_entry_type() == EntryType::EntryConfChange {
                let mut change = ConfChange::default();
                change.merge_from_bytes(&entry.data).unwrap();
                let conf_state = self.raft.apply_conf_change(&change).unwrap();
                self.store.set_conf_state(conf_state)?;
            }
            let data = entry.data.to_vec();
            let before = all.entry(entry.index).or_insert_with(|| data.clone());
            assert_eq!(*before, data, "entry {} was applied twice, and not as the same", entry.index);
            self.machine.insert(entry.index, data);
        }
        self.raft.advance_apply_to(self.applied);
        Ok(())
    }

    /// Takes a snapshot of the state machine, and forgets what it covers but for a few entries.
    fn compact(&mut self, snapshots: &Mutex<Vec<Snapshot>>) -> Result<()> {
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(self.store.metadata(self.applied)?);
        snapshot.data = data_of(&self.machine);
        snapshots.lock().unwrap().push(snapshot);
        self.store.compact(self.applied.saturating_sub(5))
    }
}

/// How often what happened in a run.
#[derive(Default, Debug)]
struct Counts {
    cuts: u64,
    cuts_inside: u64,
    applied: u64,
    snapshots: u64,
    leaders: u64,
}

struct Cluster {
    hosts: Vec<Host>,
    wires: Vec<Message>,
    luck: Luck,
    all: Applied,
    counts: Counts,
    proposed: u64,
}

impl Cluster {
    fn new(seed: u64, fault: Fault) -> Cluster {
        let hosts = (1..=3).map(|id| Host::new(id, fault)).collect();
        let luck = Luck(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Cluster { hosts, wires: Vec::new(), luck, all: Applied::new(), counts: Counts::default(), proposed: 0 }
    }

    /// Lets some time pass; with trouble, or in peace.
    fn tick(&mut self, trouble: bool) -> Result<()> {
        self.deliver(trouble);
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            if host.node.is_none() && (!trouble || self.luck.once_in(12)) {
                host.start()?;
            }
            if trouble && host.node.is_some() && self.luck.once_in(60) {
                // Now, or in the middle of what comes next.
                match self.luck.once_in(2) {
                    true => self.counts.cuts += 1,
                    false => {
                        host.disk.cut_power_at(host.disk.mutations() + self.luck.below(6));
                        continue;
                    }
                }
                host.cut_power(&mut self.luck);
            }
            let Some(node) = &mut host.node else { continue };
            node.raft.tick();
            if node.raft.raft.state == StateRole::Leader && self.luck.once_in(2) {
                self.proposed += 1;
                let proposal = format!("proposal {} of node {}", self.proposed, host.id).into_bytes();
                // Where the lead is about to move, nothing is promised.
                let _ = node.raft.propose(Vec::new(), proposal);
            }
            if self.luck.once_in(2) {
                host.disk.run_tasks();
            }
            if host.disk.is_power_off() {
                // In the middle of background work: raft-rs would panic over the next read.
                self.counts.cuts_inside += 1;
                host.cut_power(&mut self.luck);
                continue;
            }
            let ran = node.run(&host.snapshots, &mut self.wires, &mut self.all);
            let ran = match ran {
                Ok(()) if node.applied % 40 > 30 && node.store.metadata(node.applied - 30).is_ok() => {
                    node.compact(&host.snapshots)
                }
                ran => ran,
            };
            if let Err(error) = ran {
                assert!(host.disk.is_power_off(), "{error}");
                self.counts.cuts_inside += 1;
                host.cut_power(&mut self.luck);
            }
        }
        Ok(())
    }

    /// Brings the messages that are under way, in any order, and not all.
    fn deliver(&mut self, trouble: bool) {
        for mut message in std::mem::take(&mut self.wires) {
            if trouble && self.luck.once_in(5) {
                self.wires.push(message);
                continue;
            }
            let lost = trouble && self.luck.once_in(25);
            let (from, to) = (message.from, message.to);
            let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            let term = message.term;
            let reached = match self.hosts.get_mut(to as usize - 1).and_then(|host| host.node.as_mut()) {
                Some(node) if !lost => {
                    // A message of an older time is no error to anybody but to those who sent it.
                    let _ = node.raft.step(std::mem::take(&mut message));
                    true
                }
                _ => false,
            };
            if let (true, Some(node)) = (is_snapshot, &mut self.hosts[from as usize - 1].node)
                && node.raft.raft.term == term
            {
                self.counts.snapshots += u64::from(reached);
                node.raft.report_snapshot(to, if reached { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
            }
        }
    }

    fn leader(&mut self) -> Option<&mut Node> {
        self.hosts
            .iter_mut()
            .filter_map(|host| host.node.as_mut())
            .filter(|node| node.raft.raft.state == StateRole::Leader)
            .max_by_key(|node| node.raft.raft.term)
    }

    /// Until all nodes hold the same, with a learner that never comes among them.
    fn settle(&mut self) -> Result<()> {
        for tick in 0.. {
            assert!(tick < 2000, "the nodes do not come to agree");
            self.tick(false)?;
            if tick % 50 == 49
                && let Some(leader) = self.leader()
            {
                let mut change = ConfChange::default();
                change.set_change_type(ConfChangeType::AddLearnerNode);
                change.node_id = 4;
                let _ = leader.raft.propose_conf_change(Vec::new(), change);
            }
            let nodes: Vec<&Node> = self.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
            let agree = nodes.iter().all(|node| node.machine == self.all && node.store.conf_state().learners == [4]);
            if agree && nodes.len() == 3 {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Runs a cluster through its troubles, and holds what is left against all that was ever applied.
fn run(seed: u64, fault: Fault) -> Result<Counts> {
    let mut cluster = Cluster::new(seed, fault);
    let mut terms = std::collections::BTreeSet::new();
    for _ in 0..1500 {
        cluster.tick(true)?;
        let term = cluster.leader().map(|leader| leader.raft.raft.term);
        terms.extend(term);
    }
    for host in &mut cluster.hosts {
        host.cut_power(&mut cluster.luck);
    }
    cluster.settle()?;
    cluster.counts.applied = cluster.all.len() as u64;
    cluster.counts.leaders = terms.len() as u64;
    Ok(cluster.counts)
}

const SEEDS: u64 = 24;

#[test]
fn cluster_agrees_whatever_power_cuts_do_to_its_nodes() {
    let mut sums = Counts::default();
    for seed in 0..SEEDS {
        let counts = run(seed, Fault::None).unwrap();
        sums.cuts += counts.cuts;
        sums.cuts_inside += counts.cuts_inside;
        sums.applied += counts.applied;
        sums.snapshots += counts.snapshots;
        sums.leaders += counts.leaders;
    }
    // Or it proves little.
    assert!(sums.cuts > 500 && sums.cuts_inside > 200 && sums.applied > 5000, "{sums:?}");
    assert!(sums.snapshots > 20 && sums.leaders > 200, "{sums:?}");
}

/// How many of the runs that end well without a fault do not end well with it: a journal that cannot be opened any
/// more, an entry that changed, nodes that do not come to agree, or raft-rs in panic.
fn noticed(fault: Fault) -> u64 {
    (0..SEEDS).filter(|&seed| !matches!(catch_unwind(AssertUnwindSafe(|| run(seed, fault))), Ok(Ok(_)))).count() as u64
}

#[test]
fn disk_that_does_not_sync_is_noticed() {
    assert_eq!(noticed(Fault::NoSync), SEEDS);
}

#[test]
fn node_that_does_not_wait_for_its_disk_is_noticed() {
    let noticed = noticed(Fault::NoWait);
    assert!(noticed > SEEDS / 2, "in {noticed} of {SEEDS} runs");
}
