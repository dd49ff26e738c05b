//! How a session finds out which table to use.

use super::Session;
use crate::catalog::{describe, table};
use crate::layout::{Found, Layout, decide};
use crate::rows::{self, Rows};
use crate::settings::Settings;
use engine_guest::failover::Fault;
use engine_guest::{Error, Key};
use std::mem::discriminant;

impl Session {
    /// Sets the session's variables and decides which table to use.
    pub(super) async fn set_up(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let server = &self.connection.server;
        if server.read_only {
            return Err(self.connection.read_only());
        }
        let mut more = Vec::new();
        if server.innodb {
            more.push(format!(
                "SET SESSION innodb_lock_wait_timeout={}",
                settings.lock_seconds()
            ));
        }
        if server.caches_statistics {
            more.push("SET SESSION information_schema_stats_expiry=0".to_owned());
        }
        more.extend(server.catch_up().map(str::to_owned));
        if !more.is_empty() {
            self.tell(&more.join(";"), more.len(), settings).await?;
        }
        self.look(key, settings).await?;
        if matches!(self.plan.layout, Layout::Tickets(_)) {
            // Both REPLACEs of a mint are one transaction, so that they sync to disk once.
            self.tell("SET SESSION autocommit=0", 1, settings).await?;
            if self.connection.server.strides {
                // This only avoids skipped integers, so it does not matter if a server forbids it.
                let steps = "SET SESSION auto_increment_increment=1,auto_increment_offset=1";
                self.connection.try_to_tell(steps, settings).await?;
            }
        }
        Ok(())
    }

    /// Reads the tables and decides again.
    async fn look(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let mut found = Found::default();
        let namesake = key.as_str();
        // The COMMITs end the transactions that these reads begin on a connection without autocommit.
        let text = format!("{};{};COMMIT", describe(namesake), describe(rows::TABLE));
        let mut replies = self.tell(&text, 5, settings).await?.into_iter();
        found.namesake = table(namesake, replies.next(), replies.next());
        found.rows = table(rows::TABLE, replies.next(), replies.next());
        if found.rows.is_some() {
            let text = format!("{};COMMIT", Rows::new(namesake).mark());
            let replies = self.tell(&text, rows::MARK_REPLIES + 1, settings).await?;
            found.has_row = replies
                .get(rows::MARK)
                .is_some_and(|reply| !reply.rows.is_empty());
        }
        self.plan = decide(namesake, &found, &self.connection.server)
            .map_err(|why| Fault::Final(Error::Other(format!("{}: {why}", self.to()))))?;
        self.fresh = true;
        Ok(())
    }

    /// Decides again on a connection that was set up for its current layout.
    pub(super) async fn look_again(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let before = discriminant(&self.plan.layout);
        self.look(key, settings).await?;
        if before == discriminant(&self.plan.layout) {
            Ok(())
        } else {
            Err(Fault::Lost("the sequence was moved".into()))
        }
    }
}
