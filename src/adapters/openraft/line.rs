//! A store's writes, one after the other, and their answers, in the same order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Backend;
use crate::contained::contained;
use crate::io::Job;
use crate::sync::Mutex;

/// Where the calls that write stand in line.
///
/// openraft wants its writes one after the other. It awaits each, but a future may be dropped before it is done (a
/// runtime that shuts down, a timeout around it), and the store's threads are several: without a line, the next call
/// could overtake the one that nobody waits for any more, and an older vote land upon a newer one.
#[derive(Default)]
pub(super) struct Line {
    jobs: Mutex<Jobs>,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Somebody works at them, or is about to.
    at_work: bool,
}

#[derive(Default)]
struct Answers {
    /// In the order of the places; none where the answer is still to come.
    waiting: VecDeque<Option<Job>>,
    /// The number of the first of them.
    first: u64,
    /// Somebody gives them out.
    giving: bool,
}

impl Line {
    /// Runs a job on a thread of the store's, after those before it. Its place is the one its answer leaves from.
    pub(super) fn submit<S: Backend>(self: &Arc<Self>, store: &S, job: impl FnOnce(S, Place) + Send + 'static) {
        let (line, its) = (Arc::clone(self), store.clone());
        let job = move || {
            let place = Line::place(line);
            job(its, place);
        };
        {
            let mut jobs = self.jobs.lock();
            jobs.waiting.push_back(Box::new(job));
            if std::mem::replace(&mut jobs.at_work, true) {
                return;
            }
        }
        let line = Arc::clone(self);
        store.run(Box::new(move || line.work()));
    }

    fn work(&self) {
        loop {
            let job = {
                let mut jobs = self.jobs.lock();
                let Some(job) = jobs.waiting.pop_front() else {
                    jobs.at_work = false;
                    return;
                };
                job
            };
            contained(job);
        }
    }

    fn place(line: Arc<Line>) -> Place {
        let number = {
            let mut answers = line.answers.lock();
            answers.waiting.push_back(None);
            answers.first + answers.waiting.len() as u64 - 1
        };
        Place { line, number, answered: false }
    }

    fn answer(&self, number: u64, answer: Job) {
        let mut answers = self.answers.lock();
        let at = usize::try_from(number - answers.first).unwrap_or(usize::MAX);
        if let Some(place) = answers.waiting.get_mut(at) {
            *place = Some(answer);
        }
        if std::mem::replace(&mut answers.giving, true) {
            return;
        }
        loop {
            // The first may still be at work: whoever answers it goes on here.
            let Some(answer) = answers.waiting.front_mut().and_then(Option::take) else {
                answers.giving = false;
                return;
            };
            answers.waiting.pop_front();
            answers.first += 1;
            drop(answers);
            contained(answer);
            answers = self.answers.lock();
        }
    }
}

/// A call's place among the answers.
pub(super) struct Place {
    line: Arc<Line>,
    number: u64,
    answered: bool,
}

impl Place {
    /// Gives the answer, once all that came before have been given; at once, or on the thread that gives those.
    pub(super) fn answer(mut self, answer: impl FnOnce() + Send + 'static) {
        self.answered = true;
        self.line.answer(self.number, Box::new(answer));
    }
}

impl Drop for Place {
    /// A call that ends without an answer must not hold up the others'.
    fn drop(&mut self) {
        if !self.answered {
            self.line.answer(self.number, Box::new(|| {}));
        }
    }
}
