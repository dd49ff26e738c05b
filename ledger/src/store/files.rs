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
    /// When, then a key of `claims`: nothing.
    pub(crate) claim_times: Keyspace,
    /// Key, a zero byte, reducer, number: the state after this event.
    pub(crate) snapshots: Keyspace,
}

impl Files {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] for a directory of another version, or one that another process has open.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))?;
        let outdated = check_version(directory)?;
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
            write_version(directory)?;
        }
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
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
            database,
        })
    }
}

/// Checks the version of the directory, and writes it to an empty one. Returns whether it is an older one that can be
/// read.
fn check_version(directory: &Path) -> Result<bool, Error> {
    let path = directory.join("version");
    let broken = |error: &std::io::Error| unusable(directory, error);
    match fs::read(&path) {
        Ok(found) if found == VERSION.as_bytes() => return Ok(false),
        Ok(found) if found == WITHOUT_RUNS.as_bytes() => return Ok(true),
        Ok(found) => {
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
    write_version(directory)?;
    Ok(false)
}

fn write_version(directory: &Path) -> Result<(), Error> {
    let path = directory.join("version");
    // Under another name first: a crash must not leave half a version.
    let new = directory.join("version.new");
    let written = || {
        let mut file = File::create(&new)?;
        file.write_all(VERSION.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(|error| unusable(directory, &error))
}

fn unusable(directory: &Path, error: &std::io::Error) -> Error {
    Error::Misconfigured(format!("cannot use {}: {error}", directory.display()))
}
