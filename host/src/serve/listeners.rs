//! Listening sockets.

use super::Tls;
use crate::Error;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket};

/// Listening sockets, at the same port of one or more addresses.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    tls: Option<Tls>,
}

/// The length of the queue of connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// How many free ports are tried, as a port may be free at the first address only.
const ATTEMPTS: usize = 16;

impl Listeners {
    /// Listens on all addresses of `host`, a name or an IP address. `localhost` means both loopback
    /// addresses, as far as the machine has them. Port 0 means any free port.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the name cannot be resolved to an address of this machine, or the port
    /// cannot be used.
    pub async fn bind(host: &str, port: u16) -> Result<Self, Error> {
        let addresses = resolve(host, port).await?;
        let mut last = None;
        for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
            match bind_all(&addresses) {
                Ok(sockets) => return Ok(Self { sockets, tls: None }),
                Err(refused) if refused.1.kind() == ErrorKind::AddrInUse => last = Some(refused),
                Err((address, error)) => {
                    return Err(Error::Misconfigured(format!(
                        "cannot listen on {address}: {error}"
                    )));
                }
            }
        }
        Err(Error::Misconfigured(match last {
            Some((address, _)) => format!(
                "cannot listen on {address}: the port is in use; stop the other program, or choose another port, with --port or in \
                 the option that names this address"
            ),
            None => format!("cannot listen on any address of {host}"),
        }))
    }

    /// The addresses and the port that it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The same, for clients that use TLS.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    pub(super) fn into_inner(self) -> (Vec<TcpListener>, Option<Tls>) {
        (self.sockets, self.tls)
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.eq_ignore_ascii_case("localhost") {
        // Not every machine's hosts file lists both addresses.
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let unknown = |why: &dyn std::fmt::Display| {
        Error::Misconfigured(format!(
            "cannot listen on {host}: {why}; give an address of this machine with --host"
        ))
    };
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|error| unknown(&error))?
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Err(unknown(&"it has no address"));
    }
    Ok(found)
}

/// Listens on all given addresses that the machine has, or on none.
fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        // All use the port that was free at the first address.
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr().map_err(|error| (address, error))?.port());
        }
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_missing(&error) => missing = Some((address, error)),
            Err(error) => return Err((address, error)),
        }
    }
    match (listeners.is_empty(), missing) {
        (true, Some(missing)) => Err(missing),
        _ => Ok(listeners),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // On Unix this lets a server restart while connections of the previous one are in TIME_WAIT;
    // elsewhere it would let two servers use the same port.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the machine has no such address, or does not support its address family.
fn is_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
        return true;
    }
    matches!(
        error.kind(),
        ErrorKind::AddrNotAvailable | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_one_port_of_all_loopback_addresses() {
        let addresses = Listeners::bind("localhost", 0).await.unwrap().addresses();
        let (first, others) = addresses.split_first().unwrap();
        assert!(first.ip().is_loopback() && first.port() != 0);
        assert!(
            others
                .iter()
                .all(|other| other.ip().is_loopback() && other.port() == first.port())
        );
    }

    #[tokio::test]
    async fn a_port_in_use_is_told() {
        let first = Listeners::bind("127.0.0.1", 0).await.unwrap();
        let port = first.addresses()[0].port();
        for host in ["127.0.0.1", "localhost"] {
            let error = Listeners::bind(host, port).await.unwrap_err();
            assert!(matches!(error, Error::Misconfigured(_)));
            assert!(
                error.to_string().contains("in use") && error.to_string().contains("--port"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn hosts_of_other_machines_are_refused() {
        // 192.0.2.0/24 is reserved for documentation (RFC 5737).
        for host in ["192.0.2.1", "no such host", ""] {
            let error = Listeners::bind(host, 0).await.unwrap_err();
            assert!(matches!(error, Error::Misconfigured(_)), "{host}: {error}");
        }
    }
}
