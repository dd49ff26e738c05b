//! One connection: set up, decided which table it works on, and doing one operation at a time.

use crate::catalog::{describe, table};
use crate::layout::{Found, Layout, Plan, decide};
use crate::quote;
use crate::refusal::{Fault, cannot_create};
use crate::reply::{Reply, text};
use crate::rows::{self, Rows};
use crate::server::{self, Server};
use crate::settings::{PORT, Settings};
use crate::tickets::{self, Tickets};
use engine_dsn::Address;
use engine_guest::{Error, Key};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::mem::discriminant;
use std::net::IpAddr;

/// The longest packet that is read, in bytes. What this engine asks for is far shorter.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// What is asked of a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Add this much to the mark and tell the new mark.
    Advance(i64),
    /// Tell the mark.
    Mark,
    /// Raise the mark to this, unless it is greater, and tell what it is then.
    Raise(i64),
}

/// One open connection.
pub(crate) struct Session {
    conn: Conn,
    server: Server,
    plan: Plan,
    /// The plan was made just now.
    fresh: bool,
    /// Where the connection leads, as messages name it.
    to: String,
}

impl Session {
    /// Connects, logs in, sets what is relied on and decides which table to use.
    pub(crate) async fn dial(
        to: &Address,
        ips: Vec<IpAddr>,
        key: &Key,
        settings: &Settings,
    ) -> Result<Self, Fault> {
        let port = to.port_or(PORT);
        let to = to.to_string();
        // What is given here is not asked of the server, which saves a round trip.
        let options = OptsBuilder::default()
            .ip_or_hostname(ips.first().map_or_else(String::new, IpAddr::to_string))
            .resolved_ips(Some(ips))
            .tcp_port(port)
            .user(settings.user.clone())
            .pass(settings.password.as_ref().map(|p| p.reveal()))
            .db_name(Some(&settings.database))
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(0))
            .stmt_cache_size(0);
        let conn = Conn::new(options).await.map_err(|error| {
            match &error {
                mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
                    Fault::network(io, &format!("cannot connect to {to}"))
                }
                error => Fault::of(error, &to, settings),
            }
            .while_dialling()
        })?;
        let mut session = Self {
            conn,
            server: Server::default(),
            plan: Plan {
                layout: Layout::Rows(Rows::new(key.as_str())),
                exists: false,
                create: None,
            },
            fresh: false,
            to,
        };
        session
            .set_up(key, settings)
            .await
            .map_err(Fault::while_dialling)?;
        Ok(session)
    }

    /// Where the connection leads, as messages name it.
    pub(crate) fn to(&self) -> &str {
        &self.to
    }

    /// Whether the sequence was there when it was last looked for.
    pub(crate) fn exists(&self) -> bool {
        self.plan.exists
    }

    /// Does one operation. After an error the connection must not be used again: tables may be
    /// locked.
    pub(crate) async fn perform(
        &mut self,
        operation: Operation,
        key: &Key,
        settings: &Settings,
        was_there: bool,
    ) -> Result<Option<i64>, Fault> {
        // Somebody may have made the table or row since, or have moved the sequence.
        if !self.plan.exists && !self.fresh {
            self.look_again(key, settings).await?;
        }
        self.fresh = false;
        if !self.plan.exists {
            if was_there {
                return Err(Fault::Final(Error::Other(format!(
                    "the sequence `{}` was in the database {} and is gone from it; a new one \
                     would hand out the same integers again. Put its table or row back, or \
                     restart to begin anew",
                    key.as_str(),
                    quote::name(&settings.database)
                ))));
            }
            if matches!(operation, Operation::Mark) && self.plan.create.is_some() {
                return Ok(None);
            }
            if let Some(create) = self.plan.create.take() {
                self.ask(&create, 1)
                    .await
                    .map_err(|error| cannot_create(&error, &create, &self.to, settings))?;
                // Somebody else may have made another table meanwhile.
                self.look_again(key, settings).await?;
                self.fresh = false;
            }
        }
        let done = match self.plan.layout.clone() {
            Layout::Tickets(tickets) => self.on_tickets(&tickets, operation, settings).await,
            Layout::Rows(rows) => self.on_rows(&rows, operation, settings).await,
        };
        if matches!(done, Ok(Some(_))) {
            self.plan.exists = true;
        }
        done
    }

    async fn on_tickets(
        &mut self,
        tickets: &Tickets,
        operation: Operation,
        settings: &Settings,
    ) -> Result<Option<i64>, Fault> {
        let seconds = settings.lock_seconds();
        match operation {
            Operation::Advance(by) => {
                let text = tickets.advance(by, seconds);
                let replies = self.tell(&text, tickets::ADVANCE_REPLIES, settings).await?;
                let mark = replies.get(tickets::ADVANCED).map(|reply| reply.insert_id);
                self.integer(mark.unwrap_or_default()).map(Some)
            }
            Operation::Mark => {
                let text = tickets.mark();
                let replies = self.tell(&text, tickets::MARK_REPLIES, settings).await?;
                self.writable(replies.get(tickets::READ_ONLY))?;
                let counter = replies.get(tickets::COUNTER);
                if counter.is_none_or(|reply| reply.rows.is_empty()) {
                    return Err(Fault::Lost(format!("{} lost the ticket table", self.to)));
                }
                let greatest = self.number(replies.get(tickets::COUNTER + 1), 0)?;
                let next = self.number(counter, 0)?;
                let mark = taken(greatest, next);
                self.integer(mark).map(|mark| (mark > 0).then_some(mark))
            }
            Operation::Raise(to) => {
                let text = tickets.raise(to, seconds);
                let replies = self.tell(&text, tickets::RAISE_REPLIES, settings).await?;
                let found = replies.get(tickets::RAISED);
                let mark = taken(self.number(found, 0)?, self.number(found, 1)?);
                self.integer(mark).map(|mark| Some(mark.max(to)))
            }
        }
    }

    async fn on_rows(
        &mut self,
        rows: &Rows,
        operation: Operation,
        settings: &Settings,
    ) -> Result<Option<i64>, Fault> {
        let text = match operation {
            Operation::Advance(by) => rows.advance(by),
            Operation::Raise(to) => rows.raise(to),
            Operation::Mark => {
                let replies = self
                    .tell(&rows.mark(), rows::MARK_REPLIES, settings)
                    .await?;
                self.writable(replies.get(rows::READ_ONLY))?;
                let row = replies.get(rows::MARK).and_then(|reply| reply.rows.first());
                return row
                    .map(|row| text(row, 0).parse().map_err(|_| self.strange("mark")))
                    .transpose();
            }
        };
        let replies = self.tell(&text, 1, settings).await?;
        let mark = replies.first().map_or(0, |reply| reply.insert_id);
        // The protocol carries it as an unsigned number; a mark set by hand may be below zero.
        Ok(Some(mark.cast_signed()))
    }

    /// Sends a text of as many statements and reads the reply to each.
    async fn ask(&mut self, text: &str, statements: usize) -> mysql_async::Result<Vec<Reply>> {
        let mut result = self.conn.query_iter(text).await?;
        let mut replies = Vec::with_capacity(statements);
        for _ in 0..statements {
            replies.push(Reply {
                insert_id: result.last_insert_id().unwrap_or_default(),
                rows: result.collect().await?,
            });
        }
        result.drop_result().await?;
        Ok(replies)
    }

    async fn tell(
        &mut self,
        text: &str,
        statements: usize,
        settings: &Settings,
    ) -> Result<Vec<Reply>, Fault> {
        self.ask(text, statements)
            .await
            .map_err(|error| Fault::of(&error, &self.to, settings))
    }

    /// Two round trips: what the server is and has, then what follows from it.
    async fn set_up(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let names = server::VARIABLES.map(|name| format!("'{name}'")).join(",");
        // Whatever the server's own defaults: strict arithmetic, no `ANSI_QUOTES`, text in UTF-8,
        // and an isolation that every format of the binary log takes.
        let first = format!(
            "SET NAMES utf8mb4;\
             SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',autocommit=1,\
             lock_wait_timeout={};\
             SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\
             SHOW VARIABLES WHERE Variable_name IN ({names})",
            settings.lock_seconds()
        );
        let replies = self.tell(&first, 4, settings).await?;
        let variables = replies.get(3).map(|reply| reply.rows.as_slice());
        self.server = Server::read(
            variables
                .unwrap_or_default()
                .iter()
                .map(|row| (text(row, 0), text(row, 1))),
        );
        if self.server.read_only {
            return Err(self.read_only());
        }
        let mut more = Vec::new();
        if self.server.innodb {
            more.push(format!(
                "SET SESSION innodb_lock_wait_timeout={}",
                settings.lock_seconds()
            ));
        }
        if self.server.caches_statistics {
            more.push("SET SESSION information_schema_stats_expiry=0".to_owned());
        }
        if self.server.galera {
            // Reads wait for what other nodes committed.
            more.push("SET SESSION wsrep_sync_wait=1".to_owned());
        }
        if !more.is_empty() {
            self.tell(&more.join(";"), more.len(), settings).await?;
        }
        self.look(key, settings).await?;
        if matches!(self.plan.layout, Layout::Tickets(_)) {
            // Both REPLACEs of a mint are one transaction: one wait for the disk.
            self.tell("SET SESSION autocommit=0", 1, settings).await?;
            if self.server.strides {
                // Only spares integers, so it does not matter where a server forbids it.
                let steps = "SET SESSION auto_increment_increment=1,auto_increment_offset=1";
                match self.ask(steps, 1).await {
                    Ok(_) | Err(mysql_async::Error::Server(_)) => {}
                    Err(error) => return Err(Fault::of(&error, &self.to, settings)),
                }
            }
        }
        Ok(())
    }

    /// Looks at the tables and decides anew.
    async fn look(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let mut found = Found::default();
        let namesake = key.as_str();
        // The COMMITs end what these reads begin on a connection without autocommit.
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
        self.plan = decide(namesake, &found, &self.server)
            .map_err(|why| Fault::Final(Error::Other(format!("{}: {why}", self.to))))?;
        self.fresh = true;
        Ok(())
    }

    /// Looks again on a connection that was set up for the layout it had.
    async fn look_again(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
        let before = discriminant(&self.plan.layout);
        self.look(key, settings).await?;
        if before == discriminant(&self.plan.layout) {
            Ok(())
        } else {
            Err(Fault::Lost("the sequence was moved".into()))
        }
    }

    fn writable(&self, reply: Option<&Reply>) -> Result<(), Fault> {
        let row = reply.and_then(|reply| reply.rows.first());
        match row.map(|row| text(row, 0)) {
            None | Some("0" | "OFF") => Ok(()),
            Some(_) => Err(self.read_only()),
        }
    }

    /// A replica may lag behind, and what it hands out its primary never learns.
    fn read_only(&self) -> Fault {
        Fault::Elsewhere(format!(
            "{} is read-only, as replicas are, so it cannot mint; name the primary in the DSN",
            self.to
        ))
    }

    /// A number in the first row of a reply; 0 for NULL.
    fn number(&self, reply: Option<&Reply>, column: usize) -> Result<u64, Fault> {
        let row = reply.and_then(|reply| reply.rows.first());
        match row.map_or("", |row| text(row, column)) {
            "" => Ok(0),
            digits => digits.parse().map_err(|_| self.strange("number")),
        }
    }

    fn integer(&self, mark: u64) -> Result<i64, Fault> {
        i64::try_from(mark).map_err(|_| {
            Fault::Final(Error::Other(format!(
                "{} has a ticket table whose counter is past {mark}, above the greatest integer \
                 there is, {top}; as an administrator run, with the table's name: DELETE FROM … \
                 WHERE id > {top}; ALTER TABLE … AUTO_INCREMENT = (one more than was handed out)",
                self.to,
                top = i64::MAX
            )))
        })
    }

    fn strange(&self, what: &str) -> Fault {
        Fault::Final(Error::Other(format!(
            "{} answers with a {what} that is no integer of 64 bits",
            self.to
        )))
    }
}

/// What is taken when the greatest id is this and the counter comes next to that (0 when it was
/// never used).
fn taken(greatest: u64, next: u64) -> u64 {
    greatest.max(next.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_the_greater_of_both() {
        assert_eq!(taken(0, 0), 0);
        assert_eq!(taken(0, 1), 0);
        assert_eq!(taken(7, 8), 7);
        // Two originals at once: the smaller id was written last.
        assert_eq!(taken(3, 6), 5);
        // An id changed by hand, on a server whose counter does not follow.
        assert_eq!(taken(1000, 8), 1000);
    }
}
