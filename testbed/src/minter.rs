//! Processes that mint, and a record of what they minted.
//!
//! There are two kinds: the program `minter` of the package of tests, which prints when each call began and
//! returned, and `int-host --continuous`, which prints integers as its users see them.

use crate::clock;
use crate::error::{Error, Result};
use crate::history::{History, Record, Span};
use crate::process::Process;
use crate::wait;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a process may take to mint its first integers. Some compile the engine first.
pub const START: Duration = Duration::from_secs(60);

/// How long a process may take to end after it was asked to.
const END: Duration = Duration::from_secs(30);

/// A call that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it began ([`crate::clock::now`]).
    pub begin: u64,
    /// When it returned.
    pub end: u64,
    /// The name of the error's variant.
    pub kind: String,
    /// The error's message.
    pub message: String,
}

#[derive(Default)]
struct Output {
    records: Vec<Record>,
    failures: Vec<Failure>,
    /// Lines that are neither a record nor a failure.
    strange: Vec<String>,
}

/// A process that mints until it is asked to end. Killed on drop.
pub struct Minter {
    process: Process,
    /// Closing it asks a `minter` to end.
    stdin: Option<ChildStdin>,
    output: Arc<Mutex<Output>>,
    reader: Option<JoinHandle<()>>,
}

impl Minter {
    /// Starts a `minter`, whose path is `env!("CARGO_BIN_EXE_minter")` in a test. `number` identifies it in the
    /// history.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &str,
        number: u32,
        engine: &str,
        dsn: &str,
        key: &str,
        count: u32,
        data: Option<&Path>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args([engine, dsn, key, count.to_string().as_str()]);
        command.args(data);
        Self::spawn(command, move |line| timed(number, line))
    }

    /// Starts any program that prints one integer per line. The times of its calls are unknown.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn printing(command: Command, number: u32) -> Result<Self> {
        Self::spawn(command, move |line| {
            let integer = line.parse().ok()?;
            Some(Line::Minted(Record::untimed(number, Span::one(integer))))
        })
    }

    fn spawn(
        mut command: Command,
        read: impl Fn(&str) -> Option<Line> + Send + 'static,
    ) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let stdin = process.child().stdin.take();
        let stdout = process.child().stdout.take().expect("piped");
        let output = Arc::new(Mutex::new(Output::default()));
        let shared = Arc::clone(&output);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let read = read(&line);
                let mut output = lock(&shared);
                match read {
                    Some(Line::Minted(record)) => output.records.push(record),
                    Some(Line::Failed(failure)) => output.failures.push(failure),
                    None => output.strange.push(line),
                }
            }
        });
        Ok(Self {
            process,
            stdin,
            output,
            reader: Some(reader),
        })
    }

    /// How many calls succeeded so far.
    pub fn minted(&self) -> usize {
        lock(&self.output).records.len()
    }

    /// How many calls failed so far.
    pub fn failed(&self) -> usize {
        lock(&self.output).failures.len()
    }

    /// The process, for example to send signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until a call that began after `time` has succeeded.
    ///
    /// # Errors
    /// When that takes longer than `limit`, or the process ended. The message contains the last error.
    pub fn wait_for_mint_after(&mut self, time: u64, limit: Duration) -> Result {
        let process = &mut self.process;
        let output = &self.output;
        wait::until_or_error("a process mints", limit, || {
            let output = lock(output);
            // The last record is the newest one, since a process makes its calls one after another.
            if output.records.last().is_some_and(|r| r.begin > time) {
                return Ok(Ok(()));
            }
            if let Some(status) = process.ended() {
                return Err(Error::Ended {
                    program: "the minter".to_owned(),
                    status,
                    output: output.strange.join("\n"),
                });
            }
            Ok(Err(match output.failures.last() {
                Some(failure) => format!("{}: {}", failure.kind, failure.message),
                None => "no result yet".to_owned(),
            }))
        })
    }

    /// Waits until `number` calls have succeeded.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait_for_mints(&self, number: usize, limit: Duration) -> Result {
        wait::until("a process mints", limit, || {
            let output = lock(&self.output);
            match output.records.len() {
                minted if minted >= number => Ok(()),
                minted => Err(format!(
                    "{minted} of {number}; the last error: {:?}",
                    output.failures.last()
                )),
            }
        })
    }

    /// How many calls that began after `time` have succeeded or failed.
    pub fn returned_after(&self, time: u64) -> usize {
        let output = lock(&self.output);
        let minted = output.records.iter().rev().map(|r| r.begin);
        let failed = output.failures.iter().rev().map(|f| f.begin);
        minted.take_while(|begin| *begin > time).count()
            + failed.take_while(|begin| *begin > time).count()
    }

    /// The processor time that the process has used so far.
    ///
    /// # Errors
    /// When the process no longer exists, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.processor_time()
    }

    /// Asks the process to end and returns its successful and failed calls.
    ///
    /// # Errors
    /// When it does not end, or printed an unexpected line.
    pub fn finish(mut self) -> Result<(Vec<Record>, Vec<Failure>)> {
        drop(self.stdin.take());
        self.process.wait(END)?;
        self.collect()
    }

    /// Kills the process and returns its successful and failed calls.
    ///
    /// # Errors
    /// When it printed an unexpected line.
    pub fn kill(mut self) -> Result<(Vec<Record>, Vec<Failure>)> {
        self.process.kill();
        self.collect()
    }

    /// Waits for the process, which was asked to end in some other way.
    ///
    /// # Errors
    /// When it does not end, or printed an unexpected line.
    pub fn end(mut self) -> Result<(std::process::ExitStatus, Vec<Record>)> {
        let status = self.process.wait(END)?;
        Ok((status, self.collect()?.0))
    }

    fn collect(&mut self) -> Result<(Vec<Record>, Vec<Failure>)> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        let output = std::mem::take(&mut *lock(&self.output));
        if !output.strange.is_empty() {
            return Err(Error::unexpected(
                "the output of a minter",
                output.strange.join("\n"),
            ));
        }
        Ok((output.records, output.failures))
    }
}

