//! One key of one bucket, with the store's errors converted to those of the contract.

use crate::bindings::wasi::keyvalue::atomics::{self, CasError};
use crate::bindings::wasi::keyvalue::store::{self, Bucket};
use crate::encoding::Encoding;
use engine_guest::{Error, exhausted};

/// The maximum length of a store's message that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// A key that only `increment` writes, which shows how the store encodes integers. Always 0.
const PROBE: &str = "artisanal-integers-encoding";

/// One key of one bucket.
pub(crate) struct Cell {
    bucket: Bucket,
    key: String,
    /// None until it is needed.
    encoding: Option<Encoding>,
}

/// The value of the key.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) mark: i64,
    pub(crate) encoding: Encoding,
}

/// The result of a swap.
pub(crate) enum Swap {
    Done,
    /// Another client wrote first.
    Lost,
}

/// Why a call to the store failed.
pub(crate) enum Fault {
    /// A retry may help.
    Passing(String),
    /// A retry is useless.
    Final(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore => Self::Final(Error::Denied(
                "the host has no key-value store with this name; use an existing one as \
                 `keyvalue://<store>`, or define it in the host's configuration"
                    .into(),
            )),
            store::Error::AccessDenied => Self::Final(Error::Denied(
                "the host does not permit this component to use that key-value store; grant access \
                 (in spin.toml: `key_value_stores = [\"default\"]`)"
                    .into(),
            )),
            store::Error::Other(message) => other(&message),
        }
    }
}

/// Classifies an error by its message, since stores have no error codes. Unknown messages count as
/// passing, because the WIT gives I/O as the example of such errors.
fn other(message: &str) -> Fault {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    if says(&["overflow"]) {
        Fault::Final(exhausted())
    } else if says(&["not an integer", "wrongtype", "invalid digit", "limit of"]) {
        Fault::Final(Error::Other(format!(
            "the key-value store failed: {message}"
        )))
    } else if says(&[
        "noperm",
        "noauth",
        "wrongpass",
        "access denied",
        "read-only",
        "readonly",
    ]) {
        Fault::Final(Error::Denied(format!(
            "the key-value store denies access: {message}"
        )))
    } else {
        Fault::Passing(message)
    }
}

impl Cell {
    pub(crate) fn open(bucket: &str, key: &str) -> Result<Self, Fault> {
        Ok(Self {
            bucket: store::open(bucket)?,
            key: key.to_owned(),
            encoding: None,
        })
    }

