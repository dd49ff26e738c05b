//! Logging to standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For humans.
    #[default]
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// The log level of commands that only log warnings and errors.
pub(super) const QUIET: &str = "warn";

/// The compiler's trace of one component is gigabytes long and takes minutes to write. So `trace` does not
/// include it; `RUST_LOG` has to name the compiler's crates.
const COMPILER: &str = "cranelift=warn,regalloc2=warn,wasmtime_internal_cranelift=warn";

/// Starts the log with the filter in `RUST_LOG`, or with `otherwise` if that is not set.
pub(super) fn start(format: LogFormat, otherwise: &str) {
    let selected = std::env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|text| !text.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Internal errors would be printed to standard error, and a failed print panics: a server whose
        // log is on a full disk must keep running.
        .log_internal_errors(false);
    // Fails only if the program has already installed its own subscriber, which then stays in use.
    let _ = match (selected, format) {
        (None, LogFormat::Text) if otherwise == QUIET => {
            logs.with_max_level(LevelFilter::WARN).try_init()
        }
        (selected, format) => {
            let selected = selected.as_deref().unwrap_or(otherwise);
            let logs = logs.with_env_filter(EnvFilter::new(format!("{COMPILER},{selected}")));
            match format {
                LogFormat::Text => logs.try_init(),
                LogFormat::Json => logs.json().try_init(),
            }
        }
    };
}
