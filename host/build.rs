//! Builds the components that are embedded in the binary: the engines, the endpoint, its config bridge, the
//! middleware, and the reducers of a ledger.
//!
//! They are built to `components` beside the profile's folder (`target/components`), always with the
//! profile `component`, so that debug, release and lint builds of the host share one set.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages of components other than the engines, which are the folders of `components/engines`.
const OTHERS: [&str; 6] = [
    "intd",
    "config-bridge",
    "middleware-flake",
    "middleware-lease",
    "reducer-merge",
    "reducer-mints",
];

const TARGET: &str = "wasm32-wasip2";

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .ok_or("the host's folder has no parent")?
        .to_owned();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target = out
        .ancestors()
        .nth(4)
        .ok_or("OUT_DIR is not in a target folder")?
        .join("components");

    for watched in [
        "components",
        "ledger/wit",
        "wit",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(watched).display()
        );
    }
    let packages = packages(&workspace)?;
    let mut own = Vec::new();
    for package in &packages {
        if !OTHERS.contains(&package.as_str())
            && let Some(feature) = own_feature(&workspace, package)?
        {
            own.push((package, format!("{package}/{feature}")));
        }
    }
    // The build for every host is the last one, so that cargo leaves it in its folder: other hosts run the files there.
    // Both builds are of the same packages. With a part of them, the libraries would have other features, and all of
    // them would be compiled twice.
    let features: Vec<_> = own.iter().map(|(_, feature)| feature.clone()).collect();
    build(&workspace, &target, &packages, &features)?;
    for (package, _) in &own {
        copy(&target, package, &out.join(file(package, "_int_host")))?;
    }
    build(&workspace, &target, &packages, &[])?;
    for package in &packages {
        copy(&target, package, &out.join(file(package, "")))?;
    }
    Ok(())
}

fn file(package: &str, suffix: &str) -> String {
    package.replace('-', "_") + suffix + ".wasm"
}

fn copy(target: &Path, package: &str, to: &Path) -> Result<(), Box<dyn Error>> {
    let file = file(package, "");
    fs::copy(target.join(TARGET).join("component").join(&file), to)
        .map_err(|e| format!("{file} was not built: {e}"))?;
    Ok(())
}

/// The feature with which an engine is built for this host: `tls`, which only this host offers, or `sockets`. None if it
/// has no build of its own for this host.
fn own_feature(workspace: &Path, package: &str) -> Result<Option<&'static str>, Box<dyn Error>> {
    let folder = package.trim_start_matches("engine-");
    let manifest = workspace
        .join("components/engines")
        .join(folder)
        .join("Cargo.toml");
    let text = fs::read_to_string(manifest)?;
    let has = |feature: &&str| text.contains(&format!("\n{feature} = ["));
    Ok(["tls", "sockets"].into_iter().find(has))
}

/// The packages of all components, the engines first.
fn packages(workspace: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut packages = Vec::new();
    for engine in fs::read_dir(workspace.join("components/engines"))? {
        let engine = engine?;
        if engine.path().join("Cargo.toml").is_file() {
            let name = engine.file_name();
            packages.push(format!("engine-{}", name.to_string_lossy()));
        }
    }
    packages.sort();
    packages.extend(OTHERS.map(str::to_owned));
    Ok(packages)
}

fn build(
    workspace: &Path,
    target: &Path,
    packages: &[String],
    features: &[String],
) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--target",
            TARGET,
            "--profile",
            "component",
            "--target-dir",
        ])
        .arg(target);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    // Settings for the host must not apply to the components: its flags, its target, and the wrapper
    // with which Clippy runs.
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    let done = cargo.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let hint = if said.contains("can't find crate for `core`")
        || said.contains("target may not be installed")
    {
        format!("\n\nThe target for components is missing; add it with: rustup target add {TARGET}")
    } else {
        String::new()
    };
    Err(format!("cannot build the components:\n{said}{hint}").into())
}
