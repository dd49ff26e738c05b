//! Compiled components, kept on disk so that only the first start compiles.
//!
//! An entry is named after everything that machine code depends on: the content of the
//! component, and the compiler's version, settings and target CPU with its features. It begins
//! with a checksum of its name and the rest, so that an entry that is damaged, or was put where
//! another one belongs, is noticed and made anew.
//!
//! Whoever can write an entry can run code as the user, and checksums are no secret. So nothing is
//! read but regular files of this user that nobody else may write, in a directory of which the
//! same is true, and nothing is written anywhere else.

use std::fs::{self, File};
use std::hash::Hash;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

const CHECKSUM_BYTES: usize = 32;

/// A directory of compiled components.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The compiled component: from the cache, or compiled now and put there. A cache that
    /// cannot be read or written costs time, nothing else.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        if let Err(error) = self.prepare() {
            self.tell(&error);
            return Component::new(engine, wasm);
        }
        let key = key(engine, wasm);
        let path = self.path(&key);
        match read(&path, &key) {
            Ok(entry) => {
                // SAFETY: the key holds the hash of this engine's compatibility and of the
                // content, the checksum shows that the entry is whole and was written under this
                // key, and neither it nor the directory can be written by anybody but this user:
                // these are the bytes that `serialize` made below.
                match unsafe { Component::deserialize(engine, entry.code()) } {
                    Ok(component) => return Ok(component),
                    Err(error) => {
                        tracing::debug!(%error, path = %path.display(), "cache entry not usable")
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "cache entry not usable")
            }
        }
        let component = Component::new(engine, wasm)?;
        let stored = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(&path, &key, &code));
        if let Err(error) = stored {
            tracing::debug!(%error, path = %path.display(), "compiled component not cached");
        }
        Ok(component)
    }

    /// Makes the directory if it is missing, and sees whether it is this user's own.
    fn prepare(&self) -> io::Result<()> {
        match fs::metadata(&self.directory) {
            Ok(about) => owned(&about),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_private(&self.directory)?;
                owned(&fs::metadata(&self.directory)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells why there is no cache: people who run this should know of one that is not safe.
    fn tell(&self, error: &io::Error) {
        let directory = self.directory.display();
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::warn!(
                "the cache {directory} is not used, every start compiles: {error}; make it \
                 yours alone (chmod 700), or choose another directory with --cache"
            );
        } else {
            tracing::debug!(%error, "no cache in {directory}");
        }
    }

    fn path(&self, key: &blake3::Hash) -> PathBuf {
        self.directory.join(format!("{}.cwasm", key.to_hex()))
    }

    /// Writes an entry under another name first: a reader sees all of it or nothing.
    fn write(&self, path: &Path, key: &blake3::Hash, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(checksum(key, code).as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }
}

/// An entry that was found good.
struct Entry(Vec<u8>);

impl Entry {
    fn code(&self) -> &[u8] {
        self.0.get(CHECKSUM_BYTES..).unwrap_or_default()
    }
}

/// Reads an entry and checks everything about it that can be checked from outside.
fn read(path: &Path, key: &blake3::Hash) -> io::Result<Entry> {
    let mut file = open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(refused("it is no file"));
    }
    // Of the open file, which cannot be exchanged any more.
    owned(&about)?;
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    let entry = Entry(bytes);
    match entry.0.first_chunk::<CHECKSUM_BYTES>() {
        Some(sum) if checksum(key, entry.code()) == *sum => Ok(entry),
        _ => Err(refused("it is damaged, or belongs elsewhere")),
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What an entry is named after.
fn key(engine: &Engine, wasm: &[u8]) -> blake3::Hash {
    let mut hasher = HashInto(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(wasm);
    hasher.0.finalize()
}

fn checksum(key: &blake3::Hash, code: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key.as_bytes(), code)
}

/// Feeds a strong hash with what std's `Hash` yields.
struct HashInto(blake3::Hasher);

impl std::hash::Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Opens a file, but no symbolic link, and without waiting for the other end of a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Whether something is this user's own, and nobody else may write it.
#[cfg(unix)]
fn owned(about: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    /// Writable by the group, or by everybody.
    const OTHERS: u32 = 0o022;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if about.mode() & OTHERS != 0 {
        return Err(refused("other users may write it"));
    }
    Ok(())
}

/// Where the platform keeps caches, other users cannot write unless somebody arranged for it.
#[cfg(not(unix))]
fn owned(_: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests;
