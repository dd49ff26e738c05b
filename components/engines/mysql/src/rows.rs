//! The statements for the engine's own table, which has one row per key.

use crate::quote;
use crate::server::WRITABLE;

/// The engine's own table.
pub(crate) const TABLE: &str = "artisanal_integers";

/// The index of the reply to [`Rows::mark`] that has the mark.
pub(crate) const MARK: usize = 0;

/// The number of replies to [`Rows::mark`]. The last one tells whether the server is writable.
pub(crate) const MARK_REPLIES: usize = 2;

/// The index of the reply to [`Rows::advance`] and [`Rows::claim`] that has the new mark.
pub(crate) const CHANGED: usize = 1;

/// The number of replies to [`Rows::advance`] and [`Rows::claim`]. The last one tells whether the
/// server is writable.
pub(crate) const CHANGE_REPLIES: usize = 3;

/// The number of replies to [`Rows::begin`]. The first one has the new mark, the last one tells
/// whether the server is writable.
pub(crate) const BEGIN_REPLIES: usize = 2;

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

    /// Keys are bytes, so that case, accents and trailing spaces are significant.
    pub(crate) fn create() -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name VARBINARY(128) NOT NULL, mark BIGINT NOT NULL, \
             PRIMARY KEY (name)) ENGINE=InnoDB",
            quote::name(TABLE)
        )
    }

    /// Adds to the mark of an existing row, unless the mark is below `floor` or the server is read-only
    /// (which does not stop every user). The insert id of the reply is the new mark; if nothing was
    /// changed, it is 0 and so is the number of rows.
    ///
    /// Never inserts, so a deleted row is not created again. The read-only condition uses a variable,
    /// whose value is written to a statement-based binary log. In the statement itself, the condition
    /// would be false on replicas, which are read-only, so they would not apply the change.
    pub(crate) fn advance(&self, by: i64, floor: Option<i64>) -> String {
        self.change(&format!("mark+{by}"), floor, "")
    }

    /// Sets the mark of an existing row to `last` if it is below `first`. Otherwise as [`Rows::advance`].
    pub(crate) fn claim(&self, first: i64, last: i64, floor: Option<i64>) -> String {
        self.change(&last.to_string(), floor, &format!(" AND mark<{first}"))
    }

    /// As [`Rows::claim`], after creating the row with the mark 0 if it does not exist, which takes no
    /// integers.
    pub(crate) fn begin_claim(&self, first: i64, last: i64) -> String {
        format!(
            "INSERT INTO {} (name,mark) VALUES ({},0) ON DUPLICATE KEY UPDATE mark=mark;{}",
            quote::name(TABLE),
            self.key,
            self.claim(first, last, None)
        )
    }

    /// Insert ids are unsigned: the cast preserves marks below zero, set by hand.
    fn change(&self, to: &str, floor: Option<i64>, and: &str) -> String {
        let floor = floor.map_or_else(String::new, |floor| format!(" AND mark>={floor}"));
        format!(
            "SET @w={WRITABLE};UPDATE {} SET mark=CAST(LAST_INSERT_ID({to}) AS SIGNED) \
             WHERE name={}{floor}{and} AND @w;SELECT {WRITABLE}",
            quote::name(TABLE),
            self.key
        )
    }

    /// Creates the row with the mark `by`. If another client has just created it, adds `by` to its mark.
    /// The insert id of the reply is the resulting mark.
    pub(crate) fn begin(&self, by: i64) -> String {
        format!(
            "INSERT INTO {} (name,mark) VALUES ({},LAST_INSERT_ID({by})) \
             ON DUPLICATE KEY UPDATE mark=CAST(LAST_INSERT_ID(mark+{by}) AS SIGNED);SELECT {WRITABLE}",
            quote::name(TABLE),
            self.key
        )
    }

    /// Reads the mark. Returns no row if there is none.
    pub(crate) fn mark(&self) -> String {
        format!(
            "SELECT mark FROM {} WHERE name={};SELECT {WRITABLE}",
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
        let text = Rows::new("a'; ").begin(2);
        assert!(
            text.starts_with(
                "INSERT INTO `artisanal_integers` (name,mark) VALUES \
                 (X'61273B20',LAST_INSERT_ID(2)) ON DUPLICATE KEY UPDATE \
                 mark=CAST(LAST_INSERT_ID(mark+2) AS SIGNED);"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_row_that_is_known_is_never_inserted() {
        let rows = Rows::new("k");
        for text in [rows.advance(4, Some(10)), rows.claim(7, 8, Some(10))] {
            assert!(!text.contains("INSERT INTO"), "{text}");
            assert!(
                text.contains("WHERE name=X'6B' AND mark>=10 AND "),
                "{text}"
            );
        }
        assert!(rows.advance(4, None).contains("WHERE name=X'6B' AND @w;"));
    }

    #[test]
    fn replies_are_where_they_are_said_to_be() {
        let rows = Rows::new("k");
        let statements =
            |text: &str| -> Vec<String> { text.split(';').map(str::to_owned).collect() };
        let last = format!("SELECT {WRITABLE}");

        let mark = statements(&rows.mark());
        assert_eq!(mark.len(), MARK_REPLIES);
        assert!(mark[MARK].starts_with("SELECT mark"));
        assert_eq!(mark.last(), Some(&last));

        let change = statements(&rows.advance(2, None));
        assert_eq!(change.len(), CHANGE_REPLIES);
        assert!(change[CHANGED].starts_with("UPDATE"));
        assert_eq!(change.last(), Some(&last));

        let begin = statements(&rows.begin(2));
        assert_eq!(begin.len(), BEGIN_REPLIES);
        assert_eq!(begin.last(), Some(&last));

        let claim = statements(&rows.begin_claim(2, 5));
        assert_eq!(claim.len(), 1 + CHANGE_REPLIES);
        assert!(claim[1 + CHANGED].contains("LAST_INSERT_ID(5)"));
        assert!(claim[1 + CHANGED].contains("AND mark<2 AND @w"));
        assert_eq!(claim.last(), Some(&last));
    }
}
