//! The four copies of `meta`.

use super::{Core, Fault, FaultCause, FaultPart, VerifyReport, cause};
use crate::error::{DamageKind, Error};
use crate::meta::{CopyFault, Inspected, MetaStore};

/// So often faults beside a read-only journal must be seen before they are believed: its writer may be at work.
const READ_ONLY_TRIES: u32 = 5;

impl Core {
    /// Checks all copies. `false` when somebody was writing to them: the caller looks again later.
    pub(super) fn verify_meta(&self, tries: u32, report: &mut VerifyReport) -> bool {
        let Some(before) = self.meta_at_rest() else { return false };
        let inspected = MetaStore::inspect(&*self.fs, &self.dir, before);
        // No commit began or ended meanwhile: what was read is what one left.
        if self.meta_at_rest() != Some(before) {
            return false;
        }
        let fault = |offset, part, cause| {
            let path = self.meta_path();
            Fault { path, offset, part, indexes: None, term: None, cause }
        };
        let (bytes, faults) = match inspected {
            Ok(copies) => {
                let bytes = copies.iter().map(|copy| copy.bytes).sum();
                let faults =
                    copies.iter().filter_map(|copy| Some(fault(copy.offset, FaultPart::MetaCopy, wrong(copy)?)));
                (bytes, faults.collect())
            }
            Err(Error::Io { op: "open", source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                (0, vec![fault(0, FaultPart::File, FaultCause::Damaged(DamageKind::MissingFile))])
            }
            Err(error) => (0, vec![fault(0, FaultPart::File, cause(error))]),
        };
        if self.options.read_only && !Vec::is_empty(&faults) && tries < READ_ONLY_TRIES {
            return false;
        }
        report.files += 1;
        report.bytes += bytes;
        report.faults.extend(faults);
        true
    }

    /// The newest generation, where one is known, if no commit is under way.
    fn meta_at_rest(&self) -> Option<Option<u64>> {
        if self.options.read_only {
            return Some(None);
        }
        let is_at_rest = self.meta.try_lock().is_some();
        // A commit that failed has left who knows what.
        let is_known = self.group.check().is_ok();
        is_at_rest.then(|| is_known.then(|| self.durable_generation()))
    }
}

/// What is wrong with a copy.
fn wrong(inspected: &Inspected) -> Option<FaultCause> {
    match &inspected.copy {
        Ok(Ok(state)) if inspected.expected.is_none_or(|expected| expected == state.generation) => None,
        // An older state: a write that never came.
        Ok(Ok(_)) => Some(FaultCause::Damaged(DamageKind::Misplaced)),
        Ok(Err(CopyFault::Unreadable)) => Some(FaultCause::Damaged(DamageKind::Checksum)),
        Ok(Err(CopyFault::Version(version))) => Some(FaultCause::NewerVersion(*version)),
        Err(error) => Some(FaultCause::Unreadable(error.clone())),
    }
}
