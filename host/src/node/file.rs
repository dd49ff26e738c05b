//! The file `node.json`: what a node keeps outside its backend.

use crate::Error;
use artisanal_quorum::{Describe, Member};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) node: u64,
    pub(super) group: u64,
    pub(super) members: Vec<Member>,
    /// The number of the last process that ran the node. The backend has the same or a greater one,
    /// unless it was restored from an older copy.
    pub(super) session: i64,
    /// The backend's generation; another one means that it may have forgotten marks.
    pub(super) generation: Option<String>,
}

impl Record {
    /// What the node is told when it becomes a member.
    pub(super) fn new(described: Describe, session: i64, generation: Option<String>) -> Self {
        Self {
            node: described.node,
            group: described.group,
            members: described.members,
            session,
            generation,
        }
    }
}

/// The file, which may not exist yet.
pub(super) struct RecordFile {
    path: PathBuf,
}

impl RecordFile {
    pub(super) fn within(directory: &Path) -> Self {
        Self {
            path: directory.join("node.json"),
        }
    }

    pub(super) fn read(&self) -> Result<Option<Record>, Error> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| self.failed("read", &error.into()))
    }

    /// Replaces the file in one step, synced to disk: a crash leaves the old or the new one.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        let replace = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        replace().map_err(|error: io::Error| self.failed("write", &error))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Error {
        Error::Misconfigured(format!("cannot {what} {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RecordFile::within(&directory.path().join("new"));
        assert_eq!(file.read(), Ok(None));
        let record = Record {
            node: 1,
            group: 2,
            members: Vec::new(),
            session: 3,
            generation: Some("x".into()),
        };
        file.write(&record).expect("written");
        assert_eq!(file.read(), Ok(Some(record)));
        std::fs::write(directory.path().join("new/node.json"), "{\"node\":").expect("written");
        assert!(
            matches!(file.read(), Err(Error::Misconfigured(text)) if text.contains("node.json"))
        );
    }
}
