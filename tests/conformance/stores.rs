//! The stores that must pass.

use raft_journal::conformance::{self, Group, Report};
use raft_journal::{Compression, MemoryStore, OpenOptions};

/// Small files, so that a short history has many of them.
fn options() -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(16 << 10).tail_cache_bytes(500)
}

fn groups(report: &Report) -> Vec<Group> {
    report.tallies().iter().map(|tally| tally.group).collect()
}

#[test]
fn the_journal_passes_on_a_disk_that_loses_power() {
    let report = conformance::on_any_disk(|disk, dir| options().file_system(disk).open(dir));
    println!("{report}");
    assert!(report.passed(), "{report}");
    let all = [Group::Contract, Group::BadInput, Group::Reopen, Group::PowerCut, Group::Concurrency];
    assert_eq!(groups(&report), all);
    // A suite that looks at nothing passes everything.
    assert!(report.tallies().iter().all(|tally| tally.checks > 20), "{report}");
}

#[test]
fn the_journal_passes_with_other_options() {
    let others = [
        options().segment_bytes(32 << 10).align_4k(true),
        options().compression(Compression::Lz4 { threshold_bytes: 200 }),
        OpenOptions::new(),
    ];
    for options in others {
        let report = conformance::on_any_disk(|disk, dir| options.clone().file_system(disk).open(dir));
        assert!(report.passed(), "{options:?}\n{report}");
    }
}

#[test]
fn the_journal_passes_on_a_real_disk() {
    let temporary = tempfile::tempdir().unwrap();
    let report = conformance::in_directory(temporary.path(), |dir| options().open(dir));
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert_eq!(groups(&report), [Group::Contract, Group::BadInput, Group::Reopen, Group::Concurrency]);
}

#[test]
fn the_store_in_memory_passes() {
    let report = conformance::in_memory(|| Ok(MemoryStore::new()));
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert_eq!(groups(&report), [Group::Contract, Group::BadInput, Group::Concurrency]);
}
