//! A session: one connection, with the table it works on, that runs one operation at a time.

mod plan;

use crate::connection::Connection;
use crate::layout::{Layout, Plan};
use crate::quote;
use crate::refusal::cannot_create;
use crate::reply::{Reply, text};
use crate::rows::{self, Rows};
use crate::settings::Settings;
use crate::tickets::{self, Tickets};
use engine_guest::failover::Fault;
use engine_guest::operation::Operation;
use engine_guest::{Error, Key};

/// What a process knows of a sequence from earlier replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whether the sequence was seen in the database.
    pub(crate) seen: bool,
    /// The greatest mark that was returned; None before the first one.
    pub(crate) mark: Option<i64>,
}

/// One connection that is set up for a sequence.
pub(crate) struct Session {
    connection: Connection,
    plan: Plan,
    /// Whether the plan was made by the latest query and need not be refreshed.
    fresh: bool,
    /// Whether the ticket table was checked against the known mark before the first mint from it.
    current: bool,
}

impl Session {
    /// Sets session variables that depend on the server and decides which table to use.
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

    /// The server's address in messages.
    pub(crate) fn to(&self) -> &str {
        &self.connection.to
    }

    /// Whether the connection can be used again after this fault: only if it holds no locks.
    pub(crate) fn outlives(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Conflict(_)) && matches!(self.plan.layout, Layout::Rows(_))
    }

    /// Whether the sequence existed at the last check.
    pub(crate) fn exists(&self) -> bool {
        self.plan.exists
    }

    /// Runs one operation. After an error the connection must not be used again, unless
    /// [`Session::outlives`] permits it: tables may be locked.
    pub(crate) async fn perform(
        &mut self,
        operation: Operation,
        key: &Key,
        settings: &Settings,
        known: Known,
    ) -> Result<Option<i64>, Fault> {
        // Another client may have created the table or row since, or have moved the sequence.
        if !self.plan.exists && !self.fresh {
            self.look_again(key, settings).await?;
        }
        self.fresh = false;
        if !self.plan.exists {
            if known.seen {
                return Err(Fault::Final(Error::Other(format!(
                    "the sequence `{}` was in the database {} and is gone from it; a new one \
                     would hand out the same integers again. Restore its table or row, or \
                     restart to begin a new sequence",
                    key.as_str(),
                    quote::name(&settings.database)
                ))));
            }
            if self.plan.create.is_some() {
                match operation {
                    Operation::Mark => return Ok(None),
                    // What is created is on InnoDB.
                    Operation::Settle => return self.keeps_commits(settings).await,
                    _ => {}
                }
            }
            if let Some(create) = self.plan.create.take() {
                self.connection
                    .ask(&create, 1)
                    .await
                    .map_err(|error| cannot_create(&error, &create, self.to(), settings))?;
                // Another client may have created the other kind of table meanwhile.
                self.look_again(key, settings).await?;
                self.fresh = false;
            }
        }
        let done = match self.plan.layout.clone() {
            Layout::Tickets(tickets) => self.on_tickets(&tickets, operation, settings, known).await,
            Layout::Rows(rows) => self.on_rows(&rows, operation, settings, known).await,
        };
        let raises = matches!(operation, Operation::Claim { .. } | Operation::Raise(_));
        if (raises && done.is_ok()) || matches!(done, Ok(Some(_))) {
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
                    // Unlike a row, a ticket table is not checked before it is drawn from, and repeated
                    // draws from an older copy would raise it past the known mark.
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
                    return Err(Fault::Lost(format!(
                        "the ticket table is missing on {}",
                        self.to()
                    )));
                }
                let greatest = self.number(replies.get(tickets::COUNTER + 1), 0)?;
                let next = self.number(counter, 0)?;
                let mark = self.integer(taken(greatest, next))?;
                self.not_behind(mark, known)?;
                Ok((mark > 0).then_some(mark))
            }
            Operation::Claim { first, .. } if known.mark >= Some(first) => {
                Box::pin(self.on_tickets(tickets, Operation::Mark, settings, known)).await
            }
            Operation::Raise(to) if known.mark > Some(to) => {
                Box::pin(self.on_tickets(tickets, Operation::Mark, settings, known)).await
            }
            Operation::Claim { .. } | Operation::Raise(_) => {
                let (first, last) = match operation {
                    Operation::Claim { first, last } => (first, last),
                    Operation::Raise(to) => (to, to),
                    _ => return Ok(None),
                };
                let text = tickets.claim(first, last, seconds);
                let replies = self.tell(&text, tickets::CLAIM_REPLIES, settings).await?;
                self.writable(&replies)?;
                let found = replies.get(tickets::FOUND);
                let mark = taken(self.number(found, 0)?, self.number(found, 1)?);
                let mark = self.integer(mark)?;
                Ok((mark >= first).then_some(mark))
            }
            Operation::Settle => {
                let replies = self.tell(&tickets.storage(), 1, settings).await?;
                let row = replies.first().and_then(|reply| reply.rows.first());
                match row.map(|row| text(row, 0)) {
                    Some("InnoDB") => self.keeps_commits(settings).await,
                    found => Err(Fault::Final(Error::Other(format!(
                        "a node of a quorum cannot keep a sequence in a ticket table on {}, which may lose marks in a \
                         crash: use another key, or change the table to InnoDB",
                        found.unwrap_or("an unknown storage engine")
                    )))),
                }
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
        let exists = self.plan.exists;
        let text = match operation {
            Operation::Advance(by) if exists => rows.advance(by, known.mark),
            Operation::Advance(by) => {
                let text = rows.begin(by);
                let replies = self.tell(&text, rows::BEGIN_REPLIES, settings).await?;
                self.writable(&replies)?;
                return Ok(replies.first().map(signed));
            }
            // Raised to the known mark or above, an older copy is as valid as the newest one.
            Operation::Raise(to) if exists => {
                rows.claim(to, to, known.mark.filter(|mark| to < *mark))
            }
            Operation::Raise(to) => rows.begin_claim(to, to),
            Operation::Claim { first, last } if exists => {
                rows.claim(first, last, known.mark.filter(|mark| first <= *mark))
            }
            Operation::Claim { first, last } => rows.begin_claim(first, last),
            Operation::Mark => return self.mark_of_row(rows, settings, known).await,
            Operation::Settle => return self.keeps_commits(settings).await,
        };
        let begun = usize::from(!exists);
        let replies = self
            .tell(&text, begun + rows::CHANGE_REPLIES, settings)
            .await?;
        self.writable(&replies)?;
        let advanced = matches!(operation, Operation::Advance(_));
        match replies.get(begun + rows::CHANGED) {
            Some(reply) if reply.found > 0 || reply.insert_id > 0 => {
                return Ok(advanced.then(|| signed(reply)));
            }
            _ => {}
        }
        // Nothing was changed: the row is missing or too low, or was so a moment ago.
        let mark = self.mark_of_row(rows, settings, known).await?;
        match operation {
            Operation::Claim { first, .. } | Operation::Raise(first) if mark >= Some(first) => {
                Ok(mark)
            }
            _ => Err(Fault::Conflict(format!(
                "{} did not change the sequence",
                self.to()
            ))),
        }
    }

    /// Checks that a commit survives a crash of the server.
    async fn keeps_commits(&mut self, settings: &Settings) -> Result<Option<i64>, Fault> {
        if settings.nodes.len() > 1 {
            return Err(Fault::Final(Error::Other(
                "a server that takes over may lack commits, which nothing would show: a node of a quorum needs one host \
                 in its DSN"
                    .into(),
            )));
        }
        let text = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit";
        let replies = self.tell(text, 1, settings).await?;
        match self.number(replies.first(), 0)? {
            1 => Ok(None),
            _ => Err(Fault::Final(Error::Other(format!(
                "{} can lose commits in a crash, which nothing would show; set \
                 innodb_flush_log_at_trx_commit=1",
                self.to()
            )))),
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
                // A new connection checks where the sequence is, if anywhere.
                return Err(Fault::Lost(format!(
                    "the sequence's row is missing on {}",
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

    /// Checks that the server was writable after all other statements, which is in the last reply. The
    /// result of a read-only server is discarded.
    fn writable(&self, replies: &[Reply]) -> Result<(), Fault> {
        let row = replies.last().and_then(|reply| reply.rows.first());
        match row.map(|row| text(row, 0)) {
            Some("1") => Ok(()),
            Some("0") => Err(self.connection.read_only()),
            _ => Err(self.strange("state")),
        }
    }

    /// Checks that no greater mark was seen before.
    fn not_behind(&self, mark: i64, known: Known) -> Result<(), Fault> {
        match known.mark {
            Some(seen) if mark < seen => Err(Fault::Behind(format!(
                "{} has the sequence at {mark}, but {seen} was seen before, so it is an older copy: \
                 a primary that was replaced, a backup that was restored, or a sequence that was \
                 removed and created again. Nothing is minted from it. List the right server in the \
                 DSN, or raise the sequence with set-last past all integers handed out",
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
                "{} has a ticket table whose counter is past {mark}, above the greatest 64-bit \
                 integer, {top}; as an administrator run, with the table's name: DELETE FROM … \
                 WHERE id > {top}; ALTER TABLE … AUTO_INCREMENT = (one more than was handed out)",
                self.to(),
                top = i64::MAX
            )))
        })
    }

    fn strange(&self, what: &str) -> Fault {
        Fault::Final(Error::Other(format!(
            "{} returned a {what} that is not a 64-bit integer",
            self.to()
        )))
    }
}

/// The mark in a reply. The protocol transmits it as an unsigned number; a mark set by hand may be
/// below zero.
fn signed(reply: &Reply) -> i64 {
    reply.insert_id.cast_signed()
}

/// The mark of a ticket table with this greatest id and this next counter value (0 if the counter was
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
        // After two concurrent mints of the original program: the smaller id was written last.
        assert_eq!(taken(3, 6), 5);
        // An id changed by hand, on a server whose counter does not follow.
        assert_eq!(taken(1000, 8), 1000);
    }
}
