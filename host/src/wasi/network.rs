//! Network access control: a component may connect to the addresses in its DSN and to those the user adds.

use engine_dsn::Address;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// The allowed ports of a host.
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

/// The TCP addresses that one component may connect to, and the names that it may look up. Clones share
/// the record of the last refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    rules: Arc<Vec<Rule>>,
    refused: Arc<Mutex<Option<Refusal>>>,
}

/// What the host refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A connection or name lookup.
    Address {
        /// The refused action: `reach` or `look up`.
        deed: &'static str,
        /// The target, in the form that `--allow-host` takes.
        what: String,
    },
    /// A server whose TLS is not to be trusted, and why.
    Server(String),
}

impl Refusal {
    /// The option with which the user can allow an address; the whole reason for a server.
    fn remedy(&self) -> String {
        match self {
            Self::Address { what, .. } => format!("--allow-host {what}"),
            Self::Server(why) => why.clone(),
        }
    }

    /// Appends this to the engine's error about the same call, unless that error already contains the remedy.
    pub(crate) fn beside(&self, text: &str) -> String {
        if text.contains(&self.remedy()) {
            text.to_owned()
        } else {
            format!("{text}; {self}")
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deed, what) = match self {
            Self::Address { deed, what } => (deed, what),
            Self::Server(why) => return f.write_str(why),
        };
        let remedy = self.remedy();
        write!(
            f,
            "the component tried to {deed} {what}, which its DSN does not name; if this is expected, \
             allow it with {remedy}"
        )
    }
}

impl Grant {
    /// Allows `addresses`, each at its port, or at any of `default_ports` if it has none. With `any_port` the
    /// hosts are allowed at every port, for backends whose nodes redirect clients.
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

    /// Also allows the addresses that the user gave with `--allow-host`, at every port if one has no port.
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

    /// The same rules for one instance, with its own record of refusals.
    pub(crate) fn of_one_instance(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            refused: Arc::default(),
        }
    }

    /// Whether no address is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether an allowed host is a name, so that lookups are needed.
    pub(crate) fn has_names(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.host.parse::<IpAddr>().is_err())
    }

    /// Whether connecting to this address is allowed. Names are resolved every time, so that a backend may
    /// move. A refusal is recorded for [`Grant::take_refusal`].
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
        self.refuse("reach", address);
        false
    }

    /// The host to connect to for a URL with this host, if that is allowed: by name, or as an address that
    /// an allowed name resolves to.
    ///
    /// Returns the rule's spelling of a name. Otherwise a component could pass information to the DNS server
    /// in the upper and lower case of a name.
    pub(crate) async fn host(&self, host: &str, port: u16) -> Option<String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.is(bare) && rule.at(port));
        if let Some(rule) = rule {
            return Some(rule.host.clone());
        }
        match bare.parse() {
            Ok(ip) => self
                .allows(SocketAddr::new(ip, port))
                .await
                .then(|| ip.to_string()),
            Err(_) => {
                self.refuse("reach", format_args!("{}:{port}", shown(host)));
                None
            }
        }
    }

    /// The name to look up when a component asks for this one, if it is allowed, in the rule's spelling. An
    /// IP address is returned as it is, since it causes no DNS query.
    ///
    /// Any other name could carry secrets of the component, such as its DSN, to the DNS server of that name.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        if name.parse::<IpAddr>().is_ok() {
            return Some(name.to_owned());
        }
        let allowed = self.rules.iter().find(|rule| rule.is(name));
        if allowed.is_none() {
            self.refuse("look up", shown(name));
        }
        allowed.map(|rule| rule.host.clone())
    }

    fn refuse(&self, deed: &'static str, what: impl fmt::Display) {
        self.note(Refusal::Address {
            deed,
            what: what.to_string(),
        });
    }

    /// Records that a server is not to be trusted.
    pub(crate) fn distrust(&self, why: String) {
        self.note(Refusal::Server(why));
    }

    fn note(&self, refusal: Refusal) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some(refusal);
    }

    /// Takes the last refusal since the previous take.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Makes a component's text safe for messages: no longer than a name can be, and on one line.
fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_NAME)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// The maximum length of a domain name, in bytes (RFC 1035).
const MAX_NAME: usize = 253;

impl Rule {
    /// Whether the rule applies to this name or address.
    fn is(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host)
    }

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
        let other = grant.of_one_instance();
        assert_eq!(other.take_refusal(), None, "another instance's refusal");
        assert!(!allows(&other, "[::3]:7000").await);
        let refusal = grant.take_refusal().unwrap();
        let text = refusal.to_string();
        assert!(text.contains("--allow-host [::2]:7000"), "{text}");
        assert_eq!(grant.take_refusal(), None);
        assert_eq!(refusal.beside(&text), text, "nothing is said twice");
        assert_eq!(refusal.beside("no"), format!("no; {text}"));
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let grant = Grant::new(&addresses(&["localhost:6379"]), &[], false);
        assert!(grant.has_names());
        assert!(allows(&grant, "127.0.0.1:6379").await);
        assert!(!allows(&grant, "127.0.0.2:6379").await);
        let host = async |host: &str, port| grant.host(host, port).await;
        assert_eq!(host("LOCALHOST", 6379).await.as_deref(), Some("localhost"));
        assert_eq!(host("127.0.0.1", 6379).await.as_deref(), Some("127.0.0.1"));
        assert_eq!(host("localhost", 80).await, None);
        assert_eq!(host("127.0.0.2", 6379).await, None);
        assert_eq!(host("elsewhere", 6379).await, None);
    }

    #[test]
    fn only_allowed_names_are_looked_up_as_they_are_allowed() {
        let grant = Grant::new(&addresses(&["db.example:6379", "10.0.0.1"]), &[1], false)
            .and(&addresses(&["Other.example"]));
        for (asked, looked_up) in [
            ("db.example", "db.example"),
            ("Db.eXample", "db.example"),
            ("other.example", "other.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(grant.name(asked).as_deref(), Some(looked_up), "{asked}");
            assert_eq!(grant.take_refusal(), None);
        }
        for asked in [
            "secret.db.example",
            "db.example.",
            "db.example.evil.example",
            "db%2eexample",
            "localhost",
            "127.1",
            "",
        ] {
            assert_eq!(grant.name(asked), None, "{asked}");
            let refusal = grant.take_refusal().expect("noted").to_string();
            assert!(
                refusal.contains(&format!("--allow-host {asked}")),
                "{refusal}"
            );
        }
        assert_eq!(grant.name(&"x\n".repeat(1000)), None);
        let refusal = grant.take_refusal().expect("noted").to_string();
        assert!(refusal.len() < 1000 && !refusal.contains('\n'), "{refusal}");
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
