//! The backends that engines are tested on: a server, and an administrator's access to it.

mod embedded;
mod http;
mod memory;
mod mysql;
mod postgres;
mod quorum;
mod redis;
mod rqlite;
mod summitdb;
mod tls;

use crate::error::Result;
use crate::history::Record;
use crate::{clock, target};
use int_host::{Builtin, Config, Error, Host, Options, Sequence, Source};
use std::path::PathBuf;

/// Among which callers the sequences of one backend are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only among the users of one opened sequence.
    Sequence,
    /// Within one process; other processes are refused.
    Process,
    /// Among all clients of the server.
    Everybody,
}

/// The server of one engine, or its equivalent, started for tests and stopped on drop.
pub trait Backend: Send + Sync {
    /// The DSN of the backend.
    fn dsn(&self) -> String;

    /// The DSN of the same sequences with this lattice, for backends that decide themselves which integers they
    /// mint.
    ///
    /// # Errors
    /// When a server for that lattice does not start.
    fn dsn_for(&self, _increment: i64, _offset: i64) -> Result<String> {
        Ok(self.dsn())
    }

    /// The file with the authority whose certificate its server has, if it has one.
    fn authority(&self) -> Option<PathBuf> {
        None
    }

    /// Among which callers its sequences are shared.
    fn reach(&self) -> Reach;

    /// The folder of the embedded store, if the engine uses it.
    fn data(&self) -> Option<PathBuf> {
        None
    }

    /// The port of its server, so that a test can put a proxy in between; None without a server.
    fn port(&self) -> Option<u16> {
        None
    }

    /// The DSN of a server on another port of this machine.
    ///
    /// # Panics
    /// When there is no server. [`Backend::port`] is None then.
    fn dsn_on(&self, port: u16) -> String {
        panic!("DSNs of this engine have no port, but {port} was requested");
    }

    /// A DSN with this wrong password for a server on this port. None for engines without passwords.
    fn dsn_with_password(&self, _password: &str, _port: u16) -> Option<String> {
        None
    }

    /// Prepares the storage of a sequence before it is opened, for backends whose sequences are to be stored
    /// elsewhere than where the engine would store them by default.
    ///
    /// # Errors
    /// When the server refuses.
    fn prepare(&self, _key: &str) -> Result {
        Ok(())
    }

    /// Writes a mark directly to the backend, as an administrator or another program would. False when the
    /// backend has no such access.
    ///
    /// # Errors
    /// When the server refuses.
    fn store(&self, _key: &str, _mark: i64) -> Result<bool> {
        Ok(false)
    }

    /// Whether a client may claim integers that are not the next ones.
    fn claims(&self) -> bool {
        true
    }

    /// Whether sequences mint from integers that they fetched before. Then the order (C3) is promised only among
    /// the calls on one opened sequence, `last` may be ahead of what was handed out, and mints may succeed for a
    /// while without the server.
    fn leased(&self) -> bool {
        false
    }

    /// A sequence that was just opened, with the leases that this backend is about.
    ///
    /// # Errors
    /// When the host refuses.
    fn hold(&self, sequence: Sequence) -> Result<Sequence, Error> {
        Ok(sequence)
    }

    /// Whether the engine discovers other addresses of the server from the server itself, and so can bypass a
    /// proxy.
    fn knows_other_ways(&self) -> bool {
        false
    }

    /// Kills the server without warning and restarts it. False when its sequences are not promised to survive
    /// that.
    ///
    /// # Errors
    /// When the server does not start again.
    fn crash(&self) -> Result<bool> {
        Ok(false)
    }
}

/// A kind of backend: how to start one, and whether this machine can.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name in the names of tests.
    pub name: &'static str,
    /// The engine.
    pub engine: Builtin,
    /// Starts a new server.
    pub start: fn() -> Result<Box<dyn Backend>>,
    /// Returns why it cannot be started on this machine; None when it can.
    pub missing: fn() -> Option<&'static str>,
}

