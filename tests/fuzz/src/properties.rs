//! What must hold of whatever opens.

use std::ops::Range;

use raft_journal::io::sim::{SimFs, Survival};
use raft_journal::{Entry, Error, Journal, LogState, LogStore, OnDamage, OpenOptions, Position, StableStore};

use crate::Files;
use crate::journals::{DIR, files};

/// So many entries are read from either end of a log.
const READ_MAX: u64 = 50;

/// What a journal says it holds.
#[derive(PartialEq, Debug)]
pub struct Content {
    state: LogState,
    entries: Vec<(u64, Option<Entry>)>,
    vote: Option<Vec<u8>>,
}

/// Reads the log by entry, by term and by range: the ways must agree, and what cannot be read must be told as damage.
pub fn content(journal: &Journal, is_forged: bool) -> Content {
    let state = journal.state();
    let mut entries = Vec::new();
    if let (Some(first), Some(next)) = (state.first_index(), state.next_index()) {
        assert!(first < next, "{state:?}");
        let middle = first.saturating_add(READ_MAX).min(next);
        entries.extend(read(journal, first..middle, is_forged));
        entries.extend(read(journal, next.saturating_sub(READ_MAX).max(middle)..next, is_forged));
        assert!(matches!(journal.entry(next), Err(Error::AfterLast { .. })), "{state:?}");
        let below = first.checked_sub(1).map(|below| journal.entry(below));
        assert!(!matches!(below, Some(Ok(_))), "{state:?}");
    }
    let vote = journal.get(b"vote").expect("an open journal").map(|vote| vote.to_vec());
    // What is told must be fit to be told.
    _ = format!("{:?}", journal.recovery_report());
    journal.recovery_report().damaged.iter().for_each(|damage| _ = damage.to_string());
    Content { state, entries, vote }
}

fn read(journal: &Journal, indexes: Range<u64>, is_forged: bool) -> Vec<(u64, Option<Entry>)> {
    let mut points = Vec::new();
    for index in indexes.clone() {
        let point = match journal.entry(index) {
            Ok(entry) => {
                assert_eq!(entry.index, index);
                let term = journal.term(index);
                assert!(is_forged || matches!(term, Ok(term) if term == entry.term), "{index}: {term:?}, {entry:?}");
                Some(entry)
            }
            Err(error @ Error::Damaged(_)) => {
                _ = error.to_string();
                _ = journal.term(index);
                None
            }
            Err(error) => panic!("entry {index} of {indexes:?}: {error:?}, {:?}", journal.state()),
        };
        points.push((index, point));
    }
    let mut starts = vec![indexes.start];
    starts.extend(points.windows(2).filter(|pair| pair[0].1.is_some() != pair[1].1.is_some()).map(|pair| pair[1].0));
    for start in starts.into_iter().filter(|start| indexes.contains(start)) {
        let from = points.iter().skip_while(|(index, _)| *index < start);
        let readable: Vec<Entry> = from.map_while(|(_, point)| point.clone()).collect();
        match journal.entries(start..indexes.end, u64::MAX) {
            // What somebody has forged may be read until something beside it cannot be, and not any more.
            _ if is_forged => {}
            Ok(range) => assert_eq!(range, readable, "{start}..{}", indexes.end),
            Err(Error::Damaged(_)) => assert_eq!(readable, [], "{start}..{}", indexes.end),
            Err(error) => panic!("{start}..{}: {error:?}", indexes.end),
        }
        // Without a budget: the first one, and those behind it that take nothing.
        let first = journal.entries(start..indexes.end, 0).unwrap_or_default();
        assert!(is_forged || readable.starts_with(&first) && first.is_empty() == readable.is_empty(), "{first:?}");
    }
    points
}

/// The files but for the lock, which every open that may write makes.
fn but_for_lock(disk: &SimFs) -> Files {
    let mut files = files(disk);
    files.remove("LOCK");
    files
}

/// How a directory is opened.
#[derive(arbitrary::Arbitrary, Clone, Debug)]
pub enum Way {
    ReadOnly {
        accepts: bool,
    },
    /// For writing; what the processes do from then on.
    Writing {
        accepts: bool,
        ends: Vec<End>,
    },
}

