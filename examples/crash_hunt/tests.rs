//! What the hunt finds comes back short.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pass_on::pass_on;
use raft_journal::io::{File, Fs, Mode, SimFs};

use crate::at_rest::AtRest;
use crate::explore::Seen;
use crate::hunt::{self, Failure, Faults};
use crate::schedules::world::Around;
use crate::threads::{Threads, quiet_thread};

/// What a disk does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// Each lock leaves a byte in a journal's directory, though an open that is refused must change nothing.
    Scribbles,
    /// It answers a sync of these bytes, and of all that the file was given before, and does not do it.
    Loses(&'static [u8]),
}

#[derive(Debug)]
struct Faulty(SimFs, Bug);

impl Fs for Faulty {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        let (file, is_dirty) = (self.0.open(path, mode)?, AtomicBool::new(false));
        Ok(match self.1 {
            Bug::Scribbles => file,
            Bug::Loses(bytes) => Arc::new(FaultyFile { file, bytes, is_dirty }),
        })
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>> {
        if self.1 == Bug::Scribbles && self.0.read_file(path.with_file_name("meta")).is_ok() {
            let scribbled = path.with_file_name("scribbled");
            let bytes = self.0.read_file(&scribbled).map_or(0, |bytes| bytes.len());
            self.0.write_file(&scribbled, &vec![0; bytes + 1])?;
        }
        self.0.lock(path)
    }

    pass_on!(0: sync_dir create_dir kind list rename remove entropy tasks);
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn File>,
    bytes: &'static [u8],
    is_dirty: AtomicBool,
}

impl File for FaultyFile {
    fn sync_data(&self) -> Result<()> {
        if self.is_dirty.swap(false, Ordering::SeqCst) { self.file.len().map(drop) } else { self.file.sync_data() }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        let is_hit = bytes.windows(self.bytes.len()).any(|part| part == self.bytes);
        self.is_dirty.fetch_or(is_hit, Ordering::SeqCst);
        self.file.write_at(bytes, offset)
    }

    pass_on!(file: read_at len set_len allocate drop_cache);
}

/// The first failure of one class.
fn first_failure(class: impl Faults + 'static) -> Failure {
    let classes = [Box::new(class) as Box<dyn Faults>];
    let mut caught = hunt::hunt(0..20, &classes, &Seen::new(100_000, None));
    assert!(!caught.failures.is_empty(), "nobody noticed");
    caught.failures.swap_remove(0)
}

#[test]
fn a_refused_open_that_changes_something_comes_back_with_the_damage_and_little_else() {
    let failure = first_failure(AtRest { wrap: |disk| Arc::new(Faulty(disk, Bug::Scribbles)) });
    assert!(failure.said.contains("a refused open changes nothing"), "{failure}");
    assert_eq!(failure.history.text.matches("damage: ").count(), 1, "{failure}");
    assert!(failure.history.steps <= 4, "{failure}");
}

#[test]
fn an_entry_that_is_lost_without_damage_comes_back_as_the_steps_that_lose_it() {
    let failure = first_failure(AtRest { wrap: |disk| Arc::new(Faulty(disk, Bug::Loses(b"<entry 3 of"))) });
    assert!(!failure.history.text.contains("damage: "), "{failure}");
    assert!(["PowerCut", "InFlight"].iter().any(|cut| failure.history.text.contains(cut)), "{failure}");
    assert!(failure.history.steps <= 5, "{failure}");
}

#[test]
fn an_entry_that_is_lost_among_threads_comes_back_as_few_calls_of_one_thread() {
    let disk = |disk| Arc::new(Faulty(disk, Bug::Loses(b"<3 by"))) as Arc<dyn Fs>;
    let failure = first_failure(Threads { around: Around { disk, thread: quiet_thread, told: None } });
    assert_eq!(failure.history.text.matches("does: ").count(), 1, "{failure}");
    assert!(failure.history.steps <= 5, "{failure}");
}
