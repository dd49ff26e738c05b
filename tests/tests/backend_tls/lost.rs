//! Connections that end while an engine waits.

use int_host::Config;
use std::time::Duration;
use testbed::backend::{self, Backend, Kind};
use testbed::proxy::{Fault, Proxy};
use testbed::runtime::run;
use testbed::{TestResult, wait};

/// How long it may take until a request reaches the proxy.
const SENT: Duration = Duration::from_secs(30);

/// The engine's deadline for one mint. An engine that does not notice the end of its connection fails with
/// `unavailable` after that.
const DEADLINE: &str = "timeout=20s";

fn kinds() -> impl Iterator<Item = &'static Kind> {
    backend::PLACES
        .iter()
        .filter(|kind| kind.name.ends_with("-tls"))
}

/// Mints while the proxy does not answer, ends the connection as soon as `sent` says so, and mints again by itself.
fn ends(
    kind: &Kind,
    backend: &dyn Backend,
    proxy: &Proxy,
    fault: &Fault,
    sent: fn(&Proxy) -> usize,
) -> TestResult {
    let config = Config {
        dsn: backend::with_parameter(&backend.dsn_on(proxy.port()), DEADLINE),
        ..Config::default()
    };
    run(async {
        let host = backend::host_for(backend)?;
        let sequence = host.open(kind.engine, config).await?;
        let first = match fault {
            Fault::StallReplies => sequence.next(1).await?.last(),
            _ => 0,
        };
        let before = sent(proxy);
        proxy.set(fault.clone())?;
        let minting = tokio::spawn(async move { sequence.next(1).await });
        wait::until_true("something is sent", SENT, || sent(proxy) > before)?;
        proxy.set(Fault::Refuse)?;
        proxy.set(Fault::None)?;
        let span = minting.await.expect("no panic")?;
        assert!(
            span.first() > first,
            "{}: {span:?} after {first}",
            kind.name
        );
        Ok(())
    })
}

#[test]
fn an_engine_notices_the_end_of_a_connection() -> TestResult {
    for kind in kinds() {
        let backend = (kind.start)()?;
        let proxy = Proxy::to(backend.port().expect("a server"))?;
        // After the request, and during the handshake.
        ends(
            kind,
            &*backend,
            &proxy,
            &Fault::StallReplies,
            Proxy::round_trips,
        )?;
        ends(kind, &*backend, &proxy, &Fault::Stall, Proxy::accepted)?;
    }
    Ok(())
}
