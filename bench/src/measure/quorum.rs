//! The rows about quorums and leases.

use super::rows::{Description, Rows};
use super::{Bench, Goal, Pair, Shape};
use crate::clients::{self, Minted};
use crate::lease;
use crate::stage::{name, sequence};
use int_host::Builtin;
use std::time::Duration;
use testbed::cli::Place;
use testbed::quorum::Quorum;

/// The number of connections to `serve`.
const MANY: usize = 100;

/// The number of clients that mint from one sequence at the same time.
const CLIENTS: usize = 8;

/// The longest pause of a client when one of three nodes is killed, in milliseconds.
const PAUSE: f64 = 50.0;

/// How many integers are minted from a lease.
const LEASED: u64 = 100_000_000;

/// For how many calls of each thread the latency is measured.
const CALLS: u64 = 2_000_000;

impl Bench {
    /// Measures each row once, on a new group of three nodes.
    ///
    /// # Errors
    /// When a process does not start, or an integer is wrong.
    pub(super) fn quorum(&mut self, rows: &mut Rows) -> anyhow::Result<()> {
        self.tell("starting a quorum of three embedded stores");
        let nodes = Quorum::start()?;
        self.beside_http(rows, &nodes.dsn())?;
        self.crowd(rows, &nodes.dsn())?;
        self.loss(rows, &nodes)
    }

    /// Compares a quorum with the engine `http` on one embedded store.
    fn beside_http(&mut self, rows: &mut Rows, quorum: &str) -> anyhow::Result<()> {
        let place = Place::new()?;
        let upstream = place.serve(&[])?;
        let http = format!("http://127.0.0.1:{}/integers", upstream.port());
        let limit = self
            .clients(1, Builtin::Http, &http, "alone", || {})?
            .rate();
        let rate = self
            .clients(1, Builtin::Quorum, quorum, "alone", || {})?
            .rate();
        rows.add(
            Description::with_goal(
                "quorum of 3 embedded nodes, 1 client",
                "integers/s",
                "http on one embedded store",
                Goal::RatioAtLeast(0.6),
            ),
            Pair::valid(rate, Some(limit)),
        );
        let front = |engine, dsn| self.workshop.front(engine, dsn);
        let (beside, served) = (
            front(Builtin::Http, &http)?,
            front(Builtin::Quorum, quorum)?,
        );
        let limit = self.run(&beside, &Shape::plain(MANY));
        let run = self.run(&served, &Shape::plain(MANY));
        rows.add(
            Description::with_goal(
                format!("serve quorum of 3 embedded nodes, {MANY} connections"),
                "requests/s",
                "serve http on one embedded store",
                Goal::RatioAtLeast(0.7),
            ),
            Pair::of(&run, &limit, |run| run.rate),
        );
        Ok(())
    }

    /// Compares clients of one sequence that mint at the same time with a single one.
    fn crowd(&self, rows: &mut Rows, quorum: &str) -> anyhow::Result<()> {
        let one = self
            .clients(1, Builtin::Quorum, quorum, "one", || {})?
            .rate();
        let all = self
            .clients(CLIENTS, Builtin::Quorum, quorum, "crowd", || {})?
            .rate();
        rows.add(
            Description::with_goal(
                format!("quorum of 3 embedded nodes, {CLIENTS} clients at once"),
                "integers/s",
                "1 client",
                Goal::RatioAtLeast(0.8),
            ),
            Pair::valid(all, Some(one)),
        );
        Ok(())
    }

    /// Measures the longest pause of a client when a node is killed.
    fn loss(&self, rows: &mut Rows, nodes: &Quorum) -> anyhow::Result<()> {
        let dsn = nodes.dsn();
        let minted = self.clients(1, Builtin::Quorum, &dsn, "loss", || nodes.server(0).kill())?;
        let millis = |pause: Duration| pause.as_secs_f64() * 1e3;
        let [before, after] = minted.pauses().map(millis);
        rows.add(
            Description::with_goal(
                "quorum, longest pause of a client when one of 3 nodes is killed",
                "ms",
                "before",
                Goal::AtMost(PAUSE),
            ),
            Pair::valid(after, Some(before)),
        );
        Ok(())
    }

    /// Measures a lease within this process.
    ///
    /// # Errors
    /// When the sequence cannot be opened.
    pub(super) fn lease(&self, rows: &mut Rows) -> anyhow::Result<()> {
        self.tell("a lease in this process");
        let holder = lease::holder()?;
        let less = if self.quick { 100 } else { 1 };
        let times = LEASED / less;
        let took = lease::mint(&holder, 2, times).as_secs_f64();
        rows.add(
            Description::with_goal(
                "lease in process, 2 threads",
                "integers/s",
                "",
                Goal::AtLeast(50e6),
            ),
            Pair::valid(times as f64 / took, None),
        );
        let slowest = lease::latency(&holder, CALLS / less)
            .iter()
            .map(|thread| thread.value_at_quantile(0.999))
            .max();
        rows.add(
            Description::with_goal(
                "lease in process, 2 threads, p99.9 with the clock",
                "µs",
                "",
                Goal::AtMost(1.0),
            ),
            Pair::valid(slowest.unwrap_or_default() as f64 / 1e3, None),
        );
        Ok(())
    }

    /// Lets so many processes mint from one sequence.
    fn clients(
        &self,
        number: usize,
        engine: Builtin,
        dsn: &str,
        key: &str,
        halfway: impl FnOnce(),
    ) -> anyhow::Result<Minted> {
        let sequence = sequence(engine, format!("{}/{key}", name(engine)))?;
        let engine = name(engine);
        self.tell(&format!("clients of {engine}: {number}"));
        let line = [
            "--engine",
            engine,
            "--dsn",
            dsn,
            "--key",
            key,
            "--continuous",
        ];
        let commands = (0..number).map(|_| self.workshop.command(&line));
        let minted = clients::mint(commands.collect::<Result<_, _>>()?, self.time(), halfway)?;
        minted.check(&sequence)?;
        Ok(minted)
    }
}
