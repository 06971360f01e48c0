//! The `meta` file on a disk: created in one step, committed slot by slot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cipher::PairsCipher;
use super::format::{self, COPIES, COPY_ALIGN_BYTES, ENCRYPTED_BYTES, FIXED_BYTES, HIDDEN_BYTES};
use super::recover::{self, Copy, Decision, Health};
use super::{Accepted, State};
use crate::error::{Error, KeyFault, Result};
use crate::io::{self, File, Fs, Mode};
use crate::keys::Keys;

/// The file's name.
pub(crate) const FILE_NAME: &str = "meta";
/// Its name while it is being made.
pub(crate) const UNFINISHED_NAME: &str = "meta.tmp";
/// Room in each copy for records of accepted damage.
const ACCEPTED_MAX: usize = 44;
/// Room in each copy for records of repairs.
pub(crate) const REPAIRED_MAX: usize = 32;

/// The longest copy that is read into memory: more than the largest bound on the pairs gives.
const COPY_BYTES_MAX: usize = 80 << 20;

/// The open `meta` file.
#[derive(Debug)]
pub(crate) struct MetaStore {
    file: Arc<dyn File>,
    path: PathBuf,
    copy_bytes: usize,
    /// What the pairs are encrypted with.
    keys: Option<Keys>,
}

/// What was read at open.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) store: MetaStore,
    pub(crate) state: State,
    pub(crate) health: Health,
}

/// One of the four copies, as it stands in the file.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) offset: u64,
    /// How much of the file it has, bytes.
    pub(crate) bytes: u64,
    /// The generation that its slot and this one call for; none where that is not known.
    pub(crate) expected: Option<u64>,
    /// What it says, if it could be read; a state of the other slot's is unreadable here.
    pub(crate) copy: Result<Copy>,
}

/// The length of one copy for a bound on the pairs.
fn copy_bytes_for(pairs_bytes_max: u64, is_encrypted: bool) -> usize {
    let pairs = usize::try_from(pairs_bytes_max).unwrap_or(usize::MAX / 8);
    let records = ACCEPTED_MAX * format::ACCEPTED_BYTES + REPAIRED_MAX * format::REPAIRED_BYTES;
    let more = if is_encrypted { ENCRYPTED_BYTES + HIDDEN_BYTES } else { 0 };
    (FIXED_BYTES + records + more + pairs).next_multiple_of(COPY_ALIGN_BYTES)
}

