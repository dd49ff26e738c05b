//! What the DSN says.

use engine_dsn::{Address, Secret};
use engine_guest::{Dsn, Error, deadline};
use std::time::Duration;

/// Where MySQL and MariaDB listen when the DSN names no port.
pub(crate) const PORT: u16 = 3306;

/// Where they listen when the DSN names no host. An address, because `localhost` would need a
/// name to be resolved and may lead to IPv6 first, where these servers often do not listen.
const HOST: &str = "127.0.0.1";

/// The longest name of a database, in characters, of both servers.
const MAX_DATABASE_CHARS: usize = 64;

/// A checked DSN.
pub(crate) struct Settings {
    /// One or more, tried in this order.
    pub(crate) nodes: Vec<Address>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    /// How long one operation may take, retries included.
    pub(crate) timeout: Duration,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        dsn.only_params(&["timeout"])
            .map_err(|e| invalid(e.to_string()))?;
        let database = dsn.path();
        if database.is_empty() {
            return Err(invalid(
                "the DSN names no database; write `mysql://user:password@host:3306/database` or \
                 `user:password@tcp(host:3306)/database`",
            ));
        }
        if database.contains('/') || database.chars().count() > MAX_DATABASE_CHARS {
            return Err(invalid(format!(
                "the DSN's database, what follows the host's `/`, is a name of at most \
                 {MAX_DATABASE_CHARS} characters without a `/`"
            )));
        }
        let nodes = match dsn.addresses() {
            [] => vec![Address {
                host: HOST.to_owned(),
                port: None,
            }],
            nodes => nodes.to_vec(),
        };
        Ok(Self {
            nodes,
            user: dsn.user().map(str::to_owned),
            password: dsn.password().cloned(),
            database: database.to_owned(),
            timeout: deadline::timeout(dsn)?,
        })
    }

    /// How long the server may wait for a lock, in seconds, of which it counts whole ones: half of
    /// the timeout, so that its own answer comes in time, and 1 or more.
    pub(crate) fn lock_seconds(&self) -> u64 {
        (self.timeout.as_secs() / 2).max(1)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dsn: &str) -> Result<Settings, Error> {
        Settings::read(&dsn.parse().expect(dsn))
    }

    #[test]
    fn both_forms_say_the_same() {
        for dsn in [
            "mysql://alice:p%40ss@db.example:3307/ids?timeout=500ms",
            "mariadb://alice:p%40ss@db.example:3307/ids?timeout=500ms",
            "alice:p@ss@tcp(db.example:3307)/ids?timeout=500ms",
        ] {
            let settings = read(dsn).expect(dsn);
            let nodes: Vec<_> = settings.nodes.iter().map(ToString::to_string).collect();
            assert_eq!(nodes, ["db.example:3307"]);
            assert_eq!(settings.user.as_deref(), Some("alice"));
            assert_eq!(
                settings.password.as_ref().map(Secret::reveal),
                Some("p@ss"),
                "{dsn}"
            );
            assert_eq!(settings.database, "ids");
            assert_eq!(settings.timeout, Duration::from_millis(500));
        }
    }

    #[test]
    fn everything_has_a_default_but_the_database() {
        for dsn in ["alice:secret@/ids", "mysql://alice:secret@/ids"] {
            let settings = read(dsn).expect(dsn);
            let nodes: Vec<_> = settings.nodes.iter().map(|n| &*n.host).collect();
            assert_eq!(nodes, ["127.0.0.1"]);
            assert_eq!(settings.timeout, deadline::DEFAULT);
        }
        let settings = read("mysql://h/ids").expect("valid");
        assert_eq!(settings.user, None);
        assert_eq!(settings.password, None);
        assert_eq!(
            read("mysql://a,b:3307,[::1]/ids")
                .expect("valid")
                .nodes
                .len(),
            3
        );
    }

    #[test]
    fn mistakes_are_invalid() {
        let long = format!("mysql://h/{}", "d".repeat(65));
        for bad in [
            "mysql://h",
            "mysql://h/",
            "mysql://h/a/b",
            &long,
            "mysql://h/ids?charset=utf8",
            "mysql://h/ids?timeout=2",
        ] {
            assert!(matches!(read(bad), Err(Error::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn the_server_gives_up_first() {
        for (timeout, seconds) in [("1ms", 1), ("2s", 1), ("5s", 2), ("60s", 30)] {
            let dsn = format!("mysql://h/ids?timeout={timeout}");
            assert_eq!(read(&dsn).expect(&dsn).lock_seconds(), seconds);
        }
    }
}
