//! Trailers, seals and index pages: any bytes, and made up ones with right checksums.
#![no_main]

use std::path::Path;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use raft_journal::fuzzing::{Scan, index_slots, rewrite_trailer, scan};
use raft_journal::io::sim::SimFs;
use raft_journal::layout::segment as format;
use raft_journal_fuzz::edits::{ByteEdit, Number};
use raft_journal_fuzz::plan::{Batch, Body, Entry, Index, JOURNAL_ID, Plan, SALT, SEQUENCE};
use raft_journal_fuzz::{checks, journals, put, segment_name};

#[derive(Arbitrary, Debug)]
enum Case {
    Trailer(Vec<u8>, bool),
    Index { body: Vec<u8>, offset: u32, life: u32, is_mended: bool },
    Sealed { entries: Vec<u16>, index: Index, many: Option<u16>, trailer: Option<(u8, Number)>, edits: Vec<ByteEdit> },
}

fuzz_target!(|case: Case| {
    match case {
        Case::Trailer(bytes, is_mended) => trailer(bytes, is_mended),
        Case::Index { body, offset, life, is_mended } => index(body, offset, life, is_mended),
        Case::Sealed { entries, index, many, trailer, edits } => sealed(&entries, index, many, trailer, &edits),
    }
});

fn trailer(mut bytes: Vec<u8>, is_mended: bool) {
    if is_mended && bytes.len() >= format::TRAILER_BYTES {
        let check = checks::check(SALT, &[&bytes[format::TRAILER_SEAL_AT..format::TRAILER_BYTES]]);
        put(&mut bytes, format::TRAILER_CHECK_AT, &check.to_le_bytes());
    }
    let written = rewrite_trailer(SALT, &bytes);
    assert!(!is_mended || written.is_some() || bytes.len() < format::TRAILER_BYTES);
    assert!(written.is_none_or(|written| bytes.starts_with(&written)));
}

fn index(mut body: Vec<u8>, offset: u32, life: u32, is_mended: bool) {
    let check = if is_mended { checks::mend_index_body(&mut body, SALT, offset, life) } else { offset };
    let slots = index_slots(SALT, offset, life, &body, check).unwrap_or_default();
    assert!(slots.len() <= body.len() / format::SLOT_BYTES);
    assert!(slots.iter().all(|&agrees| agrees), "a page says something else when it is read alone");
}

/// A sealed file, its trailer changed, too.
fn sealed(entries: &[u16], mut index: Index, many: Option<u16>, trailer: Option<(u8, Number)>, edits: &[ByteEdit]) {
    let entry =
        |bytes: &u16| Entry { term: 1, flags: 0, stored_bytes: None, payload: vec![7; usize::from(bytes % 500)] };
    let batch =
        |body| Batch { body, first_index: None, life: 1, padding: 0, count: None, body_bytes: None, field: None };
    if let Some(many) = many {
        // Enough for several pages.
        index.slots = Some((0..many % 1500).map(|slot| (Number::Medium(slot), 1)).collect());
    }
    let batches =
        vec![batch(Body::Entries(entries.iter().map(entry).collect())), batch(Body::Index { is_seal: true, index })];
    let plan = Plan { is_aligned: false, size: 40, header: None, batches, is_trailed: true };
    let mut file = plan.file();
    if let Some((field, number)) = trailer {
        let at = 41 * 512;
        let (field, len) = [(format::TRAILER_SEAL_AT, 4), (format::TRAILER_SEAL_CHECK_AT, 4)][usize::from(field % 2)];
        put(&mut file, at + field, &number.value().to_le_bytes()[..len]);
        let check = checks::check(SALT, &[&file[at + format::TRAILER_SEAL_AT..at + format::TRAILER_BYTES]]);
        put(&mut file, at, &check.to_le_bytes());
    }
    edits.iter().for_each(|edit| edit.apply(&mut file));
    let disk = SimFs::new();
    disk.write_file(Path::new(journals::DIR).join(segment_name(SEQUENCE)), &file).expect("a file name");
    let plan = Scan { journal_id: JOURNAL_ID, chain: 0, base: 1, lives: (1, u32::MAX), index: 0, goes_on: false };
    _ = scan(&disk, Path::new(journals::DIR), SEQUENCE, &plan);
}
