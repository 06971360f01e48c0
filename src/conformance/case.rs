//! What a case works with: a store of its own, and checks that say which promise broke.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::calls::{Call, Contents, answer};
use super::report::{Failure, Group, Promise, Report};
use crate::error::{Error, Result};
use crate::io::sim::SimFs;
use crate::log_store::LogStore;
use crate::stable_store::StableStore;

/// A store that the suite can run on.
pub(super) trait Store: LogStore + StableStore + 'static {}

impl<S: LogStore + StableStore + 'static> Store for S {}

/// Where a store lives.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) dir: PathBuf,
    /// The simulated disk, for a store that takes one.
    pub(super) disk: SimFs,
    /// Whether each sync is one of a real disk.
    pub(super) is_real: bool,
}

/// Opens the store of a site.
pub(super) type Open<'a, S> = &'a dyn Fn(&Site) -> Result<S>;

/// What ends a case early.
pub(super) struct Broken {
    promise: Promise,
    done: String,
    expected: String,
    seen: String,
}

pub(super) type Verdict<T = ()> = Result<T, Box<Broken>>;

/// One case: its store's place, and how much it has checked.
pub(super) struct Case<'a, S> {
    open: Open<'a, S>,
    pub(super) site: Site,
    number: u64,
    places: u64,
    /// Whether the place has had a store before.
    is_used: bool,
    checks: u64,
}

impl<S: Store> Case<'_, S> {
    /// Goes on with a store in another place, a new one.
    pub(super) fn elsewhere(&mut self) {
        self.places += 1;
        self.is_used = false;
        self.site.dir.set_file_name(format!("{}-{}", self.number, self.places));
    }

    /// Opens the case's store, new or as the last one left it.
    pub(super) fn open(&mut self) -> Verdict<S> {
        self.checks += 1;
        let promise = match std::mem::replace(&mut self.is_used, true) {
            true => Promise::AcknowledgedIsDurable,
            false => Promise::NewStoresOpen,
        };
        let failed = |error| broken(promise, "opening the store", "it opens".to_owned(), error_text(&error));
        (self.open)(&self.site).map_err(failed)
    }

    /// Opens the case's store, unless power is lost meanwhile.
    pub(super) fn try_open(&mut self) -> Verdict<Option<S>> {
        match self.open() {
            Err(_) if self.site.disk.is_power_off() => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens what a disk holds.
    pub(super) fn open_at(&mut self, disk: &SimFs, done: &str) -> Verdict<S> {
        self.checks += 1;
        let site = Site { disk: disk.clone(), ..self.site.clone() };
        let failed = |error| broken(Promise::AcknowledgedIsDurable, done, "it opens".to_owned(), error);
        (self.open)(&site).map_err(|error| failed(error_text(&error)))
    }

    /// Holds what was seen against what a promise asks for.
    pub(super) fn equal<T: PartialEq + Debug>(
        &mut self,
        promise: Promise,
        done: &str,
        expected: &T,
        seen: &T,
    ) -> Verdict {
        self.checks += 1;
        if expected == seen {
            return Ok(());
        }
        Err(broken(promise, done, format!("{expected:?}"), format!("{seen:?}")))
    }

    /// Holds a statement to be true.
    pub(super) fn holds(
        &mut self,
        promise: Promise,
        done: &str,
        expected: &str,
        fact: bool,
        seen: &dyn Debug,
    ) -> Verdict {
        self.checks += 1;
        if fact { Ok(()) } else { Err(broken(promise, done, expected.to_owned(), format!("{seen:?}"))) }
    }

    /// The value of a call that must succeed.
    pub(super) fn done<T>(&mut self, done: &str, result: Result<T>) -> Verdict<T> {
        self.checks += 1;
        let failed = |seen| broken(Promise::WritesTakeEffect, done, "it succeeds".to_owned(), seen);
        result.map_err(|error| failed(error_text(&error)))
    }

    /// Makes a call; the answer must be the expected one.
    pub(super) fn call(&mut self, promise: Promise, store: &S, call: &Call, expected: &str) -> Verdict {
        self.checks += 1;
        let seen = answer(store, call);
        if seen == expected {
            return Ok(());
        }
        Err(broken(promise, &format!("{call:?}"), expected.to_owned(), seen))
    }

    /// What the store holds.
    pub(super) fn contents(&mut self, store: &S, done: &str) -> Verdict<Contents> {
        let seen = |error| broken(Promise::AcknowledgedIsDurable, done, "its contents can be read".to_owned(), error);
        Contents::of(store).map_err(|error| seen(error_text(&error)))
    }

    /// Holds what a store has after a crash against what it may have, oldest first.
    pub(super) fn judge(&mut self, found: &Contents, possible: &[Contents], done: &str) -> Verdict {
        self.checks += 1;
        let Some(promise) = found.broken_promise(possible) else { return Ok(()) };
        let expected: Vec<String> = possible.iter().map(|contents| format!("{contents}")).collect();
        Err(broken(promise, done, expected.join(", or "), format!("{found}")))
    }

    /// Says that a promise broke.
    pub(super) fn fail<T>(&self, promise: Promise, done: &str, expected: &str, seen: String) -> Verdict<T> {
        Err(broken(promise, done, expected.to_owned(), seen))
    }
}

fn broken(promise: Promise, done: &str, expected: String, seen: String) -> Box<Broken> {
    Box::new(Broken { promise, done: done.to_owned(), expected, seen })
}

/// An error as answers show it: the variant with its fields, which the traits name.
pub(super) fn error_text(error: &Error) -> String {
    format!("{error:?}")
}

/// The function that is a case.
pub(super) type Run<S> = fn(&mut Case<'_, S>) -> Verdict;

/// A group's cases: each with its name, and the promise that a panic in it breaks.
pub(super) struct Cases<S: 'static> {
    pub(super) group: Group,
    pub(super) cases: Vec<(&'static str, Promise, Run<S>)>,
}

/// Runs the cases of some groups, each in a place of its own.
pub(super) fn run<S: Store>(groups: Vec<Cases<S>>, open: Open<'_, S>, place: impl Fn(u64) -> Site) -> Report {
    let mut report = Report::default();
    let mut number = 0;
    for Cases { group, cases } in groups {
        for (name, promise, run) in cases {
            let mut case = Case { open, site: place(number), number, places: 0, is_used: false, checks: 0 };
            number += 1;
            // A panic is the store's answer to this case; the others still have theirs to give.
            let verdict = catch_unwind(AssertUnwindSafe(|| run(&mut case)));
            let broken = match verdict {
                Ok(verdict) => verdict.err(),
                Err(payload) => {
                    let seen = format!("a panic: {}", panic_text(payload.as_ref()));
                    Some(broken(promise, "a call of this case", "no call panics".to_owned(), seen))
                }
            };
            let failure = broken.map(|broken| {
                let Broken { promise, done, expected, seen } = *broken;
                Failure { group, case: name, promise, done, expected, seen }
            });
            report.add(group, case.checks, failure);
        }
    }
    report
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
