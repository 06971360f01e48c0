//! The commands that only read.

use std::path::Path;

use raft_journal::{Entry, LogStore};
use serde_json::{Value, json};

use super::{Sample, complaint, fill, json, on, options, path, run};

#[test]
fn info_says_what_a_journal_holds() {
    let sample = Sample::new();
    let (info, code) = json(&sample.dir, "info", &[]);
    assert_eq!(code, 0);
    assert_eq!((&info["first"], &info["entries"], &info["life"]), (&json!(6), &json!(55), &json!(1)));
    assert_eq!(info["last"], json!({ "index": 60, "term": 3 }));
    assert_eq!(info["purged"], json!({ "index": 5, "term": 1 }));
    assert_eq!((&info["clean"], &info["refused"]), (&json!(true), &Value::Null));
    assert_eq!((&info["pairs"][0]["key"], &info["pairs"][0]["u64"]), (&json!("term"), &json!(3)));
    assert_eq!(info["pairs"][1]["value_hex"], json!("6e6f64652d32"));
    let (text, code) = on(&sample.dir, "info", &[]);
    assert_eq!(code, 0);
    for part in ["55 entries, 6 to 60, the last of term 3", "up to index 5, term 1", "vote = node-2", "term = 3"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn ls_lists_the_segments_in_order() {
    let sample = Sample::new();
    let (list, code) = json(&sample.dir, "ls", &[]);
    assert_eq!(code, 0);
    let segments = list["segments"].as_array().unwrap();
    let chain: Vec<&Value> =
        segments.iter().filter(|segment| segment["role"] == "sealed" || segment["role"] == "active").collect();
    assert!(chain.len() > 3, "{list}");
    // Together they hold the log, each going on where the one before ends.
    let mut next = 6;
    for segment in &chain {
        assert_eq!(segment["first"], json!(next), "{segment}");
        next = segment["end"].as_u64().unwrap();
        assert_eq!((&segment["key_id"], &segment["version"]), (&json!(0), &json!(1)));
        assert_eq!(segment["sealed"], json!(segment["role"] == "sealed"));
        assert!(segment["used_bytes"].as_u64() <= segment["bytes"].as_u64());
    }
    assert_eq!(next, 61);
    assert_eq!(chain.iter().filter(|segment| segment["role"] == "active").count(), 1);
    assert_eq!((&chain[0]["first_term"], &chain[chain.len() - 1]["last_term"]), (&json!(1), &json!(3)));
    let (text, _) = on(&sample.dir, "ls", &[]);
    assert_eq!(text.lines().count(), segments.len() + 2, "{text}");
}

#[test]
fn dump_prints_entries_in_each_format() {
    let sample = Sample::new();
    let (text, code) = on(&sample.dir, "dump", &["7..9"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines.len()), (0, 2));
    assert!(lines[0].starts_with("7\t1\t410\tcommand 7 xxx") && lines[0].ends_with('…'), "{text}");
    let (text, _) = on(&sample.dir, "dump", &["60", "--format", "hex"]);
    assert!(text.starts_with("index 60, term 3, 411 bytes\n00000000  63 6f 6d 6d 61 6e 64 20 36 30 20 78"), "{text}");
    assert_eq!(text.lines().count(), 1 + 411usize.div_ceil(16));
    let (text, _) = on(&sample.dir, "dump", &["--format", "json"]);
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indexes: Vec<u64> = entries.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, (6..=60).collect::<Vec<_>>());
    assert!(entries[0]["hex"].as_str().unwrap().starts_with("636f6d6d616e64203620"), "{}", entries[0]);
}

#[test]
fn json_and_another_format_at_once_are_a_wrong_command_line() {
    let sample = Sample::new();
    let dir = path(&sample.dir);
    for arguments in [["dump", dir, "--json", "--format", "hex"], ["--json", "dump", dir, "--format", "text"]] {
        let output = run(&arguments);
        let (said, both) = (String::from_utf8(output.stderr).unwrap(), format!("'--format {}'", arguments[4]));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(said.contains("'--json' cannot be used with") && said.contains(&both), "{said}");
    }
    let [one, other, both]: [&[&str]; 3] = [&["--json"], &["--format", "json"], &["--json", "--format", "json"]];
    let expected = on(&sample.dir, "dump", one);
    assert_eq!(expected.1, 0);
    assert_eq!(on(&sample.dir, "dump", other), expected);
    assert_eq!(on(&sample.dir, "dump", both), expected);
}

#[test]
fn indexes_that_are_not_there_are_an_error_that_says_which_are() {
    let sample = Sample::new();
    for (range, part) in [("3", "before the first index 6"), ("61..", "beyond the log's end (next index 61)")] {
        let (text, code) = complaint(&["dump", path(&sample.dir), range]);
        assert_eq!(code, 3);
        assert!(text.contains(part), "{text}");
    }
    let (_, code) = complaint(&["dump", path(&sample.dir), "9..7"]);
    assert_eq!(code, 2);
}

#[test]
fn a_damaged_entry_is_named_and_no_other_suffers() {
    let sample = Sample::new();
    sample.spoil(30);
    let (text, code) = on(&sample.dir, "dump", &["--format", "json"]);
    assert_eq!(code, 1);
    for (line, index) in text.lines().zip(6..) {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["index"], json!(index));
        assert_eq!(entry["error"].is_string(), index == 30, "{entry}");
    }
    assert_eq!(text.lines().count(), 55);
    let (text, _) = on(&sample.dir, "dump", &["30"]);
    assert!(text.starts_with("30\tdamaged\t") && text.contains("a checksum differs"), "{text}");
}

