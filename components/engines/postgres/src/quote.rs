//! Quotes names and values in statements.

/// The name of a schema, table or role.
pub(crate) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text. The form with `E` means the same whatever `standard_conforming_strings` is.
pub(crate) fn text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_quotation() {
        assert_eq!(name("public"), "\"public\"");
        assert_eq!(
            name("a\"; DROP TABLE b; \""),
            "\"a\"\"; DROP TABLE b; \"\"\""
        );
        assert_eq!(text("a' é "), "E'a'' é '");
        assert_eq!(text("\\'; DROP TABLE b; --"), "E'\\\\''; DROP TABLE b; --'");
    }
}
