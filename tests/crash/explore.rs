//! Explores a history: at each moment at which power could be lost, every state that the disk may be found in is opened, judged,
//! appended to, cut off again and opened again.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::generate::History;
use crate::history::{Copies, Moments, Run, Wrap};
use crate::model::Model;
use raft_journal::io::sim::{Kinds, SimFs, Survival};
use raft_journal::{DamageKind, Entry, Fault, FaultPart, Journal, LogStore, RecoveryReport, VerifyOptions};

/// Where a state comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Every combination of new and old.
    OldOrNew,
    /// Every combination of new, old, zero, garbage and stale.
    AllKinds,
    /// Drawn, where there are too many combinations.
    Drawn,
    /// Power lost while recovery was at work.
    InRecovery,
}

impl Class {
    /// The names of all of them.
    pub const NAMES: [&str; 4] =
        [Class::OldOrNew.name(), Class::AllKinds.name(), Class::Drawn.name(), Class::InRecovery.name()];

    pub const fn name(self) -> &'static str {
        match self {
            Class::OldOrNew => "every combination of new and old",
            Class::AllKinds => "every combination of the five kinds",
            Class::Drawn => "drawn where there are too many",
            Class::InRecovery => "cut again while recovering",
        }
    }
}

/// At so many undecided things, all combinations of new and old are visited.
pub const OLD_OR_NEW_UNITS_MAX: usize = 12;
/// At so many, all combinations of the five kinds are.
const ALL_KINDS_UNITS_MAX: usize = 5;
/// How many states are drawn where there are too many to visit.
const DRAWN: u64 = 24;
/// A history is left behind the moment at which so many states have been judged: there are more histories than time.
const JUDGED_MAX: u64 = 20_000;
/// One of so many states is also lost while it recovers.
const RECOVERIES_EXPLORED: u64 = 64;

/// One of so many states is also verified: recovery leaves no byte behind that does not check out.
const VERIFIED: u64 = 8;

/// One of so many states also loses power right behind its recovery, before anything is appended to it.
const CUT_OFF: u64 = 4;

/// One of so many states is also read entry by entry.
const POINT_READS: u64 = 8;

/// Opens a state, which must not be refused, and reads all that is there.
fn open(run: &Run, disk: &SimFs, states: &[Model], by_points: bool) -> (Journal, Model) {
    let journal = run.options_for(disk, states).open(&run.dir);
    let journal = journal.unwrap_or_else(|error| panic!("recovery refused: {error}"));
    let found = run.read(&journal, by_points);
    let found = found.unwrap_or_else(|error| panic!("an entry cannot be read: {error}"));
    (journal, found)
}

/// Every checksum of every file is right; but the trailer of a file that was being sealed may never have been written.
fn verify(journal: &Journal) {
    let report = journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(()));
    let report = report.unwrap_or_else(|error| panic!("not verified: {error}"));
    let reindexed = &journal.recovery_report().reindexed;
    let is_known = |fault: &Fault| fault.part == FaultPart::Trailer && reindexed.contains(&fault.path);
    let is_sound = report.complete && report.faults.iter().all(is_known) && report.losses().next().is_none();
    assert!(is_sound, "recovered, and does not check out: {report:#?}");
}

/// Without power, closing is short; with nothing left in the background, it waits for nobody.
fn give_up(disk: &SimFs, journal: Journal) {
    disk.cut_power();
    disk.run_tasks();
    drop(journal);
}

/// Digests, which need no more hashing.
type Digests = HashSet<u64, BuildHasherDefault<AsItIs>>;

/// Hashes a digest to itself.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("digests are numbers");
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The states that were met, by all workers; and when there were enough.
pub struct Seen {
    shards: Vec<Mutex<Digests>>,
    count: AtomicU64,
    /// The moments at which power was lost.
    points: Mutex<HashSet<(u64, u64)>>,
    states_max: u64,
    until: Option<Instant>,
}

impl Seen {
    /// Nothing yet; so many states are enough, and so is what there is at that time.
    pub fn new(states_max: u64, until: Option<Instant>) -> Seen {
        let shards = (0..64).map(|_| Mutex::default()).collect();
        Seen { shards, count: AtomicU64::new(0), points: Mutex::default(), states_max, until }
    }

    /// Nothing yet, and nothing is enough.
    pub fn without_end() -> Seen {
        Seen::new(u64::MAX, None)
    }

