//! The on-disk cache of compiled components: only the first start compiles.
//!
//! The name of an entry is a hash of everything that the machine code depends on: the component's
//! content, and the compiler's version, settings and target CPU with its features. An entry starts with
//! a checksum of its name and its content, so that a damaged or misplaced entry is detected and
//! recompiled.
//!
//! Write access to an entry means code execution as the user, and an attacker can compute the checksum.
//! So the cache reads only regular files that belong to this user and that no other user may write, in a
//! directory to which the same applies, and it writes only to such a directory.
//!
//! `wasmtime::Config::cache` does not do this: its version 48 executes whatever is in its directory, without a look at
//! owner, mode or checksum. It also needs zstd, a C library, in the build, and decompresses at every start.

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

    /// Returns the compiled component from the cache, or compiles and caches it. A cache that cannot be
    /// read or written costs only time.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        if let Err(error) = self.prepare() {
            self.tell(&error);
            return Component::new(engine, wasm);
        }
        let key = key(engine, wasm);
        let path = self.path(&key);
        match read(&path, &key) {
            Ok(entry) => {
                // SAFETY: the key is a hash of this engine's compatibility and of the content, the
                // checksum proves that the entry is complete and was written under this key, and only
                // this user can write the entry or the directory: so these are the bytes that
                // `serialize` returned below.
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

    /// Creates the directory if it is missing, and checks that only this user can write it.
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

    /// Logs why the cache is not used. An unsafe directory is a warning, since the operator should fix it.
    fn tell(&self, error: &io::Error) {
        let directory = self.directory.display();
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::warn!(
                "the cache {directory} is not used, so every start compiles: {error}; make it \
                 accessible only to you (chmod 700), or choose another directory with --cache"
            );
        } else {
            tracing::debug!(%error, "cannot use the cache {directory}");
        }
    }

    fn path(&self, key: &blake3::Hash) -> PathBuf {
        self.directory.join(format!("{}.cwasm", key.to_hex()))
    }

    /// Writes an entry atomically, by way of a temporary file: a reader sees all of it or nothing.
    fn write(&self, path: &Path, key: &blake3::Hash, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(checksum(key, code).as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }
}

/// A verified entry: the checksum and the machine code.
struct Entry(Vec<u8>);

impl Entry {
    fn code(&self) -> &[u8] {
        self.0.get(CHECKSUM_BYTES..).unwrap_or_default()
    }
}

/// Reads an entry and verifies its file type, owner, mode and checksum.
fn read(path: &Path, key: &blake3::Hash) -> io::Result<Entry> {
    let mut file = open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(refused("it is not a regular file"));
    }
    // Checks the open file, which cannot be swapped any more.
    owned(&about)?;
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    let entry = Entry(bytes);
    match entry.0.first_chunk::<CHECKSUM_BYTES>() {
        Some(sum) if checksum(key, entry.code()) == *sum => Ok(entry),
        _ => Err(refused("it is damaged, or was written under another name")),
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The hash that names an entry.
fn key(engine: &Engine, wasm: &[u8]) -> blake3::Hash {
    let mut hasher = HashInto(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(wasm);
    hasher.0.finalize()
}

fn checksum(key: &blake3::Hash, code: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key.as_bytes(), code)
}

/// Adapts BLAKE3 to [`std::hash::Hasher`].
struct HashInto(blake3::Hasher);

impl std::hash::Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Opens a file. Does not follow a symbolic link, and does not block on a pipe.
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

/// Checks that a file or directory belongs to this user and that no other user may write it.
#[cfg(unix)]
fn owned(about: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    /// The write permissions of the group and of others.
    const OTHERS: u32 = 0o022;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if about.mode() & OTHERS != 0 {
        return Err(refused("other users may write it"));
    }
    Ok(())
}

/// Checks nothing: by default other users cannot write the platform's cache directory.
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
