//! What damage at rest may cost, told from the bytes that it hit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_journal::io::sim::{AtRest, Operation, OperationKind, SimFs, Survival};
use raft_journal::{Damage, Error, Journal, LogStore, OnDamage};

use super::run::{Model, Random, Run, trace};
use crate::common;

const META: &str = "/journal/meta";

/// Power lost while an open accepts damage.
#[derive(Clone, Copy, Debug)]
pub struct Interruption {
    /// After so many of the open's mutations.
    mutations: u64,
    /// Of what survives.
    seed: u64,
    /// An open that accepts nothing comes next.
    is_looked_at: bool,
}

impl Interruption {
    pub fn draw(random: &mut Random) -> Interruption {
        Interruption { mutations: random.below(14), seed: random.bits(), is_looked_at: random.one_in(2) }
    }
}

/// Faults in one place of the disk: a file as such, a bit, a sector or two, a write that went astray or never happened;
/// and, for `meta` alone, both copies of a slot, or of a commit.
pub fn faults(random: &mut Random, sim: &SimFs) -> Vec<AtRest> {
    let copy_sectors = sim.read_file(META).unwrap().len() as u64 / 4 / 512;
    let meta = || PathBuf::from(META);
    match random.below(16) {
        0 => {
            let copy = random.below(2) * 2;
            let fill = |copy| AtRest::FillSector { path: meta(), sector: copy * copy_sectors, byte: 0 };
            return vec![fill(copy), fill(copy + 1)];
        }
        1 => return vec![AtRest::LoseWrite { path: meta(), back: 0 }; 2],
        _ => {}
    }
    let fault = AtRest::random(random.bits(), sim);
    match &fault {
        AtRest::FillSector { path, sector, byte } if random.one_in(2) && *sector > 0 => {
            let before = AtRest::FillSector { path: path.clone(), sector: sector - 1, byte: *byte };
            vec![before, fault]
        }
        _ => vec![fault],
    }
}

pub fn contents(sim: &SimFs) -> Files {
    sim.paths().into_iter().map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

fn length(files: &Files, path: &Path) -> Option<usize> {
    files.get(path).map(Vec::len)
}

fn is_told(damaged: &[Arc<Damage>], index: u64) -> bool {
    let ranges = damaged.iter().map(|damage| damage.indexes);
    ranges.into_iter().any(|range| range.first <= index && range.end.is_none_or(|end| index < end))
}

pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a file has in a range; nothing where there is no such file.
fn part<'a>(files: &'a Files, path: &Path, range: &Range<usize>) -> Option<&'a [u8]> {
    files.get(path)?.get(range.clone())
}

/// How damage left `meta`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meta {
    /// Each slot has a good copy; whether one has a bad one, too.
    Readable { healed: bool },
    /// The older slot is lost.
    OlderLost,
    /// The newest slot is lost: so may be what it alone knew.
    NewestLost,
}

impl Meta {
    pub fn of(before: &Files, after: &Files) -> Meta {
        let bytes = &before[Path::new(META)];
        let copy_bytes = bytes.len() / 4;
        let number =
            |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | *byte as usize);
        let is_good = |copy: usize| {
            let at = copy * copy_bytes;
            let content = at..at + number(at + 16, 4);
            part(after, Path::new(META), &content) == Some(&bytes[content.clone()])
        };
        let slots = [[is_good(0), is_good(1)], [is_good(2), is_good(3)]];
        let newest = usize::from(number(2 * copy_bytes + 24, 8) > number(24, 8));
        match slots.map(|copies| copies.contains(&true)) {
            [true, true] => Meta::Readable { healed: slots.as_flattened().contains(&false) },
            readable if readable[newest] => Meta::OlderLost,
            _ => Meta::NewestLost,
        }
    }
}

