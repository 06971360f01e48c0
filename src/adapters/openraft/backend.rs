//! What the adapter needs of a store beyond the traits: a thread for the calls that wait for the disk.

use crate::io::{Job, Lane};
use crate::journal::Journal;
use crate::log_store::LogStore;
use crate::memory::MemoryStore;
use crate::stable_store::StableStore;

/// A store that openraft can sit on: a [`Journal`], or a [`MemoryStore`] in the tests of a node.
pub trait Backend: LogStore + StableStore + Clone + 'static {
    /// Runs a call that may wait for the disk where no runtime's worker is held up.
    fn run(&self, job: Job);
}

impl Backend for Journal {
    fn run(&self, job: Job) {
        self.tasks().submit(Lane::Urgent, job);
    }
}

impl Backend for MemoryStore {
    fn run(&self, job: Job) {
        job();
    }
}
