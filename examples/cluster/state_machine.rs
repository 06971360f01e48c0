//! The replicated state machine: a map in memory, and its newest snapshot in a file.
//!
//! Nothing but the snapshot is written here. After a restart the machine is the snapshot; openraft then applies the
//! entries of the journal up to the committed mark, and learns from the leader what was committed since.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_09 as openraft;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use raft_journal::io::{Fs, Mode, OsFs, PathKind, read_up_to, write_all_at};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

openraft::declare_raft_types!(
    /// What the three nodes agree on: commands in, the number of commands applied so far out.
    pub Types: D = Command, R = u64
);

/// How many clients a generation has room for: client numbers of the same multiple of it belong together.
pub const GENERATION: u64 = 1 << 16;

/// A write. A client sends one at a time and repeats it until it is answered; the machine applies it once.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Command {
    pub client: u64,
    pub sequence: u64,
    pub key: String,
    pub value: String,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Value {
    client: u64,
    value: String,
}

/// What all nodes must agree on, byte for byte: the values and the clients of the two newest generations.
#[derive(Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct State {
    generation: u64,
    values: BTreeMap<String, Value>,
    /// The sequence numbers that were applied, client by client: runs of them, first and last.
    applied: BTreeMap<u64, Vec<(u64, u64)>>,
    /// How many commands were applied.
    pub commands: u64,
    /// A sum over all commands that depends on their order.
    digest: u64,
}

impl State {
    pub fn apply(&mut self, command: Command) {
        let generation = command.client / GENERATION;
        if generation > self.generation {
            self.begin(generation);
        }
        if generation + 1 < self.generation {
            return;
        }
        let runs = self.applied.entry(command.client).or_default();
        // Applied before, or given up before a later one.
        if runs.last().is_some_and(|&(_, last)| command.sequence <= last) {
            return;
        }
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == command.sequence => *last = command.sequence,
            _ => runs.push((command.sequence, command.sequence)),
        }
        self.commands += 1;
        let words = [&command.client.to_le_bytes(), &command.sequence.to_le_bytes(), command.value.as_bytes()];
        for byte in words.into_iter().flatten() {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.values.insert(command.key, Value { client: command.client, value: command.value });
    }

    /// A new generation of clients: what those before the last one wrote is forgotten, so that the state stays small.
    fn begin(&mut self, generation: u64) {
        self.generation = generation;
        let oldest = generation.saturating_sub(1) * GENERATION;
        self.applied = self.applied.split_off(&oldest);
        self.values.retain(|_, value| value.client >= oldest);
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.value.as_str())
    }

    /// Whether a command of a client's was applied.
    pub fn has_applied(&self, client: u64, sequence: u64) -> bool {
        let runs = self.applied.get(&client).map_or(&[][..], Vec::as_slice);
        runs.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }

    /// The state that these bytes of a snapshot, or of [`StateMachine::bytes`], hold.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<State> {
        rmp_serde::from_slice(bytes).map_err(io::Error::other)
    }
}

#[derive(Default)]
struct Machine {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, openraft::BasicNode>,
    state: State,
}

type Meta = SnapshotMeta<u64, openraft::BasicNode>;
type Answer<T> = Result<T, StorageError<u64>>;

/// A node's state machine. Clones share it.
#[derive(Clone)]
pub struct StateMachine {
    machine: Arc<Mutex<Machine>>,
    files: Arc<Files>,
    installed: Arc<AtomicU64>,
}

impl StateMachine {
    /// The state machine whose snapshot, if there is one, lies in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Self::open_on(Arc::new(OsFs), dir)
    }

    /// The state machine whose snapshot, if there is one, lies in `dir` of a file system.
    pub fn open_on(fs: Arc<dyn Fs>, dir: &Path) -> io::Result<Self> {
        let files = Files { fs, dir: dir.to_path_buf(), replacing: Mutex::default(), saved: watch::Sender::default() };
        let new = StateMachine { machine: Arc::default(), files: Arc::new(files), installed: Arc::default() };
        if let Some((meta, data)) = new.files.load()? {
            new.files.saved.send_modify(|saved| saved.up_to = meta.last_log_id);
            new.adopt(&meta, &data)?;
        }
        Ok(new)
    }

    /// The state as bytes.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        rmp_serde::to_vec(&self.lock().state).map_err(io::Error::other)
    }

    /// What a key was last set to.
    pub fn value(&self, key: &str) -> Option<String> {
        self.lock().state.value(key).map(str::to_owned)
    }

    /// How many snapshots of another node this one has installed since it was started.
    pub fn installed(&self) -> u64 {
        self.installed.load(Ordering::Relaxed)
    }

    /// Waits until a snapshot that covers this entry is saved.
    pub async fn is_saved_up_to(&self, log_id: LogId<u64>) -> io::Result<()> {
        let mut saved = self.files.saved.subscribe();
        let saved = saved.wait_for(|saved| saved.has_failed || saved.up_to >= Some(log_id)).await;
        match saved.map_err(io::Error::other)?.has_failed {
            true => Err(io::Error::other("a snapshot could not be saved")),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, meta: &Meta, data: &[u8]) -> io::Result<()> {
        let state = State::from_bytes(data)?;
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.lock() = Machine { applied, membership, state };
        Ok(())
    }
}

