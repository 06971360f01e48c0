//! Where a page of entries stands, in less memory than its slots: without their checks, for files that can do without.

use super::index::{Page, Slot};

/// Entries at equal distances: those of one length in one batch, or in batches of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    /// Which entry of the page it begins with.
    first: u16,
    offset: u32,
    distance: u32,
}

impl Stretch {
    fn offset_of(&self, at: u16) -> Option<u32> {
        self.distance.checked_mul(u32::from(at.checked_sub(self.first)?))?.checked_add(self.offset)
    }
}

/// The offsets of a page's entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    count: u16,
    /// Where the last one ends, or is taken to end.
    end: u32,
    form: Form,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Form {
    Few(Few),
    Stretches(Box<[Stretch]>),
    Offsets(Box<[u32]>),
}

/// Stretches without a pointer to them, which a read would have to wait for: as many as a page of entries in batches of 64 has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Few {
    count: u8,
    firsts: [u16; Few::MAX],
    /// Offset and distance of each.
    places: [(u32, u32); Few::MAX],
}

impl Few {
    const MAX: usize = 9;

    fn of(stretches: &[Stretch]) -> Option<Few> {
        let mut few = Few { count: u8::try_from(stretches.len()).ok()?, ..Few::default() };
        for (number, stretch) in stretches.iter().enumerate() {
            *few.firsts.get_mut(number)? = stretch.first;
            *few.places.get_mut(number)? = (stretch.offset, stretch.distance);
        }
        Some(few)
    }

    fn get(&self, number: usize) -> Option<Stretch> {
        let (&first, &(offset, distance)) = (self.firsts.get(number)?, self.places.get(number)?);
        (number < usize::from(self.count)).then_some(Stretch { first, offset, distance })
    }

    /// How many begin at this entry or before.
    fn behind(&self, at: u16) -> usize {
        let firsts = self.firsts.iter().zip(0..self.count);
        firsts.filter(|&(&first, _)| first <= at).count()
    }
}

impl Places {
    /// The places of a page's entries; nothing if some are lost, or do not follow one another: that takes the slots.
    /// `end` is where the last one ends at the latest; if that is not known, it is taken to be as long as the one before it.
    pub(crate) fn of(page: &Page, end: Option<u32>) -> Option<Places> {
        let count = u16::try_from(page.slots().len()).ok()?;
        let mut stretches: Vec<Stretch> = Vec::new();
        // Where the one before stands: offset 0 is that of a lost one. And how far it is to the next of this stretch, if known.
        let (mut before, mut last_step, mut distance) = (0_u32, 0, 0);
        for (slot, at) in page.slots().zip(0..) {
            let step = slot.offset.checked_sub(before).filter(|&step| step > 0)?;
            (before, last_step) = (slot.offset, step);
            if step == distance {
                continue;
            }
            match stretches.last_mut().filter(|_| distance == 0) {
                Some(stretch) => (stretch.distance, distance) = (step, step),
                None => {
                    stretches.push(Stretch { first: at, offset: slot.offset, distance: 0 });
                    distance = 0;
                }
            }
        }
        let guess = || before.saturating_add(last_step.min(GUESS_BYTES));
        let end = end.unwrap_or_else(guess);
        let form = match Few::of(&stretches) {
            Some(few) => Form::Few(few),
            None if size_of_val(&*stretches) <= usize::from(count) * size_of::<u32>() => {
                Form::Stretches(stretches.into())
            }
            None => Form::Offsets(page.slots().map(|slot| slot.offset).collect()),
        };
        Some(Places { count, end, form })
    }

    /// Where an entry stands, and about where it ends: in most cases where the next one begins.
    pub(crate) fn place(&self, at: usize) -> Option<(u32, u32)> {
        let at = u16::try_from(at).ok().filter(|&at| at < self.count)?;
        let (offset, next) = match &self.form {
            Form::Few(all) => within(at, all.behind(at), |number| all.get(number))?,
            Form::Stretches(all) => {
                let behind = all.partition_point(|stretch| stretch.first <= at);
                within(at, behind, |number| all.get(number).copied())?
            }
            Form::Offsets(all) => {
                let offset = *all.get(usize::from(at))?;
                (offset, all.get(usize::from(at) + 1).copied().unwrap_or(offset))
            }
        };
        Some((offset, if at + 1 == self.count { self.end } else { next }))
    }

    /// Where `count` entries stand from one on, or as many as there are, as slots without their checks.
    pub(crate) fn slots(&self, at: usize, count: usize) -> Vec<Slot> {
        let end = at.saturating_add(count).min(usize::from(self.count));
        let slot = |offset| Slot { offset, check: 0 };
        let of_stretches = |stretch: &dyn Fn(usize) -> Option<Stretch>| {
            let mut slots = Vec::with_capacity(end.saturating_sub(at));
            for (its, next) in (0..).map_while(stretch).zip(1..) {
                let stretch_end = stretch(next).map_or(self.count, |next| next.first);
                let entries = (at.max(usize::from(its.first))..end.min(usize::from(stretch_end))).map(|at| at as u16);
                slots.extend(entries.filter_map(|at| its.offset_of(at)).map(slot));
            }
            slots
        };
        match &self.form {
            Form::Few(all) => of_stretches(&|number| all.get(number)),
            Form::Stretches(all) => of_stretches(&|number| all.get(number).copied()),
            Form::Offsets(all) => all.get(at..end).unwrap_or_default().iter().copied().map(slot).collect(),
        }
    }

