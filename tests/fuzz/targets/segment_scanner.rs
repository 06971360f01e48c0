//! Segment files: any bytes, any bytes behind a right header, and made up batches with right checksums.
#![no_main]

use std::path::Path;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use raft_journal::DamageKind;
use raft_journal::fuzzing::{Scan, scan};
use raft_journal::io::sim::SimFs;
use raft_journal_fuzz::edits::{ByteEdit, Number};
use raft_journal_fuzz::plan::{Batch, JOURNAL_ID, Plan, SEQUENCE};
use raft_journal_fuzz::{checks, journals, put, segment_name, sequence_of};

#[derive(Arbitrary, Debug)]
struct Case {
    file: File,
    edits: Vec<ByteEdit>,
    is_mended: bool,
    late_edits: Vec<ByteEdit>,
    base: Option<Number>,
    lives: (u8, Number),
    index: Option<Number>,
}

#[derive(Arbitrary, Debug)]
enum File {
    Any(Vec<u8>),
    Headed(Vec<u8>),
    Planned(Plan),
    Simple(Vec<Batch>),
    Real(u8, u8),
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        let plan = |size, batches| Plan { is_aligned: false, size, header: None, batches, is_trailed: true };
        match self {
            File::Any(bytes) => bytes.clone(),
            File::Headed(bytes) => {
                let mut file = plan(16, Vec::new()).file();
                let room = bytes.len().min(16 * 512);
                put(&mut file, 512, &bytes[..room]);
                file
            }
            File::Planned(plan) => plan.file(),
            File::Simple(batches) => plan(16, batches.clone()).file(),
            File::Real(journal, file) => {
                let journals = &journals::beginnings().journals;
                let (files, _) = &journals[usize::from(*journal) % journals.len()];
                let segments: Vec<_> = files.iter().filter(|(name, _)| sequence_of(name).is_some()).collect();
                let mut file = segments[usize::from(*file) % segments.len()].1.clone();
                use raft_journal::layout::segment as format;
                for at in [0, file.len() - checks::Shape::of(&file).map_or(512, |shape| shape.edge)] {
                    put(&mut file, at + format::HEADER_JOURNAL_ID_AT, &JOURNAL_ID);
                    put(&mut file, at + format::HEADER_SEQUENCE_AT, &SEQUENCE.to_le_bytes());
                }
                checks::mend_segment(&mut file, Some(0), &mut checks::Chain::new());
                file
            }
        }
    }
}

fuzz_target!(|case: Case| {
    let mut file = case.file.bytes();
    case.edits.iter().for_each(|edit| edit.apply(&mut file));
    if case.is_mended {
        checks::mend_segment(&mut file, Some(0), &mut checks::Chain::new());
    }
    case.late_edits.iter().for_each(|edit| edit.apply(&mut file));
    let disk = SimFs::new();
    let path = Path::new(journals::DIR).join(segment_name(SEQUENCE));
    disk.write_file(&path, &file).expect("a file name");
    for goes_on in [false, true] {
        let lives = (u32::from(case.lives.0), case.lives.1.value() as u32);
        let base = case.base.map_or(1, Number::value);
        let index = case.index.map_or(0, Number::value) as u32;
        let plan = Scan { journal_id: JOURNAL_ID, chain: 0, base, lives, index, goes_on };
        let Ok(Some(scanned)) = scan(&disk, Path::new(journals::DIR), SEQUENCE, &plan) else { continue };
        let rises = scanned.ends.windows(2).all(|pair| pair[0] <= pair[1]);
        assert!(rises, "a scan goes forward: {:?}", scanned.ends);
        assert!(scanned.entries <= file.len() / 8, "{} entries in {} bytes", scanned.entries, file.len());
        // An index may speak of what is not there; a batch that was read may not.
        let wrong = |why: &DamageKind| matches!(why, DamageKind::Checksum | DamageKind::Misplaced);
        assert!(case.index.is_some() || !scanned.unreadable.iter().any(wrong), "{:?}", scanned.unreadable);
    }
});
