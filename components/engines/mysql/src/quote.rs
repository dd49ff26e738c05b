//! Quotes names and values in statements.

use std::fmt::Write;

/// The name of a table or database.
pub(crate) fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// A value that is compared byte by byte. Hexadecimal, so that its meaning does not depend on the
/// server's settings.
pub(crate) fn bytes(text: &str) -> String {
    let mut quoted = String::with_capacity(3 + 2 * text.len());
    quoted.push_str("X'");
    for byte in text.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(quoted, "{byte:02X}");
    }
    quoted.push('\'');
    quoted
}

/// A value that is compared as text.
pub(crate) fn text(text: &str) -> String {
    format!("_utf8mb4 {}", bytes(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_quotation() {
        assert_eq!(name("integers"), "`integers`");
        assert_eq!(name("a`; DROP TABLE b; `"), "`a``; DROP TABLE b; ```");
        assert_eq!(bytes("a' é "), "X'612720C3A920'");
        assert_eq!(text("'"), "_utf8mb4 X'27'");
    }
}
