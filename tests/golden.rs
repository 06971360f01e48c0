//! Journals that earlier builds wrote must stay readable, with exactly the content they had.
//!
//! `tests/golden/v1` was written by the first version of the format and is never written again. When the format gets a
//! new version, and only then, add a directory: write its history and content below, name it in [`GOLDEN`], and run
//!
//! ```text
//! RAFT_JOURNAL_GOLDEN=v3 cargo test --test golden every_version_is_kept
//! ```
//!
//! which refuses to write over a directory that is there.

#[cfg(feature = "encryption")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use raft_journal::{
    Changes, Compression, Entry, Error, Journal, KeyFault, LogStore, OnDamage, OpenOptions, Position, Result,
    StableStore,
};

#[cfg(feature = "encryption")]
use common::walk;

/// A journal that is kept: its directory, how it was written, and what it must hold.
struct Golden {
    name: &'static str,
    options: fn() -> OpenOptions,
    write: fn(&Path) -> Result<()>,
    content: fn() -> Content,
}

const GOLDEN: &[Golden] = &[
    Golden { name: "v1", options: OpenOptions::new, write: write_v1, content: content_v1 },
    Golden { name: "v2", options: OpenOptions::new, write: write_repaired, content: content_repaired },
    Golden { name: "v3", options: OpenOptions::new, write: write_repaired, content: content_repaired },
    #[cfg(feature = "encryption")]
    Golden { name: ENCRYPTED[0], options: encrypted, write: write_encrypted, content: content_v1 },
    #[cfg(feature = "encryption")]
    Golden { name: ENCRYPTED[1], options: encrypted, write: write_encrypted, content: content_v1 },
];

/// Kept in every build: one without the feature must say why it cannot read them. The first one shows its terms.
const ENCRYPTED: [&str; 2] = ["v1-encrypted", "v4-encrypted"];

/// Everything that a journal holds.
struct Content {
    purged: Position,
    entries: Vec<Entry>,
    pairs: Vec<(&'static str, &'static [u8])>,
    life: u32,
}

const FILES_BYTES_MAX: u64 = 400 << 10;

fn options() -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512)
}

fn payload(index: u64) -> String {
    format!("entry {index}: {}", "abcdefghij".repeat((index % 30) as usize))
}

fn words() -> String {
    "the same words again and again ".repeat(40)
}

#[cfg(feature = "encryption")]
fn encrypted() -> OpenOptions {
    let keys = raft_journal::KeyRing::new(7, raft_journal::Key::new([0x42; 32]));
    OpenOptions::new().encryption(std::sync::Arc::new(keys))
}

fn write_v1(dir: &Path) -> Result<()> {
    write(&options(), dir)
}

#[cfg(feature = "encryption")]
fn write_encrypted(dir: &Path) -> Result<()> {
    write(&encrypted().segment_bytes(8 << 10).meta_bytes_max(512), dir)
}

/// Several sealed segments, a purged head, a replaced tail, a compressed entry, an empty one, a vote; two lives.
fn write(options: &OpenOptions, dir: &Path) -> Result<()> {
    let journal = options.open(dir)?;
    journal.set_u64(b"term", 1)?;
    for index in 1..=120 {
        journal.append(&[Entry::new(index, 1 + index / 50, payload(index))])?;
    }
    journal.commit(&Changes::new().set("vote", "node-3").set_u64("term", 4))?;
    journal.set_lazy(b"committed", b"110")?;
    journal.replace_tail(&[Entry::new(111, 4, "a new leader's"), Entry::new(112, 4, "")])?;
    journal.truncate_head(Position::new(40, 1))?;
    journal.close()?;

    let journal = options.clone().compression(Compression::Lz4 { threshold_bytes: 256 }).open(dir)?;
    journal.append(&[Entry::new(113, 4, words()), Entry::new(114, 5, "behind the words")])?;
    journal.truncate_tail(114)?;
    journal.append(&[Entry::new(114, 6, "the end")])?;
    journal.close()
}

fn content_v1() -> Content {
    let mut entries: Vec<Entry> = (41..=110).map(|index| Entry::new(index, 1 + index / 50, payload(index))).collect();
    entries.extend([
        Entry::new(111, 4, "a new leader's"),
        Entry::new(112, 4, ""),
        Entry::new(113, 4, words()),
        Entry::new(114, 6, "the end"),
    ]);
    Content {
        purged: Position::new(40, 1),
        entries,
        pairs: vec![("committed", b"110"), ("term", &[4, 0, 0, 0, 0, 0, 0, 0]), ("vote", b"node-3")],
        life: 2,
    }
}

