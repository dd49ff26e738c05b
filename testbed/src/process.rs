//! Child processes that do not outlive the test.

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::wait;

/// A running program in its own process group. The whole group is killed on drop.
#[derive(Debug)]
pub struct Process(Child);

type Request = (Command, mpsc::Sender<io::Result<Child>>);

impl Process {
    /// Starts a program. The kernel kills it when this process ends for any reason.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn spawn(mut command: Command) -> io::Result<Self> {
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
        let (sender, answer) = mpsc::channel();
        spawner
            .send((command, sender))
            .expect("the spawner thread runs for ever");
        answer
            .recv()
            .expect("the spawner thread answers every request")
            .map(Self)
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
    /// # Panics
    /// When the process no longer exists, or the system is not Linux.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        let stat = stat.unwrap_or_else(|e| panic!("/proc: {e}"));
        // Fields 14 and 15 of proc(5), counted from after the name, which is in parentheses: ticks of 10 ms.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|t| t.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
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
    /// # Panics
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait::until("the process ends", limit, || {
            self.ended().ok_or("it is still running")
        })
    }

    /// Kills the program and its group (SIGKILL) and waits until it has ended.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
