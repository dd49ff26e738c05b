//! What an engine is tested on: its server, and an administrator's view of it.

mod embedded;
mod memory;
mod mysql;
mod redis;
mod rqlite;
mod summitdb;

use crate::target;
use int_host::{Builtin, Config, Error, Host, Options, Sequence, Source};
use std::path::PathBuf;

/// How far the sequences of one backend are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Among those who share one opened sequence.
    Sequence,
    /// Within one process: another one is turned away.
    Process,
    /// Among everybody who reaches the server.
    Everybody,
}

/// One engine's server, or what stands in its place, started for tests and gone when dropped.
pub trait Backend: Send + Sync {
    /// How to reach it.
    fn dsn(&self) -> String;

    /// How far its sequences are shared.
    fn reach(&self) -> Reach;

    /// The folder of the embedded store, for the engine that uses it.
    fn data(&self) -> Option<PathBuf> {
        None
    }

    /// The port of its only server, where there is one, to put a proxy in between.
    fn port(&self) -> Option<u16> {
        None
    }

    /// How to reach a server on another port of this machine.
    fn dsn_on(&self, port: u16) -> String {
        panic!("no DSN of this engine names a port, not even {port}");
    }

    /// A DSN with this password, which is wrong, for a server on this port. None for engines without passwords.
    fn dsn_with_password(&self, _password: &str, _port: u16) -> Option<String> {
        None
    }

    /// Makes a place for a sequence before it is opened, where the backend can keep sequences in other places
    /// than the one that the engine would make.
    fn prepare(&self, _key: &str) {}

    /// Stores a mark behind the engine's back, as an administrator or another program would. False when that
    /// cannot be done from outside.
    fn store(&self, _key: &str, _mark: i64) -> bool {
        false
    }

    /// Whether the engine asks its server for other addresses of the same server, and so finds a way around
    /// a proxy.
    fn knows_other_ways(&self) -> bool {
        false
    }

    /// Kills what holds the integers, without warning, and starts it again. False when what is kept there
    /// is not promised to survive that.
    fn crash(&self) -> bool {
        false
    }
}

/// A kind of backend: how to start one, and why that cannot be done here.
#[derive(Clone, Copy)]
pub struct Kind {
    /// What it is called in the names of tests.
    pub name: &'static str,
    /// The engine.
    pub engine: Builtin,
    /// Starts a server of its own.
    pub start: fn() -> Box<dyn Backend>,
    /// Why there is none on this machine; None when there is.
    pub missing: fn() -> Option<&'static str>,
}

/// Lists the backend of every engine that `int-host` carries, in the same order. An engine that is forgotten
/// here, or stands in the wrong place, does not compile.
macro_rules! backends {
    ($($engine:ident => $backend:path),+ $(,)?) => {
        /// The backends of all engines, in the order of [`Builtin::ALL`].
        pub const KINDS: &[Kind] = &[$(Kind {
            name: Builtin::$engine.about().name,
            engine: Builtin::$engine,
            start: || Box::new(<$backend>::start()),
            missing: <$backend>::missing,
        }),+];

        const _: () = {
            let listed: &[Builtin] = &[$(Builtin::$engine),+];
            assert!(
                listed.len() == Builtin::ALL.len(),
                "an engine is missing here: every engine of int-host needs a backend to be tested on"
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
    Rqlite => rqlite::RqliteBackend,
    Summitdb => summitdb::SummitdbBackend,
}

/// Other places where engines keep sequences, for which the contract holds as well.
pub const PLACES: &[Kind] = &[
    Kind {
        name: "mysql-tickets-innodb",
        engine: Builtin::Mysql,
        start: || Box::new(mysql::MysqlBackend::on_tickets("InnoDB")),
        missing: mysql::MysqlBackend::missing,
    },
    Kind {
        name: "mysql-tickets-myisam",
        engine: Builtin::Mysql,
        start: || Box::new(mysql::MysqlBackend::on_tickets("MyISAM")),
        missing: mysql::MysqlBackend::missing,
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

/// A host as the tests use it. Compiled components are kept in the target folder.
///
/// # Panics
/// When the machine does not allow it.
pub fn host(data: Option<PathBuf>) -> Host {
    let mut options = Options::default();
    options.cache = Some(cache());
    options.data = data;
    Host::new(options).unwrap_or_else(|e| panic!("the host: {e}"))
}

/// Where compiled components are kept between tests.
pub fn cache() -> PathBuf {
    target::directory().join("test-cache")
}

/// Opens a sequence by key.
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
