//! Why a command failed, and what its process says to the shell.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use raft_journal::{Error, KeyFault};

use super::keys::KeysFault;

/// What a command came to, when it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing wrong was found.
    Fine,
    /// Something was found that asks for action.
    Found,
}

impl Outcome {
    pub(super) fn found(something: bool) -> Outcome {
        if something { Outcome::Found } else { Outcome::Fine }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Found => ExitCode::from(1),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The journal's own error.
    Journal(Error),
    /// The end of this journal's log is lost: nothing that is put back makes it whole.
    OpenEnded(PathBuf),
    /// The keys that the command line names cannot be had.
    Keys(KeysFault),
    /// Standard output or another file of the program's own.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Journal(error)
    }
}

impl From<KeysFault> for Failure {
    fn from(fault: KeysFault) -> Failure {
        Failure::Keys(fault)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Journal(error) => error.fmt(f),
            Failure::OpenEnded(dir) => write!(
                f,
                "{}: the end of the log is lost, and how much more was acknowledged nobody knows; nothing was changed",
                dir.display()
            ),
            Failure::Keys(fault) => fault.fmt(f),
            Failure::Output(error) => write!(f, "cannot write the output: {error}; send it elsewhere"),
        }
    }
}

impl Failure {
    /// The reader of a pipe has seen enough, as `head` has: nothing went wrong.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What this program can do about it, beside what the error itself says.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let rejoin = "let the node rejoin its group: empty, under an id that was never used";
        let error = match self {
            Failure::Journal(error) => error,
            Failure::OpenEnded(_) => return Some(rejoin),
            Failure::Keys(_) | Failure::Output(_) => return None,
        };
        Some(match error {
            Error::Damaged(damage) if damage.indexes.end.is_none() => rejoin,
            Error::Damaged(_) => {
                "`raft-journal verify DIR` names all that is lost, and \
                `raft-journal repair DIR --from OTHER_DIR` puts it back as another node has it"
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as the user that the node runs as"
            }
            Error::Locked { .. } => "stop the node first",
            Error::NoSpace { .. } => "make room on the disk where this was to be written",
            Error::Key { fault, .. } => return key_hint(*fault),
            Error::NotAJournal { .. } => "a journal's directory is the one that has `meta` and the `.seg` files in it",
            _ => return None,
        })
    }

    /// For the shell: see the exit codes in the help.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Journal(error) if is_verdict(error) => 1,
            Failure::OpenEnded(_) => 1,
            Failure::Journal(_) | Failure::Keys(_) | Failure::Output(_) => 3,
        }
    }
}

/// What the command line can do about a journal and keys that do not go together.
fn key_hint(fault: KeyFault) -> Option<&'static str> {
    Some(match fault {
        KeyFault::NoKeys if cfg!(not(feature = "encryption")) => {
            "this program was built without encryption: build it with `--features cli,encryption`"
        }
        KeyFault::NoKeys => "`--key-file FILE` names its keys: a file with a line `ID KEY` for each",
        KeyFault::NotEncrypted => {
            "if it never was, leave `--key-file` out; for the journal that `repair --from` names, say `--from-plain`"
        }
        KeyFault::Unknown => "add the key with this id to the key file",
        KeyFault::Wrong => "the key file is another journal's or node's",
        KeyFault::NotAuthentic => {
            "somebody changed this file: bring back the right one, or let the node rejoin its group under a new id"
        }
        _ => return None,
    })
}

/// Whether an error is about the journal itself, not about getting at it.
pub(super) fn is_verdict(error: &Error) -> bool {
    matches!(
        error,
        Error::Damaged(_)
            | Error::MetaUnreadable { .. }
            | Error::MetaOutdated { .. }
            | Error::SegmentsWithoutMeta { .. }
            | Error::ForeignFile { .. }
            | Error::UnfinishedCheckpoint { .. }
            | Error::StoreFull { .. }
            | Error::Key { fault: KeyFault::NotAuthentic, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::{Error, Failure, KeyFault};

    #[test]
    fn a_journal_that_was_changed_on_purpose_is_a_finding_and_a_missing_key_is_none() {
        let code = |fault| Failure::Journal(Error::Key { path: "meta".into(), key_id: 1, fault }).code();
        assert_eq!(code(KeyFault::NotAuthentic), 1);
        for fault in [KeyFault::NoKeys, KeyFault::NotEncrypted, KeyFault::Unknown, KeyFault::Wrong] {
            assert_eq!(code(fault), 3, "{fault}");
        }
    }
}
