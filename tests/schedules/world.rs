//! One journal and its threads: what each of them does, as a seed has it.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use raft_journal::io::sim::{Fault, Schedule, SimFs, Survival};
use raft_journal::io::{Fs, Tasks};
use raft_journal::{Changes, Entry, Error, Journal, LogStore, Pending, Position, StableStore};

use super::history::{History, Mark, Write};
use super::judge::{self, DIR};
use super::plan::Random;
pub use super::plan::{Does, Job, Plan};

/// What the threads called, in the order of the schedule.
pub type Told = Arc<Mutex<Vec<String>>>;

/// What stands around a world.
#[derive(Clone)]
pub struct Around {
    /// Between the journal and its disk.
    pub disk: fn(SimFs) -> Arc<dyn Fs>,
    /// Around all that a thread does.
    pub thread: fn(Box<dyn FnOnce()>),
    pub told: Option<Told>,
}

impl Around {
    pub const NOTHING: Around = Around { disk: |disk| Arc::new(disk), thread: |work| work(), told: None };
}

/// What schedules met.
#[derive(Clone, Copy, Default, Debug)]
pub struct Met {
    pub steps: u64,
    pub switches: u64,
    pub power_cuts: u64,
    pub faults: u64,
    pub closes: u64,
    pub reopens: u64,
    pub purges: u64,
    pub truncations: u64,
    pub encrypted: u64,
    pub rewrites: u64,
    pub races_lost: u64,
    pub rotations: u64,
    pub shared_syncs: u64,
    pub callbacks: u64,
    pub votes: u64,
    pub reads: u64,
    pub idle_looks: u64,
}

impl Met {
    pub fn and(self, other: Met) -> Met {
        Met {
            steps: self.steps + other.steps,
            switches: self.switches + other.switches,
            power_cuts: self.power_cuts + other.power_cuts,
            faults: self.faults + other.faults,
            closes: self.closes + other.closes,
            reopens: self.reopens + other.reopens,
            purges: self.purges + other.purges,
            truncations: self.truncations + other.truncations,
            encrypted: self.encrypted + other.encrypted,
            rewrites: self.rewrites + other.rewrites,
            races_lost: self.races_lost + other.races_lost,
            rotations: self.rotations + other.rotations,
            shared_syncs: self.shared_syncs + other.shared_syncs,
            callbacks: self.callbacks + other.callbacks,
            votes: self.votes + other.votes,
            reads: self.reads + other.reads,
            idle_looks: self.idle_looks + other.idle_looks,
        }
    }
}

/// What a thread has of the world.
#[derive(Clone)]
struct Thread {
    journal: Journal,
    disk: SimFs,
    tasks: Arc<dyn Tasks>,
    history: Arc<Mutex<History>>,
    met: Arc<Mutex<Met>>,
    turn: Turn,
    random: Random,
    number: u64,
    /// How often it does what it does, at most.
    times_max: u64,
    told: Option<Told>,
    /// How many entries it has made, so that no two are alike.
    made: u64,
}

/// Whose turn it is to write, where writers take turns.
#[derive(Clone)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(&self, tasks: &dyn Tasks) -> TurnGuard {
        while self.0.swap(true, Ordering::SeqCst) {
            let taken = Arc::clone(&self.0);
            tasks.wait_until("its turn to write", Arc::new(move || !taken.load(Ordering::SeqCst)));
        }
        TurnGuard(self.clone())
    }
}

struct TurnGuard(Turn);

impl Drop for TurnGuard {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::SeqCst);
    }
}

/// What one schedule came to.
pub struct Played {
    pub disk: SimFs,
    pub history: History,
    pub met: Met,
    /// Nobody closes it.
    leaked: Option<Journal>,
}

impl Drop for Played {
    fn drop(&mut self) {
        // Without power, dropping the last handle closes nothing.
        self.disk.cut_power();
        self.leaked = None;
    }
}

/// Runs one schedule and judges some of what it may leave.
pub fn run(plan: &Plan) -> Met {
    let (seed, played) = (plan.seed, play(plan, &Around::NOTHING));
    for survival in [Survival::Nothing, Survival::Everything, Survival::Random(seed), Survival::OldOrNew(seed)] {
        judge::recovered(&played.history, &played.disk.after_power_cut(survival));
    }
    played.met
}

