//! Reading a backup into a new directory.

use super::{HASH, MAGIC, MAX_KEY, MAX_VALUE, Unusable, WITHOUT_RUNS, keyspaces};
use crate::store::{Files, Kind};
use blake3::{Hash, Hasher};
use fjall::PersistMode;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// About how many bytes one write has.
const GROUP: usize = 4 << 20;

/// Restores a backup to the directory of a ledger, which must not exist. Returns how many entries there are. After an
/// error the directory does not exist either.
///
/// # Errors
/// [`Unusable`].
pub fn restore(backup: impl Read, directory: &Path) -> Result<u64, Unusable> {
    let name = || directory.display().to_string();
    let failed = |error: std::io::Error| Unusable::Unwritable(name(), error.to_string());
    if directory.symlink_metadata().is_ok() {
        return Err(Unusable::Exists(name()));
    }
    let parent = directory.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    // Under another name until it is whole. The name is new, so nothing of somebody else is removed after an error.
    let mut new = directory.as_os_str().to_owned();
    new.push(format!(".restoring-{}", std::process::id()));
    let new = Path::new(&new);
    fs::create_dir(new).map_err(failed)?;
    let restored = fill(backup, new).and_then(|entries| {
        let moved = fs::rename(new, directory).and_then(|()| File::open(parent)?.sync_all());
        moved.map(|()| entries).map_err(failed)
    });
    if restored.is_err()
        && let Err(error) = fs::remove_dir_all(new)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove {}", new.display());
    }
    restored
}

fn fill(backup: impl Read, directory: &Path) -> Result<u64, Unusable> {
    let failed = |error: String| Unusable::Unwritable(directory.display().to_string(), error);
    let mut input = Input {
        backup,
        hasher: Hasher::new(),
    };
    let mut magic = [0; MAGIC.len()];
    match input.read(&mut magic) {
        Ok(()) if [MAGIC, WITHOUT_RUNS].contains(&&magic) => {}
        Ok(()) | Err(Unusable::Truncated) => return Err(Unusable::Other),
        Err(other) => return Err(other),
    }
    let files =
        Files::open(directory, &Kind::Embedded).map_err(|error| failed(error.to_string()))?;
    let keyspaces = keyspaces(&files);
    let mut batch = files.database.batch();
    let (mut entries, mut bytes) = (0_u64, 0);
    loop {
        let [number] = input.array()?;
        let Some(place) = usize::from(number).checked_sub(1) else {
            break;
        };
        let keyspace = keyspaces
            .get(place)
            .ok_or(Unusable::Altered("it has an unknown part"))?;
        let key_length = input.length(MAX_KEY)?;
        let value_length = input.length(MAX_VALUE)?;
        let (key, value) = (input.bytes(key_length)?, input.bytes(value_length)?);
        bytes += key.len() + value.len();
        batch.insert(keyspace, key, value);
        entries += 1;
        if bytes >= GROUP {
            batch.commit().map_err(|error| failed(error.to_string()))?;
            batch = files.database.batch();
            bytes = 0;
        }
    }
    let count = u64::from_be_bytes(input.array()?);
    let computed = input.hasher.finalize();
    let stored: [u8; HASH] = input.array()?;
    if computed != Hash::from_bytes(stored) {
        return Err(Unusable::Altered("its hash is another one"));
    }
    if count != entries || input.backup.read(&mut [0]).map_err(Unusable::Unreadable)? != 0 {
        return Err(Unusable::Altered("it does not end where it says"));
    }
    let committed = batch.durability(Some(PersistMode::SyncAll)).commit();
    committed
        .and_then(|()| files.database.persist(PersistMode::SyncAll))
        .map_err(|error| failed(error.to_string()))?;
    Ok(entries)
}

/// What is left to be read, and the hash of what was.
struct Input<R> {
    backup: R,
    hasher: Hasher,
}

impl<R: Read> Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Unusable> {
        self.backup
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => Unusable::Truncated,
                _ => Unusable::Unreadable(error),
            })?;
        self.hasher.update(buffer);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let mut array = [0; N];
        self.read(&mut array)?;
        Ok(array)
    }

    fn length(&mut self, most: usize) -> Result<usize, Unusable> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= most)
            .ok_or(Unusable::Altered("an entry is too long"))
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Unusable> {
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        Ok(bytes)
    }
}
