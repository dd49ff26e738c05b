//! The settings in the DSN.

use artisanal_quorum::{MAX_MEMBERS, PORT, RESERVED};
use engine_dsn::{Address, Dsn};
use engine_guest::{Error, deadline, remote};
use std::time::Duration;

/// What the DSN says.
pub(crate) struct Settings {
    /// `host:port` of each node.
    pub(crate) nodes: Vec<String>,
    /// The key of the sequence at the nodes.
    pub(crate) key: String,
    pub(crate) token: Option<String>,
    pub(crate) timeout: Duration,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn, key: &str) -> Result<Self, Error> {
        dsn.only_params(&["timeout"])
            .map_err(|e| Error::Invalid(e.to_string()))?;
        if dsn.password().is_some() {
            return Err(Error::Invalid(
                "a quorum DSN has a token and no password: `quorum://TOKEN@host1,host2,host3`"
                    .into(),
            ));
        }
        let nodes: Vec<String> = dsn
            .addresses()
            .iter()
            .map(|address| {
                Address {
                    host: address.host.clone(),
                    port: Some(address.port_or(PORT)),
                }
                .to_string()
            })
            .collect();
        if nodes.is_empty() || nodes.len() > MAX_MEMBERS || nodes.len().is_multiple_of(2) {
            return Err(Error::Invalid(format!(
                "the DSN lists {} nodes; it must list every node of the group, an odd number of at most \
                 {MAX_MEMBERS}: `quorum://host1:{PORT},host2:{PORT},host3:{PORT}`",
                nodes.len()
            )));
        }
        let mut sorted = nodes.clone();
        sorted.sort_unstable();
        if let Some([twice, _]) = sorted.array_windows().find(|[a, b]| a == b) {
            return Err(Error::Invalid(format!(
                "the DSN lists the node {twice} twice"
            )));
        }
        let key = remote::key(dsn, key)?;
        if key.starts_with(RESERVED) {
            return Err(Error::Invalid(format!(
                "keys that begin with `{RESERVED}` are the nodes' own; name the sequence otherwise"
            )));
        }
        Ok(Self {
            nodes,
            key,
            token: dsn.user().map(str::to_owned),
            timeout: deadline::timeout(dsn)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dsn: &str) -> Result<Settings, Error> {
        Settings::read(&dsn.parse().expect(dsn), "orders-1")
    }

    #[test]
    fn all_members_are_listed() {
        let settings = read("quorum://secret@a,b:1,[::1]?timeout=1s").expect("valid");
        assert_eq!(settings.nodes, ["a:8081", "b:1", "[::1]:8081"]);
        assert_eq!(settings.token.as_deref(), Some("secret"));
        assert_eq!(settings.key, "orders-1");
        assert_eq!(settings.timeout, Duration::from_secs(1));
        let settings = read("quorum://a,b,c/shop-*").expect("valid");
        assert_eq!(settings.key, "shop-orders-1");
        for bad in [
            "quorum://",
            "quorum://a,b",
            "quorum://a,b,a:8081",
            "quorum://a,b,c/*-*",
            "quorum://a,b,c/~node%2Fsession",
            "quorum://:hunter2@a,b,c",
            "quorum://a,b,c?wait=1",
        ] {
            let error = read(bad).err().expect(bad);
            assert!(
                matches!(&error, Error::Invalid(text) if !text.contains("hunter2")),
                "{error:?}"
            );
        }
    }
}
