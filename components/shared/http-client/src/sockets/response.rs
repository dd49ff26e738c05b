//! Responses of HTTP/1.1 (RFC 9112, sections 4 to 6).

use crate::request::retry_after;
use crate::{Answer, Failure};
use httparse::{EMPTY_HEADER, Status, parse_chunk_size};
use std::time::Duration;

/// The maximum number of headers.
const HEADERS: usize = 64;

/// The maximum size of what is no body, in bytes: the status, headers and sizes of chunks.
const FRAME: usize = 16 * 1024;

/// A whole response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) answer: Answer,
    /// Whether the connection can be used for another request.
    pub(super) keeps: bool,
}

/// Reads one response, however it arrives in parts.
pub(super) struct Parser {
    /// The maximum size of the body, in bytes.
    most: usize,
    head: Option<Head>,
    /// How many bytes have been read: all before the rest of the body.
    place: usize,
    /// The chunks of the body so far.
    chunks: Vec<u8>,
}

/// What is in front of the body.
#[derive(Clone, Copy)]
struct Head {
    status: u16,
    framing: Framing,
    keeps: bool,
    retry_after: Option<Duration>,
}

/// How the end of the body is found.
#[derive(Clone, Copy)]
enum Framing {
    /// After this many bytes.
    Length(usize),
    /// After a chunk without content.
    Chunked,
    /// Where the connection ends.
    Close,
}

impl Parser {
    /// For a response whose body has up to `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            head: None,
            place: 0,
            chunks: Vec::new(),
        }
    }

    /// Reads on; `bytes` is everything that has arrived, and `ended` says that nothing will follow. None if the response
    /// is not whole yet.
    ///
    /// # Errors
    /// [`Failure::Protocol`] if this is no HTTP, [`Failure::TooLong`] if it is longer than it may be.
    pub(super) fn read(&mut self, bytes: &[u8], ended: bool) -> Result<Option<Whole>, Failure> {
        let Some(head) = self.head(bytes)? else {
            return self.incomplete(bytes);
        };
        let rest = bytes.get(self.place..).unwrap_or_default();
        let body = match head.framing {
            Framing::Length(length) if length > self.most => {
                return Err(Failure::TooLong(self.most));
            }
            Framing::Length(length) => rest.get(..length).map(<[u8]>::to_vec).inspect(|body| {
                self.place += body.len();
            }),
            Framing::Chunked => self.chunks(bytes)?,
            Framing::Close if rest.len() > self.most => return Err(Failure::TooLong(self.most)),
            Framing::Close => ended.then(|| rest.to_vec()),
        };
        let Some(body) = body else {
            return self.incomplete(bytes);
        };
        Ok(Some(Whole {
            answer: Answer {
                status: head.status,
                body,
                retry_after: head.retry_after,
            },
            // What follows the answer to the only request answers none.
            keeps: head.keeps && !ended && self.place == bytes.len(),
        }))
    }

    fn incomplete(&self, bytes: &[u8]) -> Result<Option<Whole>, Failure> {
        if bytes.len() > self.most.saturating_add(FRAME) {
            return Err(Failure::TooLong(self.most));
        }
        Ok(None)
    }

    /// The head of the response, which may follow those of interim ones.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<Head>, Failure> {
        while self.head.is_none() {
            let rest = bytes.get(self.place..).unwrap_or_default();
            let Some((head, length)) = Head::parse(rest)? else {
                if rest.len() > FRAME {
                    return Err(malformed("its headers are too long"));
                }
                return Ok(None);
            };
            self.place += length;
            if head.status >= 200 {
                self.head = Some(head);
            }
        }
        Ok(self.head)
    }

    /// The body if all of its chunks are there.
    fn chunks(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let rest = bytes.get(self.place..).unwrap_or_default();
            let size = parse_chunk_size(rest).map_err(|_| malformed("a chunk has no size"))?;
            let Status::Complete((begin, size)) = size else {
                return Ok(None);
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > self.most.saturating_sub(self.chunks.len()) {
                return Err(Failure::TooLong(self.most));
            }
            let Some((chunk, end)) = rest.get(begin..).and_then(|rest| {
                let (chunk, rest) = rest.split_at_checked(size)?;
                Some((chunk, rest.get(..2)?))
            }) else {
                return Ok(None);
            };
            if end != b"\r\n" {
                return Err(malformed("a chunk does not end where its size says"));
            }
            self.chunks.extend_from_slice(chunk);
            self.place += begin + size + end.len();
            if size == 0 {
                return Ok(Some(std::mem::take(&mut self.chunks)));
            }
        }
    }
}

impl Head {
    /// The head and its length; None if it is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes);
        let Status::Complete(length) = parsed.map_err(|error| malformed(&error.to_string()))?
        else {
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        let mut head = Self {
            status,
            framing: Framing::Close,
            keeps: response.version == Some(1),
            retry_after: None,
        };
        let mut chunked = false;
        let mut length_given = None;
        for header in response.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let given = number(header.value).ok_or_else(|| malformed("it has no length"))?;
                if length_given.is_some_and(|before| before != given) {
                    return Err(malformed("it has two lengths"));
                }
                length_given = Some(given);
            } else if is("transfer-encoding") {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed("its transfer encoding is unknown"));
                }
                chunked = true;
            } else if is("connection") {
                // `keep-alive` is no news in HTTP/1.1; `close`, or anything else, ends the connection here.
                head.keeps &= header.value.eq_ignore_ascii_case(b"keep-alive");
            } else if is("retry-after") {
                head.retry_after = retry_after(&[header.value.to_vec()]);
            }
        }
        head.framing = match (status, chunked, length_given) {
            (204 | 304, ..) => Framing::Length(0),
            (_, true, Some(_)) => return Err(malformed("it has a length and chunks")),
            (_, true, None) => Framing::Chunked,
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => Framing::Close,
        };
        Ok(Some((head, length)))
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn malformed(why: &str) -> Failure {
    Failure::Protocol(format!("the response is not HTTP/1.1: {why}"))
}

#[cfg(test)]
mod tests;
