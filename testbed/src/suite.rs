//! A list of tests that is built at run time, so that tests can be skipped, listed by name and counted.
//!
//! Rust's built-in tests can only pass or fail at run time. A test that needs a server which is not
//! available on this machine is reported as ignored instead, and a line about it is appended to the file
//! [`SKIPPED`] in the target folder, which `make test` prints at the end.

use crate::failure::TestResult;
use crate::{scratch, target};
use libtest_mimic::{Arguments, Trial};
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// The file in the target folder that lists the skipped tests, one line each, with the reason.
pub const SKIPPED: &str = "skipped-tests.txt";

/// The tests of one test binary.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
    skipped: Vec<(String, String)>,
    threads: Option<usize>,
}

impl Suite {
    /// No tests yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many tests run in parallel unless the command line sets it. Tests that mostly wait can use
    /// more threads than there are processors.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Adds a test. It fails by an error or by panicking.
    pub fn test(
        &mut self,
        name: impl Into<String>,
        test: impl FnOnce() -> TestResult + Send + 'static,
    ) {
        self.trials.push(Trial::test(name, || {
            match catch_unwind(AssertUnwindSafe(test)) {
                Ok(result) => result.map_err(|failure| failure.to_string().into()),
                // The panic message is on standard error already.
                Err(panic) => {
                    // Must happen before the last user of the shared servers drops them.
                    scratch::keep_all();
                    Err(message(&*panic).into())
                }
            }
        }));
    }

    /// Adds a test that is skipped, with the reason.
    pub fn skip(&mut self, name: impl Into<String>, why: &str) {
        let name = name.into();
        self.skipped.push((name.clone(), why.to_owned()));
        self.trials
            .push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }

    /// Adds a test that runs when `missing` is None and is otherwise skipped for that reason.
    pub fn test_unless(
        &mut self,
        missing: Option<&str>,
        name: impl Into<String>,
        test: impl FnOnce() -> TestResult + Send + 'static,
    ) {
        match missing {
            None => self.test(name, test),
            Some(why) => self.skip(name, why),
        }
    }

    /// Runs the tests that the command line selects.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads = arguments.test_threads.or(self.threads);
        if !arguments.list {
            self.tell_skipped();
        }
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }

    fn tell_skipped(&self) {
        if self.skipped.is_empty() {
            return;
        }
        let path = target::directory().join(SKIPPED);
        let program = std::env::current_exe().unwrap_or_default();
        let program = program.file_stem().unwrap_or_default().to_string_lossy();
        // Cargo adds a hash to the name.
        let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
        let lines: String = self
            .skipped
            .iter()
            .map(|(name, why)| format!("skipped: {program}: {name}: {why}\n"))
            .collect();
        eprint!("{lines}");
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// The message of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        "it panicked".to_owned()
    }
}
