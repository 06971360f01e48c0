//! Colours: where there is a terminal, unless somebody wants none; elsewhere only for those who insist. And how far a long
//! command has come: on a terminal, and only while it runs.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Sample, path};

/// What a colour, or any other style, begins with.
const ESCAPE: &str = "\x1b[";

/// What nothing that is shown has in it.
const END: u8 = 0;

/// Both ends of a new terminal: ours, and the one that a process takes for its screen.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (ours.into(), theirs.into())
}

/// The program, with nothing in its environment that speaks of colours but this.
fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-journal"));
    for name in ["CI", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.args(arguments).env("TERM", "xterm").envs(environment.iter().copied());
    command
}

/// What it shows on a terminal: all up to a mark that is written once it has ended. That end of the terminal stays open
/// till then: behind the last that closes, a terminal may say that it is gone before it has handed over what it holds.
fn shown(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let (ours, theirs) = terminal();
    let (out, errors) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
    let mut process = program(arguments, environment).stdout(out).stderr(errors).stdin(Stdio::null()).spawn().unwrap();
    let mut text = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            process.wait().unwrap();
            (&theirs).write_all(&[END]).unwrap();
        });
        BufReader::new(ours).read_until(END, &mut text).unwrap();
    });
    assert_eq!(text.pop(), Some(END));
    String::from_utf8(text).unwrap()
}

/// What it writes to a pipe, both streams.
fn written(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = program(arguments, environment).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Without the styles, and with one kind of line end: a terminal makes two characters of it.
fn plain(text: &str) -> String {
    let mut parts = text.split(ESCAPE);
    let first = parts.next().unwrap().to_owned();
    let rest = parts.map(|part| part.split_once('m').unwrap().1);
    (first + &rest.collect::<String>()).replace("\r\n", "\n")
}

#[test]
fn there_are_colours_on_a_terminal_and_nowhere_else() {
    let sample = Sample::new();
    let missing = sample.dir.with_file_name("missing");
    for arguments in [&["info", path(&sample.dir)], &["ls", path(&sample.dir)], &["info", path(&missing)]] {
        let (seen, piped) = (shown(arguments, &[]), written(arguments, &[]));
        assert!(seen.contains(ESCAPE) && !piped.contains(ESCAPE), "{arguments:?}: {seen:?}, {piped:?}");
        assert_eq!(plain(&seen), piped);
    }
}

#[test]
fn who_wants_no_colours_gets_none_on_a_terminal() {
    let sample = Sample::new();
    let missing = sample.dir.with_file_name("missing");
    for arguments in [&["info", path(&sample.dir)], &["info", path(&missing)]] {
        for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let seen = shown(arguments, &[environment]);
            assert!(!seen.contains(ESCAPE), "{environment:?}: {seen:?}");
            assert_eq!(plain(&seen), written(arguments, &[]));
        }
    }
}

#[test]
fn who_insists_on_colours_gets_them_without_a_terminal() {
    let sample = Sample::new();
    assert!(written(&["info", path(&sample.dir)], &[("CLICOLOR_FORCE", "1")]).contains(ESCAPE));
}

#[test]
fn json_has_no_colours_on_a_terminal() {
    let sample = Sample::new();
    let missing = sample.dir.with_file_name("missing");
    for dir in [&sample.dir, &missing] {
        let seen = shown(&["info", path(dir), "--json"], &[]);
        assert!(!seen.contains(ESCAPE), "{seen:?}");
        serde_json::from_str::<serde_json::Value>(&seen).unwrap();
    }
}

/// What stands on the screen in the end: carriage returns, ways up and erased lines are obeyed, colours are not looked at.
fn screen(text: &str) -> String {
    let (mut lines, mut row, mut column) = (vec![String::new()], 0, 0);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix(ESCAPE) {
            let end = sequence.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
            let (count, letter) = (sequence[..end].parse().unwrap_or(1), &sequence[end..=end]);
            match letter {
                "A" => row -= count,
                "B" => row += count,
                "K" => lines[row].clear(),
                "m" | "h" | "l" => {}
                _ => panic!("{letter} of {text:?}"),
            }
            rest = &sequence[end + 1..];
            continue;
        }
        match next {
            '\r' => column = 0,
            '\n' => row += 1,
            letter => {
                let line: &mut String = &mut lines[row];
                let mut letters: Vec<char> = line.chars().collect();
                letters.resize(letters.len().max(column + 1), ' ');
                letters[column] = letter;
                *line = letters.into_iter().collect();
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), String::new());
        rest = &rest[next.len_utf8()..];
    }
    lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_terminal_sees_how_far_a_pass_has_come_and_in_the_end_only_what_was_found() {
    let (sample, other) = (Sample::new(), Sample::new());
    sample.spoil(20);
    let dir = path(&sample.dir);
    let verify: &[&str] = &["verify", dir];
    let repair: &[&str] = &["repair", dir, "--from", path(&other.dir)];
    let piped = written(verify, &[]);
    assert!(!piped.contains("verifying") && !piped.contains('\r'), "{piped:?}");
    for (arguments, found) in [(verify, "entry 20 is lost"), (repair, "all repaired: 1")] {
        let seen = shown(arguments, &[]);
        let left = screen(&seen);
        assert!(seen.contains("verifying") && !left.contains("verifying"), "{seen:?}");
        assert!(left.contains(found), "{left}");
    }
}
