//! Where a server listens, and for which protocol.

use engine_dsn::Address;

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Protocol {
    /// HTTP/1.1; GET /openapi.json describes the API.
    #[default]
    Http,
    /// The Redis protocol: INCR mints.
    Resp,
    /// Each connection receives one integer and a newline.
    Tcp,
}

impl Protocol {
    /// The scheme of URLs.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Resp => "resp",
            Self::Tcp => "tcp",
        }
    }
}

/// An address of this machine, and the protocol to serve there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) protocol: Protocol,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Listen {
    /// Parses `SCHEME://HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || "expected http://HOST:PORT, resp://HOST:PORT or tcp://HOST:PORT".to_owned();
        let (scheme, address) = text.split_once("://").ok_or_else(expected)?;
        let protocol = [Protocol::Http, Protocol::Resp, Protocol::Tcp]
            .into_iter()
            .find(|protocol| scheme.eq_ignore_ascii_case(protocol.scheme()))
            .ok_or_else(expected)?;
        // The host checks the name, and port 0 is a free one, which is no port of a DSN.
        let free = address.strip_suffix(":0");
        let address = Address::parse(free.unwrap_or(address)).map_err(|_| expected())?;
        let port = match (free, address.port) {
            (Some(_), None) => 0,
            (None, Some(port)) => port,
            _ => return Err(expected()),
        };
        Ok(Self {
            protocol,
            host: address.host,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_protocol_and_address() {
        for (text, protocol, host, port) in [
            ("http://localhost:8080", Protocol::Http, "localhost", 8080),
            ("RESP://0.0.0.0:6379", Protocol::Resp, "0.0.0.0", 6379),
            ("tcp://[::1]:0", Protocol::Tcp, "::1", 0),
        ] {
            let listen = Listen::parse(text).expect(text);
            assert_eq!(listen.protocol, protocol);
            assert_eq!((listen.host.as_str(), listen.port), (host, port));
        }
        for bad in [
            "",
            "localhost:1",
            "http://",
            "http://h",
            "redis://h:1",
            "http://h:99999",
            "tcp://h:1:0",
        ] {
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }
}
