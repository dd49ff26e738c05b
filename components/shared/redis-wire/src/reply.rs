//! Integers and text in replies.

use engine_guest::Quoter;
use redis::Value;

/// A description of an unexpected reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The integer in a reply to a command that returns one.
///
/// # Errors
/// For any other reply.
pub fn integer(reply: &Value) -> Result<i64, Unreadable> {
    match reply {
        Value::Int(number) => Ok(*number),
        other => text(other)
            .and_then(|text| number(text.as_bytes()))
            .ok_or_else(|| Unreadable(describe(other))),
    }
}

/// The mark in a reply to a command that returns the value of a key; None if there is none.
///
/// # Errors
/// If the value is not a number in the format of `INCRBY`.
pub fn mark(reply: &Value) -> Result<Option<i64>, Unreadable> {
    match reply {
        Value::Nil => Ok(None),
        other => integer(other).map(Some),
    }
}

/// Parses decimal text in the format of `INCRBY`: `0`, or an optional `-` and digits that do not begin
/// with 0, within s64. None for any other text.
pub fn number(digits: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(digits).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The text of a reply, if it is text.
pub fn text(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

/// A server's message, truncated and without control characters.
pub fn printable(words: &str) -> String {
    Quoter::default().quote(words)
}

fn describe(reply: &Value) -> String {
    match (text(reply), reply) {
        (Some(text), _) => format!("the text `{}`", printable(text)),
        (None, Value::Nil) => "nothing".into(),
        (None, Value::BulkString(bytes)) => format!("{} bytes that are not text", bytes.len()),
        _ => "a reply of another kind".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn marks_are_numbers_as_incrby_stores_them() {
        assert_eq!(mark(&Value::Nil), Ok(None));
        assert_eq!(mark(&bulk("0")), Ok(Some(0)));
        assert_eq!(mark(&bulk("-5")), Ok(Some(-5)));
        assert_eq!(mark(&bulk(&i64::MAX.to_string())), Ok(Some(i64::MAX)));
        assert_eq!(mark(&bulk(&i64::MIN.to_string())), Ok(Some(i64::MIN)));
        for bad in [
            "",
            "007",
            "+5",
            "-0",
            " 5",
            "5 ",
            "12abc",
            "1e3",
            "9223372036854775808",
            "5\0",
        ] {
            assert!(mark(&bulk(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(
            mark(&bulk("12abc")),
            Err(Unreadable("the text `12abc`".into()))
        );
        assert!(mark(&Value::BulkString(vec![0xff])).is_err());
        assert!(mark(&Value::Array(vec![])).is_err());
    }

    #[test]
    fn nothing_is_not_an_integer() {
        assert_eq!(integer(&Value::Int(-3)), Ok(-3));
        assert_eq!(integer(&Value::Nil), Err(Unreadable("nothing".into())));
    }

    #[test]
    fn words_of_servers_are_made_harmless() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(printable(&"é".repeat(201)).chars().count(), 201);
        assert_eq!(printable("short"), "short");
    }

    proptest! {
        #[test]
        fn every_integer_is_read_as_it_is_stored(wanted: i64) {
            prop_assert_eq!(number(wanted.to_string().as_bytes()), Some(wanted));
        }
    }
}
