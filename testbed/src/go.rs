//! Servers that no Debian package has, built with Go from the module in `testbed/servers`.

use crate::error::{Error, Result};
use crate::server;
use crate::target::{self, Once};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that is listed as a tool in `testbed/servers/go.mod`.
pub(crate) struct Tool {
    /// The name of its program.
    pub(crate) program: &'static str,
    /// Its package.
    pub(crate) package: &'static str,
    /// The environment variable with the path of a binary.
    pub(crate) variable: &'static str,
    /// The page that says how to install it.
    pub(crate) page: &'static str,
    /// Where the program is, once it was found.
    pub(crate) found: Once,
}

impl Tool {
    /// The path of the program: one that is installed, or else one that is built here. That takes minutes the first time
    /// and is then cached.
    ///
    /// # Errors
    /// When there is neither the program nor Go (the message says how to install them), or when the build fails.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        self.found.get(|| {
            server::find(self.program, Some(self.variable)).map_or_else(|| self.build(), Ok)
        })
    }

    fn build(&self) -> Result<PathBuf> {
        let Self {
            program: name,
            package,
            variable,
            page,
            found: _,
        } = self;
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers");
        let program = target::directory().join("servers").join(name);
        let go = server::find("go", None).ok_or_else(|| {
            Error::Missing(format!(
                "there is neither {name} nor Go on PATH. Install one of them: {page} or `apt-get install golang` (Go 1.25 \
                 or later), or set {variable} to the path of a binary"
            ))
        })?;
        eprintln!("building {name} in {} (once)", module.display());
        let mut build = Command::new(go);
        build
            .current_dir(&module)
            .args(["build", "-o"])
            .args([program.as_path(), Path::new(package)]);
        server::output_of(build)?;
        Ok(program)
    }
}
