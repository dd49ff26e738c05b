//! Text that must not be printed.

use std::fmt;

/// A password, a token, or a DSN that may contain one. Its `Debug` hides it, and it has no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, only for sending it where it belongs, or for comparing it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_printed() {
        let secret = Secret::new("redis://:s3cret@h".into());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.reveal(), "redis://:s3cret@h");
    }
}