    /// Whether the hunt is over.
    pub fn is_enough(&self) -> bool {
        self.count() >= self.states_max || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// How many different disks there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether power was never lost at such a moment: all that may survive and all that must are another's.
    pub fn insert_point(&self, moment: &SimFs) -> bool {
        let ends = [Survival::Everything, Survival::Nothing].map(|survival| moment.after_power_cut(survival).digest());
        self.points.lock().expect("no worker panics here").insert(ends.into())
    }

    /// Whether a disk was never met before.
    pub fn insert(&self, digest: u64) -> bool {
        let shard = &self.shards[(digest >> 32) as usize % self.shards.len()];
        let new = shard.lock().expect("no worker panics here").insert(digest);
        self.count.fetch_add(u64::from(new), Ordering::Relaxed);
        new
    }
}

/// What exploring came to.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Different disks, by where they come from.
    pub states: BTreeMap<&'static str, u64>,
    /// Disks that were judged; the same one more than once where different things are allowed.
    pub judged: u64,
    /// Different moments at which power was lost.
    pub crash_points: u64,
    /// What recovery decided.
    pub rows: BTreeMap<&'static str, u64>,
    /// What came about in the histories themselves.
    pub done: BTreeMap<&'static str, u64>,
    /// Different disks since something of this kind came about in their history.
    pub since: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn distinct(&self) -> u64 {
        self.states.values().sum()
    }

    /// Counts a disk that was judged, and that was new or not.
    pub fn meet(&mut self, source: &'static str, new: bool) {
        self.judged += 1;
        if new {
            *self.states.entry(source).or_default() += 1;
        }
    }

    /// Counts something that recovery decided.
    pub fn decided(&mut self, row: &'static str) {
        *self.rows.entry(row).or_default() += 1;
    }

    /// Counts all that recovery decided.
    pub fn note(&mut self, report: &RecoveryReport) {
        let rows = [
            ("new directory", report.created),
            ("closed in order", report.clean),
            ("torn, cut", report.torn.is_some()),
            ("nothing torn", report.torn.is_none()),
            ("suspect log", report.suspect.is_some()),
            ("suspect vote", report.suspect.is_some_and(|suspect| suspect.vote)),
            ("meta healed", report.meta_healed),
            ("reindexed", !report.reindexed.is_empty()),
            ("files left over", !report.leftover.is_empty()),
        ];
        rows.into_iter().filter(|(_, hit)| *hit).for_each(|(row, _)| self.decided(row));
        report.damaged.iter().for_each(|damage| self.decided(lost(damage.why)));
    }

    pub fn add(&mut self, other: &Tally) {
        let counts = [
            (&mut self.states, &other.states),
            (&mut self.rows, &other.rows),
            (&mut self.done, &other.done),
            (&mut self.since, &other.since),
        ];
        for (sum, more) in counts {
            more.iter().for_each(|(row, count)| *sum.entry(row).or_default() += count);
        }
        self.judged += other.judged;
        self.crash_points += other.crash_points;
    }
}

/// Why recovery gave up some of the log.
fn lost(why: DamageKind) -> &'static str {
    match why {
        DamageKind::Checksum => "lost: a checksum differs",
        DamageKind::MissingFile => "lost: a file is missing",
        DamageKind::ShortFile => "lost: a file is too short",
        DamageKind::Header => "lost: both headers of a file",
        DamageKind::Misplaced => "lost: bytes that belong elsewhere",
        DamageKind::Accepted => "lost: accepted earlier",
        _ => "lost: an entry within a batch that checks out",
    }
}

/// What came about in a history, each with how many different disks there had been before.
struct Since(BTreeMap<&'static str, u64>);

impl Since {
    /// Any of them.
    const ANY: &str = "any of these";

    fn new(is_encrypted: bool) -> Since {
        Since(is_encrypted.then_some(["encrypted", Since::ANY]).into_iter().flatten().map(|kind| (kind, 0)).collect())
    }

    fn look(&mut self, run: &Run, distinct: u64) {
        let kinds = [
            ("checkpoints", "checkpoints"),
            ("entries put back", "entries put back"),
            ("encrypted entries put back", "entries put back"),
            ("logs written anew", "logs written anew"),
        ];
        for (_, kind) in kinds.into_iter().filter(|(done, _)| run.done.contains_key(done)) {
            [kind, Since::ANY].into_iter().for_each(|kind| _ = self.0.entry(kind).or_insert(distinct));
        }
    }

    fn count(self, distinct: u64) -> BTreeMap<&'static str, u64> {
        self.0.into_iter().map(|(kind, before)| (kind, distinct - before)).collect()
    }
}

