use super::*;
use crate::client::Client;
use engine_redis_wire::stand_in::{Answer, StandIn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The commands that a server got, without their arguments.
type Log = Arc<Mutex<Vec<String>>>;

/// A node of a cluster, with the answers to `INCR`.
fn node(script: impl Fn() -> Answer + Send + Sync + 'static) -> (StandIn, Log) {
    let log = Log::default();
    let shared = Arc::clone(&log);
    let server = StandIn::start(move |words| {
        let command = words.first().copied().unwrap_or_default();
        shared.lock().expect("no panic").push(command.to_owned());
        match command {
            "INFO" => Answer::Reply(b"$19\r\ncluster_enabled:1\r\n\r\n".to_vec()),
            "ASKING" => Answer::line("+OK"),
            _ => script(),
        }
    });
    (server, log)
}

fn always(line: &str) -> (StandIn, Log) {
    let line = line.to_owned();
    node(move || Answer::line(&line))
}

fn read(log: &Log) -> String {
    log.lock().expect("no panic").join(" ")
}

fn client(hosts: &str) -> Client {
    let dsn = format!("redis+cluster://{hosts}");
    Client::new(Settings::read(&dsn.parse().expect(&dsn)).expect(&dsn))
}

fn incr(client: &mut Client, home: &mut Home) -> Result<i64, Error> {
    client.run(home, |session| {
        let [reply] = session.ask([&cmd("INCR")])?;
        Ok(engine_redis_wire::integer(&reply).expect("an integer"))
    })
}

fn address(server: &StandIn) -> Option<Address> {
    Address::parse(&server.address()).ok()
}

#[test]
fn a_key_that_moved_is_followed_and_its_node_remembered() {
    let (other, others) = always(":7");
    // Nodes may leave out the host that they have in common.
    let port = other.address();
    let port = port.rsplit_once(':').expect("a port").1;
    for target in [other.address(), format!(":{port}")] {
        others.lock().expect("no panic").clear();
        let (listed, log) = always(&format!("-MOVED 1 {target}"));
        let mut client = client(&listed.address());
        let mut home = None;
        assert_eq!(incr(&mut client, &mut home), Ok(7), "{target}");
        assert_eq!(home, address(&other));
        assert_eq!(incr(&mut client, &mut home), Ok(7));
        assert_eq!(read(&log), "INFO INCR");
        assert_eq!(read(&others), "INFO INCR INCR");
    }
}

#[test]
fn a_redirect_for_one_command_is_not_remembered() {
    let (other, others) = always(":7");
    let (listed, log) = always(&format!("-ASK 1 {}", other.address()));
    let mut client = client(&listed.address());
    let mut home = address(&listed);
    for _ in 0..2 {
        assert_eq!(incr(&mut client, &mut home), Ok(7));
        assert_eq!(home, address(&listed));
    }
    assert_eq!(read(&log), "INFO INCR INCR", "its connection is kept");
    assert_eq!(read(&others), "INFO ASKING INCR ASKING INCR");
}

#[test]
fn sequences_on_different_nodes_keep_their_connections() {
    let ((a, in_a), (b, in_b)) = (always(":1"), always(":2"));
    let mut client = client(&a.address());
    let (mut first, mut second) = (None, address(&b));
    for _ in 0..3 {
        assert_eq!(incr(&mut client, &mut first), Ok(1));
        assert_eq!(incr(&mut client, &mut second), Ok(2));
    }
    assert_eq!(read(&in_a), "INFO INCR INCR INCR");
    assert_eq!(read(&in_b), "INFO INCR INCR INCR");
}

#[test]
fn nodes_that_redirect_to_each_other_are_followed_in_moderation() {
    let target = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&target);
    let (one, _) = node(move || {
        let target = shared.lock().expect("no panic");
        Answer::line(&format!("-MOVED 1 {target}"))
    });
    let (other, _) = always(&format!("-ASK 1 {}", one.address()));
    *target.lock().expect("no panic") = other.address();
    let mut client = client(&format!("{}?timeout=500ms", one.address()));
    let error = incr(&mut client, &mut None).expect_err("nobody has the key");
    assert!(
        matches!(&error, Error::Unavailable(why) if why.contains("reconfigured")),
        "{error:?}"
    );
    // Pauses are at least 5 + 10 + 20 + 40 + 80 + 3 * 100 ms, and six commands go between two of them, three of them
    // after `ASKING`. The connections are kept.
    let commands = one.commands() + other.commands();
    assert!((9..=9 * 9 + 2).contains(&commands), "{commands}");
}

#[test]
fn a_listed_node_that_is_away_is_passed_by() {
    let (up, _) = always(":7");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let away = closed.local_addr().expect("bound");
    drop(closed);
    let (down, _) = always("-CLUSTERDOWN The cluster is down");
    let hosts = format!("{away},{},{}", down.address(), up.address());
    let mut client = client(&hosts);
    let mut home = None;
    assert_eq!(incr(&mut client, &mut home), Ok(7));
    assert_eq!(home, address(&up));
    // So is a node that had the key.
    home = Address::parse(&away.to_string()).ok();
    assert_eq!(incr(&mut client, &mut home), Ok(7));
    assert_eq!(home, address(&up));
}

/// Of a server that keeps its connections open without an answer, half of the time is left for another node.
#[test]
fn a_node_that_is_silent_is_left() {
    let (up, _) = always(":7");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hosts = format!(
        "{},{}?timeout=3s",
        silent.local_addr().expect("bound"),
        up.address()
    );
    let mut client = client(&hosts);
    assert_eq!(incr(&mut client, &mut None), Ok(7));
}

#[test]
fn a_server_outside_a_cluster_is_refused() {
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&count);
    let alone = StandIn::start(move |words| match words {
        ["INFO", ..] => Answer::Reply(b"$19\r\ncluster_enabled:0\r\n\r\n".to_vec()),
        _ => {
            shared.fetch_add(1, Ordering::SeqCst);
            Answer::line(":1")
        }
    });
    let error = incr(&mut client(&alone.address()), &mut None).expect_err("not a node");
    assert!(
        matches!(&error, Error::Other(why) if why.contains("no node of a Redis Cluster")),
        "{error:?}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn a_cluster_is_no_backend_of_a_quorum_node() {
    let (node, log) = always(":1");
    let error = client(&node.address()).generation().expect_err("refused");
    assert!(matches!(&error, Error::Other(why) if why.contains("quorum")));
    assert_eq!(read(&log), "");
}

/// If too few replicas acknowledge, the node is searched for again, once.
#[test]
fn what_is_not_acknowledged_is_not_repeated_on_the_same_node() {
    let (node, log) = {
        let log = Log::default();
        let shared = Arc::clone(&log);
        let server = StandIn::start(move |words| {
            let command = words.first().copied().unwrap_or_default();
            shared.lock().expect("no panic").push(command.to_owned());
            match command {
                "INFO" => Answer::Reply(b"$19\r\ncluster_enabled:1\r\n\r\n".to_vec()),
                "WAIT" => Answer::line(":0"),
                _ => Answer::line(":1"),
            }
        });
        (server, log)
    };
    let mut client = client(&format!("{}?wait=1", node.address()));
    let done = client.run(&mut None, |session| {
        let (_, enough) = session.write(&cmd("INCR"))?;
        enough
    });
    assert!(
        matches!(&done, Err(Error::Unavailable(why)) if why.contains("0 of 1 replicas")),
        "{done:?}"
    );
    assert_eq!(read(&log), "INFO INCR WAIT");
}
