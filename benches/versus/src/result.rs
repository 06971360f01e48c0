//! What was measured, and how rounds become one figure.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::contestant::Ability;
use crate::measure::median;

/// A row of a table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Metric {
    /// What it says, unique within its workload.
    pub name: &'static str,
    /// The unit of its figures; empty where the name says it.
    pub unit: &'static str,
    /// What a contestant must be able to do for it.
    #[serde(skip)]
    pub needs: Ability,
}

impl Metric {
    /// Its name and its unit.
    pub fn label(&self) -> String {
        if self.unit.is_empty() { self.name.to_owned() } else { format!("{}, {}", self.name, self.unit) }
    }

    /// Whether a higher figure is a better one.
    pub fn more_is_better(&self) -> bool {
        self.unit.ends_with("per second")
    }
}

/// A shorthand for [`Metric`].
pub const fn metric(name: &'static str, unit: &'static str, needs: Ability) -> Metric {
    Metric { name, unit, needs }
}

/// What one contestant did in one round: a metric's name and its figure.
pub type Figures = Vec<(&'static str, f64)>;

/// All rounds of one contestant, or of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// The contestant, or the size.
    pub name: String,
    /// Its figures, round by round.
    #[serde(serialize_with = "as_maps")]
    pub rounds: Vec<Figures>,
}

fn as_maps<S: Serializer>(rounds: &[Figures], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rounds.iter().map(|figures| figures.iter().copied().collect::<BTreeMap<_, _>>()))
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

/// The name of the contestant that the others are held against.
pub const FLOOR: &str = "floor";

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
        self.columns.iter().find(|column| column.name == FLOOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let column = |name: &str, figures: &[f64]| Column {
            name: name.to_owned(),
            rounds: figures.iter().map(|&figure| vec![("p50", figure)]).collect(),
        };
        let floor = column(FLOOR, &[100.0, 200.0, 400.0]);
        let other = column("other", &[110.0, 200.0, 600.0]);
        let ratio = other.ratio(&floor, "p50");
        assert_eq!(ratio, Some(Ratio { median: 1.1, lowest: 1.0, highest: 1.5 }));
        assert_eq!(other.median("p50"), Some(200.0));
        assert_eq!(other.ratio(&floor, "p99"), None);
    }
}
