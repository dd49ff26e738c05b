//! The address of one node of a backend.

use crate::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host, by name or IP address, and optionally a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name in lower case, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// None for the engine's default port.
    pub port: Option<u16>,
}

impl Address {
    /// The host as an IP address; None if it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The port, or `default` if there is none.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }

    /// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// If the host is empty, too long or contains invalid characters, or if the port is not
    /// 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(Error::Host)?;
                host.parse::<Ipv6Addr>().map_err(|_| Error::Host)?;
                match (after, after.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(port)) => (host, Some(port)),
                    _ => return Err(Error::Port),
                }
            }
            None => match text.split_once(':') {
                Some(_) if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 2 => {
                    return Err(Error::BareIpv6);
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        // Names are at most 253 bytes (RFC 1035); addresses are shorter.
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(legal) {
            return Err(Error::Host);
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => {
                    Some(number)
                }
                _ => return Err(Error::Port),
            },
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}
