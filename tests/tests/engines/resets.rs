//! Servers that reset connections as soon as they are made, as one that is being shut down does.

use crate::mint;
use int_host::Builtin;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::contract::kind;

/// How many clients connect at the same time. Each reserves address space for its component.
const CLIENTS: usize = 2;

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
    let kinds = [
        (Builtin::Redis, format!("redis://{address}?timeout=2s")),
        (Builtin::Redis, format!("rediss://{address}?timeout=2s")),
        (
            Builtin::Mysql,
            format!("mysql://u:p@{address}/d?timeout=2s"),
        ),
        (
            Builtin::Postgres,
            format!("postgres://u:p@{address}/d?timeout=2s"),
        ),
    ];
    let stop = AtomicBool::new(false);
    let minted = std::thread::scope(|scope| {
        scope.spawn(|| reset_all(address, &stop));
        let mut minted = Vec::new();
        for (engine, dsn) in &kinds {
            let clients = [(); CLIENTS].map(|()| scope.spawn(|| mint(*engine, dsn, "k")));
            minted.extend(clients.map(|client| (dsn, client.join())));
        }
        stop.store(true, Ordering::Relaxed);
        minted
    });
    for (dsn, minted) in minted {
        let error = minted.expect("no panic").expect_err("no server");
        assert_eq!(kind(&error), "unavailable", "{dsn}: {error}");
    }
    Ok(())
}