#[test]
fn a_lost_file_is_found_by_every_command() {
    let sample = Sample::new();
    let (list, _) = json(&sample.dir, "ls", &[]);
    let lost = &list["segments"][1];
    std::fs::remove_file(lost["file"].as_str().unwrap()).unwrap();
    let before = sample.files();
    let (info, code) = json(&sample.dir, "info", &[]);
    assert_eq!((code, &info["refused"]["why"]), (1, &json!("the file is missing")));
    assert_eq!(on(&sample.dir, "ls", &[]).1, 1);
    assert_eq!(on(&sample.dir, "dump", &[]).1, 1);
    // Also where what is printed is sound: why, is said beside it.
    let sound = run(&["dump", path(&sample.dir), "60"]);
    let said = String::from_utf8(sound.stderr).unwrap();
    assert!(String::from_utf8(sound.stdout).unwrap().starts_with("60\t3\t"), "{said}");
    assert!(sound.status.code() == Some(1) && said.contains("a node would refuse this journal"), "{said}");
    let (said, code) = complaint(&["dump", path(&sample.dir), "60", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["refused"]["why"]), (1, &json!("the file is missing")));
    let (verdict, code) = json(&sample.dir, "recover", &["--dry-run"]);
    assert_eq!((code, &verdict["opens"]), (1, &json!(false)));
    let (text, code) = complaint(&["recover", path(&sample.dir), "--dry-run"]);
    let hint = verdict["hint"].as_str().unwrap();
    assert!(hint.contains("raft-journal repair DIR --from OTHER_DIR"), "{hint}");
    assert!(code == 1 && text.contains("the file is missing") && text.ends_with(&format!("hint: {hint}\n")), "{text}");
    let (accepted, code) = json(&sample.dir, "recover", &["--dry-run", "--accept-damage"]);
    assert_eq!((code, &accepted["opens"]), (1, &json!(true)));
    assert_eq!(accepted["report"]["damaged"][0]["why"], json!("the file is missing"));
    assert_eq!(sample.files(), before, "nothing was changed");
}

#[test]
fn a_dry_run_tells_the_report_of_the_open_that_follows() {
    let sample = Sample::new();
    // A crash: the last append half there.
    let journal = options().open(&sample.dir).unwrap();
    let last = journal.segments().unwrap().into_iter().find(|segment| segment.indexes.contains(&60)).unwrap();
    std::mem::forget(journal);
    let mut bytes = std::fs::read(&last.path).unwrap();
    let end = usize::try_from(last.used_bytes).unwrap();
    bytes[end..end + 4].copy_from_slice(b"torn");
    let copy = sample.dir.parent().unwrap().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for (path, bytes) in sample.files() {
        std::fs::write(copy.join(path.file_name().unwrap()), bytes).unwrap();
    }
    std::fs::write(copy.join(last.path.file_name().unwrap()), bytes).unwrap();
    std::fs::write(copy.join("00000000000000000099.seg.tmp"), b"unfinished").unwrap();
    let (told, code) = json(&copy, "recover", &["--dry-run"]);
    assert_eq!(code, 0);
    let journal = options().open(&copy).unwrap();
    let report = journal.recovery_report();
    assert_eq!(told["report"]["life"], json!(report.life));
    assert_eq!(told["report"]["torn"]["offset"], json!(report.torn.as_ref().unwrap().offset));
    assert_eq!(told["report"]["suspect"], json!({ "vote": false }));
    let leftover: Vec<_> = report.leftover.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(told["report"]["leftover"], json!(leftover));
    assert!(!leftover.is_empty());
}

