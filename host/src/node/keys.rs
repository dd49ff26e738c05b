//! The list of the sequences that a node has marks of, in a file: a backend cannot list them.

use crate::Error;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The maximum number of sequences of one node.
const MOST: usize = 10_000;

/// The keys, each on a line of its own, in the order in which they were first claimed.
pub(super) struct Keys {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    keys: BTreeSet<String>,
}

impl Keys {
    pub(super) fn within(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("keys");
        let opened = std::fs::create_dir_all(directory).and_then(|()| open(&path));
        match opened {
            Ok(open) => Ok(Self {
                path,
                open: Mutex::new(open),
            }),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// The first keys after this one, in their order, at most so many.
    pub(super) fn after(&self, key: &str, most: usize) -> Vec<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let further = open
            .keys
            .range::<str, _>((Bound::Excluded(key), Bound::Unbounded));
        further.take(most).cloned().collect()
    }

    /// Adds keys, synced to disk, before their first claims.
    ///
    /// # Errors
    /// [`Error::Denied`] if there are too many, [`Error::Unavailable`] if the file cannot be written.
    pub(super) fn add<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let further = keys.into_iter().filter(|key| !open.keys.contains(*key));
        let further: BTreeSet<&str> = further.collect();
        if further.is_empty() {
            return Ok(());
        }
        if open.keys.len() + further.len() > MOST {
            return Err(Error::Denied(format!(
                "the node has {MOST} sequences, which is its limit"
            )));
        }
        // A line that a crash cut off is completed to a key that nobody uses.
        let encoded = further
            .iter()
            .map(|key| utf8_percent_encode(key, NON_ALPHANUMERIC));
        let lines: String = encoded.map(|key| format!("\n{key}\n")).collect();
        open.file
            .write_all(lines.as_bytes())
            .and_then(|()| open.file.sync_data())
            .map_err(|error| Error::Unavailable(failed(&self.path, &error).to_string()))?;
        open.keys.extend(further.into_iter().map(str::to_owned));
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    let keys = io::read_to_string(&file)?
        .lines()
        .filter(|line| !line.is_empty())
        .filter_map(|line| Some(percent_decode_str(line).decode_utf8().ok()?.into_owned()))
        .collect();
    Ok(Open { file, keys })
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Misconfigured(format!(
        "cannot use the list of keys {}: {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = Keys::within(directory.path()).expect("opened");
        for key in ["b", "a\u{e9} %0A", "b"] {
            keys.add([key]).expect("added");
        }
        assert_eq!(keys.after("", 9), ["a\u{e9} %0A", "b"]);
        assert_eq!(keys.after("", 1), ["a\u{e9} %0A"]);
        assert_eq!(keys.after("a\u{e9} %0A", 9), ["b"]);
        std::fs::write(
            directory.path().join("keys"),
            std::fs::read_to_string(directory.path().join("keys")).expect("read") + "\nhal",
        )
        .expect("written");
        let keys = Keys::within(directory.path()).expect("opened again");
        keys.add(["c", "c", "b"]).expect("added");
        let again = Keys::within(directory.path()).expect("opened again");
        assert_eq!(again.after("", 9), ["a\u{e9} %0A", "b", "c", "hal"]);
    }
}
