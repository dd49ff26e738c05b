//! Cargo's target folder, and programs and components that are built into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
/// # Panics
/// When the build fails.
pub fn int_host() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(named) = std::env::var_os("INT_HOST").filter(|path| !path.is_empty()) {
            // Commands run in other working directories, so the path must be absolute.
            return std::path::absolute(&named).unwrap_or_else(|e| panic!("{named:?}: {e}"));
        }
        let folder = profile_directory();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let target = directory();
        cargo(
            &["build", "--package", "int-host", "--profile", profile],
            &target,
        );
        folder.join(format!("int-host{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Builds a component of the tests for `wasm32-wasip2` and returns its path.
///
/// # Panics
/// When the build fails.
pub fn component(package: &str) -> PathBuf {
    // The same settings and folder as in the host's build script, so that compiled dependencies are shared.
    let target = directory().join("components");
    cargo(
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
    );
    let file = format!("{}.wasm", package.replace('-', "_"));
    target.join("wasm32-wasip2/component").join(file)
}

fn cargo(arguments: &[&str], target: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
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
    let done = cargo.output().unwrap_or_else(|e| panic!("cargo: {e}"));
    assert!(
        done.status.success(),
        "cargo {}, {}:\n{}",
        arguments.join(" "),
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
}
