//! Damage at rest: what a disk does to synced bytes and to names without being asked.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SimFs;
use super::disk::{FileId, fail, key};
use super::random::Random;
use super::state::State;

/// One fault of a disk at rest. Sectors are counted from 0 and have [the disk's size](SimFs::set_sector_bytes); the last
/// one of a file ends with it.
///
/// ```
/// use raft_journal::io::sim::{AtRest, SimFs};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimFs::new();
/// disk.write_file("/log", &[1; 2000])?;
/// let fault = AtRest::random(7, &disk);
/// disk.damage(&fault)?;
/// // The same seed always does the same to the same disk: a test that fails says what it was.
/// println!("{fault:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AtRest {
    /// A bit, counted from the file's first byte's lowest on, has changed.
    FlipBit {
        /// The file.
        path: PathBuf,
        /// The bit.
        bit: u64,
    },
    /// Each byte of a sector is this one.
    FillSector {
        /// The file.
        path: PathBuf,
        /// The sector.
        sector: u64,
        /// 0 and 0xff are what disks return for sectors that they have lost.
        byte: u8,
    },
    /// Each of two sectors holds what is the other's.
    SwapSectors {
        /// The one's file.
        path: PathBuf,
        /// The one.
        sector: u64,
        /// The other's file, which may be the same.
        other_path: PathBuf,
        /// The other.
        other_sector: u64,
    },
    /// What was last written to a sector went to another one: see [`SimFs::misdirect`].
    Misdirect {
        /// The right file.
        path: PathBuf,
        /// The right sector, which holds what it held before.
        sector: u64,
        /// The wrong file, which may be the same.
        wrong_path: PathBuf,
        /// The wrong sector, which holds what belongs into the right one.
        wrong_sector: u64,
    },
    /// A synced write never happened: see [`SimFs::lose_write`].
    LoseWrite {
        /// The file.
        path: PathBuf,
        /// How many synced writes to the file came after it.
        back: usize,
    },
    /// The file ends early.
    Truncate {
        /// The file.
        path: PathBuf,
        /// Its size, bytes.
        len: u64,
    },
    /// The file is gone.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// A file that nobody made, a copy of another one.
    Extra {
        /// The new file.
        path: PathBuf,
        /// The file whose bytes it has.
        copy_of: PathBuf,
    },
}

impl AtRest {
    /// One fault of a disk, drawn from a seed: any kind, in any of its files that hold bytes. A disk without such a file
    /// gets one named `/extra` that is empty.
    pub fn random(seed: u64, disk: &SimFs) -> Self {
        Draw { random: Random::new(seed), disk }.fault()
    }
}

/// Draws faults of a disk.
struct Draw<'a> {
    random: Random,
    disk: &'a SimFs,
}

