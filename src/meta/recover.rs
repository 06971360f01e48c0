//! Which generation of `meta` holds, given what its four copies look like.

use super::State;
use super::format::CopyFault;

/// One copy, read and verified.
pub(crate) type Copy = Result<State, CopyFault>;

/// How well the adopted state stands on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// All that should be readable is.
    Sound,
    /// One copy of a slot was unreadable; its twin served.
    Healed,
    /// A whole slot was unreadable. It may have held a newer state: a torn commit, or a lost vote.
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
    /// Readable from at least one copy; `true` when both say the same.
    Read(Box<State>, bool),
    Newer(u32),
    Lost,
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
    let [zero, one] = copies;
    match (slot(0, zero), slot(1, one)) {
        (Slot::Newer(version), _) | (_, Slot::Newer(version)) => Decision::Newer(version),
        (Slot::Lost, Slot::Lost) => Decision::Lost,
        (Slot::Read(state, _), Slot::Lost) | (Slot::Lost, Slot::Read(state, _)) => {
            Decision::Adopt(state, Health::SlotLost)
        }
        (Slot::Read(a, a_whole), Slot::Read(b, b_whole)) => {
            let health = if a_whole && b_whole { Health::Sound } else { Health::Healed };
            Decision::Adopt(if a.generation > b.generation { a } else { b }, health)
        }
    }
}

fn slot(number: usize, copies: [Copy; 2]) -> Slot {
    // A generation in the slot of the others is a misplaced write.
    match copies.map(|copy| copy.and_then(|state| placed(number, state))) {
        [Err(CopyFault::Version(version)), _] | [_, Err(CopyFault::Version(version))] => Slot::Newer(version),
        [Ok(first), Ok(second)] => {
            let is_whole = first == second;
            Slot::Read(Box::new(if first.generation > second.generation { first } else { second }), is_whole)
        }
        [Ok(state), Err(CopyFault::Unreadable)] | [Err(CopyFault::Unreadable), Ok(state)] => {
            Slot::Read(Box::new(state), false)
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
    fn a_generation_in_the_other_slot_is_not_believed() {
        let bad = || Err(CopyFault::Unreadable);
        assert_eq!(decide([[Ok(state(11)), bad()], [bad(), bad()]]), Decision::Lost);
    }
}
