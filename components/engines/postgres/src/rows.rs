//! The statements for the table, which has one row per key.

use crate::quote;

/// The table, without its schema.
pub(crate) const TABLE: &str = "artisanal_integers";

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The table with its schema, quoted.
    table: String,
    /// The key, quoted.
    key: String,
    /// How long a statement may wait for a lock, in milliseconds.
    lock_timeout: u128,
}

impl Row {
    pub(crate) fn new(schema: &str, key: &str, lock_timeout: u128) -> Self {
        Self {
            table: format!("{}.{TABLE}", quote::name(schema)),
            key: quote::text(key),
            lock_timeout,
        }
    }

    /// Names are compared byte by byte. An index in the collation "C" also does not depend on the
    /// system's locales, whose updates damage other indexes on text: a row that such an index no longer
    /// finds would be inserted a second time.
    pub(crate) fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name text COLLATE \"C\" PRIMARY KEY, mark bigint NOT NULL)",
            self.table
        )
    }

    /// Adds to the mark of an existing row, unless the mark is below `floor`, and returns the new mark.
    /// Never inserts, so a deleted row is not created again.
    pub(crate) fn advance(&self, by: i64, floor: Option<i64>) -> String {
        self.change(&format!("mark+{by}"), floor, "")
    }

    /// Sets the mark of an existing row to `last` if it is below `first`, and returns it if it was.
    /// Otherwise as [`Row::advance`].
    pub(crate) fn claim(&self, first: i64, last: i64, floor: Option<i64>) -> String {
        self.change(&last.to_string(), floor, &format!(" AND mark<{first}"))
    }

    fn change(&self, to: &str, floor: Option<i64>, and: &str) -> String {
        let floor = floor.map_or_else(String::new, |floor| format!(" AND mark>={floor}"));
        self.with_lock_timeout(&format!(
            "UPDATE {} SET mark={to} WHERE name={}{floor}{and} RETURNING mark",
            self.table, self.key
        ))
    }

    /// Creates the row with the mark `by`, or adds `by` to the mark of an existing one, and returns the mark.
    pub(crate) fn begin(&self, by: i64) -> String {
        self.insert(by, &format!("mark=own.mark+{by}"))
    }

    /// As [`Row::claim`], and creates the row if it does not exist.
    pub(crate) fn begin_claim(&self, first: i64, last: i64) -> String {
        self.insert(last, &format!("mark={last} WHERE own.mark<{first}"))
    }

    fn insert(&self, mark: i64, otherwise: &str) -> String {
        self.with_lock_timeout(&format!(
            "INSERT INTO {} AS own (name,mark) VALUES ({},{mark}) \
             ON CONFLICT (name) DO UPDATE SET {otherwise} RETURNING mark",
            self.table, self.key
        ))
    }

    /// Both statements are one transaction, since they are sent as one message. Without the limit, the
    /// server would keep a process for each client that stopped waiting for a locked row.
    fn with_lock_timeout(&self, statement: &str) -> String {
        format!("SET LOCAL lock_timeout={};{statement}", self.lock_timeout)
    }

    /// Reads whether the server is read-only, and the mark, which is null if there is no row.
    pub(crate) fn mark(&self) -> String {
        format!(
            "SELECT current_setting('transaction_read_only'),(SELECT mark FROM {} WHERE name={})",
            self.table, self.key
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(
            Row::new("my \"schema\"", "a'; ", 1000).begin(2),
            "SET LOCAL lock_timeout=1000;INSERT INTO \"my \"\"schema\"\"\".artisanal_integers AS own \
             (name,mark) VALUES (E'a''; ',2) ON CONFLICT (name) DO UPDATE SET mark=own.mark+2 \
             RETURNING mark"
        );
    }

    #[test]
    fn a_row_that_is_known_is_never_inserted() {
        let row = Row::new("public", "k", 1);
        for text in [row.advance(4, Some(10)), row.claim(7, 8, Some(10))] {
            assert!(!text.contains("INSERT"), "{text}");
            assert!(text.contains("WHERE name=E'k' AND mark>=10 "), "{text}");
        }
        assert!(
            row.advance(4, None)
                .contains("mark=mark+4 WHERE name=E'k' RETURNING")
        );
        assert!(
            row.claim(4, 9, None)
                .contains("SET mark=9 WHERE name=E'k' AND mark<4 RETURNING")
        );
        assert!(
            row.begin_claim(4, 9)
                .contains("SET mark=9 WHERE own.mark<4 RETURNING")
        );
    }
}
