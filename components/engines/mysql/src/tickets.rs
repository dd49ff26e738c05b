//! The statements for a ticket table, in which the original program keeps a sequence.
//!
//! Each function returns several statements, which are sent together in one round trip. If one of them
//! fails, the rest is not run and the table stays locked: the connection must then be closed, which
//! rolls back and unlocks.

use crate::quote;
use crate::server::WRITABLE;

/// The value of `stub` in the only row that the original program writes.
const STUB: &str = "'a'";

/// One ticket table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tickets {
    /// The name, quoted.
    table: String,
    /// The name as a string value.
    named: String,
}

/// The index of the reply to [`Tickets::advance`] that has the new mark.
pub(crate) const ADVANCED: usize = 4;

/// The number of replies to [`Tickets::advance`]. The last one tells whether the server is writable.
pub(crate) const ADVANCE_REPLIES: usize = 9;

/// The index of the reply to [`Tickets::claim`] that has the previous mark.
pub(crate) const FOUND: usize = 7;

/// The number of replies to [`Tickets::claim`]. The last one tells whether the server is writable.
pub(crate) const CLAIM_REPLIES: usize = 9;

/// The index of the reply to [`Tickets::mark`] that has the counter; the next one has the id.
pub(crate) const COUNTER: usize = 0;

/// The number of replies to [`Tickets::mark`]. The last one tells whether the server is writable.
pub(crate) const MARK_REPLIES: usize = 4;

impl Tickets {
    pub(crate) fn new(table: &str) -> Self {
        Self {
            table: quote::name(table),
            named: quote::text(table),
        }
    }

