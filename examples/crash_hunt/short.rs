//! What histories that were made shorter have in common.

use crate::hunt::Short;

impl Short {
    /// Where the same seed failed no second time.
    pub fn unknown() -> Short {
        Short { steps: usize::MAX, text: "unknown, the seed alone does not bring it back".into() }
    }

    /// A line for each step, behind what comes first.
    pub fn of(first: &str, steps: &[String]) -> Short {
        let lines: String = steps.iter().map(|step| format!("\n    {step}")).collect();
        Short { steps: steps.len(), text: format!("{first}{lines}") }
    }
}

/// What kind of failure it is: where it was noticed.
pub fn kind(said: &str) -> &str {
    said.lines().next().unwrap_or_default()
}
