//! The newest entries in memory: in the buffers that they were written from.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::entry::Entry;

/// The newest entries of the log, without a gap up to its end, or none.
#[derive(Debug)]
pub(crate) struct TailCache {
    entries: VecDeque<Cached>,
    /// The index of the first of them.
    first: u64,
    /// What their payloads lie in, oldest first.
    batches: VecDeque<Batch>,
    /// The number of the first batch. Numbers go round.
    first_batch: u32,
    bytes: usize,
    bytes_max: usize,
    /// What truncations took out, given up little by little: a thousand cold buffers take longer than a sync.
    discarded: VecDeque<Batch>,
    discarded_bytes: usize,
}

/// Where an entry is in memory.
#[derive(Clone, Copy, Debug)]
struct Cached {
    term: u64,
    batch: u32,
    at: u32,
    len: u32,
}

/// One buffer with the payloads of some entries in a row.
#[derive(Debug)]
struct Batch {
    data: Bytes,
    /// What it takes of memory.
    bytes: usize,
}

/// What is in a buffer of an entry: its term, and where its payload is.
pub(crate) type Part = (u64, Range<usize>);

impl TailCache {
    /// How many discarded buffers go with each one that comes.
    const GIVEN_UP_AT_A_TIME: usize = 4;
    /// So many are given up at once.
    const FEW: usize = 16;

    pub(crate) fn new(bytes_max: usize) -> TailCache {
        TailCache {
            entries: VecDeque::new(),
            first: 0,
            batches: VecDeque::new(),
            first_batch: 0,
            bytes: 0,
            bytes_max,
            discarded: VecDeque::new(),
            discarded_bytes: 0,
        }
    }

    /// The index of the first entry that is here.
    pub(crate) fn first(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// What a buffer and its entries take of memory.
    pub(crate) fn bytes_of(buffer_bytes: usize, entries: usize) -> usize {
        buffer_bytes + size_of::<Batch>() + entries * size_of::<Cached>()
    }

    /// Takes in the entries from `first_index` on, which are the newest now. `capacity` is what `data` takes of memory.
    /// Returns the largest of the buffers that had to go.
    pub(crate) fn push(
        &mut self,
        first_index: u64,
        data: Bytes,
        capacity: usize,
        parts: impl ExactSizeIterator<Item = Part>,
    ) -> Option<Bytes> {
        for _ in 0..Self::GIVEN_UP_AT_A_TIME {
            self.give_up_one();
        }
        if self.entries.is_empty() {
            self.first = first_index;
        }
        let bytes = Self::bytes_of(capacity, parts.len());
        let batch = self.first_batch.wrapping_add(self.batches.len() as u32);
        let cached = |(term, place): Part| Cached { term, batch, at: place.start as u32, len: place.len() as u32 };
        self.entries.extend(parts.map(cached));
        self.batches.push_back(Batch { data, bytes });
        self.bytes += bytes;
        let mut gone: Option<Batch> = None;
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.pop_batch() else { break };
            if gone.as_ref().is_none_or(|gone| gone.bytes < oldest.bytes) {
                gone = Some(oldest);
            }
        }
        gone.map(|gone| gone.data)
    }

    /// Takes the oldest buffer out, with its entries.
    fn pop_batch(&mut self) -> Option<Batch> {
        let oldest = self.batches.pop_front()?;
        self.bytes -= oldest.bytes;
        let count = self.entries.iter().take_while(|entry| entry.batch == self.first_batch).count();
        self.entries.drain(..count);
        self.first += count as u64;
        self.first_batch = self.first_batch.wrapping_add(1);
        Some(oldest)
    }

    /// Takes all of it out; to be dropped without a lock.
    pub(crate) fn take(&mut self) -> TailCache {
        std::mem::replace(self, TailCache::new(self.bytes_max))
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        self.entries.truncate(self.place_of(index));
        let kept = self.entries.back().map_or(0, |last| last.batch.wrapping_sub(self.first_batch) as usize + 1);
        self.keep(0..kept);
    }

