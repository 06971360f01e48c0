//! Changes to files, large and small.

use arbitrary::Arbitrary;
use raft_journal::layout::{meta, segment as format};

use crate::{Files, checks, put, sequence_of};

/// The largest file that edits make, bytes.
const FILE_BYTES_MAX: usize = 64 << 10;

/// A number, mostly one near a bound.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    Small(u8),
    Medium(u16),
    BelowU32(u8),
    BelowU64(u8),
    BelowI64(u8),
    Any(u64),
}

impl Number {
    pub fn value(self) -> u64 {
        match self {
            Number::Small(value) => u64::from(value),
            Number::Medium(value) => u64::from(value),
            Number::BelowU32(less) => u64::from(u32::MAX - u32::from(less)),
            Number::BelowU64(less) => u64::MAX - u64::from(less),
            Number::BelowI64(less) => i64::MAX as u64 - u64::from(less),
            Number::Any(value) => value,
        }
    }
}

/// A change to the bytes of one file.
#[derive(Arbitrary, Clone, Debug)]
pub enum ByteEdit {
    Flip { at: u16, mask: u8 },
    Fill { at: u16, len: u16, with: u8 },
    Splice { at: u16, bytes: Vec<u8> },
    Number { at: u16, number: Number, is_long: bool },
    Move { from: u16, to: u16, len: u16 },
    Truncate { len: u16 },
    Extend { len: u16 },
}

impl ByteEdit {
    pub fn apply(&self, file: &mut Vec<u8>) {
        let within = |at: u16| if file.is_empty() { 0 } else { usize::from(at) % file.len() };
        match *self {
            ByteEdit::Flip { at, mask } => {
                let at = within(at);
                file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
            }
            ByteEdit::Fill { at, len, with } => {
                let at = within(at);
                file.iter_mut().skip(at).take(usize::from(len)).for_each(|byte| *byte = with);
            }
            ByteEdit::Splice { at, ref bytes } => {
                let at = within(at);
                file.iter_mut().skip(at).zip(bytes).for_each(|(byte, with)| *byte = *with);
            }
            ByteEdit::Number { at, number, is_long } => {
                let (at, bytes) = (within(at) & !3, number.value().to_le_bytes());
                put(file, at, if is_long { &bytes } else { &bytes[..4] });
            }
            ByteEdit::Move { from, to, len } => {
                let (from, to) = (within(from), within(to));
                let len = usize::from(len).min(file.len() - from.max(to));
                file.copy_within(from..from + len, to);
            }
            ByteEdit::Truncate { len } => file.truncate(usize::from(len)),
            ByteEdit::Extend { len } => file.resize((file.len() + usize::from(len)).min(FILE_BYTES_MAX), 0),
        }
    }
}

/// A change to a directory.
#[derive(Arbitrary, Clone, Debug)]
pub enum Edit {
    Bytes {
        file: u8,
        edit: ByteEdit,
    },
    Header {
        file: u8,
        field: u8,
        number: Number,
    },
    Batch {
        file: u8,
        batch: u8,
        field: u8,
        number: Number,
    },
    Meta {
        copies: u8,
        field: u8,
        number: Number,
    },
    Copy {
        from: u8,
        to: Name,
    },
    Swap {
        one: u8,
        other: u8,
    },
    Sectors {
        from: u8,
        at: u8,
        to: u8,
        onto: u8,
        count: u8,
    },
    Remove {
        file: u8,
    },
    /// A file of another moment, or of another journal.
    Stranger {
        file: u8,
        to: Option<Name>,
    },
    Junk {
        name: Name,
        bytes: Vec<u8>,
    },
}

/// A name that means something, or nothing.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Name {
    Meta,
    UnfinishedMeta,
    Lock,
    Segment(Number),
    UnfinishedSegment(u8),
    Other,
}

