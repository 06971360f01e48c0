//! What the suite answers: promises, failures, counts.

use std::fmt;

/// A promise of a store's, in the words of [crash safety](crate::docs::crash_safety) and of the traits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Promise {
    /// What was acknowledged is there after any crash, byte for byte.
    AcknowledgedIsDurable,
    /// After a crash the log is what was acknowledged, and at most what was in flight, in order and without a hole. What
    /// was taken back does not return.
    NothingElseAppears,
    /// An append is there with all of its entries or not at all; a replacement leaves the old tail or the new one; the
    /// changes of a commit become durable together.
    WholeOrAbsent,
    /// A vote or a term that was acknowledged is never forgotten.
    VotesAreKept,
    /// After a failed sync the store refuses writes until it is opened anew, everybody who waits gets the error, and reads
    /// go on.
    FailedSyncIsFinal,
    /// Where there is nothing, opening makes an empty store.
    NewStoresOpen,
    /// The log is what the calls made of it: an append continues it, a replacement takes the tail's place, a truncation
    /// takes an end away.
    WritesTakeEffect,
    /// Reads answer for exactly what was asked: half-open ranges, size limits, and an error that says on which side of the
    /// log an index lies.
    ReadsAreExact,
    /// The term of the purged position stays known, also when the log holds no entry.
    PurgedTermIsKnown,
    /// A call that cannot be done is refused with the error that the trait names, and changes nothing.
    RefusedChangesNothing,
    /// A read sees the log as it was at one moment, whatever is written meanwhile.
    ReadsSeeOneLog,
    /// Whoever waits for a write is told exactly once, in the order of the writes, and not before it is durable.
    EachIsToldOnce,
}

impl Promise {
    /// The promise in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Promise::AcknowledgedIsDurable => "acknowledged means durable",
            Promise::NothingElseAppears => "nothing else appears",
            Promise::WholeOrAbsent => "an append is whole or absent",
            Promise::VotesAreKept => "votes are not forgotten",
            Promise::FailedSyncIsFinal => "a failed sync is final",
            Promise::NewStoresOpen => "where there is nothing, opening makes an empty store",
            Promise::WritesTakeEffect => "the log is what the calls made of it",
            Promise::ReadsAreExact => "reads answer for exactly what was asked",
            Promise::PurgedTermIsKnown => "the term of the purged position stays known",
            Promise::RefusedChangesNothing => "a refused call changes nothing",
            Promise::ReadsSeeOneLog => "a read sees one log",
            Promise::EachIsToldOnce => "whoever waits is told once, in order",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What a case is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Group {
    /// Calls and answers of an open store.
    Contract,
    /// Calls that must be refused.
    BadInput,
    /// Closing or killing the store, and opening it again.
    Reopen,
    /// Power lost at every operation that changes the disk, and syncs that fail.
    PowerCut,
    /// Threads that meet in one store.
    Concurrency,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Group::Contract => "contract",
            Group::BadInput => "bad input",
            Group::Reopen => "reopen",
            Group::PowerCut => "power cut",
            Group::Concurrency => "concurrency",
        })
    }
}

/// A case that the store did not pass: which promise broke, and how it showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The case's group.
    pub group: Group,
    /// The case's name.
    pub case: &'static str,
    /// The promise that broke.
    pub promise: Promise,
    /// What was done, up to the moment that counts.
    pub done: String,
    /// What the promise asks for.
    pub expected: String,
    /// What the store answered or held.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} / {}: broken: {}", self.group, self.case, self.promise)?;
        writeln!(f, "  done:     {}", self.done)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  seen:     {}", self.seen)
    }
}

/// How one group went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// The group.
    pub group: Group,
    /// How many cases ran.
    pub cases: u64,
    /// How many answers and states were held against what was expected.
    pub checks: u64,
    /// How many of the cases failed.
    pub failed: u64,
}

/// What a run of the suite came to. Printed, it is a table, and each failure below it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a report may hold failures: `passed`, or `failures`"]
pub struct Report {
    pub(super) tallies: Vec<Tally>,
    pub(super) failures: Vec<Failure>,
}

impl Report {
    /// Whether no case failed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The failures, in the order of the cases; each case has at most one.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The counts, group by group. A group that does not apply to the store is not among them.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// The promises that broke, each once.
    pub fn broken(&self) -> Vec<Promise> {
        let mut broken: Vec<Promise> = self.failures.iter().map(|failure| failure.promise).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }

    /// How many cases ran.
    pub fn cases(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.cases).sum()
    }

    pub(super) fn add(&mut self, group: Group, checks: u64, failure: Option<Failure>) {
        if self.tallies.last().is_none_or(|tally| tally.group != group) {
            self.tallies.push(Tally { group, cases: 0, checks: 0, failed: 0 });
        }
        if let Some(tally) = self.tallies.last_mut() {
            tally.cases += 1;
            tally.checks += checks;
            tally.failed += u64::from(failure.is_some());
        }
        self.failures.extend(failure);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>6} {:>9} {:>7}", "group", "cases", "checks", "failed")?;
        for tally in &self.tallies {
            // A name of its own, because padding is for text alone.
            let group = tally.group.to_string();
            writeln!(f, "{group:<12} {:>6} {:>9} {:>7}", tally.cases, tally.checks, tally.failed)?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "\n{failure}"))
    }
}
