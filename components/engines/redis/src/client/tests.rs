use super::*;
use engine_redis_wire::stand_in::{Answer, StandIn};
use std::sync::atomic::{AtomicUsize, Ordering};

fn client(dsn: &str) -> Client {
    Client::new(Settings::read(&dsn.parse().expect(dsn)).expect(dsn))
}

fn ping(client: &mut Client) -> Result<i64, Error> {
    client.run(&mut None, |session| {
        let [reply] = session.ask([&cmd("PING")])?;
        Ok(engine_redis_wire::integer(&reply).expect("an integer"))
    })
}

#[test]
fn what_is_left_of_a_reply_is_not_taken_for_the_next_one() {
    let calls = AtomicUsize::new(0);
    let server = StandIn::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => {
            let rest = b":1\r\n".repeat(engine_redis_wire::MAX_REPLY_BYTES);
            Answer::Reply([b"$1000000\r\n".to_vec(), rest].concat())
        }
        _ => Answer::line(":2"),
    });
    let mut client = client(&format!("redis://{}", server.address()));
    assert!(matches!(ping(&mut client), Err(Error::Other(_))));
    assert_eq!(ping(&mut client), Ok(2));
}

#[test]
fn a_lost_reply_is_asked_for_again() {
    let calls = AtomicUsize::new(0);
    let server = StandIn::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 | 2 => Answer::Close,
        n => Answer::line(&format!(":{n}")),
    });
    let mut client = client(&format!("redis://{}", server.address()));
    assert_eq!(ping(&mut client), Ok(0));
    assert_eq!(ping(&mut client), Ok(3));
}

const PRIMARY: &str = "role:master\r\nmaster_replid:r0\r\n";
const REPLICA: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_replid:r0\r\n";
const NODE: &str = "role:master\r\ncluster_enabled:1\r\n";

/// Answers `INFO` with this text, and all other commands with a line.
fn server(info: &'static str, line: &str) -> StandIn {
    let line = line.to_owned();
    StandIn::start(move |words| match words {
        ["INFO", ..] => text(info),
        _ => Answer::line(&line),
    })
}

fn text(text: &str) -> Answer {
    Answer::Reply(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
}

#[test]
fn the_primary_is_found_and_kept() {
    let replica = server(REPLICA, "-READONLY You can't write");
    let primary = server(PRIMARY, ":7");
    let mut client = client(&format!(
        "redis://{},{}",
        replica.address(),
        primary.address()
    ));
    assert_eq!(ping(&mut client), Ok(7));
    assert_eq!(ping(&mut client), Ok(7));
    // Three sections each; the other server is queried again at the end.
    assert_eq!((replica.commands(), primary.commands()), (6, 5));
}

/// The first server was a replica when it was queried. Before the second one was queried, the first
/// was promoted, and the second, the old primary, came back as a primary.
#[test]
fn a_promotion_while_the_others_are_asked_is_noticed() {
    let asked = AtomicUsize::new(0);
    let promoted = StandIn::start(move |words| match words {
        ["INFO", "replication"] => match asked.fetch_add(1, Ordering::SeqCst) {
            0 => text("role:slave\r\nmaster_link_status:down\r\nmaster_replid:r0\r\n"),
            _ => text("role:master\r\nmaster_replid:r1\r\nmaster_replid2:r0\r\n"),
        },
        ["INFO", ..] => text(""),
        _ => Answer::line(":7"),
    });
    let old = server(PRIMARY, ":3");
    let mut client = client(&format!("redis://{},{}", promoted.address(), old.address()));
    assert_eq!(ping(&mut client), Ok(7));
}

/// When it was connected to, the old primary had been replaced and had come back as a primary.
#[test]
fn a_failover_while_the_primary_is_connected_to_is_noticed() {
    let server = |mark: &'static str| {
        StandIn::start(move |words| match words {
            ["ROLE"] => Answer::Reply(b"*1\r\n$6\r\nmaster\r\n".to_vec()),
            _ => Answer::line(mark),
        })
    };
    let (old, promoted) = (server(":3"), server(":7"));
    let ports = [&old, &promoted].map(|server| {
        let address = server.address();
        address.rsplit_once(':').expect("a port").1.to_owned()
    });
    let asked = AtomicUsize::new(0);
    let list = |items: &[&str]| {
        let items: String = items
            .iter()
            .map(|item| format!("${}\r\n{item}\r\n", item.len()))
            .collect();
        items
    };
    let sentinel = StandIn::start(move |words| {
        // Two commands per query.
        let epoch = asked.fetch_add(1, Ordering::SeqCst) / 2;
        let port = &ports[epoch.min(1)];
        let reply = if words[1] == "MASTER" {
            let epoch = epoch.min(1).to_string();
            format!(
                "*4\r\n{}",
                list(&["flags", "master", "config-epoch", &epoch])
            )
        } else {
            format!("*2\r\n{}", list(&["127.0.0.1", port]))
        };
        Answer::Reply(reply.into_bytes())
    });
    let mut client = client(&format!("redis+sentinel://{}/n", sentinel.address()));
    assert_eq!(ping(&mut client), Ok(7));
    assert_eq!(old.commands(), 1, "ROLE alone");
    // The connection is kept.
    let before = sentinel.commands();
    assert_eq!(ping(&mut client), Ok(7));
    assert_eq!(sentinel.commands(), before);
}

