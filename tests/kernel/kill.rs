//! A process that writes is killed at random moments, a thousand times; every entry that it acknowledged is there.
//!
//! A kill leaves the page cache alone, so this proves the order of writes and of recovery, not durability: that is what
//! the simulated power cuts prove.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use raft_journal::{Entry, Journal, LogStore, OpenOptions, Position, StableStore};

use crate::{in_role, this_test, trial};

/// The child's role.
pub const ROLE: &str = "kill";
const KILLS: u64 = 1000;
/// What the child says: one byte of kind, then two numbers.
const RECORD_BYTES: usize = 17;
const APPENDED: u8 = 1;
const REPLACING: u8 = 2;
const PURGING: u8 = 3;
const VOTED: u8 = 4;

pub fn trials() -> Vec<Trial> {
    vec![trial("kill::a_thousand_kills_lose_no_acknowledged_entry", || {
        kill_over_and_over();
        Ok(())
    })]
}

fn open(dir: &Path) -> Journal {
    OpenOptions::new().segment_bytes(32 << 10).tail_cache_bytes(0).open(dir).expect("a killed journal opens")
}

fn payload(position: Position) -> Vec<u8> {
    let seed = position.index.wrapping_mul(31).wrapping_add(position.term);
    vec![seed as u8; 20 + (seed % 300) as usize]
}

fn entries(from: u64, count: u64, term: u64) -> Vec<Entry> {
    (from..from + count).map(|index| Entry::new(index, term, payload(Position::new(index, term)))).collect()
}

fn say(kind: u8, first: u64, second: u64) {
    let mut record = [kind; RECORD_BYTES];
    record[1..9].copy_from_slice(&first.to_le_bytes());
    record[9..].copy_from_slice(&second.to_le_bytes());
    // One write a record: a killed process has said all of it or nothing.
    std::io::stdout().write_all(&record).expect("the parent listens");
    std::io::stdout().flush().expect("the parent listens");
}

pub fn write_until_killed(dir: &Path) {
    let journal = open(dir);
    let state = journal.state();
    let term = journal.get_u64(b"term").expect("open").unwrap_or(0) + 1;
    journal.set_u64(b"term", term).expect("a vote");
    say(VOTED, term, 0);
    let last = state.last.map_or(0, |last| last.index);
    let first_kept = state.purged.map_or(1, |purged| purged.index + 1);
    let mut next = (last + 1).saturating_sub(term % 4).max(first_kept);
    say(REPLACING, next, 0);
    journal.replace_tail(&entries(next, 3, term)).expect("a replacement");
    say(APPENDED, next + 2, term);
    next += 3;
    for round in 0u64.. {
        let count = 1 + round % 5;
        let batch = entries(next, count, term);
        if round % 3 == 0 {
            let pending = journal.append_pending(&batch).expect("an append");
            pending.wait().expect("a sync");
        } else {
            journal.append(&batch).expect("an append");
        }
        next += count;
        say(APPENDED, next - 1, term);
        if round % 40 == 39 {
            let index = next - 60;
            let position = Position::new(index, journal.term(index).expect("a live entry"));
            say(PURGING, index, position.term);
            journal.truncate_head(position).expect("a head truncation");
        }
    }
}

/// What the child acknowledged, life after life.
#[derive(Default)]
struct Acknowledged {
    /// Term by index.
    entries: BTreeMap<u64, u64>,
    vote: u64,
    /// Where a replacement may have begun: what lies there may be old or new.
    last: u64,
}

impl Acknowledged {
    fn take_in(&mut self, said: &[u8]) {
        for record in said.chunks_exact(RECORD_BYTES) {
            let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
            let (first, second) = (number(1), number(9));
            match record[0] {
                APPENDED => {
                    (self.last + 1..=first).for_each(|index| _ = self.entries.insert(index, second));
                    self.last = first;
                }
                // Announced before it happens: what it takes back is not owed any more.
                REPLACING => {
                    _ = self.entries.split_off(&first);
                    self.last = first - 1;
                }
                PURGING => self.entries = self.entries.split_off(&(first + 1)),
                VOTED => self.vote = first,
                kind => panic!("the child said {kind}"),
            }
        }
    }

    fn check(&self, journal: &Journal) {
        let state = journal.state();
        assert!(journal.get_u64(b"term").expect("open").unwrap_or(0) >= self.vote, "a vote is forgotten");
        for (&index, &term) in &self.entries {
            assert_eq!(journal.term(index).ok(), Some(term), "entry {index} of {state:?}");
        }
        if let (Some(first), Some(last)) = (state.first_index(), state.last_index()) {
            for entry in journal.entries(first..last + 1, u64::MAX).expect("all can be read") {
                assert_eq!(entry.data, payload(entry.position()), "{}", entry.position());
            }
        }
    }
}

fn kill_over_and_over() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = temporary.path().join("journal");
    let mut acknowledged = Acknowledged::default();
    let mut appended = 0;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for kill in 0..KILLS {
        let mut child = in_role(Command::new(this_test()), ROLE, &dir).stdout(Stdio::piped()).spawn().expect("a child");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A machine that is busy gets the children more time than that, so that there is something to lose.
        let patience = if appended < 2 * kill as usize { 5 } else { 1 };
        std::thread::sleep(Duration::from_micros(2000 + (random >> 33) % 12_000) * patience);
        child.kill().expect("a kill");
        let mut said = Vec::new();
        child.stdout.take().expect("its output").read_to_end(&mut said).expect("its output");
        let status = child.wait().expect("its end");
        assert_eq!(status.code(), None, "the child ended by itself");
        appended += said.chunks_exact(RECORD_BYTES).filter(|record| record[0] == APPENDED).count();
        acknowledged.take_in(&said);
        let journal = open(&dir);
        acknowledged.check(&journal);
        drop(journal);
    }
    assert!(appended > 1000, "only {appended} appends were acknowledged: the kills came too early to prove anything");
    println!("{KILLS} kills, {appended} acknowledged appends, none lost: order, not durability");
}
