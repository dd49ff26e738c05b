//! What the server answers.

use mysql_async::{Row, Value};

/// One reply: to one statement of a text.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// What `LAST_INSERT_ID` was set to, or the id that a row was given; 0 when neither.
    pub(crate) insert_id: u64,
    /// How many rows an `UPDATE` found, whether or not it changed them.
    pub(crate) found: u64,
    pub(crate) rows: Vec<Row>,
}

/// A value as the text that the server sent; empty for NULL and what is no text.
pub(crate) fn text(row: &Row, column: usize) -> &str {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "",
    }
}
