//! Folders for the files of one server or one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

static FAILED: AtomicBool = AtomicBool::new(false);

/// Says that a test failed: folders that still exist stay, for somebody to look at the logs.
pub fn keep_all() {
    FAILED.store(true, Ordering::Relaxed);
}

/// A temporary folder that is removed when dropped, unless a test failed.
#[derive(Debug)]
pub struct Scratch(Option<TempDir>);

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
        Self(Some(dir))
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("not dropped yet").path()
    }

    /// A path inside the folder. Nothing is created.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let failed = FAILED.load(Ordering::Relaxed) || std::thread::panicking();
        if let Some(dir) = self.0.take()
            && failed
        {
            eprintln!("kept because a test failed: {}", dir.keep().display());
        }
    }
}
