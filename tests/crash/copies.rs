//! Checkpoints that a history takes.

use raft_journal::io::sim::SimFs;
use raft_journal::{Error, Journal};

use super::{COPY_DIR, Run};
use crate::model::Model;

/// What the checkpoint may hold.
#[derive(Clone, Default)]
pub struct Copies {
    any_of: Vec<Model>,
    /// It was acknowledged, and none has been begun since: it is there.
    is_there: bool,
    /// What has just been acknowledged.
    made: Option<Model>,
}

impl Copies {
    /// From now on, what was acknowledged is there.
    pub fn hold(&mut self) {
        if let Some(made) = self.made.take() {
            *self = Copies { any_of: vec![made], is_there: true, made: None };
        }
    }
}

impl Run {
    /// Whether the checkpoint on a disk is whole, or is refused where none was acknowledged.
    pub fn check_copy(&self, disk: &SimFs, copies: &Copies) {
        // What is damaged at rest is damaged in the copy, too, where both are one file.
        if copies.any_of.is_empty() || self.is_wounded() {
            return;
        }
        match self.options_on(disk).read_only(true).open(COPY_DIR) {
            Ok(copy) => {
                let found =
                    Model::read_at_once(&copy).unwrap_or_else(|error| panic!("a checkpoint is damaged: {error}"));
                let any_of = &copies.any_of;
                assert!(any_of.contains(&found), "the checkpoint has {found:?}\nwhich is none of {any_of:#?}");
            }
            Err(Error::UnfinishedCheckpoint { .. } | Error::NotAJournal { .. }) if !copies.is_there => {}
            Err(error) => panic!("the checkpoint is refused: {error}"),
        }
    }

    pub(super) fn checkpoint(&mut self, journal: &Journal) -> Result<(), Error> {
        let mut copy = self.now().clone();
        copy.pairs.extend(self.lazy.clone());
        self.copies.any_of.push(copy.clone());
        self.copies.is_there = false;
        journal.checkpoint(COPY_DIR)?;
        self.copies.made = Some(copy);
        self.acknowledged();
        self.did("checkpoints", 1);
        Ok(())
    }
}
