//! Repair files: what was put back must be whole in its turn.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Core, Fault, FaultPart, VerifyReport, cause};
use crate::error::{DamagedRange, Error};
use crate::journal::repairs::Repairs;
use crate::segment::format::HEADER_BYTES;

impl Core {
    /// What was put back, as of now.
    pub(super) fn repairs(&self) -> Arc<Repairs> {
        Arc::clone(&self.view.read().repairs)
    }

    /// Checks the headers of every repair file, and every entry of the log that was put back.
    pub(super) fn verify_repairs(&self, report: &mut VerifyReport) {
        let (repairs, mut files) = (self.repairs(), BTreeSet::new());
        for (record, file) in repairs.files() {
            if files.insert(record.file) {
                report.files += 1;
                report.bytes += 2 * HEADER_BYTES as u64;
                self.verify_header(&file.segment, &mut report.faults);
            }
            for index in record.first..record.end {
                match file.entry(index) {
                    Ok(entry) => {
                        report.entries += 1;
                        report.bytes += entry.data.len() as u64;
                    }
                    Err(error) => report.faults.push(self.repair_fault(index, &file.segment.path, error)),
                }
            }
        }
    }

    /// The fault of an entry that was put back: it costs the entry, unless that was truncated or put back once more.
    fn repair_fault(&self, index: u64, path: &Path, error: Error) -> Fault {
        let is_lost = matches!(self.read_entry(index), Err(Error::Damaged(_) | Error::Io { .. }));
        let indexes = is_lost.then_some(DamagedRange { first: index, end: Some(index + 1) });
        let (offset, term) = match &error {
            Error::Damaged(damage) => (damage.offset, damage.term),
            Error::Io { offset, .. } => (offset.unwrap_or(0), None),
            _ => (0, None),
        };
        Fault { path: path.to_path_buf(), offset, part: FaultPart::Entry, indexes, term, cause: cause(error) }
    }
}
