//! Parses the command line, runs the command, and reports how it ended.

use int_host::cli::Cli;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed too, only the exit code reports the failure.
            let _ = writeln!(std::io::stderr(), "int-host: {failure}");
            failure.exit_code()
        }
    }
}
