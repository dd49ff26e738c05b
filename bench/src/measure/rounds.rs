//! The table of targets, measured in rounds: what is compared is measured one after the other.

use super::in_process::Tasks;
use super::row::fault;
use super::{Bench, Goal, Pair, Part, Row, Run, Shape};
use crate::stage::{Target, name, spin};
use int_host::Builtin;

/// Connections where throughput is measured.
const MANY: usize = 100;

/// Connections under Spin, which keeps fewer busy.
const UNDER_SPIN: usize = 50;

/// Options of the server that does not look for the next event before it sleeps.
const SLEEPY: [&str; 2] = ["--busy-poll", "0"];

/// Integers a request, where those are measured.
const COUNT: u32 = 1000;

/// Integers a second that are enough, whatever the backend could do.
const ENOUGH: f64 = 10e6;

/// What one row wants.
struct Comparison {
    what: String,
    unit: &'static str,
    against: String,
    goal: Option<Goal>,
}

fn wish(
    what: impl Into<String>,
    unit: &'static str,
    against: impl Into<String>,
    goal: Goal,
) -> Comparison {
    Comparison {
        goal: Some(goal),
        ..inform(what, unit, against)
    }
}

/// One engine with all that is measured about it.
struct Engine {
    engine: Builtin,
    served: Target,
    /// The same, which sleeps whenever there is nothing to do.
    sleepy: Target,
    /// None where there is no backend to have a client.
    native: Option<Target>,
    composed: Option<Target>,
}

impl Engine {
    fn name(&self) -> &'static str {
        name(self.engine)
    }

    /// What `serve` must reach of the bare server.
    fn share(&self) -> f64 {
        match self.engine {
            Builtin::Memory | Builtin::Redis => 0.90,
            _ => 0.80,
        }
    }

    /// What the composed endpoint must reach of the component that does nothing.
    fn composed_share(&self) -> f64 {
        match self.engine {
            Builtin::Memory => 0.85,
            _ => 0.75,
        }
    }
}

/// The composed endpoint under Spin, and what it is compared with.
struct UnderSpin {
    noop: Target,
    /// With what each must reach of the component that does nothing.
    endpoints: Vec<(Target, f64)>,
}

/// A row that nothing is demanded of.
fn inform(what: impl Into<String>, unit: &'static str, against: impl Into<String>) -> Comparison {
    Comparison {
        what: what.into(),
        unit,
        against: against.into(),
        goal: None,
    }
}

/// What [`MANY`] connections can get a second when all of them wait for the same call, and then are
/// answered as quickly as by the server that does nothing else.
fn together(trip: &Run, bare: &Run) -> Option<f64> {
    let seconds = 1.0 / (trip.rate * MANY as f64) + 1.0 / bare.rate;
    Some(1.0 / seconds).filter(|rate| rate.is_finite())
}

/// The rows so far, in the order in which they were first measured.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, wish: Comparison, pair: Pair) {
        if let Some(row) = self.0.iter_mut().find(|row| row.what == wish.what) {
            row.pairs.push(pair);
            return;
        }
        self.0.push(Row {
            what: wish.what,
            unit: wish.unit,
            against: wish.against,
            goal: wish.goal,
            pairs: vec![pair],
        });
    }
}

impl Bench {
    /// Measures all rows that are chosen.
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
        if self.wants(Part::Spin)
            && let Some(spin) = self.under_spin()?
        {
            for _ in 0..self.rounds {
                self.spin(&mut rows, &spin);
            }
        }
        let mut rows = rows.0;
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