    /// What it takes in memory besides itself.
    pub(crate) fn bytes(&self) -> usize {
        match &self.form {
            Form::Few(_) => 0,
            Form::Stretches(all) => size_of_val(&**all),
            Form::Offsets(all) => size_of_val(&**all),
        }
    }
}

/// Where the entry `at` stands, and the next one or about where this one ends: `behind` stretches begin with it or before.
fn within(at: u16, behind: usize, stretch: impl Fn(usize) -> Option<Stretch>) -> Option<(u32, u32)> {
    let its = stretch(behind.checked_sub(1)?)?;
    let offset = its.offset_of(at)?;
    let next = stretch(behind).filter(|next| next.first == at + 1).map(|next| next.offset);
    Some((offset, next.unwrap_or_else(|| offset.saturating_add(its.distance))))
}

/// At most so long is an entry taken to be of which only the start is known: what is longer takes another read.
pub(crate) const GUESS_BYTES: u32 = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::format::PAGE_SLOTS;

    fn page(offsets: &[u32]) -> Page {
        let slots: Vec<Slot> = offsets.iter().map(|&offset| Slot { offset, check: !offset }).collect();
        Page::of(&slots)
    }

    /// As many entries as one page has, of these lengths in turn, in batches of so many.
    fn packed(lengths: &[u32], batch: usize) -> Vec<u32> {
        let mut end = 512;
        let offset = |at| {
            end += if at % batch == 0 { 72 } else { 0 };
            let offset = end;
            end += lengths[at % lengths.len()];
            offset
        };
        (0..PAGE_SLOTS).map(offset).collect()
    }

    #[test]
    fn equal_entries_take_next_to_nothing_and_others_half_of_their_slots() {
        let bytes = |offsets: &[u32]| Places::of(&page(offsets), None).map(|places| places.bytes());
        assert_eq!(bytes(&packed(&[1044], 1)), Some(0));
        assert_eq!(bytes(&packed(&[1044], 64)), Some(0));
        assert_eq!(bytes(&packed(&[1044], 32)), Some(16 * 12));
        assert_eq!(bytes(&packed(&[1044, 30, 77, 500, 99], 64)), Some(4 * PAGE_SLOTS));
    }

    #[test]
    fn the_end_of_the_last_entry_is_known_or_guessed() {
        let places = |offsets, end| Places::of(&page(offsets), end).expect("rising offsets");
        assert_eq!(places(&[512, 612, 712], None).place(2), Some((712, 812)));
        assert_eq!(places(&[512, 612, 912], None).place(2), Some((912, 1212)), "as far as the one before");
        assert_eq!(places(&[512, 612, 912], Some(1500)).place(2), Some((912, 1500)));
        assert_eq!(places(&[512], Some(700)).place(0), Some((512, 700)));
        let large = [512, 612, 612 + (1 << 20)];
        assert_eq!(places(&large, None).place(2), Some((612 + (1 << 20), 612 + (1 << 20) + 4096)));
        assert_eq!(places(&large, Some(2 << 20)).place(2), Some((612 + (1 << 20), 2 << 20)));
        assert_eq!(places(&[512, 612], None).place(2), None);
    }

    #[test]
    fn places_that_do_not_rise_or_are_lost_take_their_slots() {
        for offsets in [&[512, 512][..], &[512, 400], &[0, 512], &[512, 0, 612]] {
            assert_eq!(Places::of(&page(offsets), None), None, "{offsets:?}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_is_placed_where_its_slot_says(
            steps in prop::collection::vec(prop_oneof![Just(100_u32), Just(172), 1..5000_u32, Just(1 << 22)], 0..PAGE_SLOTS)
        ) {
            let mut offsets = vec![512];
            offsets.extend(steps.iter().scan(512, |offset, step| { *offset += step; Some(*offset) }));
            let places = Places::of(&page(&offsets), Some(u32::MAX)).expect("rising offsets");
            prop_assert!(places.bytes() <= 4 * offsets.len().max(3));
            for (at, &offset) in offsets.iter().enumerate() {
                let (found, end) = places.place(at).expect("an entry");
                prop_assert_eq!(found, offset);
                if let Some(&next) = offsets.get(at + 1) {
                    prop_assert_eq!(end, next);
                }
            }
            prop_assert_eq!(places.place(offsets.len()), None);
            for (at, count) in [(0, offsets.len()), (offsets.len() / 3, offsets.len() / 2), (offsets.len(), 1), (1, usize::MAX)] {
                let found: Vec<u32> = places.slots(at, count).iter().map(|slot| slot.offset).collect();
                let expected: Vec<u32> = offsets.iter().skip(at).take(count).copied().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
