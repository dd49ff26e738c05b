//! Child processes that do not outlive the test.
//!
//! A signal to a child of this process cannot fail, and neither can waiting for it, so those functions return no
//! errors.

use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal,
};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::family::{descendants, is_alive};
use crate::wait;

/// A running program in its own process group. The whole group is killed on drop.
#[derive(Debug)]
pub struct Process(Child);

/// How long the processes of a program may take to end after SIGKILL.
const KILLED: Duration = Duration::from_secs(30);

type Request = (Command, mpsc::Sender<io::Result<Child>>);

impl Process {
    /// Starts a program. The kernel kills it when this process ends for any reason.
    ///
    /// # Errors
    /// Those of [`Command::spawn`], with the command line.
    pub fn spawn(mut command: Command) -> Result<Self> {
        static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
        command.process_group(0);
        // SAFETY: only async-signal-safe code may run between fork and exec; this is one system call that
        // neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        // The parent-death signal is sent when the *thread* that forked ends. Each test runs on a short-lived
        // thread, but servers are shared among tests, so one permanent thread forks for all of them.
        let spawner = SPAWNER.get_or_init(|| {
            let (sender, requests) = mpsc::channel::<Request>();
            std::thread::Builder::new()
                .name("spawner".to_owned())
                .spawn(move || {
                    for (mut command, answer) in requests {
                        let _ = answer.send(command.spawn());
                    }
                })
                .expect("a thread");
            sender
        });
        let shown = format!("{command:?}");
        let (sender, answer) = mpsc::channel();
        spawner
            .send((command, sender))
            .expect("the spawner thread runs for ever");
        answer
            .recv()
            .expect("the spawner thread answers every request")
            .map(Self)
            .map_err(Error::io(shown))
    }

    /// The child itself, for its standard streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The processor time that the process has used so far.
    ///
    /// # Errors
    /// When the process no longer exists, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.id());
        let stat = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        // Fields 14 and 15 of proc(5), counted from after the name, which is in parentheses: ticks of 10 ms.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Result<u64, _> = ticks.map(str::parse::<u64>).sum();
        let ticks = ticks.map_err(|e| Error::unexpected(&path, e))?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Sends a signal to the program and everything in its group.
    ///
    /// # Panics
    /// When the system refuses for a reason other than that the process no longer exists.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).expect("process ids are positive i32");
        let group = Pid::from_raw(id).expect("process ids are not zero");
        match kill_process_group(group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("signal {signal:?} to process {id}: {error}"),
        }
    }

    /// The exit status; None while the program runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("our own child can be waited for")
    }

    /// Waits until the program ends by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait::until("the process ends", limit, || {
            self.ended().ok_or("it is still running")
        })
    }

    /// Sends a signal to the program and to all processes that descend from it, whatever their group.
    ///
    /// # Panics
    /// When the system refuses for a reason other than that a process no longer exists.
    pub fn signal_all(&self, signal: Signal) {
        // The program first: once it is stopped, it starts no others.
        self.signal(signal);
        for id in self.family() {
            send(signal, id);
        }
    }

    /// Kills the program and all processes that descend from it (SIGKILL), and waits until they have ended.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            // A stopped process starts no others while they are counted.
            self.signal(Signal::STOP);
            let family = self.family();
            self.signal(Signal::KILL);
            for id in &family {
                send(Signal::KILL, *id);
            }
            let _ = self.0.wait();
            // Nothing survives this signal. If the system is slower than that, the next start on the same
            // files says so.
            let _ = wait::until_true("the program's processes end", KILLED, || {
                !family.iter().copied().any(is_alive)
            });
        }
    }

    fn family(&self) -> Vec<u32> {
        descendants(self.0.id())
    }
}

fn send(signal: Signal, id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    match id.map(|id| kill_process(id, signal)) {
        None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => {}
        Some(Err(error)) => panic!("signal {signal:?} to process {id:?}: {error}"),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
