//! Servers that reset connections as soon as they are made, as one that is being shut down does.

use crate::mint;
use int_host::Builtin;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::contract::kind;

/// How many clients each engine has.
const CLIENTS: usize = 4;

/// Accepts connections and resets them, until `stop`. The system does that with all that wait in the queue of a listener
/// that is closed.
fn reset_all(address: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(listener) = TcpListener::bind(address) else {
            continue;
        };
        std::thread::sleep(Duration::from_micros(200));
        drop(listener);
    }
}

#[test]
fn connections_that_are_reset_at_once_are_no_trap() -> TestResult {
    let port = testbed::port::free()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let dsns = [
        (Builtin::Redis, format!("redis://{address}?timeout=1s")),
        (Builtin::Redis, format!("rediss://{address}?timeout=1s")),
        (
            Builtin::Mysql,
            format!("mysql://u:p@{address}/d?timeout=1s"),
        ),
        (
            Builtin::Postgres,
            format!("postgres://u:p@{address}/d?timeout=1s"),
        ),
    ];
    let stop = AtomicBool::new(false);
    let minted = std::thread::scope(|scope| {
        scope.spawn(|| reset_all(address, &stop));
        let clients: Vec<_> = dsns
            .iter()
            .flat_map(|(engine, dsn)| (0..CLIENTS).map(move |_| (*engine, dsn)))
            .map(|(engine, dsn)| scope.spawn(move || (dsn, mint(engine, dsn, "k"))))
            .collect();
        let minted: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::Relaxed);
        minted
    });
    for minted in minted {
        let (dsn, minted) = minted.expect("no panic");
        let error = minted.expect_err("no server");
        assert_eq!(kind(&error), "unavailable", "{dsn}: {error}");
    }
    Ok(())
}
