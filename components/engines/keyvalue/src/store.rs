//! One key of one bucket, with the store's errors put into the contract's words.

use crate::bindings::wasi::keyvalue::atomics::{self, CasError};
use crate::bindings::wasi::keyvalue::store::{self, Bucket};
use crate::encoding::Encoding;
use engine_guest::{Error, exhausted};

/// The longest part of a store's own message that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// A key whose integer only `increment` writes, to learn how the store keeps integers. Always 0.
const PROBE: &str = "artisanal-integers-encoding";

/// One key of one bucket.
pub(crate) struct Cell {
    bucket: Bucket,
    key: String,
    /// Known once it was needed.
    encoding: Option<Encoding>,
}

/// What the key holds.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) mark: i64,
    pub(crate) encoding: Encoding,
}

/// What became of a swap.
pub(crate) enum Swap {
    Done,
    /// Somebody else wrote first.
    Lost,
}

/// Why the store did not do what it was asked.
pub(crate) enum Fault {
    /// It may do so when asked again.
    Passing(String),
    /// It will not.
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
                "the host has no key-value store of this name; name one that it has as \
                 `keyvalue://<store>`, or define it in the host's configuration"
                    .into(),
            )),
            store::Error::AccessDenied => Self::Final(Error::Denied(
                "the host does not let this component use that key-value store; grant it \
                 (in spin.toml: `key_value_stores = [\"default\"]`)"
                    .into(),
            )),
            store::Error::Other(message) => other(&message),
        }
    }
}

/// Stores have no error codes, so their words decide. What is not recognised counts as passing:
/// the WIT names I/O as the example.
fn other(message: &str) -> Fault {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    if says(&["overflow"]) {
        Fault::Final(exhausted())
    } else if says(&["not an integer", "wrongtype", "invalid digit", "limit of"]) {
        Fault::Final(Error::Other(format!("the key-value store says: {message}")))
    } else if says(&[
        "noperm",
        "noauth",
        "wrongpass",
        "access denied",
        "read-only",
        "readonly",
    ]) {
        Fault::Final(Error::Denied(format!(
            "the key-value store refuses: {message}"
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

    /// What the key holds; None when it is absent.
    pub(crate) fn read(&mut self) -> Result<Option<Stored>, Fault> {
        let bytes = self.bucket.get(&self.key)?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Adds to the integer, absent counting as 0. What happens when the sum does not fit is up
    /// to the store: an error, or a sum that wrapped around.
    pub(crate) fn increment(&self, by: i64) -> Result<i64, Fault> {
        Ok(atomics::increment(&self.bucket, &self.key, by)?)
    }

    /// Replaces the integer when nobody else does meanwhile. `choose` gets what the key holds
    /// and says what to write; its errors come back as they are.
    ///
    /// It is tried twice, the second time with the handle that the store gave for the purpose: where
    /// others write all the time, a store may see to it that this one is not too late again.
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

    /// One try; another handle when somebody else was faster.
    fn swap_with(
        &mut self,
        cas: atomics::Cas,
        choose: &mut impl FnMut(Stored) -> Result<Option<i64>, Fault>,
    ) -> Result<Result<Swap, atomics::Cas>, Fault> {
        let Some(bytes) = cas.current()? else {
            // Create it as the store itself would. Swapping in the first value is no option:
            // Spin's SQLite store does that without comparing.
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
            // Spin's SQLite store panics when it is asked to increment decimal text, so text is
            // not taken for an integer before the store has shown that it writes text itself.
            _ => self.probe()?,
        };
        self.encoding = Some(encoding);
        let mark = encoding
            .decode(bytes)
            .ok_or_else(|| not_an_integer(bytes, Some(encoding)))?;
        Ok(Stored { mark, encoding })
    }

    /// How this store keeps integers, found by letting it write one.
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
        "the key-value store holds {found} under this key, which is not an integer as this store \
         keeps them ({expected}); delete it or store the greatest integer handed out so far"
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