    /// The value of the key; None if it does not exist.
    pub(crate) fn read(&mut self) -> Result<Option<Stored>, Fault> {
        let bytes = self.bucket.get(&self.key)?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Adds to the integer; a missing key counts as 0. If the sum does not fit, the store returns an
    /// error or a sum that wrapped around.
    pub(crate) fn increment(&self, by: i64) -> Result<i64, Fault> {
        Ok(atomics::increment(&self.bucket, &self.key, by)?)
    }

    /// Replaces the integer unless another client changes it meanwhile. `choose` gets the value of the
    /// key and returns the value to write; its errors are returned unchanged.
    ///
    /// Makes two attempts, the second with the handle that the store returned for that purpose: under
    /// contention, a store may give that handle precedence.
    pub(crate) fn swap(
        &mut self,
        mut choose: impl FnMut(Stored) -> Result<Option<i64>, Fault>,
    ) -> Result<Swap, Fault> {
        let cas = atomics::Cas::new(&self.bucket, &self.key)?;
        match self.swap_with(cas, &mut choose)? {
            Ok(swap) => Ok(swap),
            Err(fresh) => Ok(self.swap_with(fresh, &mut choose)?.unwrap_or(Swap::Lost)),
        }
    }

    /// One attempt; returns another handle if another client was faster.
    fn swap_with(
        &mut self,
        cas: atomics::Cas,
        choose: &mut impl FnMut(Stored) -> Result<Option<i64>, Fault>,
    ) -> Result<Result<Swap, atomics::Cas>, Fault> {
        let Some(bytes) = cas.current()? else {
            // Let the store create the key itself. The first value cannot be written by a swap: Spin's
            // SQLite store writes it without comparing.
            self.increment(0)?;
            return Ok(Ok(Swap::Lost));
        };
        let stored = self.decode(&bytes)?;
        let Some(mark) = choose(stored)? else {
            return Ok(Ok(Swap::Done));
        };
        match atomics::swap(cas, &stored.encoding.encode(mark)) {
            Ok(()) => Ok(Ok(Swap::Done)),
            Err(CasError::CasFailed(fresh)) => Ok(Err(fresh)),
            Err(CasError::StoreError(error)) => Err(error.into()),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Stored, Fault> {
        let mut candidates = Encoding::candidates(bytes);
        let encoding = match (self.encoding, candidates.next(), candidates.next()) {
            (Some(known), ..) => known,
            (None, Some(Encoding::LittleEndian), None) => Encoding::LittleEndian,
            (None, None, _) => return Err(not_an_integer(bytes, None)),
            // Spin's SQLite store panics on an increment of decimal text, so text is not read as an
            // integer before the store has shown that it writes text itself.
            _ => self.probe()?,
        };
        self.encoding = Some(encoding);
        let mark = encoding
            .decode(bytes)
            .ok_or_else(|| not_an_integer(bytes, Some(encoding)))?;
        Ok(Stored { mark, encoding })
    }

    /// Determines how this store encodes integers, by letting it write one.
    fn probe(&self) -> Result<Encoding, Fault> {
        let kept = match self.bucket.get(PROBE)? {
            Some(bytes) => bytes,
            None => {
                atomics::increment(&self.bucket, PROBE, 0)?;
                self.bucket.get(PROBE)?.unwrap_or_default()
            }
        };
        [Encoding::LittleEndian, Encoding::Decimal]
            .into_iter()
            .find(|encoding| encoding.decode(&kept) == Some(0))
            .ok_or_else(|| not_an_integer(&kept, None))
    }
}

fn not_an_integer(bytes: &[u8], encoding: Option<Encoding>) -> Fault {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= 40 && !text.chars().any(char::is_control) => {
            format!("the text `{text}`")
        }
        _ => format!("{} bytes", bytes.len()),
    };
    let expected = match encoding {
        Some(Encoding::LittleEndian) => "8 bytes, little-endian",
        Some(Encoding::Decimal) => "decimal digits",
        None => "8 bytes, little-endian, or decimal digits",
    };
    Fault::Final(Error::Other(format!(
        "the key-value store holds {found} under this key, which is not an integer in this store's \
         encoding ({expected}); delete it or store the greatest integer handed out so far"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_words_decide() {
        assert!(matches!(
            other("ERR increment or decrement would overflow"),
            Fault::Final(Error::Exhausted(_))
        ));
        assert!(matches!(
            other("ERR value is not an integer or out of range"),
            Fault::Final(Error::Other(_))
        ));
        assert!(matches!(
            other("NOPERM this user has no permissions"),
            Fault::Final(Error::Denied(_))
        ));
        for passing in [
            "database is locked",
            "Connection refused (os error 111)",
            "",
        ] {
            assert!(matches!(other(passing), Fault::Passing(_)), "{passing}");
        }
        let Fault::Passing(long) = other(&"é".repeat(5000)) else {
            panic!("unknown messages are passing");
        };
        assert_eq!(long.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn values_that_are_no_integers_are_shown_when_they_can_be() {
        let message = |bytes: &[u8]| match not_an_integer(bytes, Some(Encoding::Decimal)) {
            Fault::Final(Error::Other(message)) => message,
            _ => panic!("a final error of the kind `other`"),
        };
        assert!(message(b"12abc").contains("the text `12abc`"));
        assert!(message(&[0xff; 3]).contains("3 bytes"));
        assert!(message(b"a\nb").contains("3 bytes"));
    }
}
