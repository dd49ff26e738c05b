//! `int-host compose`: composes the HTTP endpoint and an engine into one file.

use super::Failure;
use super::flags::Flags;
use crate::compose::{Target, compose, lease};
use crate::{Error, Source};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Compose the HTTP endpoint with an engine into a component for any wasi:http host
///
/// The file can be served by `int-host serve --component FILE`, by Spin, and, if composed with
/// `--for wasmtime`, by `wasmtime serve -S config`.
#[derive(Debug, clap::Args)]
pub(super) struct Compose {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The host that the component is for; int-host runs all of them
    #[arg(long = "for", value_name = "HOST", value_enum, default_value_t)]
    target: Destination,
    /// Put leases between the endpoint and the engine; the DSN's parameter `lease` sets their size, 1000 by default
    ///
    /// Integers are then fetched in spans and minted from memory. Every integer is still minted once, but integers
    /// of different instances are not in order, and those that an instance does not mint are a gap.
    #[arg(long, conflicts_with = "flake")]
    leased: bool,
}

/// The host that a composed file is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Destination {
    /// Spin and int-host.
    #[default]
    Spin,
    /// `wasmtime serve` with `-S config`, and int-host.
    Wasmtime,
    /// Only int-host, with TLS to backends, which the other hosts do not offer to components.
    IntHost,
}

impl Compose {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let source = flags.source()?;
        if matches!(source, Source::Builtin(engine) if engine.about().clock) {
            let why = "the engine flake cannot be composed: a host may run several instances, and all would mint with \
                       the same node number; `--flake` with another engine leases a number for each";
            return Err(Error::Invalid(why.into()).into());
        }
        let target = match self.target {
            Destination::Spin => Target::Spin,
            Destination::Wasmtime => Target::Wasmtime,
            Destination::IntHost => Target::IntHost,
        };
        let engine = match &source {
            Source::Builtin(engine) if target == Target::IntHost => engine.wasm().into(),
            Source::Builtin(engine) => engine.plain_wasm().into(),
            // Checks that the file is an engine before composing.
            Source::Flake(_) => source.read()?,
            Source::File(_) => {
                flags.host()?.engine_component(&source)?;
                source.read()?
            }
        };
        let engine = if self.leased {
            lease(&engine)?.into()
        } else {
            engine
        };
        let composed = compose(&engine, target)?;
        write(&self.output, &composed).map_err(|error| {
            Error::Misconfigured(format!("cannot write {}: {error}", self.output.display()))
        })?;
        Ok(())
    }
}

/// Writes the file atomically, by way of a temporary file in the same folder.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A device or another special file cannot be replaced, so it is written to.
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
        // Temporary files are accessible only to their owner; the result has the usual permissions.
        use std::os::unix::fs::PermissionsExt;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}
