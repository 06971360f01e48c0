//! Where files cannot be linked, and can be cloned.

use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

use raft_journal::io::sim::SimFs;
use raft_journal::io::{File, Fs, Mode, write_all_at};

use crate::common::{Disk, append_each, entries, log};
use crate::pass_on::pass_on;
use crate::{assert_same, churn, filled};

/// A simulated disk without links. A clone is a copy there, which is durable when it is synced, as any file.
#[derive(Debug)]
pub struct Cloning(pub SimFs);

impl Fs for Cloning {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        self.0.open(path, mode)
    }

    fn reflink(&self, from: &Path, to: &Path) -> Result<()> {
        let bytes = self.0.read_file(from)?;
        if self.0.paths().iter().any(|path| path == to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = self.0.open(to, Mode::Create)?;
        write_all_at(&*file, &bytes, 0).map_err(|(_, error)| error)
    }

    pass_on!(0: create_dir kind list rename remove sync_dir lock entropy tasks);
}

#[test]
fn segments_are_cloned_where_they_cannot_be_linked_and_both_go_on_apart() {
    let mut disk = Disk::simulated();
    disk.fs = Arc::new(Cloning(disk.sim().clone()));
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    let made = journal.checkpoint(&backup.dir).unwrap();
    assert_eq!((made.linked, made.cloned, made.copied), (0, made.segments - 1, 1), "{made:?}");
    assert!(made.cloned >= 3, "{made:?}");
    let copy = backup.open();
    assert_same(&copy, &journal);
    let held = log(&copy);
    drop(copy);
    churn(&disk, &journal);
    assert_eq!(log(&backup.open_read_only()), held);
}

#[test]
fn an_older_checkpoint_of_clones_is_brought_forward() {
    let mut disk = Disk::simulated();
    disk.fs = Arc::new(Cloning(disk.sim().clone()));
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    let first = journal.checkpoint(&backup.dir).unwrap();
    append_each(&journal, &entries(61..=90, 2));
    let second = journal.checkpoint(&backup.dir).unwrap();
    assert_eq!((second.linked, second.kept), (0, first.cloned), "{second:?}");
    assert!(second.cloned > 0, "{second:?}");
    assert_same(&backup.open(), &journal);
}
