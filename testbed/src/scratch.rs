//! Folders for the files of one server or one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// How many folders were made so far.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// How many of the first folders are to be kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Says that a test failed: the folders that exist now stay, for somebody to look at the logs.
pub fn keep_all() {
    KEPT.fetch_max(MADE.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// A temporary folder that is removed when dropped, unless a test failed while it was there.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<TempDir>,
    number: usize,
}

impl Scratch {
    /// A new folder with `name` in its name.
    ///
    /// # Panics
    /// When the folder for temporary files (`TMPDIR`) cannot be written.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("artisanal-{name}-"))
            .tempdir()
            .expect("a temporary folder");
        Self {
            dir: Some(dir),
            number: MADE.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Where the folder is.
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
