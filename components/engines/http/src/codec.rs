//! Decodes the server's answers, none of which is trusted. No I/O.

use artisanal_core::{Lattice, Span};
use engine_guest::{Error, exhausted};
use engine_http_client::{Answer, Quoter};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use std::fmt;
use std::time::Duration;

/// One request about the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Asks for its state.
    Read,
    /// Mints so many integers.
    Next(u32),
    /// Raises it to this value.
    Raise(i64),
}

/// Why an attempt has no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Another attempt may succeed, after the time that the server asks for, if it does.
    Passing { why: String, wait: Option<Duration> },
    /// The time is over.
    Late(String),
    /// Every attempt would fail in the same way.
    Final(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What the server says of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) last: Option<i64>,
    lattice: Lattice,
}

impl State {
    /// Checks that the server mints the integers of this lattice.
    pub(crate) fn agree(&self, wanted: Lattice) -> Result<(), Error> {
        agree(self.lattice, wanted)
    }
}

fn agree(found: Lattice, wanted: Lattice) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    let (increment, offset) = (found.increment(), found.offset());
    Err(Error::Other(format!(
        "the server mints with increment {increment} and offset {offset}, but this sequence is to have \
         increment {} and offset {}; give both the same, here by `--set-increment {increment} --set-offset \
         {offset}`",
        wanted.increment(),
        wanted.offset(),
    )))
}

#[derive(serde::Deserialize)]
struct StateBody {
    key: String,
    last: Option<Integer>,
    increment: Integer,
    offset: Integer,
}

#[derive(serde::Deserialize)]
struct Minted {
    key: String,
    first: Integer,
    step: Integer,
    count: Integer,
}

/// A problem document, RFC 9457.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    current: Option<Integer>,
}

/// Reads the answers about one sequence.
pub(crate) struct Codec {
    /// The key at the server.
    pub(crate) key: String,
    pub(crate) quoter: Quoter,
}

impl Codec {
    /// The state of the sequence.
    pub(crate) fn state(&self, body: &[u8]) -> Result<State, Fault> {
        let state = self.any_state(body)?;
        match state.last {
            // Of a mark at or below zero the server says null.
            Some(last) if last < 1 => Err(unlikely(format!("the last integer {last}"))),
            _ => Ok(state),
        }
    }

    /// The answer to a raise to this value.
    pub(crate) fn raised(&self, body: &[u8], to: i64) -> Result<State, Fault> {
        let state = self.any_state(body)?;
        match state.last {
            Some(last) if last >= to => Ok(state),
            last => Err(unlikely(format!(
                "the last integer {last:?} after it was raised to {to}"
            ))),
        }
    }

    fn any_state(&self, body: &[u8]) -> Result<State, Fault> {
        let read: StateBody = self.parse(body)?;
        self.check_key(&read.key)?;
        let (increment, offset) = (read.increment.0, read.offset.0);
        let lattice = Lattice::new(increment, offset)
            .map_err(|_| unlikely(format!("the increment {increment} and the offset {offset}")))?;
        let last = read.last.map(|last| last.0);
        Ok(State { last, lattice })
    }

    /// The integers that were minted: so many of this lattice.
    pub(crate) fn span(&self, body: &[u8], count: u32, lattice: Lattice) -> Result<Span, Fault> {
        let read: Minted = self.parse(body)?;
        self.check_key(&read.key)?;
        let (first, step) = (read.first.0, read.step.0);
        let found = u32::try_from(read.count.0).unwrap_or(0);
        let span = Span::checked(first, step, found)
            .ok_or_else(|| unlikely(format!("{} integers from {first} by {step}", read.count.0)))?;
        if found != count {
            return Err(unlikely(format!("{found} integers instead of {count}")));
        }
        if !lattice.holds(span) {
            let found =
                Lattice::new(step, first).map_err(|error| Error::Other(error.to_string()))?;
            agree(found, lattice)?;
        }
        Ok(span)
    }

