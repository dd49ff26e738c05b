//! Loads real servers, compares each with its yardstick, and prints one table.

use anyhow::Context;
use bench::measure::{self, Options};
use bench::report;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Load int-host and its yardsticks, and print a comparison
///
/// Exits with 1 when a server returned a wrong response or did not start; its numbers are not used.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let Arguments { options } = Arguments::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and writes the report. False when there were faults.
fn run(options: &Options) -> anyhow::Result<bool> {
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None => default_folder()?,
    };
    let report = measure::all(options)?;
    report::print(&report, &mut std::io::stdout().lock())?;
    report::write(&report, &folder)?;
    eprintln!("report: {}", folder.display());
    Ok(report.faults().is_empty())
}

/// `bench` in the target folder that this program was built into.
fn default_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program
        .ancestors()
        .nth(2)
        .filter(|folder| *folder != Path::new("/"))
        .context("this program is not in a target folder; use --out")?;
    Ok(target.join("bench"))
}
