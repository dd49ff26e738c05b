//! The engines that are built into the binary.

mod table;

use engine_dsn::Address;
use table::{Entry, TABLE};

/// A built-in engine. All its properties are in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builtin {
    /// In the memory of one instance.
    Memory,
    /// The host's embedded store.
    Keyvalue,
    /// Redis, Valkey and other servers with the same wire protocol.
    Redis,
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
    /// rqlite.
    Rqlite,
    /// SummitDB.
    Summitdb,
    /// A quorum of nodes.
    Quorum,
    /// Another server of integers.
    Http,
    /// The clock.
    Flake,
}

/// The properties of an engine that users need to choose one. The source of `--help`, of
/// `int-host engines` and of the table in the README.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct About {
    /// The name after `--engine`.
    pub name: &'static str,
    /// The forms of its DSN, without parameters. Parts in `[…]` are optional, words in capitals are
    /// placeholders, and a port in `[…]` is the default.
    pub dsn: &'static [&'static str],
    /// The default DSN; None for engines that need one.
    pub default_dsn: Option<&'static str>,
    /// The parameters that the DSN may have after a `?`, or as further keywords, each with an example value.
    pub parameters: &'static [&'static str],
    /// The default offset: a new sequence gives 2, 4, 6, … with offset 0 and 1, 3, 5, … with offset 1.
    pub offset: i64,
    /// Whether its integers are made from the time instead of being counted in a backend.
    pub clock: bool,
    /// The failures after which an integer that was handed out is not repeated.
    pub survives: &'static str,
}

impl About {
    /// The first integers of a new sequence.
    pub const fn counts(&self) -> &'static str {
        match self.offset {
            _ if self.clock => "time, number, node",
            0 => "2, 4, 6, …",
            _ => "1, 3, 5, …",
        }
    }

    /// Whether one of the forms of its DSN has this scheme, like `rediss`.
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.dsn
            .iter()
            .filter_map(|form| form.split_once("://"))
            .any(|(form, _)| {
                [form.replace("[s]", ""), form.replace("[s]", "s")].contains(&scheme.to_owned())
            })
    }
}

impl Builtin {
    /// All engines, in the order in which they are listed.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Memory; TABLE.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].engine;
            assert!(
                all[i] as usize == i,
                "the table lists the engines in the order of the enumeration"
            );
            i += 1;
        }
        all
    };

    /// The engine that is used if none is named.
    pub const DEFAULT: Self = Self::Keyvalue;

    /// The engine of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.about().name == name)
    }

    /// The properties that users need to choose it.
    pub const fn about(self) -> About {
        self.entry().about
    }

    /// The component itself, as it runs on this host.
    pub const fn wasm(self) -> &'static [u8] {
        self.entry().wasm
    }

    /// Whether an instance keeps in its own memory what it has minted, so that all calls of a sequence have to be
    /// made in one instance.
    #[cfg(feature = "serve")]
    pub(crate) const fn in_memory(self) -> bool {
        self.entry().in_memory
    }

    /// Whether no other process can change its marks, nor remove them unnoticed: the embedded store is locked and counts
    /// its commits, and another instance of an engine in memory has another generation.
    #[cfg(feature = "serve")]
    pub(crate) const fn is_exclusive(self) -> bool {
        self.entry().exclusive
    }

    /// Whether the backend may lose marks and go on. An open sequence may tell the greatest one that it has seen then, while
    /// that of another engine fails, or tells what the backend has.
    #[cfg(feature = "serve")]
    pub(crate) const fn is_lossy(self) -> bool {
        self.entry().lossy
    }

    /// The component for other hosts. It does not import `artisanal:integers/tls`, which this host alone has, and refuses a
    /// DSN that asks for TLS; and it does not open sockets if requests over `wasi:http` do as well.
    pub const fn plain_wasm(self) -> &'static [u8] {
        self.entry().plain
    }

    /// The default port of its DSN; None for engines that use no network.
    pub(crate) const fn port(self) -> Option<u16> {
        self.entry().port
    }

    /// Whether the nodes of its backend redirect clients to each other, at ports that the DSN does not
    /// contain.
    pub(crate) const fn redirects(self) -> bool {
        self.entry().redirects
    }

    /// The default number of calls in flight per sequence: as many as improve throughput.
    pub(crate) const fn calls(self) -> usize {
        self.entry().calls
    }

    /// The address that it connects to if its DSN contains none.
    pub(crate) fn default_address(self) -> Option<Address> {
        let (host, port) = self.entry().default_address?;
        Some(Address {
            host: host.to_owned(),
            port: Some(port),
        })
    }

    const fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }
}

/// The HTTP endpoint, to be composed with an engine.
pub static INTD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/intd.wasm"));

/// The adapter that passes the settings of `wasmtime serve` to [`INTD`].
pub static CONFIG_BRIDGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config_bridge.wasm"));

/// The middleware that makes integers from the time and the number of a node, which it leases from the engine that it
/// is composed with. The parameter `flake` of the DSN sets the layout of the integers.
pub static FLAKE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/middleware_flake.wasm"));

/// The middleware for leases, to be composed with an engine. The parameter `lease` of the DSN sets the size of the
/// largest span. It gives up the order of integers between holders.
pub static LEASE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/middleware_lease.wasm"));