impl Draw<'_> {
    fn fault(&mut self) -> AtRest {
        let Some(path) = self.file() else {
            return AtRest::Extra { path: PathBuf::from("/extra"), copy_of: PathBuf::new() };
        };
        match self.random.below(20) {
            0..=4 => AtRest::FlipBit { bit: self.below(8 * self.len(&path)), path },
            5 | 6 => self.filled(path, 0),
            7 => self.filled(path, 0xff),
            8 => {
                let byte = self.random.bits() as u8;
                self.filled(path, byte)
            }
            9..=11 => {
                let (other_path, other_sector) = self.other_sector(&path);
                AtRest::SwapSectors { sector: self.sector(&path), path, other_path, other_sector }
            }
            12..=14 => {
                let (wrong_path, wrong_sector) = self.other_sector(&path);
                AtRest::Misdirect { sector: self.sector(&path), path, wrong_path, wrong_sector }
            }
            15 | 16 => match self.disk.synced_writes(&path) {
                Ok(0) | Err(_) => self.filled(path, 0),
                Ok(count) => AtRest::LoseWrite { path, back: self.random.below(count) },
            },
            17 => AtRest::Truncate { len: self.below(self.len(&path)), path },
            18 => AtRest::Remove { path },
            _ => AtRest::Extra { path: self.free_name(&path), copy_of: path },
        }
    }

    /// A file that holds bytes.
    fn file(&mut self) -> Option<PathBuf> {
        let mut paths = self.disk.paths();
        paths.retain(|path| self.len(path) > 0);
        if paths.is_empty() { None } else { Some(paths.swap_remove(self.random.below(paths.len()))) }
    }

    fn len(&self, path: &Path) -> u64 {
        let mut state = self.disk.shared.state.lock();
        state.inode_at(path).map_or(0, |(id, _)| state.disk.file(id).map_or(0, |inode| inode.disk.len()))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.bits() % bound.max(1)
    }

    fn sector(&mut self, path: &Path) -> u64 {
        let bytes = self.disk.shared.state.lock().sectors.bytes as u64;
        self.below(self.len(path).div_ceil(bytes))
    }

    /// A sector anywhere, half of the time in the same file.
    fn other_sector(&mut self, path: &Path) -> (PathBuf, u64) {
        let other = if self.random.coin() { None } else { self.file() };
        let other = other.unwrap_or_else(|| path.to_path_buf());
        let sector = self.sector(&other);
        (other, sector)
    }

    fn filled(&mut self, path: PathBuf, byte: u8) -> AtRest {
        AtRest::FillSector { sector: self.sector(&path), path, byte }
    }

    /// A name like that of a file, but for a character.
    fn free_name(&mut self, path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        loop {
            let place = self.random.below(name.len());
            let digit = self.random.below(10).to_string();
            if name.is_char_boundary(place) && name.is_char_boundary(place + 1) {
                name.replace_range(place..=place, &digit);
            }
            let other = path.with_file_name(&name);
            if self.disk.shared.state.lock().inode_at(&other).is_err() {
                return other;
            }
            // Longer each time: there is always a name that is free.
            name.push_str(&digit);
        }
    }
}

impl State {
    fn inode_at(&mut self, path: &Path) -> io::Result<(FileId, Arc<str>)> {
        let key = key(path);
        Ok((self.disk.file_at(&key)?, key))
    }

    /// The bytes of a sector of a file, as far as the disk holds them.
    fn sector_of(&mut self, path: &Path, sector: u64) -> io::Result<(FileId, Range<u64>)> {
        let (id, key) = self.inode_at(path)?;
        let bytes = self.sectors.bytes as u64;
        let start = sector.saturating_mul(bytes);
        let end = start.saturating_add(bytes).min(self.disk.file(id)?.disk.len());
        if start >= end {
            return fail(io::ErrorKind::InvalidInput, &key, "a sector beyond the file's end");
        }
        Ok((id, start..end))
    }

    fn bytes_of(&mut self, id: FileId, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.disk.file(id)?.disk.read(&mut bytes, range.start);
        Ok(bytes)
    }
}

/// Damage at rest, a fault at a time: neither counted nor logged, and without power, too. The cache shows it as the
/// disk has it; what is unsynced stays so.
impl SimFs {
    /// Does what the fault says.
    ///
    /// # Errors
    ///
    /// There is no such file, sector, bit or write.
    pub fn damage(&self, fault: &AtRest) -> io::Result<()> {
        match fault {
            AtRest::FlipBit { path, bit } => self.flip_bit(path, *bit),
            AtRest::FillSector { path, sector, byte } => self.fill_sector(path, *sector, *byte),
            AtRest::SwapSectors { path, sector, other_path, other_sector } => {
                self.swap_sectors(path, *sector, other_path, *other_sector)
            }
            AtRest::Misdirect { path, sector, wrong_path, wrong_sector } => {
                self.misdirect(path, *sector, wrong_path, *wrong_sector)
            }
            AtRest::LoseWrite { path, back } => self.lose_write(path, *back),
            AtRest::Truncate { path, len } => self.truncate_file(path, *len),
            AtRest::Remove { path } => self.remove_file_now(path),
            AtRest::Extra { path, copy_of } if copy_of.as_os_str().is_empty() => self.write_file(path, &[]),
            AtRest::Extra { path, copy_of } => self.write_file(path, &self.read_synced(copy_of)?),
        }
    }

