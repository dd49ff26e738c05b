//! Logs, on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// For commands that only have something to say when something is odd.
pub(super) const QUIET: &str = "warn";

/// What a compiler says of every instruction is gigabytes for one component, which takes minutes to
/// write: it is logged for those who name the compiler's crates, not for all who say `trace`.
const COMPILER: &str = "cranelift=warn,regalloc2=warn,wasmtime_internal_cranelift=warn";

/// Begins to log what `RUST_LOG` selects; where that is not set, what `otherwise` selects.
pub(super) fn start(format: LogFormat, otherwise: &str) {
    let selected = std::env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|text| !text.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // They would go to standard error, too, and a failure to write there would be a panic: a server
        // whose log is on a full disk must go on.
        .log_internal_errors(false);
    // Only a program that installed its own subscriber before can make this fail; let it have it.
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
