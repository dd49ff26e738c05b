//! Members that gossip over the loopback interface.

use super::placement::Placement;
use super::*;
use crate::partition::PARTITIONS;
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A member with its sockets.
pub(crate) struct Node {
    pub(crate) members: Members,
    pub(crate) share: watch::Receiver<Arc<Share>>,
    pub(crate) held: watch::Sender<Arc<Share>>,
    pub(crate) gossip: SocketAddr,
}

pub(crate) async fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.local_addr().unwrap()
}

pub(crate) async fn options(name: &str, join: &[SocketAddr]) -> Options {
    let gossip = free_address().await;
    let address = "http://localhost:6660".parse().unwrap();
    Options {
        join: join.iter().map(ToString::to_string).collect(),
        interval: Duration::from_millis(50),
        times: Times {
            joining: Duration::from_millis(200),
            missing: Duration::from_secs(1),
        },
        ..Options::new(name, "stream", gossip, address)
    }
}

impl Node {
    pub(crate) async fn start(options: Options) -> Self {
        let gossip = options.listen;
        let (held, holding) = watch::channel(Arc::default());
        let (members, share) = Members::start(options, holding).await.unwrap();
        Self {
            members,
            share,
            held,
            gossip,
        }
    }

    /// Waits until its view is like this.
    pub(crate) async fn sees(&self, what: impl Fn(&View) -> bool) -> Arc<View> {
        let mut views = self.members.views();
        let seen = timeout(PATIENCE, views.wait_for(|view| what(view))).await;
        let seen = seen.unwrap_or_else(|_| panic!("{:?}", self.members.view().members));
        Arc::clone(&seen.unwrap())
    }

    /// Ends it without a word to the others.
    pub(crate) async fn kill(&self) {
        drop(self.members.0.leave.lock().unwrap().take());
        let mut views = self.members.views();
        while views.changed().await.is_ok() {}
    }

    /// Waits until it sees these members alive, with shares.
    pub(crate) async fn sees_settled(&self, names: &[&str]) -> Arc<View> {
        self.sees(|view| view.placement.names() == names && view.alive() == names.len())
            .await
    }
}

/// Members with these names, each of which sees all others.
pub(crate) async fn started(names: &[&str], change: impl Fn(Options) -> Options) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let seed = nodes.last().map(|node| node.gossip);
        let seeds: Vec<_> = seed.into_iter().collect();
        nodes.push(Node::start(change(options(name, &seeds).await)).await);
    }
    for node in &nodes {
        node.sees_settled(names).await;
    }
    nodes
}

