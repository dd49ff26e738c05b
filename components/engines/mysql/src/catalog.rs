//! Table descriptions from `information_schema`.

use crate::layout::{Column, Table};
use crate::quote;
use crate::reply::{Reply, text};

/// The two statements that describe a table: one for the table, one for its columns.
pub(crate) fn describe(table: &str) -> String {
    // Table names have no characters above U+FFFF, and MariaDB refuses to compare them with such
    // characters. No table has the empty name.
    let possible = table.chars().all(|c| c <= '\u{ffff}');
    let table = quote::text(if possible { table } else { "" });
    let there = format!("WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={table}");
    format!(
        "SELECT TABLE_NAME,TABLE_TYPE,ENGINE FROM information_schema.TABLES {there};\
         SELECT TABLE_NAME,COLUMN_NAME,COLUMN_TYPE,COLUMN_KEY,EXTRA \
         FROM information_schema.COLUMNS {there}"
    )
}

/// The table that the replies describe. Servers may ignore case or trailing spaces when they compare
/// names, so the rows may include other tables.
pub(crate) fn table(name: &str, itself: Option<Reply>, columns: Option<Reply>) -> Option<Table> {
    let (itself, columns) = (itself?, columns?);
    let row = itself.rows.iter().find(|row| text(row, 0) == name)?;
    Some(Table {
        kind: text(row, 1).to_owned(),
        engine: text(row, 2).to_owned(),
        columns: columns
            .rows
            .iter()
            .filter(|row| text(row, 0) == name)
            .map(|row| Column {
                name: text(row, 1).to_owned(),
                form: text(row, 2).to_owned(),
                index: text(row, 3).to_owned(),
                extra: text(row, 4).to_owned(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_table_has_are_not_compared() {
        assert!(describe("é").contains("TABLE_NAME=_utf8mb4 X'C3A9'"));
        assert!(describe("🔢").contains("TABLE_NAME=_utf8mb4 X''"));
    }

    #[test]
    fn nothing_described_is_no_table() {
        assert_eq!(
            table("integers", Some(Reply::default()), Some(Reply::default())),
            None
        );
        assert_eq!(table("integers", None, None), None);
    }
}
