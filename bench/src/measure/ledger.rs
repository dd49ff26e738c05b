//! The rows about the ledger.

use super::rows::{Description, Rows};
use super::{Bench, Goal, Pair, Part, Shape};
use crate::ledger::raw::{self, Record};
use crate::ledger::store::Filled;
use crate::ledger::{batches, ring};
use int_host::Builtin;
use testbed::ledger::Ledger;

/// The number of connections to the server that publishes.
const MANY: usize = 100;

/// How many integers are looked up.
const LOOKUPS: usize = 20_000;

/// How often a state is asked for.
const STATES: usize = 1001;

impl Bench {
    /// Measures each row once.
    ///
    /// # Errors
    /// When a server does not start, or an answer is wrong.
    pub(super) fn ledger(&mut self, rows: &mut Rows) -> anyhow::Result<()> {
        self.batches(rows)?;
        if self.wants_on(Part::Ledger, &[Builtin::Redis]) {
            self.publishing(rows)?;
        }
        self.questions(rows)?;
        self.ring(rows)
    }

    /// Compares batches into one ledger with the crate that it stores in.
    fn batches(&self, rows: &mut Rows) -> anyhow::Result<()> {
        self.tell("batches into a ledger");
        let ledger = Ledger::start()?;
        let time = self.time();
        let (_, next) = batches::send(ledger.port(), 1, 1, time / 5)?;
        let (rate, _) = batches::send(ledger.port(), 1, next, time)?;
        drop(ledger);
        let folder = tempfile::tempdir()?;
        let raw = |name: &str, record| raw::write(&folder.path().join(name), record, time);
        let pair = |raw| Pair::valid(rate, Some(raw));
        let what = "ledger: mints in batches of 4096, durable";
        rows.add(
            Description::with_goal(what, "events/s", "", Goal::AtLeast(1e6)),
            Pair::valid(rate, None),
        );
        rows.add(
            Description::with_goal(
                format!("{what}, ratio"),
                "events/s",
                "fjall, the same batches, a record for each event",
                Goal::RatioAtLeast(0.5),
            ),
            pair(raw("events", Record::Event)?),
        );
        rows.add(
            Description::informative(
                format!("{what}, one record"),
                "events/s",
                "fjall, the same batches, a record for each batch",
            ),
            pair(raw("batches", Record::Batch)?),
        );
        Ok(())
    }

    /// Compares `serve` with a ledger with `serve` without one.
    fn publishing(&mut self, rows: &mut Rows) -> anyhow::Result<()> {
        let ledger = Ledger::start()?;
        let url = ledger.url();
        let store = self.store(Builtin::Redis)?;
        let plain = self.workshop.serve(store, "unledgered", &[])?;
        let policies = [("shed", 0.95), ("strict", 0.5)].map(|(policy, share)| {
            let options = ["--ledger", &url, "--ledger-policy", policy];
            let started = self.workshop.serve(store, policy, &options);
            started.map(|target| (policy, share, target))
        });
        let shape = Shape::plain(MANY);
        for started in policies {
            let (policy, share, target) = started?;
            let before = self.run(&plain, &shape);
            let run = self.run(&target, &shape);
            let after = self.run(&plain, &shape);
            // The load of the machine may change within a run, so it is compared with those on both sides.
            let mut pair = Pair::of(&run, &before, |run| run.rate);
            pair.fault = pair.fault.or_else(|| after.fault.clone());
            pair.yardstick = Some(f64::midpoint(before.rate, after.rate));
            let description = Description::with_goal(
                format!("serve redis, {MANY} connections, --ledger-policy {policy}"),
                "requests/s",
                "without --ledger",
                Goal::RatioAtLeast(share),
            );
            rows.add(description, pair);
        }
        Ok(())
    }

    /// Compares questions to a store with many events with those to one with few.
    fn questions(&self, rows: &mut Rows) -> anyhow::Result<()> {
        let (many, lookups) = if self.quick {
            (100_000, LOOKUPS / 10)
        } else {
            (10_000_000, LOOKUPS)
        };
        self.tell(&format!("a store with {many} events"));
        let few = Filled::new(10_000)?;
        let filled = Filled::new(many)?;
        // Both have been asked before.
        few.lookups(lookups / 10)?;
        filled.lookups(lookups / 10)?;
        let pair = Pair::valid(filled.lookups(lookups)?, Some(few.lookups(lookups)?));
        let description = Description::with_goal(
            format!("ledger: lookup of an integer among {many} events, p99"),
            "µs",
            "among 10000 events",
            Goal::RatioAtMost(2.0),
        );
        rows.add(description, pair);
        drop((few, filled));
        let events = if self.quick { 10_000 } else { 1_000_000 };
        let [large, small] = Filled::new(events)?.states(STATES)?;
        let description = Description::with_goal(
            format!("ledger: state of a key with {events} events, from its snapshot"),
            "µs",
            "of a key with 10 events",
            Goal::RatioAtMost(10.0),
        );
        rows.add(description, Pair::valid(large, Some(small)));
        Ok(())
    }

    /// Measures the ring alone.
    fn ring(&self, rows: &mut Rows) -> anyhow::Result<()> {
        self.tell("the ring of the ledger");
        let each = if self.quick { 200_000 } else { 5_000_000 };
        let description = Description::with_goal(
            "ledger: ring, 2 producers, 1 consumer",
            "items/s",
            "bounded channel of the standard library",
            Goal::AtLeast(10e6),
        );
        let pair = Pair::valid(ring::ring(each)?, Some(ring::channel(each)?));
        rows.add(description, pair);
        Ok(())
    }
}