/// Three entries that were damaged, each in another way, and put back: `meta` was of version 2, and is of version 3 since it
/// says where the log goes on behind the loss that was accepted. Two lives.
fn write_repaired(dir: &Path) -> Result<()> {
    let options = || options().tail_cache_bytes(0);
    let entry = |index: u64| Entry::new(index, 1 + index / 20, payload(index));
    let scratch = tempfile::tempdir().unwrap();
    let writer = options().open(scratch.path().join("journal"))?;
    (1..=50).try_for_each(|index| writer.append(&[entry(index)]).map(drop))?;
    writer.truncate_head(Position::new(5, 1))?;
    // As a kill leaves it.
    fs::create_dir_all(dir).unwrap();
    files(writer.dir()).iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
    let spoil = |index: u64, before: usize| {
        let data = payload(index);
        let is_it = |(name, bytes): (String, Vec<u8>)| {
            let at = bytes.windows(data.len()).position(|found| found == data.as_bytes())?;
            name.ends_with(".seg").then_some((name, bytes, at))
        };
        let (name, mut bytes, at) = files(dir).into_iter().find_map(is_it).unwrap();
        bytes[at + 2 - before] ^= 0x55;
        fs::write(dir.join(name), bytes).unwrap();
    };
    // A payload in a sealed segment; the header of a batch in the last one, and a payload there.
    spoil(9, 0);
    spoil(49, 72 + 20 - 30);
    let journal = options().on_damage(OnDamage::Accept).open(dir)?;
    spoil(48, 0);
    for index in [9, 48, 49] {
        assert!(matches!(journal.entry(index), Err(Error::Damaged(_))), "{index}");
        journal.repair(&[entry(index)])?;
    }
    (51..=70).try_for_each(|index| journal.append(&[entry(index)]).map(drop))?;
    journal.set_u64(b"term", 4)?;
    journal.close()
}

fn content_repaired() -> Content {
    let entries = (6..=70).map(|index| Entry::new(index, 1 + index / 20, payload(index))).collect();
    Content { purged: Position::new(5, 1), entries, pairs: vec![("term", &[4, 0, 0, 0, 0, 0, 0, 0])], life: 2 }
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// A copy of a kept journal that may be written to.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("journal");
    fs::create_dir(&dir).unwrap();
    for (name, bytes) in files(&directory(name)) {
        fs::write(dir.join(name), bytes).unwrap();
    }
    (temporary, dir)
}

fn assert_content(journal: &Journal, content: &Content) {
    let state = journal.state();
    assert_eq!(state.purged, Some(content.purged));
    assert_eq!(state.first, Some(content.purged.index + 1));
    assert_eq!(state.last, content.entries.last().map(Entry::position));
    assert_eq!(state.durable, state.last);
    assert_eq!(journal.term(content.purged.index).unwrap(), content.purged.term);
    let range = content.purged.index + 1..state.next_index().unwrap();
    assert_eq!(journal.entries(range.clone(), u64::MAX).unwrap(), content.entries);
    for (index, entry) in range.clone().zip(&content.entries) {
        assert_eq!(&journal.entry(index).unwrap(), entry);
        assert_eq!(journal.term(index).unwrap(), entry.term);
    }
    assert!(matches!(journal.entry(range.start - 1), Err(Error::BeforeFirst { .. })));
    assert!(matches!(journal.entry(range.end), Err(Error::AfterLast { .. })));
    for &(key, value) in &content.pairs {
        assert_eq!(journal.get(key.as_bytes()).unwrap().as_deref(), Some(value), "{key}");
    }
}

#[test]
fn a_kept_journal_reads_as_it_was_written() {
    for golden in GOLDEN {
        let (_temporary, dir) = copy(golden.name);
        let content = (golden.content)();
        let looker = (golden.options)().read_only(true).open(&dir).unwrap();
        assert_content(&looker, &content);
        let report = looker.recovery_report();
        assert!(report.clean && report.suspect.is_none() && report.torn.is_none(), "{report:?}");
        assert_eq!((report.life, report.segments > 2), (content.life, true), "{report:?}");
        assert!(report.damaged.is_empty() && report.reindexed.is_empty() && report.foreign.is_empty(), "{report:?}");
        assert_eq!(files(&dir), files(&directory(golden.name)), "a read-only open wrote something");
    }
}

