//! Output of the results, for people and for programs.

mod chart;
mod table;

pub use table::print;

use crate::measure::Report;
use anyhow::Context;
use std::path::Path;

/// Writes `report.json` and `connections.svg` into a folder, which is created if it is missing.
///
/// # Errors
/// When writing fails.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let file = folder.join("report.json");
    std::fs::write(&file, serde_json::to_vec_pretty(report)?)
        .with_context(|| format!("{}", file.display()))?;
    let curves: Vec<_> = report
        .curves
        .iter()
        .filter(|curve| curve.over == "connections")
        .collect();
    if !curves.is_empty() {
        chart::draw(&curves, &folder.join("connections.svg"))?;
    }
    Ok(())
}
