//! A segment file made up field by field: a shape that a scan follows, with values that no writer gives.

use arbitrary::Arbitrary;
use raft_journal::layout::segment as format;

use crate::checks;
use crate::edits::Number;
use crate::put;

/// Every file that is made up has this salt.
pub const SALT: u64 = 0x5a17;
/// Every file that is made up is of this journal.
pub const JOURNAL_ID: [u8; 16] = [5; 16];
/// Every file that is made up has this sequence.
pub const SEQUENCE: u64 = 3;

/// A segment file.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    pub is_aligned: bool,
    /// In units of 512 bytes, beyond the least.
    pub size: u8,
    pub header: Option<(u8, Number)>,
    pub batches: Vec<Batch>,
    pub is_trailed: bool,
}

/// A batch.
#[derive(Arbitrary, Clone, Debug)]
pub struct Batch {
    pub body: Body,
    /// Relative to where the batch before ended, unless it is a number of its own.
    pub first_index: Option<Number>,
    pub life: u8,
    /// Bytes behind the body that it counts as its own.
    pub padding: u8,
    pub count: Option<Number>,
    pub body_bytes: Option<Number>,
    /// A field, by its place in the header.
    pub field: Option<(u8, Number)>,
}

/// What a batch holds.
#[derive(Arbitrary, Clone, Debug)]
pub enum Body {
    Entries(Vec<Entry>),
    Index { is_seal: bool, index: Index },
}

/// An entry.
#[derive(Arbitrary, Clone, Debug)]
pub struct Entry {
    pub term: u8,
    pub flags: u8,
    pub stored_bytes: Option<Number>,
    pub payload: Vec<u8>,
}

/// An index.
#[derive(Arbitrary, Clone, Debug)]
pub struct Index {
    pub first: Option<Number>,
    pub next: Option<Number>,
    pub base: Option<Number>,
    pub count: Option<Number>,
    pub runs_count: Option<Number>,
    pub runs: Vec<(Number, Number)>,
    pub successor: Option<Number>,
    /// Whether the slots are of the entries before, or these.
    pub slots: Option<Vec<(Number, u32)>>,
}

/// What has been written so far.
#[derive(Default)]
struct Written {
    next: u64,
    first: u64,
    slots: Vec<u32>,
}

impl Plan {
    /// The file, with right checks everywhere.
    pub fn file(&self) -> Vec<u8> {
        let (align, edge) = if self.is_aligned { (4096, 4096) } else { (8, 512) };
        let size = 3 * edge + 512 * usize::from(self.size);
        let mut file = vec![0; size];
        put(&mut file, format::HEADER_MAGIC_AT, &format::MAGIC);
        put(&mut file, format::HEADER_VERSION_AT, &format::VERSION.to_le_bytes());
        put(&mut file, format::HEADER_FLAGS_AT, &u32::from(self.is_aligned).to_le_bytes());
        put(&mut file, format::HEADER_JOURNAL_ID_AT, &JOURNAL_ID);
        put(&mut file, format::HEADER_SEQUENCE_AT, &SEQUENCE.to_le_bytes());
        put(&mut file, format::HEADER_SIZE_AT, &(size as u64).to_le_bytes());
        put(&mut file, format::HEADER_SALT_AT, &SALT.to_le_bytes());
        file.copy_within(..format::HEADER_BYTES, size - edge);
        let (mut at, mut written) = (edge, Written { next: 1, first: 1, ..Written::default() });
        for batch in &self.batches {
            let bytes = batch.encode(at, &mut written);
            if at + bytes.len() > size - 2 * edge {
                break;
            }
            put(&mut file, at, &bytes);
            at = (at + bytes.len()).next_multiple_of(align);
        }
        self.header.into_iter().for_each(|(field, number)| crate::edits::put_header_field(&mut file, field, number));
        checks::mend_segment(&mut file, Some(0), &mut checks::Chain::new());
        if !self.is_trailed {
            file[size - 2 * edge..size - edge].fill(0);
        }
        file
    }
}

