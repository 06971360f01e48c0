//! Disks that answer a sync and do not do it: what the simulation must notice.

use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use crate::pass_on::pass_on;
use raft_journal::io::{File, Fs, Mode, SimFs};

/// What a disk does not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// It syncs no file.
    Files,
    /// It syncs no directory.
    Directories,
}

#[derive(Debug)]
pub struct Liar(pub SimFs, pub Lie);

#[derive(Debug)]
struct LyingFile(Arc<dyn File>);

impl Fs for Liar {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        let file = self.0.open(path, mode)?;
        Ok(if self.1 == Lie::Files { Arc::new(LyingFile(file)) } else { file })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        if self.1 == Lie::Directories { self.0.kind(dir).map(drop) } else { self.0.sync_dir(dir) }
    }

    pass_on!(0: create_dir kind list rename remove lock entropy tasks);
}

impl File for LyingFile {
    fn sync_data(&self) -> Result<()> {
        self.0.len().map(drop)
    }

    pass_on!(0: read_at write_at len set_len allocate drop_cache);
}
