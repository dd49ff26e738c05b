//! Backends that servers reach with and without TLS.

use super::{Target, Workshop, in_memory, name, sequence};
use anyhow::{Context, bail};
use int_host::Builtin;
use std::any::Any;
use std::path::Path;
use testbed::backend::with_parameter;
use testbed::certificates::{Authority, Stored};
use testbed::mariadb::MariaDb;
use testbed::port;
use testbed::postgres::Postgres;
use testbed::redis::Redis;
use testbed::rqlite::Rqlite;

/// The engines that reach their backends through TLS.
pub const ENGINES: [Builtin; 4] = [
    Builtin::Redis,
    Builtin::Mysql,
    Builtin::Postgres,
    Builtin::Rqlite,
];

/// Two servers in front of one backend.
pub struct Secured {
    /// The engine of both.
    pub engine: Builtin,
    /// `int-host serve`, which reaches the backend without TLS.
    pub plain: Target,
    /// `int-host serve`, which reaches it through TLS.
    pub tls: Target,
    _backend: Backend,
    _authority: Authority,
}

impl Workshop {
    /// Starts a backend of one of [`ENGINES`], with the configuration of the other rows, and the servers.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn secured(&self, engine: Builtin) -> anyhow::Result<Secured> {
        let authority = Authority::new()?;
        let file = authority.file();
        let backend = Backend::start(engine, &authority.for_this_machine()?, &file)
            .with_context(|| format!("starting the backend of {} with TLS", name(engine)))?;
        let engine_name = name(engine);
        let serve = |key: &str, dsn: &str, more: &[&str]| {
            let mut options = vec!["--engine", engine_name, "--dsn", dsn, "--key", key];
            options.extend(more);
            let sequence = sequence(engine, format!("secured {engine_name}/{key}"))?;
            self.int_host(
                format!("serve {engine_name}, {key}"),
                Some(sequence),
                &options,
            )
        };
        let file = file.to_str().context("the path of temporary files")?;
        Ok(Secured {
            engine,
            plain: serve("without TLS", &backend.plain, &[])?,
            tls: serve("through TLS", &backend.tls, &["--ca-file", file])?,
            _backend: backend,
            _authority: authority,
        })
    }
}

/// A running backend. It stops on drop.
struct Backend {
    /// The DSN without TLS.
    plain: String,
    /// The DSN with TLS.
    tls: String,
    _servers: Vec<Box<dyn Any>>,
}

impl Backend {
    fn start(engine: Builtin, certificate: &Stored, authority: &Path) -> anyhow::Result<Self> {
        match engine {
            Builtin::Redis => Self::redis(certificate, authority),
            Builtin::Mysql => Self::mysql(certificate),
            Builtin::Postgres => Self::postgres(certificate, authority),
            Builtin::Rqlite => Self::rqlite(certificate),
            engine => bail!("{} has no TLS", name(engine)),
        }
    }

    fn redis(certificate: &Stored, authority: &Path) -> anyhow::Result<Self> {
        let port = port::free()?;
        let server = Redis::with(in_memory().with_tls(port, certificate, authority))?;
        Ok(Self {
            plain: server.dsn(),
            tls: format!("rediss://127.0.0.1:{port}"),
            _servers: vec![Box::new(server)],
        })
    }

    fn mysql(certificate: &Stored) -> anyhow::Result<Self> {
        let server = MariaDb::with_tls(certificate)?;
        Ok(Self {
            plain: with_parameter(&server.dsn(), "tls=false"),
            tls: with_parameter(&server.dsn(), "tls=true"),
            _servers: vec![Box::new(server)],
        })
    }

    fn postgres(certificate: &Stored, authority: &Path) -> anyhow::Result<Self> {
        let server = Postgres::with_tls(certificate, authority, &[])?;
        Ok(Self {
            plain: with_parameter(&server.dsn(), "sslmode=disable"),
            tls: with_parameter(&server.dsn(), "sslmode=verify-full"),
            _servers: vec![Box::new(server)],
        })
    }

    /// Two servers: rqlite has one port, with TLS or without.
    fn rqlite(certificate: &Stored) -> anyhow::Result<Self> {
        let plain = Rqlite::start()?;
        let tls = Rqlite::with(&[
            "-http-cert",
            &certificate.chain.display().to_string(),
            "-http-key",
            &certificate.key.display().to_string(),
        ])?;
        Ok(Self {
            plain: plain.dsn(),
            tls: tls.dsn().replacen("http://", "https://", 1),
            _servers: vec![Box::new(plain), Box::new(tls)],
        })
    }
}
