//! The table of targets, measured in rounds: compared values are measured directly after each other.

use super::in_process::Tasks;
use super::row::fault;
use super::rows::{Description, Rows};
use super::{Bench, Goal, Pair, Part, Row, Run, Shape};
use crate::stage::secured::{self, Secured};
use crate::stage::{Target, name};
use int_host::Builtin;

/// The number of connections for throughput.
const MANY: usize = 100;

/// Options of the server without busy polling.
const SLEEPY: [&str; 2] = ["--busy-poll", "0"];

/// The count per request for the throughput of integers.
const COUNT: u32 = 1000;

/// How much longer a mint may take through TLS.
const MOST_OF_TLS: f64 = 1.15;

/// Options of the server that serves its metrics.
const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// A rate of integers per second that suffices, whatever the backend could reach.
const ENOUGH: f64 = 10e6;

/// An engine with all its servers.
struct Engine {
    engine: Builtin,
    served: Target,
    /// The same server without busy polling.
    sleepy: Target,
    /// None for an engine without a backend.
    native: Option<Target>,
    composed: Option<Target>,
}

impl Engine {
    fn name(&self) -> &'static str {
        name(self.engine)
    }

    /// The share of the bare server's throughput that `serve` must reach.
    fn share(&self) -> f64 {
        match self.engine {
            Builtin::Memory | Builtin::Redis => 0.90,
            _ => 0.80,
        }
    }

    /// The share of the no-op component's throughput that the composed endpoint must reach.
    fn composed_share(&self) -> f64 {
        match self.engine {
            Builtin::Memory => 0.85,
            _ => 0.75,
        }
    }
}

/// The requests per second that [`MANY`] connections can reach when all of them wait for the same call and are
/// then answered as fast as by the bare server.
fn together(trip: &Run, bare: &Run) -> Option<f64> {
    let seconds = 1.0 / (trip.rate * MANY as f64) + 1.0 / bare.rate;
    Some(1.0 / seconds).filter(|rate| rate.is_finite())
}

impl Bench {
    /// Measures all selected rows.
    ///
    /// # Errors
    /// When a server does not start.
    pub(super) fn rows(&mut self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Rows::default();
        let parts = [
            Part::Serve,
            Part::Single,
            Part::Composed,
            Part::Integers,
            Part::Tasks,
        ];
        if parts.into_iter().any(|part| self.wants(part)) {
            let bare = self.workshop.bare()?;
            let alike = self.workshop.bare_alike()?;
            let noop = self.workshop.noop()?;
            let engines = self.engines()?;
            for _ in 0..self.rounds {
                self.throughput(&mut rows, &bare, &alike, &engines);
                self.single(&mut rows, &alike, &engines);
                self.composed(&mut rows, &noop, &engines);
                self.integers(&mut rows, &engines);
                self.tasks(&mut rows)?;
            }
        }
        for engine in secured::ENGINES {
            if self.wants_on(Part::Tls, &[engine]) {
                self.tell(&format!("starting servers with TLS on {}", name(engine)));
                let secured = self.workshop.secured(engine)?;
                for _ in 0..self.rounds {
                    self.through_tls(&mut rows, &secured);
                }
            }
        }
        if self.wants_on(Part::Metrics, &[Builtin::Memory]) {
            let store = self.store(Builtin::Memory)?;
            let silent = self.workshop.serve(store, "silent", &[])?;
            let measured = self.workshop.serve(store, "measured", &METRICS)?;
            for _ in 0..self.rounds {
                self.with_metrics(&mut rows, &measured, &silent);
            }
        }
        if self.wants(Part::Spin)
            && let Some(spin) = self.under_spin()?
        {
            for _ in 0..self.rounds {
                self.spin(&mut rows, &spin);
            }
        }
        if self.wants(Part::Ledger) {
            for _ in 0..self.rounds {
                self.ledger(&mut rows)?;
            }
        }
        if self.wants_on(Part::RedisWire, &[Builtin::Redis]) {
            for _ in 0..self.rounds {
                self.redis_wire(&mut rows)?;
            }
        }
        if self.wants(Part::Quorum) {
            for _ in 0..self.rounds {
                self.quorum(&mut rows)?;
            }
        }
        if self.wants(Part::Lease) {
            for _ in 0..self.rounds {
                self.lease(&mut rows)?;
            }
        }
        let mut rows = rows.into_vec();
        rows.extend(self.processes()?);
        Ok(rows)
    }