/// Several minters on one sequence.
pub struct Crowd(Vec<Minter>);

impl Crowd {
    /// Starts `number` minters, each created by `start` from its number, and waits until all of them mint.
    ///
    /// # Errors
    /// When one of them does not.
    pub fn start(number: u32, start: impl Fn(u32) -> Result<Minter>) -> Result<Self> {
        let minters: Result<Vec<_>> = (0..number).map(start).collect();
        let mut crowd = Self(minters?);
        crowd.wait_for_mint_after(0, START)?;
        Ok(crowd)
    }

    /// Waits until each minter has succeeded in a call that began after this one.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn go_on(&mut self, limit: Duration) -> Result {
        self.wait_for_mint_after(clock::now(), limit)
    }

    /// Waits until each minter has minted `number` more times.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn mint_more(&self, number: usize) -> Result {
        let before: Vec<_> = self.0.iter().map(Minter::minted).collect();
        for (minter, before) in self.0.iter().zip(before) {
            minter.wait_for_mints(before + number, START)?;
        }
        Ok(())
    }

    /// Waits until `number` calls of each minter that began after this one have succeeded or failed.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait_for_returns(&self, number: usize, limit: Duration) -> Result {
        let now = clock::now();
        for minter in &self.0 {
            wait::until("calls return", limit, || match minter.returned_after(now) {
                returned if returned >= number => Ok(()),
                returned => Err(format!("{returned} of {number} returned")),
            })?;
        }
        Ok(())
    }

    /// The minters.
    pub fn minters(&self) -> &[Minter] {
        &self.0
    }

    fn wait_for_mint_after(&mut self, time: u64, limit: Duration) -> Result {
        for minter in &mut self.0 {
            minter.wait_for_mint_after(time, limit)?;
        }
        Ok(())
    }

    /// Asks all minters to end and returns the successful and the failed calls of all.
    ///
    /// # Errors
    /// As [`Minter::finish`].
    pub fn finish(self) -> Result<(History, Vec<Failure>)> {
        let mut history = History::default();
        let mut failures = Vec::new();
        for minter in self.0 {
            let (records, failed) = minter.finish()?;
            history.extend(records);
            failures.extend(failed);
        }
        Ok((history, failures))
    }
}

enum Line {
    Minted(Record),
    Failed(Failure),
}

/// Parses a line of the program `minter`.
fn timed(process: u32, line: &str) -> Option<Line> {
    let mut words = line.splitn(5, ' ');
    let sign = words.next()?;
    let (begin, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (fourth, rest) = (words.next()?, words.next()?);
    match sign {
        "+" => {
            let (step, count) = rest.split_once(' ')?;
            let span = Span {
                first: fourth.parse().ok()?,
                step: step.parse().ok()?,
                count: count.parse().ok()?,
            };
            Some(Line::Minted(Record {
                process,
                begin,
                end,
                span,
            }))
        }
        "!" => Some(Line::Failed(Failure {
            begin,
            end,
            kind: fourth.to_owned(),
            message: rest.to_owned(),
        })),
        _ => None,
    }
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
