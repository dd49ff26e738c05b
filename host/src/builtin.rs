//! The engines that the binary carries.

use engine_dsn::Address;

/// One engine of the binary, with what `int-host engines` tells about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builtin {
    /// In the memory of one instance.
    Memory,
    /// The host's embedded store.
    Keyvalue,
    /// Redis, Valkey and others of its wire protocol.
    Redis,
    /// MySQL and MariaDB.
    Mysql,
    /// rqlite.
    Rqlite,
    /// SummitDB.
    Summitdb,
}

/// What a person needs to know of an engine to choose it. `--help`, `int-host engines` and the
/// table in the README are made from this.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct About {
    /// The name after `--engine`.
    pub name: &'static str,
    /// The forms of its DSN, without parameters. What stands in `[…]` can be left out, words in
    /// capitals are to be replaced, and a port in `[…]` is the one that is meant without it.
    pub dsn: &'static [&'static str],
    /// The DSN when none is given; None for engines that need one.
    pub default_dsn: Option<&'static str>,
    /// The parameters that the DSN may have, each with an example, to be written after a `?`.
    pub parameters: &'static [&'static str],
    /// What a fresh sequence gives.
    pub counts: &'static str,
    /// What an integer handed out survives.
    pub survives: &'static str,
}

impl Builtin {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Keyvalue,
        Self::Redis,
        Self::Mysql,
        Self::Rqlite,
        Self::Summitdb,
    ];

    /// The one that is used where none is named.
    pub const DEFAULT: Self = Self::Keyvalue;

    /// The engine of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.about().name == name)
    }

    /// What a person needs to know of it.
    pub const fn about(self) -> About {
        match self {
            Self::Memory => About {
                name: "memory",
                dsn: &["memory://"],
                default_dsn: Some("memory://"),
                parameters: &[],
                counts: "2, 4, 6, …",
                survives: "nothing: the integers begin anew with the process",
            },
            Self::Keyvalue => About {
                name: "keyvalue",
                dsn: &["keyvalue://BUCKET"],
                default_dsn: Some("keyvalue://default"),
                parameters: &["timeout=2s"],
                counts: "2, 4, 6, …",
                survives: "crashes and power cuts: every commit waits for the disk",
            },
            Self::Redis => About {
                name: "redis",
                dsn: &[
                    "redis://[[USER]:PASSWORD@]HOST[:6379][,HOST2…][/DB]",
                    "redis+sentinel://[[USER]:PASSWORD@]HOST[:26379][,HOST2…]/NAME[/DB]",
                ],
                default_dsn: None,
                parameters: &["timeout=2s", "wait=REPLICAS"],
                counts: "2, 4, 6, …",
                survives: "what Redis is set to survive: with appendonly yes and appendfsync always, crashes",
            },
            Self::Mysql => About {
                name: "mysql",
                dsn: &[
                    "mysql://USER:PASSWORD@HOST[:3306][,HOST2…]/DATABASE",
                    "USER:PASSWORD@[tcp(HOST[:3306])]/DATABASE",
                ],
                default_dsn: None,
                parameters: &["timeout=2s"],
                counts: "1, 3, 5, …",
                survives: "crashes, with InnoDB and innodb_flush_log_at_trx_commit=1 (the server's default)",
            },
            Self::Rqlite => About {
                name: "rqlite",
                dsn: &["http[s]://[USER:PASSWORD@]HOST[:4001][,HOST2…]"],
                default_dsn: Some("http://localhost:4001"),
                parameters: &["timeout=2s"],
                counts: "1, 3, 5, …",
                survives: "the loss of a minority of the nodes",
            },
            Self::Summitdb => About {
                name: "summitdb",
                dsn: &["redis://HOST[:7481][,HOST2…]"],
                default_dsn: None,
                parameters: &["timeout=45s"],
                counts: "2, 4, 6, …",
                survives: "the loss of a minority of the nodes, with -durability high (the default)",
            },
        }
    }

    /// The component itself.
    pub const fn wasm(self) -> &'static [u8] {
        match self {
            Self::Memory => include_bytes!(concat!(env!("OUT_DIR"), "/engine_memory.wasm")),
            Self::Keyvalue => include_bytes!(concat!(env!("OUT_DIR"), "/engine_keyvalue.wasm")),
            Self::Redis => include_bytes!(concat!(env!("OUT_DIR"), "/engine_redis.wasm")),
            Self::Mysql => include_bytes!(concat!(env!("OUT_DIR"), "/engine_mysql.wasm")),
            Self::Rqlite => include_bytes!(concat!(env!("OUT_DIR"), "/engine_rqlite.wasm")),
            Self::Summitdb => include_bytes!(concat!(env!("OUT_DIR"), "/engine_summitdb.wasm")),
        }
    }

    /// The port where its DSN names none; None for engines that open no address.
    pub(crate) const fn port(self) -> Option<u16> {
        match self {
            Self::Memory | Self::Keyvalue => None,
            Self::Redis => Some(6379),
            Self::Mysql => Some(3306),
            Self::Rqlite => Some(4001),
            Self::Summitdb => Some(7481),
        }
    }

    /// Whether the nodes of its backend send clients on to each other, on ports that no DSN can
    /// name in advance.
    pub(crate) const fn redirects(self) -> bool {
        matches!(self, Self::Rqlite | Self::Summitdb)
    }

    /// How many calls of one sequence pay to be under way at a time.
    ///
    /// A backend that waits for its disk, or for other nodes, can take the next call meanwhile.
    /// Redis is done before a second call arrives. The memory of another instance is another
    /// sequence, and the embedded store makes one commit at a time.
    pub(crate) const fn calls(self) -> usize {
        match self {
            Self::Memory | Self::Keyvalue | Self::Redis => 1,
            Self::Mysql | Self::Rqlite | Self::Summitdb => 4,
        }
    }

    /// The address it goes to when its DSN names none.
    pub(crate) fn default_address(self) -> Option<Address> {
        match self {
            Self::Mysql => Some(Address {
                host: "127.0.0.1".to_owned(),
                port: Some(3306),
            }),
            _ => None,
        }
    }
}

/// The HTTP endpoint, to be composed with an engine.
pub const INTD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/intd.wasm"));

/// The adapter that brings the settings of `wasmtime serve` to [`INTD`].
pub const CONFIG_BRIDGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config_bridge.wasm"));
