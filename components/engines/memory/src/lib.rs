//! Sequences in the memory of one component instance.
//!
//! Nothing survives the instance (C9): this engine is the reference for the contract and a baseline
//! for performance, not a place to keep integers. Sequences with the same key in one instance are
//! the same sequence. DSN: `memory://`, which is the default.

use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static MARKS: RefCell<HashMap<Key, i64>> = RefCell::default();
    /// Identifies this instance, with which all marks are forgotten.
    static INSTANCE: u64 = RandomState::new().hash_one("instance");
}

/// One sequence of this instance.
struct Memory {
    key: Key,
}

impl Engine for Memory {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = Some("memory://");
    const SCHEMES: &'static [&'static str] = &["memory"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        dsn.only_params(&[])
            .map_err(|e| Error::Invalid(e.to_string()))?;
        if dsn.has_credentials() || !dsn.addresses().is_empty() || !dsn.path().is_empty() {
            return Err(Error::Invalid(
                "a memory DSN has no user, host or path; write `memory://`".into(),
            ));
        }
        Ok(Self { key })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        MARKS.with_borrow_mut(|marks| {
            let mark = marks
                .get(&self.key)
                .copied()
                .unwrap_or(0)
                .checked_add(by)
                .ok_or_else(exhausted)?;
            marks.insert(self.key.clone(), mark);
            Ok(mark)
        })
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        Ok(MARKS.with_borrow(|marks| marks.get(&self.key).copied()))
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        MARKS.with_borrow_mut(|marks| match marks.get(&self.key) {
            Some(mark) if *mark >= first => Err(Error::TooSmall(*mark)),
            _ => {
                marks.insert(self.key.clone(), last);
                Ok(())
            }
        })
    }

    async fn generation(&mut self) -> Result<Option<String>, Error> {
        Ok(Some(INSTANCE.with(|id| format!("{id:016x}"))))
    }
}

engine_guest::export!(Memory);
