//! The settings in the DSN.

use engine_dsn::{Address, Secret};
use engine_guest::{Dsn, Error, Quoter, deadline};
use engine_tls::Verification;
use std::time::Duration;

/// The default port of PostgreSQL.
pub(crate) const PORT: u16 = 5432;

/// The default host. An address, because `localhost` would need name resolution.
const HOST: &str = "127.0.0.1";

/// The maximum length of names in PostgreSQL, in bytes. It cuts longer ones off without an error.
const MAX_NAME_BYTES: usize = 63;

/// The settings of a valid DSN.
pub(crate) struct Settings {
    /// One or more hosts.
    pub(crate) nodes: Vec<Address>,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    /// The time limit of one operation, including retries.
    pub(crate) timeout: Duration,
    /// How the server's certificate is verified; None without TLS.
    pub(crate) tls: Option<Verification>,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        dsn.only_params(&["timeout", "sslmode"])
            .map_err(|e| invalid(e.to_string()))?;
        let tls = verification(dsn.param("sslmode"))?;
        let Some(user) = dsn.user() else {
            return Err(invalid(
                "the DSN has no user; write `postgres://user:password@host:5432/database` or \
                 `host=… user=… password=… dbname=…`",
            ));
        };
        if dsn.path().is_empty() {
            return Err(invalid(
                "the DSN has no database; write `postgres://user:password@host:5432/database` or \
                 `host=… user=… password=… dbname=…`",
            ));
        }
        for (what, name) in [("user", user), ("database", dsn.path())] {
            if name.len() > MAX_NAME_BYTES {
                return Err(invalid(format!(
                    "the DSN's {what} has more than {MAX_NAME_BYTES} bytes, the maximum of names in \
                     PostgreSQL"
                )));
            }
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
            user: user.to_owned(),
            password: dsn.password().cloned(),
            database: dsn.path().to_owned(),
            timeout: deadline::timeout(dsn)?,
            tls,
        })
    }

    /// Quotes messages of the server, which may repeat the password.
    pub(crate) fn quoter(&self) -> Quoter {
        Quoter::new(self.password.iter().map(|p| p.reveal().to_owned()))
    }

    /// How long the server may wait for a lock, in milliseconds: half of the timeout, so that the
    /// server's own error arrives in time, and at least 1, since 0 means no limit.
    pub(crate) fn lock_timeout(&self) -> u128 {
        (self.timeout.as_millis() / 2).max(1)
    }
}

/// The meaning of libpq's modes. `allow` and `prefer` permit a connection without TLS, so they mean one.
fn verification(mode: Option<&str>) -> Result<Option<Verification>, Error> {
    let verification = match mode {
        None | Some("disable" | "allow" | "prefer") => return Ok(None),
        Some("require") => Verification::Nothing,
        Some("verify-ca") => Verification::Authority,
        Some("verify-full") => Verification::Name,
        Some(mode) => {
            return Err(invalid(format!(
                "the DSN's `sslmode` is `{mode}`; it may be disable, require, verify-ca or verify-full \
                 (allow and prefer mean disable)"
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
    fn all_forms_say_the_same() {
        for dsn in [
            "postgres://alice:p%40ss@db.example:5433/ids?timeout=500ms&sslmode=prefer",
            "postgresql://alice:p%40ss@db.example:5433/ids?sslmode=disable&timeout=500ms",
            "host=db.example port=5433 user=alice password=p@ss dbname=ids timeout=500ms sslmode=allow",
        ] {
            let settings = read(dsn).expect(dsn);
            let nodes: Vec<_> = settings.nodes.iter().map(ToString::to_string).collect();
            assert_eq!(nodes, ["db.example:5433"]);
            assert_eq!(settings.user, "alice");
            assert_eq!(
                settings.password.as_ref().map(Secret::reveal),
                Some("p@ss"),
                "{dsn}"
            );
            assert_eq!(settings.database, "ids");
            assert_eq!(settings.timeout, Duration::from_millis(500));
            assert_eq!(settings.lock_timeout(), 250);
        }
    }

    #[test]
    fn defaults() {
        for dsn in ["postgres://alice@/ids", "user=alice dbname=ids"] {
            let settings = read(dsn).expect(dsn);
            let nodes: Vec<_> = settings.nodes.iter().map(|n| &*n.host).collect();
            assert_eq!(nodes, ["127.0.0.1"]);
            assert_eq!(settings.password, None);
            assert_eq!(settings.timeout, deadline::DEFAULT);
        }
        let several = read("postgres://u@a,b:5433,[::1]/ids").expect("valid");
        assert_eq!(several.nodes.len(), 3);
        let hasty = read("postgres://u@a/ids?timeout=1ms").expect("valid");
        assert_eq!(hasty.lock_timeout(), 1);
    }

    #[test]
    fn without_tls_a_dsn_that_asks_for_it_is_denied() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = read(&format!("postgres://u:hunter2@h/ids?sslmode={mode}")).err();
            assert!(
                matches!(&error, Some(Error::Denied(why)) if why.contains("int-host")),
                "{mode}: {error:?}"
            );
        }
    }

    #[test]
    fn mistakes_are_invalid() {
        let long = format!("postgres://u@h/{}", "d".repeat(64));
        for (bad, says) in [
            ("postgres://h/ids", "no user"),
            ("postgres://:secret@h/ids", "no user"),
            ("postgres://u@h", "no database"),
            ("postgres://u@h/", "no database"),
            (&*long, "63 bytes"),
            (
                "postgres://u@h/ids?target_session_attrs=primary",
                "timeout, sslmode",
            ),
            ("postgres://u@h/ids?timeout=2", "timeout"),
            ("postgres://u@h/ids?sslmode=on", "disable, require"),
        ] {
            let error = read(bad).err().expect(bad);
            assert!(
                matches!(&error, Error::Invalid(message) if message.contains(says)),
                "{bad}: {error:?}"
            );
        }
    }
}
