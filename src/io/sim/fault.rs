//! Faults that a test plans.

use std::io;

use super::disk::fail;
use super::operation::OperationKind;

/// An error, or a short transfer, that a [`SimFs`](super::SimFs) is to answer with.
///
/// ```
/// use raft_journal::io::sim::{Fault, OperationKind, SimFs};
/// use std::io::ErrorKind;
///
/// let disk = SimFs::new();
/// // The third write from now to a segment writes 100 bytes, then fails.
/// disk.inject(Fault::new(OperationKind::Write, ErrorKind::Other).nth(2).at_most(100).in_path(".seg"));
/// // The next read returns at most 10 bytes.
/// disk.inject(Fault::short(OperationKind::Read, 10));
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    on: OperationKind,
    error: Option<io::ErrorKind>,
    limit: Option<usize>,
    skip: u64,
    always: bool,
    in_path: Option<String>,
}

impl Fault {
    /// The next operation of that kind fails, without an effect. Of a sync, the effect is what
    /// [`SimFs::set_failed_syncs_leave`](super::SimFs::set_failed_syncs_leave) says.
    pub fn new(on: OperationKind, error: io::ErrorKind) -> Self {
        Self { on, error: Some(error), limit: None, skip: 0, always: false, in_path: None }
    }

    /// The next read or write transfers at most so many bytes, and says so.
    pub fn short(on: OperationKind, bytes_max: usize) -> Self {
        Self { on, error: None, limit: Some(bytes_max), skip: 0, always: false, in_path: None }
    }

    /// Lets `count` such operations pass first.
    #[must_use]
    pub fn nth(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// A write that fails has written so many bytes first.
    #[must_use]
    pub fn at_most(mut self, bytes_max: usize) -> Self {
        self.limit = Some(bytes_max);
        self
    }

    /// Strikes again and again, until [`SimFs::clear_faults`](super::SimFs::clear_faults).
    #[must_use]
    pub fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// Only operations on paths that contain `part` count.
    #[must_use]
    pub fn in_path(mut self, part: &str) -> Self {
        self.in_path = Some(part.to_owned());
        self
    }

    fn matches(&self, kind: OperationKind, path: &str) -> bool {
        self.on == kind && self.in_path.as_ref().is_none_or(|part| path.contains(part))
    }
}

/// What a fault makes of one operation.
#[derive(Clone, Copy, Default)]
pub(super) struct Effect {
    pub(super) error: Option<io::ErrorKind>,
    limit: Option<usize>,
}

impl Effect {
    /// The planned error, if any.
    pub(super) fn raise(&self, kind: OperationKind, path: &str) -> io::Result<()> {
        match self.error {
            Some(error) => fail(error, path, &format!("planned fault of {kind:?}")),
            None => Ok(()),
        }
    }

    /// How many of `len` bytes are transferred.
    pub(super) fn transferred(&self, len: usize) -> usize {
        match (self.limit, self.error) {
            (Some(limit), _) => len.min(limit),
            (None, Some(_)) => 0,
            (None, None) => len,
        }
    }
}

/// The fault that strikes now, if any; the others come closer.
pub(super) fn strike(faults: &mut Vec<Fault>, kind: OperationKind, path: &str) -> Effect {
    let mut struck = None;
    for (place, fault) in faults.iter_mut().enumerate().filter(|(_, fault)| fault.matches(kind, path)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if struck.is_none() {
            struck = Some((place, Effect { error: fault.error, limit: fault.limit }, fault.always));
        }
    }
    let Some((place, effect, always)) = struck else { return Effect::default() };
    if !always {
        faults.remove(place);
    }
    effect
}
