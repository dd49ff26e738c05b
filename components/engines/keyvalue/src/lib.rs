//! Sequences in the host's key-value store, over `wasi:keyvalue@0.2.0-draft2`.
//!
//! DSN: `keyvalue://<bucket>`, by default `keyvalue://default`. The parameter `timeout` limits how long
//! one operation is retried (default 2 s). A call to the host's store cannot be interrupted, so only
//! the host can end one that hangs. The name of the bucket is in lower case.
//!
//! An integer handed out survives what the host's store survives (C9): Spin's default store and
//! int-host's embedded one commit to disk before they answer; others follow their own settings.
//!
//! # How the mark is stored
//!
//! In the encoding of the store's own `increment`: in Spin's default store and int-host's, eight
//! bytes, little-endian; in Spin's Redis and DynamoDB stores, decimal text. Any other value of the
//! key is an error and is never read as zero.
//!
//! # The top of the range
//!
//! `wasi:keyvalue` does not specify what `increment` does if the sum does not fit, and Spin's default
//! store wraps around (or panics, in a debug build). So every `increment` is preceded by a read, and
//! above 2^62, or for strides above 2^53, stores that use eight bytes are advanced by
//! compare-and-swap instead. One case remains: a `set-last` beyond 2^62 by another client between
//! the read and the `increment`. The sum may then wrap to a value below -2^62: the error is
//! `exhausted`, and every client that finds such a mark sets it to the greatest 64-bit integer, so
//! that the sequence is exhausted, as it would be without the wrap. For the same reason, a mark below
//! -2^62 that is set by hand is treated as wrapped.

mod bindings;
mod encoding;
mod store;

use encoding::Encoding;
use engine_guest::deadline;
use engine_guest::retry::Retry;
use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use std::time::Duration;
use store::{Cell, Fault, Swap};

/// Above this mark, `increment` is not used on a store that may wrap.
const HIGH: i64 = 1 << 62;

/// Strides above this are not passed to `increment`: with smaller ones, a sum that wrapped stays
/// below `-HIGH` however many instances race, and cannot reach a valid mark.
const GIANT: i64 = 1 << 53;

/// The maximum number of attempts of one operation, if it does not reach its deadline first.
const TRIES: u32 = 1000;

/// One sequence in the host's store.
struct KeyValue {
    cell: Cell,
    timeout: Duration,
}

impl Engine for KeyValue {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = Some("keyvalue://default");
    const SCHEMES: &'static [&'static str] = &["keyvalue"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let bucket = bucket(&dsn)?;
        let timeout = deadline::timeout(&dsn)?;
        let cell = retry(timeout, || Cell::open(bucket, key.as_str()).map(Some))?;
        Ok(Self { cell, timeout })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let cell = &mut self.cell;
        retry(self.timeout, || advance(cell, by))
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let cell = &mut self.cell;
        retry(self.timeout, || match cell.read()? {
            Some(stored) if has_wrapped(stored.mark) => mend(cell),
            stored => Ok(Some(stored.map(|stored| stored.mark))),
        })
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let cell = &mut self.cell;
        retry(self.timeout, || {
            let mut wrapped = false;
            let swap = cell.swap(|stored| {
                wrapped = has_wrapped(stored.mark);
                match stored.mark {
                    mark if mark >= first => Err(Error::TooSmall(mark).into()),
                    _ => Ok((!wrapped).then_some(last)),
                }
            })?;
            match swap {
                Swap::Done if wrapped => mend(cell),
                Swap::Done => Ok(Some(())),
                Swap::Lost => Ok(None),
            }
        })
    }
}

