//! The replicated state machine: a map in memory, and its newest snapshot in a file.
//!
//! Nothing but the snapshot is written here. After a restart the machine is the snapshot; openraft then applies the
//! entries of the journal up to the committed mark, and learns from the leader what was committed since.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_09 as openraft;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// What the three nodes agree on: commands in, the number of commands applied so far out.
    pub Types: D = Command, R = u64
);

/// A write. A client sends one at a time and repeats it until it is answered; the machine applies it once.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Command {
    pub client: u64,
    pub sequence: u64,
    pub key: String,
    pub value: String,
}

/// What all nodes must agree on, byte for byte.
#[derive(Serialize, Deserialize, Clone, Default)]
pub struct State {
    values: BTreeMap<String, String>,
    /// The last sequence number of each client.
    answered: BTreeMap<u64, u64>,
    /// How many commands were applied.
    pub commands: u64,
    /// A sum over all commands that depends on their order.
    digest: u64,
}

impl State {
    fn apply(&mut self, command: Command) {
        let answered = self.answered.entry(command.client).or_default();
        if command.sequence <= *answered {
            return;
        }
        *answered = command.sequence;
        self.commands += 1;
        let words = [&command.client.to_le_bytes(), &command.sequence.to_le_bytes(), command.value.as_bytes()];
        for byte in words.into_iter().flatten() {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.values.insert(command.key, command.value);
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
    snapshot: PathBuf,
}

impl StateMachine {
    /// The state machine whose snapshot, if there is one, lies in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let new = StateMachine { machine: Arc::default(), snapshot: dir.join("snapshot") };
        if let Some((meta, data)) = new.saved()? {
            new.adopt(&meta, &data)?;
        }
        Ok(new)
    }

    /// The state as bytes.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        rmp_serde::to_vec(&self.lock().state).map_err(io::Error::other)
    }

    /// How many commands were applied.
    pub fn commands(&self) -> u64 {
        self.lock().state.commands
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, meta: &Meta, data: &[u8]) -> io::Result<()> {
        let state = rmp_serde::from_slice(data).map_err(io::Error::other)?;
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.lock() = Machine { applied, membership, state };
        Ok(())
    }

    fn saved(&self) -> io::Result<Option<(Meta, Vec<u8>)>> {
        match fs::read(&self.snapshot) {
            Ok(bytes) => rmp_serde::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the snapshot in one durable step: openraft purges the log up to it as soon as this returns.
    fn save(&self, meta: &Meta, data: &[u8]) -> io::Result<()> {
        let bytes = rmp_serde::to_vec(&(meta, data)).map_err(io::Error::other)?;
        let new = self.snapshot.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.snapshot)?;
        match self.snapshot.parent() {
            Some(dir) if cfg!(unix) => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
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
        self.save(meta, &data).and_then(|()| self.adopt(meta, &data)).map_err(|error| failed(&error))
    }

    async fn get_current_snapshot(&mut self) -> Answer<Option<Snapshot<Types>>> {
        let saved = self.saved().map_err(|error| failed(&error))?;
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
        let data = data.and_then(|data| self.save(&meta, &data).map(|()| data)).map_err(|error| failed(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}
