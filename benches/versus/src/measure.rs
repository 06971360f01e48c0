//! Times, processor time, memory and space.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// Times of single calls, up to a minute, to three digits.
pub struct Times(Histogram<u64>);

impl Times {
    /// None yet.
    ///
    /// # Errors
    ///
    /// None that happens: the bounds are within what a histogram allows.
    pub fn new() -> Result<Times> {
        Ok(Times(Histogram::new_with_max(Duration::from_secs(60).as_nanos() as u64, 3)?))
    }

    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The time that so many percent of the calls did not exceed, µs.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_quantile(percent / 100.0) as f64 / 1e3
    }
}

/// The processor time of the calling thread and of the whole process so far.
#[derive(Clone, Copy)]
pub struct ProcessorTime {
    /// The thread's, ns.
    pub thread_ns: f64,
    /// The process's, ns.
    pub process_ns: f64,
}

impl ProcessorTime {
    /// As of now.
    pub fn now() -> ProcessorTime {
        let ns = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
        };
        ProcessorTime { thread_ns: ns(ClockId::ThreadCPUTime), process_ns: ns(ClockId::ProcessCPUTime) }
    }
}

/// The middle one; of an even count, the higher of the two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A number that `/proc/self/status` has, such as `RssAnon` (KiB) or `Threads`.
///
/// # Errors
///
/// The file, or the line in it, cannot be read.
pub fn process_status(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.with_context(|| format!("no {name} in /proc/self/status"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The bytes that the files in a directory have allocated.
///
/// # Errors
///
/// A directory cannot be read.
pub fn allocated_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A file that was removed meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { allocated_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// The same, once background work has changed nothing for half a second, or after ten.
///
/// # Errors
///
/// As [`allocated_bytes`].
pub fn settled_bytes(dir: &Path) -> Result<u64> {
    const STEP: Duration = Duration::from_millis(50);
    const STEADY_STEPS: u32 = 10;
    let begun = Instant::now();
    let (mut bytes, mut steady) = (allocated_bytes(dir)?, 0);
    while steady < STEADY_STEPS && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(STEP);
        let now = allocated_bytes(dir)?;
        steady = if now == bytes { steady + 1 } else { 0 };
        bytes = now;
    }
    Ok(bytes)
}
