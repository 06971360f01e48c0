//! A simulated disk with its power, its faults and its log.

use std::collections::BTreeSet;
use std::io;

use super::disk::{Disk, FileId, fail};
use super::fault::{Effect, Fault, strike};
use super::operation::{Counts, Operation, OperationKind};
use super::random::Random;
use super::survival::{SECTOR_BYTES, Sectors, Survival};

/// How many operations the log keeps at least.
const LOG_MIN: usize = 1 << 16;

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
    pub(super) log: Vec<Operation>,
    /// The disk before each mutation, where somebody asked for that.
    pub(super) recorded: Option<Vec<Disk>>,
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
            log: Vec::new(),
            recorded: None,
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
        Self { read_only, sectors, failed_syncs_leave, drops_cache, ..Self::new(disk, self.random) }
    }

    pub(super) fn check_power(&self, path: &str) -> io::Result<()> {
        if self.power_off { fail(io::ErrorKind::Other, path, "power is off") } else { Ok(()) }
    }

    /// Admits an operation: counts and logs it, loses power in its place, or tells which fault strikes it.
    pub(super) fn enter(&mut self, kind: OperationKind, path: &str, offset: u64, len: u64) -> io::Result<Effect> {
        self.check_power(path)?;
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
        self.record(Operation { kind, path: path.into(), offset, len, mutations_before, fault });
        self.check_power(path)?;
        if refused {
            return fail(io::ErrorKind::ReadOnlyFilesystem, path, "the disk is read-only");
        }
        Ok(effect)
    }

    fn record(&mut self, operation: Operation) {
        if self.log.len() >= 2 * LOG_MIN {
            self.log.drain(..LOG_MIN);
        }
        self.log.push(operation);
    }
}

/// Names the file in an error that could not.
pub(super) fn located(error: &io::Error, path: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error}{path}"))
}