/// Runs one schedule. What power loss may leave afterwards is to be judged by its history.
pub fn play(plan: &Plan, around: &Around) -> Played {
    // The same identities and salts for each: what differs is the history.
    let (disk, mut random) = (SimFs::new(), Random::new(plan.seed, 2));
    let options = judge::options(&disk, plan.is_encrypted).tail_cache_bytes(plan.tail_cache_bytes);
    let journal = options.file_system((around.disk)(disk.clone())).open(DIR).expect("a fresh journal");
    let may_fail = plan.power_cut.is_some() || plan.fault.is_some();
    let history = History::new(may_fail, plan.races, plan.voters, plan.is_encrypted);
    let history = Arc::new(Mutex::new(history));
    let met = Arc::new(Mutex::new(Met::default()));
    if let Some(mutations) = plan.power_cut {
        disk.cut_power_at(disk.mutations() + mutations);
    }
    if let Some((kind, count)) = plan.fault {
        disk.inject(Fault::new(kind, ErrorKind::Other).nth(count));
        disk.set_failed_syncs_leave(if random.one_in(2) { Survival::Nothing } else { Survival::Random(plan.seed) });
    }
    let counts = disk.counts();
    let leaked = plan.leaks.then(|| journal.clone());
    let schedule = threads(plan, around, journal, &disk, &history, &met);
    let finished = schedule.run().unwrap_or_else(|stuck| panic!("{stuck}\n{plan:#?}"));
    let history = history.lock().expect("no panic").clone();
    assert!(history.callbacks_due.is_empty(), "callbacks never ran: {history:#?}");
    let mut met = *met.lock().expect("no panic");
    met.steps = finished.steps;
    met.switches = finished.switches;
    met.encrypted = u64::from(plan.is_encrypted);
    met.power_cuts = u64::from(disk.is_power_off());
    met.faults = u64::from(plan.fault.is_some() && disk.faults_left() == 0);
    met.callbacks = history.callbacks_given;
    met.votes = history.votes.iter().map(|vote| vote.promised).sum();
    met.idle_looks = finished.time.as_millis() as u64 / 500;
    let counts = disk.counts() - counts;
    met.shared_syncs = u64::from(counts.writes > 2 * counts.syncs);
    met.rotations = disk.paths().iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).count() as u64;
    Played { disk, history, met, leaked }
}

/// The schedule with the plan's threads.
fn threads(
    plan: &Plan,
    around: &Around,
    journal: Journal,
    disk: &SimFs,
    history: &Arc<Mutex<History>>,
    met: &Arc<Mutex<Met>>,
) -> Schedule {
    let (races, reopens) = (plan.races, plan.reopens);
    let turn = Turn(Arc::new(AtomicBool::new(false)));
    // A process may be stopped for a while, by a user who needs the processor.
    let mut schedule = Schedule::new(plan.schedule).blocked_after(Duration::from_secs(120));
    for &Job { does, times_max, number } in &plan.jobs {
        let mut thread = Thread {
            tasks: journal.tasks(),
            journal: journal.clone(),
            disk: disk.clone(),
            history: Arc::clone(history),
            met: Arc::clone(met),
            turn: turn.clone(),
            random: Random::new(plan.seed, 3 + number),
            number,
            times_max,
            told: around.told.clone(),
            made: 0,
        };
        let work = move || match does {
            Does::Write => thread.write(races),
            Does::Vote(voter) => thread.vote(voter),
            Does::Read => thread.read(),
            Does::Purge => thread.purge(races),
            Does::Rewrite => thread.rewrite(),
            Does::Close => thread.close(reopens),
        };
        let around = around.thread;
        schedule = schedule.thread(format!("{number}: {does:?}"), move || around(Box::new(work)));
    }
    schedule
}

#[cfg(feature = "encryption")]
fn rewrite(journal: &Journal) -> Result<(), Error> {
    journal.rewrite()
}

/// Only encrypted journals are.
#[cfg(not(feature = "encryption"))]
fn rewrite(_: &Journal) -> Result<(), Error> {
    Ok(())
}

