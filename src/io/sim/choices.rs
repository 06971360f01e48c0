//! All combinations of choices, one after the other, where later choices may depend on earlier ones.

/// A path through a tree of choices: the one taken last time and the one to take now.
#[derive(Clone, Default, Debug)]
pub(super) struct Choices {
    /// What was chosen, and of how many.
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    /// Chooses one of `count`; without a choice where there is at most one.
    pub(super) fn next(&mut self, count: usize) -> usize {
        if count <= 1 {
            return 0;
        }
        if self.at == self.taken.len() {
            self.taken.push((0, count));
        }
        let chosen = self.taken.get(self.at).map_or(0, |(chosen, _)| *chosen);
        self.at += 1;
        chosen
    }

    /// Turns to the next combination; `false` when there is none.
    pub(super) fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, count)) = self.taken.last_mut() {
            *chosen += 1;
            if chosen < count {
                return true;
            }
            self.taken.pop();
        }
        false
    }

    /// How many choices there were.
    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once_though_choices_depend_on_each_other() {
        let mut choices = Choices::default();
        let mut seen = Vec::new();
        loop {
            let first = choices.next(3);
            // Only the second of the three leads to another choice.
            let second = if first == 1 { choices.next(2) } else { 9 };
            seen.push((first, second, choices.next(1)));
            if !choices.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, 9, 0), (1, 0, 0), (1, 1, 0), (2, 9, 0)]);
    }
}
