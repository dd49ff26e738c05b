//! Where a server listens, and for which protocol.

use engine_dsn::Address;

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Protocol {
    /// HTTP; GET /openapi.json describes the API.
    #[default]
    Http,
    /// The Redis protocol: INCR mints.
    Resp,
    /// Each connection receives one integer and a newline.
    Tcp,
}

impl Protocol {
    /// The scheme of URLs, with or without TLS.
    pub(super) fn scheme(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Self::Http, false) => "http",
            (Self::Http, true) => "https",
            (Self::Resp, false) => "resp",
            (Self::Resp, true) => "resps",
            (Self::Tcp, false) => "tcp",
            (Self::Tcp, true) => "tcps",
        }
    }

    /// The protocol of a scheme, and whether it is within TLS.
    fn of(scheme: &str) -> Option<(Self, bool)> {
        if scheme.eq_ignore_ascii_case("rediss") {
            return Some((Self::Resp, true));
        }
        [Self::Http, Self::Resp, Self::Tcp]
            .into_iter()
            .flat_map(|protocol| [(protocol, false), (protocol, true)])
            .find(|(protocol, tls)| scheme.eq_ignore_ascii_case(protocol.scheme(*tls)))
    }
}

/// An address of this machine, and the protocol to serve there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) protocol: Protocol,
    /// Whether clients use TLS.
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Listen {
    /// Parses `SCHEME://HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected http://HOST:PORT, resp://HOST:PORT or tcp://HOST:PORT, or with TLS https://, resps:// or \
                 tcps://"
                    .to_owned()
        };
        let (scheme, address) = text.split_once("://").ok_or_else(expected)?;
        let (protocol, tls) = Protocol::of(scheme).ok_or_else(expected)?;
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
            tls,
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
        for (text, protocol, tls, host, port) in [
            (
                "http://localhost:8080",
                Protocol::Http,
                false,
                "localhost",
                8080,
            ),
            (
                "RESP://0.0.0.0:6379",
                Protocol::Resp,
                false,
                "0.0.0.0",
                6379,
            ),
            ("tcp://[::1]:0", Protocol::Tcp, false, "::1", 0),
            ("HTTPS://a:443", Protocol::Http, true, "a", 443),
            ("resps://a:1", Protocol::Resp, true, "a", 1),
            ("rediss://a:1", Protocol::Resp, true, "a", 1),
            ("tcps://a:1", Protocol::Tcp, true, "a", 1),
        ] {
            let listen = Listen::parse(text).expect(text);
            assert_eq!((listen.protocol, listen.tls), (protocol, tls), "{text}");
            assert_eq!((listen.host.as_str(), listen.port), (host, port));
        }
        for bad in [
            "",
            "localhost:1",
            "http://",
            "http://h",
            "redis://h:1",
            "httpss://h:1",
            "http://h:99999",
            "tcp://h:1:0",
        ] {
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }
}
