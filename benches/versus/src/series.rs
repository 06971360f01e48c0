//! What changes with a size: the log's length, the number of journals.

use serde::Serialize;

use crate::result::Table;

/// A table whose columns are sizes.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// The figures, a column for each size.
    pub table: Table,
    /// What the sizes are, in a word.
    pub of: &'static str,
    /// The sizes.
    pub sizes: Vec<u64>,
}

impl Series {
    /// The sizes at which a metric was measured, and the median of its rounds.
    pub fn points(&self, metric: &str) -> Vec<(f64, f64)> {
        let columns = self.sizes.iter().zip(&self.table.columns);
        columns.filter_map(|(&size, column)| Some((size as f64, column.median(metric)?))).collect()
    }
}
