//! What `strace` tells of a child's calls, and the failures that it makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Skipped, probe, this_test};

/// The calls that a journal makes.
const CALLS: &str = "trace=fdatasync,fsync,pwrite64,pread64,fallocate,/^rename";
/// More files than a child makes.
const SEGMENTS_MAX: u64 = 40;

/// One call on a file of the journal, in the order in which they began.
#[derive(Debug)]
pub struct Call {
    pub thread: u32,
    pub name: String,
    pub path: PathBuf,
    pub is_injected: bool,
}

impl Call {
    pub fn changes_the_disk(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync" | "pwrite64")
    }
}

/// Whether `strace` is here, and may do what the tests need.
pub fn is_possible() -> Result<(), Skipped> {
    probe(strace(Path::new("/dev/null"), "inject=fdatasync:error=EIO:when=1", Path::new("/"), "true"))
}

/// This test's binary, with calls on the files of a journal made to fail.
///
/// The count in `when` is each thread's own.
pub fn injecting(trace: &Path, injection: &str, dir: &Path) -> Command {
    strace(trace, injection, dir, this_test())
}

fn strace(trace: &Path, injection: &str, dir: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", CALLS, "-e", injection, "-o"]).arg(trace);
    // Nothing but the journal's own files: loading the program reads others with the same calls.
    let segments = (1..=SEGMENTS_MAX).map(|sequence| format!("{sequence:020}.seg"));
    let files = segments.chain(["meta".into()]).flat_map(|name| [format!("{name}.tmp"), name]);
    let paths = files.map(|name| dir.join(name)).chain([dir.to_path_buf()]).chain(dir.parent().map(Path::to_path_buf));
    paths.for_each(|path| _ = command.arg("-P").arg(path));
    command.arg("--").arg(program);
    command
}

/// Reads what `strace -f -y -o` wrote: `THREAD name(FD<PATH>, …) = RESULT`, in two lines where another thread's call
/// came between.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished = BTreeMap::new();
    for line in text.lines() {
        let (thread, rest) = line.trim_start().split_once(' ').expect("a thread's number");
        let (thread, rest) = (thread.parse().expect("a thread's number"), rest.trim_start());
        if rest.ends_with("= ?") && !rest.contains(['<', '"']) {
            // Another thread ended the process before the call was made.
            continue;
        }
        let is_injected = rest.ends_with("(INJECTED)");
        if rest.starts_with("<... ") {
            let call: usize = unfinished.remove(&thread).expect("a call that has begun");
            calls[call].is_injected = is_injected;
        } else if let Some((name, arguments)) = rest.split_once('(').filter(|_| !rest.starts_with(['+', '-'])) {
            if rest.ends_with("<unfinished ...>") {
                unfinished.insert(thread, calls.len());
            }
            calls.push(Call { thread, name: name.to_owned(), path: path_in(arguments), is_injected });
        }
    }
    calls
}

/// The first path among a call's arguments: a descriptor's, or a quoted one.
fn path_in(arguments: &str) -> PathBuf {
    let of_descriptor = arguments.split_once('<').and_then(|(_, rest)| Some(rest.split_once('>')?.0));
    let quoted = || Some(arguments.split_once('"')?.1.split_once('"')?.0);
    let is_quoted_first = arguments.starts_with('"');
    let path = if is_quoted_first { quoted() } else { of_descriptor.or_else(quoted) };
    PathBuf::from(path.unwrap_or_else(|| panic!("no path in {arguments}")))
}
