//! The requests of the Redis protocol: arrays of bulk strings, and inline commands.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Nothing is copied: a request is a list of
//! positions in the buffer that it was read into.

use std::ops::Range;

/// The maximum number of arguments of a request, its name included.
const MAX_ARGUMENTS: usize = 1024;

/// The maximum length of one argument, in bytes. Keys are shorter; `ECHO` has no need of more.
const MAX_ARGUMENT: usize = 16 << 10;

/// The maximum length of a line: an inline command, or the head of a bulk string.
const MAX_LINE: usize = 16 << 10;

/// The maximum length of a whole request, in bytes, and so of a connection's buffer.
pub(super) const MAX_REQUEST: usize = 64 << 10;

/// Why the bytes of a client cannot be a request. The connection cannot be used any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub(super) struct Malformed(&'static str);

/// The arguments of a request, as positions in a buffer.
#[derive(Debug, Default)]
pub(super) struct Request {
    arguments: Vec<Range<usize>>,
}

impl Request {
    /// Reads the next request from the beginning of a buffer. Returns its length in bytes, or None if it is
    /// not complete. An empty request, which has no arguments, is skipped by servers.
    ///
    /// # Errors
    /// [`Malformed`] as soon as no further bytes can make it a request.
    pub(super) fn read(&mut self, buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        self.arguments.clear();
        let length = match buffer.first() {
            None => return Ok(None),
            Some(b'*') => self.read_array(buffer)?,
            Some(_) => self.read_inline(buffer)?,
        };
        match length {
            None if buffer.len() >= MAX_REQUEST => Err(Malformed("too big request")),
            length => Ok(length),
        }
    }

    /// The arguments, of which the first is the command's name.
    pub(super) fn arguments<'a>(
        &'a self,
        buffer: &'a [u8],
    ) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.arguments
            .iter()
            .map(move |range| buffer.get(range.clone()).unwrap_or_default())
    }

    fn read_array(&mut self, buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some((count, mut at)) = head(buffer, 0, "invalid multibulk length")? else {
            return Ok(None);
        };
        // As in Redis, arrays without elements are ignored.
        let count = usize::try_from(count).unwrap_or(0);
        if count > MAX_ARGUMENTS {
            return Err(Malformed("invalid multibulk length"));
        }
        for _ in 0..count {
            match buffer.get(at) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(_) => return Err(Malformed("expected '$'")),
            }
            let Some((length, start)) = head(buffer, at, "invalid bulk length")? else {
                return Ok(None);
            };
            let length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= MAX_ARGUMENT)
                .ok_or(Malformed("invalid bulk length"))?;
            let end = start + length;
            match buffer.get(end..end + 2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return Err(Malformed("a bulk string is longer than its length")),
            }
            self.arguments.push(start..end);
            at = end + 2;
        }
        Ok(Some(at))
    }

    /// An inline command: words in a line, as somebody types them. Quotes have no meaning.
    fn read_inline(&mut self, buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(end) = buffer.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
            return match buffer.len() {
                MAX_LINE.. => Err(Malformed("too big inline request")),
                _ => Ok(None),
            };
        };
        let mut start = 0;
        for at in 0..=end {
            let space = buffer.get(at).is_none_or(u8::is_ascii_whitespace);
            if space {
                if start < at {
                    self.arguments.push(start..at);
                }
                start = at + 1;
            }
        }
        if self.arguments.len() > MAX_ARGUMENTS {
            return Err(Malformed("too big inline request"));
        }
        Ok(Some(end + 1))
    }
}

/// Reads a type byte, a decimal number and the end of the line at a position. Returns the number and the
/// position after the line, or None if the line is not complete.
fn head(
    buffer: &[u8],
    at: usize,
    malformed: &'static str,
) -> Result<Option<(i64, usize)>, Malformed> {
    /// The longest number with its sign, and the end of its line.
    const LONGEST: usize = 22;
    let line = buffer.get(at + 1..).unwrap_or_default();
    let Some(length) = line.iter().take(LONGEST).position(|byte| *byte == b'\r') else {
        return match line.len() {
            LONGEST.. => Err(Malformed(malformed)),
            _ => Ok(None),
        };
    };
    match line.get(length + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return Err(Malformed(malformed)),
    }
    let digits = line.get(..length).unwrap_or_default();
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(Some((
        number.ok_or(Malformed(malformed))?,
        at + 1 + length + 2,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The arguments of a request, and its length.
    type Read = (Vec<Vec<u8>>, usize);

    fn read(bytes: &[u8]) -> Result<Option<Read>, Malformed> {
        let mut request = Request::default();
        let length = request.read(bytes)?;
        let arguments = request.arguments(bytes).map(<[u8]>::to_vec).collect();
        Ok(length.map(|length| (arguments, length)))
    }

    fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.to_vec()).collect()
    }

    fn array(words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).bytes());
            bytes.extend(word);
            bytes.extend(b"\r\n");
        }
        bytes
    }

    #[test]
    fn requests_follow_each_other() {
        let two = b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(read(two), Ok(Some((words(&[b"INCR", b"a"]), 21))));
        assert_eq!(read(&two[21..]), Ok(Some((words(&[b"PING"]), 14))));
        assert_eq!(read(b"PING\r\nX"), Ok(Some((words(&[b"PING"]), 6))));
        assert_eq!(
            read(b" incr  a \n"),
            Ok(Some((words(&[b"incr", b"a"]), 10)))
        );
        for empty in [&b"*0\r\n"[..], b"*-1\r\n", b"\r\n"] {
            assert_eq!(read(empty), Ok(Some((vec![], empty.len()))));
        }
        assert_eq!(
            read(b"*1\r\n$2\r\n\r\n\r\n"),
            Ok(Some((words(&[b"\r\n"]), 12)))
        );
    }

    #[test]
    fn what_cannot_be_a_request_is_refused_at_once() {
        let long = format!("*1\r\n${}\r\n", MAX_ARGUMENT + 1);
        let line = vec![b'x'; MAX_LINE];
        let mut huge = b"*1000\r\n".to_vec();
        while huge.len() < MAX_REQUEST {
            huge.extend(format!("$1000\r\n{}\r\n", "x".repeat(1000)).bytes());
        }
        for (bytes, why) in [
            (&b"*x\r\n"[..], "invalid multibulk length"),
            (b"*1025\r\n", "invalid multibulk length"),
            (b"*99999999999999999999999", "invalid multibulk length"),
            (b"*1\rx", "invalid multibulk length"),
            (b"*1\r\n*1\r\n", "expected '$'"),
            (b"*1\r\nPING\r\n", "expected '$'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (long.as_bytes(), "invalid bulk length"),
            (b"*1\r\n$1\r\nab\r\n", "longer than its length"),
            (&line, "too big inline request"),
            (&huge, "too big request"),
        ] {
            let error = read(bytes).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    proptest! {
        /// No prefix of a request is a request, and the whole one is read as it was written.
        #[test]
        fn requests_are_read_when_they_are_complete(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
            rest in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut bytes = array(&words);
            let length = bytes.len();
            for end in 0..length {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
            bytes.extend(rest);
            prop_assert_eq!(read(&bytes), Ok(Some((words, length))));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'-'), any::<u8>(),
        ], 0..200)) {
            if let Ok(Some((_, length))) = read(&bytes) {
                prop_assert!((1..=bytes.len()).contains(&length));
            }
        }
    }
}
