//! The hosts of a DSN.

use crate::failover::Fault;
use engine_dsn::Address;
use std::net::{IpAddr, ToSocketAddrs};

/// The addresses of a node, and its name with the port that is used, which is `port` unless the node has
/// one. Name resolution blocks; the host limits its time.
///
/// # Errors
/// A fault if the name does not exist or may not be looked up.
pub fn resolve(node: &Address, port: u16) -> Result<(Address, Vec<IpAddr>), Fault> {
    let port = node.port_or(port);
    let ips = match node.ip() {
        Some(ip) => vec![ip],
        None => (node.host.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| {
                Fault::network(&error, &format!("cannot find {}", node.host)).while_dialling()
            })?
            .map(|address| address.ip())
            .collect(),
    };
    let to = Address {
        host: node.host.clone(),
        port: Some(port),
    };
    Ok((to, ips))
}

/// The fault for a node that did not answer in time.
pub fn silent(to: &Address) -> Fault {
    Fault::Slow(format!(
        "{to} does not answer, or does not accept connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolution() {
        for (text, to) in [("[::1]", "[::1]:5432"), ("[::1]:1", "[::1]:1")] {
            let node = Address::parse(text).expect("an address");
            let (named, ips) = resolve(&node, 5432).expect("found");
            assert_eq!(named.to_string(), to);
            assert_eq!(ips, ["::1".parse::<IpAddr>().expect("an address")]);
        }
    }
}