/// Opens a journal; where that is refused, the files must be as they were.
pub fn open(disk: SimFs, options: impl Fn(&SimFs) -> OpenOptions, is_forged: bool, way: &Way) {
    let (Way::ReadOnly { accepts } | Way::Writing { accepts, .. }) = *way;
    let on_damage = if accepts { OnDamage::Accept } else { OnDamage::Refuse };
    let before = but_for_lock(&disk);
    let opened = options(&disk).read_only(matches!(way, Way::ReadOnly { .. })).on_damage(on_damage).open(DIR);
    let is_open = opened.is_ok();
    match (opened, way) {
        (Ok(journal), Way::ReadOnly { .. }) => _ = content(&journal, is_forged),
        (Ok(journal), Way::Writing { ends, .. }) => return go_on(disk, &options, journal, is_forged, ends),
        (Err(error), _) => _ = error.to_string(),
    }
    assert!(but_for_lock(&disk) == before, "changed by a {way:?} open, open: {is_open}");
}

/// How a process ends, and what it does before.
#[derive(arbitrary::Arbitrary, Clone, Copy, Debug)]
pub enum End {
    Closed { entries: u8, bytes: u8 },
    Killed { entries: u8, bytes: u8 },
    PowerCut { entries: u8, bytes: u8 },
    TruncatedTail { count: u8 },
    TruncatedHead { count: u8 },
    Voted { vote: u8 },
}

/// Reads, writes and opens again: what the journal held at the end is there.
fn go_on(
    mut disk: SimFs,
    options: &impl Fn(&SimFs) -> OpenOptions,
    mut journal: Journal,
    is_forged: bool,
    ends: &[End],
) {
    content(&journal, is_forged);
    for end in ends.iter().take(3).chain(&[End::Closed { entries: 1, bytes: 9 }]) {
        let result = end.work(&journal);
        if let Err(error) = result {
            // What is no journal's own doing may not let itself be continued.
            assert!(is_forged || is_end_of_indexes(&error), "{end:?}: {error:?}");
            return;
        }
        let held = content(&journal, is_forged);
        let next = match end {
            End::Killed { .. } | End::TruncatedTail { .. } | End::TruncatedHead { .. } => disk.after_process_kill(),
            End::PowerCut { .. } | End::Voted { .. } => disk.after_power_cut(Survival::Nothing),
            End::Closed { .. } => {
                journal.close().expect("a close");
                disk.after_process_kill()
            }
        };
        // Taken before: dropping the last handle closes the journal.
        (disk, journal) = match options(&next).open(DIR) {
            Ok(journal) => (next, journal),
            Err(error) if is_forged => return drop(error.to_string()),
            Err(error) => panic!("after {end:?}: {error:?}"),
        };
        let found = content(&journal, is_forged);
        if !is_forged {
            assert_eq!(found.entries, held.entries, "after {end:?}");
            assert_eq!((found.state, found.vote), (held.state, held.vote), "after {end:?}");
        }
    }
}

fn is_end_of_indexes(error: &Error) -> bool {
    matches!(error, Error::IndexOverflow { .. })
}

impl End {
    fn work(self, journal: &Journal) -> raft_journal::Result<()> {
        let state = journal.state();
        match self {
            End::Closed { entries, bytes } | End::Killed { entries, bytes } | End::PowerCut { entries, bytes } => {
                let (next, term) = (state.next_index().unwrap_or(1), state.last.map_or(1, |last| last.term));
                let entry = |index| Entry::new(index, term, vec![bytes; usize::from(bytes) * 8]);
                let batch: Vec<Entry> = (next..=next.saturating_add(u64::from(entries % 40))).map(entry).collect();
                let appended = journal.append(&batch)?;
                assert_eq!(Some(appended), batch.last().map(Entry::position));
                Ok(())
            }
            End::TruncatedTail { count } => match state.next_index() {
                Some(next) => {
                    let lowest = state.first.unwrap_or(next);
                    journal.truncate_tail(next.saturating_sub(u64::from(count)).max(lowest))
                }
                None => Ok(()),
            },
            End::TruncatedHead { count } => match (state.first, state.last) {
                (Some(first), Some(last)) => {
                    let index = first.saturating_add(u64::from(count)).min(last.index);
                    // The term of a lost entry is unknown, and contradicts nobody.
                    let term = journal.term(index).unwrap_or(last.term);
                    journal.truncate_head(Position::new(index, term))
                }
                _ => Ok(()),
            },
            End::Voted { vote } => journal.set_u64(b"vote", u64::from(vote)),
        }
    }
}
