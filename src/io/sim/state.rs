//! A simulated disk with its power, its faults and its log.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::disk::{Disk, FileId, fail};
use super::fault::{Effect, Fault, strike};
use super::operation::{Counts, Log, Operation, OperationKind};
use super::random::Random;
use super::survival::{SECTOR_BYTES, Sectors, Survival};
use crate::sync::MutexGuard;

#[derive(Clone)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) power_off: bool,
    /// The mutation in whose place power is lost.
    pub(super) cut_at: Option<u64>,
    pub(super) mutations: u64,
    pub(super) read_only: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) failed_syncs_leave: Survival,
    pub(super) drops_cache: bool,
    pub(super) sectors: Sectors,
    pub(super) counts: Counts,
    /// The disk before each mutation, where somebody asked for that.
    pub(super) recorded: Option<Vec<Disk>>,
    pub(super) log: Log,
    pub(super) random: Random,
    pub(super) locks: BTreeSet<FileId>,
    /// Guards that hold back syncs, and the syncs that they hold back.
    pub(super) holds: usize,
    pub(super) syncs_waiting: usize,
}

impl State {
    pub(super) fn new(disk: Disk, random: Random) -> Self {
        Self {
            disk,
            power_off: false,
            cut_at: None,
            mutations: 0,
            read_only: false,
            faults: Vec::new(),
            failed_syncs_leave: Survival::Nothing,
            drops_cache: true,
            sectors: Sectors { bytes: SECTOR_BYTES, damaged_whole: false },
            counts: Counts::default(),
            recorded: None,
            log: Log::default(),
            random,
            locks: BTreeSet::new(),
            holds: 0,
            syncs_waiting: 0,
        }
    }

    /// Another disk with the settings of this one, but without its users, faults and counts.
    pub(super) fn successor(&self, disk: Disk) -> Self {
        let (read_only, sectors) = (self.read_only, self.sectors);
        let (failed_syncs_leave, drops_cache) = (self.failed_syncs_leave, self.drops_cache);
        let log = Log { operations: Vec::new(), is_off: self.log.is_off };
        Self { read_only, sectors, failed_syncs_leave, drops_cache, log, ..Self::new(disk, self.random) }
    }

    pub(super) fn check_power(&self, path: &str) -> io::Result<()> {
        if self.power_off { fail(io::ErrorKind::Other, path, "power is off") } else { Ok(()) }
    }

    /// Admits an operation: counts and logs it, loses power in its place, or tells which fault strikes it.
    pub(super) fn enter(&mut self, kind: OperationKind, path: &Arc<str>, offset: u64, len: u64) -> io::Result<Effect> {
        self.check_power(path)?;
        self.disk.clock += 1;
        let mutation = kind.is_mutation();
        // To lock a file is to open it for writing.
        let refused = self.read_only && (mutation || kind == OperationKind::Lock);
        let mutations_before = self.mutations;
        if mutation {
            self.power_off = self.cut_at.is_some_and(|at| at <= mutations_before);
            self.mutations += u64::from(!self.power_off);
            if let Some(recorded) = &mut self.recorded {
                recorded.push(self.disk.clone());
            }
        }
        let effect = if self.power_off {
            Effect::default()
        } else {
            self.counts.count(kind);
            strike(&mut self.faults, kind, path)
        };
        let fault = match effect.error {
            _ if self.power_off => Some(io::ErrorKind::Other),
            _ if refused => Some(io::ErrorKind::ReadOnlyFilesystem),
            error => error,
        };
        if !self.log.is_off {
            self.log.record(Operation {
                kind,
                path: path.clone(),
                renamed_to: None,
                offset,
                len,
                mutations_before,
                fault,
                issued: self.disk.clock,
                returned: None,
                covered_by: None,
            });
        }
        self.check_power(path)?;
        if refused {
            return fail(io::ErrorKind::ReadOnlyFilesystem, path, "the disk is read-only");
        }
        Ok(effect)
    }

    /// Makes what was issued before a sync of a file durable.
    pub(super) fn sync_file(&mut self, id: FileId, issued: u64) -> io::Result<()> {
        let inode = self.disk.file(id)?;
        inode.uncovered(issued).for_each(|operation| self.log.covered(operation, issued));
        inode.sync(issued);
        Ok(())
    }

    /// Makes a directory's names durable.
    pub(super) fn sync_directory(&mut self, path: &str, issued: u64) -> io::Result<()> {
        let directory = self.disk.directory(path)?;
        directory.uncovered.iter().for_each(|operation| self.log.covered(*operation, issued));
        self.disk.sync_directory(path)
    }
}

/// The disk, locked by an operation that runs; it returns when this is dropped.
pub(super) struct Admitted<'a> {
    state: MutexGuard<'a, State>,
    pub(super) issued: u64,
}

impl<'a> Admitted<'a> {
    /// What was issued last.
    pub(super) fn new(state: MutexGuard<'a, State>) -> Self {
        let issued = state.disk.clock;
        Self { state, issued }
    }

    /// The lock, for those who give it back for a while.
    pub(super) fn guard(&mut self) -> &mut MutexGuard<'a, State> {
        &mut self.state
    }
}

impl Deref for Admitted<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Admitted<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        // Nobody hears of an operation in which power is lost.
        if !self.state.power_off {
            self.state.disk.clock += 1;
            let now = self.state.disk.clock;
            self.state.log.returned(self.issued, now);
        }
    }
}

/// Names the file in an error that could not.
pub(super) fn located(error: &io::Error, path: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error}{path}"))
}
