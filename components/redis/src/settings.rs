//! What the DSN says.

use engine_dsn::{Address, Secret};
use engine_guest::{Dsn, Error, deadline};
use std::time::Duration;

/// Where Redis listens when the DSN names no port.
pub(crate) const PORT: u16 = 6379;

/// The most replicas that `wait` may ask for.
const MAX_WAIT: u32 = 1000;

/// A checked DSN.
pub(crate) struct Settings {
    /// One or more, tried in this order.
    pub(crate) nodes: Vec<Address>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    /// How long one operation may take, retries included.
    pub(crate) timeout: Duration,
    /// How many replicas must acknowledge a write.
    pub(crate) wait: Option<u32>,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        if dsn.scheme() == "rediss" {
            return Err(invalid(
                "this engine does not speak TLS; let a TLS tunnel such as stunnel reach the server, \
                 and give the tunnel's own address as `redis://…`",
            ));
        }
        dsn.only_params(&["timeout", "wait"])
            .map_err(|e| invalid(&e.to_string()))?;
        if dsn.addresses().is_empty() {
            return Err(invalid(
                "the DSN names no host; write `redis://localhost:6379`",
            ));
        }
        if dsn.user().is_some() && dsn.password().is_none() {
            return Err(invalid(
                "the DSN names a user and no password; write `redis://user:password@host`, or \
                 `redis://:password@host` when there is only a password",
            ));
        }
        Ok(Self {
            nodes: dsn.addresses().to_vec(),
            user: dsn.user().map(str::to_owned),
            // An empty password without a user is none: `redis://:@host`.
            password: dsn
                .password()
                .filter(|p| dsn.user().is_some() || !p.reveal().is_empty())
                .cloned(),
            database: match dsn.path() {
                "" => 0,
                path => digits(path).ok_or_else(|| {
                    invalid(
                        "the DSN's path is not the number of a database; write `redis://host/0`",
                    )
                })?,
            },
            timeout: deadline::timeout(dsn)?,
            wait: match dsn.param("wait") {
                None => None,
                Some(text) => Some(
                    digits(text)
                        .filter(|n| (1..=MAX_WAIT).contains(n))
                        .ok_or_else(|| {
                            invalid(&format!(
                                "the DSN's `wait` is `{text}`; it is the number of replicas that \
                                 must acknowledge, 1 to {MAX_WAIT}"
                            ))
                        })?,
                ),
            },
        })
    }
}

fn digits(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn invalid(message: &str) -> Error {
    Error::Invalid(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dsn: &str) -> Result<Settings, Error> {
        Settings::read(&dsn.parse().expect(dsn))
    }

    #[test]
    fn everything_has_a_default_but_the_host() {
        let settings = read("redis://h").expect("valid");
        assert_eq!(settings.nodes.len(), 1);
        assert_eq!(settings.user, None);
        assert_eq!(settings.password, None);
        assert_eq!(settings.database, 0);
        assert_eq!(settings.timeout, deadline::DEFAULT);
        assert_eq!(settings.wait, None);
        let settings = read("redis://u:p@h:1,[::1]:2/15?timeout=500ms&wait=2").expect("valid");
        assert_eq!(settings.nodes.len(), 2);
        assert_eq!(settings.user.as_deref(), Some("u"));
        assert_eq!(settings.password.as_ref().map(Secret::reveal), Some("p"));
        assert_eq!(settings.database, 15);
        assert_eq!(settings.timeout, Duration::from_millis(500));
        assert_eq!(settings.wait, Some(2));
        assert_eq!(read("redis://:@h").expect("valid").password, None);
    }

    #[test]
    fn mistakes_are_invalid() {
        for bad in [
            "redis://",
            "redis://user@h",
            "redis://h/db",
            "redis://h/-1",
            "redis://h/+1",
            "redis://h/99999999999",
            "redis://h/0/1",
            "redis://h?wait=0",
            "redis://h?wait=",
            "redis://h?wait=-1",
            "redis://h?wait=1001",
            "redis://h?timeout=2",
            "redis://h?tls=yes",
            "rediss://u:hunter2@h",
        ] {
            match read(bad) {
                Err(Error::Invalid(message)) => assert!(!message.contains("hunter2"), "{message}"),
                Err(other) => panic!("{bad}: {other:?}"),
                Ok(_) => panic!("{bad} was taken"),
            }
        }
    }
}
