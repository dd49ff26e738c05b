//! One connection at work: decided which table it works on, and doing one operation at a time.

use crate::catalog::{describe, table};
use crate::connection::Connection;
use crate::layout::{Found, Layout, Plan, decide};
use crate::quote;
use crate::refusal::{Fault, cannot_create};
use crate::reply::{Reply, text};
use crate::rows::{self, Rows};
use crate::settings::Settings;
use crate::tickets::{self, Tickets};
use engine_guest::{Error, Key};
use std::mem::discriminant;

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

/// What a process knows of a sequence from what it was told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The sequence was seen in the database.
    pub(crate) seen: bool,
    /// The greatest mark that was told; None before the first one.
    pub(crate) mark: Option<i64>,
}

/// One connection at work.
pub(crate) struct Session {
    connection: Connection,
    plan: Plan,
    /// The plan was made just now.
    fresh: bool,
    /// The ticket table here is no older than what was known when it was first minted from.
    current: bool,
}

impl Session {
    /// Sets what depends on the server and decides which table to use.
    pub(crate) async fn begin(
        connection: Connection,
        key: &Key,
        settings: &Settings,
    ) -> Result<Self, Fault> {
        let mut session = Self {
            connection,
            plan: Plan {
                layout: Layout::Rows(Rows::new(key.as_str())),
                exists: false,
                create: None,
            },
            fresh: false,
            current: false,
        };
        session
            .set_up(key, settings)
            .await
            .map_err(Fault::while_dialling)?;
        Ok(session)
    }

    /// Where the connection leads, as messages name it.
    pub(crate) fn to(&self) -> &str {
        &self.connection.to
    }