#[test]
fn a_journal_that_is_open_is_read_beside_its_writer() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("node-1");
    let journal = options().open(&dir).unwrap();
    fill(&journal);
    for index in 61..=80 {
        journal.append(&[Entry::new(index, 4, "live")]).unwrap();
        let (info, code) = json(&dir, "info", &[]);
        assert_eq!((code, &info["last"]["index"]), (0, &json!(index)));
    }
    let (text, code) = on(&dir, "dump", &["80"]);
    assert_eq!((code, text.as_str()), (0, "80\t4\t4\tlive\n"));
    for command in [&["ls"] as &[&str], &["verify"], &["recover", "--dry-run"]] {
        assert_eq!(on(&dir, command[0], &command[1..]).1, 0, "{command:?}");
    }
    journal.append(&[Entry::new(81, 4, "undisturbed")]).unwrap();
    journal.close().unwrap();
}

// Guards: a file that the log went on in between two looks was nobody's, and one that it went on in while those before it were
// looked at was missing; either way a healthy node's journal ended with 1.
#[test]
fn ls_takes_no_file_for_nobodys_into_which_the_log_goes_on_meanwhile() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("node-1");
    let journal = options().open(&dir).unwrap();
    fill(&journal);
    std::thread::scope(|scope| {
        // About one look in a hundred falls right between.
        let looks = scope.spawn(|| (0..400).map(|_| on(&dir, "ls", &[])).collect::<Vec<_>>());
        let mut index = 61;
        while !looks.is_finished() {
            journal.append(&[Entry::new(index, 4, vec![b'x'; 1 << 10])]).unwrap();
            // Files enough that a look takes a while, and not too many to be open.
            if index % 1000 == 0 && index > 2000 {
                journal.truncate_head(journal.entry(index - 1500).unwrap().position()).unwrap();
            }
            index += 1;
        }
        looks.join().unwrap().iter().for_each(|(text, code)| assert_eq!(*code, 0, "{text}"));
    });
}

#[test]
fn what_is_no_journal_is_refused_and_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let (missing, empty) = (temporary.path().join("missing"), temporary.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    for dir in [&missing, &empty] {
        for command in ["info", "ls", "dump"] {
            let (text, code) = complaint(&[command, path(dir)]);
            assert!(code == 3 && text.contains("is not a journal") && text.contains("hint: "), "{text}");
        }
    }
    assert!(!missing.exists());
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
    let (told, code) = json(&missing, "recover", &["--dry-run"]);
    assert_eq!((code, &told["report"]["created"]), (1, &json!(true)));
    let (text, code) = complaint(&["info", path(&missing), "--json"]);
    let error: Value = serde_json::from_str(&text).unwrap();
    assert!(code == 3 && error["error"].as_str().unwrap().contains("is not a journal"));
}