impl Run {
    /// What may be there in spite of damage to `disk`, newest first: what was acknowledged; and, without the last of it,
    /// what was there before, when all that could tell of more was hit.
    pub fn possible(&self, disk: &SimFs, before: &Files, after: &Files) -> Vec<Model> {
        let operations = disk.operations();
        let renamed: BTreeMap<&str, &str> =
            operations.iter().filter_map(|renamed| Some((&*renamed.path, renamed.renamed_to.as_deref()?))).collect();
        // A file that stays open is logged by the name that it was opened by.
        let name_now = |opened_by: &str| {
            let names = std::iter::successors(Some(opened_by), |name| renamed.get(name).copied());
            names.last().unwrap_or(opened_by).to_owned()
        };
        let is_hit = |path: &str, range: Range<usize>| {
            let path = Path::new(path);
            // A file that is short is given up as a whole.
            length(before, path) != length(after, path) || part(before, path, &range) != part(after, path, &range)
        };
        let batch_of = |operation: &Operation| {
            let is_batch = operation.kind == OperationKind::Write && operation.len >= BATCH_BYTES as u64;
            let (at, len) = (operation.offset as usize, operation.len as usize);
            // What prepares a file begins with it, and ends with the second header, which with a key is as long as a batch's.
            let path = Some(name_now(&operation.path)).filter(|path| is_batch && path.ends_with(".seg") && at > 0)?;
            let size = length(before, Path::new(&path)).unwrap_or(usize::MAX);
            (at < size - common::DATA_AT).then_some((operation.mutations_before, path, at, len))
        };
        let batches: Vec<_> = operations.iter().filter_map(batch_of).collect();
        let is_header_hit = |path: &str, at: usize| is_hit(path, at..at + BATCH_BYTES);
        let mut possible = vec![self.model.clone()];
        let (mut newer, mut until) = (&self.model, disk.mutations());
        for (model, mutations) in self.past.iter().rev() {
            let mut its = batches.iter().filter(|(before, ..)| (*mutations..until).contains(before)).peekable();
            if its.peek().is_none() {
                continue;
            }
            if !its.clone().any(|(_, path, at, len)| is_hit(path, *at..at + len)) {
                break;
            }
            possible.push(model.clone());
            if !its.clone().all(|(_, path, at, _)| is_header_hit(path, *at)) {
                // Its header says where it begins, and it is told as cut. If something else is hit, too, perhaps what it
                // replaced from there on, nothing says more of that.
                let is_its = |path: &Path, at: usize| {
                    its.clone().any(|(_, its, from, len)| Path::new(its) == path && (*from..from + len).contains(&at))
                };
                let mut segments = before.iter().filter(|(path, _)| path.extension().is_some_and(|is| is == "seg"));
                let is_hit_elsewhere = segments.any(|(path, bytes)| {
                    let now = after.get(path).map_or(&[][..], Vec::as_slice);
                    (0..bytes.len()).any(|at| now.get(at) != bytes.get(at) && !is_its(path, at))
                });
                let ends = is_hit_elsewhere.then(|| model.ends_behind_shared_with(newer));
                possible.extend(ends.into_iter().flatten());
                break;
            }
            (newer, until) = (model, *mutations);
        }
        possible
    }

    /// Adopts what damage took. Nothing else may differ, and a silent cut must be suspect.
    pub fn suffer(&mut self, possible: Vec<Model>) {
        let is_suspect = self.was_suspect || self.journal.recovery_report().suspect.is_some();
        let (mut adopted, mut difference): (Option<Model>, _) = (None, None);
        for mut model in possible {
            model.suffer(&self.journal);
            match (model.difference(&self.journal), &mut adopted) {
                (None, None) => adopted = Some(model),
                // Of two versions of an entry that cannot be read, nobody can tell which was lost: neither is put back.
                (None, Some(Model { entries, lost, .. })) => {
                    entries.retain(|index, entry| !lost.contains(index) || model.entries.get(index) == Some(entry));
                }
                (Some(found), _) => _ = difference.get_or_insert(found),
            }
            if !is_suspect {
                break;
            }
        }
        let report = self.journal.recovery_report();
        self.model = adopted.unwrap_or_else(|| panic!("{difference:?}; {:?}, {report:?}", self.journal.state()));
    }

    /// With the newest state lost, an open fails, or says what is suspect and shows no wrong bytes.
    pub fn check_outdated(&self) {
        let strict = self.open(OnDamage::Refuse);
        trace(|| format!("without the newest state: {:?}", strict.as_ref().map(Journal::recovery_report)));
        let journal = match strict {
            Ok(journal) => journal,
            Err(Error::MetaOutdated { .. } | Error::MetaUnreadable { .. } | Error::SegmentsWithoutMeta { .. }) => {
                return;
            }
            Err(Error::Damaged(_)) => return,
            Err(error) => panic!("damage at rest gives {error:?}"),
        };
        if journal.recovery_report().suspect.is_none() {
            // The newest state was but the beginning of a life, which knew nothing that the one before did not.
            return self.model.check(&journal);
        }
        for (index, entry) in &self.model.entries {
            match journal.entry(*index) {
                Ok(found) => assert_eq!(found, *entry),
                Err(error) => panic!("entry {index}: {error:?}"),
            }
        }
    }

