//! The ring alone: two producers and one consumer.

use anyhow::{Context, ensure};
use artisanal_ledger::ring::Ring;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The size of both queues.
const SIZE: usize = 1 << 16;

/// How many items the consumer takes at a time.
const BATCH: usize = 4096;

/// Passes this many items of each producer through a [`Ring`]. Returns how many items came out each second.
///
/// # Errors
/// When an item is missing.
pub fn ring(each: u64) -> anyhow::Result<f64> {
    let ring = Arc::new(Ring::new(SIZE));
    let begin = Instant::now();
    let producers = [0, 1].map(|_| {
        let ring = Arc::clone(&ring);
        std::thread::spawn(move || {
            for item in 0..each {
                let mut item = item;
                while let Err(full) = ring.push(item) {
                    item = full;
                    std::thread::yield_now();
                }
            }
        })
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let sum = runtime.block_on(async {
        let (mut batch, mut left, mut sum) = (Vec::new(), 2 * each, 0_u64);
        while left > 0 {
            ring.take(&mut batch, BATCH, Duration::ZERO, |_| 1).await;
            left -= batch.len() as u64;
            sum += batch.drain(..).sum::<u64>();
        }
        sum
    });
    let took = begin.elapsed();
    for producer in producers {
        producer.join().ok().context("a producer panicked")?;
    }
    ensure!(sum == each * (each - 1), "items are missing");
    Ok(2.0 * each as f64 / took.as_secs_f64())
}

/// The same with the bounded channel of the standard library, whose receiver takes one item at a time.
///
/// # Errors
/// When an item is missing.
pub fn channel(each: u64) -> anyhow::Result<f64> {
    let (sender, items) = mpsc::sync_channel(SIZE);
    let begin = Instant::now();
    let producers = [sender.clone(), sender]
        .map(|sender| std::thread::spawn(move || (0..each).all(|item| sender.send(item).is_ok())));
    let sum = items.iter().sum::<u64>();
    let took = begin.elapsed();
    for producer in producers {
        let sent = producer.join().ok().context("a producer panicked")?;
        ensure!(sent, "the channel was closed");
    }
    ensure!(sum == each * (each - 1), "items are missing");
    Ok(2.0 * each as f64 / took.as_secs_f64())
}
