//! The statements for the engine's own table, a row for each key.

use crate::quote;

/// The engine's own table.
pub(crate) const TABLE: &str = "artisanal_integers";

/// Where in the reply to [`Rows::mark`] the row with the mark is.
pub(crate) const MARK: usize = 0;

/// Where in the reply to [`Rows::mark`] the row is that tells whether the server is read-only.
pub(crate) const READ_ONLY: usize = 1;

/// How many replies [`Rows::mark`] brings.
pub(crate) const MARK_REPLIES: usize = 2;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The key, quoted.
    key: String,
}

impl Rows {
    pub(crate) fn new(key: &str) -> Self {
        Self {
            key: quote::bytes(key),
        }
    }

    /// Keys are bytes, so that case, accents and trailing spaces count.
    pub(crate) fn create() -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name VARBINARY(128) NOT NULL, mark BIGINT NOT NULL, \
             PRIMARY KEY (name)) ENGINE=InnoDB",
            quote::name(TABLE)
        )
    }

    /// Adds to the mark. The reply's insert id is the new mark.
    ///
    /// Insert ids are unsigned: the cast lets marks below zero, set by hand, be what they are.
    pub(crate) fn advance(&self, by: i64) -> String {
        format!(
            "INSERT INTO {} (name,mark) VALUES ({},LAST_INSERT_ID({by})) \
             ON DUPLICATE KEY UPDATE mark=CAST(LAST_INSERT_ID(mark+{by}) AS SIGNED)",
            quote::name(TABLE),
            self.key
        )
    }

    /// Raises the mark, unless it is greater. The reply's insert id is the mark then.
    pub(crate) fn raise(&self, to: i64) -> String {
        format!(
            "INSERT INTO {} (name,mark) VALUES ({},LAST_INSERT_ID({to})) \
             ON DUPLICATE KEY UPDATE mark=CAST(LAST_INSERT_ID(GREATEST(mark,{to})) AS SIGNED)",
            quote::name(TABLE),
            self.key
        )
    }

    /// Reads the mark: no row when there is none.
    pub(crate) fn mark(&self) -> String {
        format!(
            "SELECT mark FROM {} WHERE name={};SELECT @@global.read_only",
            quote::name(TABLE),
            self.key
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes() {
        let text = Rows::new("a'; ").advance(2);
        assert_eq!(
            text,
            "INSERT INTO `artisanal_integers` (name,mark) VALUES (X'61273B20',LAST_INSERT_ID(2)) \
             ON DUPLICATE KEY UPDATE mark=CAST(LAST_INSERT_ID(mark+2) AS SIGNED)"
        );
    }

    #[test]
    fn replies_are_where_they_are_said_to_be() {
        let text = Rows::new("k").mark();
        let statements: Vec<_> = text.split(';').collect();
        assert_eq!(statements.len(), MARK_REPLIES);
        assert!(statements[MARK].starts_with("SELECT mark"));
        assert_eq!(statements[READ_ONLY], "SELECT @@global.read_only");
    }
}
