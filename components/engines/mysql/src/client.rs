//! Keeps one connection to a server that may be used for minting, and retries until the deadline.

use crate::connection::Connection;
use crate::hosts;
use crate::session::{Known, Session};
use crate::settings::Settings;
use engine_guest::deadline::Deadline;
use engine_guest::failover::{Failover, Fault, Used};
use engine_guest::hosts::Search;
use engine_guest::operation::Operation;
use engine_guest::{Dsn, Error, Key};
use tokio::runtime::{Builder, Runtime};

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

impl engine_guest::operation::Client for Client {
    const OFFSET: i64 = 1;
    const SCHEMES: &'static [&'static str] = &["mysql", "mariadb"];

    fn open(dsn: &Dsn, key: Key) -> Result<Self, Error> {
        let settings = Settings::read(dsn)?;
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
    fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let several = self.settings.nodes.len() > 1;
        let mut failover = Failover::within(self.settings.timeout, "the database", several);
        loop {
            let kept = self.session.is_some();
            let fault = match self.try_once(failover.deadline(), operation) {
                Ok(mark) => {
                    let seen = operation.reached(mark);
                    self.known.mark = self.known.mark.max(seen);
                    return Ok(mark);
                }
                Err(fault) => fault,
            };
            if fault.prefers_another() {
                self.at = (self.at + 1) % self.settings.nodes.len();
            }
            let usable = self.session.is_some();
            failover.failed(fault, Used { kept, usable })?;
        }
    }
}

impl Client {
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
        if let [node] = &self.settings.nodes[..] {
            let left = deadline.left().unwrap_or_default();
            return hosts::dial(&self.runtime, left, node, &self.settings);
        }
        let search = Search::new(self.settings.nodes.len(), self.settings.timeout, deadline);
        let (at, connection) = hosts::choose(&self.runtime, search, self.at, &self.settings)?;
        self.at = at;
        Ok(connection)
    }
}
