//! The commands that make something.

use raft_journal::LogStore;
use serde_json::json;

use super::{Sample, complaint, fill, json, on, options, path, run};

#[test]
fn checkpoint_copies_a_journal_beside_its_writer() {
    let temporary = tempfile::tempdir().unwrap();
    let (dir, backup) = (temporary.path().join("node-1"), temporary.path().join("backup"));
    let journal = options().open(&dir).unwrap();
    fill(&journal);
    let (made, code) = json(&dir, "checkpoint", &[path(&backup)]);
    assert_eq!((code, &made["last"]), (0, &json!({ "index": 60, "term": 3 })));
    let entries = |dir| on(dir, "dump", &["--format", "json"]);
    assert_eq!(entries(&backup), entries(&dir));
    // Again, into the same directory.
    journal.append(&[raft_journal::Entry::new(61, 3, "one more")]).unwrap();
    let (made, code) = json(&dir, "checkpoint", &[path(&backup)]);
    assert_eq!((code, &made["last"]["index"]), (0, &json!(61)));
    assert!(made["kept"].as_u64() > Some(1), "{made}");
    let (text, _) = on(&dir, "checkpoint", &[path(&backup)]);
    assert!(text.contains("complete and durable"), "{text}");
    let copy = options().open(&backup).unwrap();
    assert_eq!(copy.state().last_index(), Some(61));
}

#[test]
fn checkpoint_refuses_a_directory_in_use_and_a_damaged_journal() {
    let sample = Sample::new();
    let beside = sample.dir.with_file_name("beside");
    let (text, code) = complaint(&["checkpoint", path(&sample.dir), path(sample.dir.parent().unwrap())]);
    assert!(code == 3 && text.contains("cannot take the checkpoint: it holds `node-1`"), "{text}");
    let (list, _) = json(&sample.dir, "ls", &[]);
    std::fs::remove_file(list["segments"][1]["file"].as_str().unwrap()).unwrap();
    let (text, code) = complaint(&["checkpoint", path(&sample.dir), path(&beside)]);
    assert!(code == 1 && text.contains("the file is missing"), "{text}");
    assert!(!beside.exists());
}

#[test]
fn an_unfinished_checkpoint_is_named_as_one() {
    let sample = Sample::new();
    let backup = sample.dir.with_file_name("backup");
    assert_eq!(on(&sample.dir, "checkpoint", &[path(&backup)]).1, 0);
    std::fs::remove_file(backup.join("meta")).unwrap();
    let (text, code) = complaint(&["info", path(&backup)]);
    assert!(code == 1 && text.contains("not finished"), "{text}");
}

#[test]
fn bench_measures_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let (told, code) = json(temporary.path(), "bench", &["--appends", "60", "--entry-bytes", "100"]);
    assert_eq!(code, i32::from(told["verdict"] != "fit"), "{told}");
    for side in ["floor", "journal"] {
        let times = ["p50_ns", "p99_ns", "p999_ns", "max_ns"].map(|name| told[side][name].as_u64().unwrap());
        assert!(times[0] > 0 && times.is_sorted(), "{told}");
    }
    assert!(told["ratio_p50"].as_f64().unwrap() > 0.0);
    let (text, _) = on(temporary.path(), "bench", &["--appends", "10"]);
    assert!(text.starts_with("10 durable appends of 256 bytes") && text.contains('█'), "{text}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    let (text, code) = complaint(&["bench", path(&temporary.path().join("missing"))]);
    assert!(code == 3 && text.contains("missing"), "{text}");
    assert_eq!(run(&["bench", path(temporary.path()), "--appends", "0"]).status.code(), Some(2));
}

#[test]
fn repair_puts_back_what_another_journal_has() {
    let (sample, other) = (Sample::new(), Sample::new());
    sample.spoil(20);
    sample.spoil(21);
    sample.spoil(40);
    other.spoil(40);
    let before = sample.files();
    let (told, code) = json(&sample.dir, "repair", &["--from", path(&other.dir), "--dry-run"]);
    assert_eq!((code, &told["repairable"], &told["left"]), (1, &json!(2), &json!(1)));
    assert_eq!(sample.files(), before);
    let (told, code) = json(&sample.dir, "repair", &["--from", path(&other.dir)]);
    assert_eq!((code, &told["repaired"], &told["left"]), (1, &json!(2), &json!(1)), "{told}");
    assert_eq!((&told["runs"][0]["first"], &told["runs"][0]["end"]), (&json!(20), &json!(22)));
    // The rest from a third node.
    let third = Sample::new();
    let (text, code) = on(&sample.dir, "repair", &["--from", path(&third.dir)]);
    assert!(code == 0 && text.contains("all repaired: 1"), "{text}");
    assert_eq!(on(&sample.dir, "dump", &[]), on(&third.dir, "dump", &[]));
    let (text, code) = on(&sample.dir, "repair", &["--from", path(&third.dir)]);
    assert!(code == 0 && text.contains("nothing is damaged"), "{text}");
    // A copy has what was put back.
    let backup = sample.dir.with_file_name("backup");
    assert_eq!(on(&sample.dir, "checkpoint", &[path(&backup)]).1, 0);
    assert_eq!(on(&backup, "dump", &[]), on(&third.dir, "dump", &[]));
}

