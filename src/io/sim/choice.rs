//! Who goes on next: drawn from a seed, and not evenly, because a thread that never falls far behind hides bugs.

use super::random::Random;

/// How many steps a thread takes on end at most while others could go on: one that waits in a loop for another.
const RUN_STEPS_MAX: u32 = 500;

/// How a seed's schedule goes.
enum Style {
    /// From time to time another thread is drawn, by weights that make some threads fast and others slow.
    Walk { switches_in_256: u64, weights_max: u32 },
    /// The most important thread that can goes on, and at these steps it becomes the least important one (Burckhardt
    /// et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs").
    Priorities { drops: Vec<u64> },
}

/// Draws the schedule.
pub(super) struct Chooser {
    random: Random,
    style: Style,
    /// What each thread was given: its weight, or its priority.
    ranks: Vec<u64>,
    /// How often a step is used to let time pass, in 1024.
    time_in_1024: u64,
    /// Below every priority that was given so far.
    lowest: u64,
    steps_on_end: u32,
}

impl Chooser {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let style = if random.coin() {
            let switches_in_256 = 1 << (3 + random.below(6));
            Style::Walk { switches_in_256, weights_max: random.below(7) as u32 }
        } else {
            let steps = 1 << (3 + random.below(8));
            let drops = (0..random.below(5)).map(|_| random.below(steps) as u64).collect();
            Style::Priorities { drops }
        };
        let time_in_1024 = [0, 4, 64][random.below(3)];
        Self { random, style, ranks: Vec::new(), time_in_1024, lowest: u64::from(u32::MAX), steps_on_end: 0 }
    }

    /// A thread more.
    pub(super) fn add(&mut self) {
        let rank = match self.style {
            Style::Walk { weights_max, .. } => 1 << self.random.below(weights_max as usize + 1),
            Style::Priorities { .. } => u64::from(u32::MAX) + (self.random.bits() >> 32),
        };
        self.ranks.push(rank);
    }

    /// Whether time passes now, though there are threads that can go on.
    pub(super) fn lets_time_pass(&mut self) -> bool {
        self.time_in_1024 > self.random.bits() % 1024
    }

    /// Which of `able` goes on at this step.
    pub(super) fn choose(&mut self, running: Option<usize>, able: &[usize], step: u64) -> Option<usize> {
        let stays = running.filter(|running| able.contains(running));
        let tired = stays.is_some() && self.steps_on_end >= RUN_STEPS_MAX;
        let chosen = match &self.style {
            Style::Walk { switches_in_256, .. } => match stays {
                Some(running) if !tired && *switches_in_256 <= self.random.bits() % 256 => Some(running),
                _ => self.draw(able),
            },
            Style::Priorities { drops } => {
                let drops = drops.contains(&step) || tired;
                if let Some(rank) = stays.and_then(|running| self.ranks.get_mut(running)).filter(|_| drops) {
                    self.lowest -= 1;
                    *rank = self.lowest;
                }
                able.iter().copied().max_by_key(|&thread| self.rank(thread))
            }
        };
        self.steps_on_end = if chosen.is_some() && chosen == running { self.steps_on_end + 1 } else { 0 };
        chosen
    }

    fn rank(&self, thread: usize) -> u64 {
        self.ranks.get(thread).copied().unwrap_or_default()
    }

    /// One of `able`, by weight.
    fn draw(&mut self, able: &[usize]) -> Option<usize> {
        let total: u64 = able.iter().map(|&thread| self.rank(thread)).sum();
        let mut left = self.random.bits() % total.max(1);
        able.iter().copied().find(|&thread| {
            let weight = self.rank(thread);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }
}
