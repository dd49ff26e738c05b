//! Tests of the fault-injecting proxy in front of a real Redis.

use redis::{Commands, ConnectionLike};
use std::time::Duration;
use testbed::TestResult;
use testbed::proxy::{Fault, Proxy};
use testbed::redis::{Redis, connect};

#[test]
fn forwards_and_counts() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    let mut client = connect(proxy.port(), None).expect("connected");
    assert_eq!(client.incr("n", 5), Ok(5));
    assert_eq!(redis.query::<i64>(&["GET", "n"])?, 5);
    assert_eq!((proxy.accepted(), proxy.replies_cut()), (1, 0));
    Ok(())
}

#[test]
fn a_cut_reply_is_lost_after_its_request_was_executed() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    let mut client = connect(proxy.port(), None).expect("connected");
    proxy.cut(1, b"INCRBY")?;
    // Other requests are forwarded.
    assert_eq!(client.get("n"), Ok(None::<i64>));
    assert!(client.incr::<_, _, i64>("n", 5).is_err());
    assert!(!client.is_open());
    assert_eq!(proxy.replies_cut(), 1);
    assert_eq!(redis.query::<i64>(&["GET", "n"])?, 5, "executed once");
    // Only one reply was to be cut.
    let mut client = connect(proxy.port(), None).expect("connected again");
    assert_eq!(client.incr("n", 5), Ok(10));
    Ok(())
}

#[test]
fn a_stall_keeps_what_was_sent_and_then_lets_it_through() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    for (fault, executed) in [(Fault::Stall, None), (Fault::StallReplies, Some(1))] {
        let mut client = connect(proxy.port(), None).expect("connected");
        client.del::<_, ()>("n").expect("deleted");
        proxy.set(fault.clone())?;
        client
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("set");
        let error = client.incr::<_, _, i64>("n", 1).expect_err("stalled");
        assert!(error.is_timeout(), "{error}");
        assert_eq!(
            redis.query::<Option<i64>>(&["GET", "n"])?,
            executed,
            "{fault:?}"
        );
        proxy.set(Fault::None)?;
        let mut client = connect(proxy.port(), None).expect("connected again");
        assert!(client.incr::<_, _, i64>("n", 1).is_ok());
    }
    Ok(())
}

#[test]
fn refusing_closes_what_is_open_and_lets_nobody_in() -> TestResult {
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    let mut client = connect(proxy.port(), None).expect("connected");
    proxy.set(Fault::Refuse)?;
    assert!(client.incr::<_, _, i64>("n", 1).is_err());
    let error = connect(proxy.port(), None).err().expect("refused");
    assert!(error.is_connection_refusal(), "{error}");
    proxy.set(Fault::None)?;
    let mut client = connect(proxy.port(), None).expect("connected again");
    assert_eq!(client.incr("n", 1), Ok(1));
    Ok(())
}

#[test]
fn later_connections_go_where_it_is_aimed() -> TestResult {
    let (one, two) = (Redis::start()?, Redis::start()?);
    two.query::<()>(&["SET", "n", "100"])?;
    let proxy = Proxy::to(one.port())?;
    let mut before = connect(proxy.port(), None).expect("connected");
    proxy.aim(two.port());
    let mut after = connect(proxy.port(), None).expect("connected");
    assert_eq!(before.incr("n", 1), Ok(1));
    assert_eq!(after.incr("n", 1), Ok(101));
    Ok(())
}
