//! Files changed by somebody who knows the format and has no key: every checksum is right again.

use crate::common::walk::{self, u32_at};
use crate::common::{Disk, salted_check, unsalted_check};
use raft_journal::layout::{meta, segment as s};

/// A segment whose batches can be changed.
pub struct Segment<'a> {
    disk: &'a Disk,
    pub name: String,
    pub bytes: Vec<u8>,
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

impl Segment<'_> {
    /// The only one that holds batches.
    pub fn of(disk: &Disk) -> Segment<'_> {
        let chain = disk.chain();
        assert_eq!(chain.len(), 1);
        Segment::first(disk)
    }

    /// The first one of the chain.
    pub fn first(disk: &Disk) -> Segment<'_> {
        Segment::all(disk).remove(0)
    }

    /// All of the chain, in its order.
    pub fn all(disk: &Disk) -> Vec<Segment<'_>> {
        let chain = disk.chain().into_iter();
        chain.map(|name| Segment { disk, bytes: disk.bytes(&name), name }).collect()
    }

    fn salt(&self) -> [u8; 8] {
        self.bytes[s::HEADER_SALT_AT..s::HEADER_SALT_AT + 8].try_into().unwrap()
    }

    /// Index and bytes of each entry, oldest first.
    pub fn entries(&self) -> Vec<(u64, std::ops::Range<usize>)> {
        walk::entries(&self.bytes).into_iter().map(|stored| (stored.index, stored.bytes)).collect()
    }

    /// Where the bytes of an entry stand, in its first version.
    pub fn entry(&self, index: u64) -> std::ops::Range<usize> {
        self.entries().into_iter().find(|(found, _)| *found == index).unwrap().1
    }

    /// Lets two entries of one length change places.
    pub fn swap(&mut self, one: u64, other: u64) {
        let (from, to) = (self.entry(one), self.entry(other));
        let (a, b) = (self.bytes[from.clone()].to_vec(), self.bytes[to.clone()].to_vec());
        self.bytes[from].copy_from_slice(&b);
        self.bytes[to].copy_from_slice(&a);
    }

    /// Makes the checksums of a batch's entries right.
    fn check_entries(&mut self, batch: usize) -> Vec<(usize, u32)> {
        let salt = self.salt();
        let entries = walk::entries_of(&self.bytes, batch).into_iter();
        let checked = entries.map(|walk::Stored { index, bytes, .. }| {
            let rest = &self.bytes[bytes.start + s::ENTRY_LEN_AT..bytes.end];
            let check = salted_check(&salt, &[&index.to_le_bytes(), rest]);
            put(&mut self.bytes, bytes.start, check);
            (bytes.start, check)
        });
        checked.collect()
    }

    /// Makes the checksums right that a reader of a sealed file sees: those of the entries, and of the index's one page.
    /// Puts the file back.
    pub fn put_sealed(mut self) {
        let batches = walk::batches(&self.bytes);
        let checks: Vec<_> = batches.iter().flat_map(|&batch| self.check_entries(batch)).collect();
        let seal = *batches.last().unwrap();
        self.check_page(seal, &checks);
        self.disk.put(&self.name, &self.bytes);
    }

    /// Where the summary of an index batch ends, its runs of terms included, and its one page begins.
    pub fn page(&self, index: usize) -> usize {
        let summary = index + s::BATCH_BYTES;
        let runs = u32_at(&self.bytes, summary + s::SUMMARY_RUNS_AT) as usize;
        let more = if walk::hides_terms(&self.bytes) { s::ENCRYPTED_BYTES } else { 0 };
        summary + s::SUMMARY_BYTES + runs * s::RUN_BYTES + more
    }

    /// Makes the checksums of an index batch's one page right, given those of all entries; its own.
    fn check_page(&mut self, index: usize, checks: &[(usize, u32)]) -> u32 {
        let page = self.page(index);
        let count = u32_at(&self.bytes, index + s::BATCH_BYTES + s::SUMMARY_COUNT_AT) as usize;
        assert!((1..=s::PAGE_SLOTS).contains(&count));
        let end = page + s::PAGE_HEAD_BYTES + count * s::SLOT_BYTES;
        for slot in (page + s::PAGE_HEAD_BYTES..end).step_by(s::SLOT_BYTES) {
            let offset = u32_at(&self.bytes, slot) as usize;
            let (_, check) = checks.iter().find(|(start, _)| *start == offset).unwrap();
            put(&mut self.bytes, slot + 4, *check);
        }
        let life = &self.bytes[index + s::BATCH_LIFE_AT..index + s::BATCH_LIFE_AT + 4];
        let check = salted_check(&self.salt(), &[&(index as u32).to_le_bytes(), life, &self.bytes[page + 4..end]]);
        put(&mut self.bytes, page, check);
        check
    }

    /// Makes the checksums of an index batch right; those that its header's is over.
    fn check_index(&mut self, index: usize, checks: &[(usize, u32)]) -> [u32; 2] {
        let page = self.check_page(index, checks);
        let (summary, end) = (index + s::BATCH_BYTES, self.page(index));
        let check = salted_check(&self.salt(), &[&self.bytes[summary + s::SUMMARY_CHECK_AT + 4..end]]);
        put(&mut self.bytes, summary + s::SUMMARY_CHECK_AT, check);
        [check, page]
    }

    /// Makes the file look like one of an earlier version that shows its terms, and its seal say that all entries have one.
    pub fn show_term(&mut self, term: u64) {
        let seal = *walk::batches(&self.bytes).last().unwrap();
        let (summary, page) = (seal + s::BATCH_BYTES, self.page(seal));
        let body = u32_at(&self.bytes, seal + s::BATCH_BODY_LEN_AT) as usize;
        let first = self.bytes[summary + s::SUMMARY_FIRST_AT..][..8].to_vec();
        for at in [0, self.bytes.len() - 512] {
            let header = &mut self.bytes[at..at + s::HEADER_BYTES];
            let flags = u32_at(header, s::HEADER_FLAGS_AT) & !s::FLAG_TERMS_ENCRYPTED;
            put(header, s::HEADER_FLAGS_AT, flags);
            let check = unsalted_check(&[&header[..s::HEADER_CHECK_AT], &header[s::HEADER_FLAGS_AT..]]);
            put(header, s::HEADER_CHECK_AT, check);
        }
        put(&mut self.bytes, summary + s::SUMMARY_RUNS_AT, 1);
        let runs = summary + s::SUMMARY_BYTES;
        self.bytes[runs..runs + 8].copy_from_slice(&first);
        self.bytes[runs + 8..runs + 16].copy_from_slice(&term.to_le_bytes());
        self.bytes.copy_within(page..summary + body, runs + s::RUN_BYTES);
        put(&mut self.bytes, seal + s::BATCH_BODY_LEN_AT, (body + runs + s::RUN_BYTES - page) as u32);
        let check = salted_check(&self.salt(), &[&self.bytes[seal + s::BATCH_BODY_CHECK_AT..seal + s::BATCH_BYTES]]);
        put(&mut self.bytes, seal, check);
    }

    /// Makes every checksum right, from the entries up, and puts the file back.
    pub fn put(self) {
        let chain = u32_at(&self.bytes, 512 + s::BATCH_CHAIN_AT);
        self.put_behind(chain);
    }

    /// The same, and lets the first batch follow one with this check; the last one's, to which the trailer leads if it is a
    /// seal.
    pub fn put_behind(mut self, mut chain: u32) -> u32 {
        let salt = self.salt();
        let mut last = 0;
        let mut known = Vec::new();
        for batch in walk::batches(&self.bytes) {
            let found = self.check_entries(batch);
            let checks = match u32_at(&self.bytes, batch + s::BATCH_KIND_AT) {
                1 => found.iter().map(|&(_, check)| check).collect(),
                _ => self.check_index(batch, &known).to_vec(),
            };
            known.extend(found);
            let checks: Vec<u8> = checks.into_iter().flat_map(u32::to_le_bytes).collect();
            put(&mut self.bytes, batch + s::BATCH_BODY_CHECK_AT, salted_check(&salt, &[&checks]));
            put(&mut self.bytes, batch + s::BATCH_CHAIN_AT, chain);
            chain = salted_check(&salt, &[&self.bytes[batch + s::BATCH_BODY_CHECK_AT..batch + s::BATCH_BYTES]]);
            put(&mut self.bytes, batch, chain);
            last = batch;
        }
        let trailer = self.bytes.len() - 1024;
        if u32_at(&self.bytes, trailer + s::TRAILER_SEAL_AT) as usize == last {
            put(&mut self.bytes, trailer + s::TRAILER_SEAL_CHECK_AT, chain);
            let rest = &self.bytes[trailer + s::TRAILER_SEAL_AT..trailer + s::TRAILER_BYTES];
            let check = salted_check(&salt, &[rest]);
            put(&mut self.bytes, trailer + s::TRAILER_CHECK_AT, check);
        }
        self.disk.put(&self.name, &self.bytes);
        chain
    }
}

/// Changes both copies of a segment's header.
pub fn change_header(disk: &Disk, name: &str, change: impl Fn(&mut [u8])) {
    let mut bytes = disk.bytes(name);
    for at in [0, bytes.len() - 512] {
        let header = &mut bytes[at..at + s::HEADER_BYTES];
        change(header);
        let check = unsalted_check(&[&header[..s::HEADER_CHECK_AT], &header[s::HEADER_FLAGS_AT..]]);
        put(header, s::HEADER_CHECK_AT, check);
    }
    disk.put(name, &bytes);
}

/// Changes every copy of `meta`.
pub fn change_meta(disk: &Disk, change: impl Fn(&mut [u8])) {
    let mut bytes = disk.bytes("meta");
    let copy_bytes = bytes.len() / meta::COPIES;
    for copy in bytes.chunks_mut(copy_bytes) {
        let len = u32_at(copy, meta::LEN_AT) as usize;
        change(&mut copy[..len]);
        let check = unsalted_check(&[&copy[..meta::CHECK_AT], &copy[meta::LEN_AT..len]]);
        put(copy, meta::CHECK_AT, check);
    }
    disk.put("meta", &bytes);
}
