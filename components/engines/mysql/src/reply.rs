//! Replies of the server.

use mysql_async::{Row, Value};

/// The reply to one statement.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The value set by `LAST_INSERT_ID`, or the generated id of a row; 0 if neither.
    pub(crate) insert_id: u64,
    /// How many rows an `UPDATE` found, whether or not it changed them.
    pub(crate) found: u64,
    pub(crate) rows: Vec<Row>,
}

/// A value as the text that the server sent; empty for NULL and for values that are not text.
pub(crate) fn text(row: &Row, column: usize) -> &str {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "",
    }
}