impl Name {
    fn text(self) -> String {
        match self {
            Name::Meta => "meta".into(),
            Name::UnfinishedMeta => "meta.tmp".into(),
            Name::Lock => "LOCK".into(),
            Name::Segment(number) => crate::segment_name(number.value()),
            Name::UnfinishedSegment(number) => format!("{}.tmp", crate::segment_name(u64::from(number))),
            Name::Other => "notes.txt".into(),
        }
    }
}

/// Fields by offset and length.
type Fields = &'static [(usize, usize)];

const HEADER: Fields = &[
    (format::HEADER_VERSION_AT, 4),
    (format::HEADER_FLAGS_AT, 4),
    (format::HEADER_KEY_ID_AT, 4),
    (format::HEADER_JOURNAL_ID_AT, 8),
    (format::HEADER_SEQUENCE_AT, 8),
    (format::HEADER_SIZE_AT, 8),
    (format::HEADER_SALT_AT, 8),
];

/// Of a batch's header, and of what its body begins with: the summary of an index, or the first entry.
const BATCH: Fields = &[
    (format::BATCH_KIND_AT, 4),
    (format::BATCH_COUNT_AT, 4),
    (format::BATCH_BODY_LEN_AT, 4),
    (format::BATCH_FIRST_INDEX_AT, 8),
    (format::BATCH_CHAIN_AT, 4),
    (format::BATCH_LIFE_AT, 4),
    (format::BATCH_META_GENERATION_AT, 8),
    (format::BATCH_MARK_SEQUENCE_AT, 8),
    (format::BATCH_MARK_OFFSET_AT, 4),
    (format::BATCH_REPLACING_AT, 4),
    (format::BATCH_BASE_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_RUNS_AT, 4),
    (format::BATCH_BYTES + format::SUMMARY_COUNT_AT, 4),
    (format::BATCH_BYTES + format::SUMMARY_REPLACING_AT, 4),
    (format::BATCH_BYTES + format::SUMMARY_BASE_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_FIRST_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_NEXT_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_SUCCESSOR_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_SUCCESSOR_SALT_AT, 8),
    (format::BATCH_BYTES + format::SUMMARY_BYTES, 8),
    (format::BATCH_BYTES + format::SUMMARY_BYTES + 8, 8),
    (format::BATCH_BYTES + format::SUMMARY_BYTES + format::RUN_BYTES + format::PAGE_HEAD_BYTES, 4),
    (format::BATCH_BYTES + format::ENTRY_LEN_AT, 4),
    (format::BATCH_BYTES + format::ENTRY_FLAGS_AT, 4),
    (format::BATCH_BYTES + format::ENTRY_TERM_AT, 8),
    (format::BATCH_BYTES + format::ENTRY_BYTES, 4),
];

const META: Fields = &[
    (meta::VERSION_AT, 4),
    (meta::LEN_AT, 4),
    (meta::FLAGS_AT, 4),
    (meta::GENERATION_AT, 8),
    (meta::JOURNAL_ID_AT, 8),
    (meta::LIFE_AT, 4),
    (meta::ACCEPTED_AT, 2),
    (meta::REPAIRED_AT, 2),
    (meta::PAIRS_AT, 4),
    (meta::MARK_SEQUENCE_AT, 8),
    (meta::MARK_OFFSET_AT, 4),
    (meta::MARK_CHAIN_AT, 4),
    (meta::MARK_NEXT_AT, 8),
    (meta::MARK_LAST_TERM_AT, 8),
    (meta::MARK_BASE_AT, 8),
    (meta::MARK_REPLACING_AT, 4),
    (meta::MARK_INDEX_AT, 4),
    (meta::PURGED_INDEX_AT, 8),
    (meta::PURGED_TERM_AT, 8),
    (meta::START_SEQUENCE_AT, 8),
    (meta::START_SALT_AT, 8),
    (meta::START_OFFSET_AT, 4),
    (meta::START_CHAIN_AT, 4),
    (meta::START_BASE_AT, 8),
    // The first record of accepted damage, if there is one.
    (meta::FIXED_BYTES, 8),
    (meta::FIXED_BYTES + 8, 4),
    (meta::FIXED_BYTES + 12, 8),
    (meta::FIXED_BYTES + 20, 8),
];

