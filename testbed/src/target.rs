//! Where cargo puts what it builds, and programs among that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Cargo's target folder: the one that the running test was built into.
///
/// # Panics
/// When the test does not run from `<target>/<profile>/deps`.
pub fn directory() -> PathBuf {
    profile_directory()
        .parent()
        .expect("a profile's folder is in a target folder")
        .to_owned()
}

/// The folder of the profile that the running test was built with, such as `target/debug`.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    // Tests are in <target>/<profile>/deps, programs one above.
    let folder = test.parent().expect("programs are in folders");
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().expect("deps is in a profile's folder"),
        _ => folder,
    }
    .to_owned()
}

/// The program `int-host`: the one that the environment variable `INT_HOST` names, or else that
/// of the profile that the running test was built with. That one is built by the first call, since cargo
/// builds the programs of a package only for that package's own tests. (`make test` names the one that
/// it built along with the tests: with fewer packages its dependencies have other features, and are
/// compiled a second time.)
///
/// # Panics
/// When it does not build.
pub fn int_host() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(named) = std::env::var_os("INT_HOST").filter(|path| !path.is_empty()) {
            // Commands run in folders of their own.
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

/// A component of the tests, built for its target by the first call.
///
/// # Panics
/// When it does not build.
pub fn component(package: &str) -> PathBuf {
    // The same settings and folder as in the host's build script: they share all dependencies.
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
    // Cargo's own variables of the running test are not meant for another build.
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
