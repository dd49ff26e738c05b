//! A smoke test of the binary. The end-to-end tests are in the package `integration-tests`, which needs the
//! binary; a test in this package makes cargo build it along with them.

use std::process::Command;

#[test]
fn the_program_knows_its_version_and_its_engines() {
    let version = Command::new(env!("CARGO_BIN_EXE_int-host"))
        .arg("--version")
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&version.stdout);
    assert_eq!(text.trim(), concat!("int-host ", env!("CARGO_PKG_VERSION")));
    let engines = Command::new(env!("CARGO_BIN_EXE_int-host"))
        .arg("engines")
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&engines.stdout);
    for engine in int_host::Builtin::ALL {
        let name = engine.about().name;
        assert!(text.contains(name), "no {name} in {text}");
    }
}
