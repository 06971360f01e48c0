//! What the README shows of the program is what it prints.

use std::path::Path;
use std::process::Command;

use super::{Sample, fill, options};

/// Identities are drawn, and times measured: neither is the same twice.
fn comparable(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split(' ').map(|word| match word.chars().all(|char| char.is_ascii_hexdigit()) {
            true if word.len() == 32 => "ID",
            _ => word,
        });
        let line = words.collect::<Vec<_>>().join(" ");
        let untimed =
            line.rsplit_once(" in ").filter(|(_, time)| time.ends_with(" s")).map(|(before, _)| before.to_owned());
        out += untimed.as_deref().unwrap_or(&line).trim_end();
        out.push('\n');
    }
    out
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let sample = Sample::new();
    let peer = options().open(sample.dir.with_file_name("node-2")).unwrap();
    fill(&peer);
    peer.close().unwrap();
    sample.spoil(30);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = readme.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut printed = String::new();
    let mut count = 0;
    for command in block.lines().filter_map(|line| line.strip_prefix("$ raft-journal ")) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_raft-journal"));
        let output = program.args(command.split(' ')).current_dir(sample.dir.parent().unwrap()).output().unwrap();
        printed += &format!("$ raft-journal {command}\n{}", String::from_utf8(output.stdout).unwrap());
        count += 1;
    }
    assert!(count > 3);
    assert!(comparable(&printed) == comparable(block), "the program prints\n{printed}");
}
