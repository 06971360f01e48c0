//! The operating system's files, threads and random bits: the only file of the crate that names them.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
#[cfg(not(shuttle))]
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{File, Fs, Job, Lane, Mode, PathKind, Tasks};
use crate::contained::contained;
#[cfg(shuttle)]
use crate::sync::thread;
use crate::sync::{Condvar, LazyLock, Mutex, MutexGuard, thread_local};

/// The operating system's file system.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsFs;

impl Fs for OsFs {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::Write => _ = options.write(true),
            Mode::Create => _ = options.write(true).create(true).truncate(true),
        }
        Ok(Arc::new(OsFile { file: open_without_access_times(&options, path)? }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(PathKind::Directory),
            Ok(_) => Ok(PathKind::File),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PathKind::Missing),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is no Unicode cannot be one of the journal's; its stand-in cannot either.
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    #[cfg(unix)]
    fn links(&self, path: &Path) -> io::Result<u64> {
        Ok(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path)?))
    }

    fn is_same_dir(&self, one: &Path, other: &Path) -> io::Result<bool> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
            Ok(identity(one)? == identity(other)?)
        }
        #[cfg(not(unix))]
        Ok(fs::canonicalize(one)? == fs::canonicalize(other)?)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn reflink(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = fs::File::open(from)?;
        let file = fs::File::create_new(to)?;
        rustix::fs::ioctl_ficlone(&file, &source).map_err(|error| {
            // The empty file would be in the way of whoever copies instead.
            let _ = fs::remove_file(to);
            error.into()
        })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn will_read(&self, path: &Path, bytes: u64) {
        // What fails here fails again where it counts.
        let Ok(file) = open_without_access_times(fs::OpenOptions::new().read(true), path) else { return };
        let Ok(len) = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)) else { return };
        for start in [0, len.saturating_sub(bytes)] {
            let _ = rustix::fs::fadvise(&file, start, std::num::NonZero::new(bytes), rustix::fs::Advice::WillNeed);
        }
    }

    /// A write that comes a tick of the kernel's clock behind the last one changes the file's time, and its sync then writes the
    /// inode's block, too, on some file systems.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn will_write(&self, path: &Path) {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        // A handle of its own: the journal's still hear of a writeback that has failed.
        let Ok(file) = open_without_access_times(fs::OpenOptions::new().read(true), path) else { return };
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
        if rustix::fs::futimens(&file, &times).is_ok() {
            let _ = rustix::fs::fdatasync(&file);
        }
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The empty path is how `Path::parent` spells the working directory.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let dir = fs::File::open(dir)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return Ok(rustix::fs::fsync(&dir)?);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return dir.sync_all();
    }

    /// There is no such call; NTFS journals names itself.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(Lock { file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let space = rustix::fs::statvfs(dir)?;
        Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
    }

    fn entropy(&self) -> u64 {
        // The keys of `RandomState` are drawn once per thread and then counted up, so a forked child goes on with its
        // parent's: the process and the time keep the two apart.
        RandomState::new().hash_one((std::process::id(), SystemTime::now()))
    }

    fn tasks(&self) -> Arc<dyn Tasks> {
        Arc::new(OsTasks)
    }
}

/// Opens a file so that reading it does not ask for its access time to be updated, which costs each read of an entry some
/// percent. Only a file's owner may do so.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_without_access_times(options: &fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flag = rustix::fs::OFlags::NOATIME.bits().cast_signed();
    match options.clone().custom_flags(flag).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        result => result,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_without_access_times(options: &fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    options.open(path)
}

/// A file whose lock is held.
struct Lock {
    file: fs::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is starting has the file, too, until it runs its
        // program. If this fails, closing is what is left.
        let _ = self.file.unlock();
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
}

