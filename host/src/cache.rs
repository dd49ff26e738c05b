//! Compiled components, kept on disk so that only the first start compiles.
//!
//! An entry is named after everything that machine code depends on: the content of the
//! component, and the compiler's version, settings and target CPU. It begins with a checksum of
//! the rest, so that a damaged entry is noticed, dropped and made anew. The directory is the
//! user's own, because whoever can write there can run code as the user.

use std::fs;
use std::hash::Hash;
use std::io::Write;
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
        let path = self.directory.join(entry_name(engine, wasm));
        if let Some(code) = read(&path) {
            // SAFETY: the entry's name holds the hash of this engine's compatibility and of the
            // content, its checksum shows that it is whole, and the directory is writable by the
            // user alone: these are the bytes that `serialize` made below.
            match unsafe { Component::deserialize(engine, code) } {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::debug!(%error, path = %path.display(), "cache entry not usable")
                }
            }
        }
        let component = Component::new(engine, wasm)?;
        let stored = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|code| self.write(&path, &code));
        if let Err(error) = stored {
            tracing::debug!(%error, path = %path.display(), "compiled component not cached");
        }
        Ok(component)
    }

    /// Writes an entry under another name first: a reader sees all of it or nothing.
    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        create_private(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(blake3::hash(code).as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }
}

/// The machine code of an entry; None when there is none or it is damaged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let sum: [u8; CHECKSUM_BYTES] = bytes.get(..CHECKSUM_BYTES)?.try_into().ok()?;
    if blake3::hash(bytes.get(CHECKSUM_BYTES..)?) != sum {
        tracing::debug!(path = %path.display(), "cache entry is damaged");
        return None;
    }
    bytes.drain(..CHECKSUM_BYTES);
    Some(bytes)
}

fn entry_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = HashInto(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(wasm);
    format!("{}.cwasm", hasher.0.finalize().to_hex())
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

#[cfg(unix)]
fn create_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(not(unix))]
fn create_private(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn entries(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect()
    }

    #[test]
    fn entries_are_made_once_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("deep/er"));
        let engine = Engine::default();
        cache.load(&engine, EMPTY).unwrap();
        let [entry] = &entries(&cache.directory)[..] else {
            panic!("one entry")
        };
        let whole = fs::read(entry).unwrap();
        assert!(read(entry).is_some());

        for damaged in [
            &[][..],
            &whole[..10],
            &whole[..whole.len() - 1],
            &[&whole[..], b"x"].concat(),
        ] {
            fs::write(entry, damaged).unwrap();
            assert!(read(entry).is_none());
            cache.load(&engine, EMPTY).unwrap();
            assert_eq!(fs::read(entry).unwrap(), whole, "made anew");
        }
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        fs::write(entry, flipped).unwrap();
        assert!(read(entry).is_none());
    }

    #[test]
    fn names_depend_on_content_and_compiler() {
        let plain = Engine::default();
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).unwrap();
        assert_eq!(entry_name(&plain, EMPTY), entry_name(&plain, EMPTY));
        assert_ne!(entry_name(&plain, EMPTY), entry_name(&other, EMPTY));
        assert_ne!(entry_name(&plain, EMPTY), entry_name(&plain, b"other"));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_not_fatal() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::new(file.path().join("below-a-file"));
        cache.load(&Engine::default(), EMPTY).unwrap();
    }
}
