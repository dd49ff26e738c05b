//! The table of engines.
//!
//! To add an engine, add an entry here, a folder in `components/engines`, a backend in `testbed`, and a
//! native client in `bench`. The build script builds every folder that it finds.

use super::{About, Builtin};

/// The properties of one engine.
pub(super) struct Entry {
    pub(super) engine: Builtin,
    pub(super) about: About,
    /// The build for this host: with TLS where the engine has it, and for `quorum` with its own sockets.
    pub(super) wasm: &'static [u8],
    /// The build for other hosts. The same bytes where there is no difference.
    pub(super) plain: &'static [u8],
    /// The default port of its DSN; None for engines that use no network.
    pub(super) port: Option<u16>,
    /// The host and port to connect to if its DSN contains none.
    pub(super) default_address: Option<(&'static str, u16)>,
    /// Whether its nodes redirect clients to each other.
    pub(super) redirects: bool,
    /// Whether an instance keeps in its own memory what it has minted.
    pub(super) in_memory: bool,
    /// Whether no other process can change its marks, nor remove them unnoticed.
    pub(super) exclusive: bool,
    /// Whether the backend may lose marks and go on. An open sequence may tell the greatest one that it has seen then.
    pub(super) lossy: bool,
    /// The default number of calls in flight per sequence: as many as improve throughput.
    ///
    /// A backend that waits for its disk or for other nodes can accept further calls meanwhile. Redis
    /// finishes a call before the second one arrives. For the memory engine it must be 1, since another
    /// instance would be another sequence. The embedded store makes one commit at a time.
    pub(super) calls: usize,
}

/// The build for this host, of an engine that has one.
macro_rules! wasm {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("OUT_DIR"),
            "/engine_",
            $name,
            "_int_host.wasm"
        ))
    };
}

/// The build for every host, which is the only one of most engines.
macro_rules! plain {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/engine_", $name, ".wasm"))
    };
}

