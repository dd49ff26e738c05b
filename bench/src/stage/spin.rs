//! Components under Spin, if it is installed.

use super::{Sequence, Store, Target, Workshop, name, sequence, start_with};
use anyhow::{Context, ensure};
use int_host::Builtin;
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::cli::Serving;
use testbed::{port, server, target};

/// How long Spin keeps an idle instance: what docs/hosts.md recommends. The component that returns a
/// constant gets the same.
const IDLE_INSTANCE_TIMEOUT: &str = "1ms";

/// The path of the program, if it is installed.
pub fn program() -> Option<PathBuf> {
    server::find("spin", Some("SPIN"))
}

impl Workshop {
    /// Starts the component that returns a constant, under Spin.
    ///
    /// # Errors
    /// When it cannot be built or does not start.
    pub fn spin_noop(&self, program: &Path) -> anyhow::Result<Target> {
        let file = target::component("noop")?;
        let file = file.to_str().context("the path of the target folder")?;
        let manifest = self.place.file("noop.toml");
        let text = format!(
            "spin_manifest_version = 2\n\
             [application]\nname = \"noop\"\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"noop\"\n\
             [component.noop]\nsource = {file:?}\n"
        );
        std::fs::write(&manifest, text).with_context(|| format!("{}", manifest.display()))?;
        self.spin("no-op component under Spin", None, program, &manifest, &[])
    }

    /// Starts the endpoint on Spin's default key-value store, from `spin.toml`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spin_default(&self, program: &Path) -> anyhow::Result<Target> {
        let sequence = sequence(Builtin::Keyvalue, "spin/default".to_owned())?;
        let manifest = root().join("spin.toml");
        self.spin(
            "Spin's default store",
            Some(sequence),
            program,
            &manifest,
            &[],
        )
    }

    /// Starts the endpoint with an engine whose backend has an address, from its manifest in `tests/spin`.
    ///
    /// # Errors
    /// When there is no such manifest, or it does not start.
    pub fn spin_on(&self, program: &Path, store: &Store) -> anyhow::Result<Target> {
        let engine = name(store.engine);
        let dsn = store.dsn();
        let port = store.port().context("the backend has no port")?;
        let variables = [
            ("SPIN_VARIABLE_DSN", dsn),
            ("SPIN_VARIABLE_BACKEND", format!("tcp://127.0.0.1:{port}")),
            ("SPIN_VARIABLE_KEY", "spin".to_owned()),
        ];
        let sequence = sequence(store.engine, format!("{engine}/spin"))?;
        let manifest = root().join(format!("tests/spin/{engine}.toml"));
        let name = format!("{engine} under Spin");
        self.spin(&name, Some(sequence), program, &manifest, &variables)
    }

    fn spin(
        &self,
        name: &str,
        sequence: Option<Sequence>,
        program: &Path,
        manifest: &Path,
        variables: &[(&str, String)],
    ) -> anyhow::Result<Target> {
        let built = root().join("target/components/wasm32-wasip2/component/intd.wasm");
        ensure!(
            built.is_file(),
            "the Spin manifests require the target folder `target`: {} is missing",
            built.display()
        );
        let port = port::free()?;
        let mut command = Command::new(program);
        command.args(["up", "--quiet", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--idle-instance-timeout", IDLE_INSTANCE_TIMEOUT]);
        command.arg("--from").arg(manifest);
        // A separate store for each server.
        let state = self.place.file(&format!("spin-{port}"));
        command.arg("--state-dir").arg(state);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        start_with(name.to_owned(), sequence, || {
            Serving::start_saying(command, |log| log.contains("Serving http").then_some(port))
        })
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
