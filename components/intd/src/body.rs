//! The body of `PUT /v1/sequences/{key}`, and the absence of others.

use crate::problem::Problem;
use http::{HeaderMap, StatusCode, header};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// The maximum size of a request body, in bytes.
pub(crate) const LIMIT: usize = 4096;

/// `{"last": N}`, with N as a number or as a string.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLast {
    last: Integer,
}

/// Parses the value that a sequence is to be raised to.
pub(crate) fn last(headers: &HeaderMap, body: &[u8]) -> Result<i64, Problem> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE)
        && !is_json(kind.as_bytes())
    {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "the body must be JSON; send it with `Content-Type: application/json`",
        ));
    }
    if body.len() > LIMIT {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body has more than {LIMIT} bytes; it must be like {{\"last\": 42}}"),
        ));
    }
    let SetLast {
        last: Integer(last),
    } = serde_json::from_slice(body).map_err(|error| {
        Problem::invalid(format!(
            "the body must be like {{\"last\": 42}}: {}",
            error.to_string().chars().take(200).collect::<String>()
        ))
    })?;
    if last < 0 {
        return Err(Problem::invalid(format!(
            "`last` is {last}; it must be 0 or more"
        )));
    }
    Ok(last)
}

/// Refuses a request to mint that has a body: its client may expect that the body says how many integers it gets.
///
/// A body without a length passes, since it may be empty: some clients send empty ones in chunks.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_LENGTH) {
        Some(length) if length != "0" => Err(Problem::invalid(
            "this path takes no body, and nothing was minted; parameters belong in the query, such as `?count=5`",
        )),
        _ => Ok(()),
    }
}

/// Whether this is `application/json` or a type with the suffix `+json` (RFC 6839), with any parameters.
fn is_json(kind: &[u8]) -> bool {
    let essence = kind.split(|b| *b == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json"
        || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

/// An integer that was not parsed through a float.
struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Exact).map(Self)
    }
}

struct Exact;

impl Visitor<'_> for Exact {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a whole number up to 9223372036854775807, as a number or as a string of digits",
        )
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
        i64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<i64, E> {
        // `parse` also accepts a plus sign.
        Some(value)
            .filter(|text| !text.starts_with('+'))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(body: &str) -> Option<i64> {
        last(&HeaderMap::new(), body.as_bytes()).ok()
    }

    #[test]
    fn integers_are_exact() {
        for value in [0, 42, (1 << 53) + 1, i64::MAX - 1, i64::MAX] {
            assert_eq!(read(&format!("{{\"last\": {value}}}")), Some(value));
            assert_eq!(read(&format!("{{\"last\": \"{value}\"}}")), Some(value));
        }
    }

    #[test]
    fn nothing_else_is_accepted() {
        for bad in [
            "",
            "42",
            "null",
            "[]",
            "{}",
            r#"{"last": null}"#,
            r#"{"last": true}"#,
            r#"{"last": 1.0}"#,
            r#"{"last": 1e3}"#,
            r#"{"last": -1}"#,
            r#"{"last": -0}"#,
            r#"{"last": "-1"}"#,
            r#"{"last": "+1"}"#,
            r#"{"last": " 1"}"#,
            r#"{"last": ""}"#,
            r#"{"last": "1.0"}"#,
            r#"{"last": 9223372036854775808}"#,
            r#"{"last": "9223372036854775808"}"#,
            r#"{"last": 99999999999999999999999}"#,
            r#"{"last": [1]}"#,
            r#"{"last": 1, "last": 2}"#,
            r#"{"last": 1, "force": true}"#,
            r#"{"Last": 1}"#,
            r#"{"last": 1} x"#,
            "last=1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let deep = "[".repeat(LIMIT);
        assert_eq!(read(&deep), None);
    }

    #[test]
    fn the_content_type_may_be_missing_but_not_wrong() {
        let with = |kind: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            last(&headers, br#"{"last": 1}"#).is_ok()
        };
        assert!(with("application/json"));
        assert!(with("Application/JSON; charset=utf-8"));
        assert!(with("application/merge-patch+json"));
        assert!(!with("text/plain"));
        assert!(!with("application/x-www-form-urlencoded"));
        assert!(!with("application/jsonx"));
        assert!(!with(""));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = last(&HeaderMap::new(), &body);
        }
    }
}
