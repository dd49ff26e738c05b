//! The database in the data directory.

use crate::Error;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// What the file `version` holds. Another layout has another number.
const VERSION: &str = "artisanal-ledger 2\n";

/// The version without runs: every event has a record of its own, which is read as well. A program of that version
/// cannot read runs, so the file gets the number of this one before the first run is written.
const WITHOUT_RUNS: &str = "artisanal-ledger 1\n";

/// What the file begins with if the events come from a stream; its name and the time when it was made follow.
const STREAM: &str = "artisanal-ledger-stream 1 ";

/// The key of an entry in `partitions`.
pub(crate) const PROGRESS: &[u8] = b"progress";

/// Marks integers in `notes` that nobody gets; no integer is as great.
pub(crate) const UNUSED: u64 = u64::MAX;

/// The open database. All keys begin as [`key`](crate::key) describes.
pub(crate) struct Files {
    pub(crate) database: Database,
    /// Key, number of the last event: one event, or a run of mints ([`Stored`](super::Stored)).
    pub(crate) events: Keyspace,
    /// Key: its record.
    pub(crate) keys: Keyspace,
    /// Key, step, residue, last: first, number of an event of the record that has these integers, or of one that was
    /// before what is left of it. Entries of one step and residue never overlap.
    pub(crate) spans: Keyspace,
    /// Key, last, number of the event: first, step. Integers that were in an earlier event already.
    pub(crate) doubles: Keyspace,
    /// Key, last, number of the event: first. Integers of lost events; 0 as the first one for a raise. Those that nobody
    /// gets: step, first, [`UNUSED`].
    pub(crate) notes: Keyspace,
    /// Publisher: the numbers that were stored.
    pub(crate) publishers: Keyspace,
    /// Key, a zero byte, token, a zero byte, idempotency key: when, number of the event, first, step, count.
    pub(crate) claims: Keyspace,
    /// When, then a key of `claims`: nothing. All times are in microseconds since 1970.
    pub(crate) claim_times: Keyspace,
    /// Key, a zero byte, reducer, number: the state after this event.
    pub(crate) snapshots: Keyspace,
    /// What was applied of a stream, if the events come from one.
    pub(crate) stream: Option<Applied>,
}

/// The part of the database that says what of a stream is in it.
pub(crate) struct Applied {
    /// Partition: the sequence of the last message, and a time that only grows, that of the stream's messages. Under
    /// [`PROGRESS`]: up to which message all of some partitions are applied.
    pub(crate) partitions: Keyspace,
    /// Partition, publisher, first: last. The publisher's numbers that were applied; such ranges never overlap.
    pub(crate) numbers: Keyspace,
}

/// Where the events of a data directory come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Clients write them here, and they are nowhere else.
    Embedded,
    /// They come from a stream with this name.
    Stream(String),
}

impl Kind {
    /// What the file `version` holds.
    fn version(&self) -> String {
        match self {
            Self::Embedded => VERSION.into(),
            Self::Stream(name) => format!("{STREAM}{name}\n"),
        }
    }
}

impl Files {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] for a directory of another version or kind, or one that another process has open.
    pub(crate) fn open(directory: &Path, kind: &Kind) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))?;
        let outdated = check_version(directory, kind)?;
        let database =
            Database::builder(directory.join("log"))
                .open()
                .map_err(|error| match error {
                    fjall::Error::Locked => Error::Misconfigured(format!(
                        "{} is in use by another process; a data directory belongs to one ledger",
                        directory.display()
                    )),
                    fjall::Error::InvalidVersion(_) => Error::Misconfigured(format!(
                        "{} has a database of another version",
                        directory.display()
                    )),
                    other => other.into(),
                })?;
        if outdated {
            // Not before the database is open: another process may have it.
            write_version(directory, kind)?;
        }
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let stream = match kind {
            Kind::Embedded => None,
            Kind::Stream(_) => Some(Applied {
                partitions: keyspace("partitions")?,
                numbers: keyspace("numbers")?,
            }),
        };
        Ok(Self {
            events: keyspace("events")?,
            keys: keyspace("keys")?,
            spans: keyspace("spans")?,
            doubles: keyspace("doubles")?,
            notes: keyspace("notes")?,
            publishers: keyspace("publishers")?,
            claims: keyspace("claims")?,
            claim_times: keyspace("claim_times")?,
            snapshots: keyspace("snapshots")?,
            stream,
            database,
        })
    }

    /// What the keys of `claim_times` begin with: with a stream the partition, since each has a time of its own.
    pub(crate) fn claim_prefix(&self, partition: u16) -> Vec<u8> {
        match self.stream {
            None => Vec::new(),
            Some(_) => partition.to_be_bytes().to_vec(),
        }
    }
}

/// Checks the version of the directory, and writes it to an empty one. Returns whether it is an older one that can be
/// read.
fn check_version(directory: &Path, kind: &Kind) -> Result<bool, Error> {
    let path = directory.join("version");
    let broken = |error: &std::io::Error| unusable(directory, error);
    match fs::read(&path) {
        Ok(found) if found == kind.version().as_bytes() => return Ok(false),
        Ok(found) if *kind == Kind::Embedded && found == WITHOUT_RUNS.as_bytes() => {
            return Ok(true);
        }
        Ok(found) => {
            if let Some(text) = other_kind(directory, kind, &String::from_utf8_lossy(&found)) {
                return Err(Error::Misconfigured(text));
            }
            return Err(Error::Misconfigured(format!(
                "{} was written by another version of the ledger (`{}`; this is `{}`); use that version, or \
                 another directory",
                directory.display(),
                String::from_utf8_lossy(&found)
                    .trim()
                    .chars()
                    .take(64)
                    .collect::<String>(),
                VERSION.trim()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(broken(&error)),
    }
    if directory.join("log").exists() {
        return Err(Error::Misconfigured(format!(
            "{} has a database and no file `version`: it is no data directory of a ledger",
            directory.display()
        )));
    }
    write_version(directory, kind)?;
    Ok(false)
}

/// Why a directory with this version cannot be used, if its events come from somewhere else.
fn other_kind(directory: &Path, kind: &Kind, found: &str) -> Option<String> {
    let directory = directory.display();
    let stream: Option<String> = found
        .strip_prefix(STREAM)
        .map(|stream| stream.trim().chars().take(128).collect());
    match (kind, stream) {
        (Kind::Embedded, Some(stream)) => Some(format!(
            "{directory} has the events of the NATS stream {stream}; name that with --store, or another directory with \
             --data"
        )),
        (Kind::Stream(name), Some(stream)) => Some(format!(
            "{directory} has the events of the NATS stream {stream}; this one is {name}. Name another directory with \
             --data, or remove this one: it is made anew from the stream"
        )),
        (Kind::Stream(_), None) if [VERSION, WITHOUT_RUNS].contains(&found) => Some(format!(
            "{directory} has the events of a ledger without --store, which are in no stream; name another directory with \
             --data"
        )),
        _ => None,
    }
}

fn write_version(directory: &Path, kind: &Kind) -> Result<(), Error> {
    let path = directory.join("version");
    // Under another name first: a crash must not leave half a version.
    let new = directory.join("version.new");
    let written = || {
        let mut file = File::create(&new)?;
        file.write_all(kind.version().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(|error| unusable(directory, &error))
}

fn unusable(directory: &Path, error: &std::io::Error) -> Error {
    Error::Misconfigured(format!("cannot use {}: {error}", directory.display()))
}
