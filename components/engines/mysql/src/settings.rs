//! The settings in the DSN.

use engine_dsn::{Address, Secret};
use engine_guest::{Dsn, Error, Quoter, deadline};
use engine_tls::Verification;
use std::time::Duration;

/// The default port of MySQL and MariaDB.
pub(crate) const PORT: u16 = 3306;

/// The default host. An address, because `localhost` would need name resolution and may resolve to
/// IPv6 first, where these servers often do not listen.
const HOST: &str = "127.0.0.1";

/// The maximum length of a database name in both servers, in characters.
const MAX_DATABASE_CHARS: usize = 64;

/// The settings of a valid DSN.
pub(crate) struct Settings {
    /// One or more hosts, tried in this order.
    pub(crate) nodes: Vec<Address>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    /// The time limit of one operation, including retries.
    pub(crate) timeout: Duration,
    /// How the server's certificate is verified; None without TLS.
    pub(crate) tls: Option<Verification>,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        dsn.only_params(&["timeout", "tls"])
            .map_err(|e| invalid(e.to_string()))?;
        let database = dsn.path();
        if database.is_empty() {
            return Err(invalid(
                "the DSN has no database; write `mysql://user:password@host:3306/database` or \
                 `user:password@tcp(host:3306)/database`",
            ));
        }
        if database.contains('/') || database.chars().count() > MAX_DATABASE_CHARS {
            return Err(invalid(format!(
                "the DSN's database, the part after the host's `/`, must be a name of at most \
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
            tls: verification(dsn.param("tls"))?,
        })
    }

    /// Quotes messages of the server, which may repeat the password.
    pub(crate) fn quoter(&self) -> Quoter {
        Quoter::new(self.password.iter().map(|p| p.reveal().to_owned()))
    }

    /// How long the server may wait for a lock, in whole seconds: half of the timeout, so that the
    /// server's own error arrives in time, and at least 1.
    pub(crate) fn lock_seconds(&self) -> u64 {
        (self.timeout.as_secs() / 2).max(1)
    }
}

/// The meaning of the parameter `tls`: `true` verifies, as it does in Go's driver.
fn verification(tls: Option<&str>) -> Result<Option<Verification>, Error> {
    let verification = match tls {
        None | Some("false") => return Ok(None),
        Some("true" | "verify") => Verification::Name,
        Some("verify-ca") => Verification::Authority,
        Some("skip-verify") => Verification::Nothing,
        Some(other) => {
            return Err(invalid(format!(
                "the DSN's `tls` is `{other}`; it may be false, true or verify (which are the same), \
                 verify-ca or skip-verify"
            )));
        }
    };
    if engine_tls::is_available() {
        Ok(Some(verification))
    } else {
        Err(Error::Denied(engine_tls::MISSING.to_owned()))
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
