//! Verifying: every checksum of every file, beside readers and writers.
//!
//! No lock is held during I/O and no cache is filled or emptied. A file is opened anew, so that what its name leads to is
//! what is read; the journal's own handle is held meanwhile, like a reader's, so that nobody recycles the file.

mod faults;
mod meta;
mod repairs;
mod report;
mod scrub;
mod segment;

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::watch::Met;
use super::{Core, Journal};
use crate::digest::RangeDigest;
use crate::error::{Error, Result};
use crate::segment::Segment;
pub use report::{Fault, FaultCause, FaultPart, VerifyOptions, VerifyProgress, VerifyReport};
use segment::Walk;

/// How much is read between two looks at the clock, bytes.
const STEP_BYTES: u64 = 256 << 10;
/// How often a `meta` that somebody is writing to is looked at again.
const META_TRIES: u32 = 100;
/// How long it is left alone before.
const META_DELAY: Duration = Duration::from_millis(1);

/// A pass over all files, step by step.
pub(crate) struct Verifier {
    stage: Stage,
    begun: Duration,
    /// What readers had met by then.
    met: Option<Met>,
    /// What to read, as far as that was known in the beginning.
    bytes_total: u64,
    report: VerifyReport,
}

enum Stage {
    Meta {
        tries: u32,
    },
    /// The next one behind this sequence.
    Segment {
        after: u64,
    },
    Walk(Box<Walk>),
    Spare,
    Done,
}

/// What a step came to.
pub(crate) enum Step {
    /// There is more to do.
    More,
    /// Somebody is writing what is to be read next.
    Busy,
    Done,
}

impl Journal {
    /// Reads every file of the journal and checks every checksum: of `meta`, all four copies; of each segment in the log's
    /// chain, both copies of its header, every batch and every entry (also those that a later one replaced), its index and
    /// its trailer; of the files that hold repaired entries, what is in use; of a prepared segment, its header. In encrypted
    /// segments, also that every entry is authentic. Works on a read-only journal, too.
    ///
    /// Appends, reads and truncations go on meanwhile: no lock is held during I/O, and no cache changes. What is verified is
    /// what was written when the pass comes to a file; what is purged meanwhile is left out. The pass reads through the
    /// system's page cache: what is in memory there is not read from the disk.
    ///
    /// `progress` is called after each step of some 256 KiB, on this thread and without locks, and may end the pass early.
    ///
    /// ```
    /// # fn main() -> Result<(), raft_journal::Error> {
    /// # let temporary = tempfile::tempdir().expect("a temporary directory");
    /// # let dir = temporary.path().join("node-1");
    /// use raft_journal::{Entry, Journal, LogStore, VerifyOptions};
    /// use std::ops::{ControlFlow, Range};
    ///
    /// let journal = Journal::open(&dir)?;
    /// journal.append(&[Entry::new(1, 1, "set x")])?;
    /// let options = VerifyOptions::new().bytes_per_second(50 << 20);
    /// let report = journal.verify(&options, |progress| {
    ///     eprintln!("{} of {} bytes, {} faults", progress.bytes, progress.bytes_total, progress.faults);
    ///     ControlFlow::Continue(())
    /// })?;
    /// report.faults.iter().for_each(|fault| eprintln!("{fault}"));
    /// assert!(report.complete && report.faults.is_empty());
    /// assert_eq!(report.entries, 1);
    /// # journal.close()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]. What cannot be read, or does not check out, is a fault in the report.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        mut progress: impl FnMut(&VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let core = self.core();
        let mut verifier = core.verifier();
        loop {
            core.check_open()?;
            let step = core.verify_step(&mut verifier);
            if matches!(step, Step::Done) || progress(&verifier.progress()).is_break() {
                break;
            }
            let pause = match step {
                Step::Busy => META_DELAY,
                Step::More | Step::Done => {
                    options.pause(verifier.report.bytes, core.tasks.now().saturating_sub(verifier.begun))
                }
            };
            if !pause.is_zero() {
                core.tasks.sleep(pause);
            }
        }
        Ok(core.end_pass(verifier))
    }
}