    /// `serve` against the server that answers a constant, on many connections, and its latency there.
    /// Fewer threads are quicker where others share the machine, so that server is also measured with
    /// as many as `serve` has.
    fn throughput(&mut self, rows: &mut Rows, bare: &Target, alike: &Target, engines: &[Engine]) {
        if !self.wants(Part::Serve) {
            return;
        }
        let shape = Shape::plain(MANY);
        for engine in engines {
            // Anew for each: the machine may have other things to do a minute later.
            let limit = self.run(bare, &shape);
            let run = self.run(&engine.served, &shape);
            let strict = self.run(alike, &shape);
            let trip = self.round_trip(engine.engine);
            let what = format!("serve {}, {MANY} connections", engine.name());
            let throughput = wish(
                &*what,
                "requests/s",
                &*bare.name,
                Goal::RatioAtLeast(engine.share()),
            );
            rows.add(throughput, Pair::of(&run, &limit, |run| run.rate));
            let alike_threads = format!("{what}, as many threads");
            let like_for_like = inform(alike_threads, "requests/s", &*alike.name);
            rows.add(like_for_like, Pair::of(&run, &strict, |run| run.rate));
            if engine.native.is_some() {
                let waiting = inform(
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
            let latency = wish(&*what, "µs", against(bare), Goal::RatioAtMost(1.0));
            rows.add(latency, tail(&limit));
            let latency = inform(format!("{what}, as many threads"), "µs", against(alike));
            rows.add(latency, tail(&strict));
        }
    }

    /// `serve` against the backend's own client, on one connection, where most of the time goes to waking
    /// up: so also without looking for the next event, which the client does not do either.
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
            let wish = wish(&*what, "requests/s", &*native.name, least);
            rows.add(wish, Pair::of(&run, &limit, |run| run.rate));
            let run = self.run(&engine.sleepy, &shape);
            let what = format!("{what}, {}", SLEEPY.join(" "));
            let sleepy = inform(what, "requests/s", &*native.name);
            rows.add(sleepy, Pair::of(&run, &limit, |run| run.rate));
        }
    }

    /// The composed endpoint against a component that does nothing, under the same host.
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
            let wish = wish(
                format!("composed {}, {MANY} connections", engine.name()),
                "requests/s",
                "no-op component",
                Goal::RatioAtLeast(engine.composed_share()),
            );
            rows.add(wish, Pair::of(&run, &limit, |run| run.rate));
        }
    }

    fn under_spin(&mut self) -> anyhow::Result<Option<UnderSpin>> {
        let Some(program) = spin::program() else {
            let why = "under Spin: there is no spin on PATH; https://spinframework.dev";
            self.skipped.push(why.to_owned());
            return Ok(None);
        };
        self.tell("starting servers under Spin");
        let mut endpoints = vec![(self.workshop.spin_default(&program)?, 0.25)];
        if let Ok(redis) = self.store(Builtin::Redis) {
            endpoints.push((self.workshop.spin_on(&program, redis)?, 0.50));
        }
        Ok(Some(UnderSpin {
            noop: self.workshop.spin_noop(&program)?,
            endpoints,
        }))
    }

    /// The composed endpoint against a component that does nothing, both under Spin.
    fn spin(&mut self, rows: &mut Rows, spin: &UnderSpin) {
        let shape = Shape::plain(UNDER_SPIN);
        for (endpoint, share) in &spin.endpoints {
            let limit = self.run(&spin.noop, &shape);
            let run = self.run(endpoint, &shape);
            let wish = wish(
                format!("composed, {}, {UNDER_SPIN} connections", endpoint.name),
                "requests/s",
                &*spin.noop.name,
                Goal::RatioAtLeast(*share),
            );
            rows.add(wish, Pair::of(&run, &limit, |run| run.rate));
        }
    }

    /// Many integers a request.
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
            let wish = wish(
                format!("integers of serve {}, count={COUNT}", engine.name()),
                "integers/s",
                if backend {
                    "backend one by one × count"
                } else {
                    ""
                },
                match backend {
                    true => Goal::Either {
                        value: ENOUGH,
                        ratio: 1.0,
                    },
                    false => Goal::AtLeast(ENOUGH),
                },
            );
            let pair = Pair {
                value: run.integers_rate,
                yardstick: backend.then(|| trip.rate * f64::from(COUNT)),
                fault: fault(&[&run, &trip]),
            };
            rows.add(wish, pair);
        }
    }

    /// `Sequence::next` by many tasks of one process.
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
            let wish = wish(
                format!("Sequence::next, redis, tasks: {tasks} ({class})"),
                "calls/s",
                "native client, one by one",
                goal,
            );
            rows.add(wish, Pair::of(&run, &one_by_one, |run: &Run| run.rate));
        }
        Ok(())
    }
}
