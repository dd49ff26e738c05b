//! The processes that are measured: backends, servers in front of them, and yardsticks.

pub mod secured;
pub mod spin;

use crate::integers::Lattice;
use crate::native::{Place, lattice};
use crate::yardstick::CONSTANT;
use anyhow::{Context, anyhow, ensure};
use int_host::Builtin;
use int_host::runtime;
use std::path::PathBuf;
use std::process::Command;
use testbed::backend::{Backend, KINDS};
use testbed::cli::{self, Serving};
use testbed::redis::{Options, Redis};
use testbed::target;

/// A running backend. It stops on drop.
pub struct Store {
    /// The engine for it.
    pub engine: Builtin,
    server: Server,
}

enum Server {
    Redis(Redis),
    Other(Box<dyn Backend>),
}

impl Server {
    fn start(engine: Builtin) -> anyhow::Result<Self> {
        if engine == Builtin::Redis {
            return Ok(Self::Redis(Redis::with(in_memory())?));
        }
        let kind = KINDS
            .iter()
            .find(|kind| kind.engine == engine)
            .with_context(|| format!("{engine:?} has no backend"))?;
        Ok(Self::Other((kind.start)()?))
    }
}

/// The options of a Redis without an append-only file, which is its own default.
fn in_memory() -> Options {
    Options {
        extra: ["--appendonly", "no"].map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

impl Store {
    /// Starts a backend with its default configuration on a free port.
    ///
    /// Redis runs with its own defaults, without an append-only file: waiting for the disk would hide the cost
    /// of everything else.
    ///
    /// # Errors
    /// When it cannot be started. The message says how to install it if it is missing.
    pub fn start(engine: Builtin) -> anyhow::Result<Self> {
        let server = Server::start(engine)
            .with_context(|| format!("starting the backend of {}", name(engine)))?;
        Ok(Self { engine, server })
    }

    /// Why there is no backend to measure; None when there is one. Only SummitDB is optional, since no package manager
    /// has it.
    pub fn missing(engine: Builtin) -> Option<&'static str> {
        let kind = KINDS.iter().find(|kind| kind.engine == engine);
        kind.map_or(
            Some("it mints without a backend, so there is nothing to compare it with"),
            |kind| (kind.missing)(),
        )
    }

    /// The DSN of the backend.
    pub fn dsn(&self) -> String {
        match &self.server {
            Server::Redis(redis) => redis.dsn(),
            Server::Other(backend) => backend.dsn(),
        }
    }

    /// The port on 127.0.0.1, if the backend has one.
    pub fn port(&self) -> Option<u16> {
        match &self.server {
            Server::Redis(redis) => Some(redis.port()),
            Server::Other(backend) => backend.port(),
        }
    }

    /// The location of the sequence with this key, for a native client.
    pub fn place(&self, key: &str) -> Place {
        match (self.engine, self.data(key)) {
            (Builtin::Memory, _) => Place::Memory,
            (_, Some(data)) => Place::Data(data),
            _ => Place::Dsn(self.dsn()),
        }
    }

    /// The folder of the embedded store, if the engine uses it. Only one process at a time can open a
    /// store, so each key has its own store here.
    pub fn data(&self, key: &str) -> Option<PathBuf> {
        match &self.server {
            Server::Redis(_) => None,
            Server::Other(backend) => Some(backend.data()?.join(key)),
        }
    }

    /// The options of `int-host` that select the sequence with this key.
    fn options(&self, key: &str) -> Vec<String> {
        let mut options = vec!["--dsn".to_owned(), self.dsn(), "--key".into(), key.into()];
        if let Some(data) = self.data(key) {
            options.extend(["--data".to_owned(), data.display().to_string()]);
        }
        options
    }
}

/// A running HTTP server. It stops on drop.
pub struct Target {
    /// The name in the report.
    pub name: String,
    /// The sequence that it mints from; None when it returns a constant.
    pub sequence: Option<Sequence>,
    serving: Serving,
}

/// A sequence in a backend.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The engine and the key.
    pub name: String,
    /// The lattice of its integers.
    pub lattice: Lattice,
    /// Whether it starts again with each process.
    pub forgets: bool,
}

impl Target {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.serving.port()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.serving.id()
    }

    /// The body of every response, if the server returns a constant.
    pub fn constant(&self) -> Option<&'static [u8]> {
        match self.sequence {
            Some(_) => None,
            None => Some(CONSTANT),
        }
    }
}

/// The folder that servers run in, and their files.
pub struct Workshop {
    place: cli::Place,
}

impl Workshop {
    /// Creates the folder.
    ///
    /// # Errors
    /// When no temporary folder can be created.
    pub fn new() -> anyhow::Result<Self> {
        let place = cli::Place::new()?;
        Ok(Self { place })
    }

    /// Starts the server that returns a constant, with tokio's default number of threads.
    ///
    /// # Errors
    /// When it does not start.
    pub fn bare(&self) -> anyhow::Result<Target> {
        start("bare hyper".to_owned(), None, program("bare", &[])?)
    }