#[test]
fn a_kept_journal_goes_on() {
    for golden in GOLDEN {
        let (_temporary, dir) = copy(golden.name);
        let mut content = (golden.content)();
        // With another bound than it was written with, so that `meta` is rewritten.
        let journal = (golden.options)().open(&dir).unwrap();
        assert_content(&journal, &content);
        assert_eq!(journal.recovery_report().life, content.life + 1);
        let last = journal.state().last.unwrap();
        content.entries.push(Entry::new(last.index + 1, last.term, "written by this build"));
        journal.append(&content.entries[content.entries.len() - 1..]).unwrap();
        drop(journal);
        assert_content(&(golden.options)().open(&dir).unwrap(), &content);
    }
}

#[test]
fn a_kept_journal_that_is_encrypted_is_refused_without_its_key() {
    for name in ENCRYPTED {
        let (_temporary, dir) = copy(name);
        for read_only in [true, false] {
            let refused = options().read_only(read_only).open(&dir);
            assert!(matches!(refused, Err(Error::Key { key_id: 7, fault: KeyFault::NoKeys, .. })), "{refused:?}");
        }
    }
}

/// Whether each segment of a journal hides its terms.
#[cfg(feature = "encryption")]
fn hidden(dir: &Path) -> Vec<bool> {
    use raft_journal::layout::segment::{FLAG_TERMS_ENCRYPTED, HEADER_FLAGS_AT};
    let segments = files(dir).into_iter().filter(|(name, _)| name.ends_with(".seg"));
    segments.map(|(_, bytes)| u32::from(bytes[HEADER_FLAGS_AT]) & FLAG_TERMS_ENCRYPTED != 0).collect()
}

/// The file that an earlier build began goes on as it was, down to its seal; those behind it, and what is rewritten, hide
/// their terms.
#[cfg(feature = "encryption")]
#[test]
fn a_kept_journal_that_shows_its_terms_goes_on_and_hides_them_in_new_files() {
    let (_temporary, dir) = copy(ENCRYPTED[0]);
    let options = || encrypted().segment_bytes(8 << 10).meta_bytes_max(512).tail_cache_bytes(0);
    let mut content = content_v1();
    assert!(hidden(&dir).iter().all(|hides| !hides), "an earlier build's");
    for term in 7..12 {
        let journal = options().open(&dir).unwrap();
        assert_content(&journal, &content);
        let next = content.entries.last().unwrap().index + 1;
        let more = (next..next + 20).map(|index| Entry::new(index, term + (index - next) / 10, payload(index)));
        content.entries.extend(more);
        for entry in &content.entries[content.entries.len() - 20..] {
            journal.append(std::slice::from_ref(entry)).unwrap();
        }
        journal.close().unwrap();
        let kinds = hidden(&dir);
        let shown = kinds.iter().take_while(|hides| !**hides).count();
        assert!(shown > 0 && kinds[shown..].iter().all(|hides| *hides), "{kinds:?}");
    }
    assert!(hidden(&dir).last().unwrap(), "the file that an earlier build began is sealed");
    // An entry that is lost in a file of the earlier form is still known by its checksum, and by its batch.
    let lost = &content.entries[70];
    assert_eq!(lost.data, "a new leader's");
    spoil_shown(&dir, lost);
    let journal = options().open(&dir).unwrap();
    assert!(matches!(journal.entry(lost.index), Err(Error::Damaged(_))));
    let other = Entry::new(lost.index, lost.term, vec![b'x'; lost.data.len()]);
    assert!(matches!(journal.repair(&[other]), Err(Error::RepairRefused { .. })));
    journal.repair(std::slice::from_ref(lost)).unwrap();
    assert_content(&journal, &content);
    journal.rewrite().unwrap();
    journal.close().unwrap();
    assert!(hidden(&dir).iter().all(|hides| *hides), "{:?}", hidden(&dir));
    assert_content(&options().open(&dir).unwrap(), &content);
    // No file was used again that still shows what it held.
    let old: Vec<Vec<u8>> = files(&directory(ENCRYPTED[0])).into_values().collect();
    let entries =
        old.iter().filter(|file| file.len() > 512 && !file.starts_with(b"RJMETA")).map(|file| &file[584..640]);
    for (entry, (name, file)) in entries.flat_map(|entry| files(&dir).into_iter().map(move |file| (entry, file))) {
        assert!(!file.windows(entry.len()).any(|found| found == entry), "{name}");
    }
}

