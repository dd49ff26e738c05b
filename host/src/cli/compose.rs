//! `int-host compose`: the HTTP endpoint and an engine, in one file.

use super::Failure;
use super::flags::Flags;
use crate::compose::{Target, compose};
use crate::{Error, Source};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Write the HTTP endpoint composed with an engine, to be served by any host of wasi:http
///
/// `int-host serve --component FILE` serves it. So does Spin, and so does `wasmtime serve -S config`
/// after `--for wasmtime`.
#[derive(Debug, clap::Args)]
pub(super) struct Compose {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which host's settings it reads; int-host takes both
    #[arg(long = "for", value_name = "HOST", value_enum, default_value_t)]
    target: Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Host {
    /// Spin and int-host.
    #[default]
    Spin,
    /// `wasmtime serve` with `-S config`, and int-host.
    Wasmtime,
}

impl Compose {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let source = flags.source();
        let target = match self.target {
            Host::Spin => Target::Spin,
            Host::Wasmtime => Target::Wasmtime,
        };
        let engine = match &source {
            Source::Builtin(engine) => engine.wasm().into(),
            // What is no engine is told so before anything is composed.
            Source::File(_) => {
                flags.host()?.engine_component(&source)?;
                source.read()?
            }
        };
        let composed = compose(&engine, target)?;
        write(&self.output, &composed).map_err(|error| {
            Error::Misconfigured(format!("cannot write {}: {error}", self.output.display()))
        })?;
        Ok(())
    }
}

/// Writes the file beside its place first, so that there is never half of one.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A device, or whatever else cannot be replaced, is written to.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(bytes);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        // Temporary files are for their owner alone; this one is a file like any other.
        use std::os::unix::fs::PermissionsExt;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}
