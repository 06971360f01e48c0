//! A checkpoint that is held up in the middle.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use raft_journal::io::{File, Fs, Mode, OsFs, PathKind, Tasks};
use raft_journal::{Error, LogStore, Position};

use crate::common::{Disk, append_each, entries, log};
use crate::filled;

/// The real file system, where the next link says that it has come and waits until it may go on.
#[derive(Debug)]
struct Gate {
    came: Sender<()>,
    open: Mutex<Option<Receiver<()>>>,
}

impl Fs for Gate {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        OsFs.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.create_dir(path)
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        OsFs.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(open) = self.open.lock().take() {
            self.came.send(()).unwrap();
            open.recv().unwrap();
        }
        OsFs.link(from, to)
    }

    fn links(&self, path: &Path) -> io::Result<u64> {
        OsFs.links(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        OsFs.lock(path)
    }

    fn entropy(&self) -> u64 {
        OsFs.entropy()
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        OsFs.tasks()
    }
}

/// A disk with a gate; what tells that a checkpoint stands before it, and what opens it.
fn gated() -> (Disk, Receiver<()>, Sender<()>) {
    let (came, wait) = channel();
    let (go, open) = channel();
    let gate = Gate { came, open: Mutex::new(Some(open)) };
    let mut disk = Disk::real();
    disk.fs = Arc::new(gate);
    (disk, wait, go)
}

#[test]
fn what_is_truncated_meanwhile_is_still_copied() {
    let (disk, came, go) = gated();
    let journal = filled(&disk);
    let (backup, expected) = (disk.beside("backup"), log(&journal));
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| journal.checkpoint(&backup.dir).unwrap());
        came.recv().unwrap();
        journal.truncate_head(Position::new(60, 1)).unwrap();
        append_each(&journal, &entries(61..=140, 2));
        journal.truncate_head(Position::new(140, 2)).unwrap();
        go.send(()).unwrap();
        assert!(checkpoint.join().unwrap().linked > 0);
    });
    assert_eq!(log(&backup.open()), expected);
    // What was kept for the copy alone goes now.
    journal.close().unwrap();
    drop(journal);
    drop(disk.open());
    assert!(disk.segments().len() <= 3, "{:?}", disk.segments());
}

#[test]
fn a_close_waits_for_a_checkpoint_that_it_ends() {
    let (disk, came, go) = gated();
    let journal = filled(&disk);
    let backup = disk.beside("backup");
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| journal.checkpoint(&backup.dir));
        came.recv().unwrap();
        let close = scope.spawn(|| journal.close());
        while !matches!(journal.entry(60), Err(Error::Closed)) {
            std::thread::yield_now();
        }
        // Another opener would remove or reuse what is being copied: the lock stays for as long as it is.
        let held = (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(1));
            matches!(disk.try_open(), Err(Error::Locked { .. }))
        });
        go.send(()).unwrap();
        assert!(matches!(checkpoint.join().unwrap(), Err(Error::Closed)));
        close.join().unwrap().unwrap();
        assert!(held, "the lock was given up while files were copied");
    });
    disk.open();
    assert!(matches!(backup.try_open(), Err(Error::UnfinishedCheckpoint { .. })));
}
