//! The process of a server of any kind: start, wait until ready, kill, pause, restart.

use crate::error::{Error, Result};
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait;
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// How long a server may take to become ready. The limit is generous because debug builds and loaded machines
/// are slow, and no test depends on a fast start.
pub const READY: Duration = Duration::from_secs(60);

/// How long a server may take to stop.
pub const STOP: Duration = Duration::from_secs(30);

type Launch = Box<dyn Fn() -> Command + Send + Sync>;
type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A server process and its folder. Killed on drop.
///
/// The output goes to a log in the folder. When a test fails, the folder is kept and its path is printed.
pub struct Server {
    name: String,
    /// Declared before the folder, so that the process ends before its files are removed.
    process: Mutex<Option<Process>>,
    launch: Launch,
    probe: Probe,
    /// The signal that makes it stop.
    stop: Signal,
    scratch: Scratch,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// `launch` builds the command. It is called at every start, so it must use the same port and folder each
    /// time. `probe` asks the server whether it is ready.
    ///
    /// # Errors
    /// [`Error::Ended`] when the program ended before it was ready. This is what happens when another process has
    /// taken the port. [`Error::Timeout`] when the server runs but is not ready after [`READY`].
    pub fn start(
        name: &str,
        scratch: Scratch,
        launch: impl Fn() -> Command + Send + Sync + 'static,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self> {
        let server = Self::prepare(name, scratch, launch, probe);
        server.launch()?;
        server.await_ready()?;
        Ok(server)
    }

    /// Creates a server without starting it, for groups whose members become ready only together.
    pub fn prepare(
        name: &str,
        scratch: Scratch,
        launch: impl Fn() -> Command + Send + Sync + 'static,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            process: Mutex::new(None),
            launch: Box::new(launch),
            probe: Box::new(probe),
            stop: Signal::TERM,
            scratch,
        }
    }

    /// Sets the signal with which [`Server::stop`] stops it, for servers that wait for their clients after
    /// SIGTERM.
    #[must_use]
    pub fn stops_on(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Starts the process without waiting until it is ready. Does nothing when it runs already.
    ///
    /// # Errors
    /// When the program cannot be executed.
    pub fn launch(&self) -> Result {
        let mut process = self.process();
        if process.as_mut().is_some_and(|p| p.ended().is_none()) {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(Error::io(self.log().display().to_string()))?;
        let mut command = (self.launch)();
        command
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::io("sharing a log"))?)
            .stderr(log);
        *process = Some(Process::spawn(command)?);
        Ok(())
    }

    /// Waits until the server reports that it is ready.
    ///
    /// # Errors
    /// [`Error::Ended`] when the program ended instead, [`Error::Timeout`] when it is not ready after [`READY`].
    pub fn await_ready(&self) -> Result {
        let what = format!("{} is ready (log: {})", self.name, self.log().display());
        wait::until_or_error(&what, READY, || {
            let ended = self.process().as_mut().and_then(Process::ended);
            match ended {
                Some(status) => Err(Error::Ended {
                    program: self.name.clone(),
                    status,
                    output: self.last_words(),
                }),
                None => Ok((self.probe)()),
            }
        })
    }

    /// Starts the server again, on the same port and files, and waits until it is ready.
    ///
    /// # Errors
    /// Those of [`Server::launch`] and [`Server::await_ready`].
    pub fn start_again(&self) -> Result {
        self.launch()?;
        self.await_ready()
    }

    /// Kills the server with SIGKILL, like a crash. Returns when the process has ended.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Stops the server in an orderly way, as an administrator would. Returns when the process has ended.
    ///
    /// # Errors
    /// When it still runs after [`STOP`].
    pub fn stop(&self) -> Result {
        if let Some(mut process) = self.process().take() {
            process.signal(self.stop);
            process.wait(STOP)?;
        }
        Ok(())
    }

    /// Freezes the server (SIGSTOP): its connections stay open, but it does not answer.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a frozen server (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The processor time that the process has used so far.
    ///
    /// # Errors
    /// When it does not run, or the system does not say.
    pub fn processor_time(&self) -> Result<Duration> {
        match &*self.process() {
            Some(process) => process.processor_time(),
            None => Err(Error::unexpected(&self.name, "it does not run")),
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|p| p.ended().is_none())
    }

    /// The path of the file with the server's standard output and error.
    pub fn log(&self) -> PathBuf {
        self.scratch.join("server.log")
    }

    /// The server's folder.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process().as_ref() {
            process.signal_all(signal);
        }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        // A panic in another thread cannot leave an Option half-written.
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn last_words(&self) -> String {
        end_of(&std::fs::read(self.log()).unwrap_or_default())
    }
}

/// Starts a server on a free port, and retries on another port when that fails, since another process may
/// have taken the port in the meantime.
///
/// # Errors
/// When `start` failed five times, the last error; at once when another port would not help.
pub fn on_free_port<T>(start: impl Fn(u16) -> Result<T>) -> Result<T> {
    retrying(5, || start(crate::port::free()?))
}

/// Calls `start` until it succeeds, at most `attempts` times.
///
/// # Errors
/// The last error of `start`; at once when a server or a port is missing, or a limit of time has passed.
pub(crate) fn retrying<T>(attempts: usize, start: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..attempts {
        match start() {
            Err(Error::Ended { .. } | Error::Io { .. } | Error::Refused { .. }) => {}
            other => return other,
        }
    }
    start()
}

/// The path of a program that a package manager installs.
///
/// # Errors
/// [`Error::Missing`] with `install`, which says how to install it.
pub(crate) fn required(program: &str, install: &str) -> Result<PathBuf> {
    find(program, None)
        .ok_or_else(|| Error::Missing(format!("{program} is not on PATH. Install it: {install}")))
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn output_of(mut command: Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let done = command.output().map_err(Error::io(&shown))?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    Err(Error::Ended {
        program: shown,
        status: done.status,
        output: end_of(&[done.stdout, done.stderr].concat()),
    })
}

/// The end of what a program printed: at most 20 lines.
pub(crate) fn end_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The path of a program: from the environment variable `variable` when set, else from PATH and the `sbin`
/// folders, which are not on every user's PATH.
pub fn find(program: &str, variable: Option<&str>) -> Option<PathBuf> {
    if let Some(path) = variable
        .and_then(std::env::var_os)
        .filter(|path| !path.is_empty())
    {
        return Some(PathBuf::from(path));
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn shell(script: &'static str) -> impl Fn() -> Command {
        move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        }
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_last_words() -> Result {
        let scratch = Scratch::new("ends")?;
        let never = || Err("not ready".to_owned());
        let started = Server::start("ends", scratch, shell("echo port taken; exit 3"), never);
        match started.err() {
            Some(Error::Ended { status, output, .. }) => {
                assert_eq!((status.code(), output.as_str()), (Some(3), "port taken"));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    #[test]
    fn another_port_is_tried_only_where_that_may_help() {
        let ended = || output_of(shell("exit 1")()).map(drop);
        let missing = || required("no-such-program", "`apt-get install it`").map(drop);
        let attempts = |start: &dyn Fn() -> Result| {
            let count = AtomicUsize::new(0);
            let error = on_free_port(|_| {
                count.fetch_add(1, Ordering::Relaxed);
                start()
            });
            (count.into_inner(), error.expect_err("it fails").to_string())
        };
        assert_eq!(attempts(&ended).0, 5);
        let (count, text) = attempts(&missing);
        assert_eq!(count, 1);
        assert_eq!(
            text,
            "no-such-program is not on PATH. Install it: `apt-get install it`"
        );
    }
}
