//! The token of a client.

use artisanal_core::Secret;
use std::fmt;
use subtle::ConstantTimeEq;

/// The token that a client must present as `Authorization: Bearer …`. Its `Debug` hides it.
#[derive(Clone)]
pub struct Token(Secret);

impl Token {
    /// None unless the text is 1 to 1024 printable ASCII characters without spaces: other text does not
    /// fit into the header.
    pub fn new(text: String) -> Option<Self> {
        ((1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| Self(Secret::new(text)))
    }

    /// Whether this is the token. The time this takes depends on the lengths alone.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.reveal().as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_match_themselves_alone() {
        let token = Token::new("s3cret".into()).unwrap();
        assert!(token.matches(b"s3cret"));
        for other in ["", "s3cre", "s3cret ", "s3creT", "x3cret"] {
            assert!(!token.matches(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn tokens_fit_into_a_header() {
        for bad in ["", "two words", "line\n", "é", &"x".repeat(1025)] {
            assert!(Token::new(bad.to_owned()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_printed() {
        assert_eq!(format!("{:?}", Token::new("s3cret".into())), "Some(***)");
    }
}