impl Journal {
    /// The digest of a half-open range of entries, to compare with another replica's: see [`RangeDigest`]. Reads the range.
    ///
    /// # Errors
    ///
    /// Those of [`entries`](crate::LogStore::entries).
    pub fn range_digest(&self, range: Range<u64>) -> Result<RangeDigest> {
        RangeDigest::of(self, range)
    }
}

impl Verifier {
    fn progress(&self) -> VerifyProgress {
        let path = match &self.stage {
            Stage::Walk(walk) => Some(walk.path().to_path_buf()),
            Stage::Meta { .. } | Stage::Segment { .. } | Stage::Spare | Stage::Done => None,
        };
        let &VerifyReport { files, bytes, ref faults, .. } = &self.report;
        VerifyProgress { bytes, bytes_total: self.bytes_total.max(bytes), files, faults: faults.len(), path }
    }
}

impl Core {
    /// The beginning of a pass.
    pub(crate) fn verifier(&self) -> Verifier {
        let view = self.view.read();
        let sealed: u64 = view.sealed.iter().map(|sealed| u64::from(sealed.data_end - sealed.start.offset)).sum();
        let active = u64::from(view.fold.end - view.active_start.offset);
        let (stage, begun, report) = (Stage::Meta { tries: 0 }, self.tasks.now(), VerifyReport::default());
        Verifier { stage, begun, met: self.watch.begins_pass(), bytes_total: sealed + active, report }
    }

    /// Notes what a pass found.
    fn end_pass(&self, verifier: Verifier) -> VerifyReport {
        let mut report = verifier.report;
        report.time = self.tasks.now().saturating_sub(verifier.begun);
        if report.complete {
            self.watch.passed(Arc::new(report.clone()), verifier.met);
        }
        report
    }

    /// Goes on with a pass for some [`STEP_BYTES`].
    pub(crate) fn verify_step(&self, verifier: &mut Verifier) -> Step {
        let report = &mut verifier.report;
        let before = report.bytes;
        match &mut verifier.stage {
            Stage::Meta { tries } => {
                *tries += 1;
                if !self.verify_meta(*tries, report) {
                    if *tries < META_TRIES {
                        return Step::Busy;
                    }
                    report.skipped.push(self.meta_path());
                }
                verifier.stage = Stage::Segment { after: 0 };
            }
            Stage::Segment { after } => {
                verifier.stage = match self.next_walk(*after, report) {
                    Some(walk) => Stage::Walk(Box::new(walk)),
                    None => Stage::Spare,
                };
            }
            Stage::Walk(walk) => {
                if self.walk_on(walk, STEP_BYTES, report) {
                    self.finish_walk(walk, report);
                    verifier.stage = Stage::Segment { after: walk.sequence() };
                }
            }
            Stage::Spare => {
                self.verify_repairs(report);
                if let Some(spare) = self.files.spare() {
                    self.verify_spare(&spare, report);
                }
                report.complete = true;
                verifier.stage = Stage::Done;
            }
            Stage::Done => {}
        }
        self.watch.verified(verifier.report.bytes - before);
        if matches!(verifier.stage, Stage::Done) { Step::Done } else { Step::More }
    }

    fn meta_path(&self) -> PathBuf {
        self.dir.join(crate::meta::FILE_NAME)
    }

    fn verify_spare(&self, spare: &Arc<Segment>, report: &mut VerifyReport) {
        let mut faults = Vec::new();
        let opened = self.verify_header(spare, &mut faults);
        // One that went into use meanwhile is a segment like others; in a read-only journal there is none.
        if opened.is_some() || !faults.is_empty() {
            report.files += 1;
            report.faults.append(&mut faults);
        }
    }
}

/// What reading gave, or the fault that stands for it.
fn cause(error: Error) -> FaultCause {
    match error {
        Error::Damaged(damage) => FaultCause::Damaged(damage.why),
        error => FaultCause::Unreadable(error),
    }
}