/// A file that an earlier build prepared, and wrote nothing to, is not gone on in.
#[cfg(feature = "encryption")]
#[test]
fn a_kept_journal_does_not_go_on_in_a_prepared_file_that_would_show_terms() {
    use raft_journal::layout::segment as s;
    let (_temporary, dir) = copy(ENCRYPTED[0]);
    let (newest, mut spare) = files(&dir).into_iter().rfind(|(name, _)| name.ends_with(".seg")).unwrap();
    let (sequence, end) = (newest[..20].parse::<u64>().unwrap() + 1, spare.len());
    spare[512..end - 512].fill(0);
    for at in [0, end - 512] {
        let header = &mut spare[at..at + s::HEADER_BYTES];
        header[s::HEADER_SEQUENCE_AT..s::HEADER_SIZE_AT].copy_from_slice(&sequence.to_le_bytes());
        let check = common::unsalted_check(&[&header[..s::HEADER_CHECK_AT], &header[s::HEADER_FLAGS_AT..]]);
        header[s::HEADER_CHECK_AT..s::HEADER_FLAGS_AT].copy_from_slice(&check.to_le_bytes());
    }
    // The record of the key has a checksum under the file's salt, which stays.
    fs::write(dir.join(format!("{sequence:020}.seg")), spare).unwrap();
    let journal = encrypted().segment_bytes(8 << 10).meta_bytes_max(512).open(&dir).unwrap();
    assert_eq!(journal.recovery_report().leftover, [dir.join(format!("{sequence:020}.seg"))]);
    assert_content(&journal, &content_v1());
}

/// The version in front of a `meta` decides how it is read: one that was written in another is not authentic.
#[cfg(feature = "encryption")]
#[test]
fn a_kept_meta_is_not_read_as_a_newer_one() {
    use raft_journal::layout::meta;
    let (_temporary, dir) = copy(ENCRYPTED[0]);
    let mut bytes = fs::read(dir.join("meta")).unwrap();
    let copy_bytes = bytes.len() / meta::COPIES;
    for copy in bytes.chunks_mut(copy_bytes) {
        let len = u32::from_le_bytes(copy[meta::LEN_AT..meta::LEN_AT + 4].try_into().unwrap()) as usize;
        copy[meta::VERSION_AT] = meta::VERSION_ENCRYPTED as u8;
        let check = common::unsalted_check(&[&copy[..meta::CHECK_AT], &copy[meta::LEN_AT..len]]);
        copy[meta::CHECK_AT..meta::CHECK_AT + 4].copy_from_slice(&check.to_le_bytes());
    }
    fs::write(dir.join("meta"), bytes).unwrap();
    let refused = encrypted().open(&dir);
    assert!(matches!(refused, Err(Error::Key { key_id: 7, fault: KeyFault::NotAuthentic, .. })), "{refused:?}");
}

/// Damages the last byte of an entry's payload, in a segment that shows its term.
#[cfg(feature = "encryption")]
fn spoil_shown(dir: &Path, entry: &Entry) {
    let is_it = |stored: &walk::Stored| (stored.index, stored.term) == (entry.index, Some(entry.term));
    let segments = files(dir).into_iter().filter(|(name, _)| name.ends_with(".seg"));
    let mut found =
        segments.filter_map(|(name, file)| Some((name, walk::entries(&file).into_iter().find(is_it)?, file)));
    let (name, stored, mut bytes) = found.next_back().unwrap();
    bytes[stored.bytes.end - 17] ^= 1;
    fs::write(dir.join(name), bytes).unwrap();
}

#[test]
fn the_kept_files_are_small_and_all_known() {
    let mut bytes = 0;
    for entry in fs::read_dir(directory("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        bytes += files(&directory(&name)).values().map(|file| file.len() as u64).sum::<u64>();
        let is_read = GOLDEN.iter().any(|golden| name == golden.name) || ENCRYPTED.contains(&name.as_str());
        assert!(is_read, "nobody reads {name:?}");
    }
    assert!(bytes <= FILES_BYTES_MAX, "{bytes} bytes");
}

/// What the history of a kept journal makes is what its content says, in this build too.
#[test]
fn a_history_makes_its_content() {
    for golden in GOLDEN {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("journal");
        (golden.write)(&dir).unwrap();
        assert_content(&(golden.options)().read_only(true).open(&dir).unwrap(), &(golden.content)());
    }
}

#[test]
fn every_version_is_kept() {
    if let Ok(name) = std::env::var("RAFT_JOURNAL_GOLDEN") {
        let golden = GOLDEN.iter().find(|golden| golden.name == name).expect("a directory that GOLDEN knows");
        let dir = directory(golden.name);
        assert!(!dir.exists(), "{} is there: a kept journal is never written again", dir.display());
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        (golden.write)(&dir).unwrap();
    }
    for golden in GOLDEN {
        assert!(directory(golden.name).join("meta").is_file(), "the kept journal {} is missing", golden.name);
    }
}
