//! Sequences in memory that begin where the DSN says: after `counter://1000` come 1002, 1004, …
//!
//! With it, tests and demonstrations mint integers above those of their fixtures. Sequences with the same key in
//! one instance are the same sequence, and nothing survives the instance. DSN: `counter://`, which is the
//! default and begins at 0, or `counter://START`.

use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    // A component has one thread.
    static MARKS: RefCell<HashMap<Key, i64>> = RefCell::default();
}

struct Counter(Key);

impl Counter {
    /// Runs one atomic step on the mark, which is 0 if there is none.
    fn step<T>(&self, step: impl FnOnce(&mut i64) -> T) -> T {
        MARKS.with_borrow_mut(|marks| step(marks.entry(self.0.clone()).or_default()))
    }
}

impl Engine for Counter {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = Some("counter://");
    const SCHEMES: &'static [&'static str] = &["counter"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        dsn.only_params(&[])
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let start = match dsn.addresses() {
            [] => Some(0),
            [start] => start.host.parse().ok().filter(|start| *start >= 0),
            _ => None,
        };
        let start =
            start.ok_or_else(|| Error::Invalid("the DSN is not `counter://START`".into()))?;
        let counter = Self(key);
        counter.step(|mark| *mark = start.max(*mark));
        Ok(counter)
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        self.step(|mark| {
            *mark = mark.checked_add(by).ok_or_else(exhausted)?;
            Ok(*mark)
        })
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        Ok(self.step(|mark| Some(*mark)))
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        self.step(|mark| {
            if *mark >= first {
                return Err(Error::TooSmall(*mark));
            }
            *mark = last;
            Ok(())
        })
    }
}

engine_guest::export!(Counter);