    fn engines(&self) -> anyhow::Result<Vec<Engine>> {
        self.stores
            .iter()
            .map(|store| {
                self.tell(&format!("starting servers on {}", name(store.engine)));
                let composed = matches!(
                    store.engine,
                    Builtin::Memory | Builtin::Keyvalue | Builtin::Redis
                );
                Ok(Engine {
                    engine: store.engine,
                    served: self.workshop.serve(store, "served", &[])?,
                    sleepy: self.workshop.serve(store, "sleepy", &SLEEPY)?,
                    native: (store.engine != Builtin::Memory)
                        .then(|| self.workshop.native(store))
                        .transpose()?,
                    composed: composed
                        .then(|| self.workshop.composed(store, "composed"))
                        .transpose()?,
                })
            })
            .collect()
    }

    /// Compares throughput and latency of `serve` on many connections with the bare server. Fewer threads are
    /// faster when other processes share the machine, so the bare server is also measured with as many threads
    /// as `serve`.
    fn throughput(&mut self, rows: &mut Rows, bare: &Target, alike: &Target, engines: &[Engine]) {
        if !self.wants(Part::Serve) {
            return;
        }
        let shape = Shape::plain(MANY);
        for engine in engines {
            // Repeated for each engine, since the load of the machine may change within a minute.
            let limit = self.run(bare, &shape);
            let run = self.run(&engine.served, &shape);
            let strict = self.run(alike, &shape);
            let trip = self.round_trip(engine.engine);
            let what = format!("serve {}, {MANY} connections", engine.name());
            let throughput = Description::with_goal(
                &*what,
                "requests/s",
                &*bare.name,
                Goal::RatioAtLeast(engine.share()),
            );
            rows.add(throughput, Pair::of(&run, &limit, |run| run.rate));
            let alike_threads = format!("{what}, as many threads");
            let like_for_like = Description::informative(alike_threads, "requests/s", &*alike.name);
            rows.add(like_for_like, Pair::of(&run, &strict, |run| run.rate));
            if engine.native.is_some() {
                let waiting = Description::informative(
                    format!("{what}, if all wait for one call"),
                    "requests/s",
                    format!("1 ÷ (round trip ÷ {MANY} + time of bare hyper)"),
                );
                let pair = Pair {
                    value: run.rate,
                    yardstick: together(&trip, &limit),
                    fault: fault(&[&run, &limit, &trip]),
                };
                rows.add(waiting, pair);
            }
            let what = format!("latency of {what}, p99");
            let against = |limit: &Target| format!("3 × (round trip + p99 of {})", limit.name);
            let tail = |limit: &Run| Pair {
                value: run.p99_us,
                yardstick: Some(3.0 * (trip.p50_us + limit.p99_us)),
                fault: fault(&[&run, limit, &trip]),
            };
            let latency =
                Description::with_goal(&*what, "µs", against(bare), Goal::RatioAtMost(1.0));
            rows.add(latency, tail(&limit));
            let latency =
                Description::informative(format!("{what}, as many threads"), "µs", against(alike));
            rows.add(latency, tail(&strict));
        }
    }

    /// Compares `serve` with the backend's native client on one connection. Most of that time is spent on
    /// wake-ups, so `serve` is also measured without busy polling, which the client does not do either.
    fn single(&mut self, rows: &mut Rows, alike: &Target, engines: &[Engine]) {
        if !self.wants(Part::Single) {
            return;
        }
        let shape = Shape::plain(1);
        for engine in engines {
            let native = engine.native.as_ref().unwrap_or(alike);
            let limit = self.run(native, &shape);
            let run = self.run(&engine.served, &shape);
            let what = format!("serve {}, 1 connection", engine.name());
            let least = Goal::RatioAtLeast(0.80);
            let description = Description::with_goal(&*what, "requests/s", &*native.name, least);
            rows.add(description, Pair::of(&run, &limit, |run| run.rate));
            let run = self.run(&engine.sleepy, &shape);
            let what = format!("{what}, {}", SLEEPY.join(" "));
            let sleepy = Description::informative(what, "requests/s", &*native.name);
            rows.add(sleepy, Pair::of(&run, &limit, |run| run.rate));
        }
    }

