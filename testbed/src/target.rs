//! Cargo's target folder, and programs and components that are built into it.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The target folder that the running test was built into.
///
/// # Panics
/// When the test does not run from `<target>/<profile>/deps`.
pub fn directory() -> PathBuf {
    profile_directory()
        .parent()
        .expect("a profile's folder is in a target folder")
        .to_owned()
}

/// The output folder of the profile that the running test was built with, such as `target/debug`.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    // Tests are in <target>/<profile>/deps, programs in the folder above.
    let folder = test.parent().expect("programs are in folders");
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().expect("deps is in a profile's folder"),
        _ => folder,
    }
    .to_owned()
}

/// The path of the program `int-host`: the value of the environment variable `INT_HOST`, or else the program in
/// the running test's profile. The first call builds the latter, since cargo builds the programs of a package
/// only for that package's own tests. (`make test` sets `INT_HOST` to the program that it built along with the
/// tests: a build of fewer packages enables other features of its dependencies and compiles them again.)
///
/// # Errors
/// When the build fails.
pub fn int_host() -> Result<PathBuf> {
    static PROGRAM: Once = Once::new();
    PROGRAM.get(|| {
        if let Some(named) = std::env::var_os("INT_HOST").filter(|path| !path.is_empty()) {
            // Commands run in other working directories, so the path must be absolute.
            return std::path::absolute(&named).map_err(Error::io(format!("{named:?}")));
        }
        let folder = profile_directory();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let target = directory();
        cargo(
            &workspace(),
            &["build", "--package", "int-host", "--profile", profile],
            &target,
        )?;
        Ok(folder.join(format!("int-host{}", std::env::consts::EXE_SUFFIX)))
    })
}

/// Builds a component of the tests for `wasm32-wasip2`, once in a process, and returns its path.
///
/// # Errors
/// When the build fails.
pub fn component(package: &str) -> Result<PathBuf> {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(package) {
        return Ok(path.clone());
    }
    let path = build(package)?;
    built.insert(package.to_owned(), path.clone());
    Ok(path)
}

fn build(package: &str) -> Result<PathBuf> {
    // The same settings and folder as in the host's build script, so that compiled dependencies are shared.
    let target = directory().join("components");
    cargo(
        &workspace(),
        &[
            "build",
            "--package",
            package,
            "--profile",
            "component",
            "--target",
            "wasm32-wasip2",
        ],
        &target,
    )?;
    let file = format!("{}.wasm", package.replace('-', "_"));
    Ok(target.join("wasm32-wasip2/component").join(file))
}

/// Builds a component of a package outside the workspace, as its `Cargo.lock` says, and returns its path. `folder`
/// is the package's folder in the repository.
///
/// # Errors
/// When the build fails, also when `Cargo.lock` is not up to date.
pub fn component_outside(folder: &str, package: &str) -> Result<PathBuf> {
    let target = directory().join("outside");
    cargo(
        &workspace().join(folder),
        &[
            "build",
            "--release",
            "--target",
            "wasm32-wasip2",
            "--locked",
        ],
        &target,
    )?;
    let file = format!("{}.wasm", package.replace('-', "_"));
    Ok(target.join("wasm32-wasip2/release").join(file))
}

/// The root of the repository.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(folder: &Path, arguments: &[&str], target: &Path) -> Result {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(folder)
        .args(arguments)
        .arg("--target-dir")
        .arg(target);
    // Variables that cargo set for the running test must not affect this build.
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    let done = cargo.output().map_err(Error::io("cargo"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(Error::Ended {
        program: format!("cargo {}", arguments.join(" ")),
        status: done.status,
        output: String::from_utf8_lossy(&done.stderr).into_owned(),
    })
}

/// A path that is expensive to find or build, so that it is looked up once in a process. An error is not kept.
pub(crate) struct Once(Mutex<Option<PathBuf>>);

impl Once {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The path, from `make` if it is not known. Other callers wait meanwhile.
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(path) => Ok(path.clone()),
            None => Ok(known.insert(make()?).clone()),
        }
    }
}
