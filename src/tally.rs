//! Counters of what many threads do at once: each thread counts in a line of the processor's cache that few others use, so that
//! readers do not wait for each other to count.

#[cfg(not(shuttle))]
use std::cell::Cell;
#[cfg(not(shuttle))]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many lines there are; threads share them in turn.
pub(crate) const LINES: usize = if cfg!(shuttle) { 2 } else { 8 };

#[cfg(not(shuttle))]
static THREADS: AtomicUsize = AtomicUsize::new(0);

#[cfg(not(shuttle))]
thread_local! {
    static LINE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The line of the thread that asks.
#[cfg(not(shuttle))]
pub(crate) fn line() -> usize {
    LINE.get().unwrap_or_else(|| {
        let line = THREADS.fetch_add(1, Ordering::Relaxed) % LINES;
        LINE.set(Some(line));
        line
    })
}

/// The same in every run.
#[cfg(shuttle)]
pub(crate) fn line() -> usize {
    crate::sync::thread_number() % LINES
}

/// Of a length that no two lie in one line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    index_hits: AtomicU64,
    index_misses: AtomicU64,
}

/// How reads were served.
#[derive(Debug, Default)]
pub(crate) struct Reads([Line; LINES]);

/// The sum of all lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Served {
    /// Entries from memory, and from files.
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    /// Looks into an index in memory, and in its file.
    pub(crate) index_hits: u64,
    pub(crate) index_misses: u64,
}

impl Reads {
    fn add(&self, counter: impl Fn(&Line) -> &AtomicU64, by: u64) {
        if let Some(line) = self.0.get(line()) {
            counter(line).fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(crate) fn cache_hits(&self, by: u64) {
        self.add(|line| &line.cache_hits, by);
    }

    pub(crate) fn cache_misses(&self, by: u64) {
        self.add(|line| &line.cache_misses, by);
    }

    pub(crate) fn index_hit(&self) {
        self.add(|line| &line.index_hits, 1);
    }

    pub(crate) fn index_miss(&self) {
        self.add(|line| &line.index_misses, 1);
    }

    pub(crate) fn sum(&self) -> Served {
        let mut sum = Served::default();
        for line in &self.0 {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            sum.cache_hits += read(&line.cache_hits);
            sum.cache_misses += read(&line.cache_misses);
            sum.index_hits += read(&line.index_hits);
            sum.index_misses += read(&line.index_misses);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let reads = Reads::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| {
                    (0..100).for_each(|_| reads.index_hit());
                    reads.index_miss();
                    reads.cache_hits(3);
                    reads.cache_misses(4);
                });
            }
        });
        let of = |count: u64| 2 * LINES as u64 * count;
        let expected = Served { cache_hits: of(3), cache_misses: of(4), index_hits: of(100), index_misses: of(1) };
        assert_eq!(reads.sum(), expected);
    }
}
