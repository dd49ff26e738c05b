//! A session: one connection to a server that may be used for minting, which runs one operation at a
//! time.

use crate::quote;
use crate::refusal::{self, cannot_create, strange};
use crate::rows::{Row, TABLE};
use crate::settings::Settings;
use crate::wire::{Rows, Trouble, Wire};
use engine_guest::failover::Fault;
use engine_guest::operation::Operation;
use engine_guest::{Error, Key};

/// One connection, and the row of a sequence.
pub(crate) struct Session {
    wire: Wire,
    row: Row,
}

/// The code of an error about a table that does not exist.
const NO_TABLE: &str = "42P01";

impl Session {
    /// `schema` is that of the table.
    pub(crate) fn new(wire: Wire, schema: &str, key: &Key, settings: &Settings) -> Self {
        Self {
            wire,
            row: Row::new(schema, key.as_str(), settings.lock_timeout()),
        }
    }

    /// The server's address in messages.
    pub(crate) fn to(&self) -> &str {
        &self.wire.to
    }

    /// Runs one operation. `known` is the greatest mark that this process has seen, if any. None is
    /// returned by [`Operation::Mark`] only for a sequence that was never seen.
    pub(crate) async fn perform(
        &mut self,
        operation: Operation,
        key: &Key,
        settings: &Settings,
        known: Option<i64>,
    ) -> Result<Option<i64>, Fault> {
        let text = match (operation, known) {
            (Operation::Mark, _) => return self.mark(key, settings, known).await,
            (Operation::Settle, _) => return self.keeps_commits(settings).await,
            (Operation::Advance(by), None) => self.row.begin(by),
            (Operation::Claim { first, last }, None) => self.row.begin_claim(first, last),
            (Operation::Raise(to), None) => self.row.begin_claim(to, to),
            (Operation::Advance(by), known) => self.row.advance(by, known),
            // Raised to the known mark or above, an older copy is as valid as the newest one.
            (Operation::Raise(to), known) => {
                self.row.claim(to, to, known.filter(|mark| to < *mark))
            }
            (Operation::Claim { first, last }, known) => {
                self.row
                    .claim(first, last, known.filter(|mark| first <= *mark))
            }
        };
        let rows = match self.wire.ask(&text, settings).await {
            Ok(rows) => rows,
            Err(Trouble::Said(error)) if error.code == NO_TABLE => {
                if known.is_some() {
                    return Err(gone(key, settings));
                }
                self.create(settings).await?;
                self.wire.tell(&text, settings).await?
            }
            Err(trouble) => return Err(trouble.into_fault(self.to(), settings)),
        };
        if let Some(mark) = self.changed(&rows)? {
            let advanced = matches!(operation, Operation::Advance(_));
            return Ok(advanced.then_some(mark));
        }
        // Nothing was changed: the row is missing or too low, or was so a moment ago.
        let mark = self.mark(key, settings, known).await?;
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
        let text = "SELECT current_setting('fsync'),current_setting('synchronous_commit')";
        let rows = match self.wire.ask(text, settings).await {
            Ok(rows) => rows,
            Err(trouble) => return Err(trouble.into_fault(self.to(), settings)),
        };
        let [row] = &rows[..] else {
            return Err(strange(self.to()));
        };
        let setting = |at: usize| row.get(at).and_then(Option::as_deref);
        if settings.nodes.len() == 1 && setting(0) == Some("on") && setting(1) != Some("off") {
            return Ok(None);
        }
        Err(Fault::Final(Error::Other(format!(
            "{} can lose commits, which nothing would show: a node of a quorum needs one host in its DSN, \
             with fsync on and synchronous_commit not off",
            self.to()
        ))))
    }

    /// Creates the table. Another client may do so at the same time, of which one then gets an error.
    async fn create(&mut self, settings: &Settings) -> Result<(), Fault> {
        let create = self.row.create();
        match self.wire.ask(&create, settings).await {
            Ok(_) => Ok(()),
            Err(Trouble::Said(error)) => match &*error.code {
                "42P07" | "42710" | "23505" => Ok(()),
                _ => Err(cannot_create(&error, &create, self.to(), settings)),
            },
            Err(trouble) => Err(trouble.into_fault(self.to(), settings)),
        }
    }

    /// Reads the mark. None only for a sequence that was never seen.
    async fn mark(
        &mut self,
        key: &Key,
        settings: &Settings,
        known: Option<i64>,
    ) -> Result<Option<i64>, Fault> {
        let rows = match self.wire.ask(&self.row.mark(), settings).await {
            Ok(rows) => rows,
            Err(Trouble::Said(error)) if error.code == NO_TABLE => {
                return match known {
                    Some(_) => Err(gone(key, settings)),
                    None => Ok(None),
                };
            }
            // Of several rows.
            Err(Trouble::Said(error)) if error.code == "21000" => {
                return Err(self.several());
            }
            Err(trouble) => return Err(trouble.into_fault(self.to(), settings)),
        };
        let [row] = &rows[..] else {
            return Err(strange(self.to()));
        };
        match row.first().and_then(Option::as_deref) {
            Some("off") => {}
            // The mark of a standby, or of a primary that is being replaced, may be an older one.
            Some("on") => return Err(Fault::Elsewhere(refusal::read_only(self.to()))),
            _ => return Err(strange(self.to())),
        }
        let Some(mark) = row.get(1).and_then(Option::as_deref) else {
            return match known {
                Some(_) => Err(gone(key, settings)),
                None => Ok(None),
            };
        };
        let mark = mark.parse().map_err(|_| self.no_integer())?;
        match known {
            Some(seen) if mark < seen => Err(Fault::Behind(format!(
                "{} has the sequence at {mark}, but {seen} was seen before, so it is an older copy: \
                 a primary that was replaced, a backup that was restored, or a sequence that was \
                 removed and created again. Nothing is minted from it. List the right server in the \
                 DSN, or raise the sequence with set-last past all integers handed out",
                self.to()
            ))),
            _ => Ok(Some(mark)),
        }
    }

    /// The mark in the reply to a change; None if nothing was changed.
    fn changed(&self, rows: &Rows) -> Result<Option<i64>, Fault> {
        match &rows[..] {
            [] => Ok(None),
            [row] => match row.first().and_then(Option::as_deref) {
                Some(mark) => Ok(Some(mark.parse().map_err(|_| self.no_integer())?)),
                None => Err(strange(self.to())),
            },
            _ => Err(self.several()),
        }
    }

    fn several(&self) -> Fault {
        Fault::Final(Error::Other(format!(
            "{} has several rows for the sequence in the table {TABLE}, whose column name must be its \
             primary key; nothing is minted from them. Keep the row with the greatest mark, and run: \
             ALTER TABLE {TABLE} ADD PRIMARY KEY (name)",
            self.to()
        )))
    }

    fn no_integer(&self) -> Fault {
        Fault::Final(Error::Other(format!(
            "{} has a mark that is not a 64-bit integer; the column mark of {TABLE} must be a bigint",
            self.to()
        )))
    }
}

fn gone(key: &Key, settings: &Settings) -> Fault {
    Fault::Final(Error::Other(format!(
        "the sequence `{}` was in the database {} and is gone from it; a new one would hand out the same \
         integers again. Restore its row, or restart to begin a new sequence",
        key.as_str(),
        quote::name(&settings.database)
    )))
}