impl Thread {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no panic")
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().expect("no panic")
    }

    /// Says what is called now.
    fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(told) = &self.told {
            told.lock().expect("no panic").push(format!("{}: {}", self.number, what()));
        }
    }

    /// Lets others go on, up to `most` times.
    fn pause(&mut self, most: u64) {
        for _ in 0..self.random.below(most + 1) {
            self.tasks.wait_until("nothing", Arc::new(|| true));
        }
    }

    /// Whether a call was answered; if not, whether it may fail like that, and the thread has to end.
    fn answered<T>(&self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::Closed) => None,
            Err(error) => {
                assert!(self.history().may_fail, "nothing was made to fail: {error}");
                None
            }
        }
    }

    fn entries(&mut self, first: u64, count: u64, term: u64) -> Vec<Entry> {
        let mut entry = |index| {
            self.made += 1;
            let mut data = format!("<{index} by {} in {term}, {}>", self.number, self.made);
            let bytes_max = if self.random.one_in(3) { 1500 } else { 200 };
            let bytes = self.random.below(bytes_max) as usize;
            data.extend(std::iter::repeat_n('.', bytes));
            Entry::new(index, term, data)
        };
        let entries: Vec<Entry> = (first..first + count).map(&mut entry).collect();
        self.history().attempt(&entries);
        entries
    }

    fn write(&mut self, races: bool) {
        let mut later = Vec::new();
        for _ in 0..self.times_max {
            self.pause(3);
            let written = if races { self.write_racing() } else { self.write_in_turn() };
            let Some((mark, pending)) = written else { break };
            let Some(pending) = pending else { continue };
            match self.random.below(5) {
                0 => self.call_back(mark, pending),
                1 => later.push((mark, pending)),
                2 => drop(pending),
                _ => {
                    self.pause(1);
                    if !self.wait(mark, pending) {
                        break;
                    }
                }
            }
        }
        later.into_iter().for_each(|(mark, pending)| _ = self.wait(mark, pending));
    }

    fn wait(&self, mark: Mark, pending: Pending) -> bool {
        self.tell(|| format!("wait for {}", pending.position()));
        let done = self.answered(pending.wait()).is_some();
        if done {
            self.history().promise(mark);
        }
        done
    }

    fn call_back(&self, mark: Mark, pending: Pending) {
        let number = {
            let mut history = self.history();
            history.callbacks_given += 1;
            let number = history.callbacks_given;
            history.callbacks_due.insert(number);
            number
        };
        let (history, position) = (Arc::clone(&self.history), pending.position());
        self.tell(|| format!("be called back at {position}"));
        pending.on_durable(Box::new(move |result| {
            let mut history = history.lock().expect("no panic");
            assert!(history.callbacks_due.remove(&number), "a callback runs once");
            match result {
                Ok(durable) => {
                    assert_eq!(durable, position);
                    history.promise(mark);
                }
                Err(error) => assert!(history.may_fail, "nothing was made to fail: {error}"),
            }
        }));
    }

    /// Appends where the log ends, if nobody else does so first.
    fn write_racing(&mut self) -> Option<(Mark, Option<Pending>)> {
        let first = self.journal.state().next_index().unwrap_or(1);
        let count = 1 + self.random.below(3);
        let entries = self.entries(first, count, 1);
        self.pause(1);
        self.tell(|| format!("append {first} +{count}"));
        match self.journal.append_pending(&entries) {
            Err(Error::Overlap { .. }) => {
                self.met().races_lost += 1;
                Some((0, None))
            }
            result => {
                let pending = self.answered(result)?;
                let write = Write { first, entries };
                let mark = write.end() - 1;
                let mut history = self.history();
                write.entries.iter().for_each(|entry| history.saw(entry));
                let other = history.writes.insert(first, write);
                assert!(other.is_none(), "two writes in one place: {other:?}");
                history.returned = history.returned.max(mark);
                Some((mark, Some(pending)))
            }
        }
    }

    /// Appends, replaces the tail, or truncates it, while no other writer does.
    fn write_in_turn(&mut self) -> Option<(Mark, Option<Pending>)> {
        let _turn = self.turn.take(&*self.tasks);
        if self.history().failed {
            return None;
        }
        let next = self.journal.state().next_index().unwrap_or(1);
        let number = self.history().writes.last_key_value().map_or(1, |(last, _)| last + 1);
        let kept = self.history().floor + 1;
        let back = next - next.saturating_sub(1 + self.random.below(12)).max(kept).min(next);
        let (first, count) = match self.random.below(8) {
            0 | 1 if back > 0 => (next - back, 0),
            2 | 3 if back > 0 => (next - back, 1 + self.random.below(3)),
            _ => (next, 1 + self.random.below(4)),
        };
        let entries = self.entries(first, count, number);
        self.history().writes.insert(number, Write { first, entries: entries.clone() });
        self.tell(|| format!("write {first} +{count} at {next}"));
        let result = match (count, first == next) {
            (0, _) => self.journal.truncate_tail(first).map(|()| None),
            (_, true) => self.journal.append_pending(&entries).map(Some),
            (_, false) => self.journal.replace_tail_pending(&entries).map(Some),
        };
        if matches!(result, Err(Error::Closed)) {
            self.history().writes.remove(&number);
        }
        let Some(pending) = self.answered(result) else {
            self.history().failed = true;
            return None;
        };
        self.met().truncations += u64::from(first < next);
        let mut history = self.history();
        history.returned = number;
        if pending.is_none() {
            history.promise(number);
        }
        Some((number, pending))
    }

    fn vote(&mut self, voter: usize) {
        for value in 1..=(1 + self.random.below(4)).min(self.times_max) {
            self.pause(4);
            let changes = judge::keys(voter).iter().fold(Changes::new(), |changes, key| changes.set_u64(key, value));
            let before = {
                let mut history = self.history();
                history.votes[voter].asked = value;
                history.returned
            };
            self.tell(|| format!("vote {value}"));
            if self.answered(self.journal.commit(&changes)).is_none() {
                return;
            }
            let mut history = self.history();
            history.votes[voter].promised = value;
            // Every commit makes the appends that were issued before it durable.
            history.promise(before);
        }
    }

    fn read(&mut self) {
        for _ in 0..(3 + self.random.below(8)).min(self.times_max) {
            self.pause(4);
            let state = self.journal.state();
            assert!(state.durable <= state.last, "{state:?}");
            state.durable.iter().for_each(|&durable| self.history().saw_durable(durable));
            let (Some(first), Some(next)) = (state.first_index(), state.next_index()) else { continue };
            let from = first + self.random.below(next - first);
            let range = from..(from + 1 + self.random.below(9)).min(next);
            self.tell(|| format!("read {range:?}"));
            match self.journal.entries(range.clone(), 1 + self.random.below(4000)) {
                // The head may pass, or the tail be taken back, meanwhile.
                Err(Error::BeforeFirst { .. }) => {}
                Err(Error::AfterLast { .. }) if !self.history().races => {}
                result => {
                    let Some(found) = self.answered(result) else { return };
                    assert!(!found.is_empty() && found.len() as u64 <= range.end - range.start);
                    for (index, entry) in range.zip(&found) {
                        assert_eq!(entry.index, index);
                        self.history().saw(entry);
                    }
                    self.met().reads += 1;
                }
            }
        }
    }

    fn purge(&mut self, races: bool) {
        for _ in 0..self.times_max {
            self.pause(12);
            let position = {
                let _turn = (!races).then(|| self.turn.take(&*self.tasks));
                let state = self.journal.state();
                let (Some(first), Some(durable)) = (state.first_index(), state.durable) else { continue };
                if durable.index < first {
                    continue;
                }
                let index = first + self.random.below(durable.index - first + 1);
                let Some(term) = self.answered(self.journal.term(index)) else { return };
                let position = Position::new(index, term);
                let mut history = self.history();
                history.floor = index;
                history.purge_asked = Some(position);
                position
            };
            self.tell(|| format!("purge {position}"));
            if self.answered(self.journal.truncate_head(position)).is_none() {
                return;
            }
            self.history().purge_promised = Some(position);
            self.met().purges += 1;
        }
    }

    fn rewrite(&mut self) {
        for _ in 0..self.times_max {
            self.pause(12);
            self.tell(|| "rewrite".into());
            if self.answered(rewrite(&self.journal)).is_none() {
                return;
            }
            self.met().rewrites += 1;
        }
    }

    /// Closes the journal in the middle of everything, and perhaps takes it over.
    fn close(&mut self, reopens: bool) {
        self.pause(40);
        let due = self.history().callbacks_due.clone();
        self.tell(|| "close".into());
        if self.answered(self.journal.close()).is_none() {
            return;
        }
        self.met().closes += 1;
        let mut history = self.history();
        assert!(history.callbacks_due.is_disjoint(&due), "closed before each callback had run");
        let returned = history.returned;
        history.promise(returned);
        // A copy: the others must be able to go on while the files are read.
        let promised = history.clone();
        drop(history);
        if !reopens {
            return;
        }
        self.tell(|| "reopen".into());
        let Some(journal) = self.answered(judge::options(&self.disk, promised.is_encrypted).open(DIR)) else { return };
        assert!(journal.recovery_report().clean, "{:?}", journal.recovery_report());
        if self.answered(judge::log(&promised, &journal)).is_none() {
            return;
        }
        judge::state(&promised, &journal);
        self.met().reopens += 1;
    }
}
