//! The process of a server of any kind: start, wait until ready, kill, pause, restart.

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

/// How long a server may take to end after SIGTERM.
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
    scratch: Scratch,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// `launch` builds the command. It is called at every start, so it must use the same port and folder each
    /// time. `probe` asks the server whether it is ready.
    ///
    /// # Errors
    /// When the program ended before it was ready, with its output and exit status. This is what happens when
    /// another process has taken the port.
    ///
    /// # Panics
    /// When the server runs but is not ready after [`READY`].
    pub fn start(
        name: &str,
        scratch: Scratch,
        launch: impl Fn() -> Command + Send + Sync + 'static,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
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
            scratch,
        }
    }

    /// Starts the process without waiting until it is ready. Does nothing when it runs already.
    ///
    /// # Errors
    /// When the program cannot be executed.
    pub fn launch(&self) -> Result<(), String> {
        let mut process = self.process();
        if process.as_mut().is_some_and(|p| p.ended().is_none()) {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|e| format!("{}: {e}", self.log().display()))?;
        let mut command = (self.launch)();
        command
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log);
        let shown = format!("{command:?}");
        *process = Some(Process::spawn(command).map_err(|e| format!("{shown}: {e}"))?);
        Ok(())
    }

    /// Waits until the server reports that it is ready.
    ///
    /// # Errors
    /// When the program ended instead.
    ///
    /// # Panics
    /// When it is not ready after [`READY`].
    pub fn await_ready(&self) -> Result<(), String> {
        let what = format!("{} is ready (log: {})", self.name, self.log().display());
        wait::until(&what, READY, || {
            let ended = self.process().as_mut().and_then(Process::ended);
            match ended {
                // Ends the wait; the inner result is returned.
                Some(status) => Ok(Err(format!(
                    "{} ended with {status}; the end of its log:\n{}",
                    self.name,
                    self.last_words()
                ))),
                None => (self.probe)().map(Ok),
            }
        })
    }

    /// Starts the server again, on the same port and files, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        self.launch()
            .and_then(|()| self.await_ready())
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Kills the server with SIGKILL, like a crash. Returns when the process has ended.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Stops the server with SIGTERM, as an administrator would. Returns when the process has ended.
    ///
    /// # Panics
    /// When it still runs after [`STOP`].
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            process.signal(Signal::TERM);
            process.wait(STOP);
        }
    }

    /// Freezes the server (SIGSTOP): its connections stay open, but it does not answer.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a frozen server (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
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
            process.signal(signal);
        }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        // A panic in another thread cannot leave an Option half-written.
        self.process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Starts a server on a free port, and retries on another port when that fails, since another process may
/// have taken the port in the meantime.
///
/// # Panics
/// When `start` failed five times, with the last reason.
pub fn on_free_port<T>(start: impl Fn(u16) -> Result<T, String>) -> T {
    let mut attempts = 5;
    loop {
        match start(crate::port::free()) {
            Ok(server) => return server,
            Err(why) => {
                attempts -= 1;
                assert!(attempts > 0, "{why}");
            }
        }
    }
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
