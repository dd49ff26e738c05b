//! Keeps one connection to a server that may be used for minting, and retries until the deadline.

use crate::connection::Connection;
use crate::hosts;
use crate::refusal::Fault;
use crate::session::{Known, Operation, Session};
use crate::settings::Settings;
use engine_guest::deadline::Deadline;
use engine_guest::retry::{self, Retry};
use engine_guest::{Error, Key};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// The longest pause before a change is retried after a conflict.
const LONGEST_YIELD: Duration = Duration::from_millis(32);

/// The connection of one sequence.
pub(crate) struct Client {
    settings: Settings,
    key: Key,
    runtime: Runtime,
    /// Taken out while in use, and not put back after a failure.
    session: Option<Session>,
    /// The number of the host that `session` is connected to, or that the next connection prefers.
    at: usize,
    /// What this client knows of the sequence from earlier replies.
    known: Known,
}

impl Client {
    pub(crate) fn new(settings: Settings, key: Key) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::Other(format!("cannot use sockets: {error}")))?;
        Ok(Self {
            settings,
            key,
            runtime,
            session: None,
            at: 0,
            known: Known::default(),
        })
    }

    /// Runs the operation on one host after another until it succeeds, fails for good, or reaches the
    /// deadline.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let mut retry = Retry::within(self.settings.timeout, "the database");
        let several = self.settings.nodes.len() > 1;
        let mut conflicts = 0;
        let mut contested = false;
        loop {
            let kept = self.session.is_some();
            let (wait, elsewhere) = match self.try_once(retry.deadline(), operation) {
                Ok(mark) => {
                    let seen = match (operation, mark) {
                        (Operation::Claim { last, .. } | Operation::Raise(last), None) => {
                            Some(last)
                        }
                        (_, mark) => mark,
                    };
                    self.known.mark = self.known.mark.max(seen);
                    return Ok(mark);
                }
                Err(Fault::Final(error)) => return Err(error),
                // A second conflict shows contention, so back off instead of retrying at once.
                Err(Fault::Conflict(why)) => {
                    retry.failed(why);
                    conflicts += 1;
                    (!kept || conflicts > 1, false)
                }
                // The server may have been restarted since: reconnect without a pause.
                Err(Fault::Lost(why)) => {
                    retry.failed(why);
                    (!kept, false)
                }
                Err(Fault::Elsewhere(why)) => {
                    retry.failed(why);
                    (!kept, true)
                }
                // Another host may have the newer copy once it is back.
                Err(Fault::Behind(why)) if several => {
                    retry.failed(why);
                    (true, true)
                }
                Err(Fault::Behind(why)) => return Err(Error::Other(why)),
                // They may be changing roles at present, and were not queried at the same instant.
                Err(Fault::Contested(why)) if !contested => {
                    retry.failed(why);
                    contested = true;
                    // Also keeps clients that retry again and again from overloading the hosts.
                    retry.slow_down();
                    (true, false)
                }
                Err(Fault::Contested(why)) => return Err(Error::Denied(why)),
                // An earlier reason says more.
                Err(Fault::Slow(why)) => {
                    retry.failed_first(why);
                    (!kept, true)
                }
            };
            if elsewhere {
                self.at = (self.at + 1) % self.settings.nodes.len();
            }
            if wait && self.session.is_some() {
                std::thread::sleep(yielding(conflicts).min(retry.left()));
                retry.check()?;
            } else if wait {
                retry.pause()?;
            } else {
                retry.check()?;
            }
        }
    }

    fn try_once(&mut self, deadline: Deadline, operation: Operation) -> Result<Option<i64>, Fault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.begin(deadline)?,
        };
        self.known.seen |= session.exists();
        let left = deadline.left().unwrap_or_default();
        let answer = hosts::block_on(
            &self.runtime,
            left,
            session.perform(operation, &self.key, &self.settings, self.known),
        );
        // A failed session is dropped here, outside of the runtime, so that its socket is closed at
        // once. Inside, the driver would leave that, and the server's locks, to a task that runs only
        // during the next call.
        let answer =
            answer.unwrap_or_else(|| Err(Fault::Slow(format!("{} does not answer", session.to()))));
        self.known.seen |= session.exists();
        let keep = match &answer {
            Ok(_) => true,
            Err(fault) => session.outlives(fault),
        };
        if keep {
            self.session = Some(session);
        }
        answer
    }

    /// Connects to a host that may be used for minting and sets up the session.
    fn begin(&mut self, deadline: Deadline) -> Result<Session, Fault> {
        let connection = self.dial(deadline)?;
        let to = connection.to.clone();
        let left = deadline.left().unwrap_or_default();
        let begun = hosts::block_on(
            &self.runtime,
            left,
            Session::begin(connection, &self.key, &self.settings),
        );
        begun.unwrap_or_else(|| Err(Fault::Slow(format!("{to} does not answer"))))
    }

    fn dial(&mut self, deadline: Deadline) -> Result<Connection, Fault> {
        let left = deadline.left().unwrap_or_default();
        if let [node] = &self.settings.nodes[..] {
            return hosts::dial(&self.runtime, left, node, &self.settings);
        }
        // The other half of the time is for the operation itself.
        let (at, connection) = hosts::choose(&self.runtime, left / 2, self.at, &self.settings)?;
        self.at = at;
        Ok(connection)
    }
}

/// How long to wait after this many conflicts: a random time, so that clients in conflict do not all
/// retry at the same moment.
fn yielding(conflicts: u32) -> Duration {
    let most = Duration::from_millis(1)
        .saturating_mul(1 << conflicts.min(10))
        .min(LONGEST_YIELD);
    most.mul_f64(retry::chance())
}
