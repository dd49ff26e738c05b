//! Servers as the fault tests see them: a group in which one leads, however many there are.

use crate::mariadb::MariaDb;
use crate::redis::Redis;
use crate::rqlite::Rqlite;
use crate::server::Server;
use crate::summitdb::{self, SummitDb};
use crate::wait;
use int_host::Builtin;

/// A running group of servers.
pub trait Group: Send + Sync {
    /// How to reach all of them.
    fn dsn(&self) -> String;

    /// How to reach one through this port of this machine, and nothing else.
    fn dsn_on(&self, port: u16) -> String;

    /// How many there are.
    fn size(&self) -> usize;

    /// One of them.
    fn server(&self, index: usize) -> &Server;

    /// The port of one of them.
    fn port(&self, index: usize) -> u16;

    /// The number of the one that answers now; waits until there is one.
    fn leader(&self) -> usize;

    /// Makes another one the leader. False when there is no way to do that.
    fn move_leader(&self) -> bool {
        false
    }
}

/// The groups that engines are tested on: the engine, how to start its group, and why there is none
/// on this machine.
pub const GROUPS: &[(Builtin, Start, Missing)] = &[
    (Builtin::Redis, || Box::new(Redis::start()), || None),
    (Builtin::Mysql, || Box::new(MariaDb::start()), || None),
    (Builtin::Rqlite, || Box::new(Rqlite::cluster(3)), || None),
    (
        Builtin::Summitdb,
        || Box::new(SummitDb::cluster(3)),
        || summitdb::program().is_none().then_some(summitdb::MISSING),
    ),
];

/// How a group is started.
pub type Start = fn() -> Box<dyn Group>;

/// Why something cannot run here; None when it can.
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

    fn leader(&self) -> usize {
        0
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

    fn leader(&self) -> usize {
        0
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

    fn leader(&self) -> usize {
        Rqlite::leader(self)
    }

    fn move_leader(&self) -> bool {
        Rqlite::move_leader(self);
        true
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

    fn leader(&self) -> usize {
        SummitDb::leader(self)
    }

    /// There is no command for it: the leader is frozen until the others have chosen another one, and then
    /// comes back, believing that it still leads.
    fn move_leader(&self) -> bool {
        let before = SummitDb::leader(self);
        self.node(before).pause();
        wait::until_true("another node leads", summitdb::ELECTION, || {
            self.leads_besides(before)
        });
        self.node(before).resume();
        true
    }
}
