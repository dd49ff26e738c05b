//! The option `--metrics`.

use crate::serve::{Listeners, Shutdown};
use crate::{Error, Metrics, metrics};

/// Parses `[HOST:]PORT`.
pub(super) fn address(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("localhost", text),
    };
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err("expected a port, or an address of this machine, `:` and a port".to_owned()),
    }
}

/// Starts to serve metrics, if that was asked for.
pub(super) async fn start(
    address: Option<&(String, u16)>,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let Some((host, port)) = address else {
        return Ok(());
    };
    let listeners = Listeners::bind(host, *port).await?;
    for address in listeners.addresses() {
        tracing::info!("metrics on http://{address}/metrics");
    }
    tokio::spawn(metrics::serve(listeners, metrics.clone(), shutdown.clone()));
    Ok(())
}