fn put_field(file: &mut [u8], base: usize, fields: Fields, field: u8, number: Number) {
    let (at, len) = fields[usize::from(field) % fields.len()];
    put(file, base + at, &number.value().to_le_bytes()[..len]);
}

/// Sets a field in some of the copies of a `meta` file.
pub fn put_meta_field(file: &mut [u8], copies: u8, field: u8, number: Number) {
    let copy_bytes = file.len() / meta::COPIES;
    for copy in (0..meta::COPIES).filter(|copy| copies & (1 << copy) == 0) {
        put_field(file, copy * copy_bytes, META, field, number);
    }
}

/// Sets a field of the header, in both copies.
pub fn put_header_field(file: &mut [u8], field: u8, number: Number) {
    let edge = checks::Shape::of(file).map_or(0, |shape| shape.edge);
    let copy = file.len().saturating_sub(edge);
    put_field(file, 0, HEADER, field, number);
    put_field(file, copy, HEADER, field, number);
}

/// Sets a field of a batch, counted from the first one.
pub fn put_batch_field(file: &mut [u8], batch: u8, field: u8, number: Number) {
    let batches = checks::batches(file);
    if !batches.is_empty() {
        put_field(file, batches[usize::from(batch) % batches.len()], BATCH, field, number);
    }
}

impl Edit {
    pub fn apply(&self, files: &mut Files, strangers: &[(String, Vec<u8>)]) {
        let names: Vec<String> = files.keys().cloned().collect();
        let named = |number: u8| names.get(usize::from(number) % names.len().max(1)).cloned().unwrap_or_default();
        let segments: Vec<&String> = names.iter().filter(|name| sequence_of(name).is_some()).collect();
        let segment = |number: u8| segments.get(usize::from(number) % segments.len().max(1)).copied();
        match *self {
            Edit::Bytes { file, ref edit } => _ = files.get_mut(&named(file)).map(|file| edit.apply(file)),
            Edit::Header { file, field, number } => {
                let file = segment(file).and_then(|name| files.get_mut(name));
                _ = file.map(|file| put_header_field(file, field, number));
            }
            Edit::Batch { file, batch, field, number } => {
                let file = segment(file).and_then(|name| files.get_mut(name));
                _ = file.map(|file| put_batch_field(file, batch, field, number));
            }
            Edit::Meta { copies, field, number } => {
                _ = files.get_mut("meta").map(|file| put_meta_field(file, copies, field, number));
            }
            Edit::Copy { from, to } => {
                let bytes = files.get(&named(from)).cloned();
                _ = bytes.map(|bytes| files.insert(to.text(), bytes));
            }
            Edit::Swap { one, other } => {
                let [one, other] = [one, other].map(named);
                if let (Some(a), Some(b)) = (files.get(&one).cloned(), files.get(&other).cloned()) {
                    files.insert(one, b);
                    files.insert(other, a);
                }
            }
            Edit::Sectors { from, at, to, onto, count } => {
                let from = files.get(&named(from)).cloned().unwrap_or_default();
                let sectors = from.get(usize::from(at) * 512..).unwrap_or_default();
                let sectors = &sectors[..sectors.len().min(usize::from(count) * 512)];
                _ = files.get_mut(&named(to)).map(|to| put(to, usize::from(onto) * 512, sectors));
            }
            Edit::Remove { file } => _ = files.remove(&named(file)),
            Edit::Stranger { file, to } => {
                let (name, bytes) = &strangers[usize::from(file) % strangers.len()];
                files.insert(to.map_or_else(|| name.clone(), Name::text), bytes.clone());
            }
            Edit::Junk { name, ref bytes } => _ = files.insert(name.text(), bytes.clone()),
        }
    }
}
