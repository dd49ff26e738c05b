//! Components under Spin, if it is installed.

use super::{Sequence, Store, Target, Workshop, name, sequence, start_with};
use anyhow::{Context, ensure};
use int_host::Builtin;
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::cli::Serving;
use testbed::{port, server, target};

/// What docs/hosts.md recommends. The component that returns a constant gets the same.
const OPTIONS: [&str; 4] = [
    "--idle-instance-timeout",
    "1ms",
    "--max-instance-reuse-count",
    "10000",
];

/// The file of Spin's default store, in the folder for the application's state.
const STORE: &str = "sqlite_key_value.db";

/// The path of the program, if it is installed.
pub fn program() -> Option<PathBuf> {
    server::find("spin", Some("SPIN"))
}

/// The path of the program that changes the journal of Spin's default store, if it is installed.
pub fn sqlite() -> Option<PathBuf> {
    server::find("sqlite3", None)
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
        let state = self.place.file("spin-noop");
        self.spin(
            "no-op component under Spin",
            None,
            program,
            &manifest,
            &state,
            &[],
        )
    }

    /// Starts the endpoint on Spin's default key-value store, from `spin.toml`. The store has a write-ahead log,
    /// as docs/hosts.md recommends.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spin_default(&self, program: &Path, sqlite: &Path) -> anyhow::Result<Target> {
        let sequence = sequence(Builtin::Keyvalue, "spin/default".to_owned())?;
        let state = self.place.file("spin-default");
        std::fs::create_dir_all(&state).with_context(|| format!("{}", state.display()))?;
        let changed = Command::new(sqlite)
            .arg(state.join(STORE))
            .arg("PRAGMA journal_mode=WAL")
            .output()
            .with_context(|| format!("{}", sqlite.display()))?;
        ensure!(
            changed.stdout.starts_with(b"wal"),
            "sqlite3 did not change the journal of Spin's store: {}",
            String::from_utf8_lossy(&changed.stderr)
        );
        self.spin(
            "Spin's default store",
            Some(sequence),
            program,
            &root().join("spin.toml"),
            &state,
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
        let state = self.place.file(&format!("spin-{engine}"));
        self.spin(
            &name,
            Some(sequence),
            program,
            &manifest,
            &state,
            &variables,
        )
    }

    fn spin(
        &self,
        name: &str,
        sequence: Option<Sequence>,
        program: &Path,
        manifest: &Path,
        state: &Path,
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
        command.args(OPTIONS).arg("--from").arg(manifest);
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