    /// Compares one mint after the other over a kept connection with TLS to the same without.
    fn through_tls(&mut self, rows: &mut Rows, secured: &Secured) {
        let shape = Shape::plain(1);
        let limit = self.run(&secured.plain, &shape);
        let run = self.run(&secured.tls, &shape);
        let most = Goal::RatioAtMost(MOST_OF_TLS);
        let cost = Description::with_goal(
            format!(
                "time of a mint through TLS, {}, 1 connection",
                name(secured.engine)
            ),
            "µs",
            &*secured.plain.name,
            most,
        );
        rows.add(cost, Pair::of(&run, &limit, |run| 1e6 / run.rate));
    }

    /// Compares `serve` with metrics to `serve` without.
    fn with_metrics(&mut self, rows: &mut Rows, measured: &Target, silent: &Target) {
        let shape = Shape::plain(MANY);
        let limit = self.run(silent, &shape);
        let run = self.run(measured, &shape);
        let cost = Description::with_goal(
            format!("serve memory with metrics, {MANY} connections"),
            "requests/s",
            "the same without",
            Goal::RatioAtLeast(0.98),
        );
        rows.add(cost, Pair::of(&run, &limit, |run| run.rate));
    }

    /// Compares the composed endpoint with the no-op component under the same host.
    fn composed(&mut self, rows: &mut Rows, noop: &Target, engines: &[Engine]) {
        if !self.wants(Part::Composed) {
            return;
        }
        let shape = Shape::plain(MANY);
        let limit = self.run(noop, &shape);
        for engine in engines {
            let Some(composed) = &engine.composed else {
                continue;
            };
            let run = self.run(composed, &shape);
            let description = Description::with_goal(
                format!("composed {}, {MANY} connections", engine.name()),
                "requests/s",
                "no-op component",
                Goal::RatioAtLeast(engine.composed_share()),
            );
            rows.add(description, Pair::of(&run, &limit, |run| run.rate));
        }
    }

    /// Measures many integers per request.
    fn integers(&mut self, rows: &mut Rows, engines: &[Engine]) {
        if !self.wants(Part::Integers) {
            return;
        }
        let shape = Shape {
            label: format!(", count={COUNT}"),
            ..Shape::counting(MANY, COUNT)
        };
        for engine in engines {
            let run = self.run(&engine.served, &shape);
            let trip = self.round_trip(engine.engine);
            let backend = engine.engine != Builtin::Memory;
            let description = Description::with_goal(
                format!("integers of serve {}, count={COUNT}", engine.name()),
                "integers/s",
                if backend {
                    "backend one by one × count"
                } else {
                    ""
                },
                if backend {
                    Goal::Either {
                        value: ENOUGH,
                        ratio: 1.0,
                    }
                } else {
                    Goal::AtLeast(ENOUGH)
                },
            );
            let pair = Pair {
                value: run.integers_rate,
                yardstick: backend.then(|| trip.rate * f64::from(COUNT)),
                fault: fault(&[&run, &trip]),
            };
            rows.add(description, pair);
        }
    }

    /// Measures `Sequence::next` with many tasks of one process.
    fn tasks(&mut self, rows: &mut Rows) -> anyhow::Result<()> {
        if !self.wants_on(Part::Tasks, &[Builtin::Redis]) {
            return Ok(());
        }
        let Tasks { one_by_one, runs } = self.tasks_on_redis()?;
        for run in runs {
            let tasks = run.connections;
            let (class, goal) = match tasks {
                1 => ("20k/s class", Goal::AtLeast(20e3)),
                100 => ("1M/s class", Goal::RatioAtLeast(10.0)),
                _ => ("3M/s class", Goal::RatioAtLeast(10.0)),
            };
            let description = Description::with_goal(
                format!("Sequence::next, redis, tasks: {tasks} ({class})"),
                "calls/s",
                "native client, one by one",
                goal,
            );
            rows.add(
                description,
                Pair::of(&run, &one_by_one, |run: &Run| run.rate),
            );
        }
        Ok(())
    }
}
