//! Encrypted journals, and the file that their keys are in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_journal::{Key, KeyRing, OpenOptions};
use serde_json::json;

use super::{Sample, complaint, fill, json, on, options, path, run};

/// What no output may ever show, nor its beginning.
const DIGITS: &str = "c0de4a11";

/// Journals that are encrypted, and key files, side by side.
struct Encrypted {
    temporary: tempfile::TempDir,
}

/// The key with this id: its bytes tell it from others.
fn digits(id: u32) -> String {
    format!("{DIGITS}{id:056x}")
}

fn key(id: u32) -> Key {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits(id), &mut bytes).unwrap();
    Key::new(bytes)
}

fn encrypted(current: u32) -> OpenOptions {
    let ring = [1, 2].iter().fold(KeyRing::new(current, key(current)), |ring, &id| ring.with(id, key(id)));
    options().encryption(Arc::new(ring))
}

impl Encrypted {
    fn new() -> Encrypted {
        Encrypted { temporary: tempfile::tempdir().unwrap() }
    }

    /// A journal as [`fill`] makes it, under key 1.
    fn journal(&self, name: &str) -> PathBuf {
        let dir = self.temporary.path().join(name);
        let journal = encrypted(1).open(&dir).unwrap();
        fill(&journal);
        journal.close().unwrap();
        dir
    }

    fn key_file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.temporary.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Both keys, the second one last.
    fn keys(&self) -> PathBuf {
        self.key_file("keys", &format!("# of node 1\n1 {}\n\n2 {} # since May\n", digits(1), digits(2)))
    }
}

/// Spoils the payload of an entry, of which nothing can be found by looking: by its place in the file.
fn spoil(dir: &Path, index: u64) {
    let journal = encrypted(1).read_only(true).open(dir).unwrap();
    let segments = journal.segments().unwrap();
    let segment = segments.iter().find(|segment| segment.indexes.contains(&index)).unwrap();
    let mut bytes = std::fs::read(&segment.path).unwrap();
    // A batch an entry, all of them of one length, behind the first page.
    let at = 512 + usize::try_from(index - segment.indexes.start).unwrap() * 536 + 300;
    bytes[at] ^= 1;
    std::fs::write(&segment.path, bytes).unwrap();
}

#[test]
fn with_its_keys_an_encrypted_journal_is_read_as_any_other() {
    let (all, plain) = (Encrypted::new(), Sample::new());
    let (dir, keys) = (all.journal("node-1"), all.keys());
    let with = ["--key-file", path(&keys)];
    let (info, code) = json(&dir, "info", &with);
    assert_eq!((code, &info["entries"], &info["pairs"][0]["u64"]), (0, &json!(55), &json!(3)), "{info}");
    assert_eq!(info["files_by_key"], json!({ "1": info["segments"] }));
    let (text, _) = on(&dir, "info", &with);
    assert!(text.contains(&format!("1, of {} files", info["segments"])), "{text}");
    let (list, code) = json(&dir, "ls", &with);
    assert_eq!((code, &list["segments"][0]["key_id"]), (0, &json!(1)));
    for format in [&[][..], &["--format", "json"], &["--format", "hex"]] {
        assert_eq!(on(&dir, "dump", &[format, &with].concat()), on(&plain.dir, "dump", format));
    }
    let (report, code) = json(&dir, "verify", &with);
    assert_eq!((code, &report["faults"]), (0, &json!([])));
    let (told, code) = json(&dir, "recover", &["--dry-run", "--key-file", path(&keys)]);
    assert_eq!((code, &told["opens"]), (0, &json!(true)));
}

#[test]
fn a_checkpoint_is_written_under_the_last_key_or_the_one_that_is_named() {
    let all = Encrypted::new();
    let (dir, keys) = (all.journal("node-1"), all.keys());
    let only = |id| all.key_file("only", &format!("{id} {}", digits(id)));
    for (id, more) in [(2, &[][..]), (1, &["--key-id", "1"])] {
        let backup = all.temporary.path().join(format!("backup-{id}"));
        let arguments = [&[path(&backup), "--key-file", path(&keys)], more].concat();
        assert_eq!(on(&dir, "checkpoint", &arguments).1, 0);
        assert_eq!(on(&backup, "dump", &["--key-file", path(&keys)]), on(&dir, "dump", &["--key-file", path(&keys)]));
        // Its `meta` needs the key that it was written with, and no other one.
        let (text, code) = complaint(&["info", path(&backup), "--key-file", path(&only(3 - id))]);
        assert!(code == 3 && text.contains("no key with this id") && text.contains("hint: "), "{text}");
    }
}

