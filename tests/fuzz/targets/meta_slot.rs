//! `meta`: any bytes as a copy, whole files with right checksums over wrong contents.
#![no_main]

use std::path::Path;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use raft_journal::fuzzing::{open_meta, rewrite_meta};
use raft_journal::layout::meta;
use raft_journal_fuzz::edits::{ByteEdit, Number, put_meta_field};
use raft_journal_fuzz::properties::{Way, open};
use raft_journal_fuzz::{Files, checks, journals, piece, u32_at};

#[derive(Arbitrary, Debug)]
struct Case {
    file: File,
    edits: Vec<ByteEdit>,
    fields: Vec<(u8, u8, Number)>,
    is_mended: bool,
    late_edits: Vec<ByteEdit>,
    has_segments: bool,
    way: Way,
}

#[derive(Arbitrary, Debug)]
enum File {
    Any(Vec<u8>),
    Journal(u8),
}

fuzz_target!(|case: Case| {
    let journals = &journals::beginnings().journals;
    let number = if let File::Journal(number) = case.file { usize::from(number) } else { 0 };
    let (mut files, is_encrypted) = journals[number % journals.len()].clone();
    let mut file = match &case.file {
        File::Any(bytes) => bytes.clone(),
        File::Journal(_) => files["meta"].clone(),
    };
    case.edits.iter().for_each(|edit| edit.apply(&mut file));
    case.fields.iter().for_each(|&(copies, field, number)| put_meta_field(&mut file, copies, field, number));
    if case.is_mended {
        checks::mend_meta(&mut file, &checks::Chain::new());
    }
    case.late_edits.iter().for_each(|edit| edit.apply(&mut file));

    for copy in file.chunks((file.len() / meta::COPIES).max(1)) {
        let Some(written) = rewrite_meta(copy) else { continue };
        let len = u32_at(copy, meta::LEN_AT).unwrap_or(0) as usize;
        assert_eq!(rewrite_meta(&written).as_ref(), Some(&written), "what was written is read as it is");
        // Unknown flags and keys out of order are dropped; all else comes back.
        assert!(written.len() <= len, "{} bytes of {len}", written.len());
        assert_eq!(piece(&written, meta::GENERATION_AT, 32), piece(copy, meta::GENERATION_AT, 32));
    }
    if !case.has_segments {
        files = Files::new();
    }
    files.insert("meta".into(), file);
    let disk = journals::disk(&files);
    _ = open_meta(&disk, Path::new(journals::DIR));
    let options = |disk: &_| {
        let options = journals::options(disk);
        if is_encrypted { journals::with_keys(options) } else { options }
    };
    open(disk, options, case.is_mended, &case.way);
});
