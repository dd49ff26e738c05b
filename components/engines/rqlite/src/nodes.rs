//! The order in which nodes are tried.

use crate::codec::Member;
use engine_dsn::Address;
use engine_guest::{Dsn, Error};
use std::collections::VecDeque;

/// The default HTTP port of rqlite.
const PORT: u16 = 4001;

/// The maximum number of nodes learned from a cluster's member list.
const MOST: usize = 64;

/// The HTTP address of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether requests use TLS.
    pub(crate) secure: bool,
    /// Host and port.
    pub(crate) address: Address,
    /// Whether the node was learned from the cluster's member list and is not in the DSN.
    pub(crate) learned: bool,
}

/// The known nodes, at least one, with the next one to try at the front.
///
/// Any node answers for the whole cluster, because it forwards to the leader, so the node that
/// answered last is tried first. Learned nodes come after those of the DSN: an address such as
/// `localhost:4001` in the member list may be a different cluster as seen from the engine.
#[derive(Debug)]
pub(crate) struct Nodes {
    queue: VecDeque<Node>,
    /// Learned nodes that turned out to be unusable and must not be learned again.
    useless: Vec<Address>,
}

impl Nodes {
    /// The nodes of the DSN.
    ///
    /// # Errors
    /// `invalid` if the DSN has no host.
    pub(crate) fn new(dsn: &Dsn) -> Result<Self, Error> {
        let queue: VecDeque<Node> = dsn
            .addresses()
            .iter()
            .map(|address| Node {
                secure: dsn.scheme() == "https",
                address: Address {
                    host: address.host.clone(),
                    port: Some(address.port_or(PORT)),
                },
                learned: false,
            })
            .collect();
        if queue.is_empty() {
            return Err(Error::Invalid(
                "the DSN has no host; write it as `http://host:4001`".into(),
            ));
        }
        Ok(Self {
            queue,
            useless: Vec::new(),
        })
    }

    /// The number of nodes, 1 or more.
    pub(crate) fn count(&self) -> usize {
        self.queue.len()
    }

    /// The node to try next. None never happens, but a component must not trap if it does.
    pub(crate) fn first(&self) -> Option<Node> {
        self.queue.front().cloned()
    }

    /// Moves the node at the front to the back after it did not answer.
    pub(crate) fn failed(&mut self) {
        if let Some(node) = self.queue.pop_front() {
            self.queue.push_back(node);
        }
    }

    /// Marks the node at the front as permanently unusable. Nodes of the DSN stay in the queue, because
    /// their operator may repair them; learned nodes are removed for good.
    pub(crate) fn useless(&mut self) {
        match self.queue.pop_front() {
            Some(node) if node.learned => self.useless.push(node.address),
            Some(node) => self.queue.push_back(node),
            None => {}
        }
    }

    /// Applies the cluster's member list: the leader moves to the front if the DSN names it, and nodes
    /// that are not in the DSN are appended, in place of those learned earlier.
    ///
    /// Skips addresses without a port or that no client can connect to, loopback addresses unless the
    /// DSN has one too, and plain HTTP if the DSN uses TLS: the password is sent with every request.
    pub(crate) fn learn(&mut self, members: &[Member]) {
        self.queue.retain(|node| !node.learned);
        let secure = self.queue.iter().any(|node| node.secure);
        let named: Vec<Address> = self.queue.iter().map(|n| n.address.clone()).collect();
        let local = named.iter().any(is_loopback);
        let mut leader = None;
        for member in members.iter().take(MOST) {
            let Some(mut node) = parse(&member.url) else {
                continue;
            };
            if let Some(alias) = alias(&named, &node.address.host) {
                node.address.host = alias;
            }
            if member.leader {
                leader = Some(node.address.clone());
            }
            let usable = (node.secure || !secure)
                && (local || !is_loopback(&node.address))
                && !self.useless.contains(&node.address);
            let known = self.queue.iter().any(|n| n.address == node.address);
            if usable && !known {
                self.queue.push_back(node);
            }
        }
        let leads = |node: &Node| !node.learned && Some(&node.address) == leader.as_ref();
        if let Some(at) = self.queue.iter().position(leads)
            && let Some(node) = self.queue.remove(at)
        {
            self.queue.push_front(node);
        }
    }
}

/// The DSN's name for a loopback host that the cluster lists under another name: hosts permit the
/// names in the DSN, and `localhost` is the same as its addresses.
fn alias(named: &[Address], host: &str) -> Option<String> {
    let same = |a: &str, b: &str| a == "localhost" && matches!(b, "127.0.0.1" | "::1");
    if named.iter().any(|address| address.host == host) {
        return None;
    }
    named
        .iter()
        .find(|address| same(&address.host, host) || same(host, &address.host))
        .map(|address| address.host.clone())
}