/// In the order of [`Builtin`]. It is no `const`: each unit of code that uses one has its own copy of all components.
pub(super) static TABLE: &[Entry] = &[
    Entry {
        engine: Builtin::Memory,
        about: About {
            name: "memory",
            dsn: &["memory://"],
            default_dsn: Some("memory://"),
            parameters: &[],
            offset: 0,
            clock: false,
            survives: "nothing: the integers begin anew with the process",
        },
        wasm: plain!("memory"),
        plain: plain!("memory"),
        port: None,
        default_address: None,
        redirects: false,
        in_memory: true,
        exclusive: true,
        lossy: true,
        calls: 1,
    },
    Entry {
        engine: Builtin::Keyvalue,
        about: About {
            name: "keyvalue",
            dsn: &["keyvalue://BUCKET"],
            default_dsn: Some("keyvalue://default"),
            parameters: &["timeout=2s"],
            offset: 0,
            clock: false,
            survives: "crashes and power cuts: every commit waits for the disk",
        },
        wasm: plain!("keyvalue"),
        plain: plain!("keyvalue"),
        port: None,
        default_address: None,
        redirects: false,
        in_memory: false,
        exclusive: true,
        lossy: false,
        calls: 3,
    },
    Entry {
        engine: Builtin::Redis,
        about: About {
            name: "redis",
            dsn: &[
                "redis[s]://[[USER]:PASSWORD@]HOST[:6379][,HOST2…][/DB]",
                "redis[s]+sentinel://[[USER]:PASSWORD@]HOST[:26379][,HOST2…]/NAME[/DB]",
                "redis[s]+cluster://[[USER]:PASSWORD@]HOST[:6379][,HOST2…]",
            ],
            default_dsn: None,
            parameters: &["timeout=2s", "wait=REPLICAS"],
            offset: 0,
            clock: false,
            survives: "what Redis is set to survive: with appendonly yes and appendfsync always, crashes",
        },
        wasm: wasm!("redis"),
        plain: plain!("redis"),
        port: Some(6379),
        default_address: None,
        redirects: false,
        in_memory: false,
        exclusive: false,
        lossy: true,
        calls: 1,
    },
    Entry {
        engine: Builtin::Mysql,
        about: About {
            name: "mysql",
            dsn: &[
                "mysql://USER:PASSWORD@HOST[:3306][,HOST2…]/DATABASE",
                "USER:PASSWORD@[tcp(HOST[:3306])]/DATABASE",
            ],
            default_dsn: None,
            parameters: &["timeout=2s", "tls=true"],
            offset: 1,
            clock: false,
            survives: "crashes, with InnoDB and innodb_flush_log_at_trx_commit=1 (the server's default)",
        },
        wasm: wasm!("mysql"),
        plain: plain!("mysql"),
        port: Some(3306),
        default_address: Some(("127.0.0.1", 3306)),
        redirects: false,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 4,
    },
    Entry {
        engine: Builtin::Postgres,
        about: About {
            name: "postgres",
            dsn: &[
                "postgres://USER[:PASSWORD]@HOST[:5432][,HOST2…]/DATABASE",
                "host=HOST [port=5432 ]user=USER [password=PASSWORD ]dbname=DATABASE",
            ],
            default_dsn: None,
            parameters: &["timeout=2s", "sslmode=verify-full"],
            offset: 1,
            clock: false,
            survives: "crashes, with fsync=on and synchronous_commit=on (the server's defaults)",
        },
        wasm: wasm!("postgres"),
        plain: plain!("postgres"),
        port: Some(5432),
        default_address: Some(("127.0.0.1", 5432)),
        redirects: false,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 4,
    },
    Entry {
        engine: Builtin::Rqlite,
        about: About {
            name: "rqlite",
            dsn: &["http[s]://[USER:PASSWORD@]HOST[:4001][,HOST2…]"],
            default_dsn: Some("http://localhost:4001"),
            parameters: &["timeout=2s"],
            offset: 1,
            clock: false,
            survives: "the loss of a minority of the nodes",
        },
        wasm: plain!("rqlite"),
        plain: plain!("rqlite"),
        port: Some(4001),
        default_address: None,
        redirects: true,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 4,
    },
    Entry {
        engine: Builtin::Summitdb,
        about: About {
            name: "summitdb",
            dsn: &["redis://HOST[:7481][,HOST2…]"],
            default_dsn: None,
            parameters: &["timeout=45s"],
            offset: 0,
            clock: false,
            survives: "the loss of a minority of the nodes, with -durability high (the default)",
        },
        wasm: plain!("summitdb"),
        plain: plain!("summitdb"),
        port: Some(7481),
        default_address: None,
        redirects: true,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 4,
    },
    Entry {
        engine: Builtin::Quorum,
        about: About {
            name: "quorum",
            dsn: &["quorum://[TOKEN@]HOST[:8081],HOST2[:8081],HOST3[:8081][/KEY]"],
            default_dsn: None,
            parameters: &["timeout=2s"],
            offset: 0,
            clock: false,
            survives: "the loss of a minority of the nodes, with their data",
        },
        wasm: wasm!("quorum"),
        plain: plain!("quorum"),
        port: Some(8081),
        default_address: None,
        redirects: false,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 1,
    },
    Entry {
        engine: Builtin::Http,
        about: About {
            name: "http",
            dsn: &["http[s]://[TOKEN[:ADMIN_TOKEN]@]HOST[:8080][/KEY]"],
            default_dsn: None,
            parameters: &["timeout=2s"],
            offset: 0,
            clock: false,
            survives: "what it survives at the server that is minted from",
        },
        wasm: plain!("http"),
        plain: plain!("http"),
        port: Some(8080),
        default_address: None,
        redirects: false,
        in_memory: false,
        exclusive: false,
        lossy: false,
        calls: 4,
    },
    Entry {
        engine: Builtin::Flake,
        about: About {
            name: "flake",
            dsn: &["flake://NODE"],
            default_dsn: None,
            parameters: &["layout=standard", "timeout=2s"],
            offset: 0,
            clock: true,
            survives: "restarts, unless the clock was set back or two processes have one number",
        },
        wasm: plain!("flake"),
        plain: plain!("flake"),
        port: None,
        default_address: None,
        redirects: false,
        in_memory: true,
        exclusive: false,
        lossy: false,
        calls: 1,
    },
];
