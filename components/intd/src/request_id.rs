//! Request ids, which connect an answer with the log.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::hash::{BuildHasher, RandomState};

/// The id of one request: the client's own, or a generated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// The maximum length of a client's id, in bytes.
const MAX_BYTES: usize = 128;

impl RequestId {
    /// The header that holds the id.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// A generated id: 16 hexadecimal digits that nobody can predict.
    pub fn random() -> Self {
        // The keys of the standard library's hash tables are random and differ each time.
        let text = format!("{:016x}", RandomState::new().hash_one(0));
        Self(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unnamed")))
    }

    /// The client's id: 1 to 128 characters of a token (RFC 9110, section 5.6.2), since it is logged
    /// verbatim. None if it is anything else, or if there are several.
    pub fn sent(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(Self::HEADER).iter();
        let (one, None) = (all.next()?, all.next()) else {
            return None;
        };
        let bytes = one.as_bytes();
        let fits = (1..=MAX_BYTES).contains(&bytes.len()) && bytes.iter().all(is_of_token);
        fits.then(|| Self(one.clone()))
    }

    /// The client's id, or else a generated one.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::sent(headers).unwrap_or_else(Self::random)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value.
    pub fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[&[u8]]) -> Option<String> {
        let values = values.iter().map(|value| {
            let value = HeaderValue::from_bytes(value).unwrap();
            (RequestId::HEADER, value)
        });
        RequestId::sent(&values.collect()).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn well_formed_ones_are_taken_over() {
        for good in [
            "1",
            "a-b_c.d",
            "6e0c46ce-9a9a-4f3c-8a4e-0d1f7a6f0b57",
            &"x".repeat(MAX_BYTES),
        ] {
            assert_eq!(sent(&[good.as_bytes()]).as_deref(), Some(good));
        }
        for bad in [
            "",
            "two words",
            "a\tb",
            "\"quoted\"",
            "{json}",
            "a=b,c",
            "\u{e9}",
            &"x".repeat(MAX_BYTES + 1),
        ] {
            assert_eq!(sent(&[bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!(sent(&[]), None);
        assert_eq!(sent(&[b"a", b"b"]), None);
    }

    #[test]
    fn fresh_ones_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| RequestId::random().as_str().to_owned())
            .collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 16));
        let of_none = RequestId::of(&HeaderMap::new());
        assert_eq!(of_none.as_str().len(), 16);
    }
}
