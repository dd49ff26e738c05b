//! The harness of Redis: what the other tests rely on.

use integration_tests::redis::{Options, Redis};

#[test]
fn what_was_answered_survives_a_kill_and_the_port_stays() {
    let redis = Redis::start();
    let port = redis.port();
    assert_eq!(redis.query::<i64>(&["INCRBY", "n", "42"]), 42);
    redis.kill();
    assert!(!redis.is_running());
    redis.start_again();
    assert!(redis.is_running());
    assert_eq!(redis.port(), port);
    assert_eq!(redis.query::<i64>(&["GET", "n"]), 42);
    redis.stop();
    redis.start_again();
    assert_eq!(redis.query::<i64>(&["GET", "n"]), 42);
}

#[test]
fn a_password_is_asked_for() {
    let redis = Redis::with(Options {
        password: Some("correct horse".replace(' ', "-")),
        ..Options::default()
    });
    let mut stranger = integration_tests::redis::connect(redis.port(), None).expect("connected");
    let error = redis::cmd("GET")
        .arg("n")
        .query::<()>(&mut stranger)
        .expect_err("no password given");
    assert_eq!(error.code(), Some("NOAUTH"));
    assert_eq!(redis.query::<i64>(&["INCRBY", "n", "1"]), 1);
    assert!(redis.dsn().contains(":correct-horse@127.0.0.1:"));
}

#[test]
fn a_replica_follows_and_refuses_writes() {
    let primary = Redis::start();
    let replica = Redis::with(Options {
        replica_of: Some(primary.port()),
        ..Options::default()
    });
    primary.query::<()>(&["SET", "n", "7"]);
    assert_eq!(primary.query::<i64>(&["WAIT", "1", "5000"]), 1);
    assert_eq!(replica.query::<i64>(&["GET", "n"]), 7);
    let error = redis::cmd("INCRBY")
        .arg("n")
        .arg(1)
        .query::<i64>(&mut replica.connect())
        .expect_err("read-only");
    assert_eq!(error.code(), Some("READONLY"));
}

#[test]
fn a_dropped_server_leaves_nothing_behind() {
    let redis = Redis::start();
    let (dir, port) = (redis.dir().to_owned(), redis.port());
    assert!(dir.join("server.log").is_file());
    drop(redis);
    assert!(!dir.exists());
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
}
