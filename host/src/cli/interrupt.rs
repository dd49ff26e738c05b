//! Interruption by signals.

use std::io;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the process may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// Resolves at the first Ctrl-C or SIGTERM. The process exits with success within [`GRACE`], even if it is
/// blocked, for example in a write to a pipe that is not read.
///
/// A separate thread waits for the signals, since the interrupted code may block.
pub(super) async fn interrupted() {
    let (tell, told) = oneshot::channel();
    let waiting = thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if let Err(error) = wait() {
                tracing::warn!(%error, "cannot wait for signals");
                return;
            }
            let _ = tell.send(());
            thread::sleep(GRACE);
            std::process::exit(0);
        });
    if waiting.is_err() || told.await.is_err() {
        // The default action of the signals is in effect, which also terminates the process.
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