#[test]
fn a_wrong_command_line_has_a_code_of_its_own() {
    for arguments in [&["frobnicate"] as &[&str], &[], &["info"], &["recover", "dir"], &["dump", "dir", "x"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("Exit codes:"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.status.code(), Some(0));
        assert!(String::from_utf8(script.stdout).unwrap().contains("recover"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::{Command, Stdio};
    let sample = Sample::new();
    let program = env!("CARGO_BIN_EXE_raft-journal");
    let mut dump = Command::new(program)
        .args(["dump", path(&sample.dir), "--format", "hex"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(dump.stdout.take());
    assert_eq!(dump.wait().unwrap().code(), Some(0));
}

#[test]
fn verify_names_every_fault() {
    let sample = Sample::new();
    let (report, code) = json(&sample.dir, "verify", &[]);
    assert_eq!((code, &report["faults"]), (0, &json!([])));
    assert!(report["entries"].as_u64() >= Some(55) && report["files"].as_u64() > Some(3), "{report}");
    let (text, _) = on(&sample.dir, "verify", &["--mib-per-second", "100"]);
    assert!(text.contains("everything checks out"), "{text}");
    sample.spoil(20);
    sample.spoil(40);
    let (report, code) = json(&sample.dir, "verify", &[]);
    let lost: Vec<&Value> = report["faults"].as_array().unwrap().iter().map(|fault| &fault["first"]).collect();
    assert_eq!((code, lost), (1, vec![&json!(20), &json!(40)]));
    let (text, code) = on(&sample.dir, "verify", &[]);
    assert!(
        code == 1 && text.contains("entry 20 is lost") && text.contains("faults: 2, of which cost entries: 2"),
        "{text}"
    );
}

/// Without keys, or in a program that cannot use any.
#[test]
fn an_encrypted_journal_without_keys_is_refused_and_told_why() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1-encrypted");
    let target = tempfile::tempdir().unwrap();
    let copy = target.path().join("copy");
    let hint = if cfg!(feature = "encryption") { "--key-file FILE" } else { "built without encryption" };
    for arguments in [
        &["info", path(&dir)][..],
        &["ls", path(&dir)],
        &["dump", path(&dir)],
        &["verify", path(&dir)],
        &["recover", path(&dir), "--dry-run"],
        &["checkpoint", path(&dir), path(&copy)],
    ] {
        let (said, code) = complaint(arguments);
        assert!(code == 3 && said.contains("is encrypted") && said.contains(hint), "{arguments:?}: {code}, {said}");
        #[cfg(not(feature = "encryption"))]
        {
            let (said, code) = complaint(&[arguments, &["--key-file", "keys"]].concat());
            assert!(code == 3 && said.contains("built without encryption"), "{arguments:?}: {code}, {said}");
        }
    }
    assert!(!copy.exists());
}

/// The segments' files, as `ls` has them, oldest first.
fn files(sample: &Sample) -> Vec<std::path::PathBuf> {
    let (list, _) = json(&sample.dir, "ls", &[]);
    let file = |segment: &serde_json::Value| segment["file"].as_str().unwrap().into();
    list["segments"].as_array().unwrap().iter().map(file).collect()
}

#[test]
fn the_loss_of_the_newest_file_is_told_as_a_loss() {
    let sample = Sample::new();
    // The spare, which a node prepares, comes behind it.
    let newest = files(&sample).into_iter().rev().nth(1).unwrap();
    std::fs::remove_file(newest).unwrap();
    for command in ["info", "ls", "dump", "verify"] {
        let (text, code) = complaint(&[command, path(&sample.dir)]);
        assert!(code == 1 && text.contains("the file is missing"), "{command}: {text}");
    }
}

#[test]
fn verify_names_all_that_is_lost_and_what_was_accepted_before() {
    let sample = Sample::new();
    let all = files(&sample);
    [1, 3].iter().for_each(|&at| std::fs::remove_file(&all[at]).unwrap());
    let judge = || {
        let (told, code) = json(&sample.dir, "verify", &[]);
        assert_eq!((code, told["damaged"].as_array().unwrap().len()), (1, 2), "{told}");
        let (text, code) = on(&sample.dir, "verify", &[]);
        assert!(code == 1 && !text.contains("everything checks out"), "{text}");
        told["refused"].is_null()
    };
    assert!(!judge());
    options().on_damage(raft_journal::OnDamage::Accept).open(&sample.dir).unwrap().close().unwrap();
    assert!(judge(), "a node opens it now");
    assert_eq!(on(&sample.dir, "ls", &[]).1, 1);
}

#[test]
fn a_journal_that_a_node_would_open_all_the_same_has_a_verdict_with_advice() {
    let verdict = |sample: &Sample| {
        let (text, code) = on(&sample.dir, "info", &[]);
        assert_eq!((code, text.matches("verdict").count()), (1, 1), "{text}");
        text.lines().last().unwrap().to_owned()
    };
    let sample = Sample::new();
    std::fs::write(sample.dir.join("00000000000000000099.seg"), [7; 4096]).unwrap();
    assert!(verdict(&sample).contains("move them away"));
    std::fs::remove_file(&files(&sample)[1]).unwrap();
    options().on_damage(raft_journal::OnDamage::Accept).open(&sample.dir).unwrap().close().unwrap();
    assert!(verdict(&sample).contains("raft-journal repair DIR"));
}

#[test]
fn a_file_that_the_log_does_not_lead_to_is_not_said_to_go() {
    let sample = Sample::new();
    let spare = files(&sample).pop().unwrap();
    std::fs::OpenOptions::new().write(true).open(spare).unwrap().set_len(4096).unwrap();
    let (list, code) = json(&sample.dir, "ls", &[]);
    assert_eq!((code, &list["segments"].as_array().unwrap().last().unwrap()["role"]), (1, &json!("unreached")));
    let (text, _) = on(&sample.dir, "ls", &[]);
    assert!(!text.contains("nothing wrong"), "{text}");
}
