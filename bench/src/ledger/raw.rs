//! The crate that the ledger stores in, with the same batches and without a ledger.

use super::batches::{clients, frame, row};
use super::{BATCH, KEY};
use anyhow::Context;
use artisanal_ledger::event::{Event, Mint, Payload};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use prost::Message;
use std::path::Path;
use std::time::{Duration, Instant};

/// What becomes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Each event.
    Event,
    /// Each batch, as it is sent.
    Batch,
}

/// Writes batches for some time, one after the other, each with one sync of the disk. Returns how many events became
/// durable each second.
///
/// # Errors
/// When the disk fails.
pub fn write(folder: &Path, record: Record, time: Duration) -> anyhow::Result<f64> {
    let database = Database::builder(folder).open()?;
    let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
    let clients = clients();
    let mut next = 1;
    let mut took = Duration::ZERO;
    while took < time {
        let mut records = Vec::with_capacity(BATCH);
        match record {
            Record::Batch => records.push((next, frame(1, next)?.to_vec())),
            Record::Event => {
                for number in (next..).take(BATCH) {
                    let row = row(number, &clients)?;
                    let event = Event {
                        key: KEY.to_owned(),
                        number,
                        at: row.at,
                        by: row.by.to_owned(),
                        payload: Some(Payload::Mint(Mint::from(row.span))),
                        ..Event::default()
                    };
                    records.push((number, event.encode_to_vec()));
                }
            }
        }
        // Only the store counts.
        let begin = Instant::now();
        let mut batch = database.batch();
        for (number, bytes) in records {
            batch.insert(&events, number.to_be_bytes(), bytes);
        }
        batch
            .durability(Some(PersistMode::SyncAll))
            .commit()
            .context("the disk")?;
        took += begin.elapsed();
        next += BATCH as u64;
    }
    Ok((next - 1) as f64 / took.as_secs_f64())
}
