//! Verifying in the background: one step at a time, on the lane of those whom nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use super::report::time_for;
use super::{Core, META_DELAY, Step, Verifier};
use crate::io::Lane;
use crate::journal::options::Scrub;

impl Core {
    /// Begins to verify in the background, if that was asked for.
    pub(crate) fn scrub(self: &Arc<Self>) {
        if let Some(scrub) = self.options.scrub {
            self.scrub_later(scrub, self.verifier(), Duration::ZERO);
        }
    }

    fn scrub_later(self: &Arc<Self>, scrub: Scrub, verifier: Verifier, delay: Duration) {
        // Weak: a journal that is closed meanwhile is verified no more.
        let core = Arc::downgrade(self);
        let go_on = move || {
            if let Some(core) = core.upgrade() {
                core.scrub_step(scrub, verifier);
            }
        };
        self.tasks.after(delay, Lane::Housekeeping, Box::new(go_on));
    }

    fn scrub_step(self: &Arc<Self>, scrub: Scrub, mut verifier: Verifier) {
        if self.is_closed() {
            return;
        }
        let before = verifier.report.bytes;
        let step = self.verify_step(&mut verifier);
        if self.is_closed() {
            // Its files are somebody else's from now on: what was read last may have been his.
            return;
        }
        let time = time_for(verifier.report.bytes - before, scrub.bytes_per_second);
        match step {
            Step::Busy => self.scrub_later(scrub, verifier, META_DELAY),
            Step::More => self.scrub_later(scrub, verifier, time),
            Step::Done => {
                self.end_pass(verifier);
                self.scrub_later(scrub, self.verifier(), scrub.pause.max(time));
            }
        }
    }
}
