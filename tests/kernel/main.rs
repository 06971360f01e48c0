//! The journal on a real kernel: processes that are killed, file systems that fill up, calls that fail.
//!
//! Each test runs this binary again, as a child that plays a role. What the machine does not allow is ignored, with
//! the reason in the output.

#[path = "../common/mod.rs"]
mod common;
mod failing;
mod full;
mod history;
mod kill;
#[cfg(unix)]
mod limit;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Completion, Trial};

/// What a child is to do.
const ROLE: &str = "KERNEL_TEST_ROLE";
/// Where it is to do it.
const DIR: &str = "KERNEL_TEST_DIR";

/// Why a test cannot run on this machine.
type Skipped = String;

fn main() {
    let Ok(role) = std::env::var(ROLE) else {
        #[cfg(unix)]
        let limits = limit::trials();
        #[cfg(not(unix))]
        let limits = vec![trial("limit::a_file_size_limit", || Err("no file-size limits here".into()))];
        let trials = [kill::trials(), full::trials(), limits, failing::trials()];
        let mut arguments = Arguments::from_args();
        // A child that is to be killed at a random moment must have had one to do something in.
        arguments.test_threads.get_or_insert(1);
        libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
    };
    let dir = PathBuf::from(std::env::var_os(DIR).expect("a directory"));
    match role.split_once(':') {
        None if role == kill::ROLE => kill::write_until_killed(&dir),
        Some((failing::ROLE, history)) => failing::live(&dir, history),
        Some((full::ROLE, act)) => full::play(&dir, act),
        #[cfg(unix)]
        Some((limit::ROLE, act)) => limit::play(&dir, act),
        _ => panic!("no role is called {role}"),
    }
}

/// A test that may find that the machine does not allow it.
fn trial(name: &str, run: fn() -> Result<(), Skipped>) -> Trial {
    Trial::ignorable_test(name, move || match run() {
        Ok(()) => Ok(Completion::Completed),
        Err(why) => Ok(Completion::ignored_with(format!("skipped: {why}"))),
    })
}

fn this_test() -> PathBuf {
    std::env::current_exe().expect("this test")
}

/// Tells the child that a command starts, through whatever it is wrapped in, what to be.
fn in_role(mut command: Command, role: &str, dir: &Path) -> Command {
    command.env(ROLE, role).env(DIR, dir);
    command
}

/// Runs a command to its end, which must be a good one; its output.
fn run(mut command: Command) -> String {
    let output = command.output().expect("a command that runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Whether a command that only tries something out gets along here.
fn probe(mut command: Command) -> Result<(), Skipped> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(error) => Err(format!("{name}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last = stderr.lines().last().unwrap_or("it says nothing").trim().to_owned();
            Err(format!("{name}: {last}"))
        }
    }
}