    /// The table as the original program defines it, but on InnoDB.
    pub(crate) fn create(table: &str) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, \
             stub CHAR(1) NOT NULL DEFAULT '', PRIMARY KEY (id), UNIQUE KEY stub (stub)) \
             ENGINE=InnoDB",
            quote::name(table)
        )
    }

    /// Draws `by` (1 or more) integers from the table's counter.
    ///
    /// The first `REPLACE` draws the counter's next value, the second one moves the counter past the
    /// rest. The two subtractions of unsigned numbers fail if a value would pass the top of `s64`, the
    /// first one before anything is drawn.
    pub(crate) fn advance(&self, by: i64, seconds: u64) -> String {
        let table = &self.table;
        let top = i64::MAX;
        let room = top.saturating_sub(by);
        let rest = by.saturating_sub(1);
        let highest = top.saturating_sub(rest);
        format!(
            "{lock};\
             SET @m=(SELECT CAST({room} AS UNSIGNED)-(CAST({room} AS UNSIGNED)-\
             CAST(COALESCE(MAX(id),0) AS UNSIGNED)) FROM {table});\
             REPLACE INTO {table} (stub) VALUES ({STUB});\
             REPLACE INTO {table} (id,stub) VALUES (LAST_INSERT_ID(CAST({top} AS UNSIGNED)-\
             (CAST({highest} AS UNSIGNED)-GREATEST(LAST_INSERT_ID(),@m+1))),{STUB});\
             {unlock};\
             SELECT {WRITABLE}",
            lock = self.lock(seconds),
            unlock = self.unlock(),
        )
    }

    /// Raises the counter and the row to `last` if the sequence is below `first`. Returns the previous
    /// greatest id and the previous next value of the counter.
    pub(crate) fn claim(&self, first: i64, last: i64, seconds: u64) -> String {
        let table = &self.table;
        // An id of 0 would draw from the counter; besides, nothing needs to be raised to 0.
        let sensible = i32::from(last > 0);
        format!(
            "{lock};\
             SET @m=(SELECT COALESCE(MAX(id),0) FROM {table}),@c=COALESCE(({counter}),1);\
             REPLACE INTO {table} (id,stub) SELECT {last},{STUB} FROM DUAL \
             WHERE {sensible} AND @m<{first} AND @c<={first};\
             {unlock};\
             SELECT CAST(@m AS UNSIGNED),CAST(@c AS UNSIGNED);\
             SELECT {WRITABLE}",
            lock = self.lock(seconds),
            counter = self.counter(),
            unlock = self.unlock(),
        )
    }

    /// Reads the counter, then the greatest id.
    pub(crate) fn mark(&self) -> String {
        format!(
            "{};SELECT MAX(id) FROM {};COMMIT;SELECT {WRITABLE}",
            self.counter(),
            self.table
        )
    }

    /// Reads the name of the storage engine.
    pub(crate) fn storage(&self) -> String {
        format!(
            "SELECT ENGINE FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={}",
            self.named
        )
    }

    /// The counter's next value. The query returns no rows if the table does not exist, and NULL, on
    /// MySQL, if the counter was never used.
    fn counter(&self) -> String {
        format!(
            "SELECT AUTO_INCREMENT FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={}",
            self.named
        )
    }

    /// Locks the table. The named lock is only for fairness: it lets one engine at a time wait for the
    /// table lock, which both servers grant before any waiting statement of the original program.
    /// Whether it was granted in time does not matter.
    fn lock(&self, seconds: u64) -> String {
        format!(
            "DO GET_LOCK({},{seconds});LOCK TABLES {} WRITE",
            self.gate(),
            self.table
        )
    }

    fn unlock(&self) -> String {
        format!("COMMIT;UNLOCK TABLES;DO RELEASE_LOCK({})", self.gate())
    }

    /// The name of the named lock. Such names have at most 64 characters and are global to the server.
    fn gate(&self) -> String {
        format!("SHA1(CONCAT('tickets ',DATABASE(),' ',{}))", self.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<&str> {
        text.split(';').collect()
    }

    #[test]
    fn replies_are_where_they_are_said_to_be() {
        let tickets = Tickets::new("integers");
        let advance = tickets.advance(200, 2);
        let advance = statements(&advance);
        assert_eq!(advance.len(), ADVANCE_REPLIES);
        assert!(advance[ADVANCED].contains("REPLACE INTO `integers` (id,stub)"));
        assert_eq!(advance[1], "LOCK TABLES `integers` WRITE");
        assert_eq!(advance[5..7], ["COMMIT", "UNLOCK TABLES"]);

        let claim = tickets.claim(41, 41, 2);
        let claim = statements(&claim);
        assert_eq!(claim.len(), CLAIM_REPLIES);
        assert!(claim[FOUND].starts_with("SELECT CAST(@m"));

        let mark = tickets.mark();
        let mark = statements(&mark);
        assert_eq!(mark.len(), MARK_REPLIES);
        assert!(mark[COUNTER].starts_with("SELECT AUTO_INCREMENT"));
        assert_eq!(mark[COUNTER + 1], "SELECT MAX(id) FROM `integers`");
        for last in [advance.last(), claim.last(), mark.last()] {
            assert_eq!(last.copied(), Some(&*format!("SELECT {WRITABLE}")));
        }
    }

    #[test]
    fn an_interval_ends_where_its_length_says() {
        let text = Tickets::new("integers").advance(200, 2);
        // top − (top − 199 − v) = v + 199
        assert!(text.contains("CAST(9223372036854775608 AS UNSIGNED)-GREATEST"));
        // fails unless MAX(id) <= top − 200
        assert!(text.contains("CAST(9223372036854775607 AS UNSIGNED)-CAST(COALESCE"));
        let text = Tickets::new("integers").advance(1, 2);
        assert!(text.contains("CAST(9223372036854775807 AS UNSIGNED)-GREATEST"));
    }

    #[test]
    fn zero_is_never_written() {
        let text = Tickets::new("integers").claim(0, 0, 2);
        assert!(text.contains("WHERE 0 AND"), "{text}");
        let text = Tickets::new("integers").claim(i64::MAX, i64::MAX, 2);
        assert!(
            text.contains("@m<9223372036854775807 AND @c<=9223372036854775807"),
            "{text}"
        );
    }
}