impl MetaStore {
    /// Makes the file with `state` in both slots: its generation, and the next one, which is returned. Whole under a
    /// temporary name first, so that a crash leaves no half of it.
    pub(crate) fn create(
        fs: &dyn Fs,
        dir: &Path,
        mut state: State,
        pairs_bytes_max: u64,
        keys: Option<Keys>,
    ) -> Result<(MetaStore, State)> {
        let (path, unfinished) = (dir.join(FILE_NAME), dir.join(UNFINISHED_NAME));
        let copy_bytes = copy_bytes_for(pairs_bytes_max, keys.is_some());
        let file = fs.open(&unfinished, Mode::Create).map_err(|error| Error::io("create", &unfinished, None, error))?;
        let store = MetaStore { file, path: unfinished.clone(), copy_bytes, keys };
        let result = store.write(&vec![0; copy_bytes * COPIES], 0).and_then(|()| {
            store.put(fs, &state)?;
            state.generation += 1;
            store.put(fs, &state)?;
            store.sync()?;
            fs.rename(&unfinished, &path).map_err(|error| Error::io("rename", &unfinished, None, error))?;
            // Without this, power loss can forget the file's name while segments keep theirs.
            fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, None, error))
        });
        if let Err(error) = result {
            // Gives back the space; if that fails too, the next open replaces the file.
            let _ = fs.remove(&unfinished);
            return Err(error);
        }
        Ok((MetaStore { path, ..store }, state))
    }

    /// Opens the file and adopts the newest generation that can be read.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, mode: Mode, keys: Option<&Keys>) -> Result<Loaded> {
        let path = dir.join(FILE_NAME);
        let file = fs.open(&path, mode).map_err(|error| Error::io("open", &path, None, error))?;
        if mode == Mode::Write {
            // What the page cache shows may never have reached the disk, if a sync failed in an earlier process:
            // settle what is dirty, and read the disk.
            file.sync_data().map_err(|error| Error::io("sync", &path, None, error))?;
            file.drop_cache(0..u64::MAX).map_err(|error| Error::io("read", &path, None, error))?;
        }
        let (store, len) = Self::sized(file, path, keys)?;
        match recover::decide([store.read_slot(0)?, store.read_slot(1)?]) {
            Decision::Adopt(state, Health::SlotLost) => {
                // A file that has lost more of its end tells a wrong length of its copies: what it still knows must
                // not be passed over.
                if let Some(offset) = store.newer_copy(&state, len)? {
                    let why = format!("{len} bytes, and its newest copy at {offset}: it has lost its end");
                    return Err(Error::MetaUnreadable { path: store.path, why });
                }
                store.unlock(*state, Health::SlotLost)
            }
            Decision::Adopt(state, health) => store.unlock(*state, health),
            Decision::Newer(found) => {
                Err(Error::UnsupportedVersion { path: store.path, found, supported: format::VERSION_ENCRYPTED })
            }
            Decision::Lost => {
                let why = format!("{len} bytes, no copy has a right checksum");
                Err(Error::MetaUnreadable { path: store.path, why })
            }
        }
    }

    /// Reads all four copies, through a handle of its own. `newest` is the generation that the journal committed last.
    pub(crate) fn inspect(fs: &dyn Fs, dir: &Path, newest: Option<u64>) -> Result<Vec<Inspected>> {
        let path = dir.join(FILE_NAME);
        let file = fs.open(&path, Mode::Read).map_err(|error| Error::io("open", &path, None, error))?;
        let store = Self::sized(file, path, None)?.0;
        let copies = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().map(|(slot, copy)| {
            let of_slot =
                |newest: u64| if recover::slot_of(newest) == slot { newest } else { newest.saturating_sub(1) };
            Inspected {
                offset: store.offset(slot, copy),
                bytes: store.copy_bytes as u64,
                expected: newest.map(of_slot),
                copy: store.read_copy(slot, copy).map(|copy| copy.and_then(|state| recover::placed(slot, state))),
            }
        });
        Ok(copies.collect())
    }

    /// The file with the length of its copies; and its own.
    fn sized(file: Arc<dyn File>, path: PathBuf, keys: Option<&Keys>) -> Result<(MetaStore, u64)> {
        let len = file.len().map_err(|error| Error::io("size", &path, None, error))?;
        // Rounded up: a file that has lost its end still has its other copies where they were.
        let copy_bytes = usize::try_from(len).unwrap_or(usize::MAX).div_ceil(COPIES * COPY_ALIGN_BYTES);
        let copy_bytes = copy_bytes.saturating_mul(COPY_ALIGN_BYTES);
        if copy_bytes > COPY_BYTES_MAX {
            let why = format!("{len} bytes are more than any `meta` has");
            return Err(Error::MetaUnreadable { path, why });
        }
        Ok((MetaStore { file, path, copy_bytes, keys: keys.cloned() }, len))
    }

    /// Decrypts what was adopted, and only that: of the older slot the key may be gone.
    fn unlock(self, state: State, health: Health) -> Result<Loaded> {
        match state.unlock(self.keys.as_ref()) {
            Ok(state) => Ok(Loaded { store: self, state, health }),
            Err((key_id, fault)) => Err(self.key_error(key_id, fault)),
        }
    }

    fn key_error(&self, key_id: u32, fault: KeyFault) -> Error {
        Error::Key { path: self.path.clone(), key_id, fault }
    }

    fn read_slot(&self, slot: usize) -> Result<[Copy; 2]> {
        Ok([self.read_copy(slot, 0)?, self.read_copy(slot, 1)?])
    }

    /// Where a copy stands that is newer than a state, be it where none belongs.
    fn newer_copy(&self, state: &State, len: u64) -> Result<Option<u64>> {
        for offset in (0..len).step_by(COPY_ALIGN_BYTES) {
            let mut magic = Vec::with_capacity(format::MAGIC.len());
            io::read_up_to(&*self.file, &mut magic, format::MAGIC.len(), offset)
                .map_err(|error| Error::io("read", &self.path, Some(offset), error))?;
            if magic != format::MAGIC {
                continue;
            }
            let is_newer = |copy: &State| copy.journal_id == state.journal_id && copy.generation > state.generation;
            let bytes_max = usize::try_from(len - offset).unwrap_or(usize::MAX).min(COPY_BYTES_MAX);
            if self.read_at(offset, bytes_max)?.as_ref().is_ok_and(is_newer) {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    fn read_copy(&self, slot: usize, copy: usize) -> Result<Copy> {
        self.read_at(self.offset(slot, copy), self.copy_bytes)
    }

    fn read_at(&self, offset: u64, bytes_max: usize) -> Result<Copy> {
        let mut bytes = Vec::with_capacity(bytes_max);
        io::read_up_to(&*self.file, &mut bytes, bytes_max, offset)
            .map_err(|error| Error::io("read", &self.path, Some(offset), error))?;
        Ok(format::parse(&bytes))
    }

    fn offset(&self, slot: usize, copy: usize) -> u64 {
        ((slot * 2 + copy) * self.copy_bytes) as u64
    }

    /// Whether the file was made for another bound on the pairs.
    pub(crate) fn has_other_bound(&self, pairs_bytes_max: u64) -> bool {
        self.copy_bytes != copy_bytes_for(pairs_bytes_max, self.keys.is_some())
    }

    /// Makes `state` durable under its generation, which must follow the newest one: its slot then holds the state
    /// before that, never the newest. Both copies, one sync.
    pub(crate) fn commit(&self, fs: &dyn Fs, state: &State) -> Result<()> {
        self.put(fs, state)?;
        self.sync()
    }

    fn put(&self, fs: &dyn Fs, state: &State) -> Result<()> {
        let bytes = self.encode(fs, state)?;
        if bytes.len() > self.copy_bytes {
            let bytes_max = (self.copy_bytes - FIXED_BYTES) as u64;
            return Err(Error::StoreFull { bytes: bytes.len() as u64, bytes_max });
        }
        let slot = recover::slot_of(state.generation);
        self.write(&bytes, self.offset(slot, 0))?;
        self.write(&bytes, self.offset(slot, 1))
    }

    fn encode(&self, fs: &dyn Fs, state: &State) -> Result<Vec<u8>> {
        let Some(keys) = &self.keys else { return Ok(format::encode(state)) };
        let mut random = [0; 16];
        random[..8].copy_from_slice(&fs.entropy().to_le_bytes());
        random[8..].copy_from_slice(&fs.entropy().to_le_bytes());
        let cipher = PairsCipher::new(keys, state, random).map_err(|(key_id, fault)| self.key_error(key_id, fault))?;
        format::encode_encrypted(state, &cipher).map_err(|fault| self.key_error(cipher.key_id, fault))
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        io::write_all_at(&*self.file, bytes, offset)
            .map_err(|(_, error)| Error::io("write", &self.path, Some(offset), error))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("sync", &self.path, None, error))
    }

    /// Whether one more record of accepted damage fits.
    pub(crate) fn has_room_for(accepted: &[Accepted]) -> bool {
        accepted.len() < ACCEPTED_MAX
    }
}