    /// Opens with damage at rest; says whether it had to be accepted first, which is interrupted so often.
    pub fn open_damaged(&mut self, spoiled: &[PathBuf], extra: &[PathBuf], interruptions: &[Interruption]) -> bool {
        let files = contents(&self.sim);
        match self.open(OnDamage::Refuse) {
            Ok(journal) => {
                self.journal = journal;
                return false;
            }
            Err(Error::Damaged(damage)) => assert!(spoiled.contains(&damage.path), "{damage}, not {spoiled:?}"),
            // A number that none can follow: the file has to go, and then nothing is amiss.
            Err(Error::NotAJournal { why, .. }) => {
                let [extra] = extra else { panic!("damage at rest gives {why}") };
                assert!(why.contains(extra.file_name().unwrap().to_str().unwrap()), "{why}");
                assert!(contents(&self.sim) == files, "a refused open changes nothing");
                self.sim.remove_file_now(extra).unwrap();
                self.journal = self.open(OnDamage::Refuse).unwrap();
                return false;
            }
            Err(error) => panic!("damage at rest gives {error:?}"),
        }
        assert!(contents(&self.sim) == files, "a refused open changes nothing");
        for interruption in interruptions {
            self.sim.cut_power_at(self.sim.mutations() + interruption.mutations);
            let accepting = self.open(OnDamage::Accept);
            self.was_suspect |= accepting.is_ok_and(|journal| journal.recovery_report().suspect.is_some());
            self.sim = self.sim.after_power_cut(Survival::Random(interruption.seed));
            if interruption.is_looked_at {
                let strict = self.open(OnDamage::Refuse);
                assert!(matches!(strict, Ok(_) | Err(Error::Damaged(_))), "after a power cut: {strict:?}");
                self.sim = self.sim.after_process_kill();
            }
        }
        self.journal = self.open(OnDamage::Accept).unwrap();
        true
    }

    /// Accepts damage that has shown only now.
    pub fn accept_latent(&mut self) -> Journal {
        let journal = self.open(OnDamage::Accept).unwrap();
        trace(|| format!("accepted later: {:?}", journal.recovery_report()));
        self.model.suffer(&journal);
        let lost_max = self.latent_max.take().unwrap();
        assert!(self.model.lost.len() <= lost_max, "{:?}", self.model.lost);
        journal
    }

    /// What was lost is told, as long as it is part of the log; but for so many entries of another place, which reading
    /// will find.
    pub fn check_told(&self, untold_max: usize) {
        let damaged = &self.journal.recovery_report().damaged;
        let untold: Vec<_> = self.model.lost.iter().filter(|&&index| !is_told(damaged, index)).collect();
        assert!(untold.len() <= untold_max, "{untold:?} are lost, told are {damaged:?}");
    }
}

/// The length of a batch's header.
const BATCH_BYTES: usize = common::FIRST_PAYLOAD_AT - 20;

/// The most entries that have bytes in so much of a file.
fn entries_in(bytes: usize) -> usize {
    bytes / 50 + 2
}

/// The most entries that damage may take without being seen before the journal is opened for the second time.
pub fn latent_max(faults: &[AtRest]) -> Option<usize> {
    let two_places = matches!(faults, [AtRest::SwapSectors { .. } | AtRest::Misdirect { .. }]);
    two_places.then(|| unseen_max(faults).0)
}

/// The most entries that damage may take without being seen at the open, and without being told when other damage is.
pub fn unseen_max(faults: &[AtRest]) -> (usize, usize) {
    match faults {
        // An index and a batch that it speaks of: nothing says any more what a whole file holds.
        [AtRest::SwapSectors { path, other_path: other, .. } | AtRest::Misdirect { path, wrong_path: other, .. }]
            if path == other =>
        {
            (entries_in(8 << 10), entries_in(8 << 10))
        }
        [AtRest::SwapSectors { .. } | AtRest::Misdirect { .. }] => (2 * entries_in(512), entries_in(512)),
        _ => (entries_in(1024), 0),
    }
}
