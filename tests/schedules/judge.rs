//! Whether what is found again is what was promised, plus at most a prefix of what was in flight.

use std::sync::Arc;

use raft_journal::io::sim::SimFs;
use raft_journal::{Entry, Journal, LogStore, OpenOptions, Position, RecoveryReport, Result, StableStore};

use super::history::History;
use crate::common::encrypted;

pub const DIR: &str = "/journal";

/// Small files, so that few entries make several segments.
pub fn options(disk: &SimFs, is_encrypted: bool) -> OpenOptions {
    let options = OpenOptions::new().segment_bytes(8 << 10).meta_bytes_max(512).file_system(Arc::new(disk.clone()));
    if is_encrypted { encrypted(options) } else { options }
}

/// The keys of a voter.
pub fn keys(voter: usize) -> [String; 2] {
    [format!("term {voter}"), format!("vote {voter}")]
}

/// Judges what the next start finds on a disk, and that it can be gone on with; what recovery said of it.
pub fn recovered(history: &History, disk: &SimFs) -> RecoveryReport {
    let journal = options(disk, history.is_encrypted).open(DIR).expect("a crash is no damage");
    log(history, &journal).expect("a sound log");
    state(history, &journal);
    let next = journal.state().next_index().unwrap_or(1);
    let term = journal.state().last.map_or(1, |last| last.term);
    let entry = Entry::new(next, term, "after the crash");
    journal.append(std::slice::from_ref(&entry)).expect("a sound journal");
    let report = journal.recovery_report().clone();
    drop(journal);
    let journal = options(disk, history.is_encrypted).open(DIR).expect("a journal that was closed");
    assert_eq!(journal.entry(next).expect("an entry that was acknowledged"), entry);
    report
}

/// All that the log holds.
fn entries(journal: &Journal) -> Result<Vec<Entry>> {
    let state = journal.state();
    let (Some(first), Some(next)) = (state.first_index(), state.next_index()) else { return Ok(Vec::new()) };
    let mut found: Vec<Entry> = Vec::new();
    // An answer ends early where a read fails, as it does when power is cut meanwhile: the next one says so.
    while first + (found.len() as u64) < next {
        found.extend(journal.entries(first + found.len() as u64..next, u64::MAX)?);
    }
    Ok(found)
}

/// The log must be what it was after some write, no earlier one than was promised.
pub fn log(history: &History, journal: &Journal) -> Result<()> {
    let purged = journal.state().purged;
    let found = entries(journal)?;
    assert!(
        purged >= history.purge_promised && purged <= history.purge_asked,
        "purged to {purged:?}, not from {:?} to {:?}",
        history.purge_promised,
        history.purge_asked
    );
    if history.races {
        raced(history, purged, &found)
    } else {
        in_turn(history, purged, &found)
    }
    Ok(())
}

fn in_turn(history: &History, purged: Option<Position>, found: &[Entry]) {
    let after_purge = |log: &[Entry]| -> Vec<Entry> {
        log.iter().filter(|entry| purged.is_none_or(|purged| entry.index > purged.index)).cloned().collect()
    };
    let mut log = Vec::new();
    let mut matches = history.promised == 0 && found.is_empty();
    for (&number, write) in &history.writes {
        log.retain(|entry: &Entry| entry.index < write.first);
        log.extend_from_slice(&write.entries);
        matches |= number >= history.promised && after_purge(&log) == found;
    }
    assert!(matches, "{} promised, purged to {purged:?}, found {found:?} of {history:#?}", history.promised);
}

fn raced(history: &History, purged: Option<Position>, found: &[Entry]) {
    let first = purged.map_or(1, |purged| purged.index + 1);
    for (index, entry) in (first..).zip(found) {
        assert_eq!(entry.index, index, "a hole");
        history.check_attempted(entry);
        let seen = history.seen.get(&index);
        assert!(seen.is_none_or(|seen| seen == entry), "{entry:?} in place of {seen:?}");
    }
    let next = first + found.len() as u64;
    assert!(next > history.promised, "found up to {next}, promised up to {}", history.promised);
    for write in history.writes.values() {
        assert!(write.end() <= next || write.first >= next, "half of {write:?}, up to {next}");
        for entry in write.entries.iter().filter(|entry| entry.index >= first && entry.index < next) {
            let at = (entry.index - first) as usize;
            assert_eq!(found.get(at), Some(entry), "another entry in its place");
        }
    }
}

/// Votes must be the promised ones, or the ones in flight, and whole.
pub fn state(history: &History, journal: &Journal) {
    for (voter, vote) in history.votes.iter().enumerate() {
        let [term, of_vote] = keys(voter).map(|key| journal.get_u64(key.as_bytes()).expect("an open journal"));
        assert_eq!(term, of_vote, "a vote was torn from its term");
        let found = term.unwrap_or(0);
        assert!(found >= vote.promised && found <= vote.asked, "found {found} of {vote:?}");
    }
}
