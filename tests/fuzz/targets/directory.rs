//! Whole directories: the files of a journal, changed, exchanged, lost and invented, with and without right checksums.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use raft_journal::io::sim::SimFs;
use raft_journal::{Compression, OpenOptions};
use raft_journal_fuzz::edits::Edit;
use raft_journal_fuzz::properties::{Way, open};
use raft_journal_fuzz::{checks, journals};

#[derive(Arbitrary, Debug)]
struct Case {
    journal: u8,
    edits: Vec<Edit>,
    is_mended: bool,
    late_edits: Vec<Edit>,
    way: Way,
    is_aligned: bool,
    is_compressed: bool,
    index_cache: bool,
    /// A plain journal is opened with keys, an encrypted one without.
    is_mistaken: bool,
}

impl Case {
    fn options(&self, disk: &SimFs, is_encrypted: bool) -> OpenOptions {
        let mut options = journals::options(disk);
        if self.is_aligned {
            options = options.align_4k(true).segment_bytes(32 << 10);
        }
        if self.is_compressed {
            options = options.compression(Compression::Lz4 { threshold_bytes: 32 });
        }
        if is_encrypted != self.is_mistaken {
            options = journals::with_keys(options);
        }
        options.index_cache_bytes(if self.index_cache { 64 << 10 } else { 0 })
    }
}

fuzz_target!(|case: Case| {
    let beginnings = journals::beginnings();
    let (mut files, is_encrypted) = beginnings.journals[usize::from(case.journal) % beginnings.journals.len()].clone();
    case.edits.iter().for_each(|edit| edit.apply(&mut files, &beginnings.strangers));
    if case.is_mended {
        checks::mend_files(&mut files);
    }
    case.late_edits.iter().for_each(|edit| edit.apply(&mut files, &beginnings.strangers));
    open(journals::disk(&files), |disk| case.options(disk, is_encrypted), case.is_mended, &case.way);
});