impl File for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset);
    }

    /// Reads into the spare capacity, without writing zeros first; unless there is much more of it than asked for,
    /// because that much more would be read.
    #[cfg(unix)]
    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = buffer.len();
        buffer.reserve_exact(len);
        if len == 0 || buffer.capacity() - start > len + len / 4 {
            buffer.resize(start + len, 0);
            let result = self.read_at(&mut buffer[start..], offset);
            buffer.truncate(start + *result.as_ref().unwrap_or(&0));
            return result;
        }
        let count = rustix::io::pread(&self.file, rustix::buffer::spare_capacity(buffer), offset)?;
        buffer.truncate(start + len);
        Ok(count.min(len))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&self.file, bytes, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sync_data(&self) -> io::Result<()> {
        // Not the standard library's: that one repeats a sync which a signal interrupted, and the interrupted one may
        // have taken the only report of a failed writeback with it.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        let reserve = || rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len);
        // What a file system cannot reserve shows when it is written: later, but no worse.
        match rustix::io::retry_on_intr(reserve) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn allocate(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn drop_cache(&self, range: Range<u64>) -> io::Result<bool> {
        // Only folios that lie wholly within the range are dropped: one that reached out of it would keep showing what a
        // failed sync never wrote. They grow up to 2048 pages; elsewhere pages may have 64 KiB.
        const FOLIO_BYTES_MAX: u64 = if cfg!(target_arch = "x86_64") { 8 << 20 } else { 128 << 20 };
        let start = range.start / FOLIO_BYTES_MAX * FOLIO_BYTES_MAX;
        let end = range.end.saturating_add(FOLIO_BYTES_MAX - 1) / FOLIO_BYTES_MAX * FOLIO_BYTES_MAX;
        // Nothing stands for the file's end.
        let len = std::num::NonZero::new(end.saturating_sub(start)).filter(|_| end <= i64::MAX.unsigned_abs());
        if !range.is_empty() {
            rustix::fs::fadvise(&self.file, start, len, rustix::fs::Advice::DontNeed)?;
        }
        Ok(true)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn drop_cache(&self, _range: Range<u64>) -> io::Result<bool> {
        Ok(false)
    }
}

/// The time since the first call.
pub(super) fn now() -> Duration {
    // Never the model checker's: no order of threads depends on it.
    static FIRST: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    FIRST.elapsed()
}

pub(super) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// The process's threads for background work, shared by all journals: few, started when needed, gone when idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct OsTasks;

impl Tasks for OsTasks {
    fn submit(&self, lane: Lane, job: Job) {
        Queue::of(lane).submit(job);
    }

    fn help(&self) {
        // All of a lane's threads may wait for jobs that stand behind their own, as when each drops the last handle of a
        // journal: then there is nobody else to run them.
        if OF_A_LANE.with(Cell::get) {
            for lane in [Lane::Urgent, Lane::Housekeeping] {
                let job = Queue::of(lane).state.lock().jobs.pop_front();
                job.into_iter().for_each(contained);
            }
        }
    }

    fn pause(&self) {
        thread::yield_now();
    }

    fn after(&self, delay: Duration, lane: Lane, job: Job) {
        static TIMERS: Timers = Timers { state: Mutex::new(TimersState::NEW), changed: Condvar::new() };
        // A time that the clock cannot name never comes.
        if let Some(due) = Instant::now().checked_add(delay) {
            TIMERS.add(due, lane, job);
        }
    }
}

/// One of the operating system's threads, under a simulated one or a case of the conformance suite; dropped, it goes on
/// alone.
#[cfg(feature = "sim")]
pub(crate) struct OsThread(std::thread::JoinHandle<()>);

#[cfg(feature = "sim")]
impl OsThread {
    pub(crate) fn start(name: String, job: Job) -> io::Result<Self> {
        std::thread::Builder::new().name(name).spawn(job).map(Self)
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        // A panic was contained by the job, or its message is out.
        let _ = self.0.join();
    }
}

/// Jobs whose time has not come: one thread waits for the next of them, and ends when there is none.
struct Timers {
    state: Mutex<TimersState>,
    changed: Condvar,
}

struct TimersState {
    /// By when they are due, and, where that is the same, by which came first.
    jobs: BTreeMap<(Instant, u64), (Lane, Job)>,
    count: u64,
    running: bool,
}

impl TimersState {
    const NEW: TimersState = TimersState { jobs: BTreeMap::new(), count: 0, running: false };
}

impl Timers {
    fn add(&'static self, due: Instant, lane: Lane, job: Job) {
        let mut state = self.state.lock();
        state.count += 1;
        let number = state.count;
        state.jobs.insert((due, number), (lane, job));
        self.changed.notify_one();
        if std::mem::replace(&mut state.running, true) {
            return;
        }
        drop(state);
        let name = "raft-journal-time".to_owned();
        if thread::Builder::new().name(name).spawn(|| self.work()).is_err() {
            // A process at its thread limit: the jobs wait for the next one that is added.
            self.state.lock().running = false;
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        while let Some(next) = state.jobs.first_entry() {
            let (due, _) = *next.key();
            if due <= Instant::now() {
                let (lane, job) = next.remove();
                MutexGuard::unlocked(&mut state, || OsTasks.submit(lane, job));
            } else {
                self.changed.wait_until(&mut state, due);
            }
        }
        state.running = false;
    }
}

thread_local! {
    /// Whether this thread works for a lane.
    static OF_A_LANE: Cell<bool> = const { Cell::new(false) };
}

/// One lane's jobs and threads.
struct Queue {
    thread_name: &'static str,
    threads_max: usize,
    state: Mutex<QueueState>,
    job_came: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// Threads running or being started.
    threads: usize,
    /// Those of them that wait for a job.
    idle: usize,
}

impl Queue {
    fn of(lane: Lane) -> &'static Queue {
        static URGENT: LazyLock<Queue> = LazyLock::new(|| Queue::new("raft-journal-sync", Lane::Urgent.threads_max()));
        static HOUSEKEEPING: LazyLock<Queue> =
            LazyLock::new(|| Queue::new("raft-journal-files", Lane::Housekeeping.threads_max()));
        let queue = match lane {
            Lane::Urgent => &URGENT,
            Lane::Housekeeping => &HOUSEKEEPING,
        };
        LazyLock::force(queue)
    }

    fn new(thread_name: &'static str, threads_max: usize) -> Self {
        Self { thread_name, threads_max, state: Mutex::default(), job_came: Condvar::new() }
    }

    fn submit(&'static self, job: Job) {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if state.jobs.len() > state.idle && state.threads < self.threads_max {
            state.threads += 1;
            let number = state.threads;
            drop(state);
            self.start_thread(number);
        } else {
            drop(state);
            self.job_came.notify_one();
        }
    }

    /// Starts the thread that the caller has counted.
    fn start_thread(&'static self, number: usize) {
        let name =
            if self.threads_max == 1 { self.thread_name.to_owned() } else { format!("{}-{number}", self.thread_name) };
        if thread::Builder::new().name(name).spawn(|| self.work()).is_err() {
            let mut state = self.state.lock();
            state.threads -= 1;
            // Without this, a process at its thread limit would wait forever for jobs that nobody runs.
            while state.threads == 0
                && let Some(job) = state.jobs.pop_front()
            {
                drop(state);
                contained(job);
                state = self.state.lock();
            }
        }
    }

    /// A thread's life: runs jobs until there were none for [`IDLE`].
    fn work(&self) {
        OF_A_LANE.with(|of_a_lane| of_a_lane.set(true));
        let mut state = self.state.lock();
        loop {
            let until = Instant::now() + IDLE;
            let mut timed_out = false;
            while state.jobs.is_empty() {
                if timed_out {
                    state.threads -= 1;
                    return;
                }
                state.idle += 1;
                timed_out = self.job_came.wait_until(&mut state, until).timed_out();
                state.idle -= 1;
            }
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                contained(job);
                state = self.state.lock();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_without_an_end_is_one_that_never_ends() {
        OsFs.tasks().after(Duration::MAX, Lane::Housekeeping, Box::new(|| unreachable!("no clock goes so far")));
    }

    #[test]
    fn a_panic_in_a_job_costs_no_thread() {
        let tasks = OsFs.tasks();
        let (sender, receiver) = std::sync::mpsc::channel();
        for lane in [Lane::Housekeeping, Lane::Urgent] {
            for number in 0..20 {
                let sender = sender.clone();
                let job = move || {
                    let _sent = sender.send(number);
                    assert!(number % 2 == 0, "planned");
                };
                tasks.submit(lane, Box::new(job));
            }
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), 40);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_about_to_be_written_to_gets_new_times_and_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"as it was").unwrap();
        fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        OsFs.will_write(&path);
        assert!(fs::metadata(&path).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
        assert_eq!(fs::read(&path).unwrap(), b"as it was");
        let missing = dir.path().join("missing");
        OsFs.will_write(&missing);
        assert!(!missing.exists());
    }

    #[test]
    fn a_lock_is_given_back_though_another_process_has_inherited_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("LOCK")).unwrap();
        file.try_lock().unwrap();
        let inherited = file.try_clone().unwrap();
        let lock = Lock { file };
        assert!(OsFs.lock(&dir.path().join("LOCK")).unwrap().is_none());
        drop(lock);
        assert!(OsFs.lock(&dir.path().join("LOCK")).unwrap().is_some());
        drop(inherited);
    }

    #[test]
    fn urgent_jobs_do_not_stand_behind_a_blocked_one() {
        let tasks = OsFs.tasks();
        let (wake, woken) = std::sync::mpsc::channel();
        let (sender, receiver) = std::sync::mpsc::channel();
        let blocked = sender.clone();
        tasks.submit(Lane::Urgent, Box::new(move || blocked.send(woken.recv().unwrap()).unwrap()));
        tasks.submit(Lane::Urgent, Box::new(move || sender.send(1).unwrap()));
        assert_eq!(receiver.recv().unwrap(), 1);
        wake.send(2).unwrap();
        assert_eq!(receiver.recv().unwrap(), 2);
    }
}
