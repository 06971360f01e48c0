//! What was measured, and how rounds become one figure.

use serde::Serialize;

use crate::contestant::Ability;
use crate::measure::median;

/// A row of a table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Metric {
    /// What it says, unique within its workload.
    pub name: &'static str,
    /// The unit of its figures.
    pub unit: &'static str,
    /// What a contestant must be able to do for it.
    #[serde(skip)]
    pub needs: Ability,
}

/// A shorthand for [`Metric`].
pub const fn metric(name: &'static str, unit: &'static str, needs: Ability) -> Metric {
    Metric { name, unit, needs }
}

/// What one contestant did in one round: a metric's name and its figure.
pub type Figures = Vec<(&'static str, f64)>;

/// All rounds of one contestant.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// The contestant.
    pub contestant: &'static str,
    /// Its figures, round by round.
    pub rounds: Vec<Figures>,
}

/// One workload's results.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Such as `W1`.
    pub workload: &'static str,
    /// What it does.
    pub title: String,
    /// Its rows.
    pub metrics: Vec<Metric>,
    /// Its columns, the floor first where it takes part.
    pub columns: Vec<Column>,
    /// Who takes no part in what, and why.
    pub notes: Vec<String>,
}

/// Ratios to the floor, pair by pair of the same round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of all rounds.
    pub median: f64,
    /// The lowest round.
    pub lowest: f64,
    /// The highest round.
    pub highest: f64,
}

impl Column {
    fn in_round(&self, round: usize, metric: &str) -> Option<f64> {
        self.rounds.get(round)?.iter().find(|(name, _)| *name == metric).map(|&(_, figure)| figure)
    }

    /// The median of all rounds that have a figure.
    pub fn median(&self, metric: &str) -> Option<f64> {
        median((0..self.rounds.len()).filter_map(|round| self.in_round(round, metric)).collect())
    }

    /// How the figures compare with another column's.
    pub fn ratio(&self, floor: &Column, metric: &str) -> Option<Ratio> {
        let pair = |round| Some(self.in_round(round, metric)? / floor.in_round(round, metric)?);
        let ratios: Vec<f64> = (0..self.rounds.len()).filter_map(pair).filter(|ratio| ratio.is_finite()).collect();
        let lowest = ratios.iter().copied().reduce(f64::min)?;
        let highest = ratios.iter().copied().reduce(f64::max)?;
        Some(Ratio { median: median(ratios)?, lowest, highest })
    }
}

impl Table {
    /// The floor's column.
    pub fn floor(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.contestant == "floor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let column = |contestant, figures: &[f64]| Column {
            contestant,
            rounds: figures.iter().map(|&figure| vec![("p50", figure)]).collect(),
        };
        let floor = column("floor", &[100.0, 200.0, 400.0]);
        let other = column("other", &[110.0, 200.0, 600.0]);
        let ratio = other.ratio(&floor, "p50");
        assert_eq!(ratio, Some(Ratio { median: 1.1, lowest: 1.0, highest: 1.5 }));
        assert_eq!(other.median("p50"), Some(200.0));
        assert_eq!(other.ratio(&floor, "p99"), None);
    }
}