fn health(view: &View, name: &str) -> Option<Health> {
    view.member(name).map(|member| member.health)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_owns_everything() {
    let mut node = Node::start(options("a", &[]).await).await;
    assert!(node.share.wait_for(|share| share.is_all()).await.is_ok());
    let view = node.sees_settled(&["a"]).await;
    let me = view.me().unwrap();
    assert_eq!(
        (&*me.name, me.health, me.owned.len()),
        ("a", Health::Alive, 1051)
    );
    assert_eq!(me.gossip, Some(node.gossip));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_and_share_the_partitions() {
    let names = ["a", "b", "c", "d", "e"];
    let mut nodes = started(&names, |options| options).await;
    let mut sum = 0;
    for node in &mut nodes {
        let view = node.sees_settled(&names).await;
        assert_eq!(*view.placement, Placement::new(names));
        let own = &view.me().unwrap().owned;
        assert_eq!(**own, view.placement.share(&view.own));
        let share = node.share.wait_for(|share| *share == *own).await.unwrap();
        sum += share.len();
    }
    assert_eq!(sum, 3 * 1051);
    // What one holds, all others learn.
    let held = Share::from_iter([1, 5, 1050]);
    nodes[0].held.send(Arc::new(held.clone())).unwrap();
    for node in &nodes {
        let holds = |view: &View| view.member("a").is_some_and(|member| *member.held == held);
        node.sees(holds).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_dies_keeps_its_share_for_a_while() {
    let patient = |options: Options| Options {
        times: Times {
            missing: Duration::from_secs(3600),
            ..options.times
        },
        ..options
    };
    let nodes = started(&["a", "b", "c", "d"], patient).await;
    let [nodes @ .., dead] = &nodes[..] else {
        panic!("there are four");
    };
    let address = dead.gossip;
    dead.kill().await;
    for node in nodes {
        let view = node
            .sees(|view| health(view, "d") == Some(Health::Suspected))
            .await;
        assert_eq!(view.placement.names(), ["a", "b", "c", "d"]);
        assert_eq!(view.alive(), 3);
        let asked = (0..PARTITIONS).flat_map(|partition| view.holders(partition));
        assert!(asked.into_iter().all(|member| member.name != "d"));
    }
    // It is started again, and has its share at once.
    let again = Options {
        listen: address,
        advertised: address,
        ..options("d", &[nodes[0].gossip]).await
    };
    let _again = Node::start(patient(again)).await;
    for node in nodes {
        node.sees_settled(&["a", "b", "c", "d"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_dead_is_replaced() {
    let nodes = started(&["a", "b", "c", "d"], |options| options).await;
    let [nodes @ .., dead] = &nodes[..] else {
        panic!("there are four");
    };
    dead.kill().await;
    for node in nodes {
        let view = node
            .sees(|view| health(view, "d") == Some(Health::Dead))
            .await;
        assert_eq!(view.placement.names(), ["a", "b", "c"]);
        let owned = view.members.iter().map(|member| member.owned.len());
        assert_eq!(owned.collect::<Vec<_>>(), [1051, 1051, 1051, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_says_so() {
    let nodes = started(&["a", "b", "c"], |options| options).await;
    nodes[2].members.leave().await;
    nodes[2].members.leave().await;
    for node in &nodes[..2] {
        let view = node
            .sees(|view| health(view, "c") == Some(Health::Left))
            .await;
        assert_eq!(view.placement.names(), ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_strangers_are_ignored_and_counted() {
    let secret = |options: Options, text: &str| Options {
        secret: Some(Secret::new(text.into())),
        ..options
    };
    let node = Node::start(secret(options("a", &[]).await, "one")).await;
    let friend = options("b", &[node.gossip]).await;
    let friend = Node::start(secret(friend, "one")).await;
    node.sees_settled(&["a", "b"]).await;
    friend.sees_settled(&["a", "b"]).await;

    // Another secret, and none.
    let wrong = Node::start(secret(options("c", &[node.gossip]).await, "two")).await;
    let none = Node::start(options("d", &[node.gossip]).await).await;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for packet in [&b""[..], b"x", &[0; 31], &[0; 32], &[7; 60_000]] {
        stranger.send_to(packet, node.gossip).await.unwrap();
    }
    let ignored = timeout(PATIENCE, async {
        // Those five, and some of each stranger.
        while node.members.counted().ignored < 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(ignored.await.is_ok());
    wrong.sees_settled(&["c"]).await;
    none.sees_settled(&["d"]).await;
    node.sees_settled(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_what_is_no_gossip_is_ignored_and_counted() {
    let node = Node::start(options("a", &[]).await).await;
    let other = Options {
        cluster: "another stream".into(),
        ..options("b", &[node.gossip]).await
    };
    let other = Node::start(other).await;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for round in 0..100 {
        stranger.send_to(&[round; 100], node.gossip).await.unwrap();
        // The beginning of a message, and something.
        let packet = [0x53, 0xb0, 1, round % 4, round, 0, 0, 255, 255, 1, 2, 3];
        stranger.send_to(&packet, node.gossip).await.unwrap();
    }
    let ignored = timeout(PATIENCE, async {
        while node.members.counted().ignored < 150 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(ignored.await.is_ok(), "{:?}", node.members.counted());
    let friend = Node::start(options("c", &[node.gossip]).await).await;
    node.sees_settled(&["a", "c"]).await;
    friend.sees_settled(&["a", "c"]).await;
    other.sees_settled(&["b"]).await;
}

/// A message of the library, as anybody can write it: the sender knows these members, whose hearts beat.
fn made_up(count: u16, heartbeat: u64) -> Vec<u8> {
    let text = |text: &str, packet: &mut Vec<u8>| {
        packet.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        packet.extend(text.as_bytes());
    };
    let mut packet = vec![0x53, 0xb0, 0, 0];
    packet.extend(count.to_le_bytes());
    for number in 0..count {
        text(&format!("0-{number}"), &mut packet);
        packet.extend(1_u64.to_le_bytes());
        packet.extend([4, 127, 0, 0, 1, 9, 0]);
        for number in [heartbeat, 0, 0] {
            packet.extend(u64::to_le_bytes(number));
        }
    }
    text("stream", &mut packet);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_somebody_made_up_are_none() {
    let nodes = started(&["a", "b"], |options| options).await;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    // What others send to an address that was one of a member before is ignored.
    stranger.connect(nodes[0].gossip).await.unwrap();
    for heartbeat in 1..20 {
        let packet = made_up(500, heartbeat);
        stranger.send(&packet).await.unwrap();
        // It is a message indeed: it has an answer.
        let mut answer = vec![0; 65_536];
        let answered = timeout(PATIENCE, stranger.recv(&mut answer)).await;
        let length = answered.unwrap().unwrap();
        assert!(length > 500 * 20, "{length} {heartbeat}");
    }
    let newcomer = Node::start(options("c", &[nodes[0].gossip]).await).await;
    for node in [&nodes[0], &nodes[1], &newcomer] {
        let view = node.sees_settled(&["a", "b", "c"]).await;
        assert_eq!(view.members.len(), 3);
    }
}

#[tokio::test]
async fn bad_options_are_refused() {
    let start = |options| Members::start(options, watch::channel(Arc::default()).1);
    let bad = Options {
        name: "a b".into(),
        ..options("a", &[]).await
    };
    assert!(matches!(start(bad).await, Err(Error::Misconfigured(_))));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let taken = Options {
        listen: socket.local_addr().unwrap(),
        ..options("a", &[]).await
    };
    let Err(Error::Misconfigured(text)) = start(taken).await else {
        panic!("the address is taken");
    };
    assert!(text.starts_with("cannot gossip at 127.0.0.1:"), "{text}");
}
