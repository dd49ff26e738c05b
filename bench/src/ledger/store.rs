//! Questions to the store of a ledger.

use super::batches::frame;
use super::{BATCH, KEY, STEP};
use anyhow::{Context, ensure};
use artisanal_ledger::Store;
use artisanal_ledger::event::{Event, Mint, Payload};
use artisanal_ledger::frame::Batch;
use artisanal_ledger::query::Found;
use artisanal_ledger::reducer::{DEFAULT, Reducers};
use artisanal_ledger::store::Options;
use hdrhistogram::Histogram;
use int_host::{Host, ledger};
use std::hint::black_box;
use std::time::Instant;
use tempfile::TempDir;

/// A key with few events, beside the one with many.
const SMALL: &str = "small";

/// How many events it has.
const FEW: u64 = 10;

/// How often each integer is looked up.
const LOOKUP_ROUNDS: usize = 4;

/// A store with events, in a folder that is removed with it.
pub struct Filled {
    store: Store,
    reducers: Reducers,
    events: u64,
    _folder: TempDir,
}

impl Filled {
    /// Makes a store with at least so many events of one key, and a key with ten.
    ///
    /// # Errors
    /// When the disk fails, or the host does not start.
    pub fn new(events: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path(), Options::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut next = 1;
        while next <= events {
            let batch = Batch::read(&frame(1, next)?)?;
            runtime.block_on(store.add(batch))?;
            next += BATCH as u64;
        }
        for number in 1..=FEW {
            let mint = Mint {
                first: i64::try_from(number)? * STEP,
                step: STEP,
                count: 1,
            };
            let event = Event {
                key: SMALL.to_owned(),
                payload: Some(Payload::Mint(mint)),
                ..Event::default()
            };
            runtime.block_on(store.append(event, None))?;
        }
        let host = Host::new(int_host::Options::default())?;
        Ok(Self {
            store,
            reducers: ledger::reducers(&host, &[], &[])?,
            events: next - 1,
            _folder: folder,
        })
    }

    /// The 99th percentile of lookups of `count` integers in no order, in microseconds. All are looked up several times, one
    /// round after the other, and the fastest lookup of each counts: on some machines the first access to a page in a while
    /// takes 0.1 ms, at random, whatever the program does.
    ///
    /// # Errors
    /// When an answer is wrong.
    pub fn lookups(&self, count: usize) -> anyhow::Result<f64> {
        let mut fastest = vec![u64::MAX; count];
        for _ in 0..LOOKUP_ROUNDS {
            let mut place = 1_u64;
            for fastest in &mut fastest {
                // Every number comes once before one comes again, for some million.
                place = place
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let took = self.lookup((place >> 16) % self.events + 1)?;
                *fastest = took.min(*fastest);
            }
        }
        let mut latency = Histogram::<u64>::new(3)?;
        for took in fastest {
            latency.record(took)?;
        }
        Ok(latency.value_at_quantile(0.99) as f64 / 1000.0)
    }

    /// Looks up the integer of an event, and returns how long that took in nanoseconds.
    fn lookup(&self, number: u64) -> anyhow::Result<u64> {
        let integer = i64::try_from(number)? * STEP;
        let begin = Instant::now();
        let found = self.store.find(KEY, integer)?;
        let took = begin.elapsed();
        let Found::Minted { event, .. } = found else {
            anyhow::bail!("{integer}: {found:?}");
        };
        ensure!(event.number == number, "{integer}: {event:?}");
        Ok(u64::try_from(took.as_nanos())?)
    }

    /// How long the states of the key with many events and of that with ten take, once there is a snapshot: the medians,
    /// in microseconds.
    ///
    /// # Errors
    /// When a state is wrong.
    pub fn states(&self, count: usize) -> anyhow::Result<[f64; 2]> {
        let reducer = self.reducers.find(DEFAULT).context("no reducer")?;
        // The first answers replay what there is.
        while let Err(error) = self.store.state(KEY, reducer) {
            ensure!(
                matches!(error, artisanal_ledger::Error::Unfinished(_)),
                "{error}"
            );
        }
        let time = |key: &str, events: u64| {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let begin = Instant::now();
                let state = self.store.state(key, reducer)?;
                times.push(begin.elapsed().as_secs_f64() * 1e6);
                ensure!(state.number == events, "{key}: {state:?}");
                black_box(state);
            }
            times.sort_by(f64::total_cmp);
            times.get(count / 2).copied().context("no time")
        };
        Ok([time(KEY, self.events)?, time(SMALL, FEW)?])
    }
}
