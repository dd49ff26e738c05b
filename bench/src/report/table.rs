//! The report as Markdown, for standard output.

use crate::measure::{Curve, Goal, Point, Report, Row};
use std::io::Write;

/// Writes the table of targets and the curves.
///
/// # Errors
/// When writing fails.
pub fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    let machine = &report.machine;
    writeln!(
        out,
        "{}, {} threads, Linux {}; {} s per run, {} rounds\n",
        machine.cpu, machine.cores, machine.kernel, report.seconds, report.rounds
    )?;
    if !report.rows.is_empty() {
        writeln!(
            out,
            "| what | measured | against | yardstick | ratio | target | |"
        )?;
        writeln!(out, "| --- | ---: | --- | ---: | ---: | --- | --- |")?;
        for row in &report.rows {
            writeln!(out, "{}", line(row))?;
        }
        writeln!(out)?;
    }
    for curve in &report.curves {
        write_curve(curve, out)?;
    }
    for skipped in &report.skipped {
        writeln!(out, "skipped: {skipped}")?;
    }
    for fault in report.faults() {
        writeln!(out, "wrong: {fault}")?;
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let shown =
        |value: Option<f64>| value.map_or_else(String::new, |value| figure(value, row.unit));
    let ratio = match row.fault() {
        Some(_) => "refused".to_owned(),
        None => row
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
    };
    let met = match (row.goal, row.met()) {
        (None, _) => "",
        (_, Some(true)) => "met",
        (_, Some(false)) => "not met",
        (_, None) => "wrong answers",
    };
    format!(
        "| {} | {} | {} | {} | {ratio} | {} | {met} |",
        row.what,
        shown(row.value()),
        row.against,
        shown(row.yardstick()),
        row.goal
            .map_or_else(String::new, |goal| target(goal, row.unit)),
    )
}

fn target(goal: Goal, unit: &str) -> String {
    match goal {
        Goal::RatioAtLeast(ratio) => format!("≥ {ratio:.2}"),
        Goal::RatioAtMost(ratio) => format!("≤ {ratio:.2}"),
        Goal::AtLeast(value) => format!("≥ {}", figure(value, unit)),
        Goal::AtMost(value) => format!("≤ {}", figure(value, unit)),
        Goal::Either { value, ratio } => {
            format!("≥ {} or ≥ {ratio:.2}", figure(value, unit))
        }
    }
}

fn write_curve(curve: &Curve, out: &mut impl Write) -> std::io::Result<()> {
    let verdict = match (curve.growth(), curve.is_super_linear()) {
        (Some(growth), Some(steep)) => format!(
            "the cost per {} grew {growth:.2} × over the last decade: {}",
            curve.per,
            if steep {
                "MORE THAN LINEAR"
            } else {
                "not more than linear"
            }
        ),
        _ => "no verdict, since points are missing or invalid".to_owned(),
    };
    writeln!(out, "**{} over {}**: {verdict}\n", curve.what, curve.over)?;
    writeln!(
        out,
        "| {} | requests/s | p99 | cost per {} |",
        curve.over, curve.per
    )?;
    writeln!(out, "| ---: | ---: | ---: | ---: |")?;
    for point in &curve.points {
        writeln!(out, "{}", point_line(point))?;
    }
    writeln!(out)
}

fn point_line(point: &Point) -> String {
    match &point.fault {
        Some(fault) => {
            // The other lines are in the list of faults.
            let first = fault.lines().next().unwrap_or_default();
            format!("| {} | failed: {first} | | |", point.at)
        }
        None => format!(
            "| {} | {} | {} | {} |",
            point.at,
            figure(point.rate, "requests/s"),
            figure(point.p99_us, "µs"),
            figure(point.cost_ns / 1000.0, "µs")
        ),
    }
}

/// Formats a number with three significant digits and its unit.
fn figure(value: f64, unit: &str) -> String {
    let (value, prefix) = match unit {
        "µs" if value >= 1000.0 => return figure(value / 1000.0, "ms"),
        "µs" if value > 0.0 && value < 1.0 => return figure(value * 1000.0, "ns"),
        "ms" | "µs" | "ns" | "MiB" => (value, ""),
        _ if value >= 1e6 => (value / 1e6, "M "),
        _ if value >= 1e3 => (value / 1e3, "k "),
        _ => (value, " "),
    };
    let space = if prefix.is_empty() { " " } else { prefix };
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!(
        "{value:.digits$}{}{unit}",
        if prefix.is_empty() { space } else { prefix }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(figure(108_812.0, "requests/s"), "109k requests/s");
        assert_eq!(figure(12_345_678.0, "integers/s"), "12.3M integers/s");
        assert_eq!(figure(950.0, "requests/s"), "950 requests/s");
        assert_eq!(figure(1234.0, "µs"), "1.23 ms");
        assert_eq!(figure(0.0123, "µs"), "12.3 ns");
        assert_eq!(figure(38.25, "MiB"), "38.2 MiB");
    }
}
