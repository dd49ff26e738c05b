//! Serves a sequence over HTTP from a program of your own.
//!
//! `cargo run --example serve -- 8080`, then `curl localhost:8080`; the port 0 is any free one.

use int_host::serve::{self, App, Limits, Listeners, Settings, Shutdown};
use int_host::{Builtin, Config, Host, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(8080), |port| port.parse())?;
    let host = Host::new(Options::default())?;
    let sequence = host.open(Builtin::Memory, Config::default()).await?;
    let app = App::new(Settings::default(), |_| sequence.clone());
    let listeners = Listeners::bind("localhost", port).await?;
    for address in listeners.addresses() {
        println!("listening on http://{address}");
    }
    let shutdown = Shutdown::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            // Without signals the server runs until it is killed.
            if tokio::signal::ctrl_c().await.is_ok() {
                shutdown.begin();
            }
        }
    });
    serve::http(listeners, app, Limits::default(), shutdown).await;
    Ok(())
}