impl Batch {
    fn encode(&self, at: usize, written: &mut Written) -> Vec<u8> {
        let first_index = self.first_index.map_or(written.next, Number::value);
        let mut bytes = vec![0; format::BATCH_BYTES];
        let (kind, count) = match &self.body {
            Body::Entries(entries) => {
                if first_index != written.next {
                    (written.first, written.slots) = (first_index, Vec::new());
                }
                for entry in entries {
                    written.slots.push((at + bytes.len()) as u32);
                    entry.encode(&mut bytes);
                }
                written.next = first_index.wrapping_add(entries.len() as u64);
                (1, entries.len())
            }
            Body::Index { is_seal, index } => {
                let count = index.encode(written, &mut bytes);
                (if *is_seal { 2u32 } else { 3 }, count)
            }
        };
        bytes.resize(bytes.len() + usize::from(self.padding), 0);
        let body_bytes = (bytes.len() - format::BATCH_BYTES) as u64;
        let count = self.count.map_or(count as u64, Number::value) as u32;
        let body_bytes = self.body_bytes.map_or(body_bytes, Number::value) as u32;
        put(&mut bytes, format::BATCH_KIND_AT, &kind.to_le_bytes());
        put(&mut bytes, format::BATCH_COUNT_AT, &count.to_le_bytes());
        put(&mut bytes, format::BATCH_BODY_LEN_AT, &body_bytes.to_le_bytes());
        put(&mut bytes, format::BATCH_FIRST_INDEX_AT, &first_index.to_le_bytes());
        put(&mut bytes, format::BATCH_LIFE_AT, &u32::from(self.life).to_le_bytes());
        if let Some((field, number)) = self.field {
            let at = usize::from(field) % (format::BATCH_BYTES / 4 - 1) * 4;
            put(&mut bytes, at, &number.value().to_le_bytes());
        }
        bytes
    }
}

impl Entry {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let stored = self.stored_bytes.map_or(self.payload.len() as u64, Number::value) as u32;
        bytes.extend([0; 4]);
        bytes.extend(stored.to_le_bytes());
        bytes.extend(u32::from(self.flags).to_le_bytes());
        bytes.extend(u64::from(self.term).to_le_bytes());
        bytes.extend(&self.payload);
    }
}

impl Index {
    /// Returns the count of slots.
    fn encode(&self, written: &Written, bytes: &mut Vec<u8>) -> usize {
        let slots = match &self.slots {
            Some(slots) => slots.iter().map(|&(offset, check)| (offset.value() as u32, check)).collect(),
            None => written.slots.iter().map(|&offset| (offset, 0)).collect::<Vec<_>>(),
        };
        let or = |number: Option<Number>, usual: u64| number.map_or(usual, Number::value);
        bytes.extend([0; 4]);
        bytes.extend((or(self.runs_count, self.runs.len() as u64) as u32).to_le_bytes());
        bytes.extend((or(self.count, slots.len() as u64) as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(or(self.base, written.first).to_le_bytes());
        bytes.extend(or(self.first, written.first).to_le_bytes());
        bytes.extend(or(self.next, written.next).to_le_bytes());
        bytes.extend(or(self.successor, SEQUENCE + 1).to_le_bytes());
        bytes.extend([0; 8]);
        for (index, term) in &self.runs {
            bytes.extend(index.value().to_le_bytes());
            bytes.extend(term.value().to_le_bytes());
        }
        for (number, page) in slots.chunks(format::PAGE_SLOTS).enumerate() {
            bytes.extend([0; 4]);
            bytes.extend((number as u32).to_le_bytes());
            page.iter().for_each(|(offset, check)| bytes.extend([offset.to_le_bytes(), check.to_le_bytes()].concat()));
        }
        slots.len()
    }
}