/// Lists the backend of every built-in engine of `int-host` that counts in a backend, in the same order. The engine
/// `flake`, the last one, makes its integers from the clock and has tests of its own. A missing engine or a wrong
/// order is a compile error.
macro_rules! backends {
    ($($engine:ident => $backend:path),+ $(,)?) => {
        /// The backends of all engines that count, in the order of [`Builtin::ALL`].
        pub const KINDS: &[Kind] = &[$(Kind {
            name: Builtin::$engine.about().name,
            engine: Builtin::$engine,
            start: || Ok(Box::new(<$backend>::start()?)),
            missing: <$backend>::missing,
        }),+];

        const _: () = {
            let listed: &[Builtin] = &[$(Builtin::$engine),+];
            assert!(
                listed.len() + 1 == Builtin::ALL.len() && Builtin::Flake.about().clock,
                "an engine is missing here: every engine of int-host needs a backend for its tests"
            );
            let mut i = 0;
            while i < listed.len() {
                let (ours, theirs) = (listed[i].about().name, Builtin::ALL[i].about().name);
                assert!(
                    same(ours.as_bytes(), theirs.as_bytes()),
                    "list the engines in the order of Builtin::ALL"
                );
                i += 1;
            }
        };
    };
}

backends! {
    Memory => memory::Memory,
    Keyvalue => embedded::Embedded,
    Redis => redis::RedisBackend,
    Mysql => mysql::MysqlBackend,
    Postgres => postgres::PostgresBackend,
    Rqlite => rqlite::RqliteBackend,
    Summitdb => summitdb::SummitdbBackend,
    Quorum => quorum::QuorumBackend,
    Http => http::HttpBackend,
}

/// Alternative storage layouts of engines, and connections with TLS, for which the contract must hold as well.
pub const PLACES: &[Kind] = &[
    Kind {
        name: "mysql-tickets-innodb",
        engine: Builtin::Mysql,
        start: || Ok(Box::new(mysql::MysqlBackend::on_tickets("InnoDB")?)),
        missing: mysql::MysqlBackend::missing,
    },
    Kind {
        name: "mysql-tickets-myisam",
        engine: Builtin::Mysql,
        start: || Ok(Box::new(mysql::MysqlBackend::on_tickets("MyISAM")?)),
        missing: mysql::MysqlBackend::missing,
    },
    Kind {
        name: "redis-tls",
        engine: Builtin::Redis,
        start: || Ok(Box::new(tls::Tls::redis()?)),
        missing: redis::RedisBackend::missing,
    },
    Kind {
        name: "mysql-tls",
        engine: Builtin::Mysql,
        start: || Ok(Box::new(tls::Tls::mysql()?)),
        missing: mysql::MysqlBackend::missing,
    },
    Kind {
        name: "postgres-tls",
        engine: Builtin::Postgres,
        start: || Ok(Box::new(tls::Tls::postgres()?)),
        missing: postgres::PostgresBackend::missing,
    },
    Kind {
        name: "quorum-of-one",
        engine: Builtin::Quorum,
        start: || Ok(Box::new(quorum::QuorumBackend::single()?)),
        missing: quorum::QuorumBackend::missing,
    },
];

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Creates a host for tests. Compiled components are cached in the target folder.
///
/// # Errors
/// Those of [`Host::new`].
pub fn host(data: Option<PathBuf>) -> Result<Host, Error> {
    let mut options = Options::default();
    options.cache = Some(cache());
    options.data = data;
    Host::new(options)
}

/// Creates a host as [`host`] does, for the sequences of a backend.
///
/// # Errors
/// Those of [`Host::new`].
pub fn host_for(backend: &dyn Backend) -> Result<Host, Error> {
    let mut options = Options::default();
    options.cache = Some(cache());
    options.data = backend.data();
    options.ca_file = backend.authority();
    Host::new(options)
}

/// A DSN with one more parameter.
pub fn with_parameter(dsn: &str, parameter: &str) -> String {
    let mark = if dsn.contains('?') { '&' } else { '?' };
    format!("{dsn}{mark}{parameter}")
}

/// The folder in which compiled components are cached between tests.
pub fn cache() -> PathBuf {
    target::directory().join("test-cache")
}

/// Opens a sequence with the engine's default lattice.
///
/// # Errors
/// Those of [`Host::open`].
pub async fn open(host: &Host, source: &Source, dsn: &str, key: &str) -> Result<Sequence, Error> {
    let config = Config {
        dsn: dsn.to_owned(),
        key: key.to_owned(),
        ..Config::default()
    };
    host.open(source.clone(), config).await
}

/// Mints once and records the times of the call.
///
/// # Errors
/// Those of [`Sequence::next`].
///
/// # Panics
/// When another number of integers comes back than was asked for (C2).
pub async fn mint(sequence: &Sequence, process: u32, count: u32) -> Result<Record, Error> {
    let begin = clock::now();
    let minted = sequence.next(count).await?;
    let end = clock::now();
    assert_eq!(minted.count(), count, "C2: another number than asked for");
    Ok(Record {
        process,
        begin,
        end,
        span: minted.into(),
    })
}