/// One attempt; None if another client changed the sequence first.
fn advance(cell: &mut Cell, by: i64) -> Result<Option<i64>, Fault> {
    let stored = cell.read()?;
    let mark = stored.map_or(0, |stored| stored.mark);
    if has_wrapped(mark) {
        return mend(cell);
    }
    mark.checked_add(by).ok_or_else(exhausted)?;
    // Stores that write text report overflow themselves; moreover, Spin's Redis store reports every
    // swap as failed.
    let text = stored.is_some_and(|stored| stored.encoding == Encoding::Decimal);
    if text || (mark <= HIGH && by <= GIANT) {
        let mark = cell.increment(by)?;
        return if has_wrapped(mark) {
            mend(cell)
        } else {
            Ok(Some(mark))
        };
    }
    let mut advanced = None;
    let swap = cell.swap(|stored| {
        advanced = match stored.mark {
            mark if has_wrapped(mark) => None,
            mark => Some(mark.checked_add(by).ok_or_else(exhausted)?),
        };
        Ok(advanced)
    })?;
    Ok(match swap {
        Swap::Done => advanced,
        Swap::Lost => None,
    })
}

/// Whether the mark is in the range that only a sum that wrapped around can reach.
fn has_wrapped(mark: i64) -> bool {
    mark < -HIGH
}

/// Sets a mark that wrapped around to the greatest 64-bit integer, which the next attempt finds.
/// Repeated and concurrent repairs are harmless.
fn mend<T>(cell: &mut Cell) -> Result<Option<T>, Fault> {
    cell.swap(|stored| Ok(has_wrapped(stored.mark).then_some(i64::MAX)))?;
    Ok(None)
}

/// Retries until there is a result, a permanent error, or the deadline.
fn retry<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, Fault>,
) -> Result<T, Error> {
    let mut retry = Retry::within(timeout, "the key-value store");
    for _ in 0..TRIES {
        match attempt() {
            Ok(Some(answer)) => return Ok(answer),
            // Another client changed the sequence first: retry without a pause.
            Ok(None) => {
                retry.failed_first("other clients keep changing the sequence");
                retry.check()?;
            }
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Passing(why)) => {
                retry.failed(why);
                retry.pause()?;
            }
        }
    }
    Err(retry.late())
}

fn bucket(dsn: &Dsn) -> Result<&str, Error> {
    let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
    dsn.only_params(&["timeout"])
        .map_err(|e| Error::Invalid(e.to_string()))?;
    if dsn.has_credentials() {
        return invalid("a keyvalue DSN has no user or password; write `keyvalue://<bucket>`");
    }
    if !dsn.path().is_empty() {
        return invalid("a keyvalue DSN has no path; write `keyvalue://<bucket>`");
    }
    match dsn.addresses() {
        [] => Ok("default"),
        [address] if address.port.is_none() => Ok(&address.host),
        [_] => invalid("a keyvalue DSN has no port; write `keyvalue://<bucket>`"),
        _ => invalid("a keyvalue DSN names one bucket; write `keyvalue://<bucket>`"),
    }
}

engine_guest::export!(KeyValue);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(dsn: &str) -> Result<String, Error> {
        bucket(&dsn.parse().expect(dsn)).map(str::to_owned)
    }

    #[test]
    fn the_dsn_names_a_bucket() {
        assert_eq!(parsed("keyvalue://"), Ok("default".to_owned()));
        assert_eq!(
            parsed("keyvalue://tickets?timeout=1s"),
            Ok("tickets".to_owned())
        );
        for bad in [
            "keyvalue://a,b",
            "keyvalue://a:1",
            "keyvalue://a/b",
            "keyvalue://user@a",
            "keyvalue://:hunter2@a",
            "keyvalue://a?wait=1",
        ] {
            let error = parsed(bad).expect_err(bad);
            assert!(
                matches!(&error, Error::Invalid(m) if !m.contains("hunter2")),
                "{error:?}"
            );
        }
    }

    #[test]
    fn wrapped_marks_are_recognised_and_hand_set_ones_are_not() {
        for fine in [i64::MAX, HIGH, 0, -98, -HIGH] {
            assert!(!has_wrapped(fine), "{fine}");
        }
        // The lowest sum that wraps, the highest that a stride of at most `GIANT` wraps to, and the sum
        // after hundreds of racing instances.
        for wrapped in [i64::MIN, i64::MIN + GIANT, i64::MIN + 500 * GIANT] {
            assert!(has_wrapped(wrapped), "{wrapped}");
        }
    }
}
