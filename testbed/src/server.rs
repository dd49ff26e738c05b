//! A server of any kind: started, awaited, killed, paused, started again.

use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait;
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// How long a server may take to answer after it was started. Debug builds and loaded machines
/// are slow; no test depends on a server being quick.
pub const READY: Duration = Duration::from_secs(60);

/// How long a server may take to end after SIGTERM.
pub const STOP: Duration = Duration::from_secs(30);

type Launch = Box<dyn Fn() -> Command + Send + Sync>;
type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// One server process with its folder. Killed when dropped.
///
/// Its output goes to a log in its folder, which is kept, and its path printed, when a test fails.
pub struct Server {
    name: String,
    /// Before the folder, so that it is gone before its files are.
    process: Mutex<Option<Process>>,
    launch: Launch,
    probe: Probe,
    scratch: Scratch,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// `launch` makes the command, again at every start, so that it must name the same port and
    /// folder each time. `probe` asks the server whether it is ready.
    ///
    /// # Errors
    /// When the program ended before it was ready: its output, and how it ended. A port that was taken
    /// meanwhile shows like this.
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

    /// A server that is not started yet: for groups whose members are ready only together.
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

    /// Starts the process without waiting for it to be ready. Does nothing when it runs.
    ///
    /// # Errors
    /// When the program cannot be run at all.
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

    /// Waits until the server says that it is ready.
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
                // Ends the waiting; the inner result says how.
                Some(status) => Ok(Err(format!(
                    "{} ended with {status}; its last words:\n{}",
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

    /// Kills the server with SIGKILL, as a power cut would. Returns when it is gone.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Ends the server with SIGTERM, as an administrator would. Returns when it is gone.
    ///
    /// # Panics
    /// When it still runs after [`STOP`].
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            process.signal(Signal::TERM);
            process.wait(STOP);
        }
    }

    /// Freezes the server (SIGSTOP): its connections stay, and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|p| p.ended().is_none())
    }

    /// What the server wrote to its standard streams.
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
        // A panic elsewhere cannot leave an Option half-written.
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

/// Starts a server on a free port, again on another one when somebody took that port meanwhile.
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

/// The path of a program: from the environment variable `variable` when set, else from PATH and
/// the folders of servers, which are not on the PATH of every user.
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
