//! Keeps one connection to the primary, and retries until the deadline.

use crate::choice::Memory;
use crate::hosts;
use crate::session::Session;
use crate::settings::Settings;
use engine_guest::deadline::Deadline;
use engine_guest::failover::{Failover, Fault, Used};
use engine_guest::hosts::Search;
use engine_guest::operation::Operation;
use engine_guest::{Dsn, Error, Key};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The connection of one sequence.
pub(crate) struct Client {
    settings: Settings,
    key: Key,
    runtime: Runtime,
    /// Taken out while in use, and not put back after a failure.
    session: Option<Session>,
    memory: Memory,
    /// The schema of the table, from the first connection on.
    schema: Option<String>,
    /// The greatest mark that was returned; None before the first one.
    mark: Option<i64>,
}

impl engine_guest::operation::Client for Client {
    const OFFSET: i64 = 1;
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];

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
            memory: Memory::default(),
            schema: None,
            mark: None,
        })
    }

    /// Runs the operation on the primary until it succeeds, fails for good, or reaches the deadline.
    fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let several = self.settings.nodes.len() > 1;
        let mut failover = Failover::within(self.settings.timeout, "PostgreSQL", several);
        loop {
            let kept = self.session.is_some();
            let fault = match self.try_once(failover.deadline(), operation) {
                Ok(mark) => {
                    self.mark = self.mark.max(operation.reached(mark));
                    return Ok(mark);
                }
                Err(fault) => fault,
            };
            let usable = self.session.is_some();
            failover.failed(fault, Used { kept, usable })?;
        }
    }
}

impl Client {
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
        let search = Search::new(self.settings.nodes.len(), self.settings.timeout, deadline);
        let primary = hosts::find(&self.runtime, search, &self.settings, &mut self.memory)?;
        // A pooler may hand out a connection whose search_path another client has changed.
        let schema = match self.schema.take().or(primary.schema) {
            Some(schema) => schema,
            None => return Err(hosts::no_schema(&primary.wire.to)),
        };
        let session = Session::new(primary.wire, &schema, &self.key, &self.settings);
        self.schema = Some(schema);
        Ok(session)
    }
}