#[test]
fn what_was_put_back_is_verified_and_can_be_damaged_in_its_turn() {
    let (sample, other) = (Sample::new(), Sample::new());
    sample.spoil(20);
    assert_eq!(json(&sample.dir, "repair", &["--from", path(&other.dir)]).0["repaired"], json!(1));
    assert_eq!(json(&sample.dir, "verify", &[]).1, 0);
    let put_back = sample.files().into_iter().find(|(file, _)| file.extension().is_some_and(|kind| kind == "rep"));
    let (file, mut bytes) = put_back.unwrap();
    let at = bytes.windows(10).position(|window| window == b"command 20").unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let (report, code) = json(&sample.dir, "verify", &[]);
    assert_eq!((code, &report["faults"].as_array().unwrap().last().unwrap()["first"]), (1, &json!(20)), "{report}");
    assert_eq!(json(&sample.dir, "repair", &["--from", path(&other.dir)]).0["repaired"], json!(1));
    assert_eq!(on(&sample.dir, "dump", &[]), on(&other.dir, "dump", &[]));
}

/// A journal as a process leaves it that is killed, and its segment files, oldest first; the one that the log ends in is the last
/// but one, in front of a spare.
fn killed() -> (Sample, Vec<std::path::PathBuf>) {
    let sample = Sample::new();
    let (live, dir) = (sample.dir.with_file_name("live"), sample.dir.with_file_name("killed"));
    let journal = options().open(&live).unwrap();
    fill(&journal);
    std::fs::create_dir(&dir).unwrap();
    for file in std::fs::read_dir(&live).unwrap().map(|file| file.unwrap().path()) {
        std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
    }
    let (list, _) = json(&live, "ls", &[]);
    let all = list["segments"].as_array().unwrap();
    assert_eq!(all[all.len() - 2]["role"], "active");
    let file = |segment: &serde_json::Value| {
        dir.join(std::path::Path::new(segment["file"].as_str().unwrap()).file_name().unwrap())
    };
    let files = all.iter().map(file).collect();
    journal.close().unwrap();
    (Sample { dir, ..sample }, files)
}

// Guards: `repair` accepted the loss of the file that the log had ended in, put back what was known of, and called all repaired:
// what had been acknowledged behind was gone without a word.
#[test]
fn repair_leaves_a_journal_alone_whose_end_nobody_knows() {
    // Another loss comes first in the second one, and has an end: it is the one that an open names.
    for more in [&[][..], &[2]] {
        let ((sample, files), other) = (killed(), Sample::new());
        more.iter().chain([&(files.len() - 2)]).for_each(|&at| std::fs::remove_file(&files[at]).unwrap());
        let before = sample.files();
        for how in [&[][..], &["--dry-run"], &["--json"]] {
            let arguments = [&["repair", path(&sample.dir), "--from", path(&other.dir)], how].concat();
            let (text, code) = complaint(&arguments);
            assert!(code == 1 && text.contains("nobody knows") && text.contains("rejoin"), "{code}: {text}");
            assert_eq!(sample.files(), before);
        }
        let (told, code) = json(&sample.dir, "recover", &["--dry-run", "--accept-damage"]);
        assert_eq!((code, &told["report"]["open_ended"]), (1, &json!(true)));
        let (text, code) = on(&sample.dir, "recover", &["--dry-run", "--accept-damage"]);
        assert!(code == 1 && text.contains("let it rejoin"), "{text}");
    }
}

#[test]
fn behind_an_entry_that_does_not_fit_nothing_is_put_back_from_that_journal() {
    let ((sample, files), other) = (killed(), Sample::new());
    [10, 22, 23].iter().for_each(|&index| sample.spoil(index));
    // Of a batch whose header is lost, nothing is left but where it stood: the term fits.
    let newest = &files[files.len() - 2];
    let mut bytes = std::fs::read(newest).unwrap();
    let at = bytes.windows(12).position(|window| window == b"command 59 x").unwrap();
    bytes[at - 92 + 30] ^= 1;
    std::fs::write(newest, bytes).unwrap();
    // Of another term, as an entry is that was never committed; and what comes behind it may be anything.
    let strange = options().open(&other.dir).unwrap();
    strange.truncate_tail(23).unwrap();
    strange.append(&[raft_journal::Entry::new(23, 3, "another one")]).unwrap();
    let entries: Vec<_> = (24..=60).map(|index| raft_journal::Entry::new(index, 3, format!("other {index}"))).collect();
    strange.append(&entries).unwrap();
    strange.close().unwrap();
    let (told, code) = json(&sample.dir, "repair", &["--from", path(&other.dir)]);
    assert_eq!((code, &told["repaired"], &told["left"]), (1, &json!(1), &json!(3)), "{told}");
    let (text, _) = on(&sample.dir, "repair", &["--from", path(&other.dir)]);
    assert!(text.contains("not repaired") && text.contains("left: 3; try another node's journal"), "{text}");
    assert_eq!(json(&sample.dir, "repair", &["--from", path(&Sample::new().dir)]).0["repaired"], json!(3));
}

#[test]
fn repair_waits_for_no_node() {
    let (sample, other) = (Sample::new(), Sample::new());
    let journal = options().open(&sample.dir).unwrap();
    let (text, code) = complaint(&["repair", path(&sample.dir), "--from", path(&other.dir)]);
    assert!(code == 3 && text.contains("is held by another opener") && text.contains("stop the node"), "{text}");
    journal.close().unwrap();
}

#[test]
fn repair_makes_no_journal_where_none_is() {
    let sample = Sample::new();
    let mistyped = sample.dir.with_file_name("node-l");
    for more in [&[][..], &["--dry-run"]] {
        let arguments = [&["repair", path(&mistyped), "--from", path(&sample.dir)], more].concat();
        let (text, code) = complaint(&arguments);
        assert!(code == 3 && text.contains("is not a journal"), "{text}");
        assert!(!mistyped.exists());
    }
}
