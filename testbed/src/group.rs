//! A common interface to the servers of the fault tests: a group of one or more servers, one of which leads.

use crate::error::Result;
use crate::mariadb::MariaDb;
use crate::postgres::{self, Postgres};
use crate::quorum::Quorum;
use crate::redis::Redis;
use crate::rqlite::Rqlite;
use crate::served::{self, Served};
use crate::server::Server;
use crate::summitdb::{self, SummitDb};
use crate::wait;
use int_host::Builtin;

/// A running group of servers.
pub trait Group: Send + Sync {
    /// The DSN that lists all servers.
    fn dsn(&self) -> String;

    /// The DSN of only the server on this port of this machine.
    fn dsn_on(&self, port: u16) -> String;

    /// The number of servers.
    fn size(&self) -> usize;

    /// One of the servers.
    fn server(&self, index: usize) -> &Server;

    /// The port of one of the servers.
    fn port(&self, index: usize) -> u16;

    /// Waits until the group has a leader and returns its number.
    ///
    /// # Errors
    /// When it does not get one in time.
    fn leader(&self) -> Result<usize>;

    /// Makes another server the leader. False when that is not possible.
    ///
    /// # Errors
    /// When leadership does not move in time.
    fn move_leader(&self) -> Result<bool> {
        Ok(false)
    }
}

/// The groups that engines are tested on: the engine, how to start its group, and why the group is not
/// available on this machine.
pub const GROUPS: &[(Builtin, Start, Missing)] = &[
    (Builtin::Redis, || Ok(Box::new(Redis::start()?)), || None),
    (Builtin::Mysql, || Ok(Box::new(MariaDb::start()?)), || None),
    (
        Builtin::Postgres,
        || Ok(Box::new(Postgres::start()?)),
        || None,
    ),
    (
        Builtin::Rqlite,
        || Ok(Box::new(Rqlite::cluster(3)?)),
        || None,
    ),
    (
        Builtin::Summitdb,
        || Ok(Box::new(SummitDb::cluster(3)?)),
        || summitdb::program().is_none().then_some(summitdb::MISSING),
    ),
    (Builtin::Quorum, || Ok(Box::new(Quorum::start()?)), || None),
    (Builtin::Http, || Ok(Box::new(Served::start()?)), || None),
];

/// Starts a group.
pub type Start = fn() -> Result<Box<dyn Group>>;

/// Returns why something cannot run on this machine; None when it can.
pub type Missing = fn() -> Option<&'static str>;

impl Group for Redis {
    fn dsn(&self) -> String {
        Redis::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }

    fn size(&self) -> usize {
        1
    }

    fn server(&self, _: usize) -> &Server {
        self
    }

    fn port(&self, _: usize) -> u16 {
        Redis::port(self)
    }

    fn leader(&self) -> Result<usize> {
        Ok(0)
    }
}

impl Group for MariaDb {
    fn dsn(&self) -> String {
        MariaDb::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        self.dsn_of(crate::mariadb::USER, crate::mariadb::PASSWORD, port)
    }

    fn size(&self) -> usize {
        1
    }

    fn server(&self, _: usize) -> &Server {
        self
    }

    fn port(&self, _: usize) -> u16 {
        MariaDb::port(self)
    }

    fn leader(&self) -> Result<usize> {
        Ok(0)
    }
}

impl Group for Postgres {
    fn dsn(&self) -> String {
        Postgres::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        postgres::dsn(postgres::USER, postgres::PASSWORD, &[port])
    }

    fn size(&self) -> usize {
        1
    }

    fn server(&self, _: usize) -> &Server {
        self
    }

    fn port(&self, _: usize) -> u16 {
        Postgres::port(self)
    }

    fn leader(&self) -> Result<usize> {
        Ok(0)
    }
}

impl Group for Rqlite {
    fn dsn(&self) -> String {
        Rqlite::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        crate::rqlite::dsn(&[port])
    }

    fn size(&self) -> usize {
        Rqlite::size(self)
    }

    fn server(&self, index: usize) -> &Server {
        self.node(index)
    }

    fn port(&self, index: usize) -> u16 {
        self.ports()[index]
    }

    fn leader(&self) -> Result<usize> {
        Rqlite::leader(self)
    }

    fn move_leader(&self) -> Result<bool> {
        Rqlite::move_leader(self)?;
        Ok(true)
    }
}

/// The nodes have no leader: the first one stands for it.
impl Group for Quorum {
    fn dsn(&self) -> String {
        Quorum::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        Quorum::dsn_on(self, port)
    }

    fn size(&self) -> usize {
        Quorum::size(self)
    }

    fn server(&self, index: usize) -> &Server {
        Quorum::server(self, index)
    }

    fn port(&self, index: usize) -> u16 {
        Quorum::port(self, index)
    }

    fn leader(&self) -> Result<usize> {
        Ok(0)
    }
}

/// One server of integers; its Redis is not one of them.
impl Group for Served {
    fn dsn(&self) -> String {
        Served::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        served::dsn(port)
    }

    fn size(&self) -> usize {
        1
    }

    fn server(&self, _: usize) -> &Server {
        Served::server(self)
    }

    fn port(&self, _: usize) -> u16 {
        Served::port(self)
    }

    fn leader(&self) -> Result<usize> {
        Ok(0)
    }
}

impl Group for SummitDb {
    fn dsn(&self) -> String {
        SummitDb::dsn(self)
    }

    fn dsn_on(&self, port: u16) -> String {
        summitdb::dsn(&[port])
    }

    fn size(&self) -> usize {
        SummitDb::size(self)
    }

    fn server(&self, index: usize) -> &Server {
        self.node(index)
    }

    fn port(&self, index: usize) -> u16 {
        self.ports()[index]
    }

    fn leader(&self) -> Result<usize> {
        SummitDb::leader(self)
    }

    /// SummitDB has no command for this: the leader is frozen until the others have elected a new one, and then
    /// resumes, still believing that it leads.
    fn move_leader(&self) -> Result<bool> {
        let before = SummitDb::leader(self)?;
        self.node(before).pause();
        let moved = wait::until_true("another node leads", summitdb::ELECTION, || {
            self.leads_besides(before)
        });
        self.node(before).resume();
        moved.map(|()| true)
    }
}
