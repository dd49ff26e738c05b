//! Temporary folders for the files of a server or a test.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// How many folders were created so far.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Folders with a number up to this one are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// To be called when a test fails: keeps all folders that exist at this time, so that the logs can be read.
pub fn keep_all() {
    KEPT.fetch_max(MADE.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// A temporary folder that is removed on drop, unless a test failed while it existed.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<TempDir>,
    number: usize,
}

impl Scratch {
    /// Creates a folder with `name` in its name.
    ///
    /// # Errors
    /// When the folder for temporary files (`TMPDIR`) is not writable.
    pub fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("artisanal-{name}-"))
            .tempdir()
            .map_err(Error::io("a temporary folder"))?;
        Ok(Self {
            dir: Some(dir),
            number: MADE.fetch_add(1, Ordering::Relaxed) + 1,
        })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("not dropped yet").path()
    }

    /// A path inside the folder. Nothing is created.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let failed = self.number <= KEPT.load(Ordering::Relaxed) || std::thread::panicking();
        if let Some(dir) = self.dir.take()
            && failed
        {
            eprintln!("kept because a test failed: {}", dir.keep().display());
        }
    }
}
