//! Parsing of responses: the head, and the integers in the body.

use super::Expect;
use crate::integers::{Span, Taken};

/// A complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The length of the head, in bytes.
    pub(super) head: usize,
    /// The length of the body, in bytes.
    pub(super) body: usize,
    /// Whether the server closes the connection after it.
    pub(super) close: bool,
}

/// Parses the head of a response; None while the response is incomplete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Answer>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("the response is not HTTP"),
    };
    let mut body = None;
    let mut close = false;
    for header in response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            body = number(header.value);
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let body = body
        .and_then(|length| usize::try_from(length).ok())
        .ok_or("the response has no Content-Length")?;
    if bytes.len() - head < body {
        return Ok(None);
    }
    Ok(Some(Answer {
        status: response.code.unwrap_or(0),
        head,
        body,
        close,
    }))
}

/// Parses and records the integers of a body. None where a constant is expected.
pub(super) fn integers(
    body: &[u8],
    expect: Expect,
    key: &str,
    taken: &mut Taken,
) -> Result<Option<Span>, String> {
    let shown = || String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    let span = match expect {
        Expect::Constant(bytes) if body == bytes => return Ok(None),
        Expect::Constant(_) => return Err(format!("not the constant: {:?}", shown())),
        Expect::Lines(count) => lines(body)
            .filter(|span| span.count == count)
            .ok_or_else(|| format!("not {count} integers with equal steps: {:?}", shown()))?,
        Expect::Spans(count) => object(body, key)
            .filter(|span| span.count == count)
            .ok_or_else(|| format!("not the next {count} integers of {key:?}: {:?}", shown()))?,
    };
    taken.add(span);
    Ok(Some(span))
}

/// Parses one integer without a newline, or several with equal steps, each followed by a newline.
fn lines(body: &[u8]) -> Option<Span> {
    let Some(body) = body.strip_suffix(b"\n") else {
        let first = number(body)?;
        return Some(Span {
            first,
            last: first,
            step: 0,
            count: 1,
        });
    };
    let mut lines = body.split(|byte| *byte == b'\n');
    let first = number(lines.next()?)?;
    let mut last = number(lines.next()?)?;
    let step = last.checked_sub(first)?;
    let mut count = 2;
    for line in lines {
        let value = number(line)?;
        if value.checked_sub(last)? != step {
            return None;
        }
        last = value;
        count += 1;
    }
    Some(Span {
        first,
        last,
        step,
        count,
    })
}

/// Parses `{"key":…,"first":…,"step":…,"count":…}` without spaces, as the server writes it.
fn object(body: &[u8], key: &str) -> Option<Span> {
    let rest = body.strip_prefix(b"{\"key\":\"")?;
    let rest = rest.strip_prefix(key.as_bytes())?;
    let (first, rest) = field(rest.strip_prefix(b"\",\"first\":")?)?;
    let (step, rest) = field(rest.strip_prefix(b"\"step\":")?)?;
    let (count, rest) = field(rest.strip_prefix(b"\"count\":")?)?;
    if !rest.is_empty() {
        return None;
    }
    let count = u32::try_from(count).ok()?;
    Some(Span {
        first,
        last: first.checked_add(step.checked_mul(i64::from(count.checked_sub(1)?))?)?,
        step,
        count,
    })
}

/// Parses a number and the comma or brace after it.
fn field(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(end);
    Some((number(digits)?, rest.get(1..)?))
}

/// Parses a decimal number of 0 or more without a sign.
fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit in 64 bits.
        value = value * 10 + u64::from(digit);
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: i64, last: i64, step: i64, count: u32) -> Option<Span> {
        Some(Span {
            first,
            last,
            step,
            count,
        })
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(number(b"0"), Some(0));
        for wrong in [
            "9223372036854775808",
            "",
            "-1",
            "+1",
            "1 ",
            "1.0",
            "99999999999999999999",
        ] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn lines_have_equal_steps() {
        assert_eq!(lines(b"7"), span(7, 7, 0, 1));
        assert_eq!(lines(b"7\n9\n11\n"), span(7, 11, 2, 3));
        for wrong in [
            "",
            "7\n",
            "7\n9",
            "7\n9\n12\n",
            "7\n9\nx\n",
            "\n7",
            "7\n9\n\n",
        ] {
            assert_eq!(lines(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn objects_are_the_spans_of_their_keys() {
        let body = br#"{"key":"k1","first":3,"step":2,"count":3}"#;
        assert_eq!(object(body, "k1"), span(3, 7, 2, 3));
        assert_eq!(object(body, "k"), None);
        assert_eq!(object(&body[..body.len() - 1], "k1"), None);
        assert_eq!(
            object(br#"{"key":"k1","first":3,"step":2,"count":0}"#, "k1"),
            None
        );
    }

    #[test]
    fn answers_are_taken_when_they_are_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n42";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
        }
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.body, answer.close), (200, 2, true));
        assert_eq!(&whole[answer.head..], b"42");
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"hello there\r\n\r\n").is_err());
    }
}
