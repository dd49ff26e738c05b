//! Keeps one connection to a server that may be minted from, and tries until the deadline.

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

/// The longest pause before a change is tried again because somebody else's came first.
const LONGEST_YIELD: Duration = Duration::from_millis(32);

/// The connection of one sequence.
pub(crate) struct Client {
    settings: Settings,
    key: Key,
    runtime: Runtime,
    /// Taken out while it is used: what fails is not put back.
    session: Option<Session>,
    /// The host that `session` leads to, or that is preferred at the next dial.
    at: usize,
    /// What this client was told of the sequence so far.
    known: Known,
}

impl Client {
    pub(crate) fn new(settings: Settings, key: Key) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::Other(format!("no sockets here: {error}")))?;
        Ok(Self {
            settings,
            key,
            runtime,
            session: None,
            at: 0,
            known: Known::default(),
        })
    }

    /// Does it on one host after another until it works, fails for good, or the time is over.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let mut retry = Retry::within(self.settings.timeout, "the database");
        let several = self.settings.nodes.len() > 1;
        let mut conflicts = 0;
        let mut contested = false;
        loop {
            let kept = self.session.is_some();
            let (wait, elsewhere) = match self.try_once(retry.deadline(), operation) {
                Ok(mark) => {
                    self.known.mark = self.known.mark.max(mark);
                    return Ok(mark);
                }
                Err(Fault::Final(error)) => return Err(error),
                // Somebody else is always faster, so there is no need to be the next one at once.
                Err(Fault::Conflict(why)) => {
                    retry.failed(why);
                    conflicts += 1;
                    (!kept || conflicts > 1, false)
                }
                // The server may have been restarted since: dial it again, at once.
                Err(Fault::Lost(why)) => {
                    retry.failed(why);
                    (!kept, false)
                }
                Err(Fault::Elsewhere(why)) => {
                    retry.failed(why);
                    (!kept, true)
                }
                // Another host may have the newer copy, when it is back.
                Err(Fault::Behind(why)) if several => {
                    retry.failed(why);
                    (true, true)
                }
                Err(Fault::Behind(why)) => return Err(Error::Other(why)),
                // They may be changing places just now, asked one after the other.
                Err(Fault::Contested(why)) if !contested => {
                    retry.failed(why);
                    contested = true;
                    // Also so that callers who ask again and again do not make the hosts busy.
                    retry.slow_down();
                    (true, false)
                }
                Err(Fault::Contested(why)) => return Err(Error::Denied(why)),
                // What went wrong before tells more.
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
        // A session that failed is dropped here, outside of the runtime, so that its socket is
        // closed now: inside, the driver would leave that, and whatever the server has locked
        // for it, to a task that runs when somebody calls again.
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

    /// Connects to a host that may be minted from and sets the connection up.
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
        // The other half of the time is for the call itself.
        let (at, connection) = hosts::choose(&self.runtime, left / 2, self.at, &self.settings)?;
        self.at = at;
        Ok(connection)
    }
}

/// How long to wait after so many changes of somebody else came first: by chance, so that those
/// who wait for each other do not all come back at the same time.
fn yielding(conflicts: u32) -> Duration {
    let most = Duration::from_millis(1)
        .saturating_mul(1 << conflicts.min(10))
        .min(LONGEST_YIELD);
    most.mul_f64(retry::chance())
}
