//! The program `raft-journal`, run as a process on small journals: sound, damaged, and open in this process.

mod act;
#[cfg(feature = "encryption")]
mod keys;
mod look;
mod readme;
#[cfg(unix)]
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use raft_journal::{Entry, Journal, LogStore, OpenOptions, Position, SegmentInfo, SegmentRole, StableStore};
use serde_json::Value;

/// Runs the program.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-journal"));
    command.args(arguments).env_remove("CLICOLOR_FORCE").output().expect("the program runs")
}

/// Runs the program on a directory: what it printed, and its exit code.
fn on(dir: &Path, command: &str, more: &[&str]) -> (String, i32) {
    let output = run(&[&[command, path(dir)], more].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains('\x1b'), "colours without a terminal: {text:?}");
    (text, output.status.code().expect("an end of its own"))
}

/// The same with `--json`, parsed.
fn json(dir: &Path, command: &str, more: &[&str]) -> (Value, i32) {
    let (text, code) = on(dir, command, &[more, &["--json"]].concat());
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}")), code)
}

/// What it said on standard error, and its exit code.
fn complaint(arguments: &[&str]) -> (String, i32) {
    let output = run(arguments);
    (String::from_utf8(output.stderr).expect("text"), output.status.code().expect("an end of its own"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

/// Small files, so that few entries fill several.
fn options() -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10)
}

/// Entries 1 to 60 of terms 1 to 3 in several files, purged up to 5, and a term and a vote.
fn fill(journal: &Journal) {
    for index in 1..=60 {
        let data = format!("command {index} {}", "x".repeat(400));
        journal.append(&[Entry::new(index, 1 + index / 25, data)]).unwrap();
    }
    journal.set_u64(b"term", 3).unwrap();
    journal.set(b"vote", b"node-2").unwrap();
    journal.truncate_head(Position::new(5, 1)).unwrap();
    // The file that comes next is made in the background, which works for other tests' journals, too, and a close does not
    // wait for it. Each commit asks for it again.
    let lacks_spare = |segments: &[SegmentInfo]| {
        let is_filled = |segment: &SegmentInfo| segment.used_bytes >= segment.bytes / 4 * 3;
        segments.last().is_some_and(|last| last.role == SegmentRole::Active && is_filled(last))
    };
    while lacks_spare(&journal.segments().unwrap()) {
        journal.set(b"vote", b"node-2").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A journal as [`fill`] makes it, closed.
struct Sample {
    _temporary: tempfile::TempDir,
    dir: PathBuf,
}

impl Sample {
    fn new() -> Sample {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("node-1");
        let journal = options().open(&dir).unwrap();
        fill(&journal);
        journal.close().unwrap();
        Sample { _temporary: temporary, dir }
    }

    /// Spoils a byte of the payload of one entry.
    fn spoil(&self, index: u64) {
        let payload = format!("command {index} x");
        for file in std::fs::read_dir(&self.dir).unwrap() {
            let file = file.unwrap().path();
            let mut bytes = std::fs::read(&file).unwrap();
            if let Some(at) = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()) {
                bytes[at] ^= 1;
                std::fs::write(&file, bytes).unwrap();
                return;
            }
        }
        panic!("entry {index} is nowhere");
    }

    /// Every file's bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(&self.dir)
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }
}
