//! What goes to files: JSON and plots.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json as json;

use crate::options::Options;
use crate::plot;
use crate::result::Table;
use crate::series::Series;

/// Everything that was measured, and where.
#[derive(Serialize)]
pub struct Output {
    kernel: String,
    processors: usize,
    rounds: usize,
    /// W1 to W9.
    pub tables: Vec<Table>,
    /// Those of the journal alone.
    pub series: Vec<Series>,
}

impl Output {
    /// Nothing yet.
    pub fn new(rounds: usize) -> Output {
        let uname = rustix::system::uname();
        let kernel = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        let processors = available_parallelism().map_or(0, |count| count.get());
        Output { kernel, processors, rounds, tables: Vec::new(), series: Vec::new() }
    }

    /// Writes the files that the options ask for.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write(&self, options: &Options) -> Result<()> {
        if let Some(path) = &options.json {
            let text = json::to_string_pretty(self)?;
            fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if let Some(path) = &options.svg {
            if !self.tables.is_empty() {
                plot::ratios(path, &self.tables)?;
            }
            for series in &self.series {
                plot::series(&with_name(path, series.table.workload), series)?;
            }
        }
        Ok(())
    }
}

/// `plot.svg` becomes `plot-growth.svg`.
fn with_name(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{name}{}", extension.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_of_its_own_has_a_name_of_its_own() {
        assert_eq!(with_name(Path::new("/a/plot.svg"), "growth"), Path::new("/a/plot-growth.svg"));
        assert_eq!(with_name(Path::new("plot"), "growth"), Path::new("plot-growth"));
    }
}