/// Explores histories.
pub struct Explorer<'a> {
    seen: &'a Seen,
    /// What was judged under the expectation of now.
    judged: Digests,
    /// What this history's disks were recovered to, as places in `known`: recovery makes the same of the same disk.
    recovered: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    /// All that was recovered: many disks, few models.
    known: Vec<Model>,
    tally: Tally,
    /// How many moments there were: draws differ from one to the next.
    moments: u64,
    wrap: Wrap,
    /// What the checkpoint may hold at the moments of now.
    copies: Copies,
}

thread_local! {
    /// What a quiet panic said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something that panics when a promise is broken, without a word to anybody else.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let quiet = SAID.with_borrow_mut(|said| match said {
                Some(said) => {
                    *said = info.to_string();
                    true
                }
                None => false,
            });
            if !quiet {
                usual(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(run));
    let said = SAID.take().unwrap_or_default();
    // What another thread said, and was passed on from there, passed by this one's hook.
    result.map_err(|payload| if said.is_empty() { message(&*payload) } else { said })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a word").to_owned()
}

impl<'a> Explorer<'a> {
    /// Explores until `seen` has enough, at most.
    pub fn new(seen: &'a Seen, wrap: Wrap) -> Explorer<'a> {
        let (judged, recovered) = (Digests::default(), HashMap::default());
        Explorer {
            seen,
            judged,
            recovered,
            known: Vec::new(),
            tally: Tally::default(),
            moments: 0,
            wrap,
            copies: Copies::default(),
        }
    }

    /// Explores one history; what it came to so far, and what went wrong.
    pub fn explore(self, history: &History) -> (Tally, Result<(), String>) {
        self.explore_behind(history, 0)
    }

    /// The same from the moment on at which so many steps are done.
    pub fn explore_behind(mut self, history: &History, steps: usize) -> (Tally, Result<(), String>) {
        let result = quietly(|| {
            let disk = history.trouble.disk(history.seed);
            disk.queue_tasks(history.queued);
            let mut run = Run::new(disk, history.shape);
            run.wrap = Arc::clone(&self.wrap);
            run.recording = true;
            let mut since = Since::new(history.shape.encrypted);
            run.open();
            if steps == 0 {
                self.visit(&mut run);
            }
            for (number, op) in history.ops.iter().enumerate() {
                run.take(op);
                if number < steps {
                    run.moments.clear();
                    continue;
                }
                since.look(&run, self.tally.distinct());
                self.visit(&mut run);
                if self.is_enough() {
                    break;
                }
            }
            self.tally.since = since.count(self.tally.distinct());
            self.tally.done = std::mem::take(&mut run.done);
        });
        (self.tally, result)
    }

    fn visit(&mut self, run: &mut Run) {
        for Moments { disks, states, copies } in std::mem::take(&mut run.moments) {
            self.copies = copies;
            self.judged.clear();
            for disk in disks {
                if self.is_enough() {
                    return;
                }
                self.arrive(&disk);
                self.crash(run, &disk, &states);
            }
        }
    }

    /// Whether there were states enough, in all or of this history.
    fn is_enough(&self) -> bool {
        self.seen.is_enough() || self.tally.judged > JUDGED_MAX
    }

    fn arrive(&mut self, moment: &SimFs) {
        self.moments += 1;
        self.tally.crash_points += u64::from(self.seen.insert_point(moment));
    }

    /// Loses power at one moment, in every way.
    fn crash(&mut self, run: &Run, disk: &SimFs, states: &[Model]) {
        for (class, disk) in crash_states(disk, self.moments) {
            if self.seen.is_enough() {
                return;
            }
            self.meet(run, &disk, states, class);
        }
    }

    /// Judges a state that is new, or that must now be something else.
    fn meet(&mut self, run: &Run, disk: &SimFs, states: &[Model], class: Class) {
        let digest = disk.digest();
        if !self.judged.insert(digest) {
            return;
        }
        let new = self.seen.insert(digest);
        self.tally.meet(class.name(), new);
        if self.recovered.get(&digest).is_some_and(|at| states.contains(&self.known[*at])) {
            return;
        }
        run.check_copy(disk, &self.copies);
        let rarely = if class == Class::InRecovery { RECOVERIES_EXPLORED * 8 } else { RECOVERIES_EXPLORED };
        let deep = new && digest.is_multiple_of(rarely);
        disk.record(deep);
        let (journal, found) = open(run, disk, states, digest.is_multiple_of(POINT_READS));
        assert!(states.contains(&found), "recovered {found:?}\nwhich is none of {states:#?}");
        self.remember(digest, &found);
        self.tally.note(journal.recovery_report());
        let moments = if deep { disk.take_recorded() } else { Vec::new() };
        if new {
            self.go_on(run, disk, &journal, found, digest.is_multiple_of(CUT_OFF));
            // What was damaged at rest may stand there yet, in an entry that was replaced.
            if digest.is_multiple_of(VERIFIED) && !run.is_wounded() {
                verify(&journal);
            }
        }
        give_up(disk, journal);
        for moment in moments {
            if self.is_enough() {
                return;
            }
            self.arrive(&moment);
            self.recover_cut_short(run, &moment, states);
        }
    }

    fn remember(&mut self, digest: u64, found: &Model) {
        let at = self.known.iter().rposition(|known| known == found).unwrap_or_else(|| {
            self.known.push(found.clone());
            self.known.len() - 1
        });
        self.recovered.insert(digest, at);
    }

    /// What was recovered is durable, and so is what is appended to it.
    fn go_on(&self, run: &Run, disk: &SimFs, journal: &Journal, found: Model, at_once: bool) {
        if at_once {
            let rest = disk.after_power_cut(Survival::Nothing);
            let (journal, again) = open(run, &rest, std::slice::from_ref(&found), false);
            assert!(again == found, "recovered {again:?}\nafter {found:?}\nwas recovered and cut off");
            give_up(&rest, journal);
        }
        let next = journal.state().next_index().unwrap_or(3);
        let mut then = found;
        then.log.append(&[Entry::new(next, u64::MAX, &b"after the crash"[..])]);
        let appended = journal.append(&then.log.entries[then.log.entries.len() - 1..]);
        appended.unwrap_or_else(|error| panic!("no append: {error}"));
        let rest = disk.after_power_cut(Survival::Nothing);
        let (journal, again) = open(run, &rest, std::slice::from_ref(&then), false);
        assert!(again == then, "recovered {again:?}\nafter {then:?}\nwas recovered, appended to and cut off");
        give_up(&rest, journal);
    }

    /// Power is lost while recovery is at work: it changes nothing but `meta`.
    fn recover_cut_short(&mut self, run: &Run, disk: &SimFs, states: &[Model]) {
        for (_, disk) in crash_states(disk, self.moments) {
            self.meet(run, &disk, states, Class::InRecovery);
        }
    }
}

/// What power lost at one moment leaves: each combination of old and new, and of all kinds, or some drawn ones where there
/// are too many. `number` keeps apart the draws of different moments.
pub fn crash_states(disk: &SimFs, number: u64) -> impl Iterator<Item = (Class, SimFs)> {
    let ends = [Survival::Everything, Survival::Nothing];
    let old_or_new = ends.into_iter().chain(drawn(number).map(Survival::OldOrNew));
    let all_kinds = ends.into_iter().chain(drawn(number).map(Survival::Random));
    each_or(disk, Kinds::OldOrNew, old_or_new).chain(each_or(disk, Kinds::All, all_kinds))
}

fn drawn(number: u64) -> std::ops::Range<u64> {
    number * DRAWN..(number + 1) * DRAWN
}

/// All that power loss may leave, if it is not too much; else what these survivals leave.
fn each_or<'a>(
    disk: &'a SimFs,
    kinds: Kinds,
    mut survivals: impl Iterator<Item = Survival> + 'a,
) -> impl Iterator<Item = (Class, SimFs)> + 'a {
    let (class, units_max, each) = match kinds {
        Kinds::OldOrNew => (Class::OldOrNew, OLD_OR_NEW_UNITS_MAX, 2_u64),
        Kinds::All => (Class::AllKinds, ALL_KINDS_UNITS_MAX, 5),
    };
    let mut all = disk.crash_states(kinds);
    // Where a name does not survive, an older file with undecided bytes of its own may: only the count tells that all of
    // them were too many after all.
    let mut left = if all.units() <= units_max { each.pow(units_max as u32) } else { 0 };
    let mut is_over = false;
    std::iter::from_fn(move || {
        if left > 0 {
            left -= 1;
            if let Some(state) = all.next() {
                return Some((class, state));
            }
            (left, is_over) = (0, true);
        }
        let survival = if is_over { None } else { survivals.next() };
        survival.map(|survival| (Class::Drawn, disk.after_power_cut(survival)))
    })
}
