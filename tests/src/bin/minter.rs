//! Mints continuously in a separate process and prints when each call began and returned.
//!
//! Usage: `minter ENGINE DSN KEY COUNT [DATA]`. It prints one line per call:
//!
//! - `+ BEGIN END FIRST STEP COUNT` for a span, with times of the machine's monotonic clock in
//!   nanoseconds, which are comparable across processes;
//! - `! BEGIN END KIND MESSAGE` for an error, after which it continues.
//!
//! It ends at the end of its standard input.

use anyhow::{Context, bail};
use int_host::{Builtin, Error};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::{backend, clock};

static STOP: AtomicBool = AtomicBool::new(false);

/// The pause between calls, since eight of these processes and their servers share a machine with others.
const PACE: Duration = Duration::from_millis(1);

/// The pause after an error, so that immediate errors such as refusals do not cause a busy loop.
const AFTER_ERROR: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (engine, dsn, key, count, data) = match &arguments[..] {
        [engine, dsn, key, count] => (engine, dsn, key, count, None),
        [engine, dsn, key, count, data] => (engine, dsn, key, count, Some(PathBuf::from(data))),
        _ => bail!("usage: minter ENGINE DSN KEY COUNT [DATA]"),
    };
    let engine = Builtin::named(engine).context("no such engine")?.into();
    let count = count.parse().context("COUNT is not a number")?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        STOP.store(true, Ordering::Relaxed);
    });

    let host = backend::host(data)?;
    let mut lines = std::io::stdout().lock();
    let mut sequence = None;
    while !STOP.load(Ordering::Relaxed) {
        let begin = clock::now();
        let minted = async {
            let sequence = match &sequence {
                Some(sequence) => sequence,
                // Retried until it succeeds once: an open sequence need not be reopened.
                None => sequence.insert(backend::open(&host, &engine, dsn, key).await?),
            };
            sequence.next(count).await
        };
        let result = minted.await;
        let end = clock::now();
        match result {
            Ok(span) => {
                let (first, step, count) = (span.first(), span.step(), span.count());
                writeln!(lines, "+ {begin} {end} {first} {step} {count}")?;
                lines.flush()?;
                tokio::time::sleep(PACE).await;
            }
            Err(error) => {
                let text = error.to_string().replace('\n', " ");
                writeln!(lines, "! {begin} {end} {} {text}", kind(&error))?;
                lines.flush()?;
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    Ok(())
}

fn kind(error: &Error) -> &'static str {
    testbed::contract::kind(error)
}