    /// Changes one bit, counted from the lowest of the file's first byte on.
    ///
    /// # Errors
    ///
    /// There is no such file, or it ends before that bit.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (id, key) = state.inode_at(path.as_ref())?;
        let inode = state.disk.file(id)?;
        let (at, mut byte) = (bit / 8, [0]);
        if inode.disk.read(&mut byte, at) == 0 {
            return fail(io::ErrorKind::InvalidInput, &key, "a bit beyond the file's end");
        }
        inode.spoil(&byte.map(|byte| byte ^ (1 << (bit % 8))), at);
        Ok(())
    }

    /// Makes all bytes of a sector zero.
    ///
    /// # Errors
    ///
    /// There is no such file, or no such sector in it.
    pub fn zero_sector(&self, path: impl AsRef<Path>, sector: u64) -> io::Result<()> {
        self.fill_sector(path, sector, 0)
    }

    /// Makes all bytes of a sector this one.
    ///
    /// # Errors
    ///
    /// There is no such file, or no such sector in it.
    pub fn fill_sector(&self, path: impl AsRef<Path>, sector: u64, byte: u8) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (id, range) = state.sector_of(path.as_ref(), sector)?;
        state.disk.file(id)?.spoil(&vec![byte; (range.end - range.start) as usize], range.start);
        Ok(())
    }

    /// Exchanges what two sectors hold, within a file or between two; of a short one and a whole one, the beginnings.
    ///
    /// # Errors
    ///
    /// There is no such file, or no such sector in it.
    pub fn swap_sectors(
        &self,
        path: impl AsRef<Path>,
        sector: u64,
        other_path: impl AsRef<Path>,
        other_sector: u64,
    ) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (id, range) = state.sector_of(path.as_ref(), sector)?;
        let (other_id, other_range) = state.sector_of(other_path.as_ref(), other_sector)?;
        let (mut bytes, mut other_bytes) = (state.bytes_of(id, &range)?, state.bytes_of(other_id, &other_range)?);
        let len = bytes.len().min(other_bytes.len());
        bytes.truncate(len);
        other_bytes.truncate(len);
        state.disk.file(id)?.spoil(&other_bytes, range.start);
        state.disk.file(other_id)?.spoil(&bytes, other_range.start);
        Ok(())
    }

    /// What a sector holds is found in another one instead, as if the newest synced write to it had gone there. The
    /// right sector holds what it held before that write; zeros, if the disk does not [remember](Self::synced_writes)
    /// one to it.
    ///
    /// # Errors
    ///
    /// There is no such file, or no such sector in it.
    pub fn misdirect(
        &self,
        path: impl AsRef<Path>,
        sector: u64,
        wrong_path: impl AsRef<Path>,
        wrong_sector: u64,
    ) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (id, range) = state.sector_of(path.as_ref(), sector)?;
        let (wrong_id, wrong_range) = state.sector_of(wrong_path.as_ref(), wrong_sector)?;
        let mut bytes = state.bytes_of(id, &range)?;
        bytes.truncate((wrong_range.end - wrong_range.start) as usize);
        state.disk.file(id)?.lose_newest(range);
        state.disk.file(wrong_id)?.spoil(&bytes, wrong_range.start);
        Ok(())
    }

    /// Takes back a synced write, that which `back` others came after, as if the disk had never done it: its bytes are
    /// what they were before, but for those that were written over since. The file's size does not change.
    ///
    /// # Errors
    ///
    /// There is no such file, or the disk does not [remember](Self::synced_writes) so many writes to it.
    pub fn lose_write(&self, path: impl AsRef<Path>, back: usize) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let (id, key) = state.inode_at(path.as_ref())?;
        if state.disk.file(id)?.lose_write(back) {
            return Ok(());
        }
        fail(io::ErrorKind::InvalidInput, &key, "no such write is remembered")
    }

    /// How many synced writes to a file are remembered: those among the last 64 writes that a sync covered, of this
    /// life and of earlier ones.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn synced_writes(&self, path: impl AsRef<Path>) -> io::Result<usize> {
        let mut state = self.shared.state.lock();
        let (id, _) = state.inode_at(path.as_ref())?;
        Ok(state.disk.file(id)?.writes_remembered())
    }
}
