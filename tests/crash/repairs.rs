//! Entries that are damaged at rest in the middle of a history, and put back.

use std::path::PathBuf;

use super::Run;
use crate::common::walk;
use crate::model::KEYS;
use raft_journal::io::sim::AtRest;
use raft_journal::{Changes, Entry, Error, Journal, LogStore};

impl Run {
    /// A repair that was cut short is done again.
    pub(super) fn heal_again(&mut self) {
        if self.now().damaged.is_empty() {
            return;
        }
        let journal = self.journal.clone().expect("open");
        match self.heal(&journal) {
            Ok(()) => {}
            Err(_) if self.fs.is_power_off() => self.survive(),
            Err(error) => panic!("a second repair failed: {error}"),
        }
    }

    /// Damages an entry at rest, one that the log's newest mark proves, and puts it back.
    pub(super) fn repair(&mut self, journal: &Journal, back: u8) -> Result<(), Error> {
        self.commit(journal, Changes::new().set(KEYS[0], [back]))?;
        if self.faulty {
            return Ok(());
        }
        let entries = &self.log().entries;
        let chosen = entries.len().checked_sub(2 + usize::from(back)).map(|at| entries[at].clone());
        // What was put back before stands elsewhere.
        let is_unhurt = |entry: &Entry| self.wounds.iter().all(|wound| wound.position() != entry.position());
        let Some(wound) = chosen.filter(|entry| !entry.data.is_empty() && is_unhurt(entry)) else { return Ok(()) };
        let Some((path, at)) = self.place_of(&wound) else { return Ok(()) };
        self.fs.damage(&AtRest::FlipBit { path, bit: at * 8 }).expect("the file was just read");
        self.wounds.push(wound.clone());
        self.push(|model| _ = model.damaged.insert(wound.index));
        self.acknowledged();
        self.heal(journal)
    }

    /// Where an entry's payload ends, if one place only holds an entry of its index and, as far as the file shows it, term.
    fn place_of(&self, entry: &Entry) -> Option<(PathBuf, u64)> {
        let stored = |path: PathBuf| {
            let bytes = self.fs.read_file(&path).expect("it was just listed");
            let is_it = |stored: &walk::Stored| {
                stored.index == entry.index && stored.term.is_none_or(|term| term == entry.term)
            };
            let found = walk::entries(&bytes).into_iter().filter(is_it);
            found.map(|stored| (path.clone(), stored.bytes.end as u64 - 1)).collect::<Vec<_>>()
        };
        let mut places = self.segments().into_iter().flat_map(stored);
        places.next().filter(|_| places.next().is_none())
    }

    fn heal(&mut self, journal: &Journal) -> Result<(), Error> {
        let damaged = self.now().damaged.clone();
        let lost: Vec<Entry> =
            self.log().entries.iter().filter(|entry| damaged.contains(&entry.index)).cloned().collect();
        self.offer_another(journal, &lost)?;
        self.push(|model| model.damaged.clear());
        journal.repair(&lost)?;
        self.acknowledged();
        let what = if self.shape.encrypted { "encrypted entries put back" } else { "entries put back" };
        self.did(what, lost.len() as u64);
        lost.iter().try_for_each(|entry| {
            assert_eq!(journal.entry(entry.index)?, *entry, "what was put back");
            Ok(())
        })
    }

    /// Nothing else is put back in a lost entry's place. Of an encrypted one, what stands around it must be proven, too.
    fn offer_another(&self, journal: &Journal, lost: &[Entry]) -> Result<(), Error> {
        let Some(mut other) = lost.first().filter(|_| !self.shape.encrypted).cloned() else { return Ok(()) };
        other.data = other.data.iter().map(|byte| !byte).collect();
        match journal.repair(&[other]) {
            Err(Error::RepairRefused { .. }) => Ok(()),
            Err(error) if self.fs.is_power_off() => Err(error),
            answer => panic!("another entry in the place of a lost one: {answer:?}"),
        }
    }
}
