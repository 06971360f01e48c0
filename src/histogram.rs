//! Counts by size: how long things took, how many there were at a time.
//!
//! Not a library's: this is recorded on the way of every append and by several threads at once, so it must neither lock nor
//! allocate, and a snapshot must be a plain value that is compared and copied like the other counters. That leaves an array of
//! atomics and one shift; the well-known histograms bring a lock or a queue for the same, and a heap allocation for each look.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sizes from one power of two to the next are told apart by so many steps.
const STEPS: u64 = 4;
/// Log2 of it.
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Everything beyond this power of two counts as one size.
const POWER_MAX: u32 = 32;
/// One place for each size below [`STEPS`], [`STEPS`] places for each power of two from there on, one for what is beyond.
const PLACES: usize = STEPS as usize + ((POWER_MAX - STEP_BITS) as usize) * STEPS as usize + 1;

/// How often which sizes came, in places that are exact below 4 and at most a quarter wide from there on.
///
/// ```
/// # use raft_journal::{Entry, Journal, LogStore};
/// # fn main() -> Result<(), raft_journal::Error> {
/// # let temporary = tempfile::tempdir().expect("a temporary directory");
/// # let journal = Journal::open(temporary.path().join("node-1"))?;
/// journal.append(&[Entry::new(1, 1, "set x")])?;
/// let sync_micros = journal.stats().sync_micros;
/// println!("half within {:?} µs, 99 of 100 within {:?} µs", sync_micros.quantile(0.5), sync_micros.quantile(0.99));
/// assert_eq!(sync_micros.count(), 1);
/// # journal.close()
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; PLACES],
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; PLACES], sum: 0, max: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Histogram");
        shown.field("count", &self.count()).field("sum", &self.sum);
        [("p50", 0.5), ("p99", 0.99)].into_iter().for_each(|(name, q)| _ = shown.field(name, &self.quantile(q)));
        shown.field("max", &self.max).finish()
    }
}

impl Histogram {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All sizes together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A size that so many of all (0 to 1) did not exceed: the upper end of the place in which the one in question is, or
    /// the largest that came if that is less. `None` if there were none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        // No more than all, and no less than one.
        let wanted = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let place = self.counts.iter().position(|&here| {
            seen += here;
            seen >= wanted
        })?;
        Some(Self::range(place).1.min(self.max))
    }

    /// The places that something came in: the smallest and the largest size of each, and how many there were.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let counted = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        counted.map(|(place, &count)| (Self::range(place).0, Self::range(place).1, count))
    }

    fn place(size: u64) -> usize {
        let Some(power) = size.checked_ilog2().filter(|&power| power >= STEP_BITS) else { return size as usize };
        if power >= POWER_MAX {
            return PLACES - 1;
        }
        let shift = power - STEP_BITS;
        (u64::from(shift) * STEPS + (size >> shift)) as usize
    }

    /// The smallest and the largest size of a place.
    fn range(place: usize) -> (u64, u64) {
        let place = place as u64;
        if place < STEPS {
            return (place, place);
        }
        if place as usize == PLACES - 1 {
            return (1 << POWER_MAX, u64::MAX);
        }
        let (shift, step) = (place / STEPS - 1, place % STEPS);
        let first = (STEPS + step) << shift;
        (first, first + (1 << shift) - 1)
    }
}

/// A histogram that is being filled, by any number of threads.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [AtomicU64; PLACES],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Recorder {
    pub(crate) const fn new() -> Self {
        let counts = [const { AtomicU64::new(0) }; PLACES];
        Recorder { counts, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, size: u64) {
        if let Some(count) = self.counts.get(Histogram::place(size)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(size, Ordering::Relaxed);
        if size > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(size, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let counts =
            std::array::from_fn(|place| self.counts.get(place).map_or(0, |count| count.load(Ordering::Relaxed)));
        Histogram { counts, sum: self.sum.load(Ordering::Relaxed), max: self.max.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_in_the_place_that_says_so_and_places_do_not_overlap() {
        let mut next = 0;
        for place in 0..PLACES {
            let (first, last) = Histogram::range(place);
            assert_eq!(first, next, "place {place}");
            assert!((Histogram::place(first), Histogram::place(last)) == (place, place), "place {place}");
            assert!(place == PLACES - 1 || last - first <= first / 4, "place {place}");
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "all sizes have a place");
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_sizes_to_within_a_quarter() {
        let recorder = Recorder::new();
        assert_eq!(recorder.snapshot().quantile(0.5), None);
        let sizes: Vec<u64> = (0..1000).map(|i| i * i).collect();
        sizes.iter().for_each(|&size| recorder.record(size));
        let histogram = recorder.snapshot();
        assert_eq!((histogram.count(), histogram.max()), (1000, 999 * 999));
        assert_eq!(histogram.sum(), sizes.iter().sum::<u64>());
        for (part, at) in [(0.0, 0), (0.001, 0), (0.5, 499), (0.9, 899), (0.999, 998), (1.0, 999)] {
            let (found, exact) = (histogram.quantile(part).unwrap(), sizes[at]);
            assert!(found >= exact && found <= exact + exact / 4, "{part}: {found} for {exact}");
        }
        assert_eq!(histogram.places().map(|(_, _, count)| count).sum::<u64>(), 1000);
        recorder.record(u64::MAX);
        assert_eq!(recorder.snapshot().quantile(1.0), Some(u64::MAX));
    }
}