/// Sentinels usually require no login; then none is sent.
#[test]
fn sentinels_that_want_a_login_get_that_of_the_dsn() {
    let server = StandIn::start(|words| match words {
        ["ROLE"] => Answer::Reply(b"*1\r\n$6\r\nmaster\r\n".to_vec()),
        ["AUTH", ..] => Answer::line("+OK"),
        _ => Answer::line(":7"),
    });
    let address = server.address();
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let known = std::sync::atomic::AtomicBool::new(false);
    let sentinel = StandIn::start(move |words| match words {
        ["AUTH", "u", "hunter2"] => {
            known.store(true, Ordering::SeqCst);
            Answer::line("+OK")
        }
        ["AUTH", ..] => Answer::line("-WRONGPASS invalid username-password pair: hunter3"),
        _ if !known.load(Ordering::SeqCst) => Answer::line("-NOAUTH Authentication required."),
        ["SENTINEL", "MASTER", "n"] => {
            let items = ["config-epoch", "0"].map(|item| format!("${}\r\n{item}\r\n", item.len()));
            Answer::Reply(format!("*2\r\n{}", items.concat()).into_bytes())
        }
        _ => {
            let items = ["127.0.0.1", &port].map(|item| format!("${}\r\n{item}\r\n", item.len()));
            Answer::Reply(format!("*2\r\n{}", items.concat()).into_bytes())
        }
    });
    let ping = |login: &str| {
        let dsn = format!(
            "redis+sentinel://{login}{}/n?timeout=5s",
            sentinel.address()
        );
        ping(&mut client(&dsn))
    };
    for login in ["", "u:hunter3@"] {
        match ping(login) {
            Err(Error::Denied(why)) => {
                assert!(why.contains("password") && !why.contains("hunter"), "{why}");
            }
            other => panic!("{login}: {other:?}"),
        }
    }
    assert_eq!(ping("u:hunter2@"), Ok(7));
}

#[test]
fn a_silent_host_costs_a_part_of_the_time() {
    let primary = server(PRIMARY, ":7");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("bound");
    for hosts in [
        format!("{silent},{}", primary.address()),
        format!("{},{silent},{silent},{silent}", primary.address()),
    ] {
        let mut client = client(&format!("redis://{hosts}?timeout=4s"));
        assert_eq!(ping(&mut client), Ok(7), "{hosts}");
    }
}

