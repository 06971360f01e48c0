//! A history, and what it may leave.

use raft_journal::{Changes, Entry, Journal, LogStore, Position, Result, StableStore};

use crate::common::{Disk, LogModel, entries, entry};

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    Append(Vec<Entry>),
    ReplaceTail(Vec<Entry>),
    TruncateTail(u64),
    TruncateHead(Position),
    Vote(u64),
    /// A snapshot with the vote that goes with it, in one commit.
    Install(Position, u64),
    Reopen,
}

/// What a journal must hold.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Model {
    pub log: LogModel,
    pub vote: Option<u64>,
}

impl Model {
    pub fn of(journal: &Journal) -> Model {
        Model { log: LogModel::of(journal), vote: journal.get_u64(b"vote").unwrap() }
    }

    pub fn after(&self, step: &Step) -> Model {
        let mut model = self.clone();
        match step {
            Step::Append(batch) => model.log.append(batch),
            Step::ReplaceTail(batch) => model.log.replace_tail(batch),
            Step::TruncateTail(first_removed) => model.log.truncate_tail(*first_removed),
            Step::TruncateHead(position) => model.log.truncate_head(*position),
            Step::Vote(vote) => model.vote = Some(*vote),
            Step::Install(position, vote) => {
                model.log.truncate_head(*position);
                model.vote = Some(*vote);
            }
            Step::Reopen => {}
        }
        model
    }
}

pub fn perform(disk: &Disk, journal: &mut Journal, step: &Step) -> Result<()> {
    match step {
        Step::Append(batch) => journal.append(batch).map(drop),
        Step::ReplaceTail(batch) => journal.replace_tail(batch).map(drop),
        Step::TruncateTail(first_removed) => journal.truncate_tail(*first_removed),
        Step::TruncateHead(position) => journal.truncate_head(*position),
        Step::Vote(vote) => journal.set_u64(b"vote", *vote),
        Step::Install(position, vote) => {
            journal.commit(&Changes::new().set_u64("vote", *vote).truncate_head(*position))
        }
        Step::Reopen => {
            journal.close()?;
            *journal = disk.try_open()?;
            Ok(())
        }
    }
}

/// Everything that a follower goes through, over several segments and lives.
pub fn history() -> Vec<Step> {
    let append = |indexes, term| Step::Append(entries(indexes, term));
    vec![
        Step::Vote(1),
        append(1..=4, 1),
        append(5..=12, 1),
        Step::ReplaceTail(entries(9..=11, 2)),
        append(12..=20, 2),
        Step::TruncateTail(17),
        Step::Vote(3),
        append(17..=25, 3),
        Step::TruncateHead(Position::new(6, 1)),
        Step::Reopen,
        Step::ReplaceTail(entries(14..=30, 4)),
        append(31..=40, 4),
        Step::TruncateHead(Position::new(33, 4)),
        append(41..=60, 4),
        Step::TruncateTail(36),
        append(36..=37, 5),
        Step::Install(Position::new(100, 6), 7),
        append(101..=115, 7),
        Step::Reopen,
        Step::TruncateTail(110),
        Step::Install(Position::new(105, 8), 9),
        append(106..=107, 9),
    ]
}

/// Runs the history until it fails, which it may only for want of power; what was acknowledged, and what was under way.
pub fn run(disk: &Disk) -> (Model, Option<Step>) {
    let mut acknowledged = Model::default();
    let Ok(mut journal) = disk.try_open() else { return (acknowledged, None) };
    for step in history() {
        if perform(disk, &mut journal, &step).is_err() {
            assert!(disk.sim().is_power_off(), "{step:?}");
            return (acknowledged, Some(step));
        }
        acknowledged = acknowledged.after(&step);
    }
    (acknowledged, None)
}

/// Opens what a crash left; it must be one of the possible states, and the journal must go on from there.
pub fn check_crashed(disk: &Disk, possible: &[Model], how: &str) {
    let journal = disk.try_open().unwrap_or_else(|error| panic!("{how}: {error}"));
    let found = Model::of(&journal);
    assert!(possible.contains(&found), "{how}: {:?} of {:?}", journal.state(), possible.last());
    assert_eq!(journal.state().durable, journal.state().last, "{how}");
    let next = journal.state().next_index().unwrap_or(1);
    let added = Step::Append(vec![entry(next, 50, 300)]);
    let expected = found.after(&added);
    perform(disk, &mut journal.clone(), &added).unwrap();
    assert_eq!(Model::of(&journal), expected, "{how}");
    drop(journal);
    assert_eq!(Model::of(&disk.open()), expected, "{how}");
}
