//! Which addresses a component may open: those that its DSN names, and those the user adds.

use engine_dsn::Address;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Which ports of a host may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    Any,
    Only(Vec<u16>),
}

#[derive(Clone, Debug)]
struct Rule {
    /// A name in lower case, or an IP address without brackets.
    host: String,
    ports: Ports,
}

/// The TCP addresses that one component may open. Clones share the record of refusals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    rules: Arc<Vec<Rule>>,
    refused: Arc<Mutex<Option<String>>>,
}

impl Grant {
    /// Allows `addresses`, each at its port, or at any of `default_ports` where it names none.
    /// With `any_port` the hosts are allowed at every port, for backends whose nodes redirect.
    pub(crate) fn new(addresses: &[Address], default_ports: &[u16], any_port: bool) -> Self {
        let rules = addresses
            .iter()
            .map(|address| Rule {
                host: address.host.clone(),
                ports: match (any_port, address.port) {
                    (true, _) => Ports::Any,
                    (false, Some(port)) => Ports::Only(vec![port]),
                    (false, None) => Ports::Only(default_ports.to_vec()),
                },
            })
            .collect();
        Self {
            rules: Arc::new(rules),
            refused: Arc::default(),
        }
    }

    /// Allows more: what the user named with `--allow-host`, at any port where none is given.
    pub(crate) fn and(self, extra: &[Address]) -> Self {
        let more = extra.iter().map(|address| Rule {
            host: address.host.clone(),
            ports: address
                .port
                .map_or(Ports::Any, |port| Ports::Only(vec![port])),
        });
        let rules = self.rules.iter().cloned().chain(more).collect();
        Self {
            rules: Arc::new(rules),
            refused: self.refused,
        }
    }

    /// Whether nothing at all may be opened.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a name has to be looked up to reach what is allowed.
    pub(crate) fn has_names(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.host.parse::<IpAddr>().is_err())
    }

    /// Whether this address may be opened. Names are resolved anew each time, so that a backend
    /// may move; a refusal is remembered for [`Grant::take_refusal`].
    pub(crate) async fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        for rule in self.rules.iter().filter(|rule| rule.at(address.port())) {
            let matches = match rule.host.parse::<IpAddr>() {
                Ok(allowed) => allowed.to_canonical() == ip,
                Err(_) => resolves(&rule.host, address.port(), ip).await,
            };
            if matches {
                return true;
            }
        }
        self.refuse(address);
        false
    }

    /// Whether this host, as written in a URL, may be opened: one that is allowed by that name,
    /// or an address that an allowed name resolves to.
    pub(crate) async fn allows_host(&self, host: &str, port: u16) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if self
            .rules
            .iter()
            .any(|rule| rule.host.eq_ignore_ascii_case(bare) && rule.at(port))
        {
            return true;
        }
        match bare.parse() {
            Ok(ip) => self.allows(SocketAddr::new(ip, port)).await,
            Err(_) => {
                self.refuse(format_args!("{host}:{port}"));
                false
            }
        }
    }

    fn refuse(&self, what: impl fmt::Display) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(format!(
            "the component tried to reach {what}, which its DSN does not name; if that is right, \
             allow it with --allow-host {what}"
        ));
    }

    /// What was refused since the last call of this, as a sentence.
    pub(crate) fn take_refusal(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Rule {
    fn at(&self, port: u16) -> bool {
        match &self.ports {
            Ports::Any => true,
            Ports::Only(ports) => ports.contains(&port),
        }
    }
}

async fn resolves(host: &str, port: u16, ip: IpAddr) -> bool {
    match tokio::net::lookup_host((host, port)).await {
        Ok(mut found) => found.any(|address| address.ip().to_canonical() == ip),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|t| Address::parse(t).unwrap()).collect()
    }

    async fn allows(grant: &Grant, address: &str) -> bool {
        grant.allows(address.parse().unwrap()).await
    }

    #[tokio::test]
    async fn only_the_named_address_at_its_port() {
        let grant = Grant::new(&addresses(&["127.0.0.1:6379", "[::1]"]), &[7000], false);
        assert!(allows(&grant, "127.0.0.1:6379").await);
        assert!(allows(&grant, "[::ffff:127.0.0.1]:6379").await);
        assert!(allows(&grant, "[::1]:7000").await);
        for other in [
            "127.0.0.1:6380",
            "127.0.0.2:6379",
            "[::1]:6379",
            "[::2]:7000",
        ] {
            assert!(!allows(&grant, other).await, "{other}");
        }
        let refusal = grant.take_refusal().unwrap();
        assert!(refusal.contains("--allow-host [::2]:7000"), "{refusal}");
        assert_eq!(grant.take_refusal(), None);
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let grant = Grant::new(&addresses(&["localhost:6379"]), &[], false);
        assert!(grant.has_names());
        assert!(allows(&grant, "127.0.0.1:6379").await);
        assert!(!allows(&grant, "127.0.0.2:6379").await);
        assert!(grant.allows_host("LOCALHOST", 6379).await);
        assert!(grant.allows_host("127.0.0.1", 6379).await);
        assert!(!grant.allows_host("localhost", 80).await);
        assert!(!grant.allows_host("127.0.0.2", 6379).await);
        assert!(!grant.allows_host("elsewhere", 6379).await);
    }

    #[tokio::test]
    async fn redirecting_backends_and_extra_hosts() {
        let grant = Grant::new(&addresses(&["127.0.0.1:7481"]), &[], true)
            .and(&addresses(&["10.0.0.1", "10.0.0.2:99"]));
        assert!(allows(&grant, "127.0.0.1:9").await);
        assert!(allows(&grant, "10.0.0.1:1234").await);
        assert!(allows(&grant, "10.0.0.2:99").await);
        assert!(!allows(&grant, "10.0.0.2:98").await);
        assert!(Grant::default().is_empty());
    }
}
