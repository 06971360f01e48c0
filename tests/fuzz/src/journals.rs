//! The journals that fuzzing begins with: small, of every shape, made here.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use raft_journal::io::Fs;
use raft_journal::io::sim::SimFs;
use raft_journal::{
    Changes, Compression, Entry, Journal, Key, KeyRing, LogStore, OnDamage, OpenOptions, Position, StableStore,
};

use crate::Files;

/// Where a journal lives on its disk.
pub const DIR: &str = "/journal";

/// The smallest segments, so that few entries make several.
pub fn options(disk: &SimFs) -> OpenOptions {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512).tail_cache_bytes(0).file_system(fs)
}

/// The same with keys: the journal is encrypted.
pub fn with_keys(options: OpenOptions) -> OpenOptions {
    options.encryption(Arc::new(KeyRing::new(2, Key::new([7; 32])).with(1, Key::new([9; 32]))))
}

/// A disk with these files.
pub fn disk(files: &Files) -> SimFs {
    let disk = SimFs::new();
    for (name, bytes) in files {
        disk.write_file(Path::new(DIR).join(name), bytes).expect("a file name");
    }
    disk
}

/// Every file in the journal's directory.
pub fn files(disk: &SimFs) -> Files {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let file = |path: &std::path::PathBuf| Some((name(path)?, disk.read_file(path).ok()?));
    disk.paths().iter().filter(|path| path.starts_with(DIR)).filter_map(file).collect()
}

/// The journals, and files that can be mixed in.
pub struct Beginnings {
    /// Each with whether it is encrypted.
    pub journals: Vec<(Files, bool)>,
    pub strangers: Vec<(String, Vec<u8>)>,
}

/// Made once.
pub fn beginnings() -> &'static Beginnings {
    static MADE: OnceLock<Beginnings> = OnceLock::new();
    MADE.get_or_init(|| {
        let [early, late, closed] = long();
        let stranger = |files: &Files| files.clone().into_iter().collect::<Vec<_>>();
        let strangers = [stranger(&early), stranger(&one_batch(9, false))].concat();
        let (aligned, accepted) = (aligned(), accepted());
        let plain =
            [golden(), closed, late, fresh(), one_batch(3, false), one_batch(4, true), aligned, accepted, repaired()];
        let plain = plain.into_iter().map(|files| (files, false));
        let encrypted = [encrypted(false), encrypted(true)].into_iter().map(|files| (files, true));
        Beginnings { journals: plain.chain(encrypted).collect(), strangers }
    })
}

fn open(disk: &SimFs) -> Journal {
    options(disk).open(DIR).expect("a sound journal")
}

fn append(journal: &Journal, indexes: std::ops::RangeInclusive<u64>, term: u64, bytes: usize) {
    for index in indexes {
        journal.append(&[Entry::new(index, term, vec![index as u8; bytes])]).expect("an append");
    }
}

/// Several segments, a tail that was replaced across a boundary, a head that is gone: early, at the end, and closed.
fn long() -> [Files; 3] {
    let disk = SimFs::with_seed(1);
    let journal = open(&disk);
    append(&journal, 1..=10, 1, 900);
    let early = files(&disk);
    append(&journal, 11..=20, 2, 900);
    journal.replace_tail(&[Entry::new(14, 3, "a"), Entry::new(15, 3, "b")]).expect("a replacement");
    append(&journal, 16..=22, 3, 900);
    journal.commit(&Changes::new().set_u64("term", 3).truncate_head(Position::new(4, 1))).expect("a commit");
    journal.truncate_tail(21).expect("a truncation");
    append(&journal, 21..=23, 4, 10);
    let late = files(&disk);
    journal.close().expect("a close");
    [early, late, files(&disk)]
}

fn fresh() -> Files {
    let disk = SimFs::with_seed(2);
    drop(open(&disk));
    files(&disk)
}

/// A single batch, closed in order or not.
fn one_batch(seed: u64, closed: bool) -> Files {
    let disk = SimFs::with_seed(seed);
    let journal = open(&disk);
    let batch: Vec<Entry> = (7..12).map(|index| Entry::new(index, 2, vec![1; 20])).collect();
    journal.append(&batch).expect("an append");
    journal.set_u64(b"vote", 5).expect("a vote");
    let killed = files(&disk);
    drop(journal);
    if closed { files(&disk) } else { killed }
}

/// Batches at multiples of 4 KiB, compressed.
fn aligned() -> Files {
    let disk = SimFs::with_seed(5);
    let compression = Compression::Lz4 { threshold_bytes: 64 };
    let options = options(&disk).segment_bytes(32 << 10).align_4k(true).compression(compression);
    let journal = options.open(DIR).expect("a sound journal");
    append(&journal, 1..=6, 1, 900);
    drop(journal);
    files(&disk)
}

/// Some entries are lost, and the loss accepted; the log goes on.
fn accepted() -> Files {
    let (disk, journal) = accepting(6);
    append(&journal, 21..=22, 1, 10);
    drop(journal);
    files(&disk)
}

/// Some entries were lost, and put back.
fn repaired() -> Files {
    let (disk, journal) = accepting(7);
    let lost: Vec<u64> = (1..=20).filter(|&index| journal.entry(index).is_err()).collect();
    assert!(!lost.is_empty());
    let put_back: Vec<Entry> = lost.iter().map(|&index| Entry::new(index, 1, vec![index as u8; 900])).collect();
    journal.repair(&put_back).expect("a repair");
    append(&journal, 21..=22, 1, 10);
    drop(journal);
    files(&disk)
}

/// A journal whose loss of some of twenty entries was accepted, open.
fn accepting(seed: u64) -> (SimFs, Journal) {
    let disk = SimFs::with_seed(seed);
    let journal = open(&disk);
    append(&journal, 1..=20, 1, 900);
    journal.close().expect("a close");
    let mut files = files(&disk);
    let name = files.keys().find(|name| name.ends_with(".seg")).cloned().expect("a segment");
    files.entry(name).and_modify(|file| file[2000..3000].fill(0xa5));
    let disk = crate::journals::disk(&files);
    let journal = options(&disk).on_damage(OnDamage::Accept).open(DIR).expect("an open that accepts");
    (disk, journal)
}

/// A journal with keys: several segments, or what is left of them in one that was written anew.
fn encrypted(is_rewritten: bool) -> Files {
    let disk = SimFs::with_seed(8);
    let journal = with_keys(options(&disk)).open(DIR).expect("a sound journal");
    append(&journal, 1..=10, 1, 900);
    journal.set_u64(b"vote", 5).expect("a vote");
    if is_rewritten {
        journal.truncate_head(Position::new(6, 1)).expect("a truncation");
        journal.rewrite().expect("all of it in one file");
    }
    append(&journal, 11..=12, 2, 10);
    let killed = files(&disk);
    drop(journal);
    if is_rewritten { killed } else { files(&disk) }
}

macro_rules! golden_files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../golden/v1/", $name)).as_slice())),*]
    };
}

/// The journal that is kept to show that old ones stay readable.
fn golden() -> Files {
    let files = golden_files![
        "meta" "00000000000000000002.seg" "00000000000000000003.seg" "00000000000000000004.seg"
        "00000000000000000005.seg" "00000000000000000006.seg"
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}
