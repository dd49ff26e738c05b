//! Being asked to stop.

use std::io;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the process may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Resolves at the first Ctrl-C or SIGTERM. The process then ends soon and with success, even when
/// it is stuck, as a write is whose reader sleeps.
///
/// The signals are waited for in a thread, because what has to be interrupted may be blocking.
pub(super) async fn interrupted() {
    let (tell, told) = oneshot::channel();
    let waiting = thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if let Err(error) = wait() {
                tracing::warn!(%error, "signals cannot be waited for");
                return;
            }
            let _ = tell.send(());
            thread::sleep(GRACE);
            std::process::exit(0);
        });
    if waiting.is_err() || told.await.is_err() {
        // The default action of the signals is in force; it ends the process too.
        std::future::pending::<()>().await;
    }
}

fn wait() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(signal())
}

/// Resolves when the process gets a signal that asks it to end.
#[cfg(unix)]
pub(super) async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Resolves when the process gets a signal that asks it to end.
#[cfg(not(unix))]
pub(super) async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
