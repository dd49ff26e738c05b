//! Hashes of tokens.

use ring::digest::{SHA256, digest};
use std::fmt;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq;

/// The SHA-256 of a token. Nobody can guess a random token from it, so it needs no salt and no slow hash, as passwords
/// do.
///
/// To compare two takes the same time wherever they differ. In a hash table their place depends on a random key.
#[derive(Clone, Copy, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

/// What stands before the digits.
const PREFIX: &str = "sha256:";

impl Digest {
    pub(crate) fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = digest(&SHA256, token);
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// Parses `sha256:` and 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }
}

/// As in a file.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        // FIPS 180-4, example B.1.
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), text);
        assert!(Digest::parse(text) == Some(Digest::of(b"abc")));
        assert!(Digest::parse(&text.replace("ba78", "BA78")) == Some(Digest::of(b"abc")));
        for bad in [
            "",
            "abc",
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &text.replace("sha256", "sha512"),
            &text.replace("ba78", "xa78"),
            &text.replace("ba78", "+a78"),
            &text.replace("ba", "é"),
        ] {
            assert!(Digest::parse(bad).is_none(), "{bad}");
        }
    }
}