/// Parses a node from its advertised URL.
fn parse(url: &str) -> Option<Node> {
    let dsn: Dsn = url.parse().ok()?;
    let [address] = dsn.addresses() else {
        return None;
    };
    address.port?;
    let dialled = address.ip().is_none_or(|ip| !ip.is_unspecified());
    let known = matches!(dsn.scheme(), "http" | "https");
    (dialled && known).then(|| Node {
        secure: dsn.scheme() == "https",
        address: address.clone(),
        learned: true,
    })
}

fn is_loopback(address: &Address) -> bool {
    match address.ip() {
        Some(ip) => ip.to_canonical().is_loopback(),
        None => address.host == "localhost" || address.host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(dsn: &str) -> Nodes {
        Nodes::new(&dsn.parse().unwrap()).unwrap()
    }

    fn queue(nodes: &Nodes) -> Vec<String> {
        nodes.queue.iter().map(|n| n.address.to_string()).collect()
    }

    fn members(urls: &[&str], leader: usize) -> Vec<Member> {
        let member = |(i, url): (usize, &&str)| Member {
            url: (*url).to_owned(),
            leader: i == leader,
        };
        urls.iter().enumerate().map(member).collect()
    }

    #[test]
    fn the_dsn_names_nodes_and_the_port_has_a_default() {
        let n = nodes("http://u:p@a,B:80,[::1]:4003,[::2]");
        assert_eq!(queue(&n), ["a:4001", "b:80", "[::1]:4003", "[::2]:4001"]);
        assert!(n.queue.iter().all(|n| !n.secure && !n.learned));
        assert!(nodes("https://a").queue.iter().all(|n| n.secure));
        assert!(!nodes("rqlite://a").first().unwrap().secure);
        let none = Nodes::new(&"http://".parse().unwrap());
        assert!(matches!(none, Err(Error::Invalid(_))));
    }

    #[test]
    fn a_failed_node_waits_its_turn_and_one_that_works_stays() {
        let mut n = nodes("http://a,b,c");
        assert_eq!(n.first(), n.first());
        n.failed();
        assert_eq!(queue(&n), ["b:4001", "c:4001", "a:4001"]);
        n.useless();
        assert_eq!(queue(&n), ["c:4001", "a:4001", "b:4001"]);
        assert_eq!(n.count(), 3);
    }

    #[test]
    fn the_clusters_list_is_taken_over() {
        let mut n = nodes("http://a:1,b:2");
        n.learn(&members(&["http://c:3", "http://b:2", "http://a:1"], 1));
        assert_eq!(queue(&n), ["b:2", "a:1", "c:3"]);
        assert!(n.queue[2].learned && !n.queue[0].learned);
        // c left and d joined as the leader: it is still tried only if the others fail.
        n.learn(&members(&["http://d:4", "http://a:1"], 0));
        assert_eq!(queue(&n), ["b:2", "a:1", "d:4"]);
        n.failed();
        n.failed();
        assert_eq!(n.first().unwrap().address.to_string(), "d:4");
        n.useless();
        assert_eq!(queue(&n), ["b:2", "a:1"]);
        n.learn(&members(&["http://d:4", "http://a:1"], 0));
        assert_eq!(
            queue(&n),
            ["b:2", "a:1"],
            "useless nodes are not learned again"
        );
        n.learn(&[]);
        assert_eq!(queue(&n), ["b:2", "a:1"]);
    }

    #[test]
    fn one_machine_under_two_names_is_one() {
        let list = members(
            &["http://localhost:1", "http://127.0.0.1:2", "http://[::1]:3"],
            1,
        );
        let mut name = nodes("http://localhost:1,localhost:2");
        name.learn(&list);
        assert_eq!(queue(&name), ["localhost:2", "localhost:1", "localhost:3"]);
        let mut number = nodes("http://127.0.0.1:1");
        number.learn(&list);
        assert_eq!(queue(&number), ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]);
        let mut other = nodes("http://127.0.0.2:1");
        other.learn(&list);
        assert_eq!(
            queue(&other),
            ["127.0.0.2:1", "localhost:1", "127.0.0.1:2", "[::1]:3"]
        );
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_not_learned() {
        let mut n = nodes("https://a:1");
        let list = [
            "http://b:2",
            "https://b",
            "https://0.0.0.0:3",
            "https://[::]:3",
            "https://127.0.0.1:4",
            "https://localhost:4",
            "https://[::1]:4",
            "https://[::ffff:127.0.0.1]:4",
            "ftp://b:2",
            "b:2",
            "https://b:2,c:3",
            "",
            "https://:1",
            "https://A:1",
            "https://e:5",
            "https://e:5",
        ];
        n.learn(&members(&list, 0));
        assert_eq!(queue(&n), ["a:1", "e:5"]);
        let mut local = nodes("http://localhost:1");
        local.learn(&members(&["http://127.0.0.1:2", "https://[::1]:3"], 0));
        assert_eq!(queue(&local), ["localhost:1", "localhost:2", "localhost:3"]);
        let many: Vec<String> = (1..200).map(|i| format!("http://h{i}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        local.learn(&members(&many, 0));
        assert_eq!(local.count(), 65);
    }
}
