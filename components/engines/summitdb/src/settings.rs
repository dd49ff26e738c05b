//! The settings in the DSN.

use engine_dsn::Address;
use engine_guest::{Dsn, Error, deadline};
use std::time::Duration;

/// The default timeout of one operation: enough for all retries while a group elects its leader.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(45);

/// The settings of a valid DSN.
pub(crate) struct Settings {
    /// One or more nodes, tried in this order.
    pub(crate) nodes: Vec<Address>,
    /// The time limit of one operation, including retries.
    pub(crate) timeout: Duration,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn) -> Result<Self, Error> {
        dsn.only_params(&["timeout"])
            .map_err(|e| invalid(&e.to_string()))?;
        if dsn.addresses().is_empty() {
            return Err(invalid(
                "the DSN has no host; write `redis://localhost:7481`",
            ));
        }
        if dsn.has_credentials() {
            return Err(invalid(
                "the DSN has a user or password, which SummitDB does not support; write \
                 `redis://host:7481`",
            ));
        }
        if !dsn.path().is_empty() {
            return Err(invalid(
                "the DSN has a path, but SummitDB has only one database; write `redis://host:7481`",
            ));
        }
        let timeout = deadline::timeout(dsn)?;
        Ok(Self {
            nodes: dsn.addresses().to_vec(),
            timeout: match dsn.param("timeout") {
                Some(_) => timeout,
                None => TIMEOUT,
            },
        })
    }
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
    fn nodes_and_timeout() {
        let settings = read("redis://a:1,b,[::1]:3").expect("valid");
        assert_eq!(settings.nodes.len(), 3);
        assert_eq!(settings.timeout, TIMEOUT);
        let settings = read("summitdb://a?timeout=3s").expect("valid");
        assert_eq!(settings.timeout, Duration::from_secs(3));
    }

    #[test]
    fn mistakes_are_invalid() {
        for bad in [
            "redis://",
            "redis://:hunter2@h",
            "redis://u:hunter2@h",
            "redis://h/0",
            "redis://h?timeout=0s",
            "redis://h?wait=1",
        ] {
            match read(bad) {
                Err(Error::Invalid(message)) => assert!(!message.contains("hunter2"), "{message}"),
                Err(other) => panic!("{bad}: {other:?}"),
                Ok(_) => panic!("{bad} was taken"),
            }
        }
    }
}