    /// Forgets the entries below `index`.
    pub(crate) fn drop_head(&mut self, index: u64) {
        let at = self.place_of(index);
        self.entries.drain(..at);
        self.first += at as u64;
        let first_batch = self.entries.front().map(|first| first.batch);
        let count = first_batch.map_or(self.batches.len(), |first| first.wrapping_sub(self.first_batch) as usize);
        self.keep(count..self.batches.len());
        self.first_batch = self.first_batch.wrapping_add(count as u32);
    }

    /// Takes out all buffers but those at `kept`, which are the oldest or the newest. Whichever are fewer are moved, and as a rule
    /// nothing is allocated: of a thousand, a list of their own would be pages of memory that nobody has touched yet.
    fn keep(&mut self, kept: Range<usize>) {
        let gone = if kept.start == 0 { kept.end..self.batches.len() } else { 0..kept.start };
        let bytes_of =
            |places: &Range<usize>| self.batches.range(places.clone()).map(|batch| batch.bytes).sum::<usize>();
        let gone_bytes = if gone.len() <= kept.len() { bytes_of(&gone) } else { self.bytes - bytes_of(&kept) };
        self.bytes -= gone_bytes;
        if gone.len() <= Self::FEW {
            self.batches.drain(gone);
            return;
        }
        // What waits to be given up takes no more than the cache itself may.
        while self.discarded_bytes + gone_bytes > self.bytes_max && self.give_up_one() {}
        self.discarded_bytes += gone_bytes;
        if gone.len() <= kept.len() + self.discarded.len() {
            self.discarded.extend(self.batches.drain(gone));
        } else {
            std::mem::swap(&mut self.batches, &mut self.discarded);
            self.discarded.append(&mut self.batches);
            self.batches.extend(self.discarded.drain(kept));
        }
    }

    /// Gives up one of the buffers that truncations took out, if there is one.
    fn give_up_one(&mut self) -> bool {
        let gone = self.discarded.pop_back();
        self.discarded_bytes -= gone.as_ref().map_or(0, |gone| gone.bytes);
        gone.is_some()
    }

