use super::*;
use engine_redis_wire::stand_in::{Answer, StandIn};
use std::sync::{Arc, OnceLock};

fn group(dsn: &str) -> Group {
    let settings = Settings::read(&dsn.parse().expect(dsn)).expect(dsn);
    Group::new(settings).expect("a host")
}

fn ping(group: &mut Group) -> Result<i64, Error> {
    group.run(|session| {
        let reply = session.ask(&cmd("PING"))?;
        Ok(engine_redis_wire::integer(&reply).expect("an integer"))
    })
}

/// A node that answers everything with this line, except `RAFTPEERS`, which returns `peers`.
fn node(peers: Vec<String>, line: impl Fn() -> String + Send + Sync + 'static) -> StandIn {
    StandIn::start(move |words| {
        if words != ["RAFTPEERS"] {
            return Answer::line(&line());
        }
        let mut reply = format!("*{}\r\n", 2 * peers.len());
        for peer in &peers {
            reply.push_str(&format!("${}\r\n{peer}\r\n$8\r\nFollower\r\n", peer.len()));
        }
        Answer::Reply(reply.into_bytes())
    })
}

#[test]
fn the_leader_is_found_and_kept() {
    let leader = node(vec![], || ":7".into());
    let told = format!("-TRY {}", leader.address());
    let follower = node(vec![], move || told.clone());
    let mut group = group(&format!("redis://{}", follower.address()));
    assert_eq!(ping(&mut group), Ok(7));
    assert_eq!(ping(&mut group), Ok(7));
    // Each was asked for its peers once.
    assert_eq!((follower.commands(), leader.commands()), (2, 3));
}

#[test]
fn a_leader_that_is_gone_is_sought_among_the_peers_it_had() {
    let heir = node(vec![], || ":8".into());
    // Answers once, and closes every connection after that.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let peer = heir.address();
    let leader = StandIn::start(move |words| {
        let mut reply = String::from(":7\r\n");
        if words == ["RAFTPEERS"] {
            reply = format!("*2\r\n${}\r\n{peer}\r\n$8\r\nFollower\r\n", peer.len());
        } else if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            return Answer::Close;
        }
        Answer::Reply(reply.into_bytes())
    });
    let mut group = group(&format!("redis://{}", leader.address()));
    assert_eq!(ping(&mut group), Ok(7));
    assert_eq!(ping(&mut group), Ok(8));
}

#[test]
fn nodes_that_send_in_circles_are_followed_a_few_times_only() {
    let second_address = Arc::new(OnceLock::new());
    let told = Arc::clone(&second_address);
    let first = node(vec![], move || {
        format!("-TRY {}", told.get().cloned().unwrap_or_default())
    });
    let told = first.address();
    let second = node(vec![], move || format!("-TRY {told}"));
    second_address.set(second.address()).expect("set once");
    let mut group = group(&format!("redis://{}?timeout=700ms", first.address()));
    let error = ping(&mut group).expect_err("nobody leads");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    // The first attempt, the round after it, and one every 200 ms; each starting at either node and
    // reaching both, with two commands per node.
    let most = (1 + 1 + 4) * 2 * 2 * 2;
    let commands = first.commands() + second.commands();
    assert!((2..=most).contains(&commands), "{commands} of {most}");
}

#[test]
fn a_group_without_a_leader_is_waited_for() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let node = node(vec![], move || {
        match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0..3 => "-ERR leader not known".into(),
            _ => ":9".into(),
        }
    });
    let mut group = group(&format!("redis://127.0.0.1:1,{}", node.address()));
    assert_eq!(ping(&mut group), Ok(9));
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn peers_are_every_other_item() {
    let reply = Value::Array(
        [
            "127.0.0.1:7481",
            "Leader",
            "[::1]:7482",
            "Follower",
            "nonsense",
            "Invalid",
            "h",
        ]
        .map(bulk)
        .into(),
    );
    let found: Vec<_> = peers(&reply).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["127.0.0.1:7481", "[::1]:7482"]);
    assert_eq!(peers(&Value::Nil), []);
    let many = Value::Array((1..1000).map(|n| bulk(&format!("h:{n}"))).collect());
    assert_eq!(peers(&many).len(), MAX_PEERS);
}

#[test]
fn the_last_node_tried_comes_last() {
    let settings = Settings::read(&"redis://a,b:2".parse().expect("a DSN")).expect("valid");
    let mut group = Group::new(settings).expect("a host");
    group.learned = ["b:2", "c:3"].map(|n| Address::parse(n).expect(n)).into();
    let names = |group: &Group| -> Vec<String> {
        group.candidates().iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&group), ["b:2", "c:3", "a:7481"]);
    group.at = Address::parse("x:9").expect("an address");
    assert_eq!(names(&group), ["a:7481", "b:2", "c:3", "x:9"]);
}
