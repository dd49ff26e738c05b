//! The address of a ledger.

use http::Uri;
use std::fmt;

/// The port of a ledger if its URL names none.
const PORT: u16 = 6660;

/// A ledger: `ws://HOST[:6660]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected ws://HOST:PORT, with the port {PORT} if there is none");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let host = uri.host().filter(|host| !host.is_empty());
        let plain = uri.scheme_str() == Some("ws") && matches!(uri.path(), "" | "/");
        let clean = uri.query().is_none() && !text.contains(['@', '#']);
        // A port that is no number is none for the parser.
        let whole = uri.authority().map(|authority| authority.as_str());
        let numbered = uri.port_u16().is_some() || whole == host;
        match host {
            Some(host) if plain && clean && numbered => Ok(Self {
                host: host.to_owned(),
                port: uri.port_u16().unwrap_or(PORT),
            }),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_host_and_port() {
        for (text, host, port) in [
            ("ws://h", "h", PORT),
            ("ws://h.example.com:1/", "h.example.com", 1),
            ("ws://[::1]:7", "[::1]", 7),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!((target.host.as_str(), target.port), (host, port));
        }
        for bad in [
            "",
            "h",
            "h:1",
            "http://h",
            "wss://h",
            "ws://",
            "ws://h/x",
            "ws://h?x",
            "ws://u@h",
            "ws://h:99999",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