    /// Starts the same server with as many threads as `int-host serve`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn bare_alike(&self) -> anyhow::Result<Target> {
        let threads = runtime::Options::default().threads;
        let command = program("bare", &["--threads", &threads.to_string()])?;
        start(format!("bare hyper, threads: {threads}"), None, command)
    }

    /// Starts the server that mints with the backend's native client.
    ///
    /// # Errors
    /// When it does not start.
    pub fn native(&self, store: &Store) -> anyhow::Result<Target> {
        let engine = name(store.engine);
        let place = store.options("native");
        let mut arguments = vec!["--engine", engine];
        arguments.extend(place.iter().map(String::as_str));
        let command = program("native", &arguments)?;
        let sequence = sequence(store.engine, format!("{engine}/native"))?;
        start(format!("native {engine}"), Some(sequence), command)
    }

    /// Starts `int-host serve` on this sequence, with additional options.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(&self, store: &Store, key: &str, options: &[&str]) -> anyhow::Result<Target> {
        let engine = name(store.engine);
        let place = store.options(key);
        let mut arguments = vec!["--engine", engine];
        arguments.extend(place.iter().map(String::as_str));
        arguments.extend(options);
        let sequence = sequence(store.engine, format!("{engine}/{key}"))?;
        self.int_host(format!("serve {engine}"), Some(sequence), &arguments)
    }

    /// Starts `int-host serve` in front of other servers.
    ///
    /// # Errors
    /// When it does not start.
    pub fn front(&self, engine: Builtin, dsn: &str) -> anyhow::Result<Target> {
        let name = name(engine);
        let sequence = Sequence {
            // The servers behind it are new ones each time.
            forgets: true,
            ..sequence(engine, format!("{name}/front"))?
        };
        let options = ["--engine", name, "--dsn", dsn];
        self.int_host(format!("serve {name}, front"), Some(sequence), &options)
    }

    /// Starts the endpoint, composed with an engine, under `int-host serve`.
    ///
    /// # Errors
    /// When it cannot be composed or does not start.
    pub fn composed(&self, store: &Store, key: &str) -> anyhow::Result<Target> {
        let engine = name(store.engine);
        let file = self.place.file(&format!("intd-{engine}.wasm"));
        let file = file.to_str().context("the path of temporary files")?;
        let line = ["compose", "--engine", engine, "--output", file];
        let done = self.place.run(&line);
        let done = done.with_context(|| format!("composing {engine}"))?;
        ensure!(done.code == Some(0), "composing {engine}: {}", done.stderr);
        let place = store.options(key);
        let mut arguments = vec!["--component", file];
        arguments.extend(place.iter().map(String::as_str));
        let sequence = sequence(store.engine, format!("{engine}/{key}"))?;
        self.int_host(format!("composed {engine}"), Some(sequence), &arguments)
    }

    /// Starts the component that returns a constant, under `int-host serve` with the same options.
    ///
    /// # Errors
    /// When it cannot be built or does not start.
    pub fn noop(&self) -> anyhow::Result<Target> {
        let file = target::component("noop")?;
        let file = file.to_str().context("the path of the target folder")?;
        let arguments = ["--component", file, "--dsn", "memory://"];
        self.int_host("no-op component".to_owned(), None, &arguments)
    }

    /// Builds a command of `int-host`.
    ///
    /// # Errors
    /// When the program cannot be built.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        Ok(self.place.command(arguments)?)
    }

    fn int_host(
        &self,
        name: String,
        sequence: Option<Sequence>,
        options: &[&str],
    ) -> anyhow::Result<Target> {
        let mut arguments = vec!["serve", "--port", "0", "--host", "127.0.0.1"];
        arguments.extend(options);
        start(name, sequence, self.place.command(&arguments)?)
    }
}

/// The name of an engine, as in `--engine`.
pub fn name(engine: Builtin) -> &'static str {
    engine.about().name
}

/// The sequence of this name, which an engine mints from.
pub(crate) fn sequence(engine: Builtin, name: String) -> anyhow::Result<Sequence> {
    let lattice = lattice(engine)?;
    Ok(Sequence {
        name,
        lattice: Lattice {
            increment: lattice.increment(),
            offset: lattice.offset(),
        },
        forgets: engine == Builtin::Memory,
    })
}

fn start(name: String, sequence: Option<Sequence>, command: Command) -> anyhow::Result<Target> {
    start_with(name, sequence, || Serving::start(command))
}

fn start_with(
    name: String,
    sequence: Option<Sequence>,
    serve: impl FnOnce() -> testbed::Result<Serving>,
) -> anyhow::Result<Target> {
    // The message contains the command line, which may list ten thousand keys; the last line has the reason.
    let serving = serve()
        .map_err(|error| anyhow!("{name} did not start: {}", last_line(&error.to_string())))?;
    Ok(Target {
        name,
        sequence,
        serving,
    })
}

fn last_line(text: &str) -> &str {
    let lines = text.lines().map(str::trim);
    let line = lines
        .rev()
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.char_indices()
        .nth(300)
        .map_or(line, |(end, _)| &line[..end])
}

/// A program of this package: in the folder of the running one, or in the parent folder of a bench.
fn program(name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let running = std::env::current_exe()?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let found = running
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{name} is not built; run: cargo build --release --package bench --bins")
        })?;
    let mut command = Command::new(found);
    command.args(["--port", "0"]).args(arguments);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all engines, with which a benchmark begins, only these may have no backend on a machine.
    #[test]
    fn only_flake_and_a_missing_summitdb_are_skipped() {
        let skipped = Builtin::ALL
            .into_iter()
            .filter(|engine| Store::missing(*engine).is_some());
        let always: Vec<_> = skipped
            .filter(|engine| *engine != Builtin::Summitdb)
            .collect();
        assert_eq!(always, [Builtin::Flake]);
    }
}