/// Where the snapshot lies.
struct Files {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Held while the file is replaced: openraft may build a snapshot while it installs another one.
    replacing: Mutex<()>,
    saved: watch::Sender<Saved>,
}

/// What the snapshot file covers.
#[derive(Default)]
struct Saved {
    up_to: Option<LogId<u64>>,
    has_failed: bool,
}

impl Files {
    fn load(&self) -> io::Result<Option<(Meta, Vec<u8>)>> {
        let path = self.dir.join("snapshot");
        if self.fs.kind(&path)? == PathKind::Missing {
            return Ok(None);
        }
        let file = self.fs.open(&path, Mode::Read)?;
        let (len, mut bytes) = (file.len()?, Vec::new());
        read_up_to(&*file, &mut bytes, usize::try_from(len).map_err(io::Error::other)?, 0)?;
        rmp_serde::from_slice(&bytes).map(Some).map_err(io::Error::other)
    }

    /// Replaces the snapshot. An older one never takes a newer one's place, whose log is gone.
    fn save(&self, meta: &Meta, data: &[u8]) -> io::Result<()> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if meta.last_log_id < self.saved.borrow().up_to {
            return Ok(());
        }
        let replaced = self.replace(meta, data);
        self.saved.send_modify(|saved| match &replaced {
            Ok(()) => saved.up_to = meta.last_log_id,
            Err(_) => saved.has_failed = true,
        });
        replaced
    }

    /// One durable step: the log is purged up to the snapshot as soon as this returns.
    fn replace(&self, meta: &Meta, data: &[u8]) -> io::Result<()> {
        let bytes = rmp_serde::to_vec(&(meta, data)).map_err(io::Error::other)?;
        let new = self.dir.join("snapshot.new");
        let file = self.fs.open(&new, Mode::Create)?;
        write_all_at(&*file, &bytes, 0).map_err(|(_, error)| error)?;
        file.sync_data()?;
        self.fs.rename(&new, &self.dir.join("snapshot"))?;
        self.fs.sync_dir(&self.dir)
    }
}

fn failed(error: &io::Error) -> StorageError<u64> {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Answer<(Option<LogId<u64>>, StoredMembership<u64, openraft::BasicNode>)> {
        let machine = self.lock();
        Ok((machine.applied, machine.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Answer<Vec<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut machine = self.lock();
        let apply = |entry: Entry<Types>| {
            machine.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => machine.state.apply(command),
                EntryPayload::Membership(membership) => {
                    machine.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            machine.state.commands
        };
        Ok(entries.into_iter().map(apply).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Answer<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Cursor<Vec<u8>>>) -> Answer<()> {
        let data = snapshot.into_inner();
        self.files.save(meta, &data).and_then(|()| self.adopt(meta, &data)).map_err(|error| failed(&error))?;
        self.installed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Answer<Option<Snapshot<Types>>> {
        let saved = self.files.load().map_err(|error| failed(&error))?;
        Ok(saved.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    async fn build_snapshot(&mut self) -> Answer<Snapshot<Types>> {
        let (meta, state) = {
            let machine = self.lock();
            let (last_log_id, last_membership) = (machine.applied, machine.membership.clone());
            let snapshot_id = last_log_id.map_or_else(String::new, |log_id| log_id.to_string());
            (SnapshotMeta { last_log_id, last_membership, snapshot_id }, machine.state.clone())
        };
        let data = rmp_serde::to_vec(&state).map_err(io::Error::other);
        let data =
            data.and_then(|data| self.files.save(&meta, &data).map(|()| data)).map_err(|error| failed(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}
