//! Which generation of `meta` holds, given what its four copies look like.

use super::State;
use super::format::CopyFault;
use crate::error::JournalId;

/// One copy, read and verified.
pub(crate) type Copy = Result<State, CopyFault>;

/// How well the adopted state stands on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// All that should be readable is.
    Sound,
    /// One copy of a slot was unreadable; its twin served.
    Healed,
    /// A whole slot was unreadable. It may have held a newer state: a torn commit, or a lost vote. Or its two copies are of
    /// two commits of one generation, and nothing tells which.
    SlotLost,
}

/// What to adopt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// This state.
    Adopt(Box<State>, Health),
    /// A version that only a newer build reads.
    Newer(u32),
    /// No copy can be read.
    Lost,
}

/// What one slot's two copies come to.
enum Slot {
    /// Readable from at least one copy.
    Read(Box<State>, Twins),
    Newer(u32),
    Lost,
}

/// How the two copies of a slot go together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twins {
    Same,
    /// One cannot be read, or is older.
    One,
    /// Two commits of one generation: of them, one was refused or cut short, or belongs elsewhere.
    Doubtful,
}

/// The slot that a generation is written to.
pub(crate) fn slot_of(generation: u64) -> usize {
    #[cfg(mutate)]
    if crate::mutate::is(crate::mutate::Mutation::MetaNewestSlot) {
        return 0;
    }
    usize::from(generation % 2 == 1)
}

/// Decides from the copies of slot 0 and of slot 1.
pub(crate) fn decide(copies: [[Copy; 2]; 2]) -> Decision {
    let [zero, one] = ours(copies);
    match (slot(0, zero), slot(1, one)) {
        (Slot::Newer(version), _) | (_, Slot::Newer(version)) => Decision::Newer(version),
        (Slot::Lost, Slot::Lost) => Decision::Lost,
        (Slot::Read(state, _), Slot::Lost) | (Slot::Lost, Slot::Read(state, _)) => {
            Decision::Adopt(state, Health::SlotLost)
        }
        (Slot::Read(a, a_twins), Slot::Read(b, b_twins)) => {
            let (state, twins) = if a.generation > b.generation { (a, a_twins) } else { (b, b_twins) };
            let health = match twins {
                Twins::Doubtful => Health::SlotLost,
                _ if a_twins == Twins::Same && b_twins == Twins::Same => Health::Sound,
                _ => Health::Healed,
            };
            Decision::Adopt(state, health)
        }
    }
}

/// The copies without those of another journal, which a misdirected write brought: fewer than the others.
fn ours(copies: [[Copy; 2]; 2]) -> [[Copy; 2]; 2] {
    let ids: Vec<JournalId> = copies.iter().flatten().flatten().map(|state| state.journal_id).collect();
    let count = |id: JournalId| ids.iter().filter(|&&other| other == id).count();
    let is_foreign = |state: &State| ids.iter().any(|&other| count(other) > count(state.journal_id));
    let check =
        |copy: Copy| copy.and_then(|state| if is_foreign(&state) { Err(CopyFault::Unreadable) } else { Ok(state) });
    copies.map(|slot| slot.map(check))
}

fn slot(number: usize, copies: [Copy; 2]) -> Slot {
    // A generation in the slot of the others is a misplaced write.
    match copies.map(|copy| copy.and_then(|state| placed(number, state))) {
        [Err(CopyFault::Version(version)), _] | [_, Err(CopyFault::Version(version))] => Slot::Newer(version),
        [Ok(first), Ok(second)] => {
            let twins = match () {
                () if first == second => Twins::Same,
                () if first.generation == second.generation => Twins::Doubtful,
                () => Twins::One,
            };
            Slot::Read(Box::new(if first.generation > second.generation { first } else { second }), twins)
        }
        [Ok(state), Err(CopyFault::Unreadable)] | [Err(CopyFault::Unreadable), Ok(state)] => {
            Slot::Read(Box::new(state), Twins::One)
        }
        [Err(CopyFault::Unreadable), Err(CopyFault::Unreadable)] => Slot::Lost,
    }
}

/// The state, if it stands in its slot.
pub(super) fn placed(number: usize, state: State) -> Copy {
    if slot_of(state.generation) == number { Ok(state) } else { Err(CopyFault::Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::format::tests::state;

    /// Every state one copy can be in: bad, of a newer version, or readable with one of two generations of its slot.
    fn copies(slot: u64) -> [Copy; 4] {
        let even = 10 + slot;
        [Err(CopyFault::Unreadable), Err(CopyFault::Version(2)), Ok(state(even)), Ok(state(even + 2))]
    }

    #[test]
    fn the_newest_readable_generation_is_adopted_from_every_combination_of_copies() {
        let mut adopted = 0;
        for a in copies(0) {
            for b in copies(0) {
                for c in copies(1) {
                    for d in copies(1) {
                        let all = [&a, &b, &c, &d];
                        let newest = all.iter().filter_map(|copy| copy.as_ref().ok()).map(|s| s.generation).max();
                        let newer = all.iter().any(|copy| matches!(copy, Err(CopyFault::Version(_))));
                        let lost = |x: &Copy, y: &Copy| x.is_err() && y.is_err();
                        match decide([[a.clone(), b.clone()], [c.clone(), d.clone()]]) {
                            Decision::Newer(version) => assert!(newer && version == 2),
                            Decision::Lost => assert!(!newer && newest.is_none()),
                            Decision::Adopt(state, health) => {
                                adopted += 1;
                                assert!(!newer && Some(state.generation) == newest);
                                assert_eq!(health == Health::SlotLost, lost(&a, &b) || lost(&c, &d));
                                assert_eq!(health == Health::Sound, a == b && c == d && a.is_ok() && c.is_ok());
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(adopted, 9 * 9 - 1);
    }

    #[test]
    fn two_commits_of_one_generation_are_told_where_they_are_the_newest() {
        let other = |generation| State { life: 77, ..state(generation) };
        let health = |copies| match decide(copies) {
            Decision::Adopt(state, health) => (state.generation, health),
            other => panic!("{other:?}"),
        };
        let older = || Ok(state(11));
        assert_eq!(health([[Ok(state(12)), Ok(other(12))], [older(), older()]]), (12, Health::SlotLost));
        assert_eq!(health([[Ok(state(10)), Ok(other(10))], [older(), older()]]), (11, Health::Healed));
    }

    #[test]
    fn a_generation_in_the_other_slot_is_not_believed() {
        let bad = || Err(CopyFault::Unreadable);
        assert_eq!(decide([[Ok(state(11)), bad()], [bad(), bad()]]), Decision::Lost);
    }
}