#[test]
fn repair_takes_each_journal_by_its_own_keys() {
    let all = Encrypted::new();
    let (dir, other, plain, keys) = (all.journal("node-1"), all.journal("node-2"), Sample::new(), all.keys());
    let from = |other: &Path, more: &[&str]| {
        let arguments = [&["--from", path(other), "--key-file", path(&keys)], more].concat();
        json(&dir, "repair", &arguments)
    };
    spoil(&dir, 20);
    let (told, code) = from(&other, &["--dry-run"]);
    assert_eq!((code, &told["repairable"]), (1, &json!(1)), "{told}");
    let (told, code) = from(&other, &[]);
    assert_eq!((code, &told["repaired"]), (0, &json!(1)), "{told}");
    // What is put back is written under the current key.
    let journal = encrypted(1).read_only(true).open(&dir).unwrap();
    assert_eq!(journal.segments_by_key().get(&2), Some(&1));
    // A peer that is not encrypted, said to be: nobody can put one there in secret.
    spoil(&dir, 21);
    let complaint = |more: &[&str]| {
        let given = ["repair", path(&dir), "--from", path(&plain.dir), "--key-file", path(&keys)];
        complaint(&[&given, more].concat())
    };
    let (text, code) = complaint(&[]);
    assert!(code == 3 && text.contains("is not encrypted") && text.contains("--from-plain"), "{text}");
    assert_eq!(complaint(&["--from-plain", "--from-key-file", path(&keys)]).1, 2);
    let (told, code) = from(&plain.dir, &["--from-plain"]);
    assert_eq!((code, &told["repaired"]), (0, &json!(1)), "{told}");
    // And the other way round: a plain journal, an encrypted peer.
    plain.spoil(30);
    let arguments = ["--from", path(&dir), "--from-key-file", path(&keys)];
    let (told, code) = json(&plain.dir, "repair", &arguments);
    assert_eq!((code, &told["repaired"]), (0, &json!(1)), "{told}");
    let given = on(&dir, "dump", &["--key-file", path(&keys)]);
    assert_eq!(given, on(&plain.dir, "dump", &[]));
}

#[test]
fn keys_that_do_not_fit_are_refused_and_change_nothing() {
    let all = Encrypted::new();
    let (dir, plain, keys) = (all.journal("node-1"), Sample::new(), all.keys());
    let wrong = all.key_file("wrong", &format!("1 {}", digits(2)));
    let unknown = all.key_file("unknown", &format!("2 {}", digits(2)));
    let before = std::fs::read_dir(&dir).unwrap().count();
    for (dir, keys, why, hint) in [
        (&dir, &wrong, "another key under this id", "another journal's or node's"),
        (&dir, &unknown, "no key with this id", "add the key"),
        (&plain.dir, &keys, "it is not encrypted", "leave `--key-file` out"),
    ] {
        for command in ["info", "ls", "dump", "verify"] {
            let (text, code) = complaint(&[command, path(dir), "--key-file", path(keys)]);
            assert!(code == 3 && text.contains(why) && text.contains(hint), "{command}: {code}, {text}");
        }
    }
    let (text, code) = complaint(&["repair", path(&dir), "--from", path(&dir), "--key-file", path(&wrong)]);
    assert!(code == 3 && text.contains("another key under this id"), "{text}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), before);
}

/// By its line, and without a digit of it: a slip must not put a key into a log.
#[test]
fn a_key_file_that_cannot_be_read_is_refused_and_not_shown() {
    let all = Encrypted::new();
    let (dir, good) = (all.journal("node-1"), digits(1));
    for (text, why) in [
        (format!("# keys\n1 {good}\n2 {}", &good[2..]), "line 3: the key has 62 characters"),
        (format!("1 {}zz", &good[2..]), "line 1: the key is not hexadecimal"),
        (format!("\n{good} 1"), "line 2: its first word is no key id"),
        (good.clone(), "line 1: it has 1 words, and not two"),
        (format!("0 {good}"), "line 1: its first word is no key id"),
        (format!("1 {good}\n1 {good}"), "line 2: key 1 is there already"),
        ("# none\n".to_owned(), "holds no key"),
        ("#\n".repeat(40_000), "is longer than 65536 bytes"),
    ] {
        let file = all.key_file("keys", &text);
        for more in [&[][..], &["--json"]] {
            let (said, code) = complaint(&[&["info", path(&dir), "--key-file", path(&file)], more].concat());
            assert!(code == 3 && said.contains(why) && said.contains(path(&file)), "{code}, {said}");
            assert!(!said.contains(&DIGITS[2..]), "{said}");
        }
    }
    let missing = dir.with_file_name("missing");
    let (said, code) = complaint(&["info", path(&dir), "--key-file", path(&missing)]);
    assert!(code == 3 && said.contains(&format!("open {}", path(&missing))), "{said}");
    let (said, code) = complaint(&["info", path(&dir), "--key-file", path(&all.keys()), "--key-id", "7"]);
    assert!(code == 3 && said.contains("has no key 7") && said.contains("it has 1, 2"), "{said}");
    assert_eq!(run(&["info", path(&dir), "--key-id", "1"]).status.code(), Some(2));
}
