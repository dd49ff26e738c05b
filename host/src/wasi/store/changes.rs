//! The changes that share a commit.

use super::error::StoreError;
use super::generation::{Generation, key};
use std::collections::HashMap;

/// Changes to a generation that are not stored yet. Each sees those before it.
pub(super) struct Changes<'a> {
    generation: &'a Generation,
    /// None for a key that is removed.
    pending: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Changes<'a> {
    pub(super) fn to(generation: &'a Generation) -> Self {
        Self {
            generation,
            pending: HashMap::new(),
        }
    }

    /// The entries of a bucket.
    pub(super) fn bucket<'c>(&'c mut self, name: &'c str) -> Entries<'c, 'a> {
        Entries {
            changes: self,
            bucket: name,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn into_pending(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.pending.into_iter()
    }
}

/// The entries of one bucket, as they will be after the commit.
pub(crate) struct Entries<'c, 'a> {
    changes: &'c mut Changes<'a>,
    bucket: &'c str,
}

impl Entries<'_, '_> {
    /// The value of a key; None if it does not exist.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key(self.bucket, name)?;
        match self.changes.pending.get(&key) {
            Some(value) => Ok(value.clone()),
            None => self.changes.generation.get(&key),
        }
    }

    /// Stores the value of a key, or removes the key.
    pub(super) fn put(&mut self, name: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let key = key(self.bucket, name)?;
        self.changes.pending.insert(key, value);
        Ok(())
    }
}
