//! The settings in the DSN.

use engine_dsn::{Address, Secret};
use engine_guest::{Dsn, Error, deadline};
use std::time::Duration;

/// The default port of Redis.
pub(crate) const PORT: u16 = 6379;

/// The default port of Sentinels.
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// The DSN scheme for Sentinels.
pub(crate) const SENTINEL: &str = "redis+sentinel";

/// The DSN scheme for nodes of a Redis Cluster.
pub(crate) const CLUSTER: &str = "redis+cluster";

/// The DSN scheme for servers with TLS.
pub(crate) const TLS: &str = "rediss";

/// The DSN scheme for Sentinels and servers with TLS.
pub(crate) const TLS_SENTINEL: &str = "rediss+sentinel";

/// The DSN scheme for nodes of a Redis Cluster with TLS.
pub(crate) const TLS_CLUSTER: &str = "rediss+cluster";

/// The maximum value of `wait`.
const MAX_WAIT: u32 = 1000;

/// The settings of a valid DSN.
pub(crate) struct Settings {
    /// One or more servers, or the Sentinels that monitor them.
    pub(crate) nodes: Vec<Address>,
    /// The Sentinels' name for the primary; None if the DSN lists the servers themselves.
    pub(crate) watched: Option<String>,
    /// Whether the servers are nodes of a Redis Cluster, and redirects lead to others.
    pub(crate) cluster: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    /// The time limit of one operation, including retries.
    pub(crate) timeout: Duration,
    /// How many replicas must acknowledge a write.
    pub(crate) wait: Option<u32>,
    /// Whether all connections are to have TLS.
    pub(crate) tls: bool,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        let tls = matches!(dsn.scheme(), TLS | TLS_SENTINEL | TLS_CLUSTER);
        if tls && !engine_tls::is_available() {
            return Err(Error::Denied(engine_tls::MISSING.to_owned()));
        }
        dsn.only_params(&["timeout", "wait"])
            .map_err(|e| invalid(&e.to_string()))?;
        if dsn.addresses().is_empty() {
            return Err(invalid(
                "the DSN has no host; write `redis://localhost:6379`",
            ));
        }
        if dsn.user().is_some() && dsn.password().is_none() {
            return Err(invalid(
                "the DSN has a user but no password; write `redis://user:password@host`, or \
                 `redis://:password@host` if there is only a password",
            ));
        }
        let cluster = matches!(dsn.scheme(), CLUSTER | TLS_CLUSTER);
        if cluster && !dsn.path().is_empty() {
            return Err(invalid(
                "a Redis Cluster has no databases; write `redis+cluster://host:6379`",
            ));
        }
        let (watched, database) = if matches!(dsn.scheme(), SENTINEL | TLS_SENTINEL) {
            let (name, database) = watched(dsn.path())?;
            (Some(name), database)
        } else {
            (None, database(dsn.path())?)
        };
        Ok(Self {
            nodes: dsn.addresses().to_vec(),
            watched,
            cluster,
            user: dsn.user().map(str::to_owned),
            // An empty password without a user is none: `redis://:@host`.
            password: dsn
                .password()
                .filter(|p| dsn.user().is_some() || !p.reveal().is_empty())
                .cloned(),
            database,
            timeout: deadline::timeout(dsn)?,
            tls,
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

impl Settings {
    /// Whether another server may take over from the current one.
    pub(crate) fn has_choice(&self) -> bool {
        self.watched.is_some() || self.cluster || self.nodes.len() > 1
    }
}

fn database(path: &str) -> Result<u32, Error> {
    match path {
        "" => Ok(0),
        path => digits(path).ok_or_else(|| {
            invalid("the DSN's path is not a database number; write `redis://host/0`")
        }),
    }
}

/// The name and the database of `NAME[/database]`.
fn watched(path: &str) -> Result<(String, u32), Error> {
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    // The characters that Sentinel's configuration allows.
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(invalid(
            "the DSN has no valid name of a primary; write \
             `redis+sentinel://host:26379/NAME`, with the name that follows `sentinel monitor` in \
             the Sentinels' configuration",
        ));
    }
    let database = match database {
        "" => 0,
        text => digits(text).ok_or_else(|| {
            invalid(
                "the part after the name in the DSN is not a database number; write \
                 `redis+sentinel://host/NAME/0`",
            )
        })?,
    };
    Ok((name.to_owned(), database))
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
    fn sentinels_are_asked_for_a_name() {
        let settings = read("redis+sentinel://u:p@a,b:5/my-primary_1.x/3?wait=1").expect("valid");
        assert_eq!(settings.watched.as_deref(), Some("my-primary_1.x"));
        assert_eq!(settings.database, 3);
        assert_eq!(settings.nodes.len(), 2);
        assert_eq!(settings.user.as_deref(), Some("u"));
        assert!(settings.has_choice());
        let settings = read("redis+sentinel://a/n").expect("valid");
        assert_eq!(settings.database, 0);
        assert!(settings.has_choice(), "the primary behind it may move");
        assert!(!read("redis://a/1").expect("valid").has_choice());
        assert!(read("redis://a,b").expect("valid").has_choice());
    }

    #[test]
    fn nodes_of_a_cluster_have_no_databases() {
        let settings = read("redis+cluster://u:p@a,b:5?wait=1").expect("valid");
        assert_eq!((settings.cluster, settings.database), (true, 0));
        assert_eq!(settings.nodes.len(), 2);
        assert!(read("redis+cluster://a").expect("valid").has_choice());
        assert!(!read("redis://a,b").expect("valid").cluster);
    }

    #[test]
    fn without_tls_a_dsn_that_asks_for_it_is_denied() {
        for dsn in [
            "rediss://u:hunter2@h",
            "rediss+sentinel://:hunter2@h/name",
            "rediss+cluster://:hunter2@h",
        ] {
            match read(dsn) {
                Err(Error::Denied(why)) => {
                    assert!(
                        why.contains("int-host") && !why.contains("hunter2"),
                        "{why}"
                    );
                }
                other => panic!("{dsn}: {:?}", other.map(|_| ())),
            }
        }
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
            "redis+sentinel://:hunter2@h",
            "redis+sentinel://h/",
            "redis+sentinel:///name",
            "redis+sentinel://h/a%20b",
            "redis+sentinel://h/name/x",
            "redis+sentinel://h/name/1/2",
            "redis+sentinel://u@h/name",
            "redis+cluster://",
            "redis+cluster://h/0",
            "redis+cluster://:hunter2@h/1",
            "redis+cluster://u@h",
        ] {
            match read(bad) {
                Err(Error::Invalid(message)) => assert!(!message.contains("hunter2"), "{message}"),
                Err(other) => panic!("{bad}: {other:?}"),
                Ok(_) => panic!("{bad} was taken"),
            }
        }
    }
}
