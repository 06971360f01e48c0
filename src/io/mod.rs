//! The one door to the disk and to threads: [`Fs`], [`File`] and [`Tasks`].
//!
//! [`OsFs`] is the operating system; `SimFs` (feature `sim`) is a disk in memory that keeps apart what was written
//! and what was synced, and can lose power at any operation.

mod os;
#[cfg(feature = "sim")]
pub mod sim;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use os::OsFs;
#[cfg(feature = "conformance")]
pub(crate) use os::OsThread;
#[cfg(feature = "sim")]
pub use sim::SimFs;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; made empty, an older file of that name included.
    Create,
}

/// What a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A file, or anything else that is no directory.
    File,
}

/// A file system, as far as a journal needs one.
///
/// Names (creation, rename, removal) survive power loss only after [`sync_dir`](Fs::sync_dir); bytes and sizes only
/// after [`File::sync_data`].
pub trait Fs: Send + Sync + Debug {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>>;

    /// Makes one directory whose parent exists; it is no error when it exists.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What a path names now.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn kind(&self, path: &Path) -> io::Result<PathKind>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file, atomically, over what has that name.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file one more name, which nothing may have yet: both are the same file from then on.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Unsupported`](io::ErrorKind::Unsupported) where names cannot be counted, as here, unless
    /// [`links`](Fs::links) is implemented, too.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many names the file at a path has.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn links(&self, path: &Path) -> io::Result<u64> {
        let _ = path;
        Ok(1)
    }

    /// Whether two paths lead to one directory. Unless implemented, where they are the same path: what passes calls on to
    /// another file system should pass this one on, too.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn is_same_dir(&self, one: &Path, other: &Path) -> io::Result<bool> {
        Ok(one == other)
    }

    /// Makes a file, which must not exist yet, that shares the blocks of another until either is written to, where the
    /// file system can (Btrfs, XFS and bcachefs on Linux).
    ///
    /// # Errors
    ///
    /// The operating system's; [`Unsupported`](io::ErrorKind::Unsupported) where there is no such call, as here.
    fn reflink(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Says that the first and the last so many bytes of a file are about to be read, so that they can be fetched while
    /// the same is said of other files. A hint: nothing waits for it, nothing fails, and unless implemented, nothing
    /// happens.
    fn will_read(&self, path: &Path, bytes: u64) {
        let _ = (path, bytes);
    }

    /// Says that a file which has rested is about to be written to, so that what its next sync would write besides the
    /// bytes, such as the file's times, can be written now. What the file holds stays as it is, and nobody writes to it
    /// meanwhile. A hint: called in the background, it may take as long as a sync; nothing fails, and unless implemented,
    /// nothing happens.
    fn will_write(&self, path: &Path) {
        let _ = path;
    }

    /// Makes every creation, rename and removal in a directory durable.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock on a file, making the file if need be; `None` when another holder has it. Dropping
    /// the guard, or the process's end, gives it back.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;

    /// How much room is left for file contents in the file system that a directory is in, bytes; `None` where nobody knows.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        let _ = dir;
        Ok(None)
    }

    /// Random bits, for identities, salts and, in encrypted journals, nonces. They need not be secret, but must not repeat,
    /// not even in another process or in a copy of the directory.
    fn entropy(&self) -> u64;

    /// The threads and the clock that go with this file system. A disk of your own over real files has those of
    /// [`OsFs`]: `OsFs.tasks()`.
    fn tasks(&self) -> Arc<dyn Tasks>;
}

/// An open file with positioned reads and writes; shared by threads.
pub trait File: Send + Sync + Debug {
    /// Reads into `buffer` from `offset`; fewer bytes than asked for are legal, none means the end of the file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads up to `len` bytes from `offset` behind what `buffer` holds, growing it; fewer are legal, none means the
    /// end of the file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = buffer.len();
        buffer.resize(start + len, 0);
        let result = self.read_at(&mut buffer[start..], offset);
        buffer.truncate(start + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Writes `bytes` at `offset`; fewer than given are legal.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes written so far, and the file's size, durable.
    ///
    /// # Errors
    ///
    /// The operating system's. After an error nothing is known about the bytes: never call it again for them.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's size, bytes.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the file's size; new bytes read as zero.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves blocks for the first `len` bytes where the platform can, so that a full disk shows before a byte is
    /// written. Does nothing elsewhere.
    ///
    /// # Errors
    ///
    /// No space.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Forgets clean cached pages that hold bytes of `range`, so that the next read comes from the disk, where the
    /// platform can. `false` says that it cannot.
    ///
    /// # Errors
    ///
    /// The operating system's.
    fn drop_cache(&self, range: Range<u64>) -> io::Result<bool>;
}

/// A piece of background work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Which queue a job waits in: one never stands behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Somebody waits for it: syncs and the callbacks behind them.
    Urgent,
    /// Nobody waits: preparing and removing files.
    Housekeeping,
}

