//! Keeps one connection to the primary, and retries until the deadline.

use crate::choice::History;
use crate::hosts;
use crate::refusal::Fault;
use crate::session::{Operation, Session};
use crate::settings::Settings;
use engine_guest::deadline::Deadline;
use engine_guest::retry::{self, Retry};
use engine_guest::{Error, Key};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The longest pause before a change is retried after a conflict.
const LONGEST_YIELD: Duration = Duration::from_millis(32);

/// The connection of one sequence.
pub(crate) struct Client {
    settings: Settings,
    key: Key,
    runtime: Runtime,
    /// Taken out while in use, and not put back after a failure.
    session: Option<Session>,
    /// The history of the primary that was used last.
    history: Option<History>,
    /// The schema of the table, from the first connection on.
    schema: Option<String>,
    /// The greatest mark that was returned; None before the first one.
    mark: Option<i64>,
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
            history: None,
            schema: None,
            mark: None,
        })
    }

    /// Runs the operation on the primary until it succeeds, fails for good, or reaches the deadline.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let mut retry = Retry::within(self.settings.timeout, "PostgreSQL");
        let several = self.settings.nodes.len() > 1;
        let mut conflicts = 0;
        let mut contested = false;
        loop {
            let kept = self.session.is_some();
            let wait = match self.try_once(retry.deadline(), operation) {
                Ok(mark) => {
                    let seen = match (operation, mark) {
                        (Operation::Claim { last, .. } | Operation::Raise(last), None) => {
                            Some(last)
                        }
                        (_, mark) => mark,
                    };
                    self.mark = self.mark.max(seen);
                    return Ok(mark);
                }
                Err(Fault::Final(error)) => return Err(error),
                // A second conflict shows contention, so back off instead of retrying at once.
                Err(Fault::Conflict(why)) => {
                    retry.failed(why);
                    conflicts += 1;
                    !kept || conflicts > 1
                }
                // The server may have been restarted or replaced since: reconnect without a pause.
                Err(Fault::Lost(why) | Fault::Elsewhere(why)) => {
                    retry.failed(why);
                    !kept
                }
                // Another host may have the newer copy once it is back.
                Err(Fault::Behind(why)) if several => {
                    retry.failed(why);
                    true
                }
                Err(Fault::Behind(why)) => return Err(Error::Other(why)),
                // They may be changing roles at present, and were not asked at the same instant.
                Err(Fault::Contested(why)) if !contested => {
                    retry.failed(why);
                    contested = true;
                    // Also keeps clients that retry again and again from overloading the hosts.
                    retry.slow_down();
                    true
                }
                Err(Fault::Contested(why)) => return Err(Error::Denied(why)),
                // An earlier reason says more.
                Err(Fault::Slow(why)) => {
                    retry.failed_first(why);
                    !kept
                }
            };
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

    /// Runs the operation on the kept connection, or on a new one.
    fn try_once(&mut self, deadline: Deadline, operation: Operation) -> Result<Option<i64>, Fault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.begin(deadline)?,
        };
        let left = deadline.left().unwrap_or_default();
        let performing = session.perform(operation, &self.key, &self.settings, self.mark);
        let answer = self
            .runtime
            .block_on(async { timeout(left, performing).await });
        let answer = answer
            .unwrap_or_else(|_| Err(Fault::Slow(format!("{} does not answer", session.to()))));
        if matches!(answer, Ok(_) | Err(Fault::Conflict(_))) {
            self.session = Some(session);
        }
        answer
    }

    /// Connects to the primary.
    fn begin(&mut self, deadline: Deadline) -> Result<Session, Fault> {
        let left = deadline.left().unwrap_or_default();
        // With several hosts, one that does not answer must leave time for the operation itself.
        let limit = if self.settings.nodes.len() > 1 {
            left / 2
        } else {
            left
        };
        let primary = hosts::find(&self.runtime, limit, &self.settings, self.history.as_ref())?;
        // A pooler may hand out a connection whose search_path another client has changed.
        let schema = match self.schema.take().or(primary.schema) {
            Some(schema) => schema,
            None => return Err(hosts::no_schema(&primary.wire.to)),
        };
        let session = Session::new(primary.wire, &schema, &self.key, &self.settings);
        self.schema = Some(schema);
        if primary.history.is_some() {
            self.history = primary.history;
        }
        Ok(session)
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
