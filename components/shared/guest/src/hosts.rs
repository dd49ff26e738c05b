//! The hosts of a DSN.

use crate::deadline::Deadline;
use crate::failover::Fault;
use engine_dsn::Address;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

/// A search is short if it has less than this part of the operation's timeout.
const LEAST_PART: u32 = 8;

/// The time for one attempt to find a host that may be used, in which all hosts are queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// How long a host may take to answer.
    pub limit: Duration,
    /// Whether that is too little to go without a host that has not answered. An operation tries until its
    /// deadline, so its last searches are short. In those a host that is merely slow would look like one
    /// that is down, and it may be the only one that knows that another one was replaced.
    pub is_short: bool,
}

impl Search {
    /// A search among this many hosts, in an operation with this timeout and deadline. If there are several,
    /// half of the time that is left is for the operation itself.
    pub fn new(hosts: usize, timeout: Duration, deadline: Deadline) -> Self {
        let left = deadline.left().unwrap_or_default();
        let limit = if hosts > 1 { left / 2 } else { left };
        Self {
            limit,
            is_short: hosts > 1 && limit < timeout / LEAST_PART,
        }
    }

    /// Why a search that is short does not choose a host unless all have answered.
    pub fn undecided(self) -> String {
        format!(
            "not all hosts answered within the last {} ms, so there may be a newer primary",
            self.limit.as_millis()
        )
    }
}

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
    fn the_last_searches_are_short() {
        let timeout = Duration::from_secs(80);
        let search =
            |hosts, left| Search::new(hosts, timeout, Deadline::after(Duration::from_secs(left)));
        for (left, is_short) in [(80, false), (21, false), (19, true), (0, true)] {
            let search = search(3, left);
            assert_eq!(search.is_short, is_short, "{left}");
            assert!(search.limit <= Duration::from_secs(left) / 2, "{search:?}");
        }
        // A single host has no other one to compare it with.
        assert!(!search(1, 1).is_short);
        assert!(search(1, 80).limit > Duration::from_secs(79));
    }

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
