//! The load generator against correct and incorrect servers.

use super::*;
use crate::integers::{Lattice, Ledger};
use crate::yardstick::serve;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const EVEN: Lattice = Lattice {
    increment: 2,
    offset: 0,
};

/// Loads a server whose n-th response, counted from 1, is `answer(n)`.
fn load(
    expect: Expect,
    answer: impl Fn(i64) -> (u16, String) + Send + Sync + 'static,
) -> (Outcome, Result<(), String>) {
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let number = AtomicI64::new(0);
    runtime.spawn(serve(listener, move |_| {
        let (status, body) = answer(number.fetch_add(1, Ordering::SeqCst) + 1);
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        async move { response }
    }));
    let outcome = run(&Load {
        port,
        connections: 7,
        warm_up: Duration::from_millis(10),
        time: Duration::from_millis(400),
        requests: vec![Request::get("/")],
        expect,
    })
    .expect("a run");
    let integers = Ledger::default().note("sequence", EVEN, &outcome.taken[0]);
    (outcome, integers)
}

#[test]
fn a_server_that_is_right() {
    let (outcome, integers) = load(Expect::Lines(1), |n| (200, (2 * n).to_string()));
    assert_eq!((outcome.fault(), integers), (None, Ok(())));
    assert_eq!(outcome.integers, outcome.requests);
    assert_eq!(outcome.latency.len(), outcome.requests);
    // Integers received during the warm-up and after the end are checked as well.
    assert!(outcome.taken[0].count() >= outcome.requests);
}

#[test]
fn answers_longer_than_any_buffer() {
    let (outcome, integers) = load(Expect::Lines(5000), |n| {
        let first = 10_000 * n;
        let lines = (0..5000).map(|i| format!("{}\n", first + 2 * i));
        (200, lines.collect())
    });
    assert_eq!((outcome.fault(), integers), (None, Ok(())));
    assert_eq!(outcome.integers, 5000 * outcome.requests);
}

#[test]
fn a_planted_duplicate() {
    // The 20th response repeats the 10th.
    let (_, integers) = load(Expect::Lines(1), |n| {
        let n = if n == 20 { 10 } else { n };
        (200, (2 * n).to_string())
    });
    assert!(
        integers.as_ref().is_err_and(|why| why.contains("20 ")),
        "{integers:?}"
    );
}

#[test]
fn a_connection_that_is_given_less_than_before() {
    let (outcome, _) = load(Expect::Lines(1), |n| (200, (2_000_000 - 2 * n).to_string()));
    let fault = outcome.fault().expect("a fault");
    assert!(fault.contains("a connection was given"), "{fault}");
}

#[test]
fn refusals_and_nonsense() {
    let (outcome, _) = load(Expect::Lines(1), |n| match n % 2 {
        0 => (503, "busy".to_owned()),
        _ => (200, (2 * n).to_string()),
    });
    assert!(outcome.statuses[&503] > 0);
    assert!(outcome.fault().is_some_and(|fault| fault.contains("503")));

    let (outcome, _) = load(Expect::Lines(1), |_| (200, "hello".to_owned()));
    assert_eq!(outcome.requests, 0);
    assert!(outcome.fault().is_some_and(|fault| fault.contains("hello")));

    let (outcome, _) = load(Expect::Constant(b"1234567"), |_| {
        (200, "1234567".to_owned())
    });
    assert_eq!((outcome.fault(), outcome.integers), (None, 0));
}