    /// Whether the connection can be used again after this fault: only where it keeps nothing
    /// locked.
    pub(crate) fn outlives(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Conflict(_)) && matches!(self.plan.layout, Layout::Rows(_))
    }

    /// Whether the sequence was there when it was last looked for.
    pub(crate) fn exists(&self) -> bool {
        self.plan.exists
    }

    /// Does one operation. After an error the connection must not be used again, unless
    /// [`Session::outlives`] says so: tables may be locked.
    pub(crate) async fn perform(
        &mut self,
        operation: Operation,
        key: &Key,
        settings: &Settings,
        known: Known,
    ) -> Result<Option<i64>, Fault> {
        // Somebody may have made the table or row since, or have moved the sequence.
        if !self.plan.exists && !self.fresh {
            self.look_again(key, settings).await?;
        }
        self.fresh = false;
        if !self.plan.exists {
            if known.seen {
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
                self.connection
                    .ask(&create, 1)
                    .await
                    .map_err(|error| cannot_create(&error, &create, self.to(), settings))?;
                // Somebody else may have made another table meanwhile.
                self.look_again(key, settings).await?;
                self.fresh = false;
            }
        }
        let done = match self.plan.layout.clone() {
            Layout::Tickets(tickets) => self.on_tickets(&tickets, operation, settings, known).await,
            Layout::Rows(rows) => self.on_rows(&rows, operation, settings, known).await,
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
        known: Known,
    ) -> Result<Option<i64>, Fault> {
        let seconds = settings.lock_seconds();
        match operation {
            Operation::Advance(by) => {
                if !self.current && known.mark.is_some() {
                    // Unlike a row, a ticket table is not looked at before it is drawn from, and
                    // drawing from an old one again and again would lift it past what is known.
                    Box::pin(self.on_tickets(tickets, Operation::Mark, settings, known)).await?;
                }
                self.current = true;
                let text = tickets.advance(by, seconds);
                let replies = self.tell(&text, tickets::ADVANCE_REPLIES, settings).await?;
                self.writable(&replies)?;
                let mark = replies.get(tickets::ADVANCED).map(|reply| reply.insert_id);
                let mark = self.integer(mark.unwrap_or_default())?;
                self.not_behind(mark.saturating_sub(by), known)?;
                Ok(Some(mark))
            }
            Operation::Mark => {
                let text = tickets.mark();
                let replies = self.tell(&text, tickets::MARK_REPLIES, settings).await?;
                self.writable(&replies)?;
                let counter = replies.get(tickets::COUNTER);
                if counter.is_none_or(|reply| reply.rows.is_empty()) {
                    return Err(Fault::Lost(format!("{} lost the ticket table", self.to())));
                }
                let greatest = self.number(replies.get(tickets::COUNTER + 1), 0)?;
                let next = self.number(counter, 0)?;
                let mark = self.integer(taken(greatest, next))?;
                self.not_behind(mark, known)?;
                Ok((mark > 0).then_some(mark))
            }
            Operation::Raise(to) => {
                let text = tickets.raise(to, seconds);
                let replies = self.tell(&text, tickets::RAISE_REPLIES, settings).await?;
                self.writable(&replies)?;
                let found = replies.get(tickets::RAISED);
                let mark = taken(self.number(found, 0)?, self.number(found, 1)?);
                let mark = self.integer(mark)?.max(to);
                self.not_behind(mark, known)?;
                Ok(Some(mark))
            }
        }
    }

    async fn on_rows(
        &mut self,
        rows: &Rows,
        operation: Operation,
        settings: &Settings,
        known: Known,
    ) -> Result<Option<i64>, Fault> {
        if !self.plan.exists {
            let text = match operation {
                Operation::Advance(by) => rows.begin(by, true),
                Operation::Raise(to) => rows.begin(to, false),
                Operation::Mark => return self.mark_of_row(rows, settings, known).await,
            };
            let replies = self.tell(&text, rows::BEGIN_REPLIES, settings).await?;
            self.writable(&replies)?;
            return Ok(replies.first().map(signed));
        }
        let text = match operation {
            Operation::Advance(by) => rows.advance(by, known.mark),
            // Raised to what was seen or more, an older copy is as good as the newest one.
            Operation::Raise(to) => rows.raise(to, known.mark.filter(|mark| to < *mark)),
            Operation::Mark => return self.mark_of_row(rows, settings, known).await,
        };
        let replies = self.tell(&text, rows::CHANGE_REPLIES, settings).await?;
        self.writable(&replies)?;
        match replies.get(rows::CHANGED) {
            Some(reply) if reply.found > 0 || reply.insert_id > 0 => {
                return Ok(Some(signed(reply)));
            }
            _ => {}
        }
        // Nothing was changed: the row is gone or too low, or was so a moment ago.
        let mark = self.mark_of_row(rows, settings, known).await?;
        match operation {
            Operation::Raise(to) if mark >= Some(to) => Ok(mark),
            _ => Err(Fault::Conflict(format!(
                "{} did not change the sequence",
                self.to()
            ))),
        }
    }

    /// Reads the mark. None only for a sequence that was never seen.
    async fn mark_of_row(
        &mut self,
        rows: &Rows,
        settings: &Settings,
        known: Known,
    ) -> Result<Option<i64>, Fault> {
        let replies = self
            .tell(&rows.mark(), rows::MARK_REPLIES, settings)
            .await?;
        self.writable(&replies)?;
        let row = replies.get(rows::MARK).and_then(|reply| reply.rows.first());
        let Some(row) = row else {
            if known.seen {
                // Dialling again looks where the sequence is now, if anywhere.
                return Err(Fault::Lost(format!(
                    "{} lost the sequence's row",
                    self.to()
                )));
            }
            return Ok(None);
        };
        let mark = text(row, 0).parse().map_err(|_| self.strange("mark"))?;
        self.not_behind(mark, known)?;
        Ok(Some(mark))
    }

    async fn tell(
        &mut self,
        text: &str,
        statements: usize,
        settings: &Settings,
    ) -> Result<Vec<Reply>, Fault> {
        self.connection.tell(text, statements, settings).await
    }

    async fn set_up(&mut self, key: &Key, settings: &Settings) -> Result<(), Fault> {
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
            // Both REPLACEs of a mint are one transaction: one wait for the disk.
            self.tell("SET SESSION autocommit=0", 1, settings).await?;
            if self.connection.server.strides {
                // Only spares integers, so it does not matter where a server forbids it.
                let steps = "SET SESSION auto_increment_increment=1,auto_increment_offset=1";
                self.connection.try_to_tell(steps, settings).await?;
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
        self.plan = decide(namesake, &found, &self.connection.server)
            .map_err(|why| Fault::Final(Error::Other(format!("{}: {why}", self.to()))))?;
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

    /// Whether the server was writable after all else: the last of the replies tells. What a
    /// read-only server did is not used.
    fn writable(&self, replies: &[Reply]) -> Result<(), Fault> {
        let row = replies.last().and_then(|reply| reply.rows.first());
        match row.map(|row| text(row, 0)) {
            Some("1") => Ok(()),
            Some("0") => Err(self.connection.read_only()),
            _ => Err(self.strange("state")),
        }
    }

    /// Whether nothing above this mark was seen before.
    fn not_behind(&self, mark: i64, known: Known) -> Result<(), Fault> {
        match known.mark {
            Some(seen) if mark < seen => Err(Fault::Behind(format!(
                "{} has the sequence at {mark}, but {seen} was seen before, so it is an older copy: \
                 a primary that was replaced, a backup that was restored, or a sequence that was \
                 removed and begun anew. Nothing is minted from it. Name the right server in the \
                 DSN, or raise the sequence with set-last past all that was handed out",
                self.to()
            ))),
            _ => Ok(()),
        }
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
                self.to(),
                top = i64::MAX
            )))
        })
    }

    fn strange(&self, what: &str) -> Fault {
        Fault::Final(Error::Other(format!(
            "{} answers with a {what} that is no integer of 64 bits",
            self.to()
        )))
    }
}

/// The mark in a reply. The protocol carries it as an unsigned number; a mark set by hand may be
/// below zero.
fn signed(reply: &Reply) -> i64 {
    reply.insert_id.cast_signed()
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
