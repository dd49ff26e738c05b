//! The engines that the binary carries.

mod table;

use engine_dsn::Address;
use table::{Entry, TABLE};

/// One engine of the binary. All that is known of it stands in one table.
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
    /// The offset of a sequence whose configuration names none: a fresh one gives 2, 4, 6, … with
    /// offset 0 and 1, 3, 5, … with offset 1.
    pub offset: i64,
    /// What an integer handed out survives.
    pub survives: &'static str,
}

impl About {
    /// What a fresh sequence gives.
    pub const fn counts(&self) -> &'static str {
        match self.offset {
            0 => "2, 4, 6, …",
            _ => "1, 3, 5, …",
        }
    }
}

impl Builtin {
    /// All of them, in the order in which they are listed.
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
        self.entry().about
    }

    /// The component itself.
    pub const fn wasm(self) -> &'static [u8] {
        self.entry().wasm
    }

    /// The port where its DSN names none; None for engines that open no address.
    pub(crate) const fn port(self) -> Option<u16> {
        self.entry().port
    }

    /// Whether the nodes of its backend send clients on to each other, on ports that no DSN can
    /// name in advance.
    pub(crate) const fn redirects(self) -> bool {
        self.entry().redirects
    }

    /// How many calls of one sequence pay to be in flight at a time.
    pub(crate) const fn calls(self) -> usize {
        self.entry().calls
    }

    /// The address it goes to when its DSN names none.
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
pub const INTD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/intd.wasm"));

/// The adapter that brings the settings of `wasmtime serve` to [`INTD`].
pub const CONFIG_BRIDGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config_bridge.wasm"));