    /// The body of an answer that is a success; otherwise what its status means.
    pub(crate) fn success(&self, call: Call, answer: Answer) -> Result<Vec<u8>, Fault> {
        let Answer {
            status,
            body,
            retry_after,
        } = answer;
        if status == 200 {
            return Ok(body);
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let detail = match &*problem.detail {
            "" => self.quoter.quote(&String::from_utf8_lossy(&body)),
            detail => self.quoter.quote(detail),
        };
        let told = match &*detail {
            "" => format!("HTTP status {status}"),
            detail => format!("HTTP status {status}: {detail}"),
        };
        Err(Fault::Final(match (status, &*problem.code) {
            (400, "invalid") => Error::Invalid(told),
            (401, _) => Error::Denied(format!("{told}; {}", token_of(call))),
            (403, "forbidden") => Error::Denied(format!(
                "{told}; start the server with an admin token, and give that in the DSN"
            )),
            (403, _) => Error::Denied(told),
            (404, "no-sequence") => Error::Other(format!(
                "the server has no sequence `{}`; name it in the server's `--keys`, or name one that it \
                 has in the path of the DSN",
                self.key
            )),
            (409, "too-small") => too_small(call, problem.current.map(|current| current.0)),
            (410 | 507, "exhausted") => exhausted(),
            (500, "misconfigured") => Error::Other(told),
            (502, "denied") => Error::Denied(format!("of the server's own backend: {told}")),
            (502, "other") => Error::Other(format!("of the server's own backend: {told}")),
            (408 | 425 | 429 | 500..=599, _) => {
                return Err(Fault::Passing {
                    why: told,
                    wait: retry_after,
                });
            }
            (300..=399, _) => Error::Other(format!(
                "HTTP status {status}: the server redirects; use the target's address in the DSN"
            )),
            _ => Error::Other(format!("{told}; is this the address of `int-host serve`?")),
        }))
    }

    fn check_key(&self, found: &str) -> Result<(), Fault> {
        if found == self.key {
            return Ok(());
        }
        Err(unlikely(format!(
            "the key `{}` instead of `{}`",
            self.quoter.quote(found),
            self.key
        )))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Fault> {
        serde_json::from_slice(body).map_err(|error| {
            if error.is_eof() {
                // The connection was lost in the middle of the answer.
                return Fault::Passing {
                    why: "the answer ended too early".into(),
                    wait: None,
                };
            }
            let quote = self.quoter.quote(&String::from_utf8_lossy(body));
            unlikely(format!("`{quote}`, which is not understood"))
        })
    }
}

fn token_of(call: Call) -> &'static str {
    match call {
        Call::Raise(_) => {
            "the second token of the DSN has to be the server's admin token: \
             `http://TOKEN:ADMIN_TOKEN@HOST`, or `http://:ADMIN_TOKEN@HOST`"
        }
        Call::Read | Call::Next(_) => {
            "the token of the DSN has to be the server's mint token: `http://TOKEN@HOST`"
        }
    }
}

fn too_small(call: Call, current: Option<i64>) -> Error {
    match (call, current) {
        (Call::Raise(to), Some(current)) if current > to => Error::TooSmall(current),
        (_, current) => strange(&format!(
            "a refusal as too small, with the current value {current:?}"
        )),
    }
}

/// The fault of an answer that this server never gives.
fn unlikely(what: String) -> Fault {
    Fault::Final(strange(&what))
}

fn strange(what: &str) -> Error {
    Error::Other(format!(
        "the server answered with {what}; is this the address of `int-host serve`?"
    ))
}

/// An integer, as a number or as a string, that was not read as a float.
#[derive(Clone, Copy, Debug)]
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
        f.write_str("a 64-bit integer, as a number or as a string")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
        i64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<i64, E> {
        value
            .parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
    }
}

#[cfg(test)]
mod tests;
