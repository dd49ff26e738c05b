//! Files that are replaced as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file, or makes it, atomically, and returns once that is on disk. A crash leaves the old or the new content,
/// and so does an error. Only its owner can read the file.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}