    /// Where `index` stands or would stand.
    fn place_of(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.entries.len())
    }

    /// The entries from `index` on, at most `count`; none if the first of them is not here.
    pub(crate) fn range(&self, index: u64, count: usize) -> impl ExactSizeIterator<Item = Entry> {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let at = at.unwrap_or(usize::MAX).min(self.entries.len());
        let entries = self.entries.range(at..at.saturating_add(count).min(self.entries.len()));
        entries.enumerate().map(move |(place, cached)| self.entry(index + place as u64, cached))
    }

    pub(crate) fn get(&self, index: u64) -> Option<Entry> {
        let cached = self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)?;
        Some(self.entry(index, cached))
    }

    fn entry(&self, index: u64, cached: &Cached) -> Entry {
        let batch = &self.batches[cached.batch.wrapping_sub(self.first_batch) as usize];
        let at = cached.at as usize;
        Entry { index, term: cached.term, data: batch.data.slice(at..at + cached.len as usize) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::TailCache;

    /// What may happen to a log's end.
    #[derive(Clone, Debug)]
    enum Op {
        Push { count: usize, bytes: usize },
        Truncate { back: u64 },
        DropHead { on: u64 },
        Take,
    }

    /// Pushes of a kind come in rows: a truncation then takes out more buffers than are given up at once.
    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let push = |(count, bytes, times)| vec![Op::Push { count, bytes }; times];
        prop_oneof![
            2 => (1..6usize, 0..300usize, 1..8usize).prop_map(push),
            2 => (1..2usize, 0..9usize, 1..100usize).prop_map(push),
            1 => (1..2usize, 500..2000usize, 1..30usize).prop_map(push),
            2 => (0..100u64).prop_map(|back| vec![Op::Truncate { back }]),
            2 => (0..100u64).prop_map(|on| vec![Op::DropHead { on }]),
            1 => (0..500u64).prop_map(|back| vec![Op::Truncate { back }]),
            1 => Just(vec![Op::Take]),
        ]
    }

    #[test]
    fn what_waits_to_be_given_up_takes_no_more_than_the_cache_may() {
        let bytes_max = 100_000;
        let mut cache = TailCache::new(bytes_max);
        let mut pushed = 0;
        for (times, bytes) in [(600, 100), (20, 4900), (20, 4900)] {
            cache.truncate(1);
            for index in 1..=times {
                cache.push(index, Bytes::from(vec![1; bytes]), bytes, [(1, 0..bytes)].into_iter());
            }
            pushed += cache.bytes;
            assert!(cache.discarded_bytes <= bytes_max);
        }
        cache.truncate(1);
        assert!(pushed > 2 * bytes_max && cache.discarded_bytes <= bytes_max, "{}", cache.discarded_bytes);
    }

    proptest! {
        /// Against the log itself: what is cached is its end, as it was appended.
        #[test]
        fn what_is_cached_is_the_end_of_the_log(ops in prop::collection::vec(ops(), 0..30), bytes_max in 0..40_000usize) {
            let mut cache = TailCache::new(bytes_max);
            // From which number batches count is all the same.
            cache.first_batch = u32::MAX - 7;
            let (mut log, mut first): (VecDeque<(u64, Vec<u8>)>, u64) = (VecDeque::new(), 1);
            let mut last_batch_bytes = 0;
            for (term, op) in (1..).zip(ops.concat()) {
                let next = first + log.len() as u64;
                match op {
                    Op::Push { count, bytes } => {
                        let added: Vec<_> = (0..count).map(|at| (term, vec![term as u8 ^ at as u8; bytes])).collect();
                        let data: Vec<u8> = added.iter().flat_map(|(_, payload)| payload).copied().collect();
                        let parts = (0..count).map(|at| (term, at * bytes..(at + 1) * bytes));
                        cache.push(next, Bytes::from(data), count * bytes, parts);
                        last_batch_bytes = TailCache::bytes_of(count * bytes, count);
                        log.extend(added);
                    }
                    Op::Truncate { back } => {
                        let at = next.saturating_sub(back).max(first);
                        cache.truncate(at);
                        log.truncate((at - first) as usize);
                    }
                    Op::DropHead { on } => {
                        cache.drop_head(first + on);
                        let gone = log.len().min(on as usize);
                        log.drain(..gone);
                        first += on;
                    }
                    Op::Take => drop(cache.take()),
                }
                let next = first + log.len() as u64;
                prop_assert!(cache.bytes <= bytes_max);
                prop_assert_eq!(cache.batches.iter().map(|batch| batch.bytes).sum::<usize>(), cache.bytes);
                prop_assert!(cache.discarded_bytes <= bytes_max);
                prop_assert_eq!(cache.discarded.iter().map(|batch| batch.bytes).sum::<usize>(), cache.discarded_bytes);
                prop_assert_eq!(cache.batches.is_empty(), cache.entries.is_empty());
                let cached: Vec<_> = cache.range(cache.first, usize::MAX).collect();
                for (index, entry) in (next - cached.len() as u64..).zip(&cached) {
                    let (term, payload) = &log[(index - first) as usize];
                    prop_assert_eq!((entry.index, entry.term, &entry.data[..]), (index, *term, &payload[..]));
                    prop_assert_eq!(cache.get(index), Some(entry.clone()));
                }
                prop_assert!(cache.get(next).is_none() && cache.range(next, 1).len() == 0);
                if matches!(op, Op::Push { .. }) {
                    prop_assert_eq!(cached.is_empty(), last_batch_bytes > bytes_max);
                }
            }
        }
    }
}
