//! Named tokens from a file, which is read anew when it changes.

mod digest;
pub(crate) mod file;

pub(crate) use digest::Digest;

use super::watch::stamp;
use crate::{Error, Metrics};
use intd::{Grant, Limit, Tokens};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The tokens of a file. Clones share them, so all servers see what [`TokenFile::reload`] read.
#[derive(Clone)]
pub struct TokenFile(Arc<Inner>);

type Table = HashMap<Digest, Arc<Grant>>;

struct Inner {
    path: PathBuf,
    stamp: u64,
    table: RwLock<Table>,
    metrics: Metrics,
}

impl TokenFile {
    /// Reads a file. Requests that are refused because of a limit are counted in `metrics`.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the file cannot be read, [`Error::Invalid`] when an entry is wrong.
    pub fn load(path: &Path, metrics: Metrics) -> Result<Self, Error> {
        let tokens = Self(Arc::new(Inner {
            path: path.to_owned(),
            stamp: stamp(&[path.to_owned()]),
            table: RwLock::default(),
            metrics,
        }));
        tokens.reload()?;
        Ok(tokens)
    }

    /// Reads the file again. Tokens that it does not have any more stop working at once; an entry that is as before
    /// keeps what is counted against its limits.
    ///
    /// # Errors
    /// As [`TokenFile::load`]. Then everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let mut terms = file::read(&self.0.path)?;
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        let new = terms.drain(..).map(|terms| {
            let digest = Digest(terms.id);
            let same = table.get(&digest).filter(|old| *old.terms() == terms);
            let grant = same.map_or_else(|| Arc::new(Grant::new(terms)), Arc::clone);
            (digest, grant)
        });
        let new: Table = new.collect();
        let old = std::mem::replace(&mut *table, new);
        for (digest, grant) in old {
            if !table
                .get(&digest)
                .is_some_and(|new| Arc::ptr_eq(new, &grant))
            {
                grant.replace();
            }
            if !table.values().any(|new| new.name() == grant.name()) {
                self.0.metrics.forget_token(grant.name());
            }
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The stamp of the file before it was loaded for the first time.
    pub(crate) fn stamp(&self) -> u64 {
        self.0.stamp
    }

    fn get(&self, digest: &Digest) -> Option<Arc<Grant>> {
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(digest).cloned()
    }
}

impl Tokens for TokenFile {
    fn find(&self, presented: &[u8]) -> Option<Arc<Grant>> {
        self.get(&Digest::of(presented))
    }

    fn renew(&self, grant: &Grant) -> Option<Arc<Grant>> {
        self.get(&Digest(grant.terms().id))
    }

    fn limited(&self, grant: &Grant, limit: Limit) {
        self.0.metrics.limited(grant.name(), limit.as_str());
    }
}

/// Shows nothing but the path.
impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.0.path).finish()
    }
}
