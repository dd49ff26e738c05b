//! Batches of mints, sent to a ledger over its WebSockets.

use super::{BATCH, KEY, STEP};
use anyhow::{Context, Error, ensure};
use artisanal_core::Span;
use artisanal_ledger::columns::Row;
use artisanal_ledger::frame::Writer;
use artisanal_ledger::publisher::{Options, Policy, Publisher, Target};
use bytes::Bytes;
use futures::future::try_join_all;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many batches are under way at a time, each on a connection of its own.
const CONNECTIONS: usize = 4;

/// How long one batch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The clients of the mints.
const CLIENTS: usize = 100;

/// The mint of the event with this number, from 1 on, and the names of its client.
pub(super) fn row(number: u64, clients: &[String]) -> anyhow::Result<Row<'_>> {
    let integer = i64::try_from(number)?;
    let client = usize::try_from(number)? % clients.len().max(1);
    Ok(Row {
        key: KEY,
        at: 1_700_000_000_000_000 + integer,
        by: clients.get(client).map_or("", String::as_str),
        request: "",
        span: Span::checked(integer * STEP, STEP, 1).context("the integers have ended")?,
    })
}

/// The clients.
pub(super) fn clients() -> Vec<String> {
    (0..CLIENTS)
        .map(|n| format!("127.0.0.1:{}", 40_000 + n))
        .collect()
}

/// The frame of a batch whose first event has this number.
///
/// # Errors
/// When the integers have ended.
pub fn frame(publisher: u64, first: u64) -> anyhow::Result<Bytes> {
    let clients = clients();
    let mut writer = Writer::default();
    for number in (first..).take(BATCH) {
        writer.mint(&row(number, &clients)?);
    }
    Ok(writer.finish(publisher, first))
}

/// Sends batches for some time, all of them made before it. Returns how many events became durable each second.
///
/// # Errors
/// When the ledger refuses one, or does not answer.
pub fn send(port: u16, publisher: u64, from: u64, time: Duration) -> anyhow::Result<(f64, u64)> {
    let target = Target::parse(&format!("ws://127.0.0.1:{port}")).map_err(Error::msg)?;
    let relay = Publisher::start(Options {
        policy: Policy::Block,
        workers: CONNECTIONS,
        ..Options::new(target)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // More than a ledger stores in this time on any machine of this class would need too much memory, so the frames
        // are made while earlier ones are under way, which costs a few nanoseconds an event.
        let next = AtomicU64::new(from);
        let begin = Instant::now();
        let each = (0..CONNECTIONS).map(|_| async {
            while begin.elapsed() < time {
                let first = next.fetch_add(BATCH as u64, Ordering::Relaxed);
                let frame = frame(publisher, first)?;
                let reply = relay.relay(frame, first, BATCH, PATIENCE).await?;
                ensure!(
                    reply.refusal.is_none() && reply.duplicates == 0,
                    "the ledger answered {reply:?}"
                );
            }
            anyhow::Ok(())
        });
        try_join_all(each).await?;
        let took = begin.elapsed();
        let next = next.into_inner();
        Ok(((next - from) as f64 / took.as_secs_f64(), next))
    })
}
