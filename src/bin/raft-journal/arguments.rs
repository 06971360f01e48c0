//! What the command line may say.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::keys::Keys;

/// Looks into a raft-journal, checks it, copies it, and measures the disk under it.
///
/// Every command but `repair` only reads the journal, needs no lock, and may run beside the node that has it open.
#[derive(Parser)]
#[command(name = "raft-journal", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    /// One JSON document on standard output (of `dump`, one a line) instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Arguments {
    /// Refuses what each option allows for itself, and what cannot be meant together. `--json` belongs to all commands and
    /// may stand before the command's name, so no attribute of `--format` can say it.
    pub(super) fn checked(self) -> Result<Arguments, clap::Error> {
        let Command::Dump(Dump { format: Some(format), .. }) = &self.command else { return Ok(self) };
        let name = match format {
            Format::Json => return Ok(self),
            Format::Text => "text",
            Format::Hex => "hex",
        };
        if !self.json {
            return Ok(self);
        }
        let why = format!("the argument '--json' cannot be used with '--format {name}'");
        Err(Arguments::command().error(ErrorKind::ArgumentConflict, why))
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and nothing wrong was found
  1  something was found that asks for action: damage, a journal that would not open, a slow disk
  2  the command line is wrong
  3  it could not be done: no such journal, no key that fits, no permission, no space, held by another process";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Says what a journal holds: its log, its small state, and what a look at it found
    Info(Journal),
    /// Lists the segment files
    Ls(Journal),
    /// Prints entries
    Dump(Dump),
    /// Reads every file and checks every checksum
    Verify(Verify),
    /// Puts damaged entries back, as another node's journal has them. The node must be stopped
    Repair(Repair),
    /// Says what opening the journal for writing would find and do, and changes nothing
    Recover(Recover),
    /// Copies a journal into another directory as it is now, also while a node has it open
    Checkpoint(Checkpoint),
    /// Measures the disk under a directory: a write and a sync alone, a durable append, and what both mean for Raft
    Bench(Bench),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(super) struct Journal {
    /// The journal's directory
    pub(super) dir: PathBuf,
    #[command(flatten)]
    pub(super) keys: Keys,
}

#[derive(Args)]
pub(super) struct Dump {
    #[command(flatten)]
    pub(super) journal: Journal,
    /// Which indexes: `7`, `7..12`, `7..=12`, `7..`, `..12`; all unless given
    #[arg(default_value_t)]
    pub(super) range: Indexes,
    /// How an entry is printed: `text` unless given, or `json` with `--json`, beside which no other may be
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
}

#[derive(Args)]
pub(super) struct Verify {
    #[command(flatten)]
    pub(super) journal: Journal,
    /// Reads no more than so many MiB a second
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(super) mib_per_second: Option<u64>,
}

#[derive(Args)]
pub(super) struct Repair {
    #[command(flatten)]
    pub(super) journal: Journal,
    /// The journal of another node of the same Raft group, or a checkpoint of it: best the leader's. It is only read
    #[arg(long)]
    pub(super) from: PathBuf,
    /// The other journal's keys; those of `--key-file` unless given
    #[arg(long, value_name = "FILE")]
    pub(super) from_key_file: Option<PathBuf>,
    /// The other journal is not encrypted
    #[arg(long, conflicts_with = "from_key_file")]
    pub(super) from_plain: bool,
    /// Only says what is damaged, and what the other journal has of it
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The node's bound on its small state, bytes
    #[arg(long, default_value_t = 16 << 10)]
    pub(super) meta_bytes_max: u64,
}

#[derive(Args)]
pub(super) struct Recover {
    #[command(flatten)]
    pub(super) journal: Journal,
    /// Required: the program itself recovers nothing, opening the journal does
    #[arg(long, required = true)]
    pub(super) dry_run: bool,
    /// As `OnDamage::Accept`: what would be lost if the node went on without the damaged entries
    #[arg(long)]
    pub(super) accept_damage: bool,
    /// The node's bound on its small state, bytes
    #[arg(long, default_value_t = 16 << 10)]
    pub(super) meta_bytes_max: u64,
}

#[derive(Args)]
pub(super) struct Checkpoint {
    #[command(flatten)]
    pub(super) journal: Journal,
    /// An empty or a new directory, or one that holds an older checkpoint of the journal
    pub(super) to: PathBuf,
}

#[derive(Args)]
pub(super) struct Bench {
    /// A directory on the disk that is meant; a new one is made in it, and removed afterwards
    pub(super) dir: PathBuf,
    /// How many appends are measured, and as many bare writes
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) appends: u64,
    /// The payload of an entry, bytes
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(super) entry_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// A line for each entry: index, term, length, and how its bytes begin
    Text,
    /// A JSON object for each entry, the bytes in hexadecimal
    Json,
    /// All bytes, in hexadecimal and as text
    Hex,
}

/// A range of indexes: half-open, without an end open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Indexes {
    pub(super) first: u64,
    pub(super) end: Option<u64>,
}

impl FromStr for Indexes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let parsed = digits.parse::<u64>();
            parsed.map_err(|_| format!("`{digits}` is no index: write `7`, `7..12`, `7..=12`, `7..` or `..12`"))
        };
        let Some((first, end)) = text.split_once("..") else {
            let only = number(text)?;
            return Ok(Indexes { first: only, end: Some(only.saturating_add(1)) });
        };
        let first = if first.is_empty() { 0 } else { number(first)? };
        let end = match end.strip_prefix('=') {
            Some(last) => Some(number(last)?.saturating_add(1)),
            None if end.is_empty() => None,
            None => Some(number(end)?),
        };
        match end {
            Some(end) if end < first => Err(format!("{text} runs backwards")),
            end => Ok(Indexes { first, end }),
        }
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => write!(f, "{}..{end}", self.first),
            None => write!(f, "{}..", self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, Indexes};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ranges_are_read_as_they_are_written() {
        let cases = [
            ("7", 7, Some(8)),
            ("7..12", 7, Some(12)),
            ("7..=12", 7, Some(13)),
            ("7..", 7, None),
            ("..12", 0, Some(12)),
        ];
        for (text, first, end) in cases {
            assert_eq!(text.parse(), Ok(Indexes { first, end }), "{text}");
        }
        for text in ["", "x", "7..x", "-1", "7..=", "12..7", "7...12"] {
            assert!(text.parse::<Indexes>().is_err(), "{text}");
        }
    }
}