#[test]
fn servers_that_do_not_tell_their_role_are_not_guessed_at() {
    let primary = server(PRIMARY, ":7");
    for (line, denied) in [
        (
            "-NOPERM User u has no permissions to run the 'info' command",
            true,
        ),
        ("-ERR unknown command 'INFO'", true),
        ("+OK", false),
    ] {
        let other = StandIn::start(move |_| Answer::line(line));
        let hosts = format!("{},{}", primary.address(), other.address());
        let error = ping(&mut client(&format!("redis://{hosts}"))).expect_err(line);
        match error {
            Error::Denied(why) if denied => assert!(why.contains("INFO"), "{why}"),
            Error::Other(why) if !denied => {
                assert!(why.contains("role") || why.contains("primary"), "{why}")
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

/// If too few replicas acknowledge, the primary is searched for again, once.
#[test]
fn what_is_not_acknowledged_is_tried_on_the_server_that_took_over() {
    let write = |client: &mut Client| {
        client.run(&mut None, |session| {
            let (reply, enough) = session.write(&cmd("INCR"))?;
            enough?;
            Ok(engine_redis_wire::integer(&reply).expect("an integer"))
        })
    };
    let promoted = StandIn::start(|words| match words {
        ["INFO", "replication"] => text("role:master\r\nmaster_replid:r1\r\nmaster_replid2:r0\r\n"),
        ["INFO", ..] => text(""),
        ["WAIT", ..] => Answer::line(":1"),
        _ => Answer::line(":7"),
    });
    let taken_over = std::sync::Arc::new(AtomicUsize::new(0));
    let flag = std::sync::Arc::clone(&taken_over);
    let lonely = StandIn::start(move |words| match words {
        ["INFO", "replication"] => text(PRIMARY),
        ["INFO", ..] => text(""),
        ["WAIT", ..] => {
            flag.store(1, Ordering::SeqCst);
            Answer::line(":0")
        }
        _ => Answer::line(":3"),
    });
    let flag = taken_over;
    let to = promoted.address();
    // Begins to answer once the other server is found to have no replica.
    let late = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let late_at = late.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in late.incoming().flatten() {
            if flag.load(Ordering::SeqCst) == 1 {
                let server = std::net::TcpStream::connect(&to).expect("it listens");
                let (mut a, mut b) = (
                    stream.try_clone().expect("a"),
                    server.try_clone().expect("b"),
                );
                std::thread::spawn(move || std::io::copy(&mut a, &mut b));
                let (mut a, mut b) = (stream, server);
                std::thread::spawn(move || std::io::copy(&mut b, &mut a));
            }
        }
    });
    let hosts = format!("{},{late_at}", lonely.address());
    let mut both = client(&format!("redis://{hosts}?wait=1&timeout=10s"));
    assert_eq!(write(&mut both), Ok(7));
    // No server took over.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed_at = closed.local_addr().expect("bound");
    drop(closed);
    let hosts = format!("{},{closed_at}", lonely.address());
    let mut alone = client(&format!("redis://{hosts}?wait=1&timeout=10s"));
    let error = write(&mut alone).expect_err("no replica");
    assert!(
        matches!(&error, Error::Unavailable(why) if why.contains("0 of 1 replicas")),
        "{error:?}"
    );
}

#[test]
fn clusters_are_followed_to_nodes_that_the_dsn_names() {
    let other = server(NODE, ":7");
    let node = server(NODE, &format!("-MOVED 1 {}", other.address()));
    let mut both = client(&format!("redis://{},{}", node.address(), other.address()));
    assert_eq!(ping(&mut both), Ok(7));
    let mut alone = client(&format!("redis://{}", node.address()));
    let error = ping(&mut alone).expect_err("a redirect to a stranger");
    assert!(
        matches!(&error, Error::Other(message) if message.contains(&other.address())),
        "{error:?}"
    );
}

/// A slot that is moved: the next command goes to the old node again.
#[test]
fn a_redirect_for_one_command_is_followed_once() {
    let asking = std::sync::Mutex::new(false);
    let other = StandIn::start(move |words| {
        let mut asking = asking.lock().expect("no panic");
        match words {
            ["INFO", ..] => text(NODE),
            ["ASKING"] => {
                *asking = true;
                Answer::line("+OK")
            }
            _ if std::mem::take(&mut *asking) => Answer::line(":7"),
            _ => Answer::line("-MOVED 1 127.0.0.1:1"),
        }
    });
    let node = server(NODE, &format!("-ASK 1 {}", other.address()));
    let mut both = client(&format!("redis://{},{}", node.address(), other.address()));
    assert_eq!(ping(&mut both), Ok(7));
    assert_eq!(ping(&mut both), Ok(7));
}

#[test]
fn nodes_that_never_serve_are_tried_in_moderation() {
    let node = StandIn::start(|_| Answer::line("-LOADING Redis is loading"));
    let mut client = client(&format!("redis://{}?timeout=500ms", node.address()));
    assert!(matches!(ping(&mut client), Err(Error::Unavailable(_))));
    // Pauses are at least 5 + 10 + 20 + 40 + 80 + 3 * 100 ms: nine tries, however slow the machine is.
    assert!((1..=9).contains(&node.commands()), "{}", node.commands());
}

#[test]
fn a_password_is_not_repeated() {
    let server = StandIn::start(|words| {
        Answer::line(&format!(
            "-ERR unknown command, args beginning with: {words:?}"
        ))
    });
    let mut client = client(&format!("redis://u:hunter2@{}", server.address()));
    let error = ping(&mut client).expect_err("no login");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    assert!(matches!(error, Error::Denied(_)), "{error:?}");
}
