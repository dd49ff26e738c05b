//! The file `node.json`: what a node keeps outside its backend.

use super::state::State;
use crate::{Error, files};
use artisanal_quorum::{FIRST_EPOCH, List, Member};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) node: u64,
    pub(super) group: u64,
    /// The number of the member list in force.
    #[serde(default = "first_epoch")]
    pub(super) epoch: u64,
    pub(super) members: Vec<Member>,
    /// The change of the member list that has begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<List>,
    /// The greatest epoch for which the node has ever taken claims. The backend has no greater one, unless this
    /// file was restored from an older copy.
    #[serde(default)]
    pub(super) reached: u64,
    /// The node's incarnation when this file was written. The backend has the same or a greater one, unless it was
    /// restored from a copy that is older than the node's last join: then its number of the last process may be greater.
    #[serde(default)]
    pub(super) incarnation: u64,
    /// The number of the last process that ran the node. The backend has the same or a greater one,
    /// unless it was restored from an older copy.
    pub(super) session: i64,
    /// The backend's generation; another one means that it may have forgotten marks.
    pub(super) generation: Option<String>,
}

fn first_epoch() -> u64 {
    FIRST_EPOCH
}

impl Record {
    /// What a node that takes part has to remember.
    pub(super) fn of(state: &State) -> Self {
        let described = &state.described;
        Self {
            node: described.node,
            group: described.group,
            epoch: described.epoch,
            members: described.members.clone(),
            open: state.open.clone(),
            reached: state.reached.max(state.epoch()),
            incarnation: state.incarnation,
            session: state.session,
            generation: state.generation.clone(),
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
            if let Some(directory) = self.path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            files::replace(&self.path, &serde_json::to_vec_pretty(record)?)
        };
        replace().map_err(|error| self.failed("write", &error))
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
            epoch: 5,
            members: Vec::new(),
            open: Some(List::default()),
            reached: 6,
            incarnation: 4,
            session: 3,
            generation: Some("x".into()),
        };
        file.write(&record).expect("written");
        assert_eq!(file.read(), Ok(Some(record)));
        // The file of a version without changes of the member list.
        let first = r#"{"node":1,"group":2,"members":[],"session":3,"generation":null}"#;
        std::fs::write(directory.path().join("new/node.json"), first).expect("written");
        let read = file.read().expect("read").expect("a record");
        assert_eq!((read.epoch, read.open, read.reached), (1, None, 0));
        assert_eq!(read.incarnation, 0);
        std::fs::write(directory.path().join("new/node.json"), "{\"node\":").expect("written");
        assert!(
            matches!(file.read(), Err(Error::Misconfigured(text)) if text.contains("node.json"))
        );
    }
}