impl Lane {
    /// How many threads the lane has, and so how many of its jobs can be at work at a time.
    const fn threads_max(self) -> usize {
        match self {
            Self::Urgent => 4,
            Self::Housekeeping => 1,
        }
    }
}

/// Something that a thread waits for: says whether it has come about. It may take a lock for a moment, but must not
/// wait, nor call a disk or [`Tasks`].
pub type Condition = Arc<dyn Fn() -> bool + Send + Sync>;

/// Threads, waiting and time.
///
/// A program whose threads do their background work, their waiting and their delays through this trait runs on the
/// operating system with [`OsFs`], and deterministically, from a seed, in a `sim::Schedule` (feature `sim`): see
/// `io::sim` for an example. Where a thread would block, it asks [`is_scheduled`](Self::is_scheduled): if so, it waits
/// with [`wait_until`](Self::wait_until), because no other simulated thread runs while it blocks; if not, it waits in
/// its own way, such as on a condition variable. A lock needs that only if it is held while the disk or this trait is
/// called: of the others, simulated threads never find one taken.
pub trait Tasks: Send + Sync + Debug {
    /// Runs a job soon: on another thread, or, where threads are simulated, whenever the schedule says so, which may
    /// be inside this call. So call it without locks.
    fn submit(&self, lane: Lane, job: Job);

    /// Runs a job after a while, on a lane's thread; where time is simulated, when the simulation lets it pass. Lost
    /// when the process ends before. Call it without locks.
    fn after(&self, delay: Duration, lane: Lane, job: Job);

    /// Runs on the calling thread what is queued: where background work is queued until somebody runs it, and where the
    /// calling thread is one of a lane's, whose others may all be waiting; nothing elsewhere. Called, without locks, by
    /// those who wait for a job to end.
    fn help(&self) {}

    /// The time since some moment before the first call, for measuring; it never goes back. Simulated where threads are.
    /// Called with locks held, so it must not wait.
    fn now(&self) -> Duration {
        os::now()
    }

    /// Lets the calling thread wait for so long. Called without locks.
    fn sleep(&self, time: Duration) {
        os::sleep(time);
    }

    /// Lets other threads that could run go first, once.
    fn pause(&self) {}

    /// Whether the calling thread is a simulated one, which must wait with [`wait_until`](Self::wait_until).
    fn is_scheduled(&self) -> bool {
        false
    }

    /// Waits until `ready` says yes, where the calling thread is a simulated one; elsewhere only asks it. `what` is for
    /// the report of a deadlock. Call it without the locks that others need to get there.
    ///
    /// Returns what `ready` said last.
    fn wait_until(&self, what: &'static str, ready: Condition) -> bool {
        let _ = what;
        ready()
    }
}

/// Writes all of `bytes` at `offset`, going on after short and interrupted writes.
///
/// # Errors
///
/// The first error that is no interruption, with the count of bytes that were written before it.
pub fn write_all_at(file: &dyn File, bytes: &[u8], offset: u64) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Whether a call did nothing because the process, or the system, has no file descriptor left for it.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    return [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    #[cfg(not(unix))]
    return error.raw_os_error() == Some(4);
}

/// Reads up to `len` bytes from `offset` behind what `buffer` holds, going on after short and interrupted reads;
/// fewer only at the end of the file.
///
/// # Errors
///
/// The first error that is no interruption.
pub fn read_up_to(file: &dyn File, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < len {
        match file.read_to(buffer, len - read, offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        #[cfg(mutate)]
        if crate::mutate::is(crate::mutate::Mutation::ShortReadEnds) {
            break;
        }
    }
    Ok(read)
}

/// Whether an error says that space is exhausted: disk, quota, or the process's file-size limit.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
